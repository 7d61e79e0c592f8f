"""`hyperstyle demo` with the bundled model: what a new user sees first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperstyle.cli import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder and what was printed, for two people."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("demo") / "out"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["demo", "--out", str(folder), "--people", "2", "--device", "cpu"]) == 0
    return folder, printed.getvalue()


def test_it_writes_a_sheet_and_single_images(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    names = {path.name for path in folder.iterdir()}
    for person in (1, 2):
        for stem in ("photo", "crop", "w_encoder", "hyperstyle", "older", "younger", "smile", "turned", "edited_photo"):
            assert f"{person}_{stem}.png" in names
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width > 1500


def test_it_prints_errors_before_and_after_seconds_and_the_code(demo: tuple[Path, str]) -> None:
    _, printed = demo
    line = next(line for line in printed.splitlines() if line.startswith("L2"))
    before, after = map(float, line.split()[1:])
    assert after < before
    assert printed.count(" s\n") >= 5
    assert "HyperStyleInverter().invert(" in printed


def test_the_python_it_prints_runs(demo: tuple[Path, str], in_tmp_path: Path) -> None:
    _, printed = demo
    code = printed[printed.index("from hyperstyle import") :]
    exec(compile(code, "<demo>", "exec"), {})
    assert (in_tmp_path / "smiling.png").exists()


def test_the_edited_face_is_back_in_its_image_and_the_corners_are_untouched(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    photo, edited = (np.asarray(Image.open(folder / f"1_{n}.png")).astype(int) for n in ("photo", "edited_photo"))
    assert photo.shape == edited.shape
    assert (photo[:20] == edited[:20]).all()
    assert (photo[-20:] == edited[-20:]).all()
    assert np.abs(photo - edited).max() > 20


def test_it_refuses_a_number_of_people_it_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--people", "0"]) == 2
    assert "--people 0: expected 1 to 5" in capsys.readouterr().err
