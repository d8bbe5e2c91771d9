"""Several workers on this machine, for trying out what runs on many hosts (docs/distributed.md).

python bin/launch.py --workers=2 bin/train.py --strategy=multi_worker --gin_file=gin/lcss_digits.gin
lcss launch --workers=2 train --strategy=multi_worker --gin_file=lcss_digits.gin
"""

from absl import flags

POSITIONAL = "the command, with its flags"
FLAGS = flags.FlagValues()
flags.DEFINE_integer(
    "workers", 2, "How many processes.", lower_bound=1, upper_bound=256, flag_values=FLAGS
)
flags.DEFINE_string(
    "logs", "runs/worker_logs", "Where the others than the first write.", flag_values=FLAGS
)


def parse(words: list[str]) -> list[str]:
    """What stands before the command is for this one; the rest is the command's."""
    own = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    FLAGS(["launch", *words[:own]])
    return words[own:]
