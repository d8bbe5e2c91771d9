"""Samplers against network evaluations: python bin/quality.py --workdir=runs/lcss_digits"""

from pathlib import Path

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.experiment import quality
from lcss_tf.experiment.train import default_workdir

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A run, whose checkpoint is sampled; without one there, where to write."
)
_GIN_FILE = flags.DEFINE_string(
    "gin_file", "quality/samplers.gin", "What is measured; with data of known score, no run."
)
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Bindings over the file's, e.g. 'quality.budgets=(10, 20)'."
)


def main(_):
    with cli.plain_errors():
        workdir, gin_file = _WORKDIR.value, _GIN_FILE.value
        if workdir is not None and config.is_run(workdir):
            gin_file = Path(gin_file).resolve() if Path(gin_file).is_file() else gin_file
            config.load_workdir(workdir, [f"include '{gin_file}'", *_GIN_BINDINGS.value])
        elif flags.FLAGS["gin_file"].present:
            config.load(gin_file, _GIN_BINDINGS.value)
            workdir = workdir or default_workdir(gin_file)
        else:
            raise ValueError(
                f"There is no run in {workdir}. Give the --workdir of one, or a --gin_file with "
                "data of known score: gin/quality/mixture64.gin."
            )
        paths = quality(workdir)
        print(f"\n{paths[0].read_text()}")
        print("Written:", *paths, sep="\n  ")


if __name__ == "__main__":
    app.run(main)
