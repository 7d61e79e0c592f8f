"""Aligners by name, and the detector that takes what the machine has."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hyperstyle.align import LandmarkDetector, aligners
from hyperstyle.align.aligners import AutoDetector, find_aligner
from hyperstyle.align.crop import Points
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.cli.flags import as_flags
from hyperstyle.errors import CheckpointError, ConfigError, MissingFileError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io import published
from hyperstyle.model.folder import aligner_of, write_model
from hyperstyle.networks.perception import mtcnn
from hyperstyle.networks.perception.mtcnn import Mtcnn

FACE = np.array([[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]], dtype=np.float64)
PHOTO = Image.new("RGB", (32, 32), (90, 90, 90))


def finding(photo: Image.Image) -> list[Points]:
    return [FACE]


@dataclass
class Turning:
    """A detector of a user's own that can turn photos."""

    sideways: bool = False

    def __call__(self, photo: Image.Image) -> list[Points]:
        return [FACE] if self.sideways else []


# ---- names ----


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    [
        ("dlib", DlibDetector, None),
        ("dlib:points.dat", DlibDetector, "points.dat"),
        ("dlib:C:\\points.dat", DlibDetector, "C:\\points.dat"),
        ("mtcnn", MtcnnDetector, None),
        ("mtcnn:weights/mtcnn", MtcnnDetector, "weights/mtcnn"),
    ],
)
def test_a_name_is_a_detector_with_or_without_files(name: str, kind: type[Any], place: str | None) -> None:
    detector = find_aligner(name, finding)
    assert type(detector) is kind
    assert vars(detector)["predictor" if kind is DlibDetector else "weights"] == place


def test_auto_is_the_models_own_and_a_function_is_itself() -> None:
    assert find_aligner(None, finding) is find_aligner("auto", finding) is finding
    assert find_aligner("auto", None) is None
    assert find_aligner("none", finding) is None
    assert find_aligner(finding, None) is finding


@pytest.mark.parametrize(
    ("aligner", "message"),
    [
        ("dlbi", r"there is no aligner 'dlbi'\. .*Did you mean 'dlib'\?"),
        ("", r"there is no aligner ''\. Available: auto, dlib, mtcnn, none"),
        ("dlib:", "nothing follows the colon"),
        ("none:x", "'none' takes no file"),
        (Path("weights"), "the aligner is a PosixPath: expected one of|the aligner is a WindowsPath: expected one of"),
    ],
)
def test_anything_else_is_refused_before_a_model_is_loaded(
    aligner: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperstyle.inverter.load_model", None)  # nobody calls it
    for make in (lambda: find_aligner(aligner, finding), lambda: HyperStyleInverter.from_pretrained(aligner=aligner)):
        with pytest.raises(ConfigError, match=message):
            make()
    with pytest.raises(ConfigError, match=message):
        HyperStyleInverter(aligner=aligner)


def test_an_inverter_takes_names(tiny_model_dir: Path, tiny_inverter: HyperStyleInverter) -> None:
    load = HyperStyleInverter.from_pretrained
    assert isinstance(load(tiny_model_dir, device="cpu", aligner="dlib").aligner, DlibDetector)
    assert load(tiny_model_dir, device="cpu", aligner="none").aligner is None
    assert isinstance(load(tiny_model_dir, device="cpu", aligner="auto").aligner, AutoDetector)
    generator = tiny_inverter.model.generator
    composed = HyperStyleInverter(generator, domain=tiny_inverter.model.domain, aligner="mtcnn:weights")
    assert isinstance(composed.aligner, MtcnnDetector)


# ---- sideways ----


@pytest.mark.parametrize("aligner", ["auto", "dlib", Turning()])
def test_sideways_is_set_on_a_copy(aligner: Any) -> None:
    own = AutoDetector()
    detector: Any = find_aligner(aligner, own, sideways=True)
    assert detector.sideways
    assert not own.sideways
    assert detector is not aligner
    assert not getattr(aligner, "sideways", False)


@pytest.mark.parametrize(
    ("aligner", "message"), [("none", "there is no detector"), (finding, "function does not turn photos")]
)
def test_sideways_is_refused_where_nothing_turns_photos(aligner: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"sideways=True is for detectors that turn photos.*{message}"):
        find_aligner(aligner, AutoDetector(), sideways=True)


# ---- what this machine has ----


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder of MTCNN's weights that see nothing."""
    networks = Mtcnn().requires_grad_(False)
    for parameter in networks.parameters():
        parameter.zero_()
    folder = tmp_path / "mtcnn-weights"
    folder.mkdir()
    for name, network in networks.named_children():
        state: Any = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
        np.save(folder / f"{name}.npy", state)
    return folder


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither variables, nor packages (see conftest), nor a cache; and nothing may be downloaded."""
    for variable in (published.VARIABLE, mtcnn.VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(published, "_likely_places", lambda: iter(()))
    monkeypatch.setattr(published, "fetch", None)


@pytest.fixture
def predictor(tmp_path: Path) -> Path:
    """A file in place of a predictor; no detector reads it in these tests."""
    path = tmp_path / "points.dat"
    path.write_bytes(b"points")
    return path


@pytest.mark.usefixtures("bare_machine")
def test_without_files_the_error_names_the_two_shortest_ways_and_nothing_is_downloaded() -> None:
    with pytest.raises(MissingFileError) as caught:
        AutoDetector()(PHOTO)
    message = str(caught.value)
    assert message.startswith("No face detector on this machine: neither dlib's published predictor nor MTCNN's")
    assert 'pip install "hyperstyle-inversion[mtcnn]"' in message
    assert "use aligner='dlib', which downloads" in message
    assert "use --aligner dlib, which downloads" in as_flags(message)


@pytest.mark.usefixtures("bare_machine")
def test_dlib_comes_first_where_its_predictor_is_here(
    weights: Path, predictor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mtcnn.VARIABLE, str(weights))
    monkeypatch.setenv(published.VARIABLE, str(predictor))
    monkeypatch.setattr(aligners, "can_import_dlib", lambda: True)
    for sideways in (False, True):
        detector = AutoDetector(sideways)._detector
        assert isinstance(detector, DlibDetector)
        assert (detector.predictor, detector.sideways) == (predictor, sideways)


@pytest.mark.usefixtures("bare_machine")
def test_a_predictor_that_was_named_and_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(published.VARIABLE, "nowhere.dat")
    monkeypatch.setattr(aligners, "can_import_dlib", lambda: True)
    with pytest.raises(CheckpointError, match=r"nowhere\.dat, named by HYPERSTYLE_LANDMARKS"):
        AutoDetector()(PHOTO)


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize("has_dlib", [False, True])
def test_mtcnn_comes_second(weights: Path, predictor: Path, has_dlib: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where dlib cannot be imported, its predictor does not help."""
    monkeypatch.setenv(mtcnn.VARIABLE, str(weights))
    if has_dlib:
        monkeypatch.setattr(aligners, "can_import_dlib", lambda: True)
    else:
        monkeypatch.setitem(sys.modules, "dlib", None)
        monkeypatch.setenv(published.VARIABLE, str(predictor))
    detector = AutoDetector()
    assert isinstance(detector._detector, MtcnnDetector)
    assert detector(PHOTO) == []


@pytest.mark.usefixtures("bare_machine")
def test_it_is_decided_at_the_first_photo_once_for_all_threads_and_anew_by_copies(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = AutoDetector()
    monkeypatch.setenv(mtcnn.VARIABLE, str(weights))  # after it was made
    asked: list[None] = []

    def find() -> Path:
        asked.append(None)
        return weights

    monkeypatch.setattr(aligners, "find_mtcnn", find)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(detector, [PHOTO] * 8)) == [[]] * 8
    assert len(asked) == 1
    again = pickle.loads(pickle.dumps(detector))
    assert isinstance(again, LandmarkDetector)
    assert again(PHOTO) == []
    assert len(asked) == 2


# ---- MTCNN as a part of a model ----


@pytest.fixture
def with_mtcnn(tiny_inverter: HyperStyleInverter, tmp_path: Path) -> Callable[..., HyperStyleInverter]:
    """Loads the tiny model after saving it with MTCNN."""
    networks = Mtcnn().eval()

    def load(save: Any = None, load: Any = None) -> HyperStyleInverter:
        write_model(tiny_inverter.model.with_parts(mtcnn=networks), tmp_path / "model", **(save or {}))
        loaded = HyperStyleInverter.from_pretrained(tmp_path / "model", device="cpu", **(load or {}))
        assert loaded.model.mtcnn is not None
        for one, other in zip(networks.parameters(), loaded.model.mtcnn.parameters(), strict=True):
            assert torch.equal(one, other)
        return loaded

    return load


def test_a_model_with_mtcnn_finds_faces_with_it(with_mtcnn: Callable[..., HyperStyleInverter]) -> None:
    inverter = with_mtcnn()
    assert isinstance(inverter.aligner, MtcnnDetector)
    assert inverter.aligner.weights is inverter.aligner._networks is inverter.model.mtcnn
    assert inverter.aligner(PHOTO) == []
    facts = inverter.describe()
    assert facts["aligner"] == "MtcnnDetector, with the model's own mtcnn"
    assert facts["parameters"]["mtcnn"] == 495_850
    assert "mtcnn" in facts["sha256"]
    assert "faces found by MtcnnDetector" in repr(inverter)


def test_mtcnn_stays_in_float32(with_mtcnn: Callable[..., HyperStyleInverter]) -> None:
    inverter = with_mtcnn({"dtype": torch.float16}, {"dtype": torch.bfloat16})
    assert inverter.model.mtcnn is not None
    assert {parameter.dtype for parameter in inverter.model.mtcnn.parameters()} == {torch.float32}
    assert inverter.model.dtype == torch.bfloat16


def test_the_component_of_a_model_is_a_folder_of_weights(
    with_mtcnn: Callable[..., HyperStyleInverter], tmp_path: Path
) -> None:
    inverter = with_mtcnn()
    detector = MtcnnDetector(tmp_path / "model" / "mtcnn")
    for one, other in zip(detector._networks.parameters(), inverter.model.mtcnn.parameters(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(one, other)
    with pytest.raises(ConfigError, match="expected 'Mtcnn'"):
        MtcnnDetector(tmp_path / "model" / "encoder")(PHOTO)


def test_a_model_with_mtcnn_is_moved_and_pickled_with_it(
    with_mtcnn: Callable[..., HyperStyleInverter], monkeypatch: pytest.MonkeyPatch
) -> None:
    inverter = with_mtcnn()
    before = inverter.model.mtcnn
    monkeypatch.setattr("hyperstyle.inverter.pick_device", torch.device)  # there is no other device to move to
    inverter.to("meta")
    moved = inverter.model.mtcnn
    assert isinstance(inverter.aligner, MtcnnDetector)
    assert moved is not None
    assert moved is not before
    assert inverter.aligner.weights is moved
    assert next(moved.parameters()).device.type == "meta"
    again = pickle.loads(pickle.dumps(with_mtcnn()))
    assert again.aligner.weights is again.model.mtcnn
    assert again.aligner(PHOTO) == []


def test_files_of_dlib_in_a_model_come_before_its_mtcnn(
    with_mtcnn: Callable[..., HyperStyleInverter], tmp_path: Path
) -> None:
    model = replace(with_mtcnn().model, aligner=tmp_path)
    assert isinstance(aligner_of(model), DlibDetector)
