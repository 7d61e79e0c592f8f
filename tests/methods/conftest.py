"""A tiny model that has the networks of every method."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

if TYPE_CHECKING:
    from hyperstyle.inverter import HyperStyleInverter


@pytest.fixture(scope="session")
def without_sfe(tiny_inverter: HyperStyleInverter) -> HyperStyleInverter:
    """The tiny model with noise that is seen, all encoders, a HyperInverter and a perceptual network."""
    from hyperstyle.inverter import HyperStyleInverter
    from hyperstyle.networks.encoders.backbones import TrunkConfig
    from hyperstyle.networks.encoders.pyramid import (
        PyramidEncoder,
        PyramidEncoderConfig,
        RestyleEncoder,
        RestyleEncoderConfig,
    )
    from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
    from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig

    torch.manual_seed(5)
    model = tiny_inverter.model
    rows, size = model.generator.config.rows, model.domain.input_size
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    three = TrunkConfig((8, 8, 16), (1, 1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    encoders = {
        name: PyramidEncoder(PyramidEncoderConfig(rows, 16, size, trunk=three, progressive=name == "e4e"))
        for name in ("e4e", "psp")
    }
    parts = {
        **encoders,
        "restyle": RestyleEncoder(RestyleEncoderConfig(rows, 16, size, trunk=trunk)),
        "hyperinverter": HyperInverter(
            HyperInverterConfig(model.generator.config, ("b8.conv1", "b16.conv0"), size, trunk=three, hidden=4)
        ),
        "perceptual": AttributeNetwork(AttributeNetworkConfig(("age",), trunk, 32, 8)),
    }
    for part in parts.values():
        part.eval().requires_grad_(False)
    noisy = {
        name: torch.full_like(value, 0.3)
        for name, value in model.generator.named_parameters()
        if name.endswith("noise.weight")
    }
    inverter = HyperStyleInverter.__new__(HyperStyleInverter)
    inverter._model = replace(model, generator=model.generator.with_parameters(noisy)).with_parts(**parts)
    inverter.aligner = tiny_inverter.aligner
    return inverter


@pytest.fixture(scope="session")
def able(without_sfe: HyperStyleInverter) -> HyperStyleInverter:
    """The model of most tests of methods."""
    return without_sfe


@pytest.fixture(scope="session")
def with_sfe(without_sfe: HyperStyleInverter) -> HyperStyleInverter:
    """The same with StyleFeatureEditor's networks, which make it the default."""
    from hyperstyle.inverter import HyperStyleInverter
    from hyperstyle.networks.encoders.sfe import FeatureEditor, FeatureEditorConfig, SfeInverter, SfeInverterConfig

    torch.manual_seed(6)
    config, size = without_sfe.model.generator.config, without_sfe.model.domain.input_size
    networks = {
        "sfe_inverter": SfeInverter(SfeInverterConfig(config, "b8.conv1", 1, size, (4, 6, 8, 8), (1, 1, 2, 1))),
        "feature_editor": FeatureEditor(FeatureEditorConfig(config, "b8.conv1", 1)),
    }
    for network in networks.values():
        network.eval().requires_grad_(False)
    inverter = HyperStyleInverter.__new__(HyperStyleInverter)
    inverter._model, inverter.aligner = without_sfe.model.with_parts(**networks), without_sfe.aligner
    return inverter


@pytest.fixture(scope="session")
def crops() -> list[Tensor]:
    """Two images."""
    return list(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(7)) * 2 - 1)
