"""The gin roots: what bin/ hands over to. `train`, `sample`, `restore`, `evaluate`, and others."""

from lcss_tf.experiment.evaluation import evaluate
from lcss_tf.experiment.filling import filling_error
from lcss_tf.experiment.importing import import_checkpoint
from lcss_tf.experiment.quality import quality
from lcss_tf.experiment.recipe import Recipe
from lcss_tf.experiment.restoring import restore
from lcss_tf.experiment.sampling import sample
from lcss_tf.experiment.tasks import TASKS, Request
from lcss_tf.experiment.train import dry_run, train

__all__ = [
    "TASKS",
    "Recipe",
    "Request",
    "dry_run",
    "evaluate",
    "filling_error",
    "import_checkpoint",
    "quality",
    "restore",
    "sample",
    "train",
]
