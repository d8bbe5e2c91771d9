"""The inpainting RMSE: how far what is filled in lies from what was hidden.

python bin/inpainting.py --workdir=runs/lcss_digits
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.commands._places import check_is_run

FLAGS = flags.FlagValues()
_cli.workdir_flag(FLAGS, "The run's directory.", required=True)
flags.DEFINE_string(
    "out", None, "Directory of the table; the run's own by default.", flag_values=FLAGS
)
_cli.bindings_flag(FLAGS, "inpainting.num_images=100")


def check() -> None:
    """What can be said before TensorFlow is imported; raises FileNotFoundError."""
    check_is_run(FLAGS.workdir)
