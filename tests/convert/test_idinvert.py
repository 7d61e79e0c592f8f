"""Files of IDInvert in the published layout, read into the networks of this library."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.convert import convert
from hyperstyle.convert.idinvert import idinvert_encoder, idinvert_generator, vgg16_features
from hyperstyle.convert.sniff import sniff
from hyperstyle.domain import Domain
from hyperstyle.errors import CheckpointError, ConfigError, WeightsError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder, IdInvertEncoderConfig
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config, blur_filter

State = dict[str, Tensor]


def shaken(module: nn.Module) -> nn.Module:
    """The module in eval mode, none of whose tensors is as it was initialized."""
    for name, tensor in module.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point() and name != "blur":
            tensor.add_(torch.randn_like(tensor) * 0.1)
        elif not tensor.is_floating_point():
            tensor.fill_(7)
    return module.eval().requires_grad_(False)


@pytest.fixture
def generator() -> StyleGan1:
    network = shaken(StyleGan1(StyleGan1Config(16, channels=(8, 6, 4), latent_width=12, mapping_layers=3)))
    assert isinstance(network, StyleGan1)
    return network


@pytest.fixture
def published(generator: StyleGan1) -> State:
    """The generator's tensors as the original code stores them; its last upsampling layer is a fused one."""
    ours = generator.state_dict()
    state = {"synthesis.lod": torch.zeros(()), "truncation.w_avg": ours["latent_avg"]}
    state |= {"truncation.truncation": torch.ones(1, 6, 1), "synthesis.layer0.const": ours["constant"]}
    for i in range(3):
        state[f"mapping.dense{i}.fc.weight"] = ours[f"style.{i}.weight"]
        state[f"mapping.dense{i}.wscale.bias"] = ours[f"style.{i}.bias"] * math.sqrt(2)
        width = generator.config.channels[i]
        state |= {f"synthesis.output{i}.bias": torch.zeros(3)}
        state |= {f"synthesis.output{i}.conv.weight": torch.zeros(3, width, 1, 1)}
    state |= {"synthesis.output2.bias": ours["to_rgb.bias"], "synthesis.output2.conv.weight": ours["to_rgb.weight"]}
    for spec in generator.layers:
        published_name, layer = f"synthesis.layer{spec.index}", f"convs.{spec.index}"
        state |= {
            f"{published_name}.epilogue.bias": ours[f"{layer}.bias"],
            f"{published_name}.epilogue.apply_noise.weight": ours[f"{layer}.noise_strength"],
            f"{published_name}.epilogue.apply_noise.noise": ours[f"noises.noise_{spec.index}"],
            f"{published_name}.epilogue.style_mod.dense.fc.weight": ours[f"{layer}.modulation.weight"],
            f"{published_name}.epilogue.style_mod.dense.wscale.bias": ours[f"{layer}.modulation.bias"],
        }
        if spec.up:
            state[f"{published_name}.blur.kernel"] = blur_filter().repeat(spec.channels_out, 1, 1, 1)
        if spec.name == "b16.conv0":
            state[f"{published_name}.weight"] = ours[f"{layer}.weight"].flip(2, 3).permute(2, 3, 1, 0).contiguous()
        elif spec.kernel:
            state[f"{published_name}.conv.weight"] = ours[f"{layer}.weight"]
    return state


@pytest.fixture
def encoder() -> IdInvertEncoder:
    config = IdInvertEncoderConfig(rows=6, latent_width=12, input_size=(16, 16), widths=(4, 8, 8))
    network = shaken(IdInvertEncoder(config))
    assert isinstance(network, IdInvertEncoder)
    return network


@pytest.fixture
def published_encoder(encoder: IdInvertEncoder) -> State:
    names = {"first.conv.bias": "wscale1.bias", "second.conv.bias": "wscale2.bias"}
    names |= {"first.conv.weight": "conv1.weight", "second.conv.weight": "conv2.weight"}
    names |= {"shortcut.conv.weight": "conv.weight", "weight": "block3.fc.weight", "stem.conv.weight": "conv.weight"}
    norms = {"first.norm": "bn1.bn", "second.norm": "bn2.bn", "shortcut.norm": "bn.bn", "stem.norm": "block0.bn.bn"}
    norms |= {"norm": "block3.bn.bn"}
    state: State = {}
    for name, tensor in encoder.state_dict().items():
        block, rest = "", name
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            block = f"block{int(number) + 1}."
        part, _, last = rest.rpartition(".")
        published_name = names[rest] if rest in names else f"{norms[part]}.{last}"
        state[f"block0.{published_name}" if rest.startswith("stem.conv") else block + published_name] = tensor
    return state


# ---- the generator ----


def test_every_tensor_of_a_generator_finds_its_place(generator: StyleGan1, published: State) -> None:
    converted = idinvert_generator(published)
    network = converted.network
    assert isinstance(network, StyleGan1)
    assert network.config == generator.config
    for name, tensor in generator.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, msg=name)
    growing = [f"synthesis.output{i}.{part}" for i in (0, 1) for part in ("bias", "conv.weight")]
    assert sorted(converted.unread) == sorted(["truncation.truncation", "synthesis.lod", *growing])
    assert converted.consumed + len(converted.unread) == len(published)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_fused_upsampling_is_the_same_function(published: State) -> None:
    network = idinvert_generator(published).network
    x, weight = torch.randn(2, 6, 8, 8), published["synthesis.layer4.weight"]  # [k,k,I,O]
    padded = F.pad(weight, (0, 0, 0, 0, 1, 1, 1, 1))
    taps = padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1]
    fused = F.conv_transpose2d(x, taps.permute(2, 3, 0, 1), stride=2, padding=1) * math.sqrt(2 / (6 * 9))
    blurred = F.conv2d(fused, blur_filter().expand(4, 1, 3, 3), padding=1, groups=4)
    torch.testing.assert_close(network.convs[4]._convolved(x, network.blur), blurred, atol=1e-5, rtol=0)


def test_dense_layers_scale_weights_but_not_biases_by_their_gain(published: State) -> None:
    network = idinvert_generator(published).network
    z = torch.randn(2, 12)
    x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    for i in range(3):
        weight, bias = (published[f"mapping.dense{i}.{name}"] for name in ("fc.weight", "wscale.bias"))
        x = F.leaky_relu(x @ weight.T * (math.sqrt(2 / 12) * 0.01) + bias * 0.01, 0.2)
    torch.testing.assert_close(network.mapping(z), x.view(2, 6, 12))


def test_what_does_not_fit_a_generator_is_refused(published: State) -> None:
    with pytest.raises(WeightsError, match=r"1 missing .*'convs\.3\.weight'"):
        idinvert_generator({n: t for n, t in published.items() if n != "synthesis.layer3.conv.weight"})
    with pytest.raises(WeightsError, match=r"1 unexpected .*'synthesis\.layer3\.odd'"):
        idinvert_generator({**published, "synthesis.layer3.odd": torch.zeros(1)})
    with pytest.raises(WeightsError, match="still growing"):
        idinvert_generator({**published, "synthesis.lod": torch.tensor(1.0)})
    with pytest.raises(WeightsError, match="another filter"):
        idinvert_generator({**published, "synthesis.layer2.blur.kernel": torch.ones(6, 1, 3, 3) / 9})
    with pytest.raises(WeightsError, match="NaN"):
        idinvert_generator({**published, "truncation.w_avg": torch.full((12,), torch.nan)})
    with pytest.raises((WeightsError, ConfigError)):
        idinvert_generator({"synthesis.layer0.const": torch.zeros(1, 8, 4, 4)})


# ---- the encoder and the features ----


def test_every_tensor_of_an_encoder_finds_its_place(encoder: IdInvertEncoder, published_encoder: State) -> None:
    converted = idinvert_encoder(published_encoder, 6, 12, (16, 16))
    assert converted.network.config == encoder.config
    assert converted.consumed == len(published_encoder)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(converted.network.state_dict()[name], tensor), name


def test_what_does_not_fit_an_encoder_is_refused(published_encoder: State) -> None:
    with pytest.raises(WeightsError, match=r"1 unexpected .*'block1\.conv3\.weight'"):
        idinvert_encoder({**published_encoder, "block1.conv3.weight": torch.zeros(1)}, 6, 12, (16, 16))
    with pytest.raises(WeightsError, match=r"1 missing .*'weight'"):
        idinvert_encoder({n: t for n, t in published_encoder.items() if "fc" not in n}, 6, 12, (16, 16))
    with pytest.raises(WeightsError, match="of a wrong shape"):
        idinvert_encoder(published_encoder, 8, 12, (16, 16))


@pytest.fixture(scope="module")
def vgg() -> State:
    """The tensors of a VGG16; the numbers of its convolutions and their widths are those of the published one."""
    places, widths = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (3, 64, 64, 128, 128, 256, 256, 256)
    widths = (*widths, *[512] * 6)
    state = {}
    for place, before, width in zip(places, widths, widths[1:], strict=False):
        state |= {f"layer{place}.weight": torch.randn(width, before, 3, 3), f"layer{place}.bias": torch.ones(width)}
    return state


def test_features_end_in_the_fourth_block(vgg: State) -> None:
    converted = vgg16_features(vgg)
    assert torch.equal(converted.network.features[21].weight, vgg["layer21.weight"])
    assert sorted(converted.unread) == [f"layer{n}.{part}" for n in (24, 26, 28) for part in ("bias", "weight")]
    assert converted.consumed == 20
    with pytest.raises(WeightsError, match=r"1 missing .*'features\.5\.bias'"):
        vgg16_features({name: tensor for name, tensor in vgg.items() if name != "layer5.bias"})


# ---- whole files ----


def test_three_files_become_a_model_that_inverts(
    generator: StyleGan1,
    encoder: IdInvertEncoder,
    published: State,
    published_encoder: State,
    vgg: State,
    tmp_path: Path,
) -> None:
    files = {"generator": published, "encoder": published_encoder, "vgg16": vgg}
    for name, state in files.items():
        torch.save(state, tmp_path / f"{name}.pth")
    kinds = [sniff(tmp_path / f"{name}.pth").kind for name in files]
    assert kinds == ["idinvert", "idinvert-encoder", "vgg16"]
    out, domain = tmp_path / "model", Domain("small", 16, (16, 16))
    done = convert(
        tmp_path / "generator.pth", out, encoder=[tmp_path / "encoder.pth", tmp_path / "vgg16.pth"], domain=domain
    )
    assert done.consumed == {"generator": len(published) - 6, "idinvert": len(published_encoder), "vgg16": 20}
    assert {name: len(entries) for name, entries in done.unread.items()} == {"generator.pth": 6, "vgg16.pth": 6}
    inverter = HyperStyleInverter.from_pretrained(out, device="cpu")
    assert inverter.methods == ("idinvert",)
    crop = torch.rand(3, 16, 16) * 2 - 1
    inversion = inverter.invert(crop, steps=1)
    assert inversion.method == "idinvert"
    assert inversion.w.shape == (1, 6, 12)
    start = inverter.invert(crop, steps=0)
    torch.testing.assert_close(start.w, encoder(start.crop), atol=1e-5, rtol=0)
    torch.testing.assert_close(start.tensor, generator(start.w), atol=1e-5, rtol=0)


def test_an_encoder_without_its_generator_is_refused(published_encoder: State, tmp_path: Path) -> None:
    torch.save(published_encoder, tmp_path / "encoder.pth")
    with pytest.raises(CheckpointError, match="is an encoder of IDInvert without a generator"):
        convert(tmp_path / "encoder.pth", tmp_path / "model", domain="faces")
