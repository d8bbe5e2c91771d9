"""Trains what a gin file describes: python bin/train.py --gin_file=gin/lcss_digits.gin

On several machines: --strategy=multi_worker (docs/distributed.md). A run again, to see whether it
comes out the same: --reproduce=runs/lcss_digits
"""

import sys

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.experiment import dry_run, reproduce, train
from lcss_tf.experiment.train import default_workdir
from lcss_tf.launching import supervise

_GIN_FILE = flags.DEFINE_string("gin_file", None, "The experiment.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Bindings over the file's, e.g. 'train.total_steps=2_000'."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory; runs/<gin file> by default.")
_IMPORT = flags.DEFINE_multi_string("import", [], "A module of yours, or the path of its file.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Build everything, run nothing, print the plan.")
_RESUME = flags.DEFINE_enum(
    "resume", "auto", ["auto", "force"], "force: go on although the configuration differs."
)
_STRATEGY = cli.strategy_flag()
_MAX_RESTARTS = flags.DEFINE_integer(
    "max_restarts", 0, "New starts after a crash, a lost worker or data that hang."
)
_REPRODUCE = flags.DEFINE_string("reproduce", None, "A run to run again, in place of --gin_file.")


def main(_):
    with cli.plain_errors():
        if _MAX_RESTARTS.value:
            command = [sys.executable, *sys.argv, "--max_restarts=0"]
            sys.exit(supervise(command, _MAX_RESTARTS.value))
        bindings = cli.strategy_bindings(_STRATEGY.value) + _GIN_BINDINGS.value
        if _REPRODUCE.value:
            reproduce(_REPRODUCE.value, _WORKDIR.value, bindings)
            return
        if _GIN_FILE.value is None:
            raise ValueError("Give --gin_file, such as gin/lcss_digits.gin, or --reproduce.")
        workdir = _WORKDIR.value or default_workdir(_GIN_FILE.value)
        config.load(_GIN_FILE.value, bindings, _IMPORT.value)
        if _DRY_RUN.value:
            dry_run(workdir)
        else:
            train(workdir, _IMPORT.value, _RESUME.value)


if __name__ == "__main__":
    app.run(main)
