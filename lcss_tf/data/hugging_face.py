"""Data sets of Hugging Face's package `datasets`: from the disk, its cache, or the Hub."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from lcss_tf.data.around import Around
from lcss_tf.data.columns import Asked, Opened, dataset_of, no_column
from lcss_tf.data.files import absolute
from lcss_tf.errors import MissingPackageError, UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.texts import visible
from lcss_tf.typing import Shape

_SAVED = ("dataset_dict.json", "state.json")  # of `save_to_disk`, several splits or one
_TEST = "test"


@DATASETS.register
class HuggingFace(Around):
    """A data set of Hugging Face's `datasets`, by its name or from a folder. Set one of three:

    | set | what is read | from then on like |
    |---|---|---|
    | `resolution` | the feature ``Image`` in `column`, or arrays of bytes | `ImageFolder` |
    | `shape` | arrays of numbers in `column` | `Arrays` |
    | `columns` | numbers, each column standardised | `Table` |

    It needs the package: ``pip install 'lcss_tf[hub]'``. The network is not touched unless
    `download` is set. Images stay in the Arrow files, which are mapped into memory.

    Args:
      path: a folder that ``save_to_disk`` wrote, a folder of files that ``load_dataset`` reads, or
        a name on the Hub, with a configuration if there are several: ``"glue:cola"``.
      column: of the images or arrays.
      resolution: of the images, in pixels: (height, width), or one number for both.
      channels: of the images: 1 (grey), 3 (RGB) or 4 (RGBA).
      shape: of an array: (D,), (T, channels), (height, width, channels) and so on.
      columns: of the table, in this order.
      label_column: of the classes: a ``ClassLabel``, integers or words; None: no classes.
      train_split, test_split: what the data set calls them. Where there is no "test", the first of
        every `test_every` training examples is held out.
      test_every: at least 2.
      flip, centered, fit: of images, as of `ImageFolder`.
      on_bad_example: ``"error"`` or ``"skip"``.
      download: let `datasets` download what is neither on the disk nor in its cache.

    Raises:
      UsageError: an argument out of its range.
    """

    def __init__(
        self,
        path: str,
        column: str = "image",
        resolution: int | Sequence[int] | None = None,
        channels: int = 3,
        shape: Shape | None = None,
        columns: Sequence[str] | None = None,
        label_column: str | None = None,
        train_split: str = "train",
        test_split: str = _TEST,
        test_every: int = 10,
        flip: bool = False,
        centered: bool = True,
        fit: str = "crop",
        on_bad_example: str = "error",
        download: bool = False,
    ) -> None:
        asked = Asked(column, resolution, shape, columns, label_column, test_every, on_bad_example)
        source = _Hub(os.fspath(path), (train_split, test_split), download)
        super().__init__(dataset_of(source, asked, channels, flip, centered, fit))


class _Hub:
    """The data of a `HuggingFace`, as a source of columns."""

    owner = "HuggingFace"

    def __init__(self, path: str, splits: tuple[str, str], download: bool) -> None:
        self._path, self._splits, self._download = path, splits, download
        self._folder = absolute(path)  # now: the working directory may change
        self.name = visible(os.path.basename(os.path.normpath(path)))
        self.place = visible(path)

    def open(self, columns: Sequence[str]) -> Opened:
        """See `columns.Source`."""
        tables, names = {}, dict[str, Sequence[str]]()
        for split, data in self._found().items():
            missing = [name for name in columns if name not in data.column_names]
            if missing:
                raise no_column(self.owner, self.place, missing[0], data.column_names)
            for name in columns:
                words = getattr(data.features[name], "names", None)
                if words:
                    names[name] = list(words)
            tables[split] = data.select_columns(list(columns)).with_format("arrow")[:]
        of_split = dict(zip(("train", "test"), self._splits, strict=True))
        places = {split: f"{self.place}, split {of_split[split]!r}" for split in tables}
        return Opened(tables, names, places)

    def _found(self) -> dict[str, Any]:
        """{"train": a `datasets.Dataset`, and "test" where it is there}."""
        loaded = self._load()
        known = loaded if hasattr(loaded, "keys") else {self._splits[0]: loaded}
        train, test = self._splits
        for split in (train, *([test] if test != _TEST else [])):
            if split not in known:
                raise UsageError(
                    f"{self.place} has no split {split!r}; it has {sorted(known)}. Set "
                    f"HuggingFace.{'train' if split == train else 'test'}_split."
                )
        found = {"train": known[train]}
        return found | ({"test": known[test]} if test in known else {})

    def _load(self) -> Any:
        datasets = _package()
        if os.path.isdir(self._folder) and any(
            os.path.isfile(os.path.join(self._folder, name)) for name in _SAVED
        ):
            with self._named():
                return datasets.load_from_disk(self._folder)
        name, _, config = self._path.partition(":")
        place = self._folder if os.path.isdir(self._folder) else name
        with self._named(), contextlib.nullcontext() if self._download else _offline():
            return datasets.load_dataset(place, config or None)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the package inside the block say what to put where."""
        try:
            yield
        except Exception as error:  # of damaged JSON, of Arrow, of the package: many kinds
            if isinstance(error, ImportError):
                raise
            reason = f"{type(error).__name__}: {str(error)[:300]}"
            if os.path.isdir(self._folder):
                raise UsageError(
                    f"{self.place} cannot be read by Hugging Face's datasets ({reason}). Write it "
                    "by Dataset.save_to_disk, or copy it again."
                ) from error
            asked = "" if self._download else ", or set HuggingFace.download = True"
            raise FileNotFoundError(
                f"There is no folder {visible(self._folder)}, and {self.place} could not be had "
                f"from the cache{' or the Hub' if self._download else ''} ({reason}). On a machine "
                f"with a network run datasets.load_dataset({self._path.partition(':')[0]!r})"
                ".save_to_disk(folder), copy the folder here, and set HuggingFace.path to it"
                f"{asked}."
            ) from error


def _package() -> Any:
    try:
        import datasets  # an extra, and slow to import
    except ImportError as error:
        raise MissingPackageError(
            "HuggingFace needs the package datasets, which is not installed: pip install "
            "'lcss_tf[hub]'. Parquet files are read without it, by lcss_tf.data.Parquet."
        ) from error
    return datasets


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """The package takes what is on the disk, and raises at once for what is not."""
    from datasets import config
    from huggingface_hub import constants

    places = [(module, "HF_HUB_OFFLINE") for module in (config, constants)]
    before = [getattr(module, name, None) for module, name in places]
    for module, name in places:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)


__all__ = ["HuggingFace"]
