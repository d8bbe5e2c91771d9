"""The inpainting RMSE on held-out images: python bin/inpainting.py --workdir=runs/lcss_digits"""

from lcss_tf.commands import _cli
from lcss_tf.commands.flags import inpainting

if __name__ == "__main__":
    _cli.main_of(inpainting)()
