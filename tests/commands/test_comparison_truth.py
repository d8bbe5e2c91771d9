"""What only LCSS can do, trained for real: score errors and samples on SDEs without a kernel."""

import json

import numpy as np
import pytest

from lcss_tf.commands import _gin
from lcss_tf.commands._comparison import Comparison, entry_workdir, train_entry

LIMITS = {
    "power4": {0.05: 0.016, 0.1: 0.017, 0.2: 0.005, 0.4: 0.003, 0.7: 0.004},
    "pearson": {0.05: 0.06, 0.1: 0.05, 0.2: 0.03, 0.4: 0.02, 0.7: 0.02},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LIMITS))
def test_shipped_comparison_meets_its_figures(name, tmp_path):
    """The default loss in 2,000 steps; the README's figures are of 4,000."""
    bindings = ["fit.steps = 2_000", "Comparison.seconds = 0.0", "Comparison.sample_repeats = 2"]
    _gin.load(f"compare_{name}.gin", bindings)
    train_entry(Comparison(), "LCSS", tmp_path)

    result = json.loads((entry_workdir(tmp_path, "LCSS") / "result.json").read_text())
    figures = result["budgets"]["steps"]
    for t, limit in LIMITS[name].items():
        assert figures[f"score_error@{t:g}"] < limit, t
    metric = Comparison().metric.name
    real = figures[f"{metric} (real)"]
    for kind in ("SDE", "ODE"):
        assert np.isfinite(figures[f"{metric} ({kind})"])
        assert figures[f"{metric} ({kind})"] < 2.0 * real  # two draws of 4,096 points are noisy
