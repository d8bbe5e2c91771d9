"""Samples from a run.

python bin/sample.py --workdir=runs/lcss_digits --num_samples=64

Inpainting and more (docs/control.md):
python bin/sample.py --workdir=runs/lcss_digits --task=inpaint --mask=half --input=test
"""

from absl import flags

from lcss_tf.commands import _cli
from lcss_tf.commands._places import check_is_run
from lcss_tf.errors import UsageError

CONDITION = (
    "What the samples are drawn given: age=63,bmi=27; a .csv, .npy or .npz file of conditions, or "
    "an image; 'test:16', those of held-out examples; or null, any."
)
FLAGS = flags.FlagValues()
_cli.workdir_flag(FLAGS, "The run's directory.", required=True)
_TASKS = ["sample", "encode", "interpolate"]
_TASKS += ["inpaint", "colourise", "superresolve", "operator", "edit"]
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
flags.DEFINE_string(
    "guidance_interval", None,
    "Noise levels sigma_t/alpha_t within which guidance acts, as 0.2,5; beside --guidance.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "weaker", None,
    "Autoguidance: a weaker run, or a file of one, by which to guide; beside --guidance.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_string(
    "weaker_checkpoint", "newest", "Of the weaker run: newest, best, or a step as 1000.",
    flag_values=FLAGS,
)  # fmt: skip
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
flags.DEFINE_string(
    "operator", None, "Of the task operator: one that is registered, as GaussianBlur.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_bool(
    "observed", False, "The inputs are what is observed, and not examples to be observed.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_float(
    "strength", 0.6, "Of the task edit: the time, over T, to which an input is noised.",
    flag_values=FLAGS,
)  # fmt: skip
flags.DEFINE_float(
    "noise_std", 0.0, "Of the noise in the input; in normalised units.", flag_values=FLAGS
)
flags.DEFINE_string("checkpoint", "newest", "newest, best, or a step as 4000.", flag_values=FLAGS)
_cli.import_flag(FLAGS)
_cli.strategy_flag(FLAGS)
_cli.bindings_flag(FLAGS, "EulerMaruyama.num_steps=250")


def check() -> None:
    """What can be said before TensorFlow is imported; raises FileNotFoundError."""
    check_is_run(FLAGS.workdir)
    if (FLAGS.task == "operator") != (FLAGS.operator is not None):
        raise UsageError(
            "--task=operator and --operator go together: --task=operator --operator=GaussianBlur, "
            "for instance."
        )
    for name in ("guidance_interval", "weaker"):
        if FLAGS[name].value is not None and FLAGS.guidance is None:
            raise UsageError(
                f"--{name} says how to guide, and not how strongly: add --guidance, such as 2."
            )
