"""Several workers on this machine, for trying out what runs on many hosts (docs/distributed.md)."""

from collections.abc import Sequence

from lcss_tf import files
from lcss_tf.commands._processes import launch
from lcss_tf.commands.flags.launch import FLAGS
from lcss_tf.commands.main import COMMANDS
from lcss_tf.training.workdir import only_process


def main(arguments: Sequence[str]) -> int:
    """The command."""
    files.check_writable(FLAGS.logs, folder=True)
    command = list(arguments)
    if command and command[0] in COMMANDS:
        command = ["-m", "lcss_tf", *command]
    with only_process(FLAGS.logs):
        return launch(command, FLAGS.workers, FLAGS.logs)
