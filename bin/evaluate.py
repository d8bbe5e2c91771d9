"""Measures a run's samples: python bin/evaluate.py --workdir=runs/lcss_digits"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import evaluate

if __name__ == "__main__":
    _cli.main_of(evaluate)()
