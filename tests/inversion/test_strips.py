"""Strips, grids and animations."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageSequence

from hyperstyle.errors import ConfigError, EditError, HyperStyleError, ImageError, InversionError
from hyperstyle.images import image_grid
from hyperstyle.inversion import strips
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

CORNERS = np.array([[20.0, 24.0], [36.0, 24.0], [28.0, 32.0], [22.0, 40.0], [34.0, 40.0]])


@pytest.fixture(scope="module")
def inversion(tiny_inverter: HyperStyleInverter) -> Inversion:
    """Two inverted images."""
    torch.manual_seed(1)
    return tiny_inverter.invert(list(torch.rand(2, 3, 32, 32) * 2 - 1), align=False)


@pytest.fixture(scope="module")
def in_photo(tiny_inverter: HyperStyleInverter) -> Inversion:
    """A face cut out of a photo."""
    photo = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
    return tiny_inverter.invert(photo, landmarks=CORNERS)


def cells(sheet: Image.Image, columns: int, rows: int) -> npt.NDArray[np.int64]:
    """The middle of each cell, [rows,columns,60,60,3]; the captions are above and to the left."""
    step = 128 + 5  # small images are enlarged to 128 px; the gutter of such cells
    left, top = sheet.width - columns * step, sheet.height - rows * step
    boxes = [(left + k * step + 34, top + i * step + 34) for i in range(rows) for k in range(columns)]
    patches = [np.asarray(sheet.crop((x, y, x + 60, y + 60)), dtype=np.int64) for x, y in boxes]
    return np.stack(patches).reshape(rows, columns, 60, 60, 3)


def same(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> bool:
    """Up to the rounding of levels."""
    return bool(np.abs(a - b).max() <= 2)


def test_a_strip_has_a_row_for_each_image_and_a_column_for_each_strength(inversion: Inversion) -> None:
    images = cells(strips.strip(inversion, "age", [-1.0, 0.0, 1.0]), 3, 2)
    for place, single in enumerate(inversion):
        for k, strength in enumerate((-1.0, 0.0, 1.0)):
            alone = cells(image_grid([[single.edit("age", strength).image]]), 1, 1)
            assert same(images[place, k], alone[0, 0])
    assert not same(images[0, 0], images[0, 2])
    assert not same(images[0, 0], images[1, 0])


def test_a_grid_moves_one_edit_across_and_the_other_down(inversion: Inversion) -> None:
    images = cells(strips.grid(inversion[0], ("age", [-1.0, 0.0, 1.0]), ("smile", [0.0, 1.0])), 3, 2)
    for row, smile in enumerate((0.0, 1.0)):
        strip = strips.strip(inversion[0].edit("smile", smile), "age", [-1.0, 0.0, 1.0])
        assert same(images[row], cells(strip, 3, 1)[0])
    assert not same(images[0], images[1])


def test_a_grid_shows_one_image(inversion: Inversion) -> None:
    with pytest.raises(ConfigError, match="a grid of 2 images"):
        strips.grid(inversion, ("age", [0.0, 1.0]), ("smile", [0.0, 1.0]))


def test_photos_are_those_of_pasting_back(in_photo: Inversion) -> None:
    strengths = [-1.0, 0.0, 1.0]
    photos = list(strips.photos(in_photo, in_photo.edit("age", strengths)))
    for strength, photo in zip(strengths, photos, strict=True):
        one_by_one = np.asarray(in_photo.edit("age", strength).paste_back(), dtype=int)
        assert np.abs(np.asarray(photo, dtype=int) - one_by_one).max() <= 1
    assert photos[1].tobytes() == in_photo.sources[0].photo.tobytes()  # type: ignore[union-attr]
    assert photos[0].tobytes() != photos[2].tobytes()


def test_photos_after_an_edit_start_from_the_unedited_face(in_photo: Inversion) -> None:
    older = in_photo.edit("age", 1.0)
    photo = next(strips.photos(older, older.edit("smile", [1.0, 2.0])))
    expected = np.asarray(in_photo.edit(age=1.0, smile=1.0).paste_back(), dtype=int)
    assert np.abs(np.asarray(photo, dtype=int) - expected).max() <= 1


def test_images_that_were_not_cut_out_have_no_photos(inversion: Inversion) -> None:
    with pytest.raises(InversionError, match="not cut out of a photo"):
        strips.strip(inversion[0], "age", [0.0, 1.0], paste_back=True)


def test_strips_and_grids_pass_on_what_edits_need(inversion: Inversion) -> None:
    with pytest.raises(ConfigError, match="no layer 'b999'"):
        strips.strip(inversion, "age", [0.0, 1.0], layers=["b999"])
    with pytest.raises(EditError, match="Did you mean 'smile'"):
        strips.grid(inversion[0], ("age", [0.0, 1.0]), ("smlie", [0.0, 1.0]))


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_an_animation_runs_there_and_back_and_repeats(inversion: Inversion, tmp_path: Path, suffix: str) -> None:
    edited = inversion[0].edit("age", [-2.0, -1.0, 0.0, 1.0, 2.0])
    strips.animate(edited, tmp_path / f"age.{suffix}", rate=10)
    with Image.open(tmp_path / f"age.{suffix}") as animation:
        assert animation.info["loop"] == 0
        assert animation.size == (32, 32)
        frames = []
        for frame in ImageSequence.Iterator(animation):
            frames.append(np.asarray(frame.convert("RGB"), dtype=int))
            assert frame.info["duration"] == 100
    assert len(frames) == 8
    for there, back in zip(frames[1:4], frames[:4:-1], strict=True):
        assert np.abs(there - back).mean() < 4  # WebP keeps what hardly changes from one frame to the next
    for shown, expected in zip(frames, edited.images, strict=False):
        assert np.abs(shown - np.asarray(expected, dtype=int)).mean() < 12  # 256 colors of noise, or lossy


def test_an_animation_may_jump_back(inversion: Inversion, tmp_path: Path) -> None:
    strips.animate(inversion[0].interpolate(inversion[1], 4), tmp_path / "way.gif", back=False)
    with Image.open(tmp_path / "way.gif") as animation:
        assert animation.n_frames == 4  # type: ignore[attr-defined]


def test_what_does_not_move_does_not_flicker(tmp_path: Path) -> None:
    still = Image.effect_noise((48, 48), 60).convert("RGB")
    frames = []
    for place in range(4):
        frame = still.copy()
        frame.paste((255, 40, 0), (4 + 8 * place, 40, 12 + 8 * place, 48))
        frames.append(frame)
    strips.animate(frames, tmp_path / "moves.gif")
    with Image.open(tmp_path / "moves.gif") as animation:
        tops = [frame.convert("RGB").crop((0, 0, 48, 36)).tobytes() for frame in ImageSequence.Iterator(animation)]
    assert len(tops) == 6
    assert all(a == b for a, b in pairwise(tops))


def test_large_frames_are_reduced_and_small_ones_kept(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (300, 200), color) for color in ("red", "blue")]
    for longest, size in ((150, (150, 100)), (512, (300, 200)), (None, (300, 200))):
        strips.animate(frames, tmp_path / "x.webp", longest=longest)
        with Image.open(tmp_path / "x.webp") as animation:
            assert animation.size == size


@pytest.mark.parametrize(
    ("frames", "name", "options", "error", "message"),
    [
        (2, "x.png", {}, ConfigError, "a name that ends in .gif, .webp or .mp4"),
        (1, "x.gif", {}, ConfigError, "1 frame"),
        (2, "x.gif", {"rate": 100}, ConfigError, "100 frames per second"),
        (2, "x.gif", {"rate": float("nan")}, ConfigError, "nan frames per second"),
        (2, "x.webp", {"longest": 0}, ConfigError, "a longer side of 0 pixels"),
        (2, "gone/x.webp", {}, ImageError, "does not exist"),
    ],
)
def test_what_cannot_be_an_animation_is_refused_and_leaves_nothing(
    tmp_path: Path, frames: int, name: str, options: dict[str, Any], error: type[HyperStyleError], message: str
) -> None:
    images = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")][:frames]
    with pytest.raises(error, match=message):
        strips.animate(images, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="frames of 2 sizes"):
        strips.animate([Image.new("RGB", (16, 16)), Image.new("RGB", (16, 17))], tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())


def test_the_way_between_images_with_edited_styles_begins_and_ends_at_them(inversion: Inversion) -> None:
    first = replace(inversion[0], style_offsets={"b16.conv1": torch.ones(1, 16)})
    other = replace(inversion[1].edit("age", 1.0), style_offsets={"b16.conv1": -torch.ones(1, 16), "b8.conv0": ones()})
    way = first.interpolate(other, 3)
    torch.testing.assert_close(way.tensor[:1], first.tensor, rtol=0, atol=2e-5)
    torch.testing.assert_close(way.tensor[2:], other.tensor, rtol=0, atol=2e-5)
    assert way.style_offsets["b16.conv1"][1].abs().max() == 0
    assert way.style_offsets["b8.conv0"][1].mean() == 0.5


def test_mixing_takes_the_edited_styles_of_the_layers_with_them(inversion: Inversion) -> None:
    first = replace(inversion[0], style_offsets={"b16.conv1": ones()})
    other = replace(inversion[1], style_offsets={"b8.conv0": ones(), "b32.conv1": 2 * torch.ones(1, 8)})
    layers = [spec.name for spec in first.model.generator.layers]
    torch.testing.assert_close(first.mix(other, layers).tensor, other.tensor, rtol=0, atol=2e-5)
    assert set(first.mix(other, ["b8.conv0"]).style_offsets) == {"b16.conv1", "b8.conv0"}


def ones() -> torch.Tensor:
    return torch.ones(1, 16)
