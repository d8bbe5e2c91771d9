"""What a score_sde checkpoint file holds, sorted by parameter.

It holds the parameters three times: the weights by name, their moving averages as a list in
the order of the weights that are trained, and Adam's moments by number in the order of all.
"""

from typing import NamedTuple

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.importers.score_sde import fitted, named, state_variables


class Checkpoint(NamedTuple):
    """What a score_sde checkpoint holds; every dict is by parameter, in the reference's layout.

    step: training steps done. weights: of the network. average: its exponential moving average.
    moments: Adam's first and second moments, or None where the file has none.
    """

    step: int
    weights: dict
    average: dict
    moments: tuple | None


def checkpoint(content, network):
    """Sorts what a checkpoint file holds by parameter.

    Args:
      content: nested dicts and lists of arrays: model, ema and, if it is there, optimizer, step.
      network: a built `NCSNpp` of the same configuration; says which parameters are trained.

    Returns:
      A `Checkpoint`.

    Raises:
      ValueError: a part is missing, or the numbers of tensors do not agree.
    """
    content = content if hasattr(content, "items") else {}
    absent = [key for key in ("model", "ema") if key not in content]
    if absent or "shadow_params" not in content.get("ema", {}):
        raise UsageError(
            "This is no checkpoint of score_sde, which holds 'model' (a state_dict) and 'ema' "
            f"(with 'shadow_params'); it holds {sorted(map(str, content)) or 'no dict'}."
        )
    weights = named(content["model"])
    variables = state_variables(network)
    fitted(variables, weights)  # before the lists, which know no names
    trained = [name for name in weights if variables[name].trainable]
    shadows = content["ema"]["shadow_params"]
    if len(shadows) != len(trained):
        raise UsageError(
            f"The average holds {len(shadows)} tensors (ema.shadow_params), and the network has "
            f"{len(trained)} trained ones. Is its configuration the network's?"
        )
    # What is not trained has no average of its own.
    average = weights | dict(zip(trained, map(np.asarray, shadows), strict=True))
    fitted(variables, average)
    moments = _moments(content.get("optimizer"), list(weights), trained)
    return Checkpoint(int(content.get("step", 0)), weights, average, moments)


def _moments(optimizer, names, trained):
    """Adam's moments by name: entry i of its state belongs to the i-th of all parameters."""
    entries = (optimizer or {}).get("state", {})
    by_name = {names[int(i)]: entry for i, entry in entries.items() if int(i) < len(names)}
    if not all("exp_avg" in by_name.get(name, {}) for name in trained):
        return None
    return tuple(
        {name: np.asarray(by_name[name][key]) for name in trained}
        for key in ("exp_avg", "exp_avg_sq")
    )
