"""torchebm: its denoising score matching of an energy, drawn by its Langevin dynamics.

Settings of its denoising score matching example: batch 256, Adam at 1e-3. The example knows points
in the plane and one noise level; of one level nothing can be drawn from noise in 784 dimensions.
So the energy knows its level σ, as in Song and Ermon 2019: each batch has one, drawn log-uniformly
from .02 to 20, and its loss is weighted by σ². The energy is E(x, σ) = ⟨x, F(x/√(1 + σ²), log σ)⟩/σ
with F the library's DiT. Its gradient costs a backward pass, and training differentiates that
once more.

Levels fall geometrically. At each, LangevinDynamics takes one step of the size that takes the
noise from this level to the next; the last step is Tweedie's, without noise.
"""

import math

from common import Rival, main

SIGMA_MIN, SIGMA_MAX = 0.02, 20.0


class TorchEBM(Rival):
    """725,104 parameters: four blocks of 96 channels over patches of 4×4 pixels.

    The library has no convolutional network.
    """

    library, batch_size, learning_rate = "torchebm", 256, 1e-3

    def build(self):
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torchebm.core import BaseModel
        from torchebm.losses import DenoisingScoreMatching
        from torchebm.models import DiT

        class Energy(BaseModel):
            """E(x, σ) [B] of x [B, 1, 28, 28] and one σ."""

            def __init__(self):
                super().__init__()
                self.network = DiT(
                    input_size=28, in_channels=1, patch_size=4, embed_dim=96, depth=4, num_heads=4
                )

            def forward(self, x, sigma=1.0):
                level = torch.full((len(x),), 250 * math.log(sigma))  # the embedding's range
                # The CPU's fused attention has no second derivative.
                with sdpa_kernel(SDPBackend.MATH):
                    direction = self.network(x / math.sqrt(1 + sigma**2), level)
                return (x * direction).sum(dim=(1, 2, 3)) / sigma

        self.network = Energy()
        self.matching = DenoisingScoreMatching(model=self.network)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)

    def loss(self, x):
        import torch

        share = torch.rand(()).item()
        sigma = SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** share
        self.matching.noise_scale = sigma
        return sigma**2 * self.matching(x, model_kwargs={"sigma": sigma}) / x[0].numel()

    def draws(self, network, nfe, best_nfe):
        name = "annealed Langevin, one step a level"
        few, many = (sampler(network, steps) for steps in (nfe, best_nfe))
        return {"50nfe": (name, nfe, few), "best": (name, best_nfe, many)}


def sampler(energy, nfe):
    """count -> samples [count, 1, 28, 28]; `nfe` gradients of the energy each."""
    import torch
    from torchebm.samplers import LangevinDynamics

    sigmas = torch.logspace(math.log10(SIGMA_MAX), math.log10(SIGMA_MIN), nfe).tolist()

    def draw(count):
        x = SIGMA_MAX * torch.randn(count, 1, 28, 28)
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            step = LangevinDynamics(
                energy, step_size=sigma**2 - following**2, noise_scale=math.sqrt(0.5)
            )
            x = step.sample(x=x, n_steps=1, model_kwargs={"sigma": sigma})
        return x - sigmas[-1] ** 2 * energy.gradient(x, model_kwargs={"sigma": sigmas[-1]})

    return draw


if __name__ == "__main__":
    main(TorchEBM, __doc__)
