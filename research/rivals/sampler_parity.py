"""Numbers of diffusers' multistep samplers, for tests/samplers/test_multistep_parity.py.

    pip install -r research/rivals/requirements/diffusers_ddpm.txt
    python research/rivals/sampler_parity.py --out=tests/fixtures/samplers_diffusers.npz

Each scheduler goes from given x_T through given levels ρ = sigma/alpha of VP (beta 0.1 to 20), with
the exact mean of x_0 given x_t for a mixture of two Gaussians in the plane, in float64. Their own
choice of times is not asked. What is kept: the times (VP's t), x_T, and all states of each run.
"""

import argparse
import json

import diffusers
import numpy as np
import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)

MEANS = np.array([[0.8, -0.4], [-0.6, 0.5]])
STD = 0.3
STEPS = 12


def level(t, beta_min=0.1, beta_max=20.0):
    """sigma/alpha of VP."""
    return np.sqrt(np.expm1(0.5 * t**2 * (beta_max - beta_min) + t * beta_min))


def denoised(x, rho):
    """E[x_0 | x_t = x]: the weights of the two Gaussians, and the mean within each."""
    alpha = 1 / np.sqrt(1 + rho**2)
    variance = (alpha * STD) ** 2 + (alpha * rho) ** 2
    away = x[:, None] - alpha * MEANS
    log_weights = -0.5 * np.sum(away**2, axis=2) / variance
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    within = MEANS + alpha * STD**2 / variance * away
    return np.sum(weights[:, :, None] * within, axis=1)


CASES = {
    f"dpm_{order}": (
        DPMSolverMultistepScheduler,
        {"solver_order": order, "final_sigmas_type": "sigma_min"},  # else the last order is 1
    )
    for order in (2, 3)
}
CASES |= {
    f"unipc_{order}_{kind}": (
        UniPCMultistepScheduler,
        {"solver_order": order, "solver_type": kind},
    )
    for order in (1, 2, 3)
    for kind in ("bh1", "bh2")
}
CASES |= {f"deis_{order}": (DEISMultistepScheduler, {"solver_order": order}) for order in (2, 3)}


def states(scheduler, x_T, levels):
    """The states [N + 1, B, 2]."""
    scheduler.set_timesteps(len(levels) - 1)
    scheduler.sigmas = torch.from_numpy(levels)
    scheduler.timesteps = torch.arange(len(levels) - 1, 0, -1)  # which step it is, and no more
    scheduler._step_index = 0
    x, found = torch.from_numpy(x_T), [x_T]
    for i, t in enumerate(scheduler.timesteps):
        output = torch.from_numpy(denoised(x.numpy(), levels[i]))
        x = scheduler.step(output, t, x, return_dict=False)[0]
        found.append(x.numpy().copy())
    return np.stack(found)


def main():
    """Writes the archive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    x_T = np.random.default_rng(0).normal(size=(6, 2))
    # Two schedules of unequal steps in λ: t quadratic, and ρ^(1/7) by its values of t in float32.
    quadratic = np.linspace(1.0, np.sqrt(1e-3), STEPS + 1) ** 2
    fine = np.linspace(1e-4, 1.0, 2_000_001)
    roots = np.linspace(level(1.0) ** (1 / 7), level(1e-3) ** (1 / 7), STEPS + 1)
    karras = np.interp(roots**7, level(fine), fine)
    arrays = {"x_T": x_T}
    for place, times in (("quadratic", quadratic), ("rho", karras)):
        times = np.float64(np.float32(times))
        arrays[f"{place}.times"] = times
        for name, (kind, options) in CASES.items():
            for end in (False, True):
                scheduler = kind(prediction_type="sample", lower_order_final=end, **options)
                key = f"{place}.{name}" + (".lower_end" if end else "")
                arrays[key] = states(scheduler, x_T, level(times))
    meta = {"diffusers": diffusers.__version__, "means": MEANS.tolist(), "std": STD}
    arrays["meta.json"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    main()
