"""Lists the gin files that come with the package: lcss configs

Any of them can be named without its folder: lcss train --gin_file=lcss_digits.gin
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_bool("all", False, "Also those that others include.", flag_values=FLAGS)
