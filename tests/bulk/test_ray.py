"""The engine on Ray. Starting it takes half a minute, so these tests are slow; they need the extra "ray"."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hyperstyle.bulk.plan import BulkJob, begin_job, make_plan
from hyperstyle.bulk.ray_engine import run_ray
from hyperstyle.bulk.settings import JobSettings
from hyperstyle.errors import ConfigError, HyperStyleError
from tests.bulk.conftest import BeginJob, contents
from tests.bulk.test_local import SIGKILL

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """Ray on this machine, with two CPUs, for all tests."""
    paths = os.pathsep.join((str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")))
    environment = {"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


def actors() -> list[int]:
    """The processes of our actors."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if file.read_bytes().startswith(b"ray::MapWorker(MapBatches(ShardActor))"):
                found.append(int(file.parent.name))
        except OSError:
            continue
    return found


def test_it_writes_what_an_undisturbed_run_writes(
    photos: Path, tmp_path: Path, begin: BeginJob, undisturbed: dict[str, bytes]
) -> None:
    job = begin(photos, tmp_path / "out")
    outcomes = list(run_ray(job, job.unfinished(), device="cpu"))
    assert sorted((each.number, each.status, each.rows) for each in outcomes) == [(n, "written", 8) for n in range(3)]
    assert contents(job.folder) == undisturbed
    assert job.unfinished() == []


def test_actors_that_are_killed_lose_and_repeat_nothing(
    photos: Path, tmp_path: Path, begin: BeginJob, undisturbed: dict[str, bytes]
) -> None:
    job = begin(photos, tmp_path / "out")
    kills, stop = [], threading.Event()

    def kill() -> None:
        while not stop.wait(0.2) and len(kills) < 3:
            if any(job.started(number).exists() for number in range(3)):
                for pid in actors():
                    os.kill(pid, SIGKILL)
                    kills.append(pid)
                time.sleep(3)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        outcomes = list(run_ray(job, job.unfinished(), device="cpu"))
    finally:
        stop.set()
        killer.join()
    assert kills
    assert {each.number for each in outcomes} == {0, 1, 2}
    assert contents(job.folder) == undisturbed
    assert job.unfinished(deep=True) == []


def test_nodes_without_the_model_are_said_before_the_first_shard(
    photos: Path, tmp_path: Path, settings: JobSettings, tiny_model_dir: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model_dir, model)
    job = begin_job(tmp_path / "out", make_plan(str(photos), replace(settings, model=str(model)), 8))
    shutil.rmtree(model)
    with pytest.raises(ConfigError, match=r"the Ray node .* cannot do the job: .*model"):
        list(run_ray(job, [0], device="cpu"))
    assert contents(job.folder) == {}


def test_what_ends_all_work_is_one_sentence(photos: Path, tmp_path: Path, begin: BeginJob) -> None:
    job = begin(photos, tmp_path / "out")
    (job.folder / "inputs" / "00001.jsonl").unlink()
    with pytest.raises(HyperStyleError, match=r"00001\.jsonl"):
        list(run_ray(BulkJob.open(job.folder), [1], device="cpu"))
