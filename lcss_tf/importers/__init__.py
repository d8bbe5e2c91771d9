"""Weights from elsewhere: published checkpoints of other implementations."""

from lcss_tf.importers import score_sde, score_sde_checkpoint, torch_file

__all__ = ["score_sde", "score_sde_checkpoint", "torch_file"]
