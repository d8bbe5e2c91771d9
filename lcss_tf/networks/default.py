"""The network that fits examples of a shape, where the user names none."""

import math
from typing import Any

import keras
import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.networks.mlp import MLP
from lcss_tf.networks.ncsnpp import NCSNpp
from lcss_tf.typing import Shape

_SHORTEST_SIDE = 4  # of the coarsest level
_MOST_ATTENDED = 256  # places of a level with attention: those of a 16×16 image
_MOST_PLACES = 4096  # of the coarsest level, which has attention in any case


def default_network(
    shape: Shape,
    num_classes: int | None = None,
    embedding: str = "positional",
    condition_size: int | None = None,
    condition_channels: int | None = None,
    augmentation_size: int | None = None,
) -> keras.Model:
    """An MLP for vectors; a DDPM++ of modest width for signals, images and volumes.

    The MLP is 4 d wide, rounded up to a power of two in [128, 1024], with 4 residual layers.

    The DDPM++ halves the sides while all of them are even and the halves are at least 4. It has
    16 features at full resolution for sides up to 8, 32 for sides up to 32 or 1,024 places, else
    64; and twice as many on the other levels. A level has one residual block for sides up to 8,
    else two. Levels below full resolution have attention if they have at most 256 places.

    Args:
      shape: of one example: (d,), or spatial axes and channels, e.g. (height, width, channels).
      num_classes: of a class-conditional network; None: no classes.
      embedding: of the noise label: ``"positional"`` for labels like 999·t, ``"fourier"`` for
        labels like σ, as VE's.
      condition_size: of a network that is told so many numbers; None: it is not.
      condition_channels: of a network that is told an image of so many channels; None: it is not.
      augmentation_size: of a network that is told how images were augmented; None: it is not.

    Returns:
      The network, not yet built.

    Raises:
      UsageError: no network takes such examples.
    """
    shape = tuple(shape)
    if not 1 <= len(shape) <= 4 or any(size is None or size < 1 for size in shape):
        raise UsageError(
            "Examples have shape (d,), or 1 to 3 spatial axes and channels, all sizes known and "
            f"positive; got {shape}. Reshape the data, or pass a network of your own."
        )
    options: dict[str, Any] = {
        "num_classes": num_classes,
        "condition_size": condition_size,
        "embedding": embedding,
    }
    if len(shape) == 1:
        if condition_channels is not None:
            raise UsageError(
                "An image condition needs examples with spatial axes; got examples of shape "
                f"{shape}. Give the numbers of the condition as a vector: reshape it to [N, K]."
            )
        width = 2 ** math.ceil(math.log2(4 * shape[0]))
        return MLP(width=min(max(width, 128), 1024), **options)
    levels = _levels(shape[:-1])
    if math.prod(levels[-1]) > _MOST_PLACES:
        raise UsageError(
            f"Sides {shape[:-1]} can be halved {len(levels) - 1} times only, and attention over "
            f"the {math.prod(levels[-1]):,} places that remain takes too much memory. Pad or crop "
            "the data to sides that are multiples of 8, or pass a network of your own."
        )
    side, places = max(shape[:-1]), math.prod(shape[:-1])
    features = 16 if side <= 8 else 32 if side <= 32 or places <= 1024 else 64
    return NCSNpp(
        num_features=features,
        channel_multipliers=(1,) + (2,) * (len(levels) - 1),
        num_res_blocks=1 if side <= 8 else 2,
        attention_resolutions=[
            max(sides) for sides in levels[1:] if math.prod(sides) <= _MOST_ATTENDED
        ],
        dropout=0.0,
        condition_channels=condition_channels,
        augmentation_size=augmentation_size,
        **options,
    )


def network_for(data: Any, sde: Any) -> keras.Model:
    """The `default_network` for a `Dataset` under an SDE: it is told the classes or conditions."""
    beside = getattr(data, "condition", None)
    options: dict[str, Any] = {"embedding": sde.label_embedding}
    options["augmentation_size"] = getattr(data, "augmentation_size", None)
    if beside is not None:
        size = "condition_size" if len(beside.shape) == 1 else "condition_channels"
        options[size] = beside.shape[-1]
    elif hasattr(data, "labels") and (labels := data.labels("train")) is not None:
        options["num_classes"] = int(np.max(labels)) + 1
    return default_network(sde.state_shape(data.shape), **options)


def _levels(sides: Shape) -> list[tuple[int, ...]]:
    """The sides at each resolution, the first as given."""
    levels = [tuple(sides)]
    while all(n % 2 == 0 and n // 2 >= _SHORTEST_SIDE for n in levels[-1]):
        levels.append(tuple(n // 2 for n in levels[-1]))
    return levels


__all__ = ["default_network", "network_for"]
