"""DINOv2 and CLIP: their networks against independent ones, with files of weights that the tests make."""

import hashlib
import io
from importlib.util import find_spec

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from priorkit.core import DataSpec
from priorkit.data.examples import Points
from priorkit.errors import UsageError
from priorkit.metrics import clip as clip_module
from priorkit.metrics.clip import Clip, clip_weights
from priorkit.metrics.cmmd import cmmd
from priorkit.metrics.dino_network import DinoNetwork, DinoShape
from priorkit.metrics.dinov2 import DINOV2_WEIGHTS, Dinov2
from priorkit.metrics.extractors import open_extractor
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.pillow_resize import pillow_resize
from priorkit.metrics.sample_fidelity import SampleFidelity, figure_names, real_images, to_8_bits
from priorkit.report.direction import direction, ranked
from priorkit.report.titles import title

SPEC = DataSpec("pictures", (3, 16, 16), 256)
TINY = DinoShape(width=64, depth=2, patch=14, grid=5)
needs_library = pytest.mark.skipif(find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed")


def pictures(count, seed=0, channels=3, size=16):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def dino_state(shape, seed=0):
    """Random tensors of a DINOv2 of that shape, as in a published file."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: 0.05 * torch.randn(value.shape, generator=generator) + ("norm" in name and name.endswith("weight"))
        for name, value in DinoNetwork(shape).state_dict().items()
    }
    return {**state, "mask_token": torch.zeros(1, shape.width)}


def reference(state, shape, x):
    """The same features by torch's own encoder layers, whose last layers take the factors of the branches in."""
    width = shape.width
    tokens = nn.functional.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=shape.patch)
    tokens = torch.cat([state["cls_token"].expand(len(x), -1, -1), tokens.flatten(2).mT], 1) + state["pos_embed"]
    for i in range(shape.depth):
        mine = {name.removeprefix(f"blocks.{i}."): value for name, value in state.items() if name.startswith(f"blocks.{i}.")}
        layer = nn.TransformerEncoderLayer(
            width, width // 64, 4 * width, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
        )
        theirs = {
            "self_attn.in_proj_weight": mine["attn.qkv.weight"], "self_attn.in_proj_bias": mine["attn.qkv.bias"],
            "linear1.weight": mine["mlp.fc1.weight"], "linear1.bias": mine["mlp.fc1.bias"],
            **{f"norm{k}.{part}": mine[f"norm{k}.{part}"] for k in (1, 2) for part in ("weight", "bias")},
        }  # fmt: skip
        for to, name, factor in (("self_attn.out_proj", "attn.proj", "ls1"), ("linear2", "mlp.fc2", "ls2")):
            gamma = mine[f"{factor}.gamma"]
            theirs[f"{to}.weight"] = gamma[:, None] * mine[f"{name}.weight"]
            theirs[f"{to}.bias"] = gamma * mine[f"{name}.bias"]
        layer.load_state_dict(theirs)
        tokens = layer.eval()(tokens)
    return nn.functional.layer_norm(tokens[:, 0], (width,), state["norm.weight"], state["norm.bias"], 1e-6)


@pytest.mark.parametrize("shape", [TINY, DinoShape(384, 12, 14, 16)], ids=["tiny", "ViT-S/14"])
@torch.no_grad()
def test_the_network_is_the_transformer_that_torch_computes(shape):
    state = dino_state(shape)
    x = torch.randn(2, 3, shape.patch * shape.grid, shape.patch * shape.grid, generator=torch.Generator().manual_seed(1))
    network = DinoNetwork.of(state)
    assert network.shape == shape
    torch.testing.assert_close(network(x), reference(state, shape, x), rtol=1e-4, atol=1e-4)


def test_positions_are_interpolated_with_the_offset_of_the_authors():
    """Embeddings that are a position's column are read off at the sampled places."""
    network = DinoNetwork.of(dino_state(DinoShape(64, 1, 14, 37)))
    ramp = torch.arange(37.0).expand(37, 37)
    network.pos_embed[0, 1:] = ramp.reshape(-1, 1)
    found = network.positions(16)[0, 1:, 0].unflatten(0, (16, 16))
    assert torch.equal(network.positions(16)[:, :1], network.pos_embed[:, :1])
    places = (torch.arange(16) + 0.5) / (16.1 / 37) - 0.5
    # The bicubic weights of torch are off by up to 0.05 on a ramp; without the offset the last places were off by 0.2.
    torch.testing.assert_close(found[:, 1:-1], places[1:-1].expand(16, -1), rtol=0, atol=0.06)
    assert network.positions(37) is network.pos_embed


@pytest.fixture
def tiny_dino(monkeypatch, tmp_path):
    """A file of a tiny network, and the extractor that expects it."""
    monkeypatch.setattr(Dinov2, "shape", TINY)
    path = tmp_path / "dino.pth"
    torch.save(dino_state(TINY), path)
    return path


def test_dinov2_reads_a_file_and_resizes_as_pillow_does(tiny_dino, tmp_path):
    extractor = open_extractor("dinov2", SPEC, weights=str(tiny_dino))
    images = to_8_bits(pictures(3))
    resized = np.stack(
        [
            np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC))
            for image in images
        ]
    )
    x = torch.from_numpy(resized).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(extractor(images).vectors, extractor.network(x))
    digest = hashlib.sha256(tiny_dino.read_bytes()).hexdigest()
    assert extractor.fingerprint == digest[:16] and "not those that are published" in extractor.about
    assert figure_names(extractor).distance == "fd_dinov2"
    other = tmp_path / "dino.safetensors"
    safetensors.torch.save_file(dino_state(TINY), other)
    assert torch.equal(open_extractor("dinov2", SPEC, weights=str(other))(images).vectors, extractor(images).vectors)


def test_grey_images_are_three_equal_channels_and_two_are_refused(tiny_dino):
    extractor = open_extractor("dinov2", SPEC, weights=str(tiny_dino))
    grey = to_8_bits(pictures(1, channels=1))
    assert torch.equal(extractor(grey).vectors, extractor(grey.expand(-1, 3, -1, -1)).vectors)
    assert pillow_resize(grey, 5).shape == (1, 3, 5, 5)
    with pytest.raises(UsageError, match="1 or 3 channels, got 2"):
        extractor(to_8_bits(pictures(1, channels=2)))


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: dino_state(DinoShape(128, 2, 14, 5)), "FD-DINOv2 is defined on"),
        (without("pos_embed"), "not the weights of a DINOv2: there is no 'pos_embed'"),
        (without("norm.bias"), "not the weights of a DINOv2"),
        (lambda state: {**state, "pos_embed": torch.zeros(1, 25, 64)}, "unexpected shapes"),
        (lambda state: {**state, "epoch": 3}, "expected a mapping of names to tensors"),
    ],
)
def test_other_files_are_not_dinov2(tiny_dino, change, told):
    torch.save(change(dino_state(TINY)), tiny_dino)
    with pytest.raises(UsageError, match=told) as refused:
        open_extractor("dinov2", SPEC, weights=str(tiny_dino))
    assert str(tiny_dino) in str(refused.value)


class Surprise:
    """Unpickling it would call a function."""

    def __reduce__(self):
        return print, ("unpickled",)


@needs_library
@pytest.mark.parametrize("name", ["dinov2", "clip"])
def test_nothing_is_unpickled_and_no_unknown_program_is_opened(name, tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save(Surprise(), path)
    with pytest.raises(UsageError, match="not only weights"):
        open_extractor(name, SPEC, weights=str(path))
    assert "unpickled" not in capsys.readouterr().out
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), path)
    with pytest.raises(UsageError, match="not a file of weights"):
        open_extractor(name, SPEC, weights=str(path))


@needs_library
@pytest.mark.parametrize("name", ["dinov2", "clip"])
def test_missing_weights_are_told_with_the_place_and_the_download_is_checked(name, monkeypatch, tmp_path):
    published = DINOV2_WEIGHTS if name == "dinov2" else clip_weights()
    monkeypatch.delenv(published.variable, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError) as missing:
        open_extractor(name, SPEC)
    for part in (published.needed_for, published.url, str(published.kept), published.variable, "MB", "--feature-weights"):
        assert part in str(missing.value)
    assert len(published.sha256) == 64 and "\n" not in str(missing.value)
    asked = []
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *what, **how: asked.append(what))
    kind = Dinov2 if name == "dinov2" else Clip
    assert kind.download() == published.kept and asked == [(published.url, str(published.kept), published.sha256)]


def clip_state():
    """Random tensors of a tiny CLIP, of images alone: 4 patches of 14 pixels, 64 wide, 2 blocks, embeddings of 32."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "class_embedding": (64,), "positional_embedding": (5, 64), "proj": (64, 32), "conv1.weight": (64, 3, 14, 14),
        **{f"ln_{k}.{part}": (64,) for k in ("pre", "post") for part in ("weight", "bias")},
    }  # fmt: skip
    for i in range(2):
        block = {
            "attn.in_proj_weight": (192, 64), "attn.in_proj_bias": (192,), "attn.out_proj.weight": (64, 64),
            "attn.out_proj.bias": (64,), "mlp.c_fc.weight": (256, 64), "mlp.c_fc.bias": (256,),
            "mlp.c_proj.weight": (64, 256), "mlp.c_proj.bias": (64,),
            **{f"ln_{k}.{part}": (64,) for k in (1, 2) for part in ("weight", "bias")},
        }  # fmt: skip
        shapes |= {f"transformer.resblocks.{i}.{name}": shape for name, shape in block.items()}
    return {
        f"visual.{name}": (0.1 * torch.randn(shape, generator=generator)).half().float() for name, shape in shapes.items()
    }


@pytest.fixture
def tiny_clip(monkeypatch, tmp_path):
    """A file of a tiny network, and the extractor that expects it."""
    monkeypatch.setattr(Clip, "shapes", {"visual.proj": (64, 32), "visual.positional_embedding": (5, 64)})
    path = tmp_path / "clip.safetensors"
    safetensors.torch.save_file(clip_state(), path)
    return path


@needs_library
def test_clip_is_torch_fidelity_s_network_on_images_as_pillow_resizes_them(tiny_clip):
    extractor = open_extractor("clip", SPEC, weights=str(tiny_clip))
    images = to_8_bits(pictures(3))
    found = extractor(images).vectors
    assert found.shape == (3, 32)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    state = {**clip_state(), "text_projection": torch.zeros(1, 32)}
    theirs = fidelity_library().clip_model(state, torch.float32)
    x = pillow_resize(images, 28) / 255
    x = (x - torch.tensor(clip_module.MEAN)[:, None, None]) / torch.tensor(clip_module.DEVIATION)[:, None, None]
    raw = theirs.visual(x)
    torch.testing.assert_close(found, raw / raw.norm(dim=1, keepdim=True))


class Program(nn.Module):
    """A TorchScript program with CLIP's tensors, as OpenAI publishes it."""

    def __init__(self):
        super().__init__()
        for name, value in {**clip_state(), "text_projection": torch.zeros(7, 32)}.items():
            *path, last = name.split(".")
            module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            module.register_parameter(last, nn.Parameter(value))

    def forward(self, x):
        return x


@needs_library
def test_the_published_program_is_known_by_its_hash_and_gives_its_tensors(tiny_clip, tmp_path, monkeypatch):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Program()), file)
    path = tmp_path / "clip.pt"
    path.write_bytes(file.getvalue())
    with pytest.raises(UsageError, match="not a file of weights"):
        open_extractor("clip", SPEC, weights=str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(fidelity_library().clip_hashes[clip_module.NETWORK], "hash", digest)
    images = to_8_bits(pictures(2))
    by_program, by_tensors = (open_extractor("clip", SPEC, weights=str(file)) for file in (path, tiny_clip))
    assert torch.equal(by_program(images).vectors, by_tensors(images).vectors)


@needs_library
def test_another_clip_is_refused(tmp_path):
    path = tmp_path / "clip.safetensors"
    safetensors.torch.save_file(clip_state(), path)
    with pytest.raises(UsageError, match=r"not the weights of CLIP ViT-L/14 at 336 pixels.*\(64, 32\)"):
        open_extractor("clip", SPEC, weights=str(path))


def slow_cmmd(x, y):
    """The definition, pair by pair."""

    def mean(a, b):
        values = [torch.exp(-(p - q).square().sum() / 200) for p in a for q in b]
        return float(sum(values)) / len(values)

    return 1_000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def unit(count, seed, shift=0.0):
    points = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift
    return nn.functional.normalize(points)


def test_cmmd_is_its_definition_and_its_interval_leaves_each_image_out():
    x, y = unit(6, 0, 0.5), unit(9, 1)
    found = cmmd(x, y, "6 against 9")
    assert found.value == pytest.approx(slow_cmmd(x, y), rel=1e-9) and "6 against 9" in found.protocol
    assert cmmd(x, x, "").value == pytest.approx(0, abs=1e-9)
    keep = [torch.tensor([slow_cmmd(x[torch.arange(6) != i], y) for i in range(6)])]
    keep.append(torch.tensor([slow_cmmd(x, y[torch.arange(9) != i]) for i in range(9)]))
    variance = sum((len(each) - 1) / len(each) * float((each - each.mean()).square().sum()) for each in keep)
    assert found.spread == pytest.approx(1.96 * variance**0.5, rel=1e-3)
    with pytest.raises(UsageError, match="at least 2 images"):
        cmmd(x[:1], y, "")


@needs_library
def test_cmmd_is_a_figure_of_clip_alone(tiny_clip, tiny_dino):
    real, fake = pictures(8, 1), pictures(6, 2) ** 2
    found = {}
    for name, file in (("clip", tiny_clip), ("dinov2", tiny_dino)):
        extractor = open_extractor(name, SPEC, weights=str(file))
        judge = SampleFidelity(extractor, real_images(extractor, Points(real)))
        found[name] = judge.figures([to_8_bits(fake)])
        points, generated = (extractor(to_8_bits(images)).vectors.double() for images in (real, fake))
        if name == "clip":
            assert found[name]["cmmd"].value == pytest.approx(slow_cmmd(generated, points), rel=1e-3)
            assert "CLIP ViT-L/14" in found[name]["cmmd"].protocol
    assert {"fd_clip", "kd_clip", "cmmd"} <= set(found["clip"])
    assert "fd_dinov2" in found["dinov2"] and "cmmd" not in found["dinov2"]
    # Against training images, so a copier would win: it has a direction and no rank.
    assert (title("cmmd"), direction("cmmd"), ranked("cmmd")) == ("CMMD", "down", False)
