"""One process's shards, without an engine: claims, damage, full disks, other models, arrays of processes."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.bulk.arrays import place_in_array, share_of
from hyperstyle.bulk.items import Reader, SourceError
from hyperstyle.bulk.marker import Marker
from hyperstyle.bulk.plan import begin_job, make_plan
from hyperstyle.bulk.settings import JobSettings
from hyperstyle.bulk.status import duration, read_status
from hyperstyle.bulk.worker import Outcome, Worker
from hyperstyle.errors import ConfigError, HyperStyleError
from hyperstyle.io.claims import Claims
from tests.bulk.conftest import BeginJob, contents

pytest.importorskip("pyarrow")


def test_shards_are_done_once(photos: Path, tmp_path: Path, begin: BeginJob, undisturbed: dict[str, bytes]) -> None:
    job = begin(photos, tmp_path / "out")
    worker = Worker(job, "cpu")
    first = [worker.run(number) for number in range(3)]
    assert [(each.status, each.rows, each.failed) for each in first] == [("written", 8, 0)] * 3
    stamps = [job.marker(number).stat().st_mtime_ns for number in range(3)]
    assert [worker.run(number).status for number in range(3)] == ["done"] * 3
    assert stamps == [job.marker(number).stat().st_mtime_ns for number in range(3)]
    assert contents(job.folder) == undisturbed
    assert job.unfinished(deep=True) == []
    assert not list(job.folder.glob("*.started"))


def test_the_seconds_and_versions_stand_in_the_json_alone(undisturbed: dict[str, bytes], photos: Path) -> None:
    assert not any(b"seconds" in content or b"torch" in content for content in undisturbed.values())


def test_a_shard_that_another_job_works_on_is_left_to_it_or_waited_for(
    photos: Path, tmp_path: Path, begin: BeginJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperstyle.bulk.worker._POLL", 0.01)
    job = begin(photos, tmp_path / "out")
    worker = Worker(job, "cpu")
    with Claims() as others:
        assert others.claim(job.marker(1)) == "claimed"
        assert worker.run(1) == Outcome(1, "busy")
        assert not job.shard(1).exists()
    with Claims() as others:
        others.claim(job.marker(1))
        polls = []

        def release(rows: int) -> None:
            polls.append(rows)
            others.release(job.marker(1))

        assert worker.run(1, release, wait=True).status == "written"
    assert polls == [0, 3, 3, 2], "it waited once"


def test_damaged_shards_are_done_again(
    photos: Path, tmp_path: Path, begin: BeginJob, undisturbed: dict[str, bytes]
) -> None:
    job = begin(photos, tmp_path / "out")
    worker = Worker(job, "cpu")
    for number in range(3):
        worker.run(number)
    job.shard(0).write_bytes(b"PAR1")
    job.shard(1).unlink()
    changed = bytearray(job.shard(2).read_bytes())
    changed[100] ^= 255
    job.shard(2).write_bytes(changed)
    assert job.unfinished() == [0, 1]
    assert job.unfinished(deep=True) == [0, 1, 2]
    assert [worker.run(number).status for number in (0, 1)] == ["written"] * 2
    job.marker(2).write_text("{")
    assert job.unfinished() == [2]
    assert read_status(job).done == 2
    assert worker.run(2).status == "written"
    assert contents(job.folder) == undisturbed


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files")
def test_a_full_disk_ends_the_work_and_leaves_nothing_half_written(
    photos: Path, tmp_path: Path, begin: BeginJob, undisturbed: dict[str, bytes]
) -> None:
    import resource

    job = begin(photos, tmp_path / "out")
    worker = Worker(job, "cpu")
    before = sorted(job.folder.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(HyperStyleError, match=r"Cannot write .*00000\.parquet.*with room on its disk"):
            worker.run(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(job.folder.rglob("*")) == before
    assert worker.run(0).status == "written"
    assert contents(job.folder)["00000.parquet"] == undisturbed["00000.parquet"]


def test_a_store_that_does_not_answer_ends_the_work(
    photos: Path, tmp_path: Path, begin: BeginJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begin(photos, tmp_path / "out")
    worker = Worker(job, "cpu")

    def fail(*_: Any) -> bytes:
        raise SourceError("it cannot be reached")

    monkeypatch.setattr(Reader, "read", fail)
    with pytest.raises(SourceError):
        worker.run(0)
    assert [file.name for file in sorted(job.folder.iterdir())] == ["inputs", "job.json"]


def test_a_model_that_changed_meanwhile_is_refused(
    photos: Path, tmp_path: Path, settings: JobSettings, tiny_model_dir: Path
) -> None:
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    job = begin_job(tmp_path / "out", make_plan(str(photos), replace(settings, model=str(tmp_path / "model")), 8))
    manifest = tmp_path / "model" / "hyperstyle.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "steps": 3}))
    with pytest.raises(ConfigError, match="is not the one that the job was begun with"):
        Worker(job, "cpu")


def test_images_that_ended_a_process_are_looked_for_once_it_died(
    photos: Path, tmp_path: Path, begin: BeginJob, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, bytes]
) -> None:
    looked: list[int] = []
    monkeypatch.setattr("hyperstyle.bulk.probe.find_crashes", lambda items, _: looked.append(len(items)) or {})
    job = begin(photos, tmp_path / "out")
    worker = Worker(job, "cpu")
    worker.run(0)
    assert looked == []
    job.started(1).touch()
    worker.run(1)
    assert looked == [8]
    assert contents(job.folder) == {name: undisturbed[name] for name in ("00000.parquet", "00001.parquet")}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "0"}, (3, 8)),
        ({"SLURM_ARRAY_TASK_ID": "11", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "10"}, (1, 3)),
        (  # --array=3,5
            {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "3"},
            (0, 2),
        ),
        (  # --array=0-15:4
            {
                "SLURM_ARRAY_TASK_ID": "12",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_STEP": "4",
            },
            (3, 4),
        ),
        ({"SGE_TASK_ID": "5", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "7", "SGE_TASK_STEPSIZE": "2"}, (2, 4)),
        ({"SGE_TASK_ID": "2", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "4"}, (1, 4)),
        ({"SGE_TASK_ID": "undefined", "SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1"}, (0, 1)),
    ],
)
def test_schedulers_say_which_process_it_is(env: dict[str, str], expected: tuple[int, int]) -> None:
    assert place_in_array(None, None, env) == expected
    assert place_in_array(1, 2, env) == (1, 2), "the user knows better"


@pytest.mark.parametrize(
    ("index", "count", "message"),
    [(None, None, "no array job"), (1, None, "give both"), (2, 2, "numbers from 0 to 1"), (-1, 2, "process -1 of 2")],
)
def test_what_is_no_place_in_an_array_is_said(index: int | None, count: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        place_in_array(index, count, {})


def test_each_process_of_an_array_begins_with_its_own_shards() -> None:
    assert share_of([0, 1, 2, 4, 5, 7], 1, 3) == [1, 4, 7, 5, 2, 0]
    firsts = [share_of(range(10), index, 3)[: len(range(index, 10, 3))] for index in range(3)]
    assert sorted(number for share in firsts for number in share) == list(range(10))


def test_the_status_is_in_the_folder(photos: Path, tmp_path: Path, begin: BeginJob) -> None:
    job = begin(photos, tmp_path / "out")
    empty = read_status(job)
    assert (empty.done, empty.rows, empty.rate, empty.left) == (0, 0, None, None)
    worker = Worker(job, "cpu")
    worker.run(0)
    job.started(1).touch()
    status = read_status(job)
    assert (status.images, status.shards, status.done, status.rows, status.working) == (24, 3, 1, 8, 1)
    assert status.rate == pytest.approx(8 / Marker.read(job.marker(0)).seconds)
    assert status.left == pytest.approx(16 / status.rate)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (91, "2 min"), (7384, "2 h 3 min"), (273_600, "3 d 4 h")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
