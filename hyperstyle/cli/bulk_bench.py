"""`hyperstyle bulk-bench`: what bulk costs on this machine, and what a large job would take."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from hyperstyle.cli.arguments import ModelArguments, check_output_files
from hyperstyle.cli.checks import a_positive_number, at_least
from hyperstyle.cli.flags import command, flag, positional, switch
from hyperstyle.io.files import write_text


@dataclass(frozen=True, kw_only=True)
class BulkBenchArguments(ModelArguments):
    """Inverts the first images of a source by a plain loop and into shards, in turn, and prints images per second,
    the overhead, bytes per image and memory; then the hours, the storage and the cost of a large job at that rate.
    """

    source: str = positional(metavar="SRC", help="folder, list or archive of images, see hyperstyle bulk")
    count: int = flag(default=64, check=at_least(1), help="images that are inverted; a multiple of four batches")
    batch: int = flag(default=8, check=at_least(1), help="images that go through the networks together")
    align: str = flag(default="auto", choices=("auto", "yes", "no"), help="see hyperstyle invert")
    processes: bool = switch("compare two processes with one")
    ray: bool = switch("compare Ray with one process")
    images: int = flag(default=100_000_000, check=at_least(1), help="images of the large job")
    devices: int = flag(default=1, check=at_least(1), help="devices of the large job, like the one measured")
    price: float | None = flag(check=a_positive_number, help="of an hour of such a device, in any currency")
    json: Path | None = flag(help="write the figures as JSON")


def run(args: BulkBenchArguments) -> int:
    """Prints the figures."""
    check_output_files(args, json="JSON")
    from hyperstyle.bulk.settings import JobSettings, need

    need("pyarrow.parquet", "bulk", "hyperstyle bulk-bench")
    if args.ray:
        need("ray", "ray", "--ray")
    from hyperstyle.bulk.figures import measure_bulk
    from hyperstyle.bulk.status import duration

    settings = JobSettings(model=args.model, align=args.align, batch=args.batch)
    figures = measure_bulk(
        args.source,
        settings,
        args.device,
        count=args.count,
        with_processes=args.processes,
        with_ray=args.ray,
    )
    print(f"plain loop       {figures.loop:.2f} images per second, over {figures.images}")
    print(f"bulk             {figures.bulk:.2f} images per second, {figures.overhead:+.1%} time per image")
    print(f"                 {figures.cpu_overhead:+.1%} processor time per image")
    if figures.two_processes is not None:
        print(f"two processes    {figures.two_processes:.2f} times the images per second of one")
    if figures.ray is not None:
        print(f"Ray              {figures.ray:.2f} times the images per second of one process")
    print(f"on disk          {figures.bytes_per_image:,.0f} bytes per image")
    first, last = figures.memory
    if first is not None and last is not None:
        print(f"peak memory      {first / 1e6:,.0f} MB after the first shard, {last / 1e6:,.0f} MB after the last")
    seconds = args.images / figures.bulk / args.devices
    hours = seconds * args.devices / 3600
    cost = "" if args.price is None else f", {hours * args.price:,.0f} at {args.price:g} per hour"
    size = args.images * figures.bytes_per_image / 1e9
    print(f"{args.images:,} images on {args.devices} such devices")
    print(f"  time           {duration(seconds)}; {hours:,.0f} hours of devices{cost}")
    print(f"  storage        {size:,.1f} GB")
    if args.json is not None:
        write_text(args.json, json.dumps(dataclasses.asdict(figures), indent=1) + "\n")
    return 0


add_parser = command("bulk-bench", BulkBenchArguments, run, help="measure what bulk costs on this machine")
