"""The recipe of the bundled model runs from nothing to a model folder, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hyperstyle import HyperStyleInverter
from hyperstyle.avatars.factors import sample_factors
from hyperstyle.avatars.render import render


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hyperstyle.training.recipes.avatars.__main__ import main

    folder = tmp_path_factory.mktemp("run")
    main(["--out", str(folder), "--tiny"])
    return folder


def test_the_model_it_writes_inverts_and_edits(run: Path) -> None:
    inverter = HyperStyleInverter.from_pretrained(run / "model", device="cpu")
    crop = render(sample_factors(2, seed=4), 16).images
    inversion = inverter.invert(list(crop))
    assert set(inverter.edits) == {"age", "smile", "pose"}
    assert inversion.edit(age=1, smile=1, pose=-1).tensor.shape == (2, 3, 16, 16)
    assert {"l2", "ms_ssim", "perceptual", "identity"} == set(inversion.metrics())


def test_every_stage_learns(run: Path) -> None:
    def log(stage: str) -> list[dict[str, float]]:
        return [json.loads(line) for line in (run / stage / "log.jsonl").read_text().splitlines()]

    assert log("generator/16")[-1]["test_l2"] < 0.3  # the variance of the pictures is about 0.35
    assert log("hypernetwork")[-1]["ratio_2"] < 1.0  # below the W encoder


def test_the_second_run_finds_everything_done_and_changes_nothing(run: Path) -> None:
    from hyperstyle.training.recipes.avatars.__main__ import main

    before = (run / "model" / "hypernetwork" / "model.safetensors").read_bytes()
    main(["--out", str(run), "--tiny"])
    assert (run / "model" / "hypernetwork" / "model.safetensors").read_bytes() == before


def test_directions_move_codes_along_their_factor(run: Path) -> None:
    inverter = HyperStyleInverter.from_pretrained(run / "model", device="cpu")
    generator = inverter.model.generator
    w = generator.broadcast(generator.latent_avg[None])
    moved = inverter.edits["pose"](w, torch.tensor([1.0]))
    assert torch.isfinite(moved).all()
    assert (moved - w).norm() > 1e-3
