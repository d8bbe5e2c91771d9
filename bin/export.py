"""Writes a model as a program for JAX, or as a SavedModel; see --help."""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import export

if __name__ == "__main__":
    _cli.main_of(export)()
