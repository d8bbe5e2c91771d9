"""lcss_tf itself by the same clock: a gin file without classes, its samples and facts as a rival's.

    python research/rivals/ours.py --variant=lcss --seconds=1500 --out=runs/rivals/lcss

What `lcss train` builds of the gin file is trained by the same `ScoreModel.fit`. The clock starts
after the first step, which compiles; checkpoints are written within the time.
"""

import json
from types import SimpleNamespace
from typing import Any

import common
from common import Clock, Draw

# (gin file, bindings). SSM-VR and the plain form of the paper's identity are on the VP SDE.
VARIANTS = {
    "lcss": ("lcss_fashion_small.gin", []),
    "lcss_adaptive": (
        "lcss_fashion_small.gin",
        ["fit.loss = @losses.LCSSLoss()", "LCSSLoss.times = @times.AdaptiveTimes()"],
    ),
    "lcss_power4": ("lcss_fashion_power4.gin", []),
    "ssm_vr": ("lcss_fashion_small.gin", ["fit.loss = @losses.SSMLoss()"]),
    "lcss_plain": (
        "lcss_fashion_small.gin",
        [
            "fit.loss = @losses.LCSSLoss()",
            "LCSSLoss.smoothing = 'gaussian'",
            "LCSSLoss.estimator = 'plain'",
            "LCSSLoss.norm_at = 'center'",
            "LCSSLoss.radius = 0.3",
        ],
    ),
}
NOTE_EVERY = 10  # steps between notes of the clock
SAVE_EVERY = 250  # steps between checkpoints: about a minute


def bindings(options: Any) -> list[str]:
    """What the gin file gets besides: no classes, no pictures, no end but `options`'."""
    return [
        *VARIANTS[options.variant][1],
        "NCSNpp.num_classes = None",
        f"FashionMNIST.data_dir = {options.data!r}",
        f"fit.steps = {options.steps or 1_000_000_000}",
        f"fit.seed = {options.seed}",
        f"Checkpoints.every = {SAVE_EVERY}",
        "Pictures.every = 0",
        *options.gin_bindings,
    ]


def load_configuration(options: Any) -> None:
    """The variant's gin file and `bindings`, loaded."""
    from lcss_tf.commands import _gin

    _gin.load(VARIANTS[options.variant][0], bindings(options))


def wall_clock(model: Any, options: Any) -> Any:
    """A callback that ends the training of `model` once the seconds, or the steps, are over.

    It keeps the seconds at each step, so that a run resumed from a checkpoint knows its own.
    """
    from lcss_tf.training.loop import Periodic

    place = options.out / "seconds.json"

    class WallClock(Periodic):
        """Counts seconds and steps after the first step of this process."""

        def begin(self, run):
            super().begin(run)
            self.known = json.loads(place.read_text()) if place.is_file() else {}
            before = [int(step) for step in self.known if int(step) <= run.state.step]
            step = max(before, default=0)
            self.known = {str(step): self.known[str(step)] for step in before}
            seconds, self.timed = self.known.get(str(step), (0.0, 0))
            self.clock, self.from_step = Clock(seconds), run.state.step + 1 - self.timed

        def started(self):
            self.clock.run()

        def act(self, step):
            self.timed = step - self.from_step
            model.stop_training = common.share(options, self.clock.seconds, step) >= 1
            if model.stop_training or step % NOTE_EVERY == 0:
                self.known[str(step)] = (self.clock.seconds, self.timed)
                with common.whole(place) as written:
                    written.write_text(json.dumps(self.known))

    return WallClock(every=1)


def main() -> None:
    """The command."""
    made = common.parser(__doc__)
    made.add_argument("--variant", choices=VARIANTS, default="lcss", help="of loss and SDE")
    made.add_argument("--gin_bindings", action="append", default=[], help="of yours, applied last")
    made.add_argument(
        "--likelihood", type=int, default=0, help="held-out images whose bits/dim are measured too"
    )
    options = made.parse_args()
    common.told(lambda: _train_and_draw(options))


def _train_and_draw(options: Any) -> None:
    common.check(options)
    common.training_images(options.data)  # missing data are told in the rivals' words
    import tensorflow as tf

    if options.threads != common.cores():
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    from lcss_tf.commands import _gin
    from lcss_tf.commands.train import build

    load_configuration(options)
    _gin.share_cores("fit")  # as `lcss train`
    model, arguments = build()
    options.out.mkdir(parents=True, exist_ok=True)
    clock, workdir = wall_clock(model, options), options.out / "run"
    facts = common.read_facts(options.out)
    if not facts or common.share(options, facts["seconds"], facts["steps"]) < 1:
        trainer = _gin.Trainer(make_step=_gin.TrainStep, make_checkpoints=_gin.Checkpoints)
        arguments["callbacks"] = [clock]  # not those of `lcss train`: no pictures, no records
        model.fit(**arguments, workdir=workdir, trainer=trainer)
        taken = clock.clock.seconds
        measured = {
            "batch_size": arguments["batch_size"], "seconds": taken, "peak_mib": common.peak_mib(),
            "images_per_second": clock.timed * arguments["batch_size"] / taken,
        }  # fmt: skip
        measured = SimpleNamespace(**vars(options) | measured)
        facts = facts_of(model, measured) | {"threads": options.threads}
        facts |= {"samples": common.read_facts(options.out).get("samples", {})}
        common.write_facts(options.out, facts)
    else:
        model = type(model).load(workdir)
    if not options.train_only:
        common.draw_all(_draws(model, options), facts, options)
    if options.likelihood:
        from lcss_tf.commands._likelihood import held_out_likelihood, report

        print(report(held_out_likelihood(model, options.out, num_examples=options.likelihood)))


def facts_of(model: Any, measured: Any) -> dict[str, Any]:
    """What was trained, and how fast `measured` says it was."""
    from lcss_tf import __version__

    parameters = model.network.count_params()
    names = ("variant", "batch_size", "seconds", "images_per_second", "peak_mib", "seed")
    return {
        "library": "lcss_tf", "version": __version__, "parameters": parameters,
        "parameters_of_reference": parameters / common.REFERENCE_PARAMETERS, "steps": model.step,
        **{name: getattr(measured, name) for name in names},
    }  # fmt: skip


def samplers(sde: Any, options: Any) -> dict[str, tuple[str, Any]]:
    """{draw: (its sampler in words, the sampler)}.

    By DPM-Solver++ where the SDE has a closed form, else by Heun's steps of the ODE.
    """
    from lcss_tf.errors import UsageError
    from lcss_tf.samplers import DPMSolverPP, EulerMaruyama, ProbabilityFlowODE

    few: Any = DPMSolverPP(num_steps=options.nfe - 1)  # and a last evaluation at the end
    name = "DPM-Solver++ (2M)"
    try:
        few.check(sde)
    except UsageError:
        few, name = ProbabilityFlowODE(num_steps=options.nfe // 2), "ODE by Heun's steps"
    return {
        "50nfe": (name, few),
        "best": ("Euler–Maruyama", EulerMaruyama(num_steps=options.best_nfe)),
    }


def _draws(model: Any, options: Any) -> dict[str, Draw]:
    def drawn_by(sampler: Any) -> Any:
        return lambda count, seed: model.sample(
            count, seed, sampler, batch_size=min(options.sample_batch, count)
        )

    return {
        name: Draw(words, sampler.nfe(), drawn_by(sampler))
        for name, (words, sampler) in samplers(model.sde, options).items()
    }


if __name__ == "__main__":
    main()
