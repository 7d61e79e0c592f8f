"""What version 0.1 wrote loads, and gives what it gave; `golden/v0_1/make.py` made the files."""

from __future__ import annotations

import importlib
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hyperstyle
from hyperstyle import Domain, HyperStyleInverter, Inversion
from hyperstyle.align import paste_back
from hyperstyle.images import image_grid, sheet
from hyperstyle.methods.idinvert import DomainGuided
from hyperstyle.methods.offsets import OffsetCodeTuner, OffsetTuner
from hyperstyle.methods.projector import Projection
from hyperstyle.methods.pti import PivotalTuning
from hyperstyle.moved import MOVED, PART_ARGUMENTS
from hyperstyle.training.engine import make_task, train
from hyperstyle.training.options import resolve

FILES = Path(__file__).parent / "golden" / "v0_1"


@pytest.fixture(scope="module")
def inverter() -> HyperStyleInverter:
    return HyperStyleInverter.from_pretrained(FILES / "model", device="cpu")


def test_a_model_and_an_inversion_load_and_give_the_same_image(inverter: HyperStyleInverter) -> None:
    assert inverter.methods[0] == "hyperstyle"
    assert list(inverter.edits) == ["age"]
    inversion = Inversion.load(FILES / "inversion.safetensors", inverter)  # which compares the fingerprint
    with np.load(FILES / "expected.npz") as expected:
        np.testing.assert_array_equal(inversion.w.numpy(), expected["w"])
        np.testing.assert_allclose(inversion.tensor.numpy(), expected["image"], rtol=0, atol=2e-5)
    assert inversion.method == "hyperstyle"


def test_a_model_is_written_as_it_was(inverter: HyperStyleInverter, tmp_path: Path) -> None:
    inverter.save_pretrained(tmp_path)
    names = sorted(str(path.relative_to(FILES / "model")) for path in (FILES / "model").rglob("*") if path.is_file())
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (FILES / "model" / name).read_bytes(), name


def structure(value: Any) -> Any:
    return runpy.run_path(str(FILES / "structure.py"))["structure"](value)


def test_a_training_run_goes_on_from_its_own_options_and_holds_the_same_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("model", "photos"):
        shutil.copytree(FILES / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    written = json.loads((FILES / "run_config.json").read_text(encoding="utf-8"))
    flat = {
        f"{table}.{key}": value
        for table, rows in written.items()
        if isinstance(rows, dict)
        for key, value in rows.items()
    }
    options = resolve("encoder", (), flat)
    train(make_task(options), options)
    new = {**written, "data": {**written["data"], "aligner": "auto"}}  # what 0.1 did not have, as it is by default
    assert json.loads(Path("run/config.json").read_text(encoding="utf-8")) == new
    content = torch.load("run/checkpoint-00000004.pt", weights_only=True)
    assert structure(content) == json.loads((FILES / "checkpoint.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("old", sorted(MOVED))
def test_old_module_names_warn_and_are_the_new_modules(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"hyperstyle\.{old} is hyperstyle\.{MOVED[old]} now"):
        module = importlib.import_module(f"hyperstyle.{old}")
    assert module is importlib.import_module(f"hyperstyle.{MOVED[old]}")


def test_names_of_0_1_are_where_they_were() -> None:
    for module, names in (
        ("images", ("load_image", "load_photo", "sheet", "to_pil", "to_tensor", "save_image", "resize", "upright")),
        ("inversion", ("Inversion", "Refinement")),
        ("model", ("Model", "fingerprint")),
        ("networks.encoders", ("WEncoder", "WEncoderConfig")),
        ("align.crop", ("crop",)),
    ):
        imported = importlib.import_module(f"hyperstyle.{module}")
        assert [name for name in names if not hasattr(imported, name)] == []
    assert hyperstyle.Inversion is importlib.import_module("hyperstyle.inversion").Inversion


def test_old_names_of_functions_and_arguments_warn_and_work() -> None:
    photo = Image.new("RGB", (64, 64), "gray")
    with pytest.warns(DeprecationWarning, match="images.sheet is images.image_grid now") as warned:
        assert sheet([[photo]]).tobytes() == image_grid([[photo]]).tobytes()
    assert warned[0].filename == __file__
    quad = [[8, 8], [8, 40], [40, 40], [40, 8]]
    with pytest.warns(DeprecationWarning, match=r"paste_back\(match_colours=...\) is match_colors=... now") as warned:
        old = paste_back(photo, torch.zeros(3, 32, 32), quad, mode="replace", match_colours=False)  # type: ignore[call-arg]
    assert warned[0].filename == __file__
    assert (
        old.tobytes() == paste_back(photo, torch.zeros(3, 32, 32), quad, mode="replace", match_colors=False).tobytes()
    )
    domain, image = Domain("plates", 16, (8, 8)), torch.rand(1, 3, 16, 16)
    with pytest.warns(DeprecationWarning, match="as_network_input"):
        assert torch.equal(domain.seen(image), domain.as_network_input(image))
    with pytest.warns(DeprecationWarning, match="resize_to_input"):
        assert torch.equal(domain.to_input(image), domain.resize_to_input(image))
    with (
        pytest.warns(DeprecationWarning, match="optimise_text is optimize_text now"),
        pytest.raises(AttributeError),
    ):
        hyperstyle.optimise_text(None, "a face", None)


def test_old_names_of_an_inversion_warn_and_work(inverter: HyperStyleInverter) -> None:
    inversion = inverter.invert(torch.zeros(3, *inverter.model.domain.input_size), align=False, steps=1)
    with pytest.warns(DeprecationWarning, match=r"Inversion.quality is .stored_metrics now"):
        assert inversion.quality == inversion.stored_metrics  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match=r"Inversion.changes is .overrides now"):
        assert inversion.changes is inversion.overrides  # type: ignore[attr-defined]
    with pytest.warns(DeprecationWarning, match="Inversion.measured is measure.with_metrics now"):
        assert inversion.measured().stored_metrics == inversion.stored_metrics
    model = inverter.model
    assert inversion.crop is not None
    networks = (model.generator, model.hypernetwork, model.domain.as_network_input)
    with pytest.warns(DeprecationWarning, match=r"refine\(draw=...\) is render=... now"):
        _, image = hyperstyle.refine(inversion.crop, inversion.w, *networks, steps=0, draw=lambda codes: inversion.crop)
    assert image is inversion.crop


SETTINGS = [DomainGuided, OffsetCodeTuner, OffsetTuner, PivotalTuning, Projection]


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_take_rate_for_lr(settings: type) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{settings.__name__}\(rate=...\) is lr=... now") as warned:
        old = settings(rate=0.125)
    assert warned[0].filename == __file__
    assert old == settings(lr=0.125)
    with pytest.warns(DeprecationWarning, match=rf"{settings.__name__}.rate is .lr now") as warned:
        assert old.rate == 0.125
    assert warned[0].filename == __file__


def test_judge_is_evaluator(inverter: HyperStyleInverter) -> None:
    model = inverter.model
    with pytest.warns(DeprecationWarning, match="Model.judge is .evaluator now"):
        assert model.judge is model.evaluator  # type: ignore[attr-defined]


@pytest.mark.parametrize("old", PART_ARGUMENTS)
def test_networks_that_were_keywords_are_parts(inverter: HyperStyleInverter, old: str) -> None:
    model = inverter.model
    network = model.evaluator if old in ("judge", "evaluator") else None
    with pytest.warns(
        DeprecationWarning, match=rf"HyperStyleInverter\({old}=...\) is parts={{'{old}': ...}} now"
    ) as warned:
        again = HyperStyleInverter(model.generator, domain=model.domain, **{old: network})
    assert warned[0].filename == __file__
    assert again.model.evaluator is network
