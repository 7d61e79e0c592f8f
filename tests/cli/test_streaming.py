"""Folders of images stream: flat memory, read ahead in one thread, in order, each failure with its own image."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import pytest
from PIL import Image

from hyperstyle.align.prepare import Prepared, prepare
from hyperstyle.cli import main
from hyperstyle.errors import HyperStyleError, InversionError, QualityWarning
from hyperstyle.images.color_modes import quiet
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.runtime.read_ahead import read_ahead

Captured = pytest.CaptureFixture[str]
BAD = b"not an image"


def folder_of(folder: Path, count: int, bad: Sequence[int] = ()) -> Path:
    """A folder of small images of different grays, some of them broken: 00000.bmp, 00001.bmp, ..."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:05}.bmp"
        if number in bad:
            path.write_bytes(BAD)
        else:
            gray = Image.linear_gradient("L").resize((16, 16)).point(lambda v, n=number: (v + 9 * n) % 256)
            gray.convert("RGB").save(path)
    return folder


def invert(model: Path, *arguments: str | Path) -> int:
    return main(["invert", "--model", str(model), "--device", "cpu", "--align", "no", *map(str, arguments)])


def readers() -> list[str]:
    """The threads that read ahead."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


class TestReadingAhead:
    def test_the_order_is_kept_and_every_item_gets_its_own_result_or_error(self) -> None:
        def read(item: int) -> int:
            if item % 3 == 1:
                raise HyperStyleError(f"number {item}")
            return 10 * item

        results = []
        for item, future in read_ahead(range(7), read, 2):
            results.append((item, future.exception() is None and future.result()))
            if item % 3 == 1:
                with pytest.raises(HyperStyleError, match=f"number {item}"):
                    future.result()
        assert results == [(0, 0), (1, False), (2, 20), (3, 30), (4, False), (5, 50), (6, 60)]

    @pytest.mark.parametrize("ahead", [1, 4])
    def test_no_more_is_taken_than_the_number_ahead(self, ahead: int) -> None:
        consumed: list[int] = []
        items = (consumed.append(item) or item for item in itertools.count())  # type: ignore[func-returns-value]
        with closing(read_ahead(items, str, ahead)) as reading:
            for done, (_, future) in enumerate(itertools.islice(reading, 20)):
                assert future.result() == str(done)
                assert len(consumed) == done + 1 + ahead

    def test_all_that_is_collected_at_once_is_read(self) -> None:
        collected = list(read_ahead(range(5), lambda item: time.sleep(0.01), 8))
        assert [future.result() for _, future in collected] == [None] * 5

    def test_several_threads_read_at_the_same_time(self) -> None:
        together = threading.Barrier(3)
        for _, future in read_ahead(range(6), lambda _: together.wait(30), 6, threads=3):
            future.result()

    def test_the_next_item_is_read_while_one_is_processed(self) -> None:
        begun = [threading.Event() for _ in range(3)]
        with closing(read_ahead(range(3), lambda item: begun[item].set(), 1)) as reading:
            next(reading)
            assert begun[1].wait(30), "nobody asked for it, and it is there"

    def test_one_thread_reads_and_it_ends_with_the_items(self) -> None:
        names = {future.result() for _, future in read_ahead(range(20), lambda _: threading.current_thread().name, 5)}
        assert len(names) == 1
        assert names != {threading.current_thread().name}
        assert readers() == []

    def test_closing_leaves_unread_what_was_not_begun_and_ends_the_thread(self) -> None:
        begun, go_on = [], threading.Event()

        def read(item: int) -> None:
            begun.append(item)
            go_on.wait(30)

        with closing(read_ahead(range(100), read, 8)) as reading:
            next(reading)
            threading.Timer(0.05, go_on.set).start()
        assert len(begun) < 9
        assert readers() == []

    def test_nothing_is_kept_of_what_was_given(self) -> None:
        class Result:
            pass

        alive: WeakSet[Result] = WeakSet()

        def read(_: int) -> Result:
            alive.add(result := Result())
            return result

        for _, future in read_ahead(range(200), read, 3):
            future.result()
            assert len(alive) <= 3 + 2, "those ahead, this one, and the one given before"


class Stub:
    """A stub for an inversion: nothing is computed, and it holds nothing else in memory."""

    method, crop, quality = "hyperstyle", None, {"l2": (0.0,)}

    def __init__(self, count: int) -> None:
        self.images = [Image.new("RGB", (1, 1))] * count

    @property
    def initial(self) -> Stub:
        return self

    def __getitem__(self, _: slice) -> Stub:
        return self


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_memory_is_flat_over_thousands_of_images_and_only_failures_are_kept(
    tiny_model_dir: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, count: int
) -> None:
    early, late, batch = 1_000, count - 100, 4
    broken = range(500, count, 1_000)
    contents = [file.read_bytes() for file in sorted(folder_of(Path("two"), 2, bad=[1]).iterdir())]
    Path("many").mkdir()
    for number in range(count):
        Path("many", f"{number:05}.bmp").write_bytes(contents[number in broken])

    alive: WeakValueDictionary[int, Any] = WeakValueDictionary()  # by id, as images cannot be in sets
    most, blocks, done = 0, {}, 0

    def fake(_: HyperStyleInverter, faces: list[Prepared], **__: Any) -> Stub:
        nonlocal done, most
        inversion = Stub(len(faces))
        alive.update(
            {id(item): item for face in faces for item in (face, face.source.photo, face.crop)}
            | {id(inversion): inversion}
        )
        most = max(most, len(alive))
        done += len(faces)
        for place in (early, late):
            if done >= place and place not in blocks:
                gc.collect()
                blocks[place] = sys.getallocatedblocks()
        return inversion

    monkeypatch.setattr(HyperStyleInverter, "invert", fake)
    monkeypatch.setattr("hyperstyle.cli.invert._write", lambda *_: None)
    assert invert(tiny_model_dir, "many", "--batch", str(batch), "--quiet") == 1
    assert done == count - len(broken)
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == f"hyperstyle: {len(broken)} of {count} failed:"
    assert [line.split(":")[0].count(".bmp") for line in errors[1:]] == [len(broken)], "one reason, said once"
    assert most <= 2 * (3 * batch + 1), "faces, photos, crops and results of a batch and of the one before it"
    assert blocks[late] - blocks[early] < (late - early) / 2, "not one Python object is kept of each image"


@pytest.fixture
def inversions(monkeypatch: pytest.MonkeyPatch) -> WeakSet[Inversion]:
    """The inversions returned by `invert` that are still in memory."""
    alive: WeakSet[Inversion] = WeakSet()
    real = HyperStyleInverter.invert

    def invert(self: HyperStyleInverter, *arguments: Any, **options: Any) -> Inversion:
        before = len(alive)
        inversion = real(self, *arguments, **options)
        alive.add(inversion)
        assert before <= 1, "the results of one batch at most are still there when the next one is done"
        return inversion

    monkeypatch.setattr(HyperStyleInverter, "invert", invert)
    return alive


def test_no_inversion_outlives_the_next_one(
    tiny_model_dir: Path, in_tmp_path: Path, inversions: WeakSet[Inversion]
) -> None:
    assert invert(tiny_model_dir, folder_of(Path("faces"), 6), "--quiet") == 0
    assert len(list(Path("inversions").glob("*.safetensors"))) == 6
    assert len(inversions) == 0


def test_failures_in_the_middle_leave_order_and_results_of_the_others_alone(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured
) -> None:
    faces = folder_of(Path("faces"), 7, bad=[0, 3, 4])
    assert invert(tiny_model_dir, faces, "--batch", "2") == 1
    shown = capsys.readouterr()
    assert [Path(line.split(" -> ")[0]).stem for line in shown.out.splitlines()] == ["00001", "00002", "00005", "00006"]
    failed = shown.err.rpartition("hyperstyle: ")[2].splitlines()
    assert failed[0] == "3 of 7 failed:"
    assert [Path(name).stem for line in failed[1:] for name in line.split(":")[0].split(", ")] == [
        "00000",
        "00003",
        "00004",
    ]


def test_images_that_go_together_come_out_as_they_do_alone(tiny_model_dir: Path, in_tmp_path: Path) -> None:
    faces = folder_of(Path("faces"), 5, bad=[1])
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    for batch in ("1", "3"):
        assert invert(tiny_model_dir, faces, "--batch", batch, "--out", batch, "--quiet") == 1
    assert {file.name for file in Path("1").iterdir()} == {file.name for file in Path("3").iterdir()}
    for file in Path("1").glob("*.safetensors"):
        single, batched = (Inversion.load(folder / file.name, inverter) for folder in (Path("1"), Path("3")))
        assert len(single) == len(batched) == 1
        assert single.sources[0].name == batched.sources[0].name == str(faces / f"{file.stem}.bmp")
        assert (single.tensor - batched.tensor).abs().max() < 1e-4
        with Image.open(file.with_suffix(".png")) as a, Image.open(Path("3", file.stem + ".png")) as b:
            assert max(high for _, high in _extrema_of_difference(a, b)) <= 1


def _extrema_of_difference(a: Image.Image, b: Image.Image) -> Iterator[tuple[int, int]]:
    from PIL import ImageChops

    yield from ImageChops.difference(a, b).getextrema()  # type: ignore[misc]


def test_an_image_that_fails_in_a_batch_fails_alone(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, batches = HyperStyleInverter.invert, []

    def invert_or_fail(self: HyperStyleInverter, faces: list[Prepared], **options: Any) -> Inversion:
        batches.append([Path(face.source.name).stem for face in faces])
        if "00002" in batches[-1]:
            raise InversionError("too dark")
        return real(self, faces, **options)

    monkeypatch.setattr(HyperStyleInverter, "invert", invert_or_fail)
    assert invert(tiny_model_dir, folder_of(Path("faces"), 5), "--batch", "3") == 1
    assert batches == [["00000", "00001", "00002"], ["00000"], ["00001"], ["00002"], ["00003", "00004"]]
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 4
    assert "1 of 5 failed" in shown.err
    assert "00002.bmp: too dark" in shown.err


def test_all_the_faces_of_an_image_stay_together_in_a_batch(
    tiny_model_dir: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_of_the_second(image: Path, *arguments: Any, **options: Any) -> list[Prepared]:
        return prepare(image, *arguments, **options) * (2 if image.stem == "00001" else 1)

    monkeypatch.setattr("hyperstyle.align.prepare.prepare", two_of_the_second)
    assert invert(tiny_model_dir, folder_of(Path("faces"), 3), "--batch", "3", "--quiet") == 0
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    inversions = [Inversion.load(file, inverter) for file in sorted(Path("inversions").glob("*.safetensors"))]
    assert [[Path(source.name).stem for source in inversion.sources] for inversion in inversions] == [
        ["00000"],
        ["00001", "00001"],
        ["00002"],
    ]


def test_an_interrupt_keeps_what_is_done_and_leaves_no_thread_and_nothing_half_written(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, names = HyperStyleInverter.invert, []

    def interrupted(self: HyperStyleInverter, faces: list[Prepared], **options: Any) -> Inversion:
        names.append(faces[0].source.name)
        if len(names) == 3:
            raise KeyboardInterrupt
        return real(self, faces, **options)

    monkeypatch.setattr(HyperStyleInverter, "invert", interrupted)
    assert invert(tiny_model_dir, folder_of(Path("faces"), 20), "--quiet") == 130
    assert readers() == []
    endings = (".png", "_sheet.png", ".safetensors")
    assert {file.name for file in Path("inversions").iterdir()} == {
        f"{n:05}{ending}" for n in (0, 1) for ending in endings
    }
    assert capsys.readouterr().err == "hyperstyle: interrupted\n"


def test_an_error_of_the_library_in_the_thread_is_not_taken_for_a_bad_image(
    tiny_model_dir: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def broken(*_: Any, **__: Any) -> list[Prepared]:
        raise ValueError("ours")

    monkeypatch.setattr("hyperstyle.align.prepare.prepare", broken)
    assert invert(tiny_model_dir, folder_of(Path("faces"), 3), "--quiet") == 2
    assert "an error that should not happen, ValueError: ours" in capsys.readouterr().err
    assert readers() == []


def test_a_batch_of_nothing_is_refused(tiny_model_dir: Path, in_tmp_path: Path, capsys: Captured) -> None:
    assert invert(tiny_model_dir, folder_of(Path("faces"), 1), "--batch", "0") == 2
    assert "--batch 0: expected 1 or more" in capsys.readouterr().err


def test_warnings_are_not_lost_while_an_image_is_read_in_a_thread() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def read() -> None:
        with quiet():
            inside.set()
            go_on.wait(30)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=read)
        thread.start()
        inside.wait(30)
        warnings.warn("looks wrong", QualityWarning, stacklevel=1)
        go_on.set()
        thread.join()
    assert [str(warning.message) for warning in caught] == ["looks wrong"]
