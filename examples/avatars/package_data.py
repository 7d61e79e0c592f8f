"""Makes the data of `hyperstyle/avatars/` but for the model: five portraits, 64 held-out crops, the attributes.

    python -m examples.avatars.package_data

Run in a checkout. The same seeds give the same pixels each time; what is there is replaced.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

import hyperstyle
from examples.avatars.crops import rendered_crops
from examples.avatars.renderer.factors import TRAITS, sample_factors
from examples.avatars.renderer.photo import demo_photo
from hyperstyle.evaluation import HELD_OUT_SEED
from hyperstyle.images.save import write_encoded
from hyperstyle.io.components import write_json
from hyperstyle.io.files import make_folder

__all__ = ["CROPS", "PEOPLE", "main", "population_std", "shipped_crops", "shipped_photo"]

LOG = logging.getLogger("hyperstyle.avatars")

PEOPLE = (31, 17, 32, 7, 4)
"""Seeds of the portraits."""

CROPS = 64
"""Held-out crops that are shipped."""

_SIZE = 128
_POPULATION = 20_000


def main(argv: list[str] | None = None) -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.avatars.package_data",
        description="Renders the example portraits and held-out crops that are part of the package.",
    )
    default = Path(hyperstyle.__file__).parent / "avatars"
    parser.add_argument(
        "--out", type=Path, default=default, metavar="FOLDER", help="where to write (default: hyperstyle/avatars)"
    )
    out: Path = parser.parse_args(argv).out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for number in range(len(PEOPLE)):
        _write(shipped_photo(number), out / "photos" / f"{number}.png")
    LOG.info("%d portraits", len(PEOPLE))
    for number, crop in enumerate(shipped_crops()):
        _write(crop, out / "held_out" / f"{number:02d}.png")
    LOG.info("%d held-out crops", CROPS)
    write_json(out / "attributes.json", {"population_std": population_std()})


def shipped_photo(number: int) -> Image.Image:
    """What `hyperstyle.example_photo` gives."""
    return demo_photo(PEOPLE[number])[0]


def shipped_crops() -> Iterator[Image.Image]:
    """The held-out crops, one at a time."""
    return rendered_crops(CROPS, _SIZE, seed=HELD_OUT_SEED)


def population_std() -> dict[str, float]:
    """Standard deviation of each trait over avatars sampled at random: 0.29 for all but the flags."""
    factors = sample_factors(_POPULATION, seed=HELD_OUT_SEED)
    return {trait: factors[trait].std().item() for trait in TRAITS}


def _write(image: Image.Image, path: Path) -> None:
    write_encoded(image, make_folder(path.parent) / path.name, "PNG", optimize=True)


if __name__ == "__main__":
    torch.set_num_threads(1)  # many operations on small tensors: several threads would wait for each other
    main()
