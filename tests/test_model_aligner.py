"""A model folder with its own aligner: a face detector and a landmark predictor in addition to the networks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.cli import main
from hyperstyle.errors import ConfigError, HyperStyleError, MissingFileError, WeightsError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import sha256
from hyperstyle.model.folder import write_model
from hyperstyle.model.parts import Model

NAMES = ("detector.svm", "predictor.dat")


def load(folder: Path) -> HyperStyleInverter:
    return HyperStyleInverter.from_pretrained(folder, device="cpu")


@pytest.fixture
def model(tiny_inverter: HyperStyleInverter, tmp_path: Path) -> Model:
    """With files that nothing opens: a detector reads them when it is first called."""
    (tmp_path / "trained").mkdir()
    for name in NAMES:
        (tmp_path / "trained" / name).write_bytes(name.encode() * 100)
    return replace(tiny_inverter.model, aligner=tmp_path / "trained")


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    write_model(model, tmp_path / "model")
    return tmp_path / "model"


def test_the_files_are_copied_with_their_hashes_and_used(folder: Path, model: Model) -> None:
    assert model.aligner is not None
    top = json.loads((folder / "hyperstyle.json").read_text(encoding="utf-8"))
    for name in NAMES:
        assert (folder / "aligner" / name).read_bytes() == (model.aligner / name).read_bytes()
        assert top["sha256"][f"aligner/{name}"] == sha256(model.aligner / name)
    shutil.rmtree(model.aligner)
    inverter = load(folder)
    assert isinstance(inverter.aligner, DlibDetector)
    assert (inverter.aligner.detector, inverter.aligner.predictor) == tuple(folder / "aligner" / n for n in NAMES)
    assert inverter.model.fingerprint == model.fingerprint


def test_an_aligner_that_is_passed_goes_before_the_models_own(folder: Path) -> None:
    ours = DlibDetector()
    assert HyperStyleInverter.from_pretrained(folder, device="cpu", aligner=ours).aligner is ours


def test_saving_what_was_loaded_keeps_the_aligner_also_in_its_own_folder(folder: Path, tmp_path: Path) -> None:
    load(folder).save_pretrained(tmp_path / "again")
    load(folder).save_pretrained(folder)
    for name in (*(f"aligner/{name}" for name in NAMES), "hyperstyle.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert load(folder).model.aligner == folder / "aligner"


def test_a_model_without_one_that_replaces_it_does_not_use_what_was_left(
    folder: Path, tiny_inverter: HyperStyleInverter
) -> None:
    tiny_inverter.save_pretrained(folder)
    assert load(folder).model.aligner is None


def test_the_description_shows_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = load(folder).describe()
    assert facts["aligner"] == "DlibDetector, with the model's own detector.svm and predictor.dat"
    assert set(facts["sha256"]) >= {f"aligner/{name}" for name in NAMES}
    assert main(["info", "--model", str(folder), "--device", "cpu"]) == 0
    assert facts["aligner"] in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_was_changed_or_is_missing_is_named(folder: Path, name: str) -> None:
    path = folder / "aligner" / name
    path.write_bytes(b"other")
    with pytest.raises(WeightsError, match=rf"{name} has sha256 \w{{12}}\.\.\., hyperstyle\.json says"):
        load(folder)
    path.unlink()
    with pytest.raises(MissingFileError, match=name):
        load(folder)


def test_one_file_without_the_other_is_refused(folder: Path) -> None:
    top = json.loads((folder / "hyperstyle.json").read_text(encoding="utf-8"))
    del top["sha256"]["aligner/detector.svm"]
    (folder / "hyperstyle.json").write_text(json.dumps(top), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"names 'aligner/predictor.dat' alone"):
        load(folder)


def test_files_that_cannot_be_read_or_written_are_reported_and_leave_no_model(model: Model, tmp_path: Path) -> None:
    assert model.aligner is not None
    (tmp_path / "taken" / "aligner" / "detector.svm").mkdir(parents=True)
    with pytest.raises(HyperStyleError, match=r"detector\.svm"):
        write_model(model, tmp_path / "taken")
    (model.aligner / "predictor.dat").unlink()
    with pytest.raises(MissingFileError, match=r"predictor\.dat"):
        write_model(model, tmp_path / "new")
    for name in ("taken", "new"):
        assert not (tmp_path / name / "hyperstyle.json").exists()
