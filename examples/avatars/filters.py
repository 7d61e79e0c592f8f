"""Turns images into such as no network saw: paintings, drawings, bad photos (paper, Figure 8).

    python -m examples.avatars.filters FOLDER --out runs/filtered

The results are meant for `hyperstyle evaluate report ... --photos runs/filtered`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.images import list_images, load_image, save_image, to_images, to_tensor
from hyperstyle.io.files import make_folder

__all__ = ["FILTERS", "Filter", "blurred", "comic", "dusk", "main", "mosaic", "painting", "pencil"]

Filter = Callable[[Tensor], Tensor]
"""Images [B,3,H,W] in [-1,1] -> the same, deterministic."""

_DRAWN_FOR = 128  # pixels; lengths grow with the image


def _length(image: Tensor, pixels: float) -> int:
    return max(1, round(pixels * min(image.shape[2:]) / _DRAWN_FOR))


def _mean(image: Tensor, radius: int) -> Tensor:
    """Averages over squares of 2 * radius + 1 pixels."""
    padded = F.pad(image, (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, 1)


def _smooth(image: Tensor, radius: int) -> Tensor:
    return _mean(_mean(image, radius), radius)


def painting(image: Tensor) -> Tensor:
    """Brush strokes: every pixel takes the mean of the calmest of four squares that touch it (Kuwahara, 1976)."""
    radius = _length(image, 1)
    border = 2 * radius  # shifts bring the other side in no further than this
    image = F.pad(image, (border,) * 4, mode="replicate")
    for _ in range(2):
        mean = _mean(image, radius)
        variance = (_mean(image.square(), radius) - mean.square()).sum(1, keepdim=True)
        shifts = [(y, x) for y in (-radius, radius) for x in (-radius, radius)]
        means = torch.stack([mean.roll(shift, (2, 3)) for shift in shifts])  # [4,B,3,H,W]
        calmest = torch.stack([variance.roll(shift, (2, 3)) for shift in shifts]).argmin(0, keepdim=True)
        image = means.gather(0, calmest.expand(1, *image.shape))[0]
    image = image[:, :, border:-border, border:-border]
    gray = image.mean(1, keepdim=True)
    return (gray + 1.35 * (image - gray)).clamp(-1, 1)


def pencil(image: Tensor) -> Tensor:
    """Pencil on warm paper: brightness over that of its surroundings."""
    gray = (image.clamp(-1, 1).mean(1, keepdim=True) + 1) / 2
    lines = (gray / (_smooth(gray, _length(image, 3)) + 0.02)).clamp(0, 1).pow(2.2)
    lines = lines * (0.75 + 0.25 * gray)
    paper = image.new_tensor([0.98, 0.96, 0.91]).view(1, 3, 1, 1)
    return 2 * lines * paper - 1


def comic(image: Tensor) -> Tensor:
    """Flat, strong colors, and ink where the image is darker than what is around."""
    image = flat = image.clamp(-1, 1)
    step = _length(image, 3)
    for _ in range(3):  # averages of neighbors of a similar color
        near = torch.stack([flat.roll((y, x), (2, 3)) for y in (-step, 0, step) for x in (-step, 0, step)])
        weight = torch.exp((near - flat).square().sum(2, keepdim=True) / -0.08)
        flat = (weight * near).sum(0) / weight.sum(0)
    gray = flat.mean(1, keepdim=True)
    colors = 1.1 * gray + 0.1 + 1.4 * (flat - gray)
    darker = (_smooth(image, _length(image, 4)) - _mean(image, 1)).amax(1, keepdim=True)
    ink = torch.sigmoid(30 * (darker - 0.14))
    return (colors.clamp(-1, 1) + 1) * (1 - ink) - 1


def blurred(image: Tensor) -> Tensor:
    """Out of focus."""
    return _smooth(image, _length(image, 2))


def mosaic(image: Tensor) -> Tensor:
    """Squares of one color."""
    height, width = image.shape[2:]
    side = _length(image, 4)
    small = F.adaptive_avg_pool2d(image, (max(1, height // side), max(1, width // side)))
    return F.interpolate(small, size=(height, width), mode="nearest")


def dusk(image: Tensor) -> Tensor:
    """A photo in little light: dark, bluish and grainy."""
    random = torch.Generator().manual_seed(0)
    grain = torch.randn((1, 1, *image.shape[2:]), generator=random).to(image)
    tint = image.new_tensor([0.45, 0.55, 0.85]).view(1, 3, 1, 1)
    return ((image + 1) * tint - 1 + 0.05 * grain).clamp(-1, 1)


FILTERS: Mapping[str, Filter] = {
    "painting": painting,
    "pencil": pencil,
    "comic": comic,
    "blurred": blurred,
    "mosaic": mosaic,
    "dusk": dusk,
}
"""All of them, by name."""


def main(argv: list[str] | None = None) -> None:
    """Writes every image of a folder through every filter, as PNG files."""
    parser = argparse.ArgumentParser(prog="python -m examples.avatars.filters", description="Filters images.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of images")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write; it is made")
    args = parser.parse_args(argv)
    folder = make_folder(args.out)
    for file in list_images(sorted(args.folder.iterdir())).images:
        image = to_tensor(load_image(file))[None]
        for name, filtered in FILTERS.items():
            save_image(to_images(filtered(image).clamp(-1, 1))[0], folder / f"{file.stem}-{name}.png")


if __name__ == "__main__":
    main()
