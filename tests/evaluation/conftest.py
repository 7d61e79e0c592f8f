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
def judged(tiny_inverter: HyperStyleInverter) -> HyperStyleInverter:
    """The tiny model with random networks for what it lacks. Tests leave it as it is."""
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
def sensitive(judged: HyperStyleInverter) -> HyperStyleInverter:
    """The judged model with directions so long that the random evaluator sees them, made for its own generator."""
    model = judged.model
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
def seen() -> list[tuple[str, int, int]]:
    """What the progress was."""
    return []
