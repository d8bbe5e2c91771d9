"""Samples of one checkpoint in files of a thousand or so: what is finished survives a kill."""

import shutil

from tqdm import tqdm

from lcss_tf import files, random
from lcss_tf.features import Outputs

_SHARD = 1_024  # samples in a file, about


class Shards:
    """Draws samples shard by shard, each from a seed of its own, and reads them back.

    Memory holds one shard at a time. A file that is missing or damaged is made again, to the same
    bits; features of extractors that are costly are kept in it too.

    Args:
      directory: of the files.
      generation: a `Generation`.
      info: the `DataInfo`.
      seed: of the samples.
      writes: whether this process writes; of several workers the chief alone does.
    """

    def __init__(self, directory, generation, info, seed, writes=True):
        self._directory, self._generation, self._writes = directory, generation, writes
        self._info, self._seed = info, seed
        batch = generation.batch_size
        self.size = -(-_SHARD // batch) * batch

    def outputs(self, count, extractors, progress=True):
        """Yields (samples [B, ...] in the data's own units, {identity: `Outputs`}) up to `count`.

        Raises:
          FloatingPointError: samples are not finite.
        """
        with tqdm(total=count, unit=" samples", desc="samples", disable=not progress) as bar:
            for start in range(0, count, self.size):
                size = min(self.size, count - start)
                arrays = self._shard(start // self.size, size)
                found, new = {}, {}
                for extractor in extractors:
                    outputs = _stored(arrays, extractor, size)
                    if outputs is None:
                        outputs = extractor(arrays["samples"])
                        new |= _arrays(outputs, extractor) if extractor.costly else {}
                    found[extractor.identity()] = outputs
                if new and self._writes:
                    files.write_arrays(self._path(start // self.size), arrays | new)
                yield arrays["samples"], found
                bar.update(size)

    def remove(self):
        """Removes the files, of interrupted runs as well."""
        if self._writes:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _shard(self, index, size):
        """The arrays of a shard with at least `size` samples, cut to these."""
        arrays = files.read_arrays(self._path(index))
        if arrays is None or len(arrays.get("samples", ())) < size:
            # Shard 0 has the samples that `Generation` gives for the seed itself.
            seed = random.seed_for(self._seed, "shard", index) if index else self._seed
            samples = self._info.unscale(self._generation(size, seed, progress=False))
            arrays = {"samples": samples}
            if self._writes:
                files.write_arrays(self._path(index), arrays)
        return {key: value[:size] for key, value in arrays.items()}

    def _path(self, index):
        return self._directory / f"shard_{index:05d}.npz"


def _keys(extractor):
    key = files.text_hash(extractor.identity())[:16]
    return f"features_{key}", f"logits_{key}"


def _stored(arrays, extractor, size):
    features, logits = (arrays.get(key) for key in _keys(extractor))
    if features is None or len(features) < size:
        return None
    return Outputs(features, logits)


def _arrays(outputs, extractor):
    pairs = zip(_keys(extractor), outputs, strict=True)
    return {key: value for key, value in pairs if value is not None}
