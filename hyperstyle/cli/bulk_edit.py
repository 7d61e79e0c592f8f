"""`hyperstyle bulk-edit`: shards of inversions in; an edited image for each row out."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import EditRequest, ModelArguments, load_inverter, parse_edit, writable_folder
from hyperstyle.cli.checks import at_least, check_edits, there
from hyperstyle.cli.flags import command, flag, positional, switch
from hyperstyle.errors import ConfigError
from hyperstyle.io.claims import Claims
from hyperstyle.io.files import make_folder, write_text
from hyperstyle.io.opening import parse_json, read_text

if TYPE_CHECKING:
    from hyperstyle.bulk.load import ShardRow
    from hyperstyle.inverter import HyperStyleInverter


@dataclass(frozen=True, kw_only=True)
class BulkEditArguments(ModelArguments):
    """Renders every row of the shards with the edits: OUT/NNNNN/ROW.png, and OUT/NNNNN.jsonl with the id of each file
    and of each row that failed. The list of a shard is written last: the same command goes on after an interruption,
    and several at once share the work.
    """

    shards: Path = positional(metavar="SHARDS", type=Path, check=there, help="folder of a job, or one .parquet file")
    edits: list[EditRequest] = flag(
        "--edit",
        type=parse_edit,
        action="append",
        required=True,
        metavar="NAME=STRENGTH",
        help="such as age=2; may be repeated",
    )
    out: Path = flag(default=Path("bulk-edited"), metavar="FOLDER", help="where to write; made where it is missing")
    format: str = flag(default="png", choices=("png", "jpg", "webp"), help="of the images (default: png)")
    batch: int = flag(default=8, check=at_least(1), help="rows that are rendered together")
    quiet: bool = switch("no progress bar, no summary")


def run(args: BulkEditArguments) -> int:
    """Renders the rows of all shards that are not done."""
    if strips := [edit.name for edit in args.edits if edit.is_strip]:
        raise ConfigError(f"--edit {strips[0]} with a range: each row gives one image. Give one strength.")
    check_edits(args.model, [edit.name for edit in args.edits])
    from hyperstyle.bulk.load import find_shards

    shards = find_shards(args.shards)
    writable_folder(args.out)
    _check_same(args)
    from tqdm import tqdm

    inverter = load_inverter(args)
    rows = busy = 0
    with Claims() as claims, tqdm(shards, unit="shard", disable=args.quiet or None) as bar:
        for shard in bar:
            marker = args.out / f"{shard.stem}.jsonl"
            status = claims.claim(marker)
            busy += status == "busy"
            if status == "claimed":
                rows += _edit_shard(shard, marker, inverter, args)
                claims.release(marker)
    if not args.quiet:
        print(f"{args.out}: {rows} images")
        if busy:
            print(f"hyperstyle: another process works on {busy} shards", file=sys.stderr)
    return 0


add_parser = command("bulk-edit", BulkEditArguments, run, help="edit the rows of shards")


def _check_same(args: BulkEditArguments) -> None:
    """Writes what decides the images into the folder; raises ConfigError where they were made otherwise."""
    about = {
        "shards": str(args.shards.resolve()),
        "edits": [[e.name, *e.strengths] for e in args.edits],
        "format": args.format,
    }
    file = args.out / "edits.json"
    if file.exists():
        try:
            before = parse_json(read_text(file, "list of edits", error=ConfigError))
        except ValueError as error:
            raise ConfigError(f"{file} is damaged: {error}. Choose another --out.") from error
        if before != about:
            raise ConfigError(f"the folder {str(args.out)!r} has other edits, see {file}. Choose another --out.")
    else:
        write_text(file, json.dumps(about) + "\n")


def _edit_shard(shard: Path, marker: Path, inverter: HyperStyleInverter, args: BulkEditArguments) -> int:
    """Writes the images of a shard and then its list; returns the number of images."""
    from hyperstyle.bulk.load import load_shards
    from hyperstyle.images import save_image
    from hyperstyle.inversion.inversion import Inversion

    folder = make_folder(args.out / shard.stem)
    lines: list[str] = []
    waiting: list[tuple[Path, ShardRow]] = []

    def render() -> None:
        inversion = Inversion.cat([row.inversion for _, row in waiting if row.inversion is not None])
        for edit in args.edits:
            inversion = inversion.edit(edit.name, edit.strengths[0])
        for (file, _), image in zip(waiting, inversion.images, strict=True):
            save_image(image, file)
        waiting.clear()

    for number, row in enumerate(load_shards(shard, inverter)):
        file = folder / f"{number:06d}.{args.format}"
        result = {"error": row.error} if row.inversion is None else {"file": f"{shard.stem}/{file.name}"}
        lines.append(json.dumps({"id": row.id, **result}) + "\n")
        if row.inversion is not None:
            waiting.append((file, row))
        if len(waiting) == args.batch:
            render()
    if waiting:
        render()
    write_text(marker, "".join(lines))
    return sum('"file": ' in line for line in lines)
