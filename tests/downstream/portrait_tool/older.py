"""Typed code against the public names of hyperstyle, the way a user writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from hyperstyle import EditError, HyperStyleError, HyperStyleInverter, Inversion, __version__


def older(inverter: HyperStyleInverter, photo: Path, years: float) -> Image.Image:
    """The person of the photo, `years` older."""
    inversion: Inversion = inverter.invert(photo)
    return inversion.edit("age", years).image


def strip(inversion: Inversion, name: str, strengths: Sequence[float]) -> list[Image.Image]:
    """One image per strength; none where the model lacks this edit."""
    try:
        return inversion.edit(name, strengths).images
    except EditError:
        return []


def report(folder: Path, model: str = "avatars") -> dict[str, str]:
    """What became of every image of a folder."""
    inverter = HyperStyleInverter.from_pretrained(model, device="cpu")
    results = {"hyperstyle": __version__}
    for photo in sorted(folder.glob("*.png")):
        try:
            older(inverter, photo, 2.0).save(photo.with_suffix(".older.jpg"))
            results[photo.name] = "done"
        except HyperStyleError as error:
            results[photo.name] = type(error).__name__
    return results
