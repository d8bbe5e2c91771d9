"""uint8 images: grids for people to look at, PNG and GIF files."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from lcss_tf import files
from lcss_tf.data.decoding import read_picture
from lcss_tf.errors import UsageError
from lcss_tf.typing import Array

_CHANNELS = (1, 3, 4)
_LEGIBLE_PX = 64  # of the shorter side: what a person sees at ease


def grid(
    images: Array,
    columns: int | None = None,
    padding: int = 2,
    scale: int | None = None,
    background: int = 128,
) -> Array:
    """Images side by side, row by row.

    Args:
      images: uint8 [N, H, W, C], C of 1, 3 or 4.
      columns: images in a row; by default as square a grid as N allows.
      padding: pixels between images and around them, after scaling.
      scale: how many times each pixel is repeated along both axes; by default just enough for a
        shorter side of 64 pixels.
      background: the grey level of padding and empty places, 0 to 255.

    Returns:
      uint8 [rows·(H·scale + padding) + padding, columns·(W·scale + padding) + padding, C].

    Raises:
      UsageError: another dtype, rank or number of channels, or no images.
    """
    images = _checked(images, rank=4, what="A grid takes images [N, H, W, C]")
    if len(images) == 0:
        raise UsageError("A grid needs at least one image; got none.")
    count, height, width, channels = images.shape
    scale = max(1, math.ceil(_LEGIBLE_PX / min(height, width))) if scale is None else scale
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


def column_titles(titles: Sequence[str], count: int) -> list[str]:
    """The titles of the columns of a grid of `count` images whose classes come in turn.

    The classes' own, each once, or as often as makes the grid nearly square.

    Args:
      titles: of the classes; none gives none.
      count: of the images.
    """
    return [*titles] * max(1, round(math.sqrt(count) / max(1, len(titles))))


def titled(picture: Array, titles: Sequence[str], height: int = 18) -> Array:
    """A picture with a line of text above it: titles side by side, each in the middle of its share.

    Args:
      picture: uint8 [H, W, C], C of 1, 3 or 4.
      titles: at least one; what is too long for its share is cut.
      height: of the line in pixels.

    Returns:
      uint8 [height + H, W, C].

    Raises:
      UsageError: as `encode_png`, or no titles.
    """
    picture = _checked(picture, rank=3, what="Titles stand above a picture [H, W, C]")
    if not titles:
        raise UsageError("titled needs at least one title; got none.")
    # matplotlib's own font has the letters of most languages; Pillow's has those of few.
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), round(0.7 * height))
    line = Image.new("L", (picture.shape[1], height), 255)
    width = picture.shape[1] / len(titles)
    for i, title in enumerate(titles):
        share = Image.new("L", (round((i + 1) * width) - round(i * width), height), 255)
        whole = title
        while len(title) > 1 and font.getlength(title) > share.width:
            title = whole[: len(title) - 2] + "…"
        length = font.getlength(title)
        place = (max(0.0, (share.width - length) / 2), height / 2)
        ImageDraw.Draw(share).text(place, title, fill=0, font=font, anchor="lm")
        line.paste(share, (round(i * width), 0))
    letters = np.repeat(np.asarray(line)[..., None], picture.shape[2], axis=2)
    if picture.shape[2] == 4:
        letters[..., 3] = 255
    return np.concatenate([letters, picture])


def as_bytes(values: Array, like: Array | None = None) -> Array:
    """Bytes as they are; other numbers stretched between the 0.1 % and 99.9 % quantiles of `like`.

    By default between their own.
    """
    if values.dtype == np.uint8:
        return values
    return stretched(values, *np.quantile(values if like is None else like, (0.001, 0.999)))


def stretched(values: Array, low: float, high: float) -> Array:
    """Numbers as uint8: black at `low` and below, white at `high` and above."""
    values = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return np.rint(255 * values).astype(np.uint8)


def visible_channels(values: Array) -> Array:
    """[..., C] as it is for 1, 3 or 4 channels; otherwise the first channel [..., 1]."""
    return values if values.shape[-1] in _CHANNELS else values[..., :1]


def rgb(pictures: Array) -> Array:
    """Images [N, H, W, C], or grey ones [N, H, W], with three channels; of two the first is shown.

    Of four channels the last, the opacity, is left out.
    """
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    pictures = visible_channels(pictures)
    return np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures[..., :3]


def encode_png(image: Array) -> bytes:
    """The bytes of a PNG file of a uint8 image [H, W, C], C of 1, 3 or 4.

    Raises:
      UsageError: another dtype, rank or number of channels.
    """
    image = _checked(image, rank=3, what="A PNG takes an image [H, W, C]")
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(path: str | Path, image: Array) -> Path:
    """Writes a uint8 image [H, W, C] as a PNG file, whole or not at all; returns its path.

    Raises:
      UsageError: as `encode_png`.
    """
    return files.write_bytes(path, encode_png(image))


def save_grid(path: str | Path, images: Array, columns: int | None = None) -> Path:
    """Writes images side by side as one PNG file; returns its path.

    Args:
      path: of the file.
      images: uint8 [N, H, W, C], C of 1, 3 or 4, or grey ones [N, H, W].
      columns: images in a row; by default as square a grid as N allows.

    Raises:
      UsageError: as `grid`.
    """
    images = np.asarray(images)
    return write_png(path, grid(images[..., None] if images.ndim == 3 else images, columns))


def write_gif(
    path: str | Path, frames: Sequence[Array], frame_ms: int = 80, last_frame_ms: int = 1_500
) -> None:
    """Writes uint8 images [H, W, C] as a GIF that repeats for ever, whole or not at all.

    Args:
      path: of the file; missing folders are made.
      frames: images of one shape, C of 1 or 3.
      frame_ms: how long a frame is shown, in milliseconds.
      last_frame_ms: how long the last one is.

    Raises:
      UsageError: no frames, or as `encode_png`.
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
    durations = [frame_ms] * len(rest) + [last_frame_ms]
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    files.write_bytes(path, buffer.getvalue())


def read_png(path: str | Path) -> Array:
    """A picture as uint8 [H, W, 3].

    Raises:
      UsageError: not a picture, or one too large to be decoded; names it.
    """
    return read_picture(path)


def _checked(images: Array, rank: int, what: str) -> Array:
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
