"""Renders held-out crops into a folder, as many as wanted, for `hyperstyle evaluate ... --data FOLDER`.

    python -m examples.avatars.crops --out runs/held-out --count 256

The first 64 are those that come with the package. No training set uses the default seed.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from examples.avatars.renderer.factors import sample_factors, select
from examples.avatars.renderer.render import render
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation import HELD_OUT_SEED
from hyperstyle.images import save_image, to_pil
from hyperstyle.io.files import make_folder

__all__ = ["main", "rendered_crops"]

LOG = logging.getLogger("hyperstyle.avatars")

_BATCH = 64


def rendered_crops(count: int, size: int = 128, *, seed: int = HELD_OUT_SEED) -> Iterator[Image.Image]:
    """Crops of avatars with details, one at a time; a larger number begins with the smaller.

    Args:
        count: how many.
        size: side in pixels.
        seed: of the avatars; no training set uses the default.

    Raises:
        ConfigError: fewer than 1, or a size or a seed that cannot be rendered.
    """
    factors = sample_factors(count, seed=seed)
    for first in range(0, count, _BATCH):
        yield from map(to_pil, render(select(factors, slice(first, first + _BATCH)), size).images)


def main(argv: list[str] | None = None) -> None:
    """Writes the crops as PNG files."""
    parser = argparse.ArgumentParser(prog="python -m examples.avatars.crops", description="Renders held-out crops.")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write; it is made")
    parser.add_argument("--count", type=int, default=256, metavar="N", help="how many (default: 256)")
    parser.add_argument("--size", type=int, default=128, metavar="PX", help="their side (default: 128)")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help=f"of the avatars (default: {HELD_OUT_SEED})")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        folder, done = make_folder(args.out), 0
        for crop in rendered_crops(args.count, args.size, seed=args.seed):
            save_image(crop, folder / f"{done:05d}.png")
            done += 1
    except ConfigError as error:
        parser.error(str(error))
    LOG.info("%d crops written to %s", done, folder)


if __name__ == "__main__":
    torch.set_num_threads(1)  # many operations on small tensors: several threads would wait for each other
    main()
