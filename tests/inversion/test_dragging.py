"""Dragging points: the terms of the loss, where points are found again, and what a drag does to an inversion."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hyperstyle import HyperStyleInverter, example_photo
from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, EditWarning, ImageError, InversionError
from hyperstyle.inversion import dragging
from hyperstyle.inversion.dragging import DragSettings
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step
from hyperstyle.inversion.synthesis import render
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

MOVE = ((10.0, 20.0), (16.0, 20.0))
LEFT = np.repeat(np.repeat([[True, False]], 16, axis=1), 32, axis=0)


@pytest.fixture(scope="module")
def single(tiny_inverter: HyperStyleInverter) -> Inversion:
    """An image of 32 px by a random generator, with offsets."""
    crop = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return tiny_inverter.invert(crop, align=False)


@pytest.fixture(scope="module")
def portrait_inversion() -> Inversion:
    """A portrait that the bundled model inverted."""
    return HyperStyleInverter(device="cpu").invert(example_photo(1))


def dragged(inversion: Inversion, moves: Any = (MOVE,), **options: Any) -> Inversion:
    """`Inversion.drag`, whether it arrives or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EditWarning)
        return inversion.drag(moves, **options)


# ---- the mathematics ----


def test_maps_are_sampled_as_if_they_were_resized_to_the_image() -> None:
    maps = torch.randn(1, 5, 8, 8)
    resized = F.interpolate(maps, size=(32, 32), mode="bilinear", align_corners=False)
    x, y = torch.tensor([0, 3, 17, 31]), torch.tensor([31, 4, 16, 0])
    sampled = dragging.sample(maps, torch.stack([x, y], dim=1)[None].float(), 32)
    torch.testing.assert_close(sampled[0], resized[0, :, y, x].T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [(3, 0), (-2, 4)])
def test_a_point_is_found_where_its_features_have_gone(shift: tuple[int, int]) -> None:
    maps = torch.randn(1, 8, 32, 32)
    points = torch.tensor([[12.0, 15.0], [20.0, 9.0]])
    features = dragging.sample(maps, points[:, None], 32)
    moved = maps.roll((shift[1], shift[0]), dims=(2, 3))
    found = dragging.track(moved, points, features, radius=4, size=32)
    assert torch.equal(found, points + torch.tensor(shift))
    near = dragging.track(moved, points, features, radius=2, size=32)  # it is farther away than is looked
    assert (near - points).abs().max() <= 2
    at_the_edge = dragging.track(maps, torch.tensor([[0.0, 31.0]]), features[:1], radius=4, size=32)
    assert at_the_edge.min() >= -0.5
    assert at_the_edge.max() <= 31.5


def test_the_loss_is_that_of_the_paper(single: Inversion) -> None:
    steps: list[Step] = []
    mask = torch.zeros(32, 32)
    mask[:, 8:] = 1
    dragged(single, [MOVE, ((20, 20), (20, 8))], steps=2, mask=mask, callback=steps.append)
    assert [step.step for step in steps] == [0, 1]
    assert torch.equal(steps[0].points, torch.tensor([[10.0, 20.0], [20.0, 20.0]]))
    maps = [
        render(single.model, replace(single.state, w=step.w), differentiable=True, until="b8.conv1") for step in steps
    ]
    start, now = (F.interpolate(each, size=(32, 32), mode="bilinear", align_corners=False)[0] for each in maps)
    expected = 0.0
    disc = [(i, j) for i in range(-4, 5) for j in range(-4, 5) if i * i + j * j <= 16]
    for (x0, y0), (x, y), (dx, dy) in zip(
        *(step.points.long().tolist() for step in steps), [(1, 0), (0, -1)], strict=True
    ):
        for i, j in disc:  # half what is around the point now, half what was around it at the start
            wanted = (now[:, y + j, x + i] + start[:, y0 + j, x0 + i]) / 2
            expected += float((wanted - now[:, y + j + dy, x + i + dx]).abs().mean())
    # The points of the second step lie on whole pixels, and are pulled along the axes as long as they stay on them.
    assert steps[1].points[0, 1] == 20
    assert steps[1].points[1, 0] == 20
    outside = 1 - F.adaptive_avg_pool2d(mask[None, None], (8, 8))
    expected += 50 * float(((maps[1] - maps[0]) * outside).abs().mean())
    assert steps[1].loss == pytest.approx(expected, rel=1e-3)


def test_settings_follow_the_size_of_the_generator() -> None:
    small = Generator(GeneratorConfig(16, channels=(8, 8, 8), latent_width=16, mapping_layers=1))
    assert DragSettings.of(small).layer == "b4.conv1"
    with torch.device("meta"):
        large = Generator(GeneratorConfig.official(512))
    settings = DragSettings.of(large, steps=7, radius=5)
    assert (settings.layer, settings.steps, settings.radius) == ("b128.conv1", 7, 5.0)


# ---- what a drag does ----


def test_a_point_arrives_and_the_rest_follows(portrait_inversion: Inversion, tmp_path: Path) -> None:
    steps: list[Step] = []
    inversion = portrait_inversion
    corner = inversion.sources[0].placement.to_crop(inversion.sources[0].placement.landmarks, (128, 128))[54]  # type: ignore[union-attr]
    target = corner + np.array([0, -8])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = inversion.drag([(corner, target)], callback=steps.append)
    assert len(steps) < 150
    rest = [float((step.points - torch.tensor(target)).norm()) for step in steps]
    assert rest[0] == pytest.approx(8, abs=1e-5)
    assert rest[-1] <= 1 < rest[-2]
    # The first rows of the codes moved, and nothing else.
    rows = DragSettings.of(inversion.model.generator).rows
    assert torch.equal(result.w[:, rows:], inversion.w[:, rows:])
    assert (result.w[:, :rows] - inversion.w[:, :rows]).abs().amax(2).min() > 0
    assert torch.equal(steps[-1].w, result.w)
    assert result.offset_codes is inversion.offset_codes
    assert result.unedited is inversion
    torch.testing.assert_close(steps[-1].image, result.tensor, atol=1e-4, rtol=0)
    # What is there now looks more like what the point was than what was there before.
    x, y = np.rint(corner).astype(int)
    patch = inversion.tensor[..., y - 4 : y + 5, x - 4 : x + 5]
    before, after = (each.tensor[..., y - 12 : y - 3, x - 4 : x + 5] for each in (inversion, result))
    assert (after - patch).abs().mean() < (before - patch).abs().mean()
    # It is an ordinary inversion.
    result.save(tmp_path / "it.safetensors")
    again = Inversion.load(tmp_path / "it.safetensors", inversion)
    assert torch.equal(again.tensor, result.tensor)
    assert result.edit("smile", 1).unedited is inversion
    assert result.paste_back().size == inversion.sources[0].photo.size  # type: ignore[union-attr]


def test_a_point_that_is_to_go_two_pixels_goes_at_least_one(portrait_inversion: Inversion) -> None:
    steps: list[Step] = []
    result = portrait_inversion.drag([((60, 80), (60, 78))], callback=steps.append)
    assert steps[-1].points[0, 1] <= 79
    assert DragSettings.of(portrait_inversion.model.generator).tolerance == 1
    assert not torch.equal(result.w, portrait_inversion.w)


def test_points_of_the_photo_are_those_of_the_crop_in_it(portrait_inversion: Inversion) -> None:
    inversion = portrait_inversion
    corners = inversion.sources[0].placement.footprint  # type: ignore[union-attr]
    # From the outer corner of the first pixel, along the sides of the square.
    across, down = (corners[3] - corners[0]) / 128, (corners[1] - corners[0]) / 128
    photo = [tuple(corners[0] + (x + 0.5) * across + (y + 0.5) * down) for x, y in ((60, 80), (66, 78))]
    there = dragging.find_points(inversion, [photo], in_photo=True)  # type: ignore[list-item]
    torch.testing.assert_close(there, torch.tensor([[[60.0, 80.0], [66.0, 78.0]]]).double(), atol=1e-6, rtol=0)
    one = dragged(inversion, [photo], in_photo=True, steps=2)
    other = dragged(inversion, [((60, 80), (66, 78))], steps=2)
    torch.testing.assert_close(one.w, other.w, atol=1e-4, rtol=0)
    with pytest.raises(ConfigError, match="the part of the photo that the face was cut out of, with the corners"):
        inversion.drag([(photo[0], (0, 0))], in_photo=True)


def test_a_mask_keeps_what_is_outside_of_it(single: Inversion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dragging, "MASK_WEIGHT", 200.0)  # features of random weights all move with each other
    whole, limited = dragged(single, steps=10), dragged(single, steps=10, mask=LEFT)
    assert torch.equal(limited.tensor[..., 16:], single.tensor[..., 16:])
    assert not torch.equal(limited.tensor[..., :16], single.tensor[..., :16])
    change_whole, change_limited = (
        (result.unmasked() - single.tensor)[..., 20:].abs().mean() for result in (whole, limited)
    )
    assert change_limited < 0.5 * change_whole  # by the loss: the blending is left out here
    both = dragged(single.edit("age", 1, mask=LEFT), steps=2, mask=LEFT.T)
    assert both.mask is not None
    assert torch.equal(both.mask[0, 0] > 0, torch.from_numpy(LEFT | LEFT.T))


def test_six_points_need_not_come_as_near_as_five() -> None:
    lengths = torch.tensor([8.0, 1.2, 2.5, 8.0, 8.0, 8.0])
    assert dragging.tolerances(lengths[:5], 1.0).tolist() == [1.0, 0.75, 1.0, 1.0, 1.0]
    assert dragging.tolerances(lengths, 1.0).tolist() == [2.0, 0.75, 1.5, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("move", "outside"),
    [
        (((10, 20), (20, 20)), r"(10, 20) to (20, 20), and nothing may change at (20, 20), outside of the mask"),
        (((20, 20), (24, 20)), r"nothing may change at (20, 20) and (24, 20), outside"),
        (MOVE, None),
    ],
)
def test_a_point_outside_of_the_mask_is_a_warning(
    single: Inversion, move: tuple[tuple[float, float], tuple[float, float]], outside: str | None
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        single.drag([move], mask=LEFT | (outside is None), steps=0)
    texts = [str(each.message) for each in seen]
    assert "did not arrive in 0 steps" in texts.pop()
    assert len(texts) == (outside is not None)
    assert outside is None or outside in texts[0]


def test_a_mask_that_limits_nothing_is_said_before_the_work(single: Inversion) -> None:
    edited, steps = single.edit("age", 1), list[Step]()
    with warnings.catch_warnings():
        warnings.simplefilter("error", EditWarning)
        with pytest.raises(EditWarning, match="this mask limits nothing"):
            edited.drag([MOVE], mask=LEFT, callback=steps.append)
    assert not steps


def test_what_was_edited_before_is_dragged_as_it_is(single: Inversion) -> None:
    edited = single.edit("age", 2)
    result = dragged(edited, steps=2)
    assert result.unedited is single
    rows = DragSettings.of(single.model.generator).rows
    assert torch.equal(result.w[:, rows:], edited.w[:, rows:])


def test_it_is_the_same_where_no_gradients_are_recorded(single: Inversion) -> None:
    expected = dragged(single, steps=3)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            result = dragged(single, steps=3)
        assert torch.equal(result.w, expected.w)
        assert not result.w.is_inference()
        assert not result.w.requires_grad
    assert all(parameter.grad is None for parameter in single.model.generator.parameters())


def test_points_of_images_with_padding_are_counted_from_their_content() -> None:
    generator = Generator(GeneratorConfig(32, channels=(8, 8, 8, 8), latent_width=16, mapping_layers=1))
    model = Model(generator.eval().requires_grad_(False), Domain("cars", 32, (24, 32), (4, 28)))
    inversion = Inversion(model, torch.randn(1, 8, 16))
    points = dragging.find_points(inversion, [((3, 0), (5, 6))])
    assert points.tolist() == [[[3, 4], [5, 10]]]
    mask = np.zeros((24, 32), dtype=bool)
    mask[:12] = True
    result = dragged(inversion, [((3, 4), (9, 4))], steps=2, mask=mask)
    assert torch.equal(result.tensor[:, :, 12:], inversion.tensor[:, :, 12:])
    with pytest.raises(ConfigError, match="which is 32 x 24 pixels"):
        inversion.drag([((3, 0), (5, 26))])


def test_images_of_a_stylegan_are_dragged_too() -> None:
    generator = StyleGan1(StyleGan1Config(32, channels=(8, 8, 6, 4), latent_width=12, mapping_layers=2))
    for parameter in generator.requires_grad_(False).parameters():
        parameter += torch.randn_like(parameter) * 0.1
    inversion = Inversion(Model(generator.eval(), Domain("faces", 32, (32, 32))), torch.randn(1, 8, 12))
    result = dragged(inversion, steps=3)
    assert not torch.equal(result.w[:, 0], inversion.w[:, 0])
    assert result.tensor.isfinite().all()


def test_half_precision_moves_in_small_steps() -> None:
    generator = Generator(GeneratorConfig(32, channels=(8, 8, 8, 8), latent_width=16, mapping_layers=1))
    model = Model(generator.eval().requires_grad_(False), Domain("wild", 32, (32, 32)))
    inversion = Inversion(model, torch.randn(1, 8, 16))
    half = Inversion(replace(model, generator=generator.bfloat16()), inversion.w.bfloat16())
    result = dragged(half, steps=3)
    assert result.w.dtype == torch.bfloat16
    assert not torch.equal(result.w, half.w)


# ---- what it says ----


def test_a_drag_that_does_not_arrive_says_how_far_it_came(single: Inversion) -> None:
    with pytest.warns(EditWarning, match=r"1 of 1 points did not arrive in 1 steps: \d+\.\d of 6\.0 px are left"):
        single.drag([MOVE], steps=1)
    with pytest.warns(EditWarning, match=r"6\.0 of 6\.0 px are left"):
        result = single.drag([MOVE], steps=0)
    assert torch.equal(result.w, single.w)


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        ([], r"points \[\] to drag: expected \(\(x, y\), \(x2, y2\)\) for each"),
        (None, "points None to drag"),
        ("here", "points 'here' to drag"),
        ([(1, 2)], "expected"),
        ([((1, 2), (3, 4, 5))], "expected"),
        ([((1, 2), ("a", 4))], "expected"),
        ([((1, 2), (float("nan"), 4))], "expected"),
        ([((1, 2), (40, 4))], r"from \(1, 2\) to \(40, 4\): expected both within the reconstruction, which is 32 x 32"),
        ([((-2, 2), (4, 4))], r"from \(-2, 2\) to \(4, 4\)"),
        ([MOVE, ((4, 4), (4, 4))], r"from \(4, 4\) to \(4, 4\), which is where it is: give another target"),
        ([((4, 4), (4.5, 4.5))], r"to \(4\.5, 4\.5\), less than a pixel of the reconstruction"),
    ],
)
def test_points_that_cannot_be_dragged_are_refused(single: Inversion, moves: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        single.drag(moves)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": -1}, ConfigError, "steps of a drag=-1: expected a whole number, 0 to 10000"),
        ({"steps": 2.5}, ConfigError, "steps of a drag=2.5"),
        ({"radius": 0}, ConfigError, "radius=0: expected 1 to 8 pixels"),
        ({"radius": 9}, ConfigError, "radius=9"),
        ({"radius": "wide"}, ConfigError, "radius='wide'"),
        ({"in_photo": True}, InversionError, "was not cut out of a photo: give points in pixels of the reconstruction"),
        ({"mask": torch.ones(16, 16)}, ImageError, "16 x 16 px and the reconstruction 32 x 32 px"),
        ({"mask": torch.zeros(32, 32)}, ImageError, "is empty"),
        ({"mask": "muoth"}, ConfigError, "Did you mean 'mouth'"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    single: Inversion, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        single.drag([MOVE], **options)


def test_a_batch_and_a_layer_that_is_not_there_are_refused(single: Inversion) -> None:
    with pytest.raises(InversionError, match="drag of a batch of 2: take one image of it"):
        Inversion.cat([single, single]).drag([MOVE])
    settings = replace(DragSettings.of(single.model.generator), layer="b64.conv1")
    points = dragging.find_points(single, [MOVE])
    with pytest.raises(ConfigError, match=r"no layer 'b64\.conv1' in this generator"):
        dragging.drag(single.model, single.state, points, settings)


@pytest.mark.parametrize("make", [np.array, torch.tensor, list])
def test_points_may_be_an_array(single: Inversion, make: Callable[[Any], Any]) -> None:
    moves = [[[10.0, 20.0], [16.0, 20.0]], [[3.0, 3.0], [5.0, 8.0]]]
    assert torch.equal(dragging.find_points(single, make(moves)), torch.tensor(moves).double())
