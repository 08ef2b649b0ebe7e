"""An engineer's VAE: 60 lines of PyTorch that know nothing of priorkit."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

LATENTS = 6


class Vae(nn.Module):
    """A VAE of 8x8 images with values in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 128),
            nn.SiLU(),
            nn.Linear(128, 2 * LATENTS),
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENTS, 128),
            nn.SiLU(),
            nn.Linear(128, 64),
        )

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)

    def decode(self, z):
        return self.decoder(z).view(-1, 1, 8, 8)

    def loss(self, x, weight):
        mean, log_variance = self.encode(x)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        fit = F.binary_cross_entropy_with_logits(self.decode(z), x, reduction="sum")
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        return (fit + weight * divergence) / len(x)


def images():
    """All digits, (N, 1, 8, 8)."""
    return torch.tensor(load_digits().images / 16, dtype=torch.float32)[:, None]


def trained_vae(steps=400, weight=0.1):
    """A KL weight below 1 gives sharp reconstructions and a wide prior hole."""
    torch.manual_seed(0)
    vae, x = Vae(), images()
    optimiser = torch.optim.Adam(vae.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = vae.loss(x[torch.randint(len(x), (128,))], weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return vae


vae = trained_vae()
