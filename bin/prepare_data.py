"""Converts images once: python bin/prepare_data.py --source=photos/ --resolution=256 --out=data"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import prepare

if __name__ == "__main__":
    _cli.main_of(prepare)()
