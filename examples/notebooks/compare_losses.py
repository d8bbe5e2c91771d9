# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Compare losses, and read the diagnostics
#
# Four minutes on two CPU cores. Three losses train the same network on the power-4 SDE, which has no closed-form
# transition kernel. We measure their errors against the truth, and the noise of their gradients, which explains them.

# %%
import keras
import numpy as np
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.exact import exact_mixture
from lcss_tf.training import GradientDiagnostics

data = lcss.data.GaussianMixture()
sde = lcss.sdes.GeneralizedNormalSDE  # dx = −½β x³ dt + √β dw
losses = {
    "LCSS (path)": lcss.losses.LCSSLoss(),
    "LCSS (Gaussian)": lcss.losses.LCSSLoss(
        smoothing="gaussian", estimator="control_variate", radius=0.05
    ),
    "SSM-VR": lcss.losses.SSMLoss(),
}

# %% [markdown]
# ## Errors
#
# The truth comes from the Fokker-Planck equation.

# %%
times = [0.1, 0.3, 0.7]
truth = exact_mixture(data, sde(), times)
x0 = data.examples(np.arange(2_000), "test")
models = {}
for name, loss in losses.items():
    model = models[name] = lcss.ScoreModel(lcss.networks.MLP(width=128), sde())
    adam = keras.optimizers.Adam(lcss.training.WarmUp(1e-3, decay="cosine"))
    model.fit(data, loss=loss, steps=2_000, batch_size=512, optimizer=adam)
    errors = []
    for i, t in enumerate(times):
        x_t = model.sde.sample_xt(x0, tf.fill([2_000], t), seed=1)
        learnt = model.score_fn(x_t, tf.fill([2_000], t)).numpy()
        exact = truth.score(np.asarray(x_t), i)
        errors.append(np.sum((learnt - exact) ** 2) / np.sum(exact**2))
    print(f"{name:16}", *(f"t = {t}: {e:.4f}" for t, e in zip(times, errors, strict=True)))

# %% [markdown]
# ## Why
#
# All three losses have the same minimiser. What differs is the noise of their gradients. `GradientDiagnostics` measures
# it at given weights, in equal parts of [t_min, T]: the trace of the covariance of one example's gradient, and the bias
# against the exact trace, with what noise alone would show.

# %%
weights = models["LCSS (path)"]
for name, loss in losses.items():
    diagnostics = GradientDiagnostics(weights.state.score, loss, num_draws=16, num_buckets=3)
    measured = diagnostics.measure(weights.network, x0[:64], seed=0)
    print(f"{name:16} variance", np.round(measured.variance, 2))
    print(
        f"{'':16} bias", np.round(measured.bias, 3), "noise alone", np.round(measured.bias_error, 3)
    )

# %% [markdown]
# A bias within twice its noise level is no bias. The variance falls with t: late in time the score is nearly that of the
# prior. Path smoothing has the least, at one evaluation of the network a step.
#
# From the command line `lcss compare --gin_file=compare_power4.gin --diagnose` does the same for every loss that a gin
# file names, with equal steps and equal wall clock, and draws the curves.
