"""What is timed: training steps under several losses, the forward pass, a sampler's step."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.experiment.batches import training_batches
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.recipe import measure, new_state
from lcss_tf.training.step import TrainStep


class Case(NamedTuple):
    """One thing to time.

    run: does it once and waits for the result. flops: of the model in one of what is reported.
    examples: that it takes through the network's full training, forward pass or evaluation.
    per_run: () -> how many of what is reported the last run held: a sampler's evaluations.
    """

    name: str
    run: object
    flops: int
    examples: int
    per_run: object = lambda: 1


def training_case(name, recipe, distribution, mode, count_flops):
    """A training step of a `Recipe`."""
    state = _state(recipe, distribution)
    step = TrainStep(
        state, recipe.loss, distribution, recipe.batch_size, recipe.seed, jit_compile=mode
    )
    batches = training_batches(recipe, distribution, 0)
    counted = TrainStep(
        state, recipe.loss, distribution, recipe.batch_size, recipe.seed, jit_compile=False
    )
    batch = distribution.first(next(batches))
    flops = count_flops(counted.loss_and_gradients, batch, random.as_seed(0))

    def run():
        step(next(batches), state.step).loss.numpy()
        state.step += 1

    return Case(f"train, {name}", run, flops, recipe.batch_size)


def forward_case(recipe, distribution, mode, count_flops):
    """The network alone, on a batch."""
    state = _state(recipe, distribution)
    network, sde = state.network, recipe.sde
    mode = xla.mode(mode, getattr(network, "pieces_on_cpu", False))
    x = random.normal(0, (recipe.batch_size, *recipe.data.shape))
    cond = sde.noise_label(tf.fill([recipe.batch_size], tf.constant(0.5 * sde.T)))
    flops = count_flops(network, x, cond)

    def forward(x, cond):
        with xla.in_pieces(mode == "pieces"):
            return network(x, cond)

    compiled = tf.function(forward, jit_compile=mode is True or None, autograph=False)

    def run():
        np.asarray(compiled(x, cond))

    return Case("forward", run, flops, recipe.batch_size)


def sampling_case(recipe, distribution, mode, forward_flops, num_steps=8):
    """A sampler of `num_steps` steps, reported per evaluation of the network.

    One that chooses its steps by itself takes those it needs.
    """
    state = _state(recipe, distribution)
    size = recipe.batch_size
    generation = Generation(
        state, recipe.data.shape, distribution, batch_size=size, jit_compile=mode
    )
    sampler = generation.sampler
    if sampler.evaluations() is not None:
        sampler.num_steps = num_steps

    def run():
        generation(size, progress=False)

    name = f"{type(sampler).__name__}, one evaluation"
    return Case(name, run, forward_flops, size, lambda: generation.evaluations)


def _state(recipe, distribution):
    state = new_state(recipe, distribution, recipe.data.shape)
    measure(recipe, state)
    return state
