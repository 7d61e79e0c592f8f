"""`hyperstyle bulk-report`: failures by kind, figures, and a sheet of images of a bulk job."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import ModelArguments, check_output_files, load_inverter
from hyperstyle.cli.checks import at_least, there
from hyperstyle.cli.flags import command, flag, positional
from hyperstyle.io.files import write_text

if TYPE_CHECKING:
    from PIL.Image import Image

    from hyperstyle.bulk.load import ShardRow

_COLUMNS = 8
_CELL = 192  # pixels


@dataclass(frozen=True, kw_only=True)
class BulkReportArguments(ModelArguments):
    """Failures by kind with some of their ids, the distribution of the quality figures, and with --sheet an image of
    some rows: their crops, where they are stored, and their reconstructions, which are rendered by --model.
    """

    shards: Path = positional(metavar="SHARDS", type=Path, check=there, help="folder of a job, or one .parquet file")
    sheet: Path | None = flag(help="write a PNG image with some of the rows")
    count: int = flag(default=32, check=at_least(1), help="rows on the sheet")
    json: Path | None = flag(help="write the figures as JSON")


def run(args: BulkReportArguments) -> int:
    """Prints the figures, and writes what is asked for."""
    check_output_files(args, sheet="PNG", json="JSON")
    from hyperstyle.bulk.load import find_shards
    from hyperstyle.bulk.report import make_report

    shards = find_shards(args.shards)
    report = make_report(shards)
    print(f"{report.rows:,} images in {len(shards):,} shards, {report.failed:,} failed, {report.doubtful:,} doubtful")
    for each in report.failures:
        print(f"{each.count:>8,}  {each.kind}: {each.sentence}  ({', '.join(each.examples)})")
    for name, figure in report.quality.items():
        spread = f"5 % below {figure.low:.4f}, half below {figure.median:.4f}, 95 % below {figure.high:.4f}"
        print(f"{name:<12} mean {figure.mean:.4f}, {spread}")
    if args.json is not None:
        write_text(args.json, json.dumps(dataclasses.asdict(report), indent=1) + "\n")
    if args.sheet is not None:
        _write_sheet(args, shards)
    return 0


add_parser = command("bulk-report", BulkReportArguments, run, help="show what is in the shards of a bulk job")


def _write_sheet(args: BulkReportArguments, shards: list[Path]) -> None:
    """Rows of as many shards as there are, those spread over the job, that did not fail."""
    from hyperstyle.bulk.load import load_shards
    from hyperstyle.errors import ConfigError
    from hyperstyle.images import image_grid, save_image

    assert args.sheet is not None
    inverter = load_inverter(args)
    chosen = shards[:: max(1, len(shards) // args.count)]
    each = -(-args.count // len(chosen))
    rows: list[ShardRow] = []
    for shard in chosen:
        good = (row for row in load_shards(shard, inverter) if row.inversion is not None)
        rows += islice(good, min(each, args.count - len(rows)))
    images = [image for row in rows for image in _images(row)]
    if not images:
        raise ConfigError("no image for the sheet: all rows failed.")
    columns = _COLUMNS + len(images) // len(rows) - 1  # even, where crops stand beside reconstructions
    columns -= columns % (len(images) // len(rows))
    grid = [images[at : at + columns] for at in range(0, len(images), columns)]
    save_image(image_grid(grid, cell=_CELL), args.sheet)
    print(args.sheet)


def _images(row: ShardRow) -> Iterator[Image]:
    """The stored crop, if there is one, and the reconstruction."""
    from hyperstyle.images import load_image

    for column in ("crop", "reconstruction"):
        if row.values[column] is not None:
            yield load_image(BytesIO(row.values[column]))
        elif column == "reconstruction" and row.inversion is not None:
            yield row.inversion.image
