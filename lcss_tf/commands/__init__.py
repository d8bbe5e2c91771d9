"""The command line. A command reads its flags and its gin file, builds the objects that a notebook
builds, and calls the same methods. All that knows files, flags and gin is in this folder."""
