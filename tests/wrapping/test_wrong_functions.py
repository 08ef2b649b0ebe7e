"""What a VAE gives instead of what is wanted is said in one short paragraph that names the function."""

import re

import pytest
import torch
from torch import nn
from vaes import Flat, Ladder, flat_arguments, ladder_arguments

import priorkit
from priorkit.core import DataSpec
from priorkit.errors import UsageError

VAE, LADDER = Flat(), Ladder()


class Vectors(Flat):
    """A VAE of vectors, which does not flatten images itself."""

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)


def sampled(x):
    mean, log_variance = VAE.encode(x)
    return mean + torch.randn_like(mean), log_variance


WRONG = {
    "one tensor": (
        {"encode": lambda x: VAE.encoder(x.flatten(1))},
        r"encode returned one tensor of shape \(2, 8\), but must",
    ),
    "a sample too": (
        {"encode": lambda x: (*VAE.encode(x), VAE.encode(x)[0])},
        r"encode returned \(\(2, 4\), \(2, 4\), \(2, 4\)\), but must return two tensors",
    ),
    "another size": ({"latents": 5}, r"encode returned \(\(2, 4\), \(2, 4\)\).* each of shape \(2, 5\) for a batch of 2"),
    "vectors": (
        {"encode": Vectors().encode},
        r"encode failed on input of shape \(2, 1, 8, 8\) with RuntimeError: mat1.*modules=\[vae\]",
    ),
    "another picture": (
        {"shape": (1, 8, 9), "encode": lambda x: VAE.encode(x[..., :8])},
        r"decode returned one tensor of shape",
    ),
    "two pictures": ({"decode": lambda z: (VAE.decode(z), z)}, r"decode returned \(\(2, 64\), \(2, 4\)\)"),
    "a list": ({"decode": lambda z: VAE.decode(z).tolist()}, r"decode returned \(list of 64, list of 64\)"),
    "samples": ({"encode": sampled}, "encode returned another mean at a second call"),
    "logits": ({"output": "mean"}, r'decode returned values from .* give output="logits"'),
    "no layers": ({"latents": ()}, "latents and shape may not be empty"),
    "text": ({"latents": "20"}, r"latents.0.0: .*got '20'"),
    "a share": ({"shape": 2.5}, r"shape.0: .*got 2.5"),
    "nothing": ({"encode": None}, "encode must be a function, such as a method of the VAE, got None"),
    "a name": ({"decode": "decode"}, "decode must be a function, .* got 'decode'"),
    "names": ({"conditionals": ["prior"]}, "conditionals must be a function"),
    "negative": ({"latents": -1}, "latents.0.0: Input should be greater than 0, got -1"),
    "likelihood": ({"likelihood": "poisson"}, "likelihood: Input should be 'bernoulli', 'gaussian' or 'none'"),
    "interval": ({"interval": (1, -1)}, "interval: expected black and white in this order"),
    "points": ({"shape": (64,)}, "are for images"),
    "three layers": (
        {"latents": (4, 7, 7)},
        r"layers: 3; conditionals= needs .* which is 2, got 0; .*write latents=\[\(4, 7, 7\)\]",
    ),
    "a conditional": ({"conditionals": VAE.decode}, "latents=4 has layers: 1; .* which is 0, got 1"),
    "two encoders": (
        {"encode": [VAE.encode, VAE.encode]},
        "encode has functions: 2; latents=4 needs one, or one per layer: 1",
    ),
    "no modules": (
        {"encode": lambda x: VAE.encode(x), "modules": None},
        r"encode is not a network's method.*modules=\[vae\]",
    ),
}
WRONG_LADDERS = {
    "two at once": (
        {"encode": LADDER.encode_top},
        r"encode returned \(\(2, 2\), \(2, 2\)\), .*one pair \(mean, log variance\) per layer",
    ),
    "in another order": ({"encode": [LADDER.encode_bottom, LADDER.encode_top]}, r"encode\[0\] failed on input of shape"),
    "the bottom": (
        {"encode": [LADDER.encode_top, lambda x, z1: LADDER.encode_top(x)]},
        r"encode\[1\] returned \(\(2, 2\), \(2, 2\)\), .* of shape \(2, 3, 1, 1\)",
    ),
    "the prior": (
        {"conditionals": lambda z1: (z1, z1)},
        r"conditionals returned \(\(2, 2\), \(2, 2\)\), .* of shape \(2, 3, 1, 1\)",
    ),
    "a decoder of one layer": (
        {"decode": lambda z2: z2},
        r"decode failed on input of shape \(2, 2\) and \(2, 3, 1, 1\).*lambda top",
    ),
}


@pytest.mark.parametrize("changed", WRONG, ids=str)
def test_a_wrong_function_is_named(changed):
    options, message = WRONG[changed]
    one_paragraph(flat_arguments(VAE, **{"modules": [VAE], **options}), message)


@pytest.mark.parametrize("changed", WRONG_LADDERS, ids=str)
def test_a_wrong_function_of_two_layers_is_named(changed):
    options, message = WRONG_LADDERS[changed]
    one_paragraph(ladder_arguments(LADDER, modules=[LADDER], **options), message)


def one_paragraph(arguments, message):
    with pytest.raises(UsageError) as raised:
        priorkit.wrap(**arguments)
    assert re.search(message, str(raised.value)), str(raised.value)
    assert len(str(raised.value)) < 500 and "\n" not in str(raised.value)


def test_memory_that_is_short_is_not_blamed_on_the_function():
    """Callers halve their batches then."""
    full = []

    def encode(x):
        if full:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return VAE.encode(x)

    backbone = priorkit.wrap(**flat_arguments(VAE, encode=encode, modules=[VAE]))
    full.append(True)
    with pytest.raises(torch.OutOfMemoryError):
        backbone.infer(torch.zeros(1, 1, 8, 8))


def test_the_weights_are_found_once():
    backbone = priorkit.wrap(**flat_arguments(VAE, modules=[VAE, VAE.encoder, VAE]))
    assert list(backbone.parts) == [VAE]
    sequence = nn.Sequential(nn.Flatten(), nn.Linear(4, 64))
    assert set(priorkit.wrap(**flat_arguments(VAE, decode=sequence)).parts) == {VAE, sequence}


def test_trying_the_functions_leaves_the_networks_as_they_were():
    vae = Flat()
    vae.encoder.insert(1, nn.BatchNorm1d(16))
    vae.train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    priorkit.wrap(**flat_arguments(vae))
    assert vae.training and all(parameter.requires_grad for parameter in vae.parameters())
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_a_likely_mistake_about_the_interval_is_told(caplog):
    priorkit.wrap(
        **flat_arguments(VAE, decode=lambda z: VAE.decode(z) - 3, modules=[VAE], likelihood="gaussian", output="mean")
    )
    assert "give interval=" in caplog.text


def test_data_of_another_shape_are_refused():
    backbone = priorkit.wrap(**flat_arguments(VAE))
    with pytest.raises(
        UsageError, match=r"mnist has data of shape \(1, 28, 28\), but the wrapped VAE was given shape=\(1, 8, 8\)"
    ):
        backbone.bound(backbone.settings, DataSpec("mnist", (1, 28, 28), 256))
