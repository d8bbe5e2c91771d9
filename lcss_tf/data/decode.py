"""Image files to arrays of one size."""

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N")


def decode(path, shape):
    """The image in a file, turned upright, its centre cropped and resized.

    Greyscale and palettes become the colours asked for; transparent parts are laid on white
    unless four channels are asked for; 16-bit grey keeps its upper eight bits.

    Args:
      path: of the file.
      shape: (height, width, channels), channels 1, 3 or 4.

    Returns:
      uint8 array of `shape`.

    Raises:
      ValueError: not an image that can be read, naming the file.
      FileNotFoundError: no such file.
    """
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            return fit(_convert(image, shape[2]), shape)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        problem = f"cannot be read as an image ({error})"
    except Image.DecompressionBombError as error:
        problem = f"is too large to be opened safely ({error})"
    raise ValueError(f"The file {path} {problem}. Repair it, or take it out of the folder.")


def _convert(image, channels):
    if image.mode in _SIXTEEN_BIT:
        image = Image.fromarray((np.asarray(image, np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of Pillow's mode {image.mode!r}; save it with 8 bits")
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if transparent and channels != 4:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(_MODES[channels])


def fit(image, shape):
    """The centre of a Pillow image, antialiased to `shape`; uint8 [H, W, C].

    The crop is the largest with the proportions of `shape`; an image of the right size is
    left as it is, bit for bit.
    """
    height, width, channels = shape
    if image.size != (width, height):
        zoom = min(image.width / width, image.height / height)
        across, down = round(width * zoom), round(height * zoom)
        left, top = (image.width - across) // 2, (image.height - down) // 2
        # Cropped first: ImageOps.fit would let the filter see beyond the crop's edge.
        image = image.crop((left, top, left + across, top + down))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8).reshape(height, width, channels)


def fit_array(image, shape):
    """As `fit`, for a uint8 array [H, W, C].

    Raises:
      ValueError: the array has other channels than `shape`.
    """
    if image.shape == tuple(shape):
        return image
    if image.shape[-1] != shape[2] or shape[2] not in _MODES:
        raise ValueError(
            f"The stored images have the shape {image.shape}; they can be cropped and resized "
            f"to {tuple(shape)} only if the channels agree (1, 3 or 4). Change the shape."
        )
    return fit(Image.fromarray(image[:, :, 0] if shape[2] == 1 else image), shape)
