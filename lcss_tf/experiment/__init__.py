"""The gin roots: what bin/ hands over to.

`train`, `reproduce`, `sample`, `restore`, `filling_error`, `evaluate`, `evaluate_likelihood`,
`quality`, `import_checkpoint`.
"""

from lcss_tf.experiment.evaluation import evaluate
from lcss_tf.experiment.filling import filling_error
from lcss_tf.experiment.importing import import_checkpoint
from lcss_tf.experiment.likelihood import evaluate_likelihood
from lcss_tf.experiment.plan import dry_run
from lcss_tf.experiment.quality import quality
from lcss_tf.experiment.recipe import Recipe
from lcss_tf.experiment.reproduce import reproduce
from lcss_tf.experiment.restoring import restore
from lcss_tf.experiment.sampling import sample
from lcss_tf.experiment.tasks import TASKS, Request
from lcss_tf.experiment.train import train

__all__ = [
    "Recipe",
    "Request",
    "TASKS",
    "dry_run",
    "evaluate",
    "evaluate_likelihood",
    "filling_error",
    "import_checkpoint",
    "quality",
    "reproduce",
    "restore",
    "sample",
    "train",
]
