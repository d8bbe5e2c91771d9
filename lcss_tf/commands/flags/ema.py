"""Makes averages of the weights of other lengths than those that a run kept: post-hoc EMA.

python bin/ema.py --workdir=runs/lcss_digits --sigma_rel=0.05,0.07,0.1,0.15 --measure
python bin/ema.py --workdir=runs/lcss_digits --sigma_rel=0.07 --out=runs/lcss_digits_007

The run was trained with ScoreModel.average = @averages.PowerFunction(). Its checkpoint and the
snapshots in <workdir>/averages are combined (docs/training.md).
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.commands._places import check_is_run
from lcss_tf.errors import UsageError

FLAGS = flags.FlagValues()
_cli.workdir_flag(FLAGS, "The run's directory.", required=True)
flags.DEFINE_list(
    "sigma_rel", None, "Lengths as shares of the training, e.g. 0.05,0.07,0.1; at most 0.2886.",
    flag_values=FLAGS, required=True,
)  # fmt: skip
flags.DEFINE_string(
    "out", None,
    "Where they go: a model file x.lcss, or the directory of a run that sample and evaluate take; "
    "of several lengths, x_0.07 and so on. By default <workdir>/averages/ema_0.07.lcss, and "
    "nowhere with --measure.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_bool(
    "measure", False, "Measure samples drawn by each, and write <workdir>/averages/sweep.md.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string("checkpoint", "newest", "newest, best, or a step as 4000.", flag_values=FLAGS)
_cli.bindings_flag(FLAGS, "EMASweep.metric=@metrics.KID()")


def sigma_rels() -> list[float]:
    """--sigma_rel as numbers.

    Raises:
      UsageError: a word that is none, or a length twice.
    """
    try:
        found = [float(word) for word in FLAGS.sigma_rel]
    except ValueError as error:
        raise UsageError(
            f"--sigma_rel={','.join(FLAGS.sigma_rel)}: expected numbers with commas between, as "
            "0.05,0.07,0.1."
        ) from error
    if not found or len(set(found)) < len(found):
        raise UsageError("--sigma_rel expects one length or several different ones.")
    return found


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError, FileNotFoundError."""
    sigma_rels()
    check_is_run(FLAGS.workdir)
