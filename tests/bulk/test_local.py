"""Processes on one machine: what they write is what an undisturbed run writes, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hyperstyle.bulk import load_shards
from hyperstyle.bulk import local as bulk_local
from hyperstyle.bulk.child import Child
from hyperstyle.bulk.items import Item
from hyperstyle.bulk.local import run_local
from hyperstyle.bulk.plan import BulkJob
from hyperstyle.bulk.probe import find_crashes
from hyperstyle.errors import HyperStyleError
from hyperstyle.inverter import HyperStyleInverter
from tests.bulk.conftest import BeginJob, contents, save_noise

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="ends processes by signals")

SIGKILL = 9

CRASHING = """
import os, PIL.ImageFile
original = PIL.ImageFile.ImageFile.load
def file_load(image, *args):
    if image.size == (33, 33):
        os.kill(os.getpid(), 11)
    return original(image, *args)
PIL.ImageFile.ImageFile.load = file_load
"""


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Child]]:
    """The processes of `run_local`, as they are started."""
    started: list[Child] = []

    class Recorded(Child):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            started.append(self)

    monkeypatch.setattr(bulk_local, "Child", Recorded)
    yield started
    for child in started:
        assert not Path(f"/proc/{child.pid}/stat").exists(), "none is left"


def rows_of(job: BulkJob) -> list[str]:
    return [row.id for row in load_shards(job.folder)]


def test_a_process_that_is_killed_loses_and_repeats_nothing(
    photos: Path, tmp_path: Path, begin: BeginJob, undisturbed: dict[str, bytes], children: list[Child]
) -> None:
    job = begin(photos, tmp_path / "out")
    batches: list[int] = []

    def kill(rows: int) -> None:
        if len(batches) == 1:
            os.kill(children[-1].pid, SIGKILL)
        batches.append(rows)

    outcomes = list(run_local(job, job.unfinished(), ["cpu"], on_batch=kill))
    assert [outcome.number for outcome in outcomes] == [0, 1, 2]
    assert len(children) == 2
    assert contents(job.folder) == undisturbed
    assert len(set(rows_of(job))) == 24
    assert sorted(file.suffix for file in job.folder.iterdir() if file.is_file()) == [".json"] * 4 + [".parquet"] * 3


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started end where they decode an image of 33 px."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path / "site"), os.environ.get("PYTHONPATH", ""))))


@pytest.mark.usefixtures("crashing")
def test_an_image_that_ends_a_process_is_found(tmp_path: Path, begin: BeginJob) -> None:
    files = [save_noise(tmp_path / "photos" / f"{side}.png", side, side) for side in (32, 33)]
    crashes = find_crashes([Item(file.name, str(file)) for file in files], begin.settings)
    assert list(crashes) == ["33.png"]
    assert "reading this image ended the process (signal 11)" in crashes["33.png"]


@pytest.mark.slow
@pytest.mark.usefixtures("crashing")
def test_an_image_that_ends_the_process_has_a_row_that_says_so(
    tmp_path: Path, begin: BeginJob, children: list[Child], tiny_inverter: HyperStyleInverter
) -> None:
    folder = tmp_path / "photos"
    for number in range(4):
        save_noise(folder / f"{number}.png", number, side=33 if number == 2 else 32)
    job = begin(folder, tmp_path / "out")
    (outcome,) = run_local(job, [0], ["cpu"])
    assert (outcome.rows, outcome.failed, len(children)) == (4, 1, 2)
    rows = list(load_shards(job.folder, tiny_inverter))
    assert "reading this image ended the process (signal 11)" in str(rows[2].error)
    before = tiny_inverter.invert([folder / f"{number}.png" for number in (0, 1, 3)], align=False)
    for row, inversion in zip((rows[0], rows[1], rows[3]), before, strict=True):
        assert row.inversion is not None
        assert float((row.inversion.w - inversion.w).abs().max()) < 1e-6


def test_what_ends_all_work_is_one_sentence(
    photos: Path, tmp_path: Path, begin: BeginJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """import os, sys; os.write(1, b'{{"error": "the disk is full"}}\\n'); sys.stdin.read()"""
    monkeypatch.setattr("hyperstyle.bulk.child._CODE", code)
    job = begin(photos, tmp_path / "out")
    with pytest.raises(HyperStyleError, match="the disk is full"):
        list(run_local(job, [0], ["cpu"]))


def test_a_process_that_dies_again_and_again_ends_the_job(
    photos: Path, tmp_path: Path, begin: BeginJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_local, "MAX_DEATHS", 1)
    monkeypatch.setattr("hyperstyle.bulk.child._CODE", "import os; os._exit(7)")
    job = begin(photos, tmp_path / "out")
    with pytest.raises(HyperStyleError, match=r"died 2 times while it loaded the model \(exit code 7\)"):
        list(run_local(job, [0], ["cpu"]))


def descendants(pid: int) -> list[int]:
    """The processes below this one."""
    found: list[int] = []
    with suppress(OSError):  # it ended meanwhile
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, file.read_text().split()):
                found += [child, *descendants(child)]
    return found


@pytest.mark.slow
def test_twenty_processes_killed_at_random_lose_and_repeat_nothing(
    photos: Path, tmp_path: Path, begin: BeginJob, tiny_model_dir: Path, undisturbed: dict[str, bytes]
) -> None:
    """The driver, a worker, or a process that looks for images at fault; the command is repeated until it is done."""
    source = tmp_path / "photos"
    for number in range(400):
        save_noise(source / f"{number:03d}.png", number)
    expected = begin(source, tmp_path / "expected", 10)
    for _ in run_local(expected, expected.unfinished(), ["cpu"]):
        pass
    out, kills, chance = tmp_path / "out", 0, random.Random(0)
    command = [sys.executable, "-m", "hyperstyle", "bulk", str(source), str(out), "--model", str(tiny_model_dir)]
    command += ["--align", "no", "--batch", "3", "--shard-size", "10", "--device", "cpu", "--quiet", "--workers", "2"]
    began = time.monotonic()
    while time.monotonic() - began < 1500:
        driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while driver.poll() is None:
            if kills == 20:
                driver.wait()
            elif list(out.glob("*.started")):  # else only the loading of models would be interrupted
                time.sleep(chance.uniform(0, 4))
                targets = [driver.pid, *descendants(driver.pid)] if driver.poll() is None else []
                with suppress(ProcessLookupError, IndexError):
                    os.kill(chance.choice(targets), SIGKILL)
                    kills += 1
            time.sleep(0.1)
        if driver.wait() == 0:
            break
    assert kills == 20
    job = BulkJob.open(out)
    assert job.unfinished(deep=True) == []
    assert contents(out) == contents(expected.folder)
    ids = rows_of(job)
    assert sorted(ids) == [f"{number:03d}.png" for number in range(400)]
    assert json.loads((out / "job.json").read_text())["images"] == 400
