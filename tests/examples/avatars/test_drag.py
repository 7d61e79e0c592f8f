"""The study of dragged points."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from examples.avatars.studies.drag import Drag, DragResult, drag_line, main


def test_results_are_means_and_a_face_that_is_lost_counts_in_all_but_its_distance() -> None:
    drags = [
        Drag(left=2.0, tracked=1.5, identity=0.9, steps=10, seconds=1.0, outside=4.0),
        Drag(left=math.nan, tracked=6.0, identity=0.5, steps=30, seconds=2.0, outside=8.0),
    ]
    result = DragResult.mean("HyperStyle", 8, [0.9, 1.0], drags, near=2.0)
    assert (result.left, result.tracked, result.arrived, result.lost) == (2.0, 3.75, 0.5, 1)
    assert (result.identity, result.before, result.steps, result.drags) == (0.7, 0.95, 20, 2)
    line = drag_line(result)
    assert line.split() == ["HyperStyle", "8", "2.00", "3.75", "50%", "0.700", "0.950", "20", "1.50", "6.00"]


@pytest.mark.slow
def test_drags_of_an_avatar_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "1", "--device", "cpu", "--quiet", "--json", str(tmp_path / "drag.json")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 8
    rows = json.loads((tmp_path / "drag.json").read_text())["drags"]
    offsets, plain, masked = rows[0], rows[3], rows[6]
    assert [row["distance"] for row in rows] == [4, 8, 16, 4, 8, 16, 8]
    assert offsets["arrived"] == 1
    assert offsets["tracked"] <= 2 < offsets["left"] + 2
    assert offsets["before"] > plain["before"]
    assert masked["outside"] < rows[1]["outside"]


@pytest.mark.slow
def test_images_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--images", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "drag.jpg"), str(tmp_path / "drag.webp")]
    assert (tmp_path / "drag.webp").stat().st_size < 1_000_000


@pytest.mark.parametrize(("count", "message"), [("0", "no avatars"), ("65", "expected 1 to 64")])
def test_a_count_that_there_is_not_is_one_line(count: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", count, "--device", "cpu", "--quiet"]) == 2
    assert message in capsys.readouterr().err
