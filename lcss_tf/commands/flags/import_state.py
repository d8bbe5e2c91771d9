r"""Makes a checkpoint of what an exported training step left where it ran.

python bin/import_state.py --program=exported/step --arrays=after.npz --workdir=runs/lcss_digits

The program's folder says of which configuration it is. The workdir is new, or holds a run of that
configuration with fewer steps.
"""

from absl import flags

from lcss_tf.commands import _cli

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "program", None, "The folder that lcss export wrote.", flag_values=FLAGS, required=True
)
flags.DEFINE_string(
    "arrays", None, "A .npz of arrays under the names of program.json, and step.",
    flag_values=FLAGS, required=True,
)  # fmt: skip
_cli.workdir_flag(FLAGS, "The run to make, or to move on.", required=True)
_cli.bindings_flag(FLAGS, "fit.steps=20_000", "the program's")
