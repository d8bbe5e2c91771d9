"""The parameters of score_sde's PyTorch networks (Song et al., ICLR 2021), by name, for NCSNpp.

Its networks keep their parts in one list, in the order in which they are made; a parameter is
called, e.g., ``all_modules.4.Conv_0.weight``. This module knows that order and those names,
and works on arrays: it needs no PyTorch.
"""

import numpy as np

from lcss_tf.errors import UsageError
from lcss_tf.networks.ncsnpp import NCSNpp

# The reference's table of discrete noise levels: a constant, not a parameter.
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


def network_from_config(meta):
    """The NCSNpp that a score_sde configuration describes, built if the image size is known.

    Args:
      meta: a flat dict with the reference's names (nf, ch_mult, ...). ``image_size`` and
        ``num_channels`` (3) give the shape to build for; names of other things are ignored.

    Raises:
      ValueError: an option that NCSNpp needs is missing, or the nonlinearity is not swish.
    """
    missing = [name for name in OPTIONS if name not in meta]
    if missing:
        raise UsageError(f"The score_sde configuration lacks {', '.join(missing)}.")
    if meta.get("nonlinearity", "swish") != "swish":
        raise UsageError(
            f"NCSNpp knows the nonlinearity 'swish' only; got {meta['nonlinearity']!r}."
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


def _modules(network):
    """Yields, in the reference's order, the variables of each entry of its list by name."""
    block = network.resblock
    # The reference names a convolution after a FIR filter differently.
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
        yield {}  # resampling alone: a place in the list, without parameters
    else:
        yield _parts((resampling, _conv, level.transition.conv))


def _head(head):
    if head is not None:
        yield _norm(head.norm)
        yield _conv(head.conv)


def state_variables(network):
    """The network's variables by the names of the reference's ``state_dict``.

    Raises:
      ValueError: the network is not built.
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
    """A tensor of the reference in the layout of ours, if its shape allows.

    Weights [out, in, taps...] become [taps..., in, out]; 1×1 convolutions lose their taps.
    """
    if not name.endswith(".weight") or value.ndim < 2:
        return value
    value = np.transpose(value, (*range(2, value.ndim), 1, 0))
    pointwise = set(value.shape[:-2]) <= {1}
    return value.reshape(value.shape[-2:]) if len(shape) == 2 and pointwise else value


def load_state(network, state):
    """Sets every variable of a built NCSNpp from a score_sde ``state_dict``.

    Args:
      network: a built `NCSNpp` of the same configuration.
      state: arrays by name, ``all_modules.0.weight`` and so on, with or without the
        ``module.`` in front that data parallelism adds. Every tensor is used exactly once.

    Raises:
      ValueError: tensors are missing, left over, or of another shape; the network is
        then unchanged.
    """
    variables = state_variables(network)
    for name, value in fitted(variables, state).items():
        variables[name].assign(value)


def fitted(variables, state):
    """The arrays of a ``state_dict`` in our layout, by name, checked against the variables.

    Raises:
      ValueError: tensors are missing, left over, or of another shape.
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


def named(state):
    """A ``state_dict`` as arrays by plain names, in its order, without what is no parameter."""
    state = {name.removeprefix("module."): np.asarray(value) for name, value in state.items()}
    return {name: value for name, value in state.items() if name not in _CONSTANTS}
