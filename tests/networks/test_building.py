"""Networks without weights, as they are built before a file fills them, and with new ones."""

from __future__ import annotations

from typing import Any

import torch

from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.networks.stylegan2.ops import normal


def test_building_on_the_meta_device_does_not_import_the_compiler(run_python: Any) -> None:
    code = """
import sys, torch
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
with torch.device("meta"):
    torch.zeros(1)  # for this alone, PyTorch 2.6 imports torch.fx
before = set(sys.modules)
with torch.device("meta"):
    parts = [
        Generator(GeneratorConfig.official(64)),
        WEncoder(WEncoderConfig(rows=10)),
        *(Hypernetwork(HypernetworkConfig.official(64, heads=heads)) for heads in ("shared", "plain", "separable")),
    ]
assert all(tensor.is_meta for part in parts for tensor in part.state_dict().values())
new = {name.split(".")[0] + "." + name.split(".")[1] for name in set(sys.modules) - before if "." in name}
print(len(set(sys.modules) - before) < 100, sorted(new & {"torch._inductor", "torch._refs", "torch.fx"}))
"""
    result = run_python("-c", code)
    assert (result.stdout.strip(), result.stderr) == ("True []", "")


def test_new_weights_are_those_of_a_normal_distribution() -> None:
    torch.manual_seed(0)
    weights = normal(400, 500, scale=0.5)
    assert abs(float(weights.mean())) < 0.005
    assert abs(float(weights.std()) - 0.5) < 0.005
    torch.manual_seed(0)
    torch.testing.assert_close(weights, torch.randn(400, 500) * 0.5)


def test_a_plain_generator_has_new_weights_and_noise() -> None:
    generator = Generator(GeneratorConfig(16, (64, 64, 64), latent_width=64, mapping_layers=2))
    for name, tensor in generator.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        if name.startswith(("noises.", "input.")) or name.endswith("conv.weight"):
            assert 0.5 < tensor.std() < 1.5, name
    assert generator(generator.mapping(torch.randn(4, 64))).std() > 0.1
