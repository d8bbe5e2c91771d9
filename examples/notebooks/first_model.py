# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A first model, from an array
#
# Two minutes on two CPU cores. We train a score model on points in the plane, draw new points, ask how likely a point
# is, and fill in a coordinate that is missing.

# %%
import keras
import numpy as np
from sklearn.datasets import make_moons

import lcss_tf as lcss

x, _ = make_moons(4_000, noise=0.08, random_state=0)
x = x.astype(np.float32)  # [4000, 2], in units of its own

# %% [markdown]
# A `ScoreModel` joins an SDE and a network. The SDE turns data into noise; the network learns the score of the noisy
# data, ∇log p_t(x). Without arguments you get the variance-preserving SDE and an MLP. `fit` normalises the array,
# trains, and returns the curves. A small network likes a larger learning rate than the default of 2e-4.

# %%
model = lcss.ScoreModel(lcss.networks.MLP(width=128), lcss.sdes.VPSDE())
adam = keras.optimizers.Adam(lcss.training.WarmUp(2e-3, decay="cosine"))
history = model.fit(x, steps=4_000, batch_size=512, optimizer=adam)
history.plot()

# %% [markdown]
# Samples come back in the units and the dtype of `x`. A sampler runs the SDE, or its probability-flow ODE, backwards.
# DPM-Solver++ needs few evaluations of the network; Euler-Maruyama works on every SDE.

# %%
samples = model.sample(2_000, sampler=lcss.samplers.DPMSolverPP(num_steps=19))
figure, (left, right) = lcss.plots.new_figure(1, 2)
for axes, points, title in ((left, x[:2_000], "data"), (right, samples, "samples")):
    axes.scatter(*points.T, s=3, color="#1f4e9c", linewidths=0)
    axes.set(title=title, xlim=(-1.5, 2.5), ylim=(-1.1, 1.6), aspect="equal")
lcss.plots.write_png("first_model.png", lcss.plots.render(figure))

# %% [markdown]
# ![Data and samples](../../docs/images/first_model.png)
#
# ## How likely is a point?
#
# The probability-flow ODE gives log p(x), in nats and in the units of `x`. The error is that of the trace's estimate;
# in two dimensions the trace is exact, and the error 0. A point between the moons is far less likely than one on them.

# %%
nats, error = model.log_prob(np.array([[0.0, 1.0], [0.5, 0.25]], np.float32))
print(nats)

# %% [markdown]
# ## There and back
#
# The same ODE maps each example to a latent, and the latent back to the example.

# %%
z = model.encode(x[:5])
print(np.abs(model.decode(z) - x[:5]).max())

# %% [markdown]
# ## Fill in what is missing
#
# `posterior` draws from p(x | y) for an observation y = A x. Here the first coordinate is known and the second is not.

# %%
observed = np.array([[1.0, 0.0]], np.float32)  # the second number is not looked at
known = lcss.control.Mask(np.array([1.0, 0.0], np.float32))
filled = model.posterior(observed, known).sample(200)[0]
print(np.round(np.quantile(filled[:, 1], [0.1, 0.5, 0.9]), 2))

# %% [markdown]
# ## Keep it
#
# One file holds the weights, the description of the parts and the scaling of the data.

# %%
model.save("moons.lcss")
again = lcss.ScoreModel.load("moons.lcss")
sampler = lcss.samplers.DPMSolverPP(num_steps=19)
assert np.array_equal(model.sample(5, sampler=sampler), again.sample(5, sampler=sampler))
