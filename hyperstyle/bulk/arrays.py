"""Array jobs of SLURM and other schedulers: which shards the process with this number takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyperstyle.errors import ConfigError


@dataclass(frozen=True)
class _Scheduler:
    """Names of environment variables: number of this process, how many there are, first and last number, and step."""

    name: str
    index: str
    count: str = ""
    first: str = ""
    last: str = ""
    step: str = ""


_SCHEDULERS = (
    _Scheduler(
        "SLURM", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", step="SLURM_ARRAY_TASK_STEP"
    ),
    _Scheduler("Grid Engine", "SGE_TASK_ID", "", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
)


def place_in_array(index: int | None, count: int | None, env: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """The number of this process, from 0, and how many there are.

    Args:
        index, count: as the user says; None for those of the scheduler, by its environment variables.
        env: environment variables.

    Raises:
        ConfigError: neither says so, only one of the two was given, or they contradict each other.
    """
    if (index is None) != (count is None):
        raise ConfigError("--shard-index without --shard-count, or the other way round: give both, or none.")
    if index is None or count is None:
        scheduler = next((each for each in _SCHEDULERS if env.get(each.index, "").isdecimal()), None)
        if scheduler is None:
            raise ConfigError(
                "this is no array job: neither SLURM_ARRAY_TASK_ID nor SGE_TASK_ID is set. Start it by sbatch "
                "--array=0-7, or give --shard-index and --shard-count."
            )
        first, step = int(env.get(scheduler.first) or 0), int(env.get(scheduler.step) or 1)
        index = (int(env[scheduler.index]) - first) // step
        if scheduler.count in env:
            count = int(env[scheduler.count])
            index %= max(1, count)  # --array=3,5: numbers with gaps, as when some processes are submitted again
        else:
            count = (int(env.get(scheduler.last) or 0) - first) // step + 1
    if not 0 <= index < count:
        raise ConfigError(f"process {index} of {count} in an array job: expected numbers from 0 to {count - 1}.")
    return index, count


def share_of(numbers: Sequence[int], index: int, count: int) -> list[int]:
    """The shards of this process first, then those of the others from behind, so that no process is idle at the end."""
    others = [number for number in numbers if number % count != index]
    return [number for number in numbers if number % count == index] + others[::-1]
