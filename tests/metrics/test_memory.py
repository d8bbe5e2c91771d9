"""Fifty thousand samples' features, as wide as Inception's, within a gigabyte beyond the model."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import numpy as np
from lcss_tf.memory import PeakMemory
from lcss_tf.metrics import (
    KID, DensityCoverage, Extractor, Features, FeatureStatistics, Frechet, InceptionScore,
    PrecisionRecall,
)

class Wide(Extractor):
    name, has_classes = "wide", True
    def check(self, info): pass
    def identity(self): return "wide"
    def __call__(self, seed):
        random = np.random.default_rng(seed)
        logits = random.normal(size=(500, 1008)).astype(np.float32)
        return Features(random.normal(size=(500, 2048)).astype(np.float32), logits)

wide = Wide()
metrics = [Frechet(wide), InceptionScore(wide), KID(wide, 4_000),
           PrecisionRecall(wide), DensityCoverage(wide)]
wide(0)
memory = PeakMemory()
memory.restart()
# The sizes of all buffers are those of 10,000 kept vectors and 50,000 samples.
reference = FeatureStatistics.of_reference(metrics, 50_000)
samples = FeatureStatistics.of_samples(metrics)
for seed in range(100):
    reference.add(wide(1_000 + seed))
    samples.add(wide(seed))
values = {}
for metric in metrics:
    values |= metric.compute(samples, reference)
print({name: round(value.value, 3) for name, value in values.items()})
print("PEAK", memory.peak())
"""


@pytest.mark.slow
def test_fifty_thousand_samples_within_a_gigabyte():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout.split("PEAK")[1])
    print(done.stdout)
    assert 300 < peak < 1_024, done.stdout
