"""What is listed of each kind of source, in which order, and what is said where there is none."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hyperstyle.bulk import items as bulk_items
from hyperstyle.bulk.items import Item, Reader, SourceError
from hyperstyle.bulk.sources import list_source
from hyperstyle.errors import ConfigError, ImageError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def files(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.png"))[:4]


def ids(source: Path | str, **options: Any) -> list[str]:
    return [item.id for item in list_source(str(source), **options)]


def read(source: Path | str, **options: Any) -> list[bytes]:
    reader = Reader()
    return [reader.read(item) for item in list_source(str(source), **options)]


def test_a_folder_is_listed_by_name_at_any_depth(photos: Path, tmp_path: Path) -> None:
    content = next(photos.rglob("*.png")).read_bytes()
    for name in ("b/2.png", "b/1.JPG", "a.png", "c/d/no_suffix", "c/notes.txt", ".hidden/x.png", "c/.x.png", "b0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    os.symlink(tmp_path, tmp_path / "c" / "loop")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo.png")
    found = list(list_source(str(tmp_path)))
    assert [item.id for item in found] == ["a.png", "b/1.JPG", "b/2.png", "b0.png", "c/d/no_suffix"]
    assert found[1] == Item("b/1.JPG", f"{tmp_path}/b/1.JPG")
    assert read(tmp_path) == [content] * 5


def test_what_looks_like_an_image_and_cannot_be_read_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_bytes(b"<svg/>")
    assert ids(tmp_path) == ["a.svg"], "its row says why"


def test_lists_name_paths_and_urls(files: list[Path], tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/bucket/x.png", files[0].read_bytes())
    os.symlink(files[0].parent, tmp_path / "here")
    lines = ["\ufeff# a comment", "", f"here/{files[0].name}", str(files[1]), "memory://bucket/x.png"]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    assert ids(tmp_path / "list.txt") == lines[2:]
    assert read(tmp_path / "list.txt") == [files[0].read_bytes(), files[1].read_bytes(), files[0].read_bytes()]
    (tmp_path / "list.txt").write_bytes(b"\xff\n")
    with pytest.raises(ImageError, match=r"line 1 of .* is not UTF-8"):
        ids(tmp_path / "list.txt")


def test_tar_files_are_read_in_place(files: list[Path], tmp_path: Path) -> None:
    for name in ("1.tar", "0.tar"):
        with tarfile.open(tmp_path / name, "w") as archive:
            for file in files[:2]:
                archive.add(file, file.name)
            archive.add(__file__, "text.txt")
    expected = [f"{files[0].name}", f"{files[1].name}"]
    assert ids(tmp_path / "1.tar") == [f"1.tar/{name}" for name in expected]
    assert ids(tmp_path) == [f"{tar}/{name}" for tar in ("0.tar", "1.tar") for name in expected]
    assert ids(f"{tmp_path}/*.tar") == ids(tmp_path)
    assert read(tmp_path / "0.tar") == [file.read_bytes() for file in files[:2]]
    (tmp_path / "cut.tar").write_bytes((tmp_path / "0.tar").read_bytes()[:100])
    with pytest.raises(ImageError, match=r"Cannot read the archive .*cut\.tar"):
        ids(tmp_path / "cut.tar")


def test_parquet_files_hold_images_or_paths(files: list[Path], tmp_path: Path) -> None:
    content = [file.read_bytes() for file in files]
    names = [file.name for file in files]
    parquet.write_table(pa.table({"png": content}), tmp_path / "bytes.parquet", row_group_size=3)
    structs = [{"bytes": each, "path": None} for each in content]
    parquet.write_table(pa.table({"id": names, "image": structs}), tmp_path / "structs.parquet", row_group_size=3)
    paths = [str(files[0].parent / name) for name in names]
    parquet.write_table(pa.table({"n": [1, 2, 3, 4], "url": paths}), tmp_path / "paths.parquet")
    assert ids(tmp_path / "bytes.parquet") == [f"bytes.parquet#{row}" for row in range(4)]
    assert ids(tmp_path / "structs.parquet") == names
    assert ids(tmp_path / "paths.parquet") == paths
    for name in ("bytes", "structs", "paths"):
        assert read(tmp_path / f"{name}.parquet") == content
    assert ids(tmp_path / "paths.parquet", column="url") == paths
    (tmp_path / "beside.png").write_bytes(content[0])
    mixed = [{"bytes": None, "path": "beside.png"}, {"bytes": content[1], "path": "gone.png"}]
    mixed += [{"bytes": None, "path": paths[2]}, {"bytes": None, "path": None}]
    parquet.write_table(pa.table({"image": mixed}), tmp_path / "mixed.parquet")
    items = list(list_source(str(tmp_path / "mixed.parquet")))
    assert [Reader().read(item) for item in items[:3]] == content[:3]
    with pytest.raises(ImageError, match=r"row 3 of .* has no image"):
        Reader().read(items[3])
    for column, message in (("no", "has no column 'no'. Its columns: n, url"), ("n", "no column of images")):
        with pytest.raises(ConfigError, match=message):
            ids(tmp_path / "paths.parquet", column=column)
    parquet.write_table(pa.table({"png": [None, b""]}), tmp_path / "empty.parquet")
    with pytest.raises(ImageError, match=r"row 0 of .* has no image in the column 'png'"):
        read(tmp_path / "empty.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImageError, match="Cannot read the Parquet file"):
        ids(tmp_path / "bad.parquet")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(ConfigError, match=r"x\.tar' is a pipe, socket or device: expected a folder or a file"):
        ids(tmp_path / "x.tar")
    assert ids(tmp_path) == []


def test_stores_are_read_as_folders_are(files: list[Path]) -> None:
    store = fsspec.filesystem("memory")
    for name in ("b/1.png", "a.png", "b/.hidden.png", "c.tar/x.png", "n.txt"):
        store.pipe(f"/pictures/{name}", files[0].read_bytes())
    assert ids("memory://pictures") == ["a.png", "b/1.png", "c.tar/x.png"]
    assert ids("memory://pictures/b/*.png") == ["memory:///pictures/b/1.png"]
    assert read("memory://pictures") == [files[0].read_bytes()] * 3
    store.rm("/pictures/a.png")
    with pytest.raises(ImageError, match=r"there is no file 'memory://pictures/a\.png'"):
        Reader().read(Item("a.png", "memory://pictures/a.png"))


def test_a_store_that_does_not_answer_is_no_fault_of_an_image(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_items, "_WAIT", 0.0)
    fsspec.filesystem("memory").pipe("/down/a.png", files[0].read_bytes())
    original, calls = MemoryFileSystem.cat_file, []

    def cat_file(self: Any, path: str, *args: Any, **options: Any) -> Any:
        calls.append(path)
        if len(calls) < 3 or "down/" not in path:
            raise ConnectionError("no route to host")
        return original(self, path, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    assert Reader().read(Item("a", "memory://down/a.png")) == files[0].read_bytes(), "the third try"
    with pytest.raises(SourceError, match=r"cannot be reached after 3 tries .*no route to host.*run the same command"):
        Reader().read(Item("a", "memory://down2/a.png", size=5))
    with pytest.raises(SourceError, match="Check the URL"):
        ids("nonsense://a/b")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone", "there is no 'gone'"),
        ("memory://gone-bucket/x", "there is no 'memory://gone-bucket/x'"),
        ("*.tar", r"no file matches '\*.tar'"),
        ("one.png", "is one file"),
    ],
)
def test_what_is_no_source_is_said(in_tmp_path: Path, source: str, message: str) -> None:
    (in_tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=message):
        ids(source)


def test_a_file_that_is_gone_or_too_large_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError, match="is missing"):
        Reader().read(Item("a", str(tmp_path / "a.png")))
    (tmp_path / "a.png").write_bytes(b"12345")
    monkeypatch.setattr(bulk_items, "MAX_IMAGE", 4)
    with pytest.raises(ImageError, match="5 bytes"):
        Reader().read(Item("a", str(tmp_path / "a.png")))
    with pytest.raises(ImageError, match="5 bytes: expected at most 4"):
        Reader().read(Item("a", str(tmp_path / "a.tar"), "a", 0, 5))


def test_a_disk_that_fails_is_no_fault_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(SourceError, match="Input/output error"):
        Reader().read(Item("a", str(tmp_path / "a.png")))
