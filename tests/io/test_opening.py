"""Opening files: regular ones, of bounded size."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hyperstyle.errors import CheckpointError, ConfigError, HyperStyleError, MissingFileError, shorten, shown
from hyperstyle.io.opening import check_file, parse_json, read_bytes, read_text

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


@posix
class TestWhatIsNoFile:
    @pytest.mark.parametrize(
        ("target", "kind"),
        [("/dev/zero", "a device"), ("/dev/full", "a device"), ("/", "a folder"), ("/dev/nothing", "missing")],
    )
    def test_a_link_to_it_is_refused_by_its_kind(self, target: str, kind: str, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to(target)
        with pytest.raises(CheckpointError, match=rf"a (cannot be read: it )?is {kind}[.:] [Ee]xpected a list"):
            read_bytes(tmp_path / "a", "list")

    def test_a_fifo_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a")
        with pytest.raises(ConfigError, match=r"it is a FIFO\. Expected a file"):
            check_file(tmp_path / "a", error=ConfigError)

    def test_a_link_to_itself_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("a")
        with pytest.raises(CheckpointError, match="cannot be read"):
            check_file(tmp_path / "a")

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
    def test_a_file_without_a_size_is_read_up_to_the_limit(self) -> None:
        assert read_bytes("/proc/self/status").startswith(b"Name:")
        with pytest.raises(CheckpointError, match="at most 4 bytes"):
            read_bytes("/proc/self/status", limit=4)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "~nobody-here/a", "b/" * 3000])
def test_a_name_that_no_file_has_is_refused_and_cut(name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        check_file(name)
    assert len(str(caught.value)) < 1000


def test_what_is_missing_has_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is missing: expected a record"):
        check_file(tmp_path / "a", "record")
    with pytest.raises(ConfigError, match="is missing"):
        check_file(tmp_path / "a", error=ConfigError)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(CheckpointError, match="1,099,511,627,776 bytes: expected a text file of at most 67,108,864"):
        read_text(tmp_path / "a")


def test_text_is_utf8_with_a_mark_or_without(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("\ufeffä".encode())
    assert read_text(tmp_path / "a") == "ä"
    (tmp_path / "a").write_bytes("ä".encode("utf-16"))
    with pytest.raises(CheckpointError, match="is no text file"):
        read_text(tmp_path / "a")


def test_json_that_is_nested_too_deep_is_no_json() -> None:
    assert parse_json('{"a": [1]}') == {"a": [1]}
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        with pytest.raises(ValueError, match=r"deep|Expecting"):
            parse_json(text)


def test_long_words_and_texts_are_cut_in_every_message() -> None:
    assert len(str(HyperStyleError("a " + "9" * 100_000 + " b"))) < 500
    assert str(HyperStyleError("a " + "9" * 100_000 + " b")).endswith(" b")
    assert len(shorten("word " * 100_000)) < 3000
    assert shorten("a short text") == "a short text"


def test_a_value_is_shown_cut_however_large_it_is() -> None:
    inner: list[object] = []
    for _ in range(100_000):
        inner = [inner]
    many = [["x" * 1000] * 1000] * 1000
    for value in (inner, many, 10**5000, "x" * 10**6, {str(i): i for i in range(10**5)}):
        assert len(shown(value)) < 3000
    assert shown("a.png") == "'a.png'"
