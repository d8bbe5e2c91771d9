"""Post-hoc EMA: python bin/ema.py --workdir=runs/lcss_digits --sigma_rel=0.05,0.07,0.1"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import ema

if __name__ == "__main__":
    _cli.main_of(ema)()
