"""Trains what a gin file describes: python bin/train.py --gin_file=gin/lcss_digits.gin"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import train

if __name__ == "__main__":
    _cli.main_of(train)()
