"""Several workers on this machine: python bin/launch.py --workers=2 bin/train.py …"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import launch

if __name__ == "__main__":
    _cli.main_of(launch)()
