"""How images are split into shards, and whose folder a job is."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hyperstyle.bulk import plan as bulk_plan
from hyperstyle.bulk.items import Item
from hyperstyle.bulk.plan import BulkJob, begin_job, make_plan
from hyperstyle.bulk.settings import JobSettings
from hyperstyle.errors import ConfigError
from tests.bulk.conftest import BeginJob


def test_images_are_split_once_and_in_order(photos: Path, tmp_path: Path, begin: BeginJob) -> None:
    job = begin(photos, tmp_path / "out", 10)
    assert (job.plan.images, job.plan.shards) == (24, 3)
    assert [len(job.items(number)) for number in range(3)] == [10, 10, 4]
    names = [item.id for number in range(3) for item in job.items(number)]
    assert names == [f"{'a' if number < 12 else 'b'}/{number:02d}.png" for number in range(24)]
    assert job.unfinished() == [0, 1, 2]
    again = begin(photos, tmp_path / "out", 10)
    assert again == job
    assert BulkJob.open(tmp_path / "out") == job


def test_few_images_are_in_memory_while_they_are_listed(
    tmp_path: Path, begin: BeginJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def images(*_: object, **__: object) -> Iterator[Item]:
        for number in range(500):
            written.append(len(list((tmp_path / "out").rglob("*.jsonl"))))
            yield Item(str(number), f"/{number}.png")

    monkeypatch.setattr(bulk_plan, "list_source", images)
    job = begin("anything", tmp_path / "out", 10)
    assert job.plan.images == 500
    assert written[-1] >= 49, "lists are written while the source is read"


def test_only_the_first_images_of_a_source_are_listed(
    tmp_path: Path, settings: JobSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def images(*_: object, **__: object) -> Iterator[Item]:
        for number in range(8):
            assert number < 4, "the fifth image is asked for"
            yield Item(str(number), f"/{number}.png")

    monkeypatch.setattr(bulk_plan, "list_source", images)
    job = begin_job(tmp_path / "out", make_plan("anything", settings, 3), first=4)
    assert (job.plan.images, job.plan.shards) == (4, 2)


def test_ids_that_come_twice_are_refused(
    photos: Path, tmp_path: Path, begin: BeginJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next(photos.rglob("*.png"))
    (tmp_path / "list.txt").write_text(f"{file}\n{photos}/other.png\n{file}\n")
    for limit in (1 << 20, 1):  # in memory, and on the disk
        monkeypatch.setattr(bulk_plan, "_IN_MEMORY", limit)
        with pytest.raises(ConfigError, match=rf"the id '{file}' comes twice in"):
            begin(tmp_path / "list.txt", tmp_path / "out", 1)
        assert list((tmp_path / "out").iterdir()) == []


def test_an_empty_source_is_refused(tmp_path: Path, begin: BeginJob) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="there is no image in"):
        begin(tmp_path / "empty", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_of_something_else_is_refused(photos: Path, tmp_path: Path, begin: BeginJob) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"holds other files, such as 'mine\.txt', and no bulk job"):
        begin(photos, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(ConfigError, match="there is no bulk job in"):
        BulkJob.open(tmp_path)
    (tmp_path / "job.json").write_text('{"format": "hyperstyle-bulk/9"}')
    with pytest.raises(ConfigError, match="has the format 'hyperstyle-bulk/9'"):
        BulkJob.open(tmp_path)


def test_another_job_in_the_folder_is_refused(
    photos: Path, tmp_path: Path, begin: BeginJob, settings: JobSettings, tiny_model_dir: Path
) -> None:
    out = tmp_path / "out"
    begin(photos, out)
    before = (out / "job.json").read_bytes()
    for source, changed, size, message in (
        (photos / "a", settings, 8, "it was begun with source"),
        (photos, settings, 9, "it was begun with shard_size = 8, and this one has 9"),
        (photos, replace(settings, seed=1), 8, "it was begun with seed = None, and this one has 1"),
        (photos, replace(settings, steps={"pti": 3}), 8, "it was begun with steps"),
        (photos, replace(settings, model="avatars"), 8, "it was begun with model"),
    ):
        with pytest.raises(ConfigError, match=message):
            begin_job(out, make_plan(str(source), changed, size))
    assert (out / "job.json").read_bytes() == before
    model = tmp_path / "model"
    shutil.copytree(tiny_model_dir, model)
    own = replace(settings, model=str(model))
    begin_job(tmp_path / "own", make_plan(str(photos), own, 8))
    manifest = json.loads((model / "hyperstyle.json").read_text())
    (model / "hyperstyle.json").write_text(json.dumps({**manifest, "steps": 3}))
    with pytest.raises(ConfigError, match="is another one of the same name"):
        begin_job(tmp_path / "own", make_plan(str(photos), own, 8))


def test_settings_come_back_from_the_file(photos: Path, tmp_path: Path, settings: JobSettings) -> None:
    chosen = replace(settings, steps={"hyperstyle": 2, "pti": 5}, face=1, crops="webp", method="hyperstyle+pti", seed=4)
    job = begin_job(tmp_path / "out", make_plan(str(photos), chosen, 8))
    assert BulkJob.open(tmp_path / "out").plan == job.plan
    assert job.plan.settings == chosen


def test_one_of_several_processes_lists_the_images(
    photos: Path, tmp_path: Path, begin: BeginJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_plan, "_POLL", 0.01)
    listed, jobs = [], []
    original = bulk_plan.list_source

    def list_slowly(*args: str, **options: str) -> Iterator[Item]:
        listed.append(args)
        threading.Event().wait(0.1)
        return original(*args, **options)

    monkeypatch.setattr(bulk_plan, "list_source", list_slowly)
    threads = [threading.Thread(target=lambda: jobs.append(begin(photos, tmp_path / "out"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listed) == 1
    assert len(jobs) == 3
    assert {job.plan.shards for job in jobs} == {3}


def test_a_damaged_list_is_one_sentence(photos: Path, tmp_path: Path, begin: BeginJob) -> None:
    job = begin(photos, tmp_path / "out")
    (tmp_path / "out" / "inputs" / "00001.jsonl").write_text("{")
    with pytest.raises(ConfigError, match=r"00001\.jsonl is damaged"):
        job.items(1)


@pytest.mark.parametrize("size", [0, -1])
def test_a_shard_has_an_image(settings: JobSettings, size: int) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more"):
        make_plan("x", settings, size)
