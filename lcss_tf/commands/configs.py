"""Lists the gin files that come with the package: lcss configs"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from lcss_tf.commands._places import CONFIGS
from lcss_tf.commands.flags.configs import FLAGS
from lcss_tf.display import say


def main(_: Sequence[str]) -> None:
    """The command."""
    say(f"In {CONFIGS}:\n")
    paths = CONFIGS.rglob("*.gin") if FLAGS.all else CONFIGS.glob("*.gin")
    for path in sorted(paths, key=lambda p: (len(p.parts), p)):
        say(f"  {path.relative_to(CONFIGS)!s:<34}{title(path)}")


def title(path: Path) -> str:
    """What a gin file is, from the comment that it opens with, in a line."""
    text = path.read_text().split("\n#\n")[0].split("\n\n")[0]
    lines = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    return textwrap.shorten(" ".join(lines), 90, placeholder=" …")
