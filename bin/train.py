"""Trains what a gin file describes: python bin/train.py --gin_file=gin/lcss_digits.gin"""

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.experiment import dry_run, train
from lcss_tf.experiment.train import default_workdir

_GIN_FILE = flags.DEFINE_string("gin_file", None, "The experiment.", required=True)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Bindings over the file's, e.g. 'train.total_steps=2_000'."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory; runs/<gin file> by default.")
_IMPORT = flags.DEFINE_multi_string("import", [], "A module of yours, or the path of its file.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Build everything, run nothing, print the plan.")
_RESUME = flags.DEFINE_enum(
    "resume", "auto", ["auto", "force"], "force: go on although the configuration differs."
)


def main(_):
    with cli.plain_errors():
        workdir = _WORKDIR.value or default_workdir(_GIN_FILE.value)
        config.load(_GIN_FILE.value, _GIN_BINDINGS.value, _IMPORT.value)
        if _DRY_RUN.value:
            dry_run(workdir)
        else:
            train(workdir, _IMPORT.value, _RESUME.value)


if __name__ == "__main__":
    app.run(main)
