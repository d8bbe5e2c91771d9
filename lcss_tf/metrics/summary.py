"""What metrics keep of features that stream by: moments in parts, the first vectors, class sums."""

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.metrics.statistics import GaussianStatistics

PARTS = 10  # groups that a jackknife leaves out one at a time


class Summary:
    """Reads `Outputs` batch by batch; its memory does not grow with their number.

    Moments and class sums are kept of `PARTS` consecutive groups of examples, so that an
    uncertainty comes from leaving each out; feature vectors as they are, of the first `kept`.
    The result does not depend on how the examples are cut into batches, but for rounding.

    Args:
      counts: numbers of examples n; of the first n of each, moments and class sums are kept.
      kept: feature vectors.
      moments: whether to keep means and covariances.
      classes: whether to keep class sums.
      parts: groups.
    """

    def __init__(self, counts, kept=0, moments=True, classes=True, parts=PARTS):
        self._seen, self._most, self._kept = 0, max(counts, default=0), kept
        self._moments = {n: _Groups(n, parts, _moments) for n in counts if moments}
        self._classes = {n: _Groups(n, parts, lambda outputs: ClassSums()) for n in counts}
        self._classes = self._classes if classes else {}
        self._buffer = None

    @property
    def wanted(self):
        """The examples that it has a use for."""
        return max(self._most, self._kept)

    @property
    def count(self):
        """Examples read so far."""
        return self._seen

    def add(self, outputs):
        """Reads `Outputs`; examples beyond what is asked for change nothing. Returns self.

        Raises:
          ValueError: features of another dimension, or that are not finite.
        """
        features = np.asarray(outputs.features)
        if not np.isfinite(features).all():
            raise UsageError(
                "The features hold NaN or infinity; look for samples that are not finite."
            )
        for n, groups in self._moments.items():
            groups.add(self._seen, n, features)
        if outputs.logits is not None:
            for n, groups in self._classes.items():
                groups.add(self._seen, n, np.asarray(outputs.logits))
        self._keep(features)
        self._seen += len(features)
        return self

    def _keep(self, features):
        wanted = features[: max(0, self._kept - self._seen)]
        if not len(wanted):
            return
        if self._buffer is None:
            self._buffer = np.empty((self._kept, features.shape[1]), features.dtype)
        if features.shape[1] != self._buffer.shape[1]:
            raise UsageError(
                f"Examples of one shape are needed; got {features.shape[1]} features after "
                f"{self._buffer.shape[1]}."
            )
        self._buffer[self._seen : self._seen + len(wanted)] = wanted

    def features(self, n=None):
        """The first n feature vectors [n, D]; fewer if fewer were kept."""
        if self._buffer is None:
            raise UsageError("No features were kept: at least one batch is needed; got none.")
        return self._buffer[: min(self._seen, len(self._buffer))][:n]

    def moments(self, n=None):
        """`GaussianStatistics` of the first n examples, or of the most that were kept, by group."""
        return self._of(self._moments, n)

    def classes(self, n=None):
        """`ClassSums` of the first n examples, or of the most that were kept, by group."""
        return self._of(self._classes, n)

    def _of(self, groups, n):
        chosen = groups.get(n) or groups.get(max(groups, default=None))
        if chosen is None or not chosen.parts:
            raise UsageError("A metric needs at least one batch of examples; got none.")
        return chosen.parts

    def arrays(self):
        """What `from_arrays` makes the summary of; of one count and one part."""
        arrays = {"seen": np.array(self._seen)}
        if self._buffer is not None:
            arrays["features"] = self.features()
        for name, groups in (("moments", self._moments), ("classes", self._classes)):
            for parts in (g.parts for g in groups.values()):
                if parts:
                    items = parts[0].arrays().items()
                    arrays.update({f"{name}/{key}": value for key, value in items})
        return arrays

    @classmethod
    def from_arrays(cls, arrays):
        """The summary that `arrays` described; nothing can be added to it."""
        seen = int(arrays["seen"])
        features = arrays.get("features")
        summary = cls([seen], 0 if features is None else len(features), parts=1)
        summary._seen, summary._buffer = seen, features
        kinds = {"moments": GaussianStatistics, "classes": ClassSums}
        for name, groups in (("moments", summary._moments), ("classes", summary._classes)):
            given = {
                key.partition("/")[2]: value
                for key, value in arrays.items()
                if key.startswith(f"{name}/")
            }
            if given:
                groups[seen].parts = [kinds[name].from_arrays(**given)]
        return summary


class _Groups:
    """Parts of the first `count` examples: example i belongs to part i·parts // count."""

    def __init__(self, count, parts, make):
        self._edges = np.linspace(0, count, min(parts, max(count, 1)) + 1).astype(int)
        self._make, self.parts = make, []

    def add(self, seen, count, rows):
        rows = rows[: max(0, count - seen)]
        cuts = self._edges[1:-1] - seen
        for part, chunk in enumerate(np.split(rows, np.clip(cuts, 0, len(rows)))):
            if not len(chunk):
                continue
            while len(self.parts) <= part:
                self.parts.append(self._make(chunk))
            self.parts[part].update(chunk)


def _moments(features):
    return GaussianStatistics(features.shape[1])


class ClassSums:
    """Σ p and Σ Σ_k p_k log p_k over examples with class probabilities p, in float64."""

    def __init__(self):
        self.count, self.probabilities, self.negative_entropy = 0, 0.0, 0.0

    def update(self, logits):
        """Adds logits [B, K]; returns self."""
        logits = np.asarray(logits, np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        self.count += len(p)
        self.probabilities = self.probabilities + p.sum(axis=0)
        self.negative_entropy = self.negative_entropy + np.sum(p * log_p)
        return self

    def score(self):
        """exp E KL(p(y|x) ‖ p(y))."""
        marginal = self.probabilities / self.count
        seen = marginal[marginal > 0]
        return float(np.exp(self.negative_entropy / self.count - np.sum(seen * np.log(seen))))

    def arrays(self):
        """What `from_arrays` makes the sums of."""
        return {
            "count": np.array(self.count),
            "probabilities": self.probabilities,
            "negative_entropy": np.array(self.negative_entropy),
        }

    @classmethod
    def from_arrays(cls, count, probabilities, negative_entropy):
        """The sums that `arrays` described."""
        sums = cls()
        sums.count, sums.probabilities = int(count), probabilities
        sums.negative_entropy = float(negative_entropy)
        return sums
