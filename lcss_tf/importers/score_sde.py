"""Networks and checkpoints of score_sde's PyTorch code (Song et al., ICLR 2021), for `NCSNpp`.

Its networks keep their parts in one list, in the order in which they are made; a parameter is
called, e.g., ``all_modules.4.Conv_0.weight``. This module knows that order and those names, and
works on arrays. It needs no PyTorch; `lcss_tf.importers.torch_file` reads the files.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.networks.ncsnpp import NCSNpp
from lcss_tf.typing import Array

# score_sde's table of discrete noise levels: a constant, not a parameter.
_CONSTANTS = ("sigmas",)

OPTIONS = {
    "nf": "num_features",
    "ch_mult": "channel_multipliers",
    "num_res_blocks": "num_res_blocks",
    "attn_resolutions": "attention_resolutions",
    "dropout": "dropout",
    "embedding_type": "embedding",
    "fourier_scale": "fourier_scale",
    "conditional": "conditional",
    "fir": "fir",
    "fir_kernel": "fir_kernel",
    "progressive": "progressive_output",
    "progressive_input": "progressive_input",
    "progressive_combine": "combine",
    "resblock_type": "resblock",
    "skip_rescale": "skip_rescale",
    "scale_by_sigma": "scale_by_sigma",
    "resamp_with_conv": "resample_with_conv",
    "init_scale": "init_scale",
    "centered": "centered",
}


def network_from_config(meta: Mapping[str, Any]) -> NCSNpp:
    """The network of a score_sde configuration, built if the image size is known.

    Args:
      meta: a flat dict with score_sde's names (nf, ch_mult, ...). ``image_size`` in pixels and
        ``num_channels`` (3) give the shape to build for; other names are ignored.

    Raises:
      UsageError: an option that NCSNpp needs is missing, or the nonlinearity is not swish.
    """
    missing = [name for name in OPTIONS if name not in meta]
    if missing:
        raise UsageError(f"The score_sde configuration lacks {', '.join(missing)}.")
    if meta.get("nonlinearity", "swish") != "swish":
        raise UsageError(
            f"NCSNpp has the nonlinearity 'swish' only; got {meta['nonlinearity']!r}. Import a "
            "network that uses it."
        )
    network = NCSNpp(**{ours: meta[theirs] for theirs, ours in OPTIONS.items()})
    if "image_size" in meta:
        size = meta["image_size"]
        network.build((None, size, size, meta.get("num_channels", 3)))
    return network


def _conv(layer):
    return {"weight": layer.kernel, "bias": layer.bias}


def _nin(layer):
    return {"W": layer.kernel, "b": layer.bias}


def _norm(layer):
    return {"weight": layer.gamma, "bias": layer.beta}


def _residual(block, resblock):
    shortcut = {"biggan": ("Conv_2", _conv), "ddpm": ("NIN_0", _nin)}[resblock]
    return _parts(
        ("GroupNorm_0", _norm, block.norm_0),
        ("Conv_0", _conv, block.conv_0),
        ("Dense_0", _conv, block.noise),
        ("GroupNorm_1", _norm, block.norm_1),
        ("Conv_1", _conv, block.conv_1),
        (*shortcut, block.shortcut),
    )


def _attention(block):
    return _parts(
        ("GroupNorm_0", _norm, block.norm),
        ("NIN_0", _nin, block.query),
        ("NIN_1", _nin, block.key),
        ("NIN_2", _nin, block.value),
        ("NIN_3", _nin, block.out),
    )


def _parts(*parts):
    """Joins the (name, names of, layer) of a block; a layer that is None is left out."""
    return {
        f"{prefix}.{name}": variable
        for prefix, names, layer in parts
        if layer is not None
        for name, variable in names(layer).items()
    }


def _modules(network: NCSNpp) -> Iterator[dict]:
    """Yields, in score_sde's order, the variables of each entry of its list by name."""
    block = network.resblock
    # score_sde names a convolution after a FIR filter differently.
    resampling = "Conv2d_0" if network.fir else "Conv_0"
    embedding = network.noise_embedding
    if embedding is not None:
        if embedding.fourier is not None:
            yield {"W": embedding.fourier.w}
        yield _conv(embedding.dense_0)
        yield _conv(embedding.dense_1)
    yield _conv(network.input_conv)
    for level in network.down_levels:
        for i, residual in enumerate(level.residuals):
            yield _residual(residual, block)
            if level.attention:
                yield _attention(level.attentions[i])
        if level.resample:
            yield from _transition(level, block, resampling)
            if level.pyramid == "input_skip":
                yield _parts(("Conv_0", _conv, level.combination.projection))
            elif level.pyramid == "residual":
                yield _parts((resampling, _conv, level.pyramid_conv.conv))
    yield _residual(network.middle_0, block)
    yield _attention(network.middle_attention)
    yield _residual(network.middle_1, block)
    for level in network.up_levels:
        for residual in level.residuals:
            yield _residual(residual, block)
        for attention in level.attentions:
            yield _attention(attention)
        if level.pyramid_conv is not None:
            yield _parts((resampling, _conv, level.pyramid_conv.conv))
        yield from _head(level.head)
        if level.resample:
            yield from _transition(level, block, resampling)
    yield from _head(network.head)


def _transition(level, block, resampling):
    if block == "biggan":
        yield _residual(level.transition, block)
    elif level.transition is None:
        yield {}  # plain resampling: an entry of the list without parameters
    else:
        yield _parts((resampling, _conv, level.transition.conv))


def _head(head):
    if head is not None:
        yield _norm(head.norm)
        yield _conv(head.conv)


def state_variables(network: NCSNpp) -> dict[str, keras.Variable]:
    """The network's variables by the names of score_sde's ``state_dict``.

    Raises:
      UsageError: the network is not built.
    """
    if not network.built:
        raise UsageError(
            "The network has no variables yet: call network.build((None, ..., C)) first."
        )
    return {
        f"all_modules.{i}.{name}": variable
        for i, module in enumerate(_modules(network))
        for name, variable in module.items()
    }


def _in_our_layout(name, value, shape):
    """A tensor of score_sde in the layout of ours, if its shape allows.

    Weights [out, in, taps...] become [taps..., in, out]; 1×1 convolutions lose their taps.
    """
    if not name.endswith(".weight") or value.ndim < 2:
        return value
    value = np.transpose(value, (*range(2, value.ndim), 1, 0))
    pointwise = set(value.shape[:-2]) <= {1}
    return value.reshape(value.shape[-2:]) if len(shape) == 2 and pointwise else value


def load_state(network: NCSNpp, state: Mapping[str, Array]) -> None:
    """Sets every variable of a built NCSNpp from a score_sde ``state_dict``.

    Args:
      network: a built `NCSNpp` of the same configuration.
      state: arrays by name, ``all_modules.0.weight`` and so on, with or without the
        ``module.`` in front that data parallelism adds. Every tensor is used exactly once.

    Raises:
      UsageError: tensors are missing, left over, or of another shape; the network is
        then unchanged.
    """
    variables = state_variables(network)
    for name, value in fitted(variables, state).items():
        variables[name].assign(value)


def fitted(variables: Mapping[str, Any], state: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of a ``state_dict`` in our layout, by name, checked against the variables.

    Raises:
      UsageError: tensors are missing, left over, or of another shape.
    """
    state = named(state)
    problems = [f"{name} is missing from the state" for name in variables if name not in state]
    problems += [f"{name} has no place in the network" for name in state if name not in variables]
    values = {}
    for name in variables.keys() & state.keys():
        value = _in_our_layout(name, state[name], variables[name].shape)
        values[name] = value
        if tuple(value.shape) != tuple(variables[name].shape):
            problems.append(
                f"{name} has shape {tuple(state[name].shape)}, in our layout "
                f"{tuple(value.shape)}; the network's is {tuple(variables[name].shape)}"
            )
    if problems:
        raise UsageError(
            f"The state does not fit the network ({len(problems)} tensors): "
            + "; ".join(sorted(problems)[:10])
            + ". Is its configuration the network's?"
        )
    return values


def named(state: Mapping[str, Any]) -> dict[str, Array]:
    """A ``state_dict`` as arrays by plain names, in its order, parameters only."""
    state = {name.removeprefix("module."): np.asarray(value) for name, value in state.items()}
    return {name: value for name, value in state.items() if name not in _CONSTANTS}


class Checkpoint(NamedTuple):
    """The content of a score_sde checkpoint; every dict is by parameter, in score_sde's layout.

    step: training steps done.
    weights: of the network.
    average: the exponential moving average of the weights.
    moments: Adam's first and second moments; None if the file has none.
    """

    step: int
    weights: dict[str, Array]
    average: dict[str, Array]
    moments: tuple[dict[str, Array], dict[str, Array]] | None


def checkpoint(content: Any, network: NCSNpp) -> Checkpoint:
    """The content of a checkpoint file, sorted by parameter.

    The file holds the parameters three times: the weights by name, their moving averages as a
    list in the order of the trained weights, Adam's moments by number in the order of all.

    Args:
      content: nested dicts and lists of arrays, as `torch_file.read` returns them: model, ema
        and, optionally, optimizer and step.
      network: a built `NCSNpp` of the same configuration, which says which parameters were trained.

    Raises:
      UsageError: a part is missing, or the numbers of tensors do not agree.
    """
    content = content if isinstance(content, Mapping) else {}
    absent = [key for key in ("model", "ema") if key not in content]
    if absent or "shadow_params" not in content.get("ema", {}):
        raise UsageError(
            "This is no checkpoint of score_sde, which holds 'model' (a state_dict) and 'ema' "
            f"(with 'shadow_params'); it holds {sorted(map(str, content)) or 'no dict'}."
        )
    weights = named(content["model"])
    variables = state_variables(network)
    fitted(variables, weights)  # before the lists, which have no names
    trained = [name for name in weights if variables[name].trainable]
    shadows = content["ema"]["shadow_params"]
    if len(shadows) != len(trained):
        raise UsageError(
            f"The average holds {len(shadows)} tensors (ema.shadow_params), and the network has "
            f"{len(trained)} trained ones. Is its configuration the network's?"
        )
    # What is not trained has no average of its own.
    average = weights | dict(zip(trained, map(np.asarray, shadows), strict=True))
    fitted(variables, average)
    moments = _moments(content.get("optimizer"), list(weights), trained)
    return Checkpoint(int(content.get("step", 0)), weights, average, moments)


def _moments(optimizer, names, trained):
    """Adam's moments by name: entry i of its state belongs to the i-th of all parameters."""
    entries = (optimizer or {}).get("state", {})
    by_name = {names[int(i)]: entry for i, entry in entries.items() if int(i) < len(names)}
    if not all("exp_avg" in by_name.get(name, {}) for name in trained):
        return None
    return tuple(
        {name: np.asarray(by_name[name][key]) for name in trained}
        for key in ("exp_avg", "exp_avg_sq")
    )


def fill(
    source: Checkpoint,
    network: NCSNpp,
    average: NCSNpp | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
) -> bool:
    """Sets a network, its moving average and an optimizer from a checkpoint.

    Args:
      source: of the same configuration as the network.
      network: a built `NCSNpp`.
      average: the network that holds the moving average of the weights; None: not needed.
      optimizer: built on the network's trainable variables. Its iterations become the
        checkpoint's step. Adam's moments are set; another optimizer starts with its own.

    Returns:
      Whether the optimizer took Adam's moments.

    Raises:
      UsageError: tensors are missing, left over, or of another shape.
    """
    load_state(network, source.weights)
    if average is not None:
        load_state(average, source.average)
    if optimizer is None:
        return False
    optimizer.iterations.assign(source.step)
    variables = network.trainable_variables
    slots = [getattr(optimizer, name, []) for name in ("_momentums", "_velocities")]
    if source.moments is None or any(len(moment) != len(variables) for moment in slots):
        return False
    names = {v.path: name for name, v in state_variables(network).items()}
    for values, moment in zip(source.moments, slots, strict=True):
        # Moments have the layout of their weights.
        by_name = {names[v.path]: slot for v, slot in zip(variables, moment, strict=True)}
        for name, value in fitted(by_name, values).items():
            by_name[name].assign(value)
    return True


__all__ = [
    "OPTIONS",
    "Checkpoint",
    "checkpoint",
    "fill",
    "fitted",
    "load_state",
    "named",
    "network_from_config",
    "state_variables",
]
