"""What each command is called with: its help and its flags, a file each.

None of these files imports TensorFlow, Keras or another heavy library: help and wrong flags are
answered at once. A command's work is in the file of the same name in the folder above.
"""
