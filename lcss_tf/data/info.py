"""What there is to know about data once they are gone: stored beside every run."""

import dataclasses
import json

from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError

# How people look at an example, and its rank: an image (H, W, C), a signal (T, C), a volume or a
# short video (D, H, W, C), a row of a table (columns,), any other vector or array.
RANKS = {"image": 3, "vector": None, "signal": 2, "volume": 4, "table": 1}
KINDS = tuple(RANKS)


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """The facts that sampling and plotting need, without the data themselves.

    Attributes:
      name: of the dataset, for titles and messages.
      shape: of one example, e.g. (8, 8, 1) or (2,).
      kind: how people look at it: ``"image"``, ``"vector"``, ``"signal"`` (T, C), ``"volume"``
        (D, H, W, C; short videos too) or ``"table"`` (columns,).
      scaling: how the data were scaled.
      columns: the names of a table's columns, or of a signal's channels; may be empty.

    Raises:
      ValueError: another kind, or a shape of another rank, such as an image's that is not
        (H, W, C).
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    scaling: Scaling
    columns: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        object.__setattr__(self, "columns", tuple(self.columns))
        if self.kind not in KINDS:
            raise UsageError(f"The kind of data is one of {KINDS}; got {self.kind!r}.")
        if self.kind == "image" and len(self.shape) != 3:
            raise UsageError(f"An image has the shape (height, width, channels); got {self.shape}.")
        if RANKS[self.kind] not in (None, len(self.shape)):
            raise UsageError(
                f"Data of the kind {self.kind!r} have {RANKS[self.kind]} axes; got {self.shape}."
            )

    def unscale(self, x):
        """Scaled examples in the data's own units: uint8 images, float32 vectors."""
        return self.scaling.unscale(x)

    def to_json(self):
        """A JSON string that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text):
        """The `DataInfo` that `to_json` wrote.

        Raises:
          ValueError: the text is not such a string.
        """
        try:
            fields = json.loads(text)
            return cls(**{**fields, "scaling": Scaling(**fields["scaling"])})
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"Not a description of data as DataInfo.to_json writes it ({error}): {text[:200]!r}"
            ) from error
