"""The columns of the benchmark on synthetic images: each figure by hand, resumed runs, and missing figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle import ConfigError, HyperStyleInverter, MethodError, metrics
from hyperstyle.cli import main
from hyperstyle.evaluation import celebahq, distribution, held_out_avatars
from hyperstyle.evaluation.celebahq import evaluate_celebahq
from hyperstyle.evaluation.images import EvaluationImages, folder_images
from hyperstyle.evaluation.trials import Trial
from hyperstyle.images import load_image, save_image, to_images, to_tensor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of 64 px, twice the size that the tiny model sees and renders."""
    folder = tmp_path / "test"
    folder.mkdir()
    for i, image in enumerate(to_images(held_out_avatars(3, 64))):
        save_image(image, folder / f"{i}.png")
    return folder


@pytest.fixture
def images(folder: Path, tiny_inverter: HyperStyleInverter) -> EvaluationImages:
    return folder_images(folder, tiny_inverter)


def test_mse_is_that_of_reconstructions_in_256_levels(
    images: EvaluationImages, tiny_inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    result = evaluate_celebahq(tiny_inverter, images, tmp_path / "out", lpips=False)
    assert [row["method"] for row in result.table.rows] == ["hyperstyle", "w-encoder"]
    for row in result.table.rows:
        errors = []
        for i in range(3):
            crop = images.load(i)
            image = tiny_inverter.invert(crop, method=str(row["method"]), align=False).image
            errors.append(float(metrics.l2(to_tensor(image)[None], crop[None])))
        assert row["mse"] == pytest.approx(sum(errors) / 3, rel=1e-5)
        assert (row["identity"], row["fid"]) == (None, None)
        seconds = row["seconds"]
        assert isinstance(seconds, float)
        assert seconds > 0
    assert "3 images of test" in result.about
    assert "2,824 images" in result.about
    assert {row["what"] for row in result.missing.rows} == {"LPIPS", "ID", "FID"}
    assert [row["method"] for row in result.published.rows] == ["hyperstyle"]
    assert result.published.rows[0]["lpips"] == 0.0985


def test_identity_and_fid_compare_files_of_the_generator_s_size(
    images: EvaluationImages,
    folder: Path,
    tiny_inverter: HyperStyleInverter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[Tensor, Tensor]] = []
    fid_images: list[Tensor] = []

    def same_person(a: Tensor, b: Tensor) -> Tensor:
        compared.append((a, b))
        return torch.tensor([torch.nan if len(compared) == 2 else 0.5])

    def features(image: Tensor) -> Tensor:
        fid_images.append(image)
        return image.flatten(1).double()

    monkeypatch.setattr(celebahq, "face_identity", lambda network, mtcnn, device: same_person)
    monkeypatch.setattr(celebahq, "features_of", lambda model, path: (features, "Inception"))
    monkeypatch.setattr(distribution, "distance", lambda real, rebuilt: SimpleNamespace(fid=float(len(real))))
    files = {"identity": Path("face.pth"), "mtcnn": Path("mtcnn"), "inception": Path("inception.pth")}
    trials = [Trial("w-encoder")]
    (row,) = evaluate_celebahq(tiny_inverter, images, tmp_path / "out", trials, lpips=False, **files).table.rows
    assert (row["identity"], row["fid"]) == (0.5, 3.0)
    original = to_tensor(load_image(folder / "0.png"))[None]
    rebuilt, target = compared[0]
    assert rebuilt.shape == target.shape == (1, 3, 32, 32)
    torch.testing.assert_close(target, F.interpolate(original, (32, 32), mode="bilinear", antialias=True))
    assert torch.equal(fid_images[0], original)  # FID sees the file as it is
    torch.testing.assert_close(fid_images[3], rebuilt)  # and the reconstruction as it was saved


def test_a_second_call_measures_nothing_again(
    images: EvaluationImages, tiny_inverter: HyperStyleInverter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [Trial("hyperstyle"), Trial("hyperstyle", 1)]
    first = evaluate_celebahq(tiny_inverter, images, tmp_path, trials, lpips=False)
    monkeypatch.setattr(HyperStyleInverter, "invert", lambda *_, **__: pytest.fail("inverted again"))
    assert evaluate_celebahq(tiny_inverter, images, tmp_path, trials, lpips=False) == first
    with pytest.raises(ConfigError, match="was begun with pictures"):
        evaluate_celebahq(tiny_inverter, replace(images, source="other"), tmp_path, trials, lpips=False)


def test_what_cannot_be_measured_is_refused_before_anything_is(
    images: EvaluationImages, tiny_inverter: HyperStyleInverter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HyperStyleInverter, "invert", lambda *_, **__: pytest.fail("it has begun"))
    out = tmp_path / "out"
    with pytest.raises(MethodError, match="e4e"):
        evaluate_celebahq(tiny_inverter, images, out, [Trial("e4e")], lpips=False)
    with pytest.raises(ConfigError, match="each once"):
        evaluate_celebahq(tiny_inverter, images, out, [Trial("hyperstyle")] * 2, lpips=False)
    with pytest.raises(ConfigError, match="--identity and --mtcnn go together"):
        evaluate_celebahq(tiny_inverter, images, out, lpips=False, identity=Path("face.pth"))
    assert not out.exists()


@pytest.mark.parametrize(
    ("format", "begins"),
    [
        ("text", "method"),
        ("markdown", "| method | MSE | LPIPS | ID | FID | seconds |"),
        ("csv", "method,mse,lpips,identity,fid,seconds,images"),
        ("json", "[\n  {"),
    ],
)
def test_the_command_prints_the_table_and_says_what_is_missing(
    format: str, begins: str, folder: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "0.jpg").write_bytes(b"no image")
    arguments = ["--model", str(tiny_model_dir), "--device", "cpu", "--lpips", "no", "--count", "2", "--quiet"]
    out = ["--out", str(tmp_path / "out"), "--methods", "w-encoder", "hyperstyle:1", "--format", format]
    assert main(["evaluate", "celebahq", str(folder), *arguments, *out]) == 1
    printed, error = capsys.readouterr()
    assert printed.startswith(begins)
    assert "w-encoder" in printed
    assert "ID: not measured, its networks were not named (--identity CURRICULAR_FACE_FILE --mtcnn FOLDER)" in error
    assert "FID: not measured" in error
    assert "0.jpg" in error
    if format == "json":
        assert [row["method"] for row in json.loads(printed)] == ["w-encoder", "hyperstyle:1"]
    files = sorted(file.parent.name for file in (tmp_path / "out").rglob("*.png"))
    assert files == ["hyperstyle-1"] * 2 + ["w-encoder"] * 2
    with Image.open(next((tmp_path / "out").rglob("*.png"))) as image:
        assert np.asarray(image).shape == (32, 32, 3)
