"""Samplers against NFE: python bin/quality.py --workdir=runs/lcss_digits"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import quality

if __name__ == "__main__":
    _cli.main_of(quality)()
