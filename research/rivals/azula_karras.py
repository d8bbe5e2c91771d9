"""azula: its UNet in a KarrasDenoiser on its VP schedule, drawn by xEABSampler and DDPMSampler.

Settings of its MNIST tutorial: batch 64, Adam at 3e-4, times uniform in [0, 1], a two-layer
embedding of log σ/α. The tutorial keeps no average of the weights; here one of decay .999 is kept,
as ours is. xEABSampler of order 2 is its DPM-Solver++; 1,000 steps of DDPMSampler are its README's.
"""

from common import Rival, main


class Azula(Rival):
    """696,133 parameters: the tutorial's network with 16, 40 and 68 channels for 16, 32 and 64."""

    library, batch_size, learning_rate = "azula", 64, 3e-4

    def build(self):
        import torch
        from azula.denoise import KarrasDenoiser
        from azula.nn.unet import UNet
        from azula.noise import VPSchedule

        class Backbone(torch.nn.Module):
            """The UNet, modulated by an embedding of the time."""

            def __init__(self, features=64):
                super().__init__()
                self.unet = UNet(
                    in_channels=1, out_channels=1, hid_channels=(16, 40, 68), hid_blocks=(2, 2, 2),
                    mod_features=features,
                )  # fmt: skip
                self.embedding = torch.nn.Sequential(
                    torch.nn.Linear(1, features),
                    torch.nn.SiLU(),
                    torch.nn.Linear(features, features),
                )

            def forward(self, x_t, t):
                return self.unet(x_t, self.embedding(t[..., None]))

        self.network = KarrasDenoiser(backbone=Backbone(), schedule=VPSchedule())
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)

    def loss(self, x):
        import torch

        return self.network.loss(x, torch.rand(len(x)))

    def draws(self, network, nfe, best_nfe):
        from azula.sample import DDPMSampler, xEABSampler

        few = xEABSampler(network, order=2, steps=nfe, silent=True)
        many = DDPMSampler(network, steps=best_nfe, silent=True)
        return {
            "50nfe": ("xEABSampler of order 2", nfe, from_prior(few)),
            "best": ("DDPMSampler", best_nfe, from_prior(many)),
        }


def from_prior(sampler):
    """count -> samples [count, 1, 28, 28]."""
    return lambda count: sampler(sampler.init((count, 1, 28, 28)))


if __name__ == "__main__":
    main(Azula, __doc__)
