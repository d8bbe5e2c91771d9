"""ScoreModel: an SDE, a network, and all that one does with them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import data as lcss_data
from lcss_tf import export, files, forms, hub, networks, serialization
from lcss_tf._version import __version__
from lcss_tf.conditioning import spec_of
from lcss_tf.control import Guidance, Identity, SDEdit, as_guidance
from lcss_tf.data.base import DataInfo
from lcss_tf.display import say
from lcss_tf.errors import UsageError
from lcss_tf.inference.conditions import read_condition, require_condition
from lcss_tf.inference.latents import Latents
from lcss_tf.inference.likelihood import Likelihood, LikelihoodRunner
from lcss_tf.inference.posterior import Posterior
from lcss_tf.inference.sampling import Sampling
from lcss_tf.inference.weaker import with_weaker
from lcss_tf.losses import LCSSLoss
from lcss_tf.plots.history import History
from lcss_tf.registry import AVERAGES, PRECONDITIONINGS, SDES
from lcss_tf.samplers import DormandPrinceSolver
from lcss_tf.score import Score
from lcss_tf.sdes import VPSDE
from lcss_tf.training import checkpoints as checkpoint_files
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints, arrays_of
from lcss_tf.training.distribution import Distribution
from lcss_tf.training.loop import Run, Trainer
from lcss_tf.training.snapshots import Reconstruction, with_snapshots
from lcss_tf.training.state import TrainState
from lcss_tf.training.workdir import as_begun, source_of
from lcss_tf.typing import Array, LossLike, Network, ScoreFn

FORMAT = 1
_DESCRIPTION = {
    "network": forms.Optional(dict),
    "sde": serialization.DESCRIPTION,
    "preconditioning": serialization.DESCRIPTION,
    "ema_decay": forms.FINITE,
    "average": forms.Optional(serialization.DESCRIPTION),
    "data": forms.Optional(dict),
}
_EXACT_UP_TO = 16  # dimensions up to which `log_prob` takes the exact divergence by default
_PROBES = 8
_NO_DATA = "The model knows no data yet. Call fit(x), or load one: ScoreModel.load(path)."


class ScoreModel(hub.Shared):
    """A score-based diffusion model: a network read as the score ∇log p_t of an SDE's x_t.

    ::

        model = lcss.ScoreModel(lcss.networks.MLP(width=128), lcss.sdes.VPSDE())
        history = model.fit(x, steps=3_000, batch_size=256)
        samples = model.sample(1_000)  # in the units, shape and dtype of x

    Args:
      network: called as network(x, cond) -> [B, ...], x normalised [B, ...], cond [B] the noise
        label; a Keras layer or model. It is trained in place. By default `default_network` for
        the shape of the examples: an MLP for vectors, an NCSN++ for all others.
      sde: the forward SDE, an object of `SDES`; by default `VPSDE`.
      preconditioning: how the network becomes the score: a name in `PRECONDITIONINGS`, or an
        object.
      ema_decay: of the average of the weights, by which samples are drawn.
      distribution: over which devices it spreads; by default `Distribution()`, all there are.
      average: of the weights, an object of `AVERAGES`; by default ``Exponential(ema_decay)``.

    Attributes:
      network, sde, preconditioning: as above.
      stop_training: set it in a Keras callback to end `fit`.
    """

    def __init__(
        self,
        network: Network | None = None,
        sde: Any = None,
        preconditioning: Any = "moments",
        ema_decay: float = 0.999,
        distribution: Distribution | None = None,
        average: Any = None,
    ) -> None:
        self.network = network
        self.sde = sde or VPSDE()
        if isinstance(preconditioning, str):
            preconditioning = PRECONDITIONINGS[preconditioning]()
        self.preconditioning = preconditioning
        self.ema_decay = ema_decay
        self.average = average
        self._info: DataInfo | None = None
        self._source: dict | None = None  # what the data were when it was last fitted
        self.stop_training = False
        self._distribution = distribution
        self._state: TrainState | None = None
        self._compiled: dict[tuple, Any] = {}

    # Training ---------------------------------------------------------------------------------

    def fit(
        self,
        data: Any,
        loss: LossLike | None = None,
        steps: int = 10_000,
        batch_size: int = 128,
        optimizer: Any = None,
        workdir: str | Path | None = None,
        callbacks: Sequence[Any] = (),
        seed: int = 0,
        validation: Any = None,
        labels: Any = None,
        trainer: Trainer | None = None,
        condition: Any = None,
    ) -> History:
        """Trains the network.

        With a `workdir` it writes checkpoints, TensorBoard events and the model's description
        there, and resumes what it finds. Without one it writes nothing, and starts from the
        weights as they are.

        Args:
          data: an array [N, ...], a pair (array, labels), a ``tf.data.Dataset`` of single examples
            or of pairs with labels or conditions, or an object of `lcss_tf.data`. Arrays of uint8
            are images; floats are normalised by their measured moments.
          loss: an object of `LOSSES`; by default `LCSSLoss`.
          steps: training steps in all. A resumed run counts from its beginning.
          batch_size: examples per step, over all replicas.
          optimizer: a Keras optimiser, or a function steps -> optimiser; by default
            `default_optimizer`: Adam at a rate that suits the network's size, 2e-4 to 2e-3, after a
            warm-up over a tenth of the steps.
          workdir: where the run is kept. A run that is resumed keeps the scaling of the data that
            it began with; other data than these are refused, unless ``Trainer.resume`` is "force".
          callbacks: ``keras.callbacks.Callback`` objects. An epoch, to them, is an interval of
            ``Trainer.log_every`` steps.
          seed: of initial weights, order of the data, times and noise.
          validation: held-out examples like an array in `data`, with a condition the pair (x,
            condition); or True: those of a dataset's own test split. Their loss is measured as
            ``val_loss``.
          labels: of the examples, if `data` is an array: integers [N].
          trainer: how to train: rhythm, clipping, accumulation, checkpoints.
          condition: what the network is told of each example, if `data` is an array: numbers [N] or
            [N, K]; images [N, ..., C'] of the sides of the examples; or classes, integers [N]. They
            are standardised by their measured moments.

        Returns:
          A `History`: arrays by name, at the rhythm of ``Trainer.log_every``.

        Raises:
          UsageError: before any work: what cannot be used, and the remedy.
          NonFiniteError: too many non-finite steps in a row.
          MemoryError: a step does not fit; says what would.
        """
        held_out = None if validation is True else validation
        data = lcss_data.from_user(data, labels, validation=held_out, condition=condition)
        data.require("train")  # before a large network is built
        trainer = trainer or Trainer()
        self._source = source_of(data)
        if workdir:
            data = as_begun(data, workdir, trainer.resume == "force", self.distribution)
        chosen = self.network is None
        self.network = self.network or networks.network_for(data, self.sde)
        if condition is not None and spec_of(self.network) is None:
            raise UsageError(
                f"fit was given a condition, and {type(self.network).__name__} takes none. Make it "
                "with num_classes, condition_size or condition_channels, or leave the condition "
                "out."
            )
        data.check_condition(spec_of(self.network))
        state = self._prepare(data.info(), seed)
        if state.condition is not None and state.condition.is_class:
            self._info = dataclasses.replace(self.info, classes=tuple(data.class_names()))
        run = Run(
            state,
            data,
            loss or LCSSLoss(),
            steps,
            batch_size,
            seed,
            Path(workdir) if workdir else None,
            optimizer,
            validation is not None,
        )
        if chosen:
            say(self.summary())
        self.stop_training = False
        # A new run, from the weights as they are, unless the workdir has a checkpoint.
        state.step = state.nonfinite_steps = 0
        if run.workdir is not None:
            state.description = self.description()
        return trainer.train(run, with_snapshots(run, callbacks), self)

    def build(self, shape: Sequence[int], seed: int = 0) -> TrainState:
        """Creates the weights for examples of this shape, drawn from `seed`; returns the state.

        `fit` and `load` do so by themselves.

        Raises:
          UsageError: the model has been built for examples of another shape.
        """
        if self.network is None:
            self.network = networks.default_network(
                self.sde.state_shape(shape), embedding=self.sde.label_embedding
            )
        if self._state is None:
            score = Score(self.sde, self.preconditioning)
            self._state = TrainState(
                score, self.network, shape, self.distribution, self.ema_decay, seed, self.average
            )
        elif tuple(shape) != self._state.shape:
            raise UsageError(
                f"The model has been built for examples of shape {self._state.shape}; got "
                f"{tuple(shape)}. Make a new ScoreModel for other data."
            )
        return self._state

    def _prepare(self, info: DataInfo, seed: int = 0) -> TrainState:
        """The state for such data."""
        state = self.build(info.shape, seed)
        self._info = info
        return state

    @property
    def info(self) -> DataInfo:
        """What there is to know of the data that it was trained on.

        Raises:
          UsageError: the model has not been fitted or loaded.
        """
        if self._info is None:
            raise UsageError(_NO_DATA)
        return self._info

    @info.setter
    def info(self, info: DataInfo) -> None:
        self._info = info

    @property
    def distribution(self) -> Distribution:
        """Over which devices the model spreads."""
        if self._distribution is None:
            self._distribution = Distribution()
        return self._distribution

    @property
    def state(self) -> TrainState:
        """Network, average, optimiser and moments.

        Raises:
          UsageError: the model has not been fitted or loaded.
        """
        if self._state is None:
            raise UsageError(_NO_DATA)
        return self._state

    @property
    def optimizer(self) -> Any:
        """The optimiser of the last `fit`, under the distribution's scope; None before."""
        return self._state.optimizer if self._state else None

    @property
    def step(self) -> int:
        """Training steps done."""
        return self._state.step if self._state else 0

    # What it knows ----------------------------------------------------------------------------

    @property
    def score_fn(self) -> ScoreFn:
        """(x, t, condition=None) -> ∇log p_t(x), by the average of the weights.

        x [B, ...] is normalised as training saw it (`normalise`), t [B] lies in [t_min, T]; the
        score is float32, of the shape of x. The condition is in its own units: classes [B], numbers
        [B, K] or images [B, ..., C'], or one of them for all; None: any condition, the null one, as
        is the class `num_classes`.
        Tensors of a graph are taken as they are, [B, ...], unchecked.
        """
        state = self.state

        def score_fn(x: Any, t: Any, condition: Any = None) -> Any:
            if condition is None:
                return state.score.score_fn(state.average)(x, t)
            if tf.is_symbolic_tensor(condition):
                told = self._scaled(condition)
            else:
                count = tf.convert_to_tensor(x).shape[0]
                told = self._told(condition, None, count, may_be_null=True)
            return state.score.score_fn(state.average, condition=told)(x, t)

        return score_fn

    def normalise(self, x: Any) -> Any:
        """Examples [B, ...] in the data's units as the network sees them, float32."""
        return self.info.scale(x)

    def _told(
        self,
        condition: Any,
        label: int | str | None,
        count: int | None,
        may_be_null: bool = False,
    ) -> Array | None:
        """A user's condition as the network takes it, [count, ...]; None where none is given."""
        network = self.state.network
        told = read_condition(network, self.info, condition, label, count, may_be_null)
        if told is None or count is None:
            return told
        return np.broadcast_to(told, (count, *told.shape[1:]))

    def _scaled(self, condition: Any) -> Any:
        """Conditions in the data's units as the network takes them, in a graph."""
        known = self.info.condition  # None of classes
        return condition if known is None else known.scaling.scale(condition)

    def denormalise(self, x: Any) -> Array:
        """The inverse of `normalise`: in the units, shape and dtype of the data."""
        return self.info.unscale(x)

    def sample(
        self,
        num_samples: int,
        seed: int = 0,
        sampler: Any = None,
        batch_size: int = 256,
        label: int | str | None = None,
        guidance: float | Guidance = 1.0,
        progress: bool = False,
        condition: Any = None,
    ) -> Array:
        """Samples [N, ...] in the units, shape and dtype of the data.

        Args:
          num_samples: N.
          seed: sample i is a function of (seed, batch_size, i).
          sampler: an object of `SAMPLERS`; by default Euler–Maruyama with 1,000 steps.
          batch_size: samples drawn at a time.
          label: the class of all, its number or its name; None: of a network with K classes, sample
            i is of class i mod K.
          guidance: classifier-free: 1 is none, more is stronger; 0 is of any condition. Or a
            `Guidance`: in an interval of noise levels, or by a weaker model.
          progress: whether to show a bar.
          condition: what the samples are drawn given, in the data's units: one for all, or one for
            each. Numbers [K] or [N, K], or a dict of them by column; an image [..., C'] or
            [N, ..., C']; classes, a number or [N] of them; ``"null"``: any condition.

        Raises:
          UsageError: an argument out of its range, a sampler that the SDE does not fit, no
            condition where the network takes numbers or an image, or a condition that it does not
            take.
          NotFiniteError: a sample is not finite; says at which step that began.
        """
        if label is None and as_guidance(guidance).needs_condition:
            require_condition(self.state.network, self.info, condition)
        draw = self.sampling(sampler, batch_size, guidance)
        told = read_condition(self.state.network, self.info, condition, label, num_samples)
        return self.denormalise(draw(num_samples, seed, told, progress=progress).x)

    def sampling(
        self, sampler: Any = None, batch_size: int = 256, guidance: float | Guidance = 1.0,
        jit_compile: bool | str | None = None,
    ) -> Sampling:  # fmt: skip
        """The compiled sampler behind `sample`: it also counts the NFE and keeps trajectories."""
        key = ("sampling", id(sampler), batch_size, guidance, jit_compile)
        guidance = with_weaker(guidance, ScoreModel.load, self._info)
        make = lambda: Sampling(self.state, sampler, batch_size, guidance, jit_compile)
        return self._cached(key, make, sampler)

    def log_prob(
        self,
        x: Any,
        divergence: str | None = None,
        num_probes: int | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        batch_size: int = 64,
        seed: int = 0,
        condition: Any = None,
        num_samples: int = 1,
        dequantiser: Any = None,
    ) -> tuple[Array, Array]:
        """log p(x), or log p(x | condition), by the probability-flow ODE, and its error.

        The density is that of the data in their own units. Images of bytes are dequantised: the
        level k becomes uniform on [k, k + 1), so that bits/dim are −nats/(D ln 2).

        Args:
          x: examples [N, ...] in the data's units.
          divergence: "exact", or "rademacher", "gaussian", "sphere": Hutchinson's estimate; by
            default exact up to 16 dimensions.
          num_probes: of Hutchinson's estimate, 8 by default.
          rtol, atol: tolerances of the ODE.
          batch_size: examples at a time.
          seed: of probes and dequantisation; those of example i are functions of (seed, i).
          condition: of the examples, one for all or one for each, as for `sample`; of a network
            with classes None is any class.
          num_samples, dequantiser: a tighter bound for images; see `LikelihoodRunner`.

        Returns:
          (nats [N], standard errors [N]): of the estimate of the divergence; 0 where it is exact.

        Raises:
          UsageError: an argument out of its range, or as for `sample` of the condition.
          NotFiniteError: the ODE could not be solved; says where.
        """
        told = self._required(condition, len(x))
        if divergence is None:
            small = int(np.prod(self.state.shape)) <= _EXACT_UP_TO
            divergence = "exact" if small else "rademacher"
        probes = num_probes or (1 if divergence == "exact" else _PROBES)
        likelihood = Likelihood(divergence, probes, DormandPrinceSolver(rtol, atol))
        options = (batch_size, num_samples, dequantiser)
        key = ("log_prob", divergence, probes, rtol, atol, id(self.info), *options)
        make = lambda: LikelihoodRunner(self.state, likelihood, self.info, *options)
        given = {} if told is None else {"condition": told}
        result = self._cached(key, make, self.info)(self.normalise(x), seed, **given)
        return result.nats, result.error

    def export(
        self,
        path: str | Path,
        what: str = "score",
        format: str = "stablehlo",
        batch_size: int = 256,
        sampler: Any = None,
        guidance: Any = 1.0,
    ) -> list[Path]:
        """Writes the model as something that runs without lcss_tf.

        Args:
          path: the folder; of ONNX the file, ``….onnx``.
          what: ``"score"``: (x, t) -> ∇log p_t(x) in the network's units; or ``"sampler"``: a seed
            -> samples in the data's units. Either takes ``labels``, or a ``condition`` in the
            data's units, if the network does.
          format: ``"stablehlo"``: a program, a description of its inputs and outputs, and the
            weights (`lcss_tf.export.program`), which ``tools/run_program.py`` runs by JAX;
            ``"saved_model"``, which TensorFlow and TensorFlow Serving load; or ``"onnx"``, where a
            sampler takes ``x_T``, and a seed if it is stochastic (`export.sampler_from`).
          batch_size: examples, or samples, of one call. In ONNX it is free.
          sampler, guidance: as of `sample`; a guidance that is written cannot be changed.

        Returns:
          The paths written.

        Raises:
          MissingPackageError: ONNX needs a package that is not installed.
          UsageError: another word, or what XLA cannot compile, or ONNX not express.
        """
        info = self._info if what == "score" else self.info
        guidance = with_weaker(guidance, ScoreModel.load, self._info)
        sampling = {"sampler": sampler, "guidance": guidance}
        return export.write_model(path, self.state, info, what, format, batch_size, sampling)

    def _required(self, condition: Any, count: int) -> Array | None:
        """`_told`, where a network that takes numbers or an image has to be told one."""
        require_condition(self.state.network, self.info, condition)
        return self._told(condition, None, count)

    def encode(self, x: Any, batch_size: int = 64, condition: Any = None) -> Array:
        """Latents x_T, float32 [N, ...], of examples x [N, ...] in the data's units.

        `condition` is that of the examples, one for all or one for each, as for `log_prob`.

        Raises:
          UsageError: as for `sample` of the condition.
          NotFiniteError: the ODE could not be solved; says where.
        """
        told = self._required(condition, len(x))
        return self._latents(batch_size).encode(np.asarray(self.normalise(x)), told)

    def decode(self, x_T: Array, batch_size: int = 64, condition: Any = None) -> Array:
        """Examples of latents x_T [N, ...]: the inverse of `encode` given the same condition."""
        told = self._required(condition, len(x_T))
        return self.denormalise(self._latents(batch_size).decode(x_T, told))

    def _latents(self, batch_size: int) -> Latents:
        return self._cached(("latents", batch_size), lambda: Latents(self.state, batch_size))

    def posterior(
        self, y: Any, operator: Any, noise_std: float = 0.0, method: Any = None, **options: Any
    ) -> Posterior:
        """The distribution of x given y = H(x) + noise.

        Args:
          y: observations [N, ...] in the data's units, if the operator keeps them.
          operator: H, an object of `OPERATORS`, as ``lcss_tf.control.Mask("half")``, or `Linear`.
          noise_std: of the noise, in the units of the normalised data.
          method: an object of `METHODS`; by default the best for the SDE.
          options: of `Sampling`: sampler, batch_size, guidance.

        Raises:
          UsageError: what does not go together.
        """
        return Posterior(self, y, operator, noise_std, method, options)

    def edit(self, x: Any, strength: float = 0.6, **options: Any) -> Posterior:
        """The distribution of x noised to t = strength T and denoised again (`SDEdit`).

        ``model.edit(x, 0.6).sample(4, label="bag")`` draws four examples that are like each of x
        [N, ...]: the coarse stays, the fine is new. `options` are those of `posterior`.
        """
        return self.posterior(x, Identity(), method=SDEdit(strength), **options)

    def _cached(self, key: tuple, make: Any, *held: Any) -> Any:
        """What was compiled for a key, or what `make` makes; `held` keeps ids in the key valid."""
        if key not in self._compiled:
            if len(self._compiled) >= 8:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[key] = (make(), held)
        return self._compiled[key][0]

    # Files ------------------------------------------------------------------------------------

    def description(self) -> dict:
        """What the model is, as JSON has it: enough to build it again, without its weights.

        Raises:
          UsageError: a part that JSON cannot describe; its name, and the remedy.
        """
        return {
            "format": FORMAT,
            "lcss_tf": __version__,
            "network": None if self.network is None else networks.serialize(self.network),
            "sde": serialization.describe(self.sde, SDES),
            "preconditioning": serialization.describe(self.preconditioning, PRECONDITIONINGS),
            "ema_decay": self.ema_decay,
            "average": self.average and serialization.describe(self.average, AVERAGES),
            "data": self._info.to_dict() if self._info else None,
            "source": self._source,
        }

    def save(self, path: str | Path, overwrite: bool = True) -> Path:
        """Writes the model to one file: description, weights, average and measured moments.

        Args:
          path: of the file; ``.lcss`` by convention. It is an .npz without pickles.
          overwrite: whether a file that is there is replaced.

        Raises:
          UsageError: the file is there, and `overwrite` is False.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists. Choose another path, or overwrite=True.")
        self.state.description = self.description()
        return files.write_arrays(path, arrays_of(self.state, self.state.model_groups))

    def save_weights(self, path: str | Path, overwrite: bool = True) -> Path:
        """As `save`: the file describes the model too. For ``keras.callbacks.ModelCheckpoint``."""
        return self.save(path, overwrite)

    def get_weights(self) -> list[Array]:
        """The weights and their averages, as arrays. For ``keras.callbacks.EarlyStopping``."""
        return [w.numpy() for w in self.state.weights()]

    def set_weights(self, weights: Sequence[Array]) -> None:
        """Takes what `get_weights` returned."""
        for variable, value in zip(self.state.weights(), weights, strict=True):
            variable.assign(value)

    @classmethod
    def load(
        cls,
        path: str | Path,
        checkpoint: str = "newest",
        distribution: Distribution | None = None,
        sigma_rel: float | None = None,
    ) -> "ScoreModel":
        """The model that a file or a run's workdir holds.

        Parts of your own must be registered before: import the module that defines them.

        Args:
          path: a file that `save` wrote, a checkpoint, or the workdir of a run.
          checkpoint: of a workdir: "newest", "best", or a step.
          distribution: over which devices it spreads.
          sigma_rel: of a run with `PowerFunction` averages: the average of this length, a share
            of the training, is reconstructed (`lcss_tf.training.snapshots`).

        Raises:
          FileNotFoundError: there is nothing.
          CheckpointError: a file that cannot be used, or a run without a checkpoint.
          UsageError: it is made of parts that are not registered; names them.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"There is no model at {path}.")
        if path.is_dir():
            checkpoints = Checkpoints(path)
            if not checkpoints.paths():
                raise CheckpointError(
                    f"{path} has no checkpoint yet. Train on, or wait for the first one."
                )
            return cls._from_checkpoints(checkpoints, checkpoint, distribution, sigma_rel)
        return cls._from_file(path, distribution, sigma_rel)

    @classmethod
    def _from_checkpoints(cls, checkpoints: Checkpoints, text: str, *options: Any) -> "ScoreModel":
        problems = []
        for path in checkpoints.candidates(text):
            try:
                return cls._from_file(path, *options)
            except CheckpointError as error:
                problems.append(f"  {error}")
        raise CheckpointError("No checkpoint of this run can be used:\n" + "\n".join(problems))

    @classmethod
    def _from_file(
        cls,
        path: Path,
        distribution: Distribution | None,
        sigma_rel: float | None = None,
        reader: Any = checkpoint_files,
    ) -> "ScoreModel":
        description = checkpoint_files.description_of(path, reader.read_meta)
        wanted = None if sigma_rel is None else Reconstruction(path, sigma_rel)
        if wanted is not None:
            description |= {"average": serialization.describe(wanted.average, AVERAGES)}
        try:
            model = cls.from_description(description, distribution)
            state = model.state  # where it knows its data
        except UsageError as error:
            raise CheckpointError(f"{path} cannot be loaded: {error}") from error
        checkpoint_files.fill(state, path, reader.read)
        if wanted is not None:
            wanted.fill(state)
        return model

    @classmethod
    def from_description(
        cls, description: dict, distribution: Distribution | None = None
    ) -> "ScoreModel":
        """The model that `description` described, with fresh weights.

        Raises:
          UsageError: another format, or parts that are not registered.
        """
        if not isinstance(description, dict):
            raise UsageError(f"A model is described by a dict; got {str(description)[:80]}.")
        if description.get("format") != FORMAT:
            raise UsageError(
                f"The model is described in format {description.get('format')}, by lcss_tf "
                f"{description.get('lcss_tf')}; this is {__version__}, which reads format {FORMAT}."
            )
        problem = forms.mismatch(description, _DESCRIPTION)
        if problem:
            raise UsageError(f"The description of the model is damaged: {problem}.")
        model = cls(
            None,
            serialization.restore(description["sde"], SDES),
            serialization.restore(description["preconditioning"], PRECONDITIONINGS),
            description["ema_decay"],
            distribution,
            description.get("average") and serialization.restore(description["average"], AVERAGES),
        )
        if description.get("network"):
            with model.distribution.scope():  # Keras creates the weights at once
                model.network = networks.deserialize(description["network"])
        if description.get("data") is not None:
            model._prepare(DataInfo.from_dict(description["data"]))
            model._source = description.get("source")
        return model

    def summary(self) -> str:
        """The model in a few lines."""
        network = type(self.network).__name__ if self.network is not None else "chosen by fit"
        size = f", {self._state.num_parameters():,} parameters" if self._state else ""
        lines = [
            f"ScoreModel after {self.step:,} steps",
            f"  network          {network}{size}",
            f"  SDE              {type(self.sde).__name__}",
            f"  preconditioning  {type(self.preconditioning).__name__}",
        ]
        spec = spec_of(self.network)
        if spec is not None:
            lines.append(f"  condition        {spec}")
        if self._info is not None:
            shape = "×".join(map(str, self.info.shape))
            lines.append(f"  data             {self.info.name}: {self.info.kind}, {shape}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        network = type(self.network).__name__ if self.network is not None else None
        return f"ScoreModel(network={network}, sde={type(self.sde).__name__}, step={self.step})"


__all__ = ["Posterior", "ScoreModel"]
