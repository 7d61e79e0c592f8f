"""`hyperstyle bulk`: a dataset of images in, shards of inversions out, on one machine, a cluster's array job or Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hyperstyle.cli.arguments import DetectorArguments, MethodArguments, ModelArguments, writable_folder
from hyperstyle.cli.checks import at_least
from hyperstyle.cli.flags import command, flag, given_flags, positional, switch
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from hyperstyle.bulk.plan import BulkJob
    from hyperstyle.bulk.settings import ImageKind, JobSettings
    from hyperstyle.bulk.worker import Outcome

_FORMATS = ("jpeg", "webp")


@dataclass(frozen=True, kw_only=True)
class BulkArguments(MethodArguments, DetectorArguments, ModelArguments):
    """Inverts a dataset into shards: OUT/NNNNN.parquet with a row for each image, and OUT/NNNNN.json with figures. The
    same command goes on after an interruption, and several at once share the work. An image that fails has a row that
    says why. For folders that people look at, use hyperstyle invert.
    """

    source: str = positional(
        metavar="SRC",
        help="folder, list of files (.txt), .tar or .parquet files, or a URL of these (s3://bucket/folder)",
    )
    out: Path = positional(metavar="OUT", type=Path, help="folder of the job; made where it is missing")
    engine: str = flag(
        default="local",
        choices=("local", "slurm", "array", "ray"),
        help="local: processes on this machine; slurm or array: this process's part of an array job; ray: a Ray "
        "cluster (default: local)",
    )
    shard_size: int = flag(default=1000, check=at_least(1), help="images in a shard")
    batch: int = flag(default=8, check=at_least(1), help="images that go through the networks together")
    workers: int | None = flag(
        check=at_least(1), help="processes, with a model each (default: one per GPU, or one; all GPUs of a Ray cluster)"
    )
    threads: int = flag(default=2, check=at_least(1), help="threads of each process that read and align images")
    column: str | None = flag(metavar="NAME", help="of Parquet sources: the column with images or paths")
    crops: str | None = flag(choices=_FORMATS, help="store the crop of each image with its row")
    reconstructions: str | None = flag(choices=_FORMATS, help="store the reconstruction of each image with its row")
    shard_index: int | None = flag(help="of an array job: the number of this process, from 0 (default: SLURM's)")
    shard_count: int | None = flag(help="of an array job: how many processes there are (default: SLURM's)")
    address: str | None = flag(metavar="URL", help="of a running Ray cluster, or auto (default: start one here)")
    wait: bool = switch("wait for shards that another job works on, in place of leaving them to it")
    verify: bool = switch("compare the SHA-256 of shards that are done, and do damaged ones again")
    plan: bool = switch("list the images and split them into shards, and stop")
    quiet: bool = switch("no progress bar, no summary")

    def settings(self) -> JobSettings:
        """What decides the rows. Raises ConfigError for every face."""
        from hyperstyle.bulk.settings import JobSettings

        return JobSettings(
            model=self.model,
            aligner=self.aligner,
            sideways=self.sideways,
            method=self.method,
            steps=self.steps,
            seed=self.seed,
            align=self.align,
            face=cast("str | int", self.face),
            batch=self.batch,
            crops=cast("ImageKind | None", self.crops),
            reconstructions=cast("ImageKind | None", self.reconstructions),
        )


def run(args: BulkArguments) -> int:
    """Inverts the shards that are not done; 1 if an image in them failed."""
    from hyperstyle.bulk.arrays import share_of
    from hyperstyle.bulk.plan import begin_job, make_plan
    from hyperstyle.bulk.settings import need

    need("pyarrow.parquet", "bulk", "hyperstyle bulk")
    place = _check_engine(args)
    writable_folder(args.out)
    plan = make_plan(args.source, args.settings(), args.shard_size, args.column)
    from tqdm import tqdm

    with tqdm(desc="listing", unit="image", disable=args.quiet or None) as bar:
        job = begin_job(args.out, plan, lambda count: bar.update(count - bar.n))
    numbers = job.unfinished(deep=args.verify)
    if args.plan:
        if not args.quiet:
            print(f"{args.out}: {job.plan.images} images in {job.plan.shards} shards, {len(numbers)} to do")
        return 0
    if args.verify:
        for number in numbers:
            job.marker(number).unlink(missing_ok=True)  # of a damaged one
    if place is not None:
        numbers = share_of(numbers, *place)
    outcomes, failed = [], 0
    size, last = job.plan.shard_size, job.plan.shards - 1
    left = size * len(numbers) - (size * job.plan.shards - job.plan.images if last in numbers else 0)
    with tqdm(total=left, unit="image", disable=args.quiet or None) as bar:
        for outcome in _outcomes(args, job, numbers, bar.update):
            outcomes.append(outcome)
            failed += outcome.failed
            bar.set_postfix_str(f"{failed} failed")
            if args.engine == "ray":  # which says nothing while it works on a shard
                bar.update(outcome.rows)
    return _report(args, job, outcomes)


add_parser = command(
    "bulk", BulkArguments, run, help="invert a dataset into shards, on one machine or many", files=True
)


def _check_engine(args: BulkArguments) -> tuple[int, int] | None:
    """This process's place in an array job, for those engines. Raises ConfigError for flags of another engine."""
    from hyperstyle.bulk.arrays import place_in_array
    from hyperstyle.bulk.settings import need

    of_others = {"shard_index": ("slurm", "array"), "shard_count": ("slurm", "array"), "address": ("ray",)}
    for name, engines in of_others.items():
        if given_flags(args, name) and args.engine not in engines:
            raise ConfigError(f"{given_flags(args, name)[0]} with --engine {args.engine}: it is for {engines[0]}.")
    if args.engine == "ray":
        need("ray", "ray", "--engine ray")
    return place_in_array(args.shard_index, args.shard_count) if args.engine in ("slurm", "array") else None


def _outcomes(
    args: BulkArguments, job: BulkJob, numbers: list[int], on_batch: Callable[[int], object]
) -> Iterator[Outcome]:
    if not numbers:
        return iter(())
    if args.engine == "ray":
        from hyperstyle.bulk.ray_engine import run_ray

        return run_ray(
            job,
            numbers,
            address=args.address,
            workers=args.workers,
            device=args.device,
            threads=args.threads,
            wait=args.wait,
        )
    from hyperstyle.bulk.local import run_local

    return run_local(job, numbers, _devices(args), threads=args.threads, wait=args.wait, on_batch=on_batch)


def _devices(args: BulkArguments) -> list[str]:
    """A device for each process."""
    from torch.cuda import device_count, is_available

    if args.device == "auto" and is_available():
        count = args.workers or device_count()
        return [f"cuda:{place % device_count()}" for place in range(count)]
    return [args.device] * (args.workers or 1)


def _report(args: BulkArguments, job: BulkJob, outcomes: list[Outcome]) -> int:
    """Says what was done, and returns the exit code."""
    failed = sum(outcome.failed for outcome in outcomes)
    if not args.quiet:
        rows = sum(outcome.rows for outcome in outcomes if outcome.status == "written")
        written = sum(outcome.status == "written" for outcome in outcomes)
        busy = sum(outcome.status == "busy" for outcome in outcomes)
        print(f"{args.out}: {rows} images in {written} of {job.plan.shards} shards, {failed} failed")
        if failed:
            print(f"hyperstyle: {failed} failed; why: hyperstyle bulk-report {args.out}", file=sys.stderr)
        if busy:
            print(f"hyperstyle: another job works on {busy} shards; --wait waits for them", file=sys.stderr)
    return 1 if failed else 0
