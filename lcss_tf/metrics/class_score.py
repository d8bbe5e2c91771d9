"""The Inception score, for any classifier."""

import numpy as np

from lcss_tf.metrics.base import Figure, Metric, standard_error
from lcss_tf.registry import METRICS


@METRICS.register
class ClassScore(Metric):
    """exp E KL(p(y|x) ‖ p(y)): high where samples are of clear and of many classes.

    With `Inception` the Inception score (Salimans et al. 2016), ``inception_score_50k``: the
    mean over ten groups of consecutive samples. Its error is that of this mean; the literature's
    ± is the deviation between the groups, √10 times as large. It never looks at real data, whose
    own score stands beside it, and rises with the number of samples.

    Args:
      extractor: an object of `EXTRACTORS` that is a classifier.
      num_samples: n.
    """

    kind = "class_score"
    classes = True

    def __init__(self, extractor, num_samples=50_000):
        super().__init__(extractor, num_samples)

    def figures(self, samples, reference):
        """{name: `Figure`}; the reference is not looked at."""
        del reference
        scores = [sums.score() for sums in samples.classes(self.num_samples)]
        return {self.name: Figure(float(np.mean(scores)), standard_error(scores))}
