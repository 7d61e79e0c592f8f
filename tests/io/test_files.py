"""Atomic writing: the old file or the whole new one, and no litter."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hyperstyle.errors import CheckpointError, HyperStyleError
from hyperstyle.io.files import (
    append_line,
    atomic_write,
    finish_replacing,
    replace_folder,
    sweep,
    write_bytes,
    write_text,
)

if TYPE_CHECKING:
    from conftest import RunPython


def test_the_file_has_what_the_body_wrote(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_temporary_file_is_a_neighbor_with_the_same_suffix(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.safetensors") as temporary:
        assert temporary.parent.samefile(tmp_path)
        assert temporary.suffix == ".safetensors"
        assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_body_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    def write_half() -> None:
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("half of the n")
            raise failure

    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(failure):
        write_half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_missing_folder_is_named_in_an_error_of_the_given_class(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match=r"nowhere.*does not exist"),
        atomic_write(tmp_path / "nowhere" / "a.bin", error=CheckpointError),
    ):
        pass


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(HyperStyleError, match="is a folder"), atomic_write(tmp_path / "taken"):
        pass
    assert os.listdir(tmp_path) == ["taken"]


def test_a_disk_error_in_the_body_becomes_ours(tmp_path: Path) -> None:
    with pytest.raises(HyperStyleError, match="No space left"), atomic_write(tmp_path / "a.bin"):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes like these")
def test_the_file_gets_the_rights_that_any_new_file_gets(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "atomic"):
        pass
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege on Windows")
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_written_bytes_are_there_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"new")
    write_text(tmp_path / "a.txt", "one\ntwo\n")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert (tmp_path / "a.txt").read_bytes() == b"one\ntwo\n"  # on Windows too


def test_a_folder_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with replace_folder(target) as folder:
        (folder / "new").write_text("new")
        assert sorted(os.listdir(target)) == [folder.name, "old"]
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["model"]


def test_a_body_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    def write_half(path: Path) -> None:
        with replace_folder(path) as folder:
            (folder / "half").write_text("half")
            raise KeyboardInterrupt

    (tmp_path / "model").mkdir()
    for name in ("model", "none"):
        with pytest.raises(KeyboardInterrupt):
            write_half(tmp_path / name)
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(tmp_path / "model") == []


def fill(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("keep", [True, False])
def test_others_stay_in_the_folder_where_they_are_wanted(tmp_path: Path, keep: bool) -> None:
    fill(tmp_path / "m", a__one="old", a__mine="mine", b__two="old", notes="mine")
    (tmp_path / "m" / ".git").mkdir()
    with replace_folder(tmp_path / "m", keep_others=keep) as folder:
        fill(folder, a__one="new", c__d__three="new")
    new = {"a/one": "new", "c/d/three": "new"}
    assert content(tmp_path / "m") == ({**new, "a/mine": "mine", "b/two": "old", "notes": "mine"} if keep else new)
    assert (tmp_path / "m" / ".git").exists() == keep


@pytest.mark.parametrize("name", ["a/one", "a"])
def test_what_is_kept_is_not_replaced_by_something_of_another_kind(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "m", **{f"{name}/mine" if name == "a/one" else name: "mine"}, b="old")
    before = content(tmp_path / "m")
    with (
        pytest.raises(CheckpointError, match=r"is a (folder|file), and a (file|folder) has to be there"),
        replace_folder(tmp_path / "m", keep_others=True) as folder,
    ):
        fill(folder, a__one="new", b="new")
    assert content(tmp_path / "m") == before
    with replace_folder(tmp_path / "m") as folder:
        fill(folder, a__one="new", b="new")
    assert content(tmp_path / "m") == {"a/one": "new", "b": "new"}


def test_a_folder_that_is_replaced_is_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "m", old="old")
    monkeypatch.chdir(tmp_path / "m")
    with replace_folder(".") as folder:
        fill(folder, new="new")
    assert os.listdir() == ["new"]  # the current folder, and not one that is gone


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege on Windows")
def test_a_link_to_a_folder_stays_and_links_in_it_are_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, there__old="old", elsewhere__one="theirs", file="theirs")
    (tmp_path / "there" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "there" / "b").symlink_to(tmp_path / "file")
    (tmp_path / "link").symlink_to("there")
    with replace_folder(tmp_path / "link") as folder:
        fill(folder, a__one="new", b="new")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "there") == {"a/one": "new", "b": "new"}
    assert content(tmp_path / "elsewhere") == {"one": "theirs"}
    assert (tmp_path / "file").read_text() == "theirs"


def test_what_a_killed_process_had_begun_to_put_in_place_is_completed(tmp_path: Path) -> None:
    fill(tmp_path / "m", a__one="new", a__two="old", b="old", gone="old")
    fill(tmp_path / "m" / ".replacing", a__two="new", b="new")
    (tmp_path / "m" / ".replacing" / ".removed.json").write_text('["gone", "gone already"]')
    finish_replacing(tmp_path / "m")
    assert content(tmp_path / "m") == {"a/one": "new", "a/two": "new", "b": "new"}
    finish_replacing(tmp_path / "nowhere")  # nothing to do


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege on Windows")
@pytest.mark.parametrize("name", ["../theirs", "a/../../theirs", "..", ".", "", "link/one", "{}/theirs"])
def test_a_folder_from_elsewhere_cannot_have_anything_outside_of_it_touched(tmp_path: Path, name: str) -> None:
    fill(tmp_path, theirs="theirs", outside__one="theirs", outside__two="theirs")
    fill(tmp_path / "m" / ".replacing", link__two="evil")
    (tmp_path / "m" / ".replacing" / ".removed.json").write_text(f'["{name.format(tmp_path)}"]')
    (tmp_path / "m" / "link").symlink_to(tmp_path / "outside")
    finish_replacing(tmp_path / "m")
    assert content(tmp_path) == {
        "theirs": "theirs",
        "outside/one": "theirs",
        "outside/two": "theirs",
        "m/link/two": "evil",
    }
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / ".replacing").symlink_to(tmp_path / "outside")
    finish_replacing(tmp_path / "n")
    assert sorted(os.listdir(tmp_path / "outside")) == ["one", "two"]


def test_a_folder_that_cannot_be_completed_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    fill(tmp_path / "m" / ".replacing", a="new")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refused)
        with pytest.raises(CheckpointError, match=r"m' was being replaced.*Read-only file system"):
            finish_replacing(tmp_path / "m")
    finish_replacing(tmp_path / "m")
    assert content(tmp_path / "m") == {"a": "new"}


def test_an_appended_line_is_there_whole_or_not_at_all(tmp_path: Path, run_python: RunPython) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, "one")
    append_line(path, "two")
    assert path.read_bytes() == b"one\ntwo\n"
    code = """
import resource, signal, sys
from hyperstyle.errors import HyperStyleError
from hyperstyle.io.files import append_line
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    append_line(sys.argv[1], "three")
except HyperStyleError as error:
    print(error)
"""
    if sys.platform != "win32":
        assert "No space left" in run_python("-c", code, str(path)).stdout
        assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="has no devices in its folders")
def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    with pytest.raises(HyperStyleError, match="is a device"):
        write_text(tmp_path / "null", "text")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses to remove files that are open")
def test_a_sweep_removes_what_killed_processes_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tmp-0123456789ab.png").write_text("half")
    (tmp_path / ".tmp-fedcba987654").mkdir()
    for name in ("me.png", ".tmp-mine"):
        (tmp_path / name).write_text("whole")
    with atomic_write(tmp_path / "a.txt") as file, replace_folder(tmp_path / "model") as folder:
        sweep(tmp_path)
        assert file.exists()
        assert folder.is_dir()
    assert sorted(os.listdir(tmp_path)) == [".tmp-mine", "a.txt", "me.png", "model"]
    sweep(tmp_path / "nowhere")  # nothing to do
