"""A checkpoint of score_sde's form, made from the reference's weights."""

import json
import pathlib

import numpy as np

FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures" / "net_ddpmpp_vp.npz"


def reference():
    """(meta, state, the other arrays) of the reference's DDPM++."""
    with np.load(FIXTURE) as data:
        arrays = {key: data[key] for key in data.files}
    meta = json.loads(arrays.pop("meta.json").tobytes())
    state = {k.removeprefix("state."): v for k, v in arrays.items() if k.startswith("state.")}
    return meta, state, arrays


def content(state, step=7, tensor=np.asarray):
    """A checkpoint as score_sde saves it: the average is twice the weights, the moments 3 and 4.

    `tensor` makes a tensor from an array, e.g. `torch.tensor`.
    """
    names = [name for name in state if name != "sigmas"]
    moments = {
        i: {"step": step, "exp_avg": tensor(3 * state[n]), "exp_avg_sq": tensor(4 + 0 * state[n])}
        for i, n in enumerate(names)
    }
    return {
        "optimizer": {"state": moments, "param_groups": [{"lr": 2e-4, "params": [*moments]}]},
        "model": {f"module.{name}": tensor(value) for name, value in state.items()},
        "ema": {
            "decay": 0.9999,
            "num_updates": step,
            "shadow_params": [tensor(2 * state[name]) for name in names],
        },
        "step": step,
    }
