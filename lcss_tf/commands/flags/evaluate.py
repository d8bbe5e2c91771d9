"""Measures a run's samples.

python bin/evaluate.py --workdir=runs/lcss_digits

Samples of any origin, without a run; real data are a gin file, a data set or files of yours:

python bin/evaluate.py --samples=theirs.npz --reference=gin/lcss_fashion.gin

With --likelihood: the bits/dim of held-out images, or nats of other data; no samples.
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.commands._places import check_is_run
from lcss_tf.errors import UsageError

FLAGS = flags.FlagValues()
_cli.workdir_flag(FLAGS, "The run's directory.")
flags.DEFINE_string(
    "samples", None, "A .npy or .npz file of samples, in place of a run.", flag_values=FLAGS
)
flags.DEFINE_string(
    "reference", None,
    "The real data of --samples: a gin file, a run, the name of a data set, or files.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "out", None, "Where the report of --samples goes; <file>_evaluation by default.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_multi_string(
    "import", [], "A module of yours that --reference needs, or the path of its file",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_boolean("likelihood", False, "Held-out likelihood, not samples.", flag_values=FLAGS)
_cli.bindings_flag(FLAGS, "Evaluation.seed=2")
flags.DEFINE_string(
    "checkpoint", "newest", "newest, best, all, a step as 4000, or a range as 1000-4000.",
    flag_values=FLAGS,
)  # fmt: skip
_cli.strategy_flag(FLAGS)
flags.DEFINE_bool(
    "follow", False, "Evaluate checkpoints as training writes them.", flag_values=FLAGS
)
flags.DEFINE_bool("stats_only", False, "Only the statistics of real data.", flag_values=FLAGS)


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError, FileNotFoundError."""
    if FLAGS.samples is not None:
        _check_samples()
        return
    if FLAGS.workdir is None:
        raise UsageError("Give --workdir, a run's directory, or --samples and --reference.")
    for flag in ("reference", "out", "import"):
        if FLAGS[flag].present:
            raise UsageError(f"--{flag} goes with --samples; a run knows its own. Leave it out.")
    if not FLAGS.follow:  # which waits for the run
        check_is_run(FLAGS.workdir)


def _check_samples() -> None:
    for flag in ("workdir", "likelihood", "checkpoint", "follow", "stats_only", "strategy"):
        if FLAGS[flag].present:
            raise UsageError(f"--samples measures a file; --{flag} is about a run. Leave it out.")
    if FLAGS.reference is None:
        raise UsageError(
            "--samples needs --reference, the real data: a gin file, a run's directory, the name "
            "of a data set such as FashionMNIST, or files of yours."
        )
