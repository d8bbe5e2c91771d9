"""Makes a published score_sde checkpoint a run; see --help."""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import export

if __name__ == "__main__":
    _cli.main_of(export)()
