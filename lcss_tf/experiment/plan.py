"""What training would do and what memory it takes, for --dry_run; advice where memory is short."""

import tensorflow as tf

from lcss_tf import random
from lcss_tf.experiment.recipe import checked_recipe, new_state
from lcss_tf.training.footprint import footprint
from lcss_tf.training.step import TrainStep


def dry_run(workdir):
    """Builds everything, runs nothing, and prints what would be run."""
    distribution, recipe = checked_recipe()
    state = new_state(recipe, distribution, recipe.data.shape)
    try:
        recipe.data.require("train")
        size = recipe.data.size("train")
        available = "endless" if size is None else f"{size:,} examples"
    except FileNotFoundError as error:
        available = f"not there\n{error}"
    steps = recipe.total_steps
    parameters = state.num_parameters()
    memory = step_footprint(recipe, state, distribution)
    lines = {
        "workdir": workdir,
        "SDE": type(recipe.sde).__name__,
        "loss": type(recipe.loss).__name__,
        "network": f"{type(recipe.network).__name__}, {parameters:,} parameters",
        "memory": memory.text(),
        "replicas": distribution.text(),
        "global batch": f"{recipe.batch_size} ({recipe.batch_size // distribution.num_replicas} "
        "a replica)",
        "steps": f"{steps:,} ({steps * recipe.batch_size:,} examples)",
        "data": f"{recipe.data.name}, {'×'.join(map(str, recipe.data.shape))}: {available}",
    }
    for name, value in lines.items():
        print(f"{name + ':':<14}{value}")
    return lines


def step_footprint(recipe, state, distribution, accumulation_steps=None):
    """The `Footprint` of a step, traced on shapes alone: no data are read, nothing is run.

    accumulation_steps: by default what ``train_step`` is bound to.
    """
    preconditioning = state.model.preconditioning
    if preconditioning.measured is None:
        stand_in = random.normal(0, (16, *recipe.data.shape))
        preconditioning.prepare(recipe.sde, stand_in, recipe.seed)
    options = {} if accumulation_steps is None else {"accumulation_steps": accumulation_steps}
    step = TrainStep(state, recipe.loss, distribution, recipe.batch_size, recipe.seed, **options)
    rows = step.part_rows
    batch = tf.TensorSpec([rows, *recipe.data.shape], tf.float32)
    if recipe.num_classes is not None:
        batch = batch, tf.TensorSpec([rows], tf.int32)
    return footprint(state, step, batch)


def memory_advice(recipe, state, distribution):
    """What would take less memory than the step as it is, with the estimates of --dry_run."""
    now = step_footprint(recipe, state, distribution)
    lines = [f"The device's memory does not hold this step: {now.text()}. What takes less:"]
    rows = distribution.rows_per_replica(recipe.batch_size)
    network = type(recipe.network).__name__
    candidates = [
        (
            f"train_step.accumulation_steps = {parts}",
            lambda parts=parts: step_footprint(recipe, state, distribution, parts),
            "the same step, in parts",
        )
        for parts in (2, 4, 8)
        if rows % parts == 0
    ]
    for change, binding, price in (
        ({"rematerialise": True}, "rematerialise = True", "the same step, slower"),
        ({"dtype": "mixed_bfloat16"}, "dtype = 'mixed_bfloat16'", "rounded; faster on GPUs"),
    ):
        candidates.append(
            (
                f"{network}.{binding}",
                lambda change=change: _changed(recipe, state, distribution, change),
                price,
            )
        )
    for binding, measure, price in candidates:
        less = measure()
        share = 1 - less.total / now.total if less else 0.0
        if share >= 0.01:
            mib = less.total / 2**20
            lines.append(f"  {binding:<42} about {mib:,.0f} MiB ({share:.0%} less): {price}")
    half = recipe.batch_size // 2
    if half >= distribution.num_replicas:
        lines.append(f"  train.batch_size = {half}: another training, of noisier steps")
    return "\n".join(dict.fromkeys(lines))


def _changed(recipe, state, distribution, change):
    """The `Footprint` with another network; None where it cannot be changed so."""
    config = recipe.network.get_config()
    name, value = next(iter(change.items()))
    if config.get(name, "float32") in (value, True):
        return None
    try:
        # A network of its own, built on the host: the device is full.
        with tf.device("/cpu:0"):
            network = type(recipe.network).from_config(config | change)
            changed = type(state)(state.model, network, None, recipe.data.shape, distribution)
    except (TypeError, ValueError, tf.errors.OpError):
        return None
    changed.optimizer = state.optimizer
    return step_footprint(recipe, changed, distribution)
