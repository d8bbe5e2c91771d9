# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # An SDE of your own, held against the truth
#
# Three minutes on two CPU cores. We write down an SDE that has no closed-form transition kernel, train on it, and
# measure the error of the learnt score against a solution of the Fokker-Planck equation.

# %%
import math

import keras
import numpy as np
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.exact import exact_mixture

# %% [markdown]
# ## The SDE
#
# dx = −½β(t) (x + ω tanh(|x|²/2) R x) dt + √β(t) dw, where R is a quarter turn. The swirl couples the coordinates, and it
# maps a standard normal distribution to itself, which is therefore the prior. Four methods and a decorator are all.


# %%
@lcss.register_sde
class Swirl(lcss.SDE):
    """A swirl round the origin, with noise."""

    simulation_spacing = 0.5  # β grows like t: each step gets the same share of the noise

    def beta(self, t):
        return 0.1 + 19.9 * t[:, None]

    def drift(self, x, t):
        turned = tf.stack([-x[:, 1], x[:, 0]], axis=1)
        speed = tf.tanh(0.5 * tf.reduce_sum(x**2, axis=1, keepdims=True))
        return -0.5 * self.beta(t) * (x + 2.0 * speed * turned)

    def diffusion(self, x, t):
        return tf.sqrt(self.beta(t))

    def prior_sample(self, shape, seed):
        return tf.random.stateless_normal(shape, seed)

    def prior_log_prob(self, x):
        return -0.5 * tf.reduce_sum(x**2 + math.log(2 * math.pi), axis=1)


# %% [markdown]
# ## Training
#
# Denoising score matching would need the kernel p(x_t | x_0), and refuses. The default loss needs samples of x_t alone:
# it simulates the path, and Stein's identity over the noise of the whole path gives an unbiased estimate of the trace.

# %%
data = lcss.data.TwoMoons()
try:
    lcss.ScoreModel(lcss.networks.MLP(), Swirl()).fit(data, loss=lcss.losses.DSMLoss(), steps=1)
except lcss.UsageError as error:
    print(error)

# %%
model = lcss.ScoreModel(lcss.networks.MLP(width=128), Swirl())
adam = keras.optimizers.Adam(lcss.training.WarmUp(2e-3, decay="cosine"))
history = model.fit(data, steps=4_000, batch_size=512, optimizer=adam)

# %% [markdown]
# ## The truth
#
# `exact_mixture` solves ∂p/∂t = −∇·(f p) + ½ ∇²(g² p) on a grid, from drift and diffusion alone. It knows nothing of the
# model. We compare scores at points of p_t: E‖S − ∇log p_t‖² / E‖∇log p_t‖².

# %%
times = [0.1, 0.3, 0.7]
truth = exact_mixture(data, model.sde, times)
x0 = data.examples(np.arange(2_000), "test")
for i, t in enumerate(times):
    x_t = model.sde.sample_xt(x0, tf.fill([2_000], t), seed=1)
    learnt = model.score_fn(x_t, tf.fill([2_000], t)).numpy()
    exact = truth.score(np.asarray(x_t), i)
    error = np.sum((learnt - exact) ** 2) / np.sum(exact**2)
    print(f"t = {t}: relative squared error {error:.4f}")

# %% [markdown]
# ## Samples
#
# Any sampler that asks for drift and diffusion alone runs on it. Those that need (alpha_t, sigma_t) say so, and name
# the others.

# %%
samples = model.sample(2_000, sampler=lcss.samplers.EulerMaruyama(num_steps=500))
picture = lcss.plots.density_and_samples(samples, data.log_density)
lcss.plots.write_png("own_sde.png", picture)

# %% [markdown]
# ![The density of the data and 2,000 samples](../../docs/images/own_sde.png)
