"""Samples from a run: python bin/sample.py --workdir=runs/lcss_digits --num_samples=64"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import sample

if __name__ == "__main__":
    _cli.main_of(sample)()
