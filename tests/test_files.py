"""Atomic writing: the old file or the whole new one, and no litter."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hyperstyle.errors import CheckpointError, HyperStyleError
from hyperstyle.files import atomic_write, replace_folder, restore_folder, sweep, write_bytes, write_text


def test_the_file_has_what_the_body_wrote(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_temporary_file_is_a_neighbour_with_the_same_suffix(tmp_path: Path) -> None:
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
        assert os.listdir(target) == ["old"]
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


def test_the_old_folder_comes_back_where_a_process_was_killed_between_the_two_renames(tmp_path: Path) -> None:
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "weights").write_text("old")
    restore_folder(tmp_path / "model")
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert os.listdir(tmp_path) == ["model"]


def test_the_rest_of_the_old_folder_goes_where_a_process_was_killed_after_the_renames(tmp_path: Path) -> None:
    for name in ("model", ".model.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "weights").write_text("new")
    restore_folder(tmp_path / "model")
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses to remove files that are open")
def test_a_sweep_removes_what_killed_processes_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tmp-dead.png").write_text("half")
    (tmp_path / ".tmp-dead").mkdir()
    (tmp_path / "me.png").write_text("whole")
    with atomic_write(tmp_path / "a.txt") as file, replace_folder(tmp_path / "model") as folder:
        sweep(tmp_path)
        assert file.exists()
        assert folder.is_dir()
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "me.png", "model"]
    sweep(tmp_path / "nowhere")  # nothing to do
