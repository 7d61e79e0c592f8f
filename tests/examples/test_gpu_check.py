"""The script for a GPU, as far as it goes without one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from examples.gpu_check import Part, main, parts, run


def test_a_part_is_run_and_written_down(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path / "out"), "--device", "cpu", "--small", "--parts", "tests"]) == 0
    report = json.loads((tmp_path / "out" / "gpu_check.json").read_text(encoding="utf-8"))
    assert report["environment"]["device"] == "cpu"
    assert list(report["parts"]) == ["tests"]
    assert "skipped" in report["parts"]["tests"]["output"]  # or, on a machine with a GPU, passed
    assert "## tests" in (tmp_path / "out" / "gpu_check.md").read_text(encoding="utf-8")


def test_a_part_that_fails_or_takes_too_long_keeps_its_output(tmp_path: Path) -> None:
    bad, good = [sys.executable, "-c", "print('so far'); raise SystemExit(3)"], [sys.executable, "-c", "print('on')"]
    result = run(Part("x", [good, bad, good], 60), tmp_path)
    assert result["code"] == 3
    assert result["output"].split("\n")[:2] == ["on", "so far"]
    slow = [sys.executable, "-uc", "print('begun'); import time; time.sleep(60)"]
    result = run(Part("x", [slow, good], 3), tmp_path)
    assert result["code"] == 124
    assert "begun" in result["output"]
    assert "stopped after 3 s" in result["output"]
    assert "on\n" not in result["output"]


def test_all_parts_together_take_at_most_ten_minutes(tmp_path: Path) -> None:
    every = parts("cuda", tmp_path, tmp_path, small=False)
    assert sum(part.limit for part in every) <= 600
    names = ["tests", "bench", "batches", "training", "recordings without TF32", "recordings with TF32"]
    assert [part.name for part in every] == names
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--parts", "nothing"])
