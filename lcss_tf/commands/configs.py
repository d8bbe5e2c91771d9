"""Lists the gin files that come with the package: lcss configs

Any of them can be named without its folder: lcss train --gin_file=lcss_digits.gin
"""

from collections.abc import Sequence

from absl import flags

from lcss_tf.commands._gin import CONFIGS

FLAGS = flags.FlagValues()
flags.DEFINE_bool("all", False, "Also those that others include.", flag_values=FLAGS)


def main(_: Sequence[str]) -> None:
    """The command."""
    print(f"In {CONFIGS}:\n")
    paths = CONFIGS.rglob("*.gin") if FLAGS.all else CONFIGS.glob("*.gin")
    for path in sorted(paths, key=lambda p: (len(p.parts), p)):
        title = path.read_text().splitlines()[0].lstrip("# ").rstrip()
        print(f"  {path.relative_to(CONFIGS)!s:<34}{title}")
