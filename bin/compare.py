"""Trains losses side by side: python bin/compare.py --gin_file=gin/compare_losses.gin"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import compare

if __name__ == "__main__":
    _cli.main_of(compare)()
