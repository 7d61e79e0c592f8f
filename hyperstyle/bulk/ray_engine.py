"""The engine on Ray: a dataset of Ray Data of the numbers of shards, mapped by a pool of actors with a model each.

Ray Data starts an actor that dies again, and repeats what it had. What is done is known by the files of the job, as
with every engine, and not by Ray's own row-level checkpoints: with two CPUs a job that is resumed from these hangs,
since the actor that filters what is done takes one of them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hyperstyle.bulk.plan import BulkJob
from hyperstyle.bulk.settings import need
from hyperstyle.bulk.worker import Outcome, Worker, check_model
from hyperstyle.errors import ConfigError, HyperStyleError, shown

_MAX_BLOCKS = 10_000
_CHECK_SECONDS = 120.0  # in which a node must answer


def run_ray(
    job: BulkJob,
    numbers: Sequence[int],
    *,
    address: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    threads: int = 2,
    wait: bool = False,
) -> Iterator[Outcome]:
    """What became of each shard, as they are done.

    Args:
        job: of the shards; its folder must be at the same path on all nodes.
        numbers: of the shards.
        address: of a running cluster, or "auto"; None starts Ray on this machine, and ends it afterwards, unless this
            process is connected to a cluster already.
        workers: actors; None is one for each GPU of the cluster, or one.
        device: of the models: "cpu", or "auto" for a GPU each where the cluster has any.
        threads: of each actor, that read and align images.
        wait: for shards that another job works on; else they are "busy".

    Raises:
        MissingDependencyError: Ray is not installed.
        ConfigError: there is no such cluster, a node lacks the library, the model or the job's folder, or the device is
            none of these.
        HyperStyleError: what an actor raised, such as for a full disk.
    """
    if device not in ("auto", "cpu"):
        raise ConfigError(f"--device {device} with --engine ray: expected auto, a GPU for each actor, or cpu.")
    ray = need("ray", "ray", "--engine ray")
    data = need("ray.data", "ray", "--engine ray")
    is_ours = not ray.is_initialized()
    if is_ours:
        _connect(ray, address)
    try:
        _check_nodes(ray, job)
        gpus = int(ray.cluster_resources().get("GPU", 0)) if device == "auto" else 0
        data.DataContext.get_current().enable_progress_bars = False
        shards = data.from_items([{"number": n} for n in numbers], override_num_blocks=min(len(numbers), _MAX_BLOCKS))
        done = shards.map_batches(
            ShardActor,
            fn_constructor_args=(str(job.folder.resolve()), "cuda" if gpus else "cpu", threads, wait),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=min(workers or max(gpus, 1), len(numbers))),
            num_gpus=1 if gpus else None,
            num_cpus=None if gpus else 1,
        )
        for row in done.iter_rows():
            if row.pop("error"):
                raise HyperStyleError(row["status"])
            yield Outcome(**row)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise HyperStyleError(
            f"Ray ended the job: {reason[0]} What is done stays: see to the cluster, and run the same command again."
        ) from error
    finally:
        if is_ours:
            ray.shutdown()


class ShardActor:
    """An actor of Ray Data: loads the model once, then does a shard for each row with its number."""

    def __init__(self, folder: str, device: str, threads: int, wait: bool) -> None:
        self._wait = wait
        self._worker = Worker(BulkJob.open(Path(folder)), device, threads=threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """A row for each shard: the fields of `Outcome`, or with `error` the message of an error as `status`."""
        rows = []
        for number in batch["number"].tolist():
            try:
                outcome = self._worker.run(number, wait=self._wait)
                rows.append({**vars(outcome), "error": False})
            except HyperStyleError as error:  # a sentence for the driver, which ends the job
                rows.append({**vars(Outcome(number, "busy")), "status": str(error), "error": True})
        return {name: [row[name] for row in rows] for name in rows[0]}


def _connect(ray: Any, address: str | None) -> None:
    """Starts Ray here, or connects to a cluster. Raises ConfigError where there is none."""
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        root = str(Path(__file__).resolve().parents[2])  # actors import the library from where this process does
        paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        options |= {"include_dashboard": False, "runtime_env": {"env_vars": {"PYTHONPATH": paths}}}
    try:
        ray.init(address=address or "local", **options)
    except Exception as error:  # of any class: ConnectionError, ValueError, RuntimeError, ...
        raise ConfigError(
            f"no Ray cluster answers at {shown(address or 'this machine')}: {error} Start one with ray start --head, "
            "or leave out --address."
        ) from error


def _check_nodes(ray: Any, job: BulkJob) -> None:
    """Raises ConfigError where a node of the cluster has not all that actors need, before the first shard."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    check = ray.remote(num_cpus=0)(_missing_here)
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        place = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        try:
            reference = check.options(scheduling_strategy=place).remote(str(job.folder.resolve()))
            missing = ray.get(reference, timeout=_CHECK_SECONDS)
        except ray.exceptions.RayError as error:
            missing = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        if missing is not None:
            raise ConfigError(
                f"the Ray node {node['NodeManagerAddress']} cannot do the job: {missing} All nodes need this library, "
                "the model and the job's folder at the same path."
            )


def _missing_here(folder: str) -> str | None:
    """On a node: what it lacks, in a sentence; None if it lacks nothing."""
    try:
        check_model(BulkJob.open(Path(folder)))
    except HyperStyleError as error:
        return str(error)
    return None
