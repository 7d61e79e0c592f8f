"""The HyperInverter of the bundled domain, trained in miniature on parts that are there already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from examples.avatars.recipe.__main__ import main
from examples.avatars.recipe.config import Recipe
from hyperstyle.domain import DOMAINS
from hyperstyle.model.folder import read_model, write_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> Model:
    """A complete model with random weights."""
    torch.manual_seed(0)
    recipe = Recipe.tiny()
    size, trunk = (32, 32), TrunkConfig((16, 32), (1, 1), *recipe.stem, 2, norm="group")
    generator = Generator(recipe.generator)
    domain = DOMAINS["avatars"].at_size(32)
    traits = [AttributeNetwork(AttributeNetworkConfig(("age",), trunk, 32)) for _ in range(2)]
    layers = tuple(spec.name for spec in generator.layers if not spec.torgb)
    return Model(
        generator,
        type(domain)(domain.name, 32, size, None, "face", "traits"),
        {
            "encoder": WEncoder(WEncoderConfig(generator.config.rows, 64, size, trunk, "flatten")),
            "hypernetwork": Hypernetwork(HypernetworkConfig(generator.config, layers, size, trunk, "compact", 16)),
            "judge": traits[0],
            "perceptual": traits[1],
        },
    )


@pytest.fixture(scope="module")
def run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hyperinverter")
    write_model(model, folder / "start")
    stages = ["--stages", "hyperinverter", "package"]
    main(["--out", str(folder / "run"), "--tiny", "--continue-from", str(folder / "start"), *stages])
    return folder / "run"


def test_residuals_bring_held_out_images_closer(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "hyperinverter" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["ratio"] < 0.96
    assert rows[-1]["w_l2"] > 0


def test_the_package_has_it_in_addition_to_the_parts_that_were_there(run: Path, model: Model) -> None:
    loaded = read_model(run / "model", device=CPU, dtype=torch.float32)
    assert loaded.hyperinverter is not None
    large = tuple(s.name for s in model.generator.layers if s.resolution >= Recipe.tiny().hyper_first and not s.torgb)
    assert loaded.hyperinverter.config.layers == large
    assert loaded.encoder is not None
    assert model.encoder is not None
    for name, tensor in loaded.encoder.state_dict().items():
        assert torch.equal(tensor, model.encoder.state_dict()[name].half().float())


def test_a_finished_stage_is_left_as_it_is(run: Path) -> None:
    weights = run / "hyperinverter" / "done" / "model.safetensors"
    before = weights.read_bytes()
    main(["--out", str(run), "--tiny", "--stages", "hyperinverter"])
    assert weights.read_bytes() == before
