"""`hyperstyle evaluate report`: from a folder of images to a page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from hyperstyle import ConfigError, QualityWarning
from hyperstyle.cli import main, report
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.images import save_image, to_images


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    report.add_parser(parser.add_subparsers())
    args = parser.parse_args(["report", *arguments])
    code: int = args.run(args)
    return code


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(to_images(held_out_avatars(2, 48))):
        save_image(image, folder / f"{i}.png")
    return folder


QUICK = ("--optimized", "0", "--shown", "1", "--lpips", "no", "--device", "cpu", "--quiet")


def test_a_folder_of_images_becomes_a_page(
    photos: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = (str(tiny_model_dir), "--data", str(photos), "--out", str(out), *QUICK)
    assert run(*arguments, "--ablation", f"same={tiny_model_dir}", "--photos", str(photos)) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["pictures"]["count"] == 2
    assert "same" in [row["method"] for row in report["tables"]["table3"]]
    assert {"0.png", "1.png"} <= {row["kind"] for row in report["tables"]["out_of_domain"]}


def test_a_broken_image_is_left_out_named_and_reported_by_the_exit_code(
    photos: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    out = tmp_path / "report"
    assert run(str(tiny_model_dir), "--data", str(photos), "--out", str(out), *QUICK) == 1
    assert "left out: broken.jpg" in capsys.readouterr().err
    assert "broken.jpg" in (out / "report.html").read_text(encoding="utf-8")


def test_photos_that_are_left_out_or_in_which_no_face_is_found_are_named(
    photos: Path, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "data").mkdir()
    (photos / "0.png").rename(tmp_path / "data" / "0.png")
    out = tmp_path / "report"
    arguments = (str(tiny_model_dir), "--data", str(tmp_path / "data"), "--out", str(out), *QUICK)
    with pytest.warns(
        QualityWarning, match=r"^'1\.png': square and .* since no face .* first, with `hyperstyle align`"
    ):
        assert run(*arguments, "--photos", str(photos)) == 1
    assert "left out: broken.jpg: " in capsys.readouterr().err
    photo_report = json.loads((out / "report.json").read_text(encoding="utf-8"))["photos"]
    assert [name for name, _ in photo_report["failures"]] == ["broken.jpg"]
    assert [name for name, _ in photo_report["taken_as_crops"]] == ["1.png"]
    assert "1 file(s) of photos left out. broken.jpg: " in (out / "report.html").read_text(encoding="utf-8")


def test_an_aligner_is_taken_where_faces_are_looked_for(photos: Path, tiny_model_dir: Path, tmp_path: Path) -> None:
    arguments = (str(tiny_model_dir), "--data", str(photos), "--out", str(tmp_path / "report"), *QUICK)
    with pytest.raises(ConfigError, match="--aligner none finds faces in --data with --align auto, and in --photos"):
        run(*arguments, "--aligner", "none")
    with pytest.raises(ConfigError, match="there is no aligner 'mtcn'"):
        run(*arguments, "--align", "auto", "--aligner", "mtcn")


def test_a_configuration_file_of_version_0_1_is_understood(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("old.toml").write_text('optimised = -1\nadapt = 0\nlpips = "no"\n', encoding="utf-8")
    command = ["evaluate", "report", str(tiny_model_dir), "--out", "out", "--device", "cpu", "--quiet"]
    assert main([*command, "--config", "old.toml"]) == 2
    assert "--optimized -1: expected 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (("--ablation", "../../escaped=model"), "expected a name of letters"),
        (("--ablation", "a=model", "--ablation", "a=other"), "each once"),
        (("--ablation", "nothing"), "expected NAME=MODEL"),
        (("--count", "0"), "--count 0"),
        (("--adapt", "8"), "domain adaptation has left the report"),
        (("--methods", "hyperstyle:many"), "METHOD:STEPS"),
        (("--data", "nowhere"), "is no folder"),
    ],
)
def test_what_makes_no_sense_is_refused(
    more: tuple[str, ...], match: str, tiny_model_dir: Path, in_tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=match):
        run(str(tiny_model_dir), "--out", "report", *QUICK, *more)
    assert not Path("report").exists()
