"""The predictor file from the argument or the variable; tests/hub has the cache, the package and the Hub."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path

import pytest

from hyperstyle.errors import CheckpointError, MissingFileError
from hyperstyle.io import published
from hyperstyle.io.published import PREDICTOR, VARIABLE, find_predictor

CONTENT = bytes(range(256)) * 4


@pytest.fixture(autouse=True)
def small_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file in place of the published one, its license not shown yet, and no variable set."""
    small = dataclasses.replace(PREDICTOR, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(published, "PREDICTOR", small)
    monkeypatch.delenv(VARIABLE, raising=False)
    published._show_license.cache_clear()


def write(path: Path, content: bytes = CONTENT) -> Path:
    path.write_bytes(content)
    return path


def test_the_argument_comes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write(tmp_path / "first.dat"), write(tmp_path / "second.dat")
    monkeypatch.setenv(VARIABLE, str(second))
    assert find_predictor(first) == first
    assert find_predictor() == second


def test_a_path_may_start_from_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    write(tmp_path / "mine.dat")
    assert find_predictor("~/mine.dat") == tmp_path / "mine.dat"


def test_the_license_of_the_published_file_is_shown_once_under_whatever_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hyperstyle.align"):
        find_predictor(write(tmp_path / "own.dat", CONTENT[::-1]))
        assert caplog.messages == []
        find_predictor(write(tmp_path / "renamed.dat"))
        find_predictor(write(tmp_path / PREDICTOR.name))
    [message] = caplog.messages
    assert "iBUG 300-W" in message
    assert "excludes commercial use" in message


@pytest.mark.parametrize("content", [CONTENT[:100], CONTENT[::-1]], ids=["cut off", "another"])
def test_a_file_with_the_published_name_must_have_its_hash(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / PREDICTOR.name, content)
    with pytest.raises(CheckpointError, match=hashlib.sha256(content).hexdigest()) as caught:
        find_predictor(path)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert "another name" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>", "is a web page and no landmark predictor"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_what_is_no_file_of_the_kind_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        find_predictor(write(tmp_path / PREDICTOR.name, content))


def test_a_given_file_that_is_not_there_is_an_error_and_nothing_else_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.dat, given as the predictor, is not a file") as caught:
        find_predictor(tmp_path / "absent.dat")
    # Not the class of a file that is nowhere to be had, without which an image may be taken as a crop.
    assert not isinstance(caught.value, MissingFileError)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(CheckpointError, match=rf"named by {VARIABLE}, is not a file"):
        find_predictor()


def test_the_published_file_is_known_by_size_and_hash() -> None:
    assert (PREDICTOR.size, len(PREDICTOR.sha256)) == (99_693_937, 64)
    assert PREDICTOR.sha256.startswith("fbdc2cb8")
