"""How steadily the crop follows a head that turns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.avatars.studies.jitter import evaluate_jitter, main
from hyperstyle.errors import ConfigError

SIZE = (96, 80)


def test_smoothing_shakes_less_and_lies_nearer_to_the_truth() -> None:
    result = evaluate_jitter(24, noise=1.0, size=SIZE)
    assert result.frames == 24
    assert result.jitter_smoothed < 0.5 * result.jitter_found
    assert result.error_smoothed < 0.8 * result.error_found


def test_true_landmarks_are_followed_without_error() -> None:
    result = evaluate_jitter(8, size=SIZE)
    assert result.error_found == 0


@pytest.mark.parametrize("count", [8, pytest.param(96, marks=pytest.mark.slow)])
def test_the_head_turns_at_one_speed_however_many_the_frames(count: int) -> None:
    reference, result = evaluate_jitter(24, size=SIZE), evaluate_jitter(count, size=SIZE)
    assert result.jitter_true == pytest.approx(reference.jitter_true, rel=0.2)
    assert result.jitter_smoothed == pytest.approx(result.jitter_true, rel=0.1)


@pytest.mark.parametrize("count", [2, 0, -1])
def test_too_few_frames_to_shake_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"A clip of {count} frames: expected 3 or more"):
        evaluate_jitter(count)


def test_noise_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="Noise of -1"):
        evaluate_jitter(4, noise=-1)


def test_jitter_is_printed_and_written(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "5", "--noise", "1", "--quiet", "--json", "jitter.json"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[1:4]] == ["found", "smoothed", "true"]
    report = json.loads(Path("jitter.json").read_text(encoding="utf-8"))
    assert report["jitter_smoothed"] < report["jitter_found"]


def test_what_cannot_be_measured_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "2", "--noise", "1", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m examples.avatars.studies.jitter: error: A clip of 2 frames")
    assert error.count("\n") == 1
