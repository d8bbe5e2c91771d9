"""Samples from a run.

python bin/sample.py --workdir=runs/lcss_digits --num_samples=64

Inpainting and more (docs/control.md):
python bin/sample.py --workdir=runs/lcss_digits --task=inpaint --mask=half --input=test
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.commands._places import check_is_run

CONDITION = (
    "What the samples are drawn given: age=63,bmi=27; a .csv, .npy or .npz file of conditions, or "
    "an image; 'test:16', those of held-out examples; or null, any."
)
FLAGS = flags.FlagValues()
_cli.workdir_flag(FLAGS, "The run's directory.", required=True)
_TASKS = ("sample", "encode", "interpolate", "inpaint", "colourise", "superresolve")
flags.DEFINE_enum("task", "sample", _TASKS, "What to do.", flag_values=FLAGS)
flags.DEFINE_integer(
    "num_samples", None,
    "How many samples, 64 by default (of points 2,048); of a task, for each input, 4.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "out", None, "Where to write; <workdir>/samples/... by default.", flag_values=FLAGS
)
flags.DEFINE_integer("seed", 0, "Seed of the samples.", flag_values=FLAGS)
flags.DEFINE_string(
    "label", None, "The class of all samples, of a network with classes: its name or number.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string("condition", None, CONDITION, flag_values=FLAGS)
flags.DEFINE_float(
    "guidance", None, "Classifier-free: 1 is none, more is stronger.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "trajectory", False, "Also a GIF and a picture of the trajectory.", flag_values=FLAGS
)
flags.DEFINE_multi_string(
    "input", [], "Of a task: files in the data's shape, or 'test' for held-out examples.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "mask", "half", "half, box, random, or a file: white is known.", flag_values=FLAGS
)
flags.DEFINE_integer("factor", 2, "Of super-resolution.", flag_values=FLAGS)
flags.DEFINE_float(
    "noise_std", 0.0, "Of the noise in the input; in normalised units.", flag_values=FLAGS
)
flags.DEFINE_string("checkpoint", "newest", "newest, best, or a step as 4000.", flag_values=FLAGS)
_cli.strategy_flag(FLAGS)
_cli.bindings_flag(FLAGS, "EulerMaruyama.num_steps=250")


def check() -> None:
    """What can be said before TensorFlow is imported; raises FileNotFoundError."""
    check_is_run(FLAGS.workdir)
