"""Runs a run again, from what its workdir records, and says whether it came out the same."""

from pathlib import Path

import numpy as np

from lcss_tf import config
from lcss_tf.experiment.train import train
from lcss_tf.provenance import differences, provenance
from lcss_tf.training.checkpoints import Checkpoints


def reproduce(source, workdir=None, bindings=()):
    """Trains again what the run `source` trained, in another workdir, deterministically.

    Prints in what versions, commit and machine differ, and at the end whether the checkpoints of
    the last common step are the same to the bit; if not, by how much they differ.

    Args:
      source: the run's workdir.
      workdir: of the new run; ``<source>_again`` by default.
      bindings: over the run's own, e.g. of other devices.

    Returns:
      The largest relative difference of weights, 0 for equal bits; None without a common step.

    Raises:
      FileNotFoundError: `source` holds no run.
    """
    source = Path(source)
    workdir = Path(workdir or source.with_name(source.name + "_again"))
    recorded = config.recorded(source)
    bindings = [*recorded.get("devices", ()), "train.deterministic = True", *bindings]
    imports = config.load_workdir(source, bindings)
    changed = differences(recorded, provenance())
    print(f"Running {source} of {recorded.get('started', 'an unknown time')} again in {workdir}.")
    if changed:
        print("What differs, and may change the numbers:", *changed, sep="\n  ")
    train(workdir, imports)
    return _compare(source, workdir)


def _compare(source, workdir):
    then, now = ({p.name: p for p in Checkpoints(d).paths()} for d in (source, workdir))
    common = sorted(then.keys() & now.keys())
    if not common:
        print(f"{source} and {workdir} have no checkpoint of a common step to compare.")
        return None
    with np.load(then[common[-1]]) as old, np.load(now[common[-1]]) as new:
        largest = max(
            (_relative(old[key], new[key]) for key in old.files if key.startswith("network/")),
            default=0.0,
        )
    step = int(common[-1].removeprefix("step_").removesuffix(".npz"))
    if largest == 0:
        print(f"At step {step:,} the weights equal those of {source} to the bit.")
    else:
        print(f"At step {step:,} the weights differ from those of {source} by {largest:.1e}.")
    return largest


def _relative(a, b):
    if np.array_equal(a, b):
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-30))
