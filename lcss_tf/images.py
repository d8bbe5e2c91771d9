"""uint8 images: grids for people to look at, and PNG files."""

import io
import math

import numpy as np
from PIL import Image

from lcss_tf import files
from lcss_tf.errors import UsageError

_CHANNELS = (1, 3, 4)
_LEGIBLE = 64  # pixels along the shorter side that a person reads at ease


def grid(images, columns=None, padding=2, scale=None, background=128):
    """Images side by side, row by row.

    Args:
      images: uint8 [N, H, W, C], C of 1, 3 or 4.
      columns: images in a row; by default as square a grid as N allows.
      padding: pixels between images and round them, after enlarging.
      scale: the whole number by which each pixel is repeated; by default such that
        the shorter side has at least 64 pixels.
      background: the grey level, 0 to 255, of padding and of empty places.

    Returns:
      uint8 [rows·(H·scale + padding) + padding, columns·(W·scale + padding) + padding, C].

    Raises:
      ValueError: another dtype, rank or number of channels, or no images.
    """
    images = _checked(images, rank=4, what="A grid takes images [N, H, W, C]")
    if len(images) == 0:
        raise UsageError("A grid needs at least one image; got none.")
    count, height, width, channels = images.shape
    scale = max(1, math.ceil(_LEGIBLE / min(height, width))) if scale is None else scale
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    if scale < 1 or columns < 1 or padding < 0:
        raise UsageError(
            "A grid needs scale >= 1, columns >= 1 and padding >= 0; got "
            f"{scale}, {columns} and {padding}."
        )
    columns = min(columns, count)
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    step_down, step_right = height * scale + padding, width * scale + padding
    rows = math.ceil(count / columns)
    canvas = np.full(
        (rows * step_down + padding, columns * step_right + padding, channels), background, np.uint8
    )
    if channels == 4:
        canvas[..., 3] = 255
    for i, image in enumerate(images):
        top, left = padding + i // columns * step_down, padding + i % columns * step_right
        canvas[top : top + height * scale, left : left + width * scale] = image
    return canvas


def encode_png(image):
    """The bytes of a PNG file of a uint8 image [H, W, C], C of 1, 3 or 4.

    Raises:
      ValueError: another dtype, rank or number of channels.
    """
    image = _checked(image, rank=3, what="A PNG takes an image [H, W, C]")
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(path, image):
    """Writes a uint8 image [H, W, C] as a PNG file, whole or not at all.

    Missing folders are made. A reader never sees half a file: it is written beside
    its place and then moved there.

    Raises:
      ValueError: as `encode_png`.
    """
    files.write_bytes(path, encode_png(image))


def write_gif(path, frames, milliseconds=80, pause=1_500):
    """Writes uint8 images [H, W, C] as a GIF that plays for ever, whole or not at all.

    Args:
      path: of the file; missing folders are made.
      frames: images of one shape, C of 1 or 3; frames may differ in nothing but their pixels.
      milliseconds: that a frame stays.
      pause: that the last one stays.

    Raises:
      ValueError: no frames, or as `encode_png`.
    """
    frames = [_checked(frame, rank=3, what="A GIF takes images [H, W, C]") for frame in frames]
    if not frames or len({frame.shape for frame in frames}) > 1:
        shapes = sorted({frame.shape for frame in frames})
        raise UsageError(f"A GIF needs frames of one shape, at least one; got {shapes}.")
    first, *rest = [
        Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame[:, :, :3])
        for frame in frames
    ]
    buffer = io.BytesIO()
    durations = [milliseconds] * len(rest) + [pause]
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    files.write_bytes(path, buffer.getvalue())


def _checked(images, rank, what):
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise UsageError(
            f"{what} of dtype uint8; got {images.dtype}. Unscale them first: info.unscale(x)."
        )
    if images.ndim != rank or images.shape[-1] not in _CHANNELS:
        raise UsageError(
            f"{what} with 1 (grey), 3 (RGB) or 4 (RGBA) channels; got the shape {images.shape}. "
            "Show other channels one by one."
        )
    return images


def read_png(path):
    """A PNG that `write_png` wrote: uint8 [H, W, 3]."""
    return np.asarray(Image.open(path).convert("RGB"))
