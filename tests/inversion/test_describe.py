"""What inverters, edits and inversions say and show of themselves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hyperstyle.inversion import describe
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter


def opened(png: bytes | None) -> Image.Image:
    assert png is not None
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return image


def batch(inverter: HyperStyleInverter, count: int) -> Inversion:
    crops = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return inverter.invert(list(crops), align=False, steps=1)


def test_an_inverter_says_what_it_is_in_a_line(tiny_inverter: HyperStyleInverter) -> None:
    assert str(tiny_inverter) == (
        "<HyperStyleInverter 'avatars': 32x32 px, float32 on cpu, method 'hyperstyle' (2 steps), batches of 8, "
        "2 edits, faces found by AutoDetector>"
    )
    model = tiny_inverter.model
    bare = HyperStyleInverter(model.generator, domain=model.domain)
    bare.aligner = None
    assert str(bare) == (
        "<HyperStyleInverter 'avatars': 32x32 px, float32 on cpu, method 'optimize-w', batches of 8, 0 edits>"
    )
    assert repr(model) == "<Model 'avatars' of 32 px: generator, encoder, hypernetwork>"


def test_what_a_model_records_about_itself_does_not_replace_what_is_found_in_it(
    tiny_inverter: HyperStyleInverter,
) -> None:
    model = replace(tiny_inverter.model, info={"domain": "cars", "edits": "all", "licence": "MIT"})
    description = describe.described(model, None, (), {})
    assert (description["domain"], description["licence"]) == (model.domain.name, "MIT")
    assert set(description["edits"]) == set(model.edits)


def test_edits_are_listed_with_their_ranges_and_stay_the_mapping_of_the_model(
    tiny_inverter: HyperStyleInverter,
) -> None:
    edits = tiny_inverter.edits
    assert repr(edits) == "<2 edits:\n  age    -3 to 3  years\n  smile  -3 to 3  smiles>"
    assert isinstance(edits, Mapping)
    assert edits == tiny_inverter.model.edits == dict(edits)
    assert list(edits) == ["age", "smile"]
    assert repr(describe.Edits({})) == "<no edits>"
    available = dict(tiny_inverter.model.edits)
    view = describe.Edits(available)
    view["older"] = available["age"]  # type: ignore[index]
    assert available["older"] is available["age"]


def test_a_notebook_shows_the_image(tiny_inverter: HyperStyleInverter) -> None:
    inversion = batch(tiny_inverter, 1)
    assert opened(inversion._repr_png_()).tobytes() == inversion.image.tobytes()


def test_a_notebook_shows_a_labeled_grid_of_a_batch(tiny_inverter: HyperStyleInverter, tmp_path: Path) -> None:
    two = batch(tiny_inverter, 2)
    page = opened(two._repr_png_())
    assert page.width > 2 * 128
    enlarged = [np.asarray(image.resize((128, 128), Image.Resampling.BICUBIC)) for image in two.images]
    pixels = np.asarray(page)
    gutter = 128 // 24
    top = page.height - gutter - 128
    assert np.array_equal(pixels[top : top + 128, gutter : gutter + 128], enlarged[0])
    assert np.array_equal(pixels[top : top + 128, 2 * gutter + 128 : 2 * gutter + 256], enlarged[1])
    assert (pixels[:top].min(axis=2) < 100).any()  # captions
    Image.new("RGB", (32, 32)).save(tmp_path / "me.png")
    named = tiny_inverter.invert([tmp_path / "me.png", tmp_path / "me.png"], align=False)
    assert not np.array_equal(np.asarray(opened(named._repr_png_()))[:top], pixels[:top])


def test_of_a_large_batch_the_first_ones_are_shown(tiny_inverter: HyperStyleInverter) -> None:
    many = batch(tiny_inverter, 2).edit("age", list(np.linspace(-2, 2, 20)))
    assert len(many) == 40
    page = opened(many._repr_png_())
    assert 6 * 160 < page.width < 7 * 160
    assert 4 * 160 < page.height < 5 * 160 + 4 * 40  # four rows of six
