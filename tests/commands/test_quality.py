"""Samplers against their NFE: what is measured, and what is written."""

import json
import shutil

import gin
import numpy as np
import pytest

import lcss_tf
from lcss_tf.commands.quality import ExactState, NFESweep, nfe_sweep, picture, table
from lcss_tf.inference import Sampling
from lcss_tf.metrics.distances import sliced_wasserstein
from lcss_tf.plots import images
from lcss_tf.training.distribution import Distribution
from tests.commands.helpers import ONE, lcss, load


def _bind(text):
    gin.parse_config(f"{ONE}\n{text}")


MIXTURE = """
NFESweep.samplers = {"DPM": @samplers.DPMSolverPP, "PC": @samplers.PredictorCorrector}
NFESweep.budgets = (4, 30)
NFESweep.references = {"long": @samplers.EulerMaruyama()}
NFESweep.adaptive = {"adaptive": @samplers.DormandPrince}
NFESweep.tolerances = (1.0, 1e-3)
NFESweep.sde = @sdes.VPSDE()
NFESweep.data = @datasets.GaussianMixture()
NFESweep.metric = @metrics.SlicedWasserstein()
EulerMaruyama.num_steps = 100
GaussianMixture.dimension = 3
SlicedWasserstein.num_samples = 512
sample.batch_size = 256
"""


@pytest.mark.slow
def test_an_exact_score_gives_the_data_at_few_evaluations(tmp_path):
    _bind(MIXTURE)
    paths = nfe_sweep(tmp_path)
    result = json.loads(paths[1].read_text())
    rows = {(row["sampler"], row["budget"]): row for row in result["rows"]}
    assert rows["DPM", 4]["nfe"] == 4
    assert rows["DPM", 30]["steps"] == 29  # and a last evaluation
    assert rows["long", None]["nfe"] == 100
    result_of_long = rows["long", None]["distance"]
    # Between two sets of true samples; at 30 evaluations the solver is as good, at 4 it is not.
    assert rows["DPM", 30]["distance"] < 1.5 * result["real"]
    assert rows["DPM", 4]["distance"] > 1.5 * rows["DPM", 30]["distance"]
    # VP's discrete process needs more than β_max = 20 steps: said, and not measured.
    assert ("PC", 4) not in rows
    assert rows["PC", 30]["steps"] == 30
    assert "num_steps > beta_max" in result["refused"]["PC"]
    text = paths[0].read_text()
    assert "| sampler, by NFE | 4 | 30 |" in text
    assert f"| PC |  | {rows['PC', 30]['distance']:.3g} ± " in text
    assert f"| long | 100 | {rows['long', None]['distance']:.3g} ± " in text
    assert images.read_png(paths[2]).shape[2] == 3
    # What chooses its steps itself is measured by tolerance, at the evaluations that it took.
    loose, tight = [row for row in result["rows"] if row["sampler"] == "adaptive"]
    assert (loose["tolerance"], tight["tolerance"]) == (1.0, 1e-3)
    assert loose["steps"] is None
    assert 8 <= loose["nfe"] < tight["nfe"] < 500
    assert tight["distance"] < 1.5 * result["real"]
    found = f"{tight['nfe']:,.0f} | {tight['distance']:.3g} ± "
    assert f"| adaptive, tolerance 0.001 | {found}" in text
    # Again: nothing is measured twice, but under another configuration all is.
    result["rows"][0]["distance"] = 7.0
    paths[1].write_text(json.dumps(result))
    nfe_sweep(tmp_path)
    assert json.loads(paths[1].read_text())["rows"][0]["distance"] == 7.0
    _bind("NFESweep.budgets = (3,)")
    nfe_sweep(tmp_path)
    rows = json.loads(paths[1].read_text())["rows"]
    assert rows[0]["distance"] == pytest.approx(result_of_long)
    assert {row["budget"] for row in rows} == {None, 3}


def test_an_adaptive_sampler_that_fails_is_said():
    failed = {"sampler": "B", "budget": None, "tolerance": 1e-9, "distance": None}
    result = {"metric": "m", "rows": [failed | {"nfe": None}], "refused": {}, "real": None}
    assert "| B, tolerance 1e-09 | unknown | not finite |" in table(result)
    assert picture(result).dtype == np.uint8


def test_the_shipped_plans_build():
    load("quality/mixture64.gin")
    plan = NFESweep()
    ExactState(plan.data, plan.sde, Distribution(1))
    assert plan.data.shape == (64,)
    assert plan.metric.num_samples == 8_192
    shipped = {"EulerMaruyama", "ReverseDiffusion", "Ancestral", "PredictorCorrector"}
    shipped |= {"StochasticHeun", "ProbabilityFlowODE", "EDMHeun", "DDIM", "DPMSolverPP"}
    shipped |= {"UniPC", "DEIS", "Restart"}
    assert {type(plan.within(name, 80)).__name__ for name in plan.samplers} == shipped
    (reference,) = plan.references.values()
    assert (reference.num_steps, type(reference).__name__) == (1_000, "EulerMaruyama")
    (adaptive,) = plan.adaptive.values()
    assert shipped | {type(adaptive()).__name__} == set(lcss_tf.SAMPLERS) - {"SymmetricSplitting"}
    assert plan.within("DDIM, eta 1", 20).eta == 1.0
    assert plan.within("EDM, churn", 20).s_churn == 20.0
    assert plan.within("DPM-Solver++ (2M), SDE", 20).stochastic


def test_twenty_evaluations_give_the_samples_of_the_flow_itself():
    """In 64 dimensions, from the same x_T: nearer to the flow's than sampling noise is wide."""
    data = lcss_tf.DATASETS["GaussianMixture"](num_components=16, dimension=64)
    state, count = ExactState(data, lcss_tf.SDES["VPSDE"](), Distribution(1)), 2_048
    draw = lambda name, **options: (
        Sampling(state, lcss_tf.SAMPLERS[name](**options), batch_size=count)(
            count, progress=False
        ).x
    )
    few, many = draw("DPMSolverPP", num_steps=19), draw("ProbabilityFlowODE", num_steps=60)
    real = [data.examples(np.arange(count), split, 0) for split in ("train", "test")]
    assert sliced_wasserstein(few, many) < 0.25 * sliced_wasserstein(*real)


@pytest.mark.slow
def test_a_run_is_measured_through_the_command(plane_run, tmp_path, capsys):
    shutil.copytree(plane_run, tmp_path / "run")
    bindings = [
        ONE, "NFESweep.budgets = (44,)", "reference/EulerMaruyama.num_steps = 50",
        "SlicedWasserstein.num_samples = 64", "NFESweep.metric = @metrics.SlicedWasserstein()",
    ]  # fmt: skip
    assert lcss("quality", f"--workdir={tmp_path / 'run'}", bindings=bindings) == 0
    result = json.loads((tmp_path / "run" / "quality" / "quality.json").read_text())
    # 44 NFE are 22 steps of the predictor-corrector, which needs more than beta_max = 20.
    assert len(result["rows"]) == 1 + 17 + 4
    assert not result["refused"]
    assert "| DPM-Solver++ (2M) |" in capsys.readouterr().out


def test_budgets_buy_steps():
    plan = NFESweep(samplers=dict(lcss_tf.SAMPLERS))
    for name in lcss_tf.SAMPLERS:
        if lcss_tf.SAMPLERS[name](num_steps=1).nfe() is None:
            with pytest.raises(ValueError, match=f"{name}.*NFESweep.adaptive"):
                plan.within(name, 20)
            continue
        for budget in (3, 20, 21):
            sampler = plan.within(name, budget)
            if sampler is None:  # a single step takes more
                assert lcss_tf.SAMPLERS[name](num_steps=1).nfe() > budget
                continue
            assert budget - 2 < sampler.nfe() <= budget, name
            assert type(sampler)(num_steps=sampler.num_steps + 1).nfe() > budget
    assert plan.within("EDMHeun", 2) is None


def test_bad_plans_are_refused():
    samplers = {"DDIM": lcss_tf.SAMPLERS["DDIM"]}
    with pytest.raises(ValueError, match="go together"):
        NFESweep(samplers=samplers, sde=lcss_tf.SDES["VPSDE"]())
    with pytest.raises(ValueError, match="repeats=0"):
        NFESweep(samplers=samplers, repeats=0)
    with pytest.raises(ValueError, match="at least one evaluation"):
        NFESweep(samplers=samplers, budgets=(0, 5))
    with pytest.raises(ValueError, match=r"GaussianMixture.*got GaussianMixture on PearsonSDE"):
        ExactState(
            lcss_tf.DATASETS["GaussianMixture"](), lcss_tf.SDES["PearsonSDE"](), Distribution(1)
        )


def test_samples_of_an_exact_state_are_the_data():
    data = lcss_tf.DATASETS["GaussianMixture"](num_components=2, component_std=0.2, dimension=1)
    state = ExactState(data, lcss_tf.SDES["VPSDE"](), Distribution(1))
    sampler = lcss_tf.SAMPLERS["DPMSolverPP"](num_steps=40)
    x = Sampling(state, sampler, batch_size=4_096)(4_096, progress=False).x
    assert np.mean(x < 0) == pytest.approx(0.5, abs=0.04)
    assert np.std(np.abs(x)) == pytest.approx(0.2, abs=0.02)
    assert np.mean(np.abs(x)) == pytest.approx(np.abs(data.means).mean(), abs=0.02)


def test_what_is_not_finite_is_said():
    row = {"sampler": "A", "budget": 5, "nfe": 5.0, "distance": None}
    good = row | {"budget": 10, "nfe": 10.0, "distance": 0.5}
    result = {"metric": "m", "rows": [row, good], "refused": {}, "real": None}
    assert "| A | not finite | 0.5 |" in table(result)
    assert picture(result).dtype == np.uint8


def test_how_far_one_set_lies_from_the_mean():
    row = {"sampler": "A", "budget": 5, "nfe": 5, "distance": 2.0, "distances": [1.9, 2.1]}
    result = {"metric": "m", "rows": [row], "refused": {}, "real": None}
    assert "Means over 2 sets of samples; one set's standard deviation is 7.1%" in table(result)
    row["distances"] = [2.0]
    assert "Means over" not in table(result)


def test_differences_are_paired_by_set():
    """Samplers share x_T: what all of them have of a set goes out of the difference."""
    sets = {"A": [1.0, 3.0, 2.0], "B": [2.1, 3.9, 3.0], "C": []}
    rows = [
        {"sampler": name, "budget": 5, "nfe": 5, "distances": values}
        | {"distance": np.mean(values) if values else None, "error": 0.5 if values else None}
        for name, values in sets.items()
    ]
    text = table({"metric": "m", "rows": rows, "refused": {}, "real": 0.5})
    assert "| A | 2 ± 0.5 |" in text
    assert "| less A, paired by set | 5 |" in text
    assert "| C | not finite |" in text
    assert f"| B | 1 ± {0.1 / np.sqrt(3):.2g} |\n| C |  |\n\nMeans over 3 sets" in text
    single = [row | {"distances": row["distances"][:1]} for row in rows]
    assert "paired" not in table({"metric": "m", "rows": single, "refused": {}, "real": None})


@pytest.mark.parametrize("repeats", [1, 3])
def test_every_value_has_its_error(repeats, tmp_path):
    _bind(MIXTURE)
    _bind('NFESweep.samplers = {"DPM": @samplers.DPMSolverPP}')
    _bind("NFESweep.budgets = (4,)\nNFESweep.references = {}\nNFESweep.adaptive = {}")
    _bind(f"NFESweep.repeats = {repeats}")
    paths = nfe_sweep(tmp_path)
    (row,) = json.loads(paths[1].read_text())["rows"]
    assert len(row["distances"]) == len(set(row["distances"])) == repeats
    assert row["distance"] == pytest.approx(np.mean(row["distances"]))
    if repeats > 1:
        assert row["error"] == pytest.approx(np.std(row["distances"], ddof=1) / np.sqrt(repeats))
    assert 0 < row["error"] < row["distance"]
    assert f"| DPM | {row['distance']:.3g} ± {row['error']:.2g} |" in paths[0].read_text()


def test_the_command_needs_something_to_measure(tmp_path, capsys):
    assert lcss("quality", f"--workdir={tmp_path}") == 1
    printed = capsys.readouterr().err
    assert "There is no run in" in printed
    assert "Traceback" not in printed
