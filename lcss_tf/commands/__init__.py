"""The command line. A command reads its flags and its gin file, builds the objects that a notebook
builds, and calls the same methods. All that knows files, flags and gin is in this folder."""

from lcss_tf.display import open_closed_streams

# Before TensorFlow is imported, and opens files.
open_closed_streams()
