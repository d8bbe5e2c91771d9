# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Images with classes, and guidance
#
# Four minutes on two CPU cores, on the 1,797 real digits that scikit-learn ships. The same lines train on
# `lcss.data.FashionMNIST()` or a folder of images, which take longer.

# %%
import keras
import numpy as np
from sklearn.datasets import load_digits

import lcss_tf as lcss

digits = load_digits()
x = (255 / 16 * digits.images).astype(np.uint8)  # [1797, 8, 8]: bytes are images

# %% [markdown]
# A network with `num_classes` takes the class. A tenth of the labels are replaced by "any class" while training
# (`TrainStep.condition_dropout`), which guidance needs.

# %%
network = lcss.networks.NCSNpp(
    num_features=16, channel_multipliers=(1, 2), num_res_blocks=1, num_classes=10
)
model = lcss.ScoreModel(network)
history = model.fit(
    x,
    labels=digits.target,
    steps=4_000,
    batch_size=64,
    optimizer=keras.optimizers.Adam(lcss.training.WarmUp(1e-3, decay="cosine")),
    workdir="runs/notebook",  # checkpoints and TensorBoard; the same call again resumes
)

# %% [markdown]
# Without a label the classes come in turn. `label` takes one class for all samples.

# %%
sampler = lcss.samplers.ProbabilityFlowODE(num_steps=32)
samples = model.sample(60, sampler=sampler)
lcss.plots.save_grid("images_with_classes.png", samples, columns=10)
threes = model.sample(10, label=3, sampler=sampler)

# %% [markdown]
# ![Six samples of each class](../../docs/images/images_with_classes.png)
#
# ## Guidance
#
# Classifier-free guidance samples by s(x, t, ∅) + w (s(x, t, y) − s(x, t, ∅)). A weight w above 1 gives clearer and more
# similar samples: fidelity for variety. Both grids start from the same noise.

# %%
guided = model.sample(60, sampler=sampler, guidance=4.0)
lcss.plots.save_grid("images_guided.png", guided, columns=10)

# %% [markdown]
# ![The same with guidance 4](../../docs/images/images_guided.png)
#
# The spread of the pixels within each class shows what guidance costs.

# %%
for name, images in (("guidance 1", samples), ("guidance 4", guided)):
    by_class = images.reshape(6, 10, -1).astype(np.float32)
    print(name, f"standard deviation within a class: {by_class.std(axis=0).mean():.1f} of 255")
