"""Which checkpoints of a run are meant: one, a range, all."""

import re

from lcss_tf.errors import UsageError
from lcss_tf.training.checkpoints import CheckpointError

BEST = "best"
_RANGE = re.compile(r"(\d*)-(\d*)")


def step_of(path):
    """The step of a checkpoint's file; None of the best one's."""
    digits = path.stem.removeprefix("step_")
    return int(digits) if digits.isdigit() else None


def chosen(checkpoints, text):
    """Paths of checkpoints, oldest first.

    Args:
      checkpoints: `Checkpoints` of the run.
      text: "newest", "best", "all", a step as "4000", or a range as "1000-4000", "1000-", "-4000".

    Raises:
      CheckpointError: there is none such; the message lists those there are.
      ValueError: another text.
    """
    paths, text = checkpoints.paths(), text.replace("_", "").replace(",", "")
    if text == BEST:
        found = [checkpoints.best_path] if checkpoints.best_path.is_file() else []
    elif text == "newest":
        found = paths[-1:]
    elif text == "all":
        found = paths
    elif text.isdigit():
        found = [path for path in paths if step_of(path) == int(text)]
    elif (match := _RANGE.fullmatch(text)) and any(match.groups()):
        low, high = int(match[1] or 0), int(match[2] or 10**18)
        found = [path for path in paths if low <= step_of(path) <= high]
    else:
        raise UsageError(
            f"--checkpoint={text!r}: expected newest, best, all, a step as 4000, or a range as "
            "1000-4000, 1000- or -4000."
        )
    if not found:
        there = ", ".join(f"{step_of(path):,}" for path in paths) or "none"
        raise CheckpointError(
            f"No checkpoint fits --checkpoint={text}. Steps there are: {there}. checkpoints.keep "
            "sets how many are kept in training, watch.every keeps the best."
        )
    return found
