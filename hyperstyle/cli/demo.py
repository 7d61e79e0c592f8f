"""`hyperstyle demo`: the whole pipeline on bundled input, offline: find the face, invert, refine, edit, paste back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import ModelArguments, load_inverter, writable_folder
from hyperstyle.cli.flags import command, flag, output_folder
from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from hyperstyle.inversion.inversion import Inversion

_PEOPLE = 5  # example photos
_EDITS = {"younger": ("age", -2.0), "older": ("age", 2.0), "smile": ("smile", 2.0), "turned": ("pose", 1.5)}

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

    out: Path = output_folder("hyperstyle-demo")
    people: int = flag(default=_PEOPLE, help=f"portraits, 1 to {_PEOPLE} (default: all)")


def run(args: DemoArguments) -> int:
    """Runs the pipeline and says where the images are."""
    if not 1 <= args.people <= _PEOPLE:
        raise ConfigError(f"--people {args.people}: expected 1 to {_PEOPLE}.")
    out = writable_folder(args.out)
    with _stage("load the model"):
        from hyperstyle.images import example_photo, image_grid, save_image, to_images

        inverter = load_inverter(args)
    if not inverter.model.domain.is_rendered:
        raise ConfigError(f"the demo shows avatars; this model's domain is {inverter.model.domain.name!r}.")
    with _stage("read the portraits"):
        photos = [example_photo(number) for number in range(args.people)]
    with _stage(f"find the faces, W encoder, {inverter.model.steps} refinement steps"):
        inversion = inverter.invert(photos, callback=lambda step: print(".", end="", flush=True))
    with _stage("edits and paste-back"):
        edits = {label: inversion.edit(*edit) for label, edit in _EDITS.items() if edit[0] in inverter.edits}
        columns = {"photo": [source.photo for source in inversion.sources if source.photo is not None]}
        if inversion.crop is not None:
            columns["crop"] = to_images(inversion.crop)
        columns |= {"W encoder": inversion.initial.images, "HyperStyle": inversion.images}
        columns |= {label: edited.images for label, edited in edits.items()}
        columns["back in the photo"] = [single.paste_back() for single in edits.get("smile", inversion)]
    with _stage("write the images"):
        for label, images in columns.items():
            stem = "edited_photo" if label == "back in the photo" else label.lower().replace(" ", "_")
            for i, image in enumerate(images, 1):
                save_image(image, out / f"{i}_{stem}.png")
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        save_image(image_grid(rows, labels=list(columns), cell=224), out / "sheet.png")
    print(f"\nwrote {out / 'sheet.png'} and the single images beside it\n")
    print(_metrics_table(inversion))
    print("\nThe same in Python:\n")
    print(_CODE.format(photo=out / "1_photo.png"))
    return 0


add_parser = command(
    "demo",
    DemoArguments,
    run,
    help="see it work: rendered portraits inverted, refined, edited and pasted back, offline",
)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Prints the name of a stage, and its seconds once it is done."""
    print(f"{name} ", end="", flush=True)
    began = time.perf_counter()
    yield
    print(f" {time.perf_counter() - began:.1f} s", flush=True)


def _metrics_table(inversion: Inversion) -> str:
    """Errors against the crops, before and after refinement."""
    before, after = inversion.initial.metrics(), inversion.metrics()
    lines = [f"{'against the crops':<20} {'W encoder':>10} {'HyperStyle':>11}"]
    for key, name in {"l2": "L2", "perceptual": "perceptual", "identity": "identity", "ms_ssim": "MS-SSIM"}.items():
        if key in after:
            a, b = (sum(values) / len(values) for values in (before[key], after[key]))
            lines.append(f"{name:<20} {a:>10.4f} {b:>11.4f}")
    return "\n".join(lines)
