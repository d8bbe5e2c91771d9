"""lucidrains' denoising-diffusion-pytorch: its Unet in GaussianDiffusion, drawn by DDIM and DDPM.

Settings of its README and Trainer: batches of 32 accumulated over two (here one batch of 64, which
has the same gradient), Adam at 8e-5 (betas .9 and .99), gradients clipped to norm 1, an average of
decay .995 updated every tenth step, 1,000 steps of the sigmoid schedule, v predicted. Images are
not mirrored: the judge's are not. The training loop is the common one, because the library's
Trainer knows steps and no seconds.
"""

import contextlib
import io

from common import Rival, main, stand_in


class Lucidrains(Rival):
    """721,185 parameters: width 16, multiplied by 1, 2 and 4."""

    library, batch_size, learning_rate = "denoising-diffusion-pytorch", 64, 8e-5
    average_every, clip_norm = 10, 1.0

    def build(self):
        stand_in("torchvision")  # of its Trainer, for files of images
        import torch
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet

        unet = Unet(dim=16, dim_mults=(1, 2, 4), channels=1)
        self.network = GaussianDiffusion(unet, image_size=28, timesteps=1_000)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.learning_rate, betas=(0.9, 0.99)
        )

    def loss(self, x):
        return self.network(0.5 * (x + 1))  # it takes images in [0, 1]

    def decay(self, updates):
        steps = self.average_every * updates
        return min(1 - (1 + steps) ** (-2 / 3), 0.995)  # as its library for averages raises it

    def draws(self, network, nfe, best_nfe):
        few, many = (sampler(network, steps) for steps in (nfe, best_nfe))
        best = "DDPM" if best_nfe == network.num_timesteps else "DDIM"
        return {"50nfe": ("DDIM", nfe, few), "best": (best, best_nfe, many)}


def sampler(network, steps):
    """count -> samples [count, 1, 28, 28]: DDIM of so many steps; DDPM of all there are."""
    from denoising_diffusion_pytorch import GaussianDiffusion

    drawn = GaussianDiffusion(
        network.model, image_size=28, timesteps=network.num_timesteps, sampling_timesteps=steps
    )

    def draw(count):
        with contextlib.redirect_stderr(io.StringIO()):  # a bar for every batch
            return 2 * drawn.sample(batch_size=count) - 1

    return draw


if __name__ == "__main__":
    main(Lucidrains, __doc__)
