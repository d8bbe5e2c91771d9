"""Which examples are held out: one rule for every source that is one set of examples."""

import numpy as np

from lcss_tf.errors import UsageError

POLICIES = ("error", "skip")


def held_out(count, test_every):
    """{"train": indices, "test": indices} of `count` examples in their fixed order.

    The first of every `test_every` is held out; the split never changes while the examples do not.
    """
    is_test = np.arange(count) % test_every == 0
    return {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}


def check_policy(policy, owner):
    """Raises a ValueError unless `policy` says what to do about an example that is bad."""
    if policy not in POLICIES:
        raise UsageError(f"{owner}.on_bad_example must be one of {POLICIES}; got {policy!r}.")


def check_test_every(test_every, owner):
    """Raises a ValueError unless at least every second example is left for training."""
    if test_every < 2:
        raise UsageError(f"{owner}.test_every must be at least 2; got {test_every}.")


def require_both(splits, what):
    """Raises a ValueError if a split is empty: training needs at least two examples in all."""
    if any(len(indices) == 0 for indices in splits.values()):
        counts = {split: len(indices) for split, indices in splits.items()}
        raise UsageError(
            f"{what} leave {counts['train']} examples for training and {counts['test']} for "
            "testing; each needs at least one. Add examples."
        )
