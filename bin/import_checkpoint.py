"""Makes a published score_sde checkpoint a run of ours.

python bin/import_checkpoint.py --source=checkpoint_8.pth \\
    --gin_file=gin/score_sde/cifar10_ncsnpp_ve.gin --workdir=runs/imported
"""

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.experiment import import_checkpoint

_SOURCE = flags.DEFINE_string("source", None, "The .pth file.", required=True)
_GIN_FILE = flags.DEFINE_string("gin_file", None, "Describes its network and SDE.", required=True)
_GIN_BINDINGS = flags.DEFINE_multi_string("gin_bindings", [], "Bindings over the file's.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run to make.", required=True)
_IMPORT = flags.DEFINE_multi_string("import", [], "A module of yours, or the path of its file.")


def main(_):
    with cli.plain_errors():
        config.load(_GIN_FILE.value, _GIN_BINDINGS.value, _IMPORT.value)
        path, state = import_checkpoint(_SOURCE.value, _WORKDIR.value, _IMPORT.value)
        print(f"Imported {state.num_parameters():,} parameters at step {state.step:,}: {path}")
        print(f"Draw samples:  python bin/sample.py --workdir={_WORKDIR.value} --num_samples=64")
        print(f"Evaluate:      python bin/evaluate.py --workdir={_WORKDIR.value}")
        print(
            f"Fine-tune:     python bin/train.py --gin_file={_GIN_FILE.value} "
            f"--workdir={_WORKDIR.value} --resume=force "
            f"--gin_bindings='train.total_steps={state.step + 10_000}'"
        )


if __name__ == "__main__":
    app.run(main)
