"""Small VAEs of images, as users write them."""

from math import prod

import torch
from torch import nn


def network(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 16), nn.SiLU(), nn.Linear(16, outputs))


class Flat(nn.Module):
    """One layer of latents."""

    def __init__(self, latents=4, shape=(1, 8, 8)):
        super().__init__()
        self.encoder, self.decoder = network(prod(shape), 2 * latents), network(latents, prod(shape))

    def encode(self, x):
        return self.encoder(x.flatten(1)).chunk(2, dim=1)

    def decode(self, z):
        return self.decoder(z)


class Ladder(nn.Module):
    """z1 ~ N(0, I) of 2 numbers, then a map z2 (3, 1, 1) with a learned prior given z1; q(z1 | x) q(z2 | z1, x)."""

    def __init__(self, shape=(1, 8, 8)):
        super().__init__()
        pixels = prod(shape)
        self.top, self.bottom = network(pixels, 4), network(pixels + 2, 6)
        self.lower, self.decoder = network(2, 6), network(5, pixels)

    def encode_top(self, x):
        return self.top(x.flatten(1)).chunk(2, dim=1)

    def encode_bottom(self, x, z1):
        return maps(self.bottom(torch.cat([x.flatten(1), z1], 1)))

    def encode(self, x):
        """q(z1 | x) q(z2 | x), in one function."""
        return self.encode_top(x), self.encode_bottom(x, x.new_zeros(len(x), 2))

    def prior(self, z1):
        return maps(self.lower(z1))

    def decode(self, z1, z2):
        return self.decoder(torch.cat([z1, z2.flatten(1)], 1))


def maps(values):
    mean, log_variance = values.view(len(values), 6, 1, 1).chunk(2, dim=1)
    return mean, log_variance


def flat_arguments(vae, **changed):
    given = {"encode": vae.encode, "decode": vae.decode, "latents": 4, "shape": (1, 8, 8)}
    return {**given, "likelihood": "bernoulli", "output": "logits", **changed}


def ladder_arguments(vae, **changed):
    given = {"encode": [vae.encode_top, vae.encode_bottom], "decode": vae.decode, "conditionals": vae.prior}
    return {**given, "latents": (2, (3, 1, 1)), "shape": (1, 8, 8), "likelihood": "bernoulli", "output": "logits", **changed}
