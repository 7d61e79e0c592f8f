"""The recipe of the bundled model runs from nothing to a model folder, in miniature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from examples.avatars.recipe.ablations import VARIANTS
from examples.avatars.recipe.coarse import Coarse
from examples.avatars.renderer.factors import sample_factors
from examples.avatars.renderer.render import render
from hyperstyle import HyperStyleInverter
from hyperstyle.errors import CheckpointError
from hyperstyle.images import to_images
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from examples.avatars.recipe.__main__ import main

    folder = tmp_path_factory.mktemp("run")
    main(["--out", str(folder), "--tiny"])
    return folder


def test_the_model_it_writes_inverts_and_edits(run: Path) -> None:
    inverter = HyperStyleInverter.from_pretrained(run / "model", device="cpu")
    crop = render(sample_factors(2, seed=4), 32).images
    inversion = inverter.invert(list(crop))
    assert {"age", "smile", "pose"} <= set(inverter.edits)
    assert inversion.edit(age=1, smile=1, pose=-1).tensor.shape == (2, 3, 32, 32)
    assert {"l2", "ms_ssim", "perceptual", "identity"} == set(inversion.metrics())


def test_every_stage_learns(run: Path) -> None:
    def log(stage: str) -> list[dict[str, float]]:
        return [json.loads(line) for line in (run / stage / "log.jsonl").read_text().splitlines()]

    assert log("generator/16")[-1]["test_l2"] < 0.3  # the variance of the images is about 0.35
    assert log("hypernetwork")[-1]["ratio_2"] < 1.0  # below the W encoder


def test_its_learning_curves_are_plotted_from_the_logs(run: Path) -> None:
    from examples.avatars.recipe.__main__ import main

    pytest.importorskip("matplotlib")
    main(["--out", str(run), "--tiny", "--stages", "curves"])
    with Image.open(run / "curves.png") as image:
        assert image.width > 1000


@pytest.mark.slow
def test_a_finished_model_is_trained_further(run: Path, tmp_path: Path) -> None:
    from examples.avatars.recipe.__main__ import main

    shutil.copytree(run / "data", tmp_path / "data")
    more = ["--continue-from", str(run / "model"), "--stages", "encoder", "hypernetwork", "package"]
    main(["--out", str(tmp_path), "--tiny", *more])
    before, after = (HyperStyleInverter.from_pretrained(p / "model", device="cpu").model for p in (run, tmp_path))
    generators = [m.generator.state_dict() for m in (before, after)]
    assert all(torch.equal(generators[0][name], generators[1][name]) for name in generators[0])
    assert before.edits.keys() == after.edits.keys()
    assert before.fingerprint != after.fingerprint
    first, last = (
        json.loads((p / "encoder" / "log.jsonl").read_text().splitlines()[-1])["clean_l2"] for p in (run, tmp_path)
    )
    assert last < first


@pytest.mark.slow
def test_ablations_differ_in_one_switch_and_are_compared_by_the_report(run: Path, tmp_path: Path) -> None:
    from examples.avatars.recipe.__main__ import main
    from hyperstyle.cli import main as command

    shutil.copytree(run / "data", tmp_path / "data")
    main(["--out", str(tmp_path), "--tiny", "--continue-from", str(run / "model"), "--stages", "ablations"])
    folders = {path.parent.name: path for path in (tmp_path / "ablations").glob("*/model")}
    assert folders.keys() == VARIANTS.keys()
    models = {name: HyperStyleInverter.from_pretrained(path, device="cpu").model for name, path in folders.items()}
    assert len({model.generator_fingerprint for model in models.values()}) == 1
    assert {name: model.steps for name, model in models.items() if model.steps != 2} == {"one-pass": 1}
    hypernetworks = {name: model.hypernetwork for name, model in models.items()}
    heads = {name: network.config.heads for name, network in hypernetworks.items() if network is not None}
    assert {name for name, form in heads.items() if form != "compact"} == {"shared", "plain", "separable"}
    layers = {name: len(network.layers) for name, network in hypernetworks.items() if network is not None}
    assert layers["fine"] < layers["compact"] < layers["coarse-too"]

    images = tmp_path / "images"
    images.mkdir()
    for i, image in enumerate(to_images(render(sample_factors(2, seed=5), 32).images)):
        image.save(images / f"{i}.png")
    named = [f"--ablation={name}={folders[name]}" for name in ("separable", "one-pass")]
    out = tmp_path / "report"
    assert (
        command(["evaluate", "report", str(folders["compact"]), "--data", str(images), *named, "--out", str(out)]) == 0
    )
    rows = json.loads((out / "report.json").read_text())["tables"]["table3"]
    assert [row["heads"] for row in rows if row["method"] in ("separable", "one-pass")] == ["separable", "compact"]


def test_an_incomplete_model_is_not_trained_further(run: Path, tmp_path: Path) -> None:
    from examples.avatars.recipe.__main__ import main

    model = HyperStyleInverter.from_pretrained(run / "model", device="cpu").model
    HyperStyleInverter(model.generator, model.encoder, domain=model.domain).save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match="has no perceptual"):
        main(
            [
                "--out",
                str(tmp_path / "out"),
                "--tiny",
                "--continue-from",
                str(tmp_path / "model"),
                "--stages",
                "package",
            ]
        )
    assert not (tmp_path / "out").exists()


def test_what_judges_is_not_what_was_a_loss(run: Path) -> None:
    model = HyperStyleInverter.from_pretrained(run / "model", device="cpu").model
    assert model.evaluator is not None
    assert model.perceptual is not None
    assert model.evaluator.config.trunk != model.perceptual.config.trunk
    log = json.loads((run / "perceptual" / "log.jsonl").read_text().splitlines()[-1])
    assert log != json.loads((run / "judge" / "log.jsonl").read_text().splitlines()[-1])


def test_a_coarse_generator_has_the_first_blocks_of_the_full_one() -> None:
    torch.manual_seed(0)
    full = Generator(GeneratorConfig(32, (16, 16, 16, 8), latent_width=16, mapping_layers=1))
    coarse = Coarse(full, 16)
    w = torch.randn(2, 16)
    offsets = {s.name: torch.randn(2, s.channels_out, s.channels_in, 1, 1) for s in full.layers if not s.torgb}
    seen: list[torch.Tensor] = []
    hook = full.to_rgbs[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    full(w, offsets)
    hook.remove()
    torch.testing.assert_close(coarse(w, offsets), seen[0])


def test_the_second_run_finds_everything_done_and_changes_nothing(run: Path) -> None:
    from examples.avatars.recipe.__main__ import main

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
