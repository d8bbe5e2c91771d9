"""Published weights of other implementations: `score_sde`'s checkpoints, and PyTorch's files."""

from lcss_tf.importers import score_sde, torch_file

__all__ = ["score_sde", "torch_file"]
