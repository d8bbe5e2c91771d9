"""What a person wants to see of samples, by the kind of data."""

import numpy as np

from lcss_tf import images, panels, plots

_MOST_IMAGES = 256


def views(samples, info, data=None, most=_MOST_IMAGES, columns=None):
    """Pictures by name: the first says most.

    Args:
      samples: in the data's own units, [N, *shape].
      info: the `DataInfo`.
      data: examples to stand beside them, in the same units; None: none.
      most: images in a grid.
      columns: of the grid; None: a square one.

    Returns:
      A dict of uint8 pictures [H, W, 3] (grids of images: their own channels); empty for vectors
      of more than two dimensions, of which there is no picture.
    """
    samples = np.asarray(samples)
    if info.kind == "image":
        return _image(samples[:most], columns)
    return _VIEWS[info.kind](samples, info, data)


def _image(samples, columns):
    if samples.dtype != np.uint8:  # arrays of other numbers: stretched
        low, high = np.quantile(samples, (0.001, 0.999))
        samples = np.clip((samples - low) / max(high - low, 1e-12), 0, 1)
        samples = np.rint(255 * samples).astype(np.uint8)
    if samples.shape[-1] not in (1, 3, 4):
        samples = samples[..., :1]
    return {"grid": images.grid(samples, columns)}


def _vector(samples, info, data):
    del data
    return {"points": plots.density_and_samples(samples)} if info.shape == (2,) else {}


def _signal(samples, info, data):
    return {
        "waveforms": panels.waveforms(samples, data, info.columns),
        "spectra": panels.spectra(samples, data, info.columns),
    }


def _volume(samples, info, data):
    del info
    return {"slices": panels.slices(samples, data)}


def _table(samples, info, data):
    return {"pairs": panels.pairs(samples, data, info.columns)}


_VIEWS = {"vector": _vector, "signal": _signal, "volume": _volume, "table": _table}
