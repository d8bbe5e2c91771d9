"""Several workers on this machine, for trying out what runs on many hosts (docs/distributed.md):

python bin/launch.py --workers=2 bin/train.py --strategy=multi_worker --gin_file=gin/lcss_digits.gin
"""

import sys

from absl import app, flags

from lcss_tf import cli
from lcss_tf.launching import launch

_WORKERS = flags.DEFINE_integer("workers", 2, "How many processes.")
_LOGS = flags.DEFINE_string("logs", "runs/worker_logs", "Where the others than the first write.")


def main(arguments):
    with cli.plain_errors():
        sys.exit(launch(arguments[1:], _WORKERS.value, _LOGS.value))


def own_flags(arguments):
    """What stands before the command is for this file; the rest is the command's."""
    own = next((i for i, a in enumerate(arguments) if i and not a.startswith("-")), len(arguments))
    return flags.FLAGS([*arguments[:own], "--", *arguments[own:]])


if __name__ == "__main__":
    app.run(main, flags_parser=own_flags)
