"""`hyperstyle bulk-status`: how far a job is, asked from any shell."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from hyperstyle.cli.flags import command, positional, switch


@dataclass(frozen=True, kw_only=True)
class BulkStatusArguments:
    """Shards and images of a bulk job that are done, images that failed, the rate, and the time that is left."""

    folder: Path = positional(metavar="OUT", type=Path, help="folder of the job")
    json: bool = switch("print the numbers as JSON")


def run(args: BulkStatusArguments) -> int:
    """Prints the numbers."""
    from hyperstyle.bulk.plan import BulkJob
    from hyperstyle.bulk.status import duration, read_status

    status = read_status(BulkJob.open(args.folder))
    if args.json:
        print(json.dumps(dataclasses.asdict(status)))
        return 0
    share, shards = status.rows / status.images, f"{status.done:,} of {status.shards:,} shards"
    print(f"done     {status.rows:,} of {status.images:,} images ({share:.1%}), {shards}")
    print(f"failed   {status.failed:,}" + "".join(f", {kind} {n:,}" for kind, n in status.failures.items()))
    print(f"working  {status.working} shards")
    if status.rows:
        print(f"size     {status.bytes / 1e6:,.1f} MB, {status.bytes / status.rows:,.0f} bytes per image")
    if status.rate is not None and status.left is not None:
        left = f", {duration(status.left)} left" if status.left else ""
        print(f"rate     {status.rate:,.2f} images per second{left}")
    return 0


add_parser = command("bulk-status", BulkStatusArguments, run, help="show how far a bulk job is")
