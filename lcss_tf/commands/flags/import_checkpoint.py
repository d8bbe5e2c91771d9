r"""Makes a published score_sde checkpoint a run.

python bin/import_checkpoint.py --source=checkpoint_8.pth \
    --gin_file=gin/score_sde/cifar10_ncsnpp_ve.gin --workdir=runs/imported
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.errors import UsageError

FLAGS = flags.FlagValues()
flags.DEFINE_string("source", None, "The .pth file.", flag_values=FLAGS, required=True)
_cli.gin_flags(FLAGS)
_cli.workdir_flag(FLAGS, "The run to make.", required=True)


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError."""
    if FLAGS.gin_file is None:
        raise UsageError("Give --gin_file: it describes the checkpoint's network and SDE.")
