"""`hyperstyle evaluate reconstruction`: a table on the screen, rows in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperstyle.cli import main


def test_it_prints_a_table_and_writes_the_same_rows(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "rows.json"
    arguments = ["--model", str(tiny_model_dir), "--count", "3", "--json", str(target), "--quiet", "--device", "cpu"]
    assert main(["evaluate", "reconstruction", *arguments]) == 0
    rows = json.loads(target.read_text())
    assert [set(row) for row in rows] == [
        {"method", "l2", "perceptual", "identity", "ms_ssim", "seconds", "images"}
    ] * 2
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["method", "w-encoder", "hyperstyle"]
    assert f"{rows[1]['l2']:.4f}" in printed[2]
    assert f"{rows[1]['l2'] / rows[0]['l2']:.2f}" in printed[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count 0: expected 1 or more"),
        (["--json", "nowhere/rows.json"], "the folder of 'nowhere/rows.json' does not exist"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], message: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "reconstruction", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
