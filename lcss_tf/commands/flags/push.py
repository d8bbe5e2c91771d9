r"""Writes a run as a folder to share, and uploads it to the Hugging Face Hub.

python bin/push.py --workdir=runs/lcss_digits --dry_run
python bin/push.py --workdir=runs/lcss_digits --name=owner/digits --license=apache-2.0

The folder holds the weights as safetensors, what the model is as JSON, and a card: data, recipe,
figures of the run's evaluation, the command that trained it. lcss.ScoreModel.from_hub loads it.
"""

import importlib.util
import sys

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.commands._places import check_is_run
from lcss_tf.errors import MissingPackageError, UsageError

FLAGS = flags.FlagValues()
_cli.workdir_flag(FLAGS, "The run.", required=True)
flags.DEFINE_string(
    "name", None, "The repository, owner/model; it is made if need be.", flag_values=FLAGS
)
flags.DEFINE_bool("dry_run", False, "Write the folder alone.", flag_values=FLAGS)
flags.DEFINE_string("out", None, "The folder; by default <workdir>/hub.", flag_values=FLAGS)
flags.DEFINE_string("checkpoint", "newest", "newest, best or a step.", flag_values=FLAGS)
flags.DEFINE_string(
    "license", None, "Of the weights, as the hub spells it: apache-2.0, cc-by-4.0, …",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_bool(
    "private", False, "Whether a new repository is seen by its owner alone.", flag_values=FLAGS
)


def check() -> None:
    """What can be said before TensorFlow is imported; raises UsageError, FileNotFoundError."""
    if FLAGS.name is None and not FLAGS.dry_run:
        raise UsageError("Give --name=owner/model, or --dry_run, which writes the folder alone.")
    needed = ["safetensors"] if FLAGS.dry_run else ["safetensors", "huggingface_hub"]
    for package in needed:
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            raise MissingPackageError(
                f"lcss push needs {package}, which is not installed: pip install 'lcss_tf[hub]'."
            )
    check_is_run(FLAGS.workdir)
