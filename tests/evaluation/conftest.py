"""A tiny model that can be measured: with an evaluator, a perceptual network, and edits that name their traits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hyperstyle.edits import DirectionEdit
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig

TRAITS = ("yaw", "smile", "age", "glasses")


def attribute_network(traits: tuple[str, ...]) -> AttributeNetwork:
    trunk = TrunkConfig((8, 8), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    return AttributeNetwork(AttributeNetworkConfig(traits, trunk, 32, 8))


@pytest.fixture(scope="session")
def full_inverter(tiny_inverter: HyperStyleInverter) -> HyperStyleInverter:
    """The tiny model with a random evaluator and a random perceptual network. Tests must not change it."""
    torch.manual_seed(1)
    model = tiny_inverter.model
    edits = {}
    for name, edit in model.edits.items():
        assert isinstance(edit, DirectionEdit)
        edits[name] = replace(edit, info=replace(edit.info, trait=name))
    return HyperStyleInverter(
        model.generator,
        model.encoder,
        model.hypernetwork,
        domain=model.domain,
        edits=edits,
        steps=model.steps,
        info=model.info,
        parts={"judge": attribute_network(TRAITS), "perceptual": attribute_network(TRAITS[:2])},
    )


@pytest.fixture(scope="session")
def sensitive(full_inverter: HyperStyleInverter) -> HyperStyleInverter:
    """The full inverter with edits so long that the random evaluator measures them, fitted to its generator."""
    model = full_inverter.model
    edits = {}
    for name, edit in model.edits.items():
        assert isinstance(edit, DirectionEdit)
        edits[name] = DirectionEdit(edit.direction * 30, replace(edit.info, model=model.generator_fingerprint))
    return HyperStyleInverter(
        model.generator,
        model.encoder,
        model.hypernetwork,
        domain=model.domain,
        edits=edits,
        steps=model.steps,
        parts={"judge": model.evaluator, "perceptual": model.perceptual},
    )


@pytest.fixture(scope="module")
def progress() -> list[tuple[str, int, int]]:
    """The reported progress: (method, done, total)."""
    return []
