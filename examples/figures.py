"""The figures of the tutorial and of "How it works", by the bundled model: `python examples/figures.py docs/images`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image

from hyperstyle import HyperStyleInverter, Inversion, example_photo
from hyperstyle.images import image_grid, save_image, to_pil

_PORTRAIT = 1
_CELL = 224


def first_steps(inversion: Inversion) -> dict[str, Image.Image]:
    """What the pages' code makes: reconstruction, strip, local changes, and the photo with the edited face."""
    assert inversion.crop is not None
    crop, photo = to_pil(inversion.crop[0]), example_photo(_PORTRAIT)
    three = [crop, inversion.initial.image, inversion.image]
    strip = inversion.edit("smile", [-2, -1, 0, 1, 2]).images
    mouth = inversion.edit("smile", 2, mask="mouth").image
    nose = inversion.drag([((64, 82), (72, 82))], mask="face").image
    pasted = inversion.edit(age=2, smile=1).paste_back()
    return {
        "first_steps_inversion": image_grid([three], labels=["crop", "W encoder", "HyperStyle"], cell=_CELL),
        "first_steps_strip": image_grid([strip], labels=["-2", "-1", "0", "1", "2"], cell=160),
        "first_steps_local": image_grid(
            [[inversion.image, mouth, nose]], labels=["reconstruction", "smile, mouth only", "nose dragged"], cell=_CELL
        ),
        "first_steps_photo": image_grid([[photo, pasted]], labels=["photo", "older, smiling"], cell=400),
    }


def how_it_works(inverter: HyperStyleInverter, inversion: Inversion) -> dict[str, Image.Image]:
    """The loop step by step, an edit with and without offsets, and what moves when two faces are interpolated."""
    assert inversion.crop is not None
    steps = inversion.intermediates
    errors = [_error(step, inversion.crop) for step in steps]
    names = ["W code", *(f"step {number}" for number in range(1, len(steps)))]
    loop = image_grid([[to_pil(step[0]) for step in steps], errors], labels=names, cell=150)
    kinds = {"W code alone": inversion.initial, "W code and offsets": inversion}
    edited = [each.edit("age", [-2, 0, 2]).images for each in kinds.values()]
    editing = image_grid(edited, labels=["age -2", "0", "+2"], row_labels=list(kinds), cell=200)
    other = inverter.invert(example_photo(3))
    between = inversion.interpolate(other, n=6)
    codes = inversion.initial.interpolate(other.initial, n=6)
    morph = image_grid([codes.images, between.images], row_labels=["codes alone", "codes and offsets"], cell=150)
    return {"how_it_works_loop": loop, "how_it_works_editing": editing, "how_it_works_between": morph}


def _error(image: torch.Tensor, crop: torch.Tensor) -> Image.Image:
    """The absolute difference of image and crop [1,3,H,W], summed over colors: black where they are equal."""
    difference = (image - crop).abs().mean(1, keepdim=True).expand(-1, 3, -1, -1)  # 0 to 2
    return to_pil((3 * difference - 1).clamp(-1, 1)[0])


def main(folder: Path) -> list[Path]:
    """Writes all figures; returns their paths."""
    inverter = HyperStyleInverter(device="cpu")
    inversion = inverter.invert(example_photo(_PORTRAIT), intermediates=True)
    paths = []
    for name, figure in {**first_steps(inversion), **how_it_works(inverter, inversion)}.items():
        paths.append(folder / f"{name}.webp")
        save_image(figure, paths[-1])
    return paths


if __name__ == "__main__":
    print(*main(Path(sys.argv[1])), sep="\n")
