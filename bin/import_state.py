"""Makes a checkpoint of what an exported training step left; see --help."""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import import_state

if __name__ == "__main__":
    _cli.main_of(import_state)()
