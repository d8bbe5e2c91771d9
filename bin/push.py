"""Writes a run as a folder to share, and uploads it; see --help."""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import push

if __name__ == "__main__":
    _cli.main_of(push)()
