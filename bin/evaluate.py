"""Measures a run's samples: python bin/evaluate.py --workdir=runs/lcss_digits

With --likelihood: the bits/dim of held-out images, or nats of other data; no samples.
"""

from absl import app, flags

from lcss_tf import cli, config
from lcss_tf.experiment import evaluate, evaluate_likelihood
from lcss_tf.experiment.likelihood import report
from lcss_tf.experiment.results import figures_text

_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory.", required=True)
_LIKELIHOOD = flags.DEFINE_boolean("likelihood", False, "Held-out likelihood, not samples.")
_GIN_BINDINGS = flags.DEFINE_multi_string(
    "gin_bindings", [], "Bindings over the run's, e.g. 'evaluate.seed=2'."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "newest", "newest, best, all, a step as 4000, or a range as 1000-4000."
)
_STRATEGY = cli.strategy_flag()
_FOLLOW = flags.DEFINE_bool("follow", False, "Evaluate checkpoints as training writes them.")
_STATS_ONLY = flags.DEFINE_bool("stats_only", False, "Only the statistics of real data.")


def main(_):
    with cli.plain_errors():
        workdir = _WORKDIR.value
        bindings = cli.strategy_bindings(_STRATEGY.value) + _GIN_BINDINGS.value
        config.load_workdir(workdir, bindings)
        if _LIKELIHOOD.value:
            print(report(evaluate_likelihood(workdir)))
            return
        figures, grid = evaluate(workdir, _CHECKPOINT.value, _FOLLOW.value, _STATS_ONLY.value)
        print(figures_text(figures))
        if _STATS_ONLY.value:
            return
        print(f"\nLook at the samples:   {grid}")
        print(f"Read the report:       {workdir}/report.html")
        print(f"Follow the training:   tensorboard --logdir {workdir}")
        print(f"Draw more samples:     python bin/sample.py --workdir={workdir} --num_samples=64")


if __name__ == "__main__":
    app.run(main)
