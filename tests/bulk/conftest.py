"""Small images, jobs of them for the tiny model, and what an undisturbed run of such a job writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperstyle.bulk.plan import BulkJob, begin_job, make_plan
from hyperstyle.bulk.settings import JobSettings
from hyperstyle.bulk.worker import Worker


def save_noise(path: Path, seed: int, side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 square images of 32 px in two folders."""
    folder = tmp_path_factory.mktemp("bulk") / "photos"
    for number in range(24):
        save_noise(folder / ("a" if number < 12 else "b") / f"{number:02d}.png", number)
    return folder


@pytest.fixture(scope="session")
def settings(tiny_model_dir: Path) -> JobSettings:
    """Of jobs of the tiny model, with several batches in a shard."""
    return JobSettings(model=str(tiny_model_dir), align="no", batch=3)


class BeginJob:
    """Begins a job in a folder."""

    def __init__(self, settings: JobSettings) -> None:
        self.settings = settings

    def __call__(self, source: Path | str, folder: Path, size: int = 8) -> BulkJob:
        return begin_job(folder, make_plan(str(source), self.settings, size))


@pytest.fixture(scope="session")
def begin(settings: JobSettings) -> BeginJob:
    """(source, folder, images in a shard) -> a job of the tiny model."""
    return BeginJob(settings)


@pytest.fixture(scope="session")
def undisturbed(photos: Path, begin: BeginJob, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Name -> content of the shards of `photos`, 8 images in each."""
    job = begin(photos, tmp_path_factory.mktemp("undisturbed") / "out")
    worker = Worker(job, "cpu")
    for number in range(job.plan.shards):
        worker.run(number)
    return contents(job.folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}
