"""The plain path: the numbers of the networks and of the refinement, and of the recordings."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.methods.hyperstyle import refine
from hyperstyle.networks import reference
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig, tuned_layers
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

if TYPE_CHECKING:
    from conftest import CheckpointMaker

GENERATOR = GeneratorConfig(32, (16, 16, 16, 8), latent_width=16, mapping_layers=1)
TRUNK = TrunkConfig((8, 16), (2, 1), stem_kernel=3, stem_stride=2, first_stride=2)
IRSE = TrunkConfig((8, 16), (2, 1), stem_kernel=3, stem_stride=1, first_stride=2)
KINDS: dict[str, dict[str, Any]] = {  # of the tuned layers, the square ones of 16 channels share
    "shared": {},
    "plain": {"heads": "plain"},
    "per tap": {"heads": "plain", "per_tap": True},
    "group norm": {"trunk": replace(TRUNK, norm="group")},
}
TOLERANCES = {torch.float32: 2e-5, torch.float64: 1e-10}


def unsettled(module: nn.Module, dtype: torch.dtype) -> Any:
    """The network in `dtype`, with filters and all that starts at zero or one (biases, noise, statistics) at random."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("running_var"):
            nn.init.uniform_(value, 0.5, 1.5)
        elif name.endswith(("bias", "noise.weight", "running_mean", "latent_avg", "kernel")):
            value.data.add_(0.2 * torch.randn_like(value))
    return module.eval().requires_grad_(False).to(dtype)


def generator(dtype: torch.dtype = torch.float32) -> Generator:
    network: Generator = unsettled(Generator(GENERATOR), dtype)
    return network


def encoder(dtype: torch.dtype = torch.float32, **options: Any) -> WEncoder:
    config = WEncoderConfig(GENERATOR.rows, 16, (32, 32), IRSE, **options)
    network: WEncoder = unsettled(WEncoder(config), dtype)
    return network


def hypernetwork(dtype: torch.dtype = torch.float32, **options: Any) -> Hypernetwork:
    layers = tuned_layers(GENERATOR, [0, 2, 3, 7, 8, 9, 10])  # 8 and 9 are not 16 x 16, 7 and 10 are toRGB
    config = HypernetworkConfig(GENERATOR, layers, (32, 32), **{"trunk": TRUNK, "code_width": 16, **options})
    network: Hypernetwork = unsettled(Hypernetwork(config), dtype)
    return network


def codes(batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, GENERATOR.rows, 16, dtype=dtype)


def offsets(batch: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Offsets for all kinds of layers but not for all layers."""
    specs = [s for s in Generator(GENERATOR).layers if s.index not in (3, 4)]
    return {
        s.name: 0.3 * torch.randn(batch, s.channels_out, s.channels_in, s.kernel, s.kernel, dtype=dtype) for s in specs
    }


def assert_near(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == expected.dtype
    torch.testing.assert_close(actual, expected, atol=TOLERANCES[expected.dtype], rtol=0)


def assert_same(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Equal names and values; ours may keep one value for all taps, the plain one has the published shape."""
    assert list(actual) == list(expected)
    shapes = {s.name: (s.channels_out, s.channels_in, s.kernel, s.kernel) for s in Generator(GENERATOR).layers}
    for name, value in expected.items():
        assert tuple(actual[name].shape[1:]) == shapes[name]
        assert_near(actual[name], value.expand_as(actual[name]))
        assert float(value.abs().max()) > 0.01


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("batch", [1, 3])
def test_plain_images_are_those_of_the_generator(dtype: torch.dtype, batch: int) -> None:
    network, w, changes = generator(dtype), codes(batch, dtype), offsets(batch, dtype)
    unchanged = reference.synthesize(network, w)
    assert_near(unchanged, network(w))
    assert torch.equal(reference.synthesize(network, w, {}), unchanged)
    assert_near(reference.synthesize(network, w, changes), network(w, changes))
    assert not torch.allclose(reference.synthesize(network, w, changes), unchanged, atol=0.01)


def test_images_may_share_their_plain_offsets() -> None:
    network, w, changes = generator(), codes(3), offsets(1)
    assert_near(reference.synthesize(network, w, changes), network(w, changes))


@pytest.mark.parametrize("part", ["noise.weight", "activate.bias", "to_rgbs.1.bias", "modulation.bias"])
def test_plain_images_depend_on_every_kind_of_parameter(part: str) -> None:
    network, w = generator(), codes(1)
    before = reference.synthesize(network, w)
    for name, value in network.named_parameters():
        if name.endswith(part):
            value.zero_()
    assert not torch.allclose(reference.synthesize(network, w), before, atol=1e-3)
    assert_near(reference.synthesize(network, w), network(w))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_plain_offsets_are_those_of_the_hypernetwork(kind: str, dtype: torch.dtype) -> None:
    network = hypernetwork(dtype, **KINDS[kind])
    crop, image = torch.randn(2, 2, 3, 32, 32, dtype=dtype)
    assert_same(reference.predict(network, crop, image), network.offsets(network(crop, image)))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_plain_inversion_is_what_refining_gives(steps: int, dtype: torch.dtype) -> None:
    parts = encoder(dtype), generator(dtype), hypernetwork(dtype)
    for value in parts[2].shared_weight_hypernet.parameters():  # type: ignore[union-attr]
        value.mul_(3.0)  # by itself it changes little with so short a code
    crop = torch.randn(2, 3, 32, 32, dtype=dtype)
    w, deltas, image = reference.invert(*parts, torch.tanh, crop, steps)
    summed, expected = refine(crop, parts[0](crop), parts[1], parts[2], torch.tanh, steps=steps)
    assert_near(w, parts[0](crop))
    assert_near(image, expected)
    assert_same(deltas, {} if summed is None else parts[2].offsets(summed))
    assert bool(deltas) == bool(steps)


def test_a_plain_inversion_records_no_gradients() -> None:
    parts = encoder(), generator().requires_grad_(), hypernetwork()
    assert reference.synthesize(parts[1], codes(1)).requires_grad
    assert not reference.invert(*parts, torch.tanh, torch.randn(1, 3, 32, 32), 1)[2].requires_grad


@pytest.mark.parametrize("options", [{"heads": "separable"}, {"heads": "compact"}, {"residual_input": True}])
def test_hypernetworks_of_another_form_are_refused(options: dict[str, Any]) -> None:
    crop = torch.zeros(1, 3, 32, 32)
    (value,) = options.values()
    with pytest.raises(ConfigError, match=rf"{value}.*expected 'shared' or 'plain'"):
        reference.predict(hypernetwork(**options), crop, crop)


def test_the_plain_path_is_short_and_stands_on_no_operation_of_the_library() -> None:
    text = Path(reference.__file__).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.module is not None and node.module.startswith("hyperstyle")
    }
    assert imported == {
        "hyperstyle.errors.ConfigError",
        "hyperstyle.networks.encoders.w_encoder.WEncoder",
        "hyperstyle.networks.stylegan2.generator.Generator",
        "hyperstyle.networks.hypernetworks.heads.PlainHead",
        "hyperstyle.networks.hypernetworks.heads.SharedExpander",
        "hyperstyle.networks.hypernetworks.hyperstyle.Hypernetwork",
    }


def test_plain_modulation_is_one_grouped_convolution_per_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost that it stands for: filters of every image, each filter a pass over the map."""
    seen: list[tuple[str, int]] = []

    def counted(name: str) -> None:
        real = getattr(F, name)

        def call(*args: Any, **options: Any) -> Tensor:
            seen.append((name, options.get("groups", 1)))
            output: Tensor = real(*args, **options)
            return output

        monkeypatch.setattr(F, name, call)

    counted("conv2d")
    counted("conv_transpose2d")
    reference.synthesize(generator(), codes(5))
    blocks = int(math.log2(GENERATOR.size)) - 2
    assert seen.count(("conv_transpose2d", 5)) == blocks
    assert seen.count(("conv2d", 5)) == 2 + 2 * blocks  # plain convolutions and toRGB
    assert len(seen) == 2 + 3 * blocks + 2 * blocks  # and the filters of map and skip, with a group for each channel


@pytest.mark.reference
@pytest.mark.slow
def test_a_plain_inversion_with_official_weights_is_the_recorded_one(checkpoint_maker: CheckpointMaker) -> None:
    """Faces, three passes at 1024 px; the tolerances are those of tests/parity."""
    with np.load(checkpoint_maker.reference / "hyperstyle" / "golden" / "faces.npz") as file:
        golden = {name: torch.from_numpy(file[name]) for name in file}
    with torch.device("meta"):
        network = Generator(GeneratorConfig.official(1024))
        hyper = Hypernetwork(HypernetworkConfig.official(1024))
        first = WEncoder(WEncoderConfig(rows=18))
    state = checkpoint_maker.tensors("hyperstyle_1024", "decoder.")
    mean = state["latent_avg"].expand(18, -1).clone()
    network.load_state_dict({**state, "latent_avg": mean[0].clone()}, assign=True)
    state = checkpoint_maker.tensors("hyperstyle_1024", "hypernet.")
    del state["latent_avg"]
    hyper.load_state_dict(state, assign=True)
    first.load_state_dict({**checkpoint_maker.tensors("w_encoder_1024", "encoder."), "latent_avg": mean}, assign=True)
    for module in (network, hyper, first):
        module.eval().requires_grad_(False)
    seen: list[Tensor] = []

    def to_input(image: Tensor) -> Tensor:
        seen.append(F.adaptive_avg_pool2d(image, 256))
        return seen[-1]

    crop = golden["input_u8"].permute(2, 0, 1)[None].float().div(255).sub(0.5).div(0.5)
    w, deltas, image = reference.invert(first, network, hyper, to_input, crop, 3)
    to_input(image)
    torch.testing.assert_close(w[0], golden["w_code"], atol=1e-5, rtol=0)
    for name, pooled in zip(("y0", "iter1", "iter2", "iter3"), seen, strict=True):
        torch.testing.assert_close(pooled[0], golden[f"{name}_pooled"], atol=5e-5, rtol=0)
    torch.testing.assert_close(image[0, :, 448:576, 448:576], golden["final_crop128"], atol=5e-5, rtol=0)
    assert [network.layer(name).index for name in deltas] == golden["iter3_delta_index"].tolist()
    for row, delta in enumerate(deltas.values()):
        flat = delta.reshape(-1)
        places = (torch.arange(64) * len(flat)) // 64
        torch.testing.assert_close(flat[:64], golden["iter3_delta_first64"][row], atol=1e-5, rtol=0)
        torch.testing.assert_close(flat[places], golden["iter3_delta_strided64"][row], atol=1e-5, rtol=0)
