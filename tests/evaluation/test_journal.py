"""Rows on disk: an interrupted run goes on, and rows about something else are never mixed with new ones."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.errors import ConfigError, HyperStyleError
from hyperstyle.evaluation.journal import Journal

ABOUT = {"report": 1, "model": "a", "size": (32, 32)}


def row(image_name: str, value: float = 1.0) -> dict[str, Any]:
    return {"method": "hyperstyle", "picture": image_name, "figures": {"l2": value}}


def test_rows_are_found_again(tmp_path: Path) -> None:
    first = Journal(tmp_path / "rows.jsonl", ABOUT)
    first.add(row("a"))
    first.add(row("b"))
    again = Journal(tmp_path / "rows.jsonl", ABOUT)
    assert (again.get("hyperstyle", "a"), again.get("hyperstyle", "b")) == (row("a"), row("b"))
    assert again.get("hyperstyle", "c") is None
    assert again.get("w-encoder", "a") is None


def test_of_two_rows_of_an_image_the_later_one_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl", ABOUT)
    journal.add(row("a", 1.0))
    journal.add(row("a", 2.0))
    assert journal.get("hyperstyle", "a") == Journal(journal.path, ABOUT).get("hyperstyle", "a") == row("a", 2.0)


def test_a_line_that_a_killed_run_left_half_written_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Journal(path, ABOUT).add(row("a"))
    content = path.read_bytes()
    path.write_bytes(content + b'{"method": "hyperstyle", "pict')
    journal = Journal(path, ABOUT)
    assert journal.get("hyperstyle", "a") == row("a")
    assert path.read_bytes() == content
    journal.add(row("b"))
    assert Journal(path, ABOUT).get("hyperstyle", "b") == row("b")


def test_a_file_whose_first_line_is_half_written_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"report": 1, "mod', encoding="utf-8")
    Journal(path, ABOUT).add(row("a"))
    assert Journal(path, ABOUT).get("hyperstyle", "a") == row("a")


@pytest.mark.parametrize("about", [{**ABOUT, "model": "b"}, {**ABOUT, "points": 3}, {"report": 1, "size": [32, 32]}])
def test_rows_about_something_else_are_refused(tmp_path: Path, about: dict[str, Any]) -> None:
    path = tmp_path / "rows.jsonl"
    Journal(path, ABOUT).add(row("a"))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"was begun with (model|points) = .* Choose another --out"):
        Journal(path, about)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["no json\n", "[1]\n", '{"report": 1}\n{"method": "a"}\n'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="rows"):
        Journal(path, {"report": 1})
    assert path.read_text(encoding="utf-8") == content


def test_a_full_disk_says_so_and_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "rows.jsonl", ABOUT)
    journal.add(row("a"))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(HyperStyleError, match=r"No space left on device.*same command again"):
            journal.add(row("b"))
    assert journal.get("hyperstyle", "b") is None
    assert Journal(journal.path, ABOUT).get("hyperstyle", "a") == row("a")
