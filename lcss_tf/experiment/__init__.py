"""The gin roots: what bin/ hands over to.

`train`, `sample`, `evaluate`, `evaluate_likelihood`, `import_checkpoint`, `quality`.
"""

from lcss_tf.experiment.evaluation import evaluate
from lcss_tf.experiment.importing import import_checkpoint
from lcss_tf.experiment.likelihood import evaluate_likelihood
from lcss_tf.experiment.quality import quality
from lcss_tf.experiment.recipe import Recipe
from lcss_tf.experiment.sampling import sample
from lcss_tf.experiment.train import dry_run, train

__all__ = [
    "Recipe",
    "dry_run",
    "evaluate",
    "evaluate_likelihood",
    "import_checkpoint",
    "quality",
    "sample",
    "train",
]
