"""Hugging Face's diffusers: UNet2DModel under DDPM's noise, drawn by SDE-DPM-Solver++ and DDPM.

Settings of its unconditional_image_generation example: batch 16, AdamW at 1e-4 (betas .95 and
.999, weight decay 1e-6) after a warm-up of 500 steps and then along a cosine, gradients clipped to
norm 1, an average whose decay rises to .9999, 1,000 linear betas, ε predicted. The cosine runs over
the training. Images are not mirrored: the judge's are not.

Of the seven samplers that were tried with 50 evaluations, the one that suits it best is taken:
DPM-Solver++ as an SDE, whose x_0 is thresholded as its authors advise for pixels.
"""

import math

from common import Rival, main


class Diffusers(Rival):
    """686,769 parameters: three resolutions of 16, 32 and 64 channels, attention at 7 pixels."""

    library, batch_size, learning_rate, clip_norm = "diffusers", 16, 1e-4, 1.0

    def build(self):
        import torch
        from diffusers import DDPMScheduler, UNet2DModel

        self.network = UNet2DModel(
            sample_size=28, in_channels=1, out_channels=1, layers_per_block=1,
            block_out_channels=(16, 32, 64), norm_num_groups=8,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        with torch.device("cpu"):  # it reads its schedule by NumPy, wherever the network is
            self.noise = DDPMScheduler(num_train_timesteps=1_000, beta_schedule="linear")
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.learning_rate, betas=(0.95, 0.999), weight_decay=1e-6
        )

    def loss(self, x):
        import torch

        noise = torch.randn_like(x)
        t = torch.randint(0, self.noise.config.num_train_timesteps, (len(x),))
        predicted = self.network(self.noise.add_noise(x, noise, t), t).sample
        return torch.nn.functional.mse_loss(predicted, noise)

    def rate(self, step, share):
        return min(step / 500, 1.0) * 0.5 * (1 + math.cos(math.pi * share))

    def decay(self, updates):
        return min(1 - (1 + updates) ** -0.75, 0.9999)

    def draws(self, network, nfe, best_nfe):
        import torch
        from diffusers import DPMSolverMultistepScheduler

        with torch.device("cpu"):
            solver = DPMSolverMultistepScheduler.from_config(
                self.noise.config,
                algorithm_type="sde-dpmsolver++", thresholding=True, sample_max_value=1.0,
            )  # fmt: skip
        name = "SDE-DPM-Solver++ (2M), dynamic thresholding"
        return {
            "50nfe": (name, nfe, sampler(network, solver, nfe)),
            "best": ("DDPM", best_nfe, sampler(network, self.noise, best_nfe)),
        }


def sampler(network, scheduler, steps):
    """count -> samples [count, 1, 28, 28], by a scheduler of diffusers."""
    import torch

    @torch.no_grad()
    def draw(count):
        scheduler.set_timesteps(steps)
        x = torch.randn(count, 1, 28, 28) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(network(scheduler.scale_model_input(x, t), t).sample, t, x)
            x = x.prev_sample
        return x

    return draw


if __name__ == "__main__":
    main(Diffusers, __doc__)
