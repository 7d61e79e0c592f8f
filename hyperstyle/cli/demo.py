"""`hyperstyle demo`: the whole pipeline on bundled input, offline: find the face, invert, refine, edit, paste back."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import ModelArguments, load_inverter, writable_folder
from hyperstyle.cli.flags import add_command, flag
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from hyperstyle.inversion.inversion import Inversion

__all__ = ["add_parser", "run"]

_PEOPLE = 5  # example photos
_EDITS = (
    ("younger", {"age": -2.0}),
    ("older", {"age": 2.0}),
    ("smile", {"smile": 2.0}),
    ("turned", {"pose": 1.5}),
)
_PASTED_BACK = {"smile": 2.0}  # what is pasted back

_CODE = """\
from hyperstyle import HyperStyleInverter
inversion = HyperStyleInverter().invert("{photo}")
inversion.edit("smile", 2).paste_back().save("smiling.png")"""


@dataclass(frozen=True, kw_only=True)
class DemoArguments(ModelArguments):
    """Runs the whole pipeline on bundled portraits with the bundled weights, without a network: faces found and cut
    out, W encoder, five refinement steps, edits, the edited face back in its image. Writes one contact sheet and the
    single images, and prints what it measured.
    """

    out: Path = flag(
        default=Path("hyperstyle-demo"),
        metavar="FOLDER",
        help="where to write; made where it is missing (default: hyperstyle-demo)",
    )
    people: int = flag(default=_PEOPLE, metavar="N", help=f"portraits, 1 to {_PEOPLE} (default: all)")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    add_command(
        subparsers,
        "demo",
        DemoArguments,
        run,
        help="see it work: rendered portraits inverted, refined, edited and pasted back, offline",
    )


def run(args: DemoArguments) -> int:
    """Runs the pipeline and says where the images are."""
    if not 1 <= args.people <= _PEOPLE:
        raise ConfigError(f"--people {args.people}: expected 1 to {_PEOPLE}.")
    out = writable_folder(args.out)
    with _stage("load the model"):
        inverter = load_inverter(args)
    if not inverter.model.domain.is_rendered:
        raise ConfigError(f"the demo shows avatars; this model's domain is {inverter.model.domain.name!r}.")
    with _stage("read the portraits"):
        from hyperstyle.images import example_photo

        photos = [example_photo(number) for number in range(args.people)]
    with _stage(f"find the faces, W encoder, {inverter.model.steps} refinement steps"):
        inversion = inverter.invert(photos, callback=lambda step: print(".", end="", flush=True))
    with _stage("edits and paste-back"):
        edits = {label: _edited(inversion, amounts) for label, amounts in _EDITS if set(amounts) <= set(inverter.edits)}
        columns = _columns(inversion, edits)
        known = {name: amount for name, amount in _PASTED_BACK.items() if name in inverter.edits}
        columns["back in the photo"] = [_edited(single, known).paste_back() for single in inversion]
    with _stage("write the images"):
        grid_path = _write(out, columns)
    print(f"\nwrote {grid_path} and the single images beside it\n")
    print(_metrics_table(inversion))
    print("\nThe same in Python:\n")
    print(_CODE.format(photo=out / "1_photo.png"))
    return 0


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Prints the name of a stage, and its seconds once it is done."""
    print(f"{name} ", end="", flush=True)
    began = time.perf_counter()
    yield
    print(f" {time.perf_counter() - began:.1f} s", flush=True)


def _edited(inversion: Inversion, amounts: dict[str, float]) -> Inversion:
    for name, amount in amounts.items():
        inversion = inversion.edit(name, amount)
    return inversion


def _columns(inversion: Inversion, edits: dict[str, Inversion]) -> dict[str, list[Image.Image]]:
    """The columns of the contact sheet."""
    from hyperstyle.images import to_images

    photos = [source.photo for source in inversion.sources if source.photo is not None]
    columns = {"photo": photos}
    if inversion.crop is not None:
        columns["crop"] = to_images(inversion.crop)
    columns["W encoder"] = inversion.initial.images
    columns["HyperStyle"] = inversion.images
    columns.update({label: edited.images for label, edited in edits.items()})
    return columns


def _write(out: Path, columns: dict[str, list[Image.Image]]) -> Path:
    from hyperstyle.images import image_grid, save_image

    for label, images in columns.items():
        stem = {"back in the photo": "edited_photo"}.get(label, label.lower().replace(" ", "_"))
        for i, image in enumerate(images):
            save_image(image, out / f"{i + 1}_{stem}.png")
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    save_image(image_grid(rows, labels=list(columns), cell=224), out / "sheet.png")
    return out / "sheet.png"


def _metrics_table(inversion: Inversion) -> str:
    """Errors against the crops, before and after refinement."""
    before, after = inversion.initial.metrics(), inversion.metrics()
    lines = [f"{'against the crops':<20} {'W encoder':>10} {'HyperStyle':>11}"]
    names = {"l2": "L2", "perceptual": "perceptual", "identity": "identity", "ms_ssim": "MS-SSIM"}
    for key, name in names.items():
        if key in after:
            a, b = (sum(values) / len(values) for values in (before[key], after[key]))
            lines.append(f"{name:<20} {a:>10.4f} {b:>11.4f}")
    return "\n".join(lines)
