from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from examples.avatars.renderer.anatomy import Face
from examples.avatars.renderer.factors import DETAILS, Factors, sample_factors, select
from examples.avatars.renderer.geometry import Head, crop_quads, pixel_grid
from examples.avatars.renderer.landmarks import landmarks_68
from examples.avatars.renderer.render import Render, render
from hyperstyle.errors import ConfigError
from hyperstyle.images import to_pil, to_tensor

PLAIN = {"bald": 0.0, "beard": 0.0, "glasses": 0.0, "hair_length": 0.5, "age": 0.3, "yaw": 0.5, "gaze": 0.5}


def _with(factors: Factors, **values: float) -> Factors:
    return {name: torch.full_like(value, values[name]) if name in values else value for name, value in factors.items()}


def _difference(a: Render, b: Render) -> Tensor:
    return (a.images - b.images).abs().amax(1, keepdim=True)


def test_the_results_have_the_promised_shapes_types_and_ranges() -> None:
    rendered = render(sample_factors(5, seed=1), 32)
    assert rendered.images.shape == (5, 3, 32, 32)
    assert rendered.landmarks.shape == (5, 68, 2)
    assert rendered.images.dtype == rendered.landmarks.dtype == torch.float32
    assert -1 <= rendered.images.min() < -0.5
    assert 0.5 < rendered.images.max() <= 1
    for mask in (rendered.face_mask, rendered.feature_mask):
        assert mask.shape == (5, 1, 32, 32)
        assert 0 <= mask.min() <= mask.max() <= 1
    assert 0.25 < rendered.face_mask.mean() < 0.55
    assert 0.04 < rendered.feature_mask.mean() < 0.2
    assert (rendered.feature_mask <= rendered.face_mask + 0.2).float().mean() > 0.99


def test_the_same_call_gives_the_same_bytes() -> None:
    factors = sample_factors(4, seed=2)
    first, second = render(factors, 48), render(factors, 48)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.landmarks, second.landmarks)


def test_an_avatar_does_not_depend_on_its_batch() -> None:
    factors = sample_factors(5, seed=3)
    together = render(factors, 48)
    for i in range(5):
        alone = render(select(factors, i), 48)
        assert torch.allclose(alone.images[0], together.images[i], atol=2e-5, rtol=0)
        assert torch.allclose(alone.landmarks[0], together.landmarks[i], atol=2e-4, rtol=0)


def test_two_sizes_show_the_same_image() -> None:
    factors = sample_factors(3, seed=4)
    small, large = render(factors, 64), render(factors, 256, supersample=1)
    difference = (F.avg_pool2d(large.images, 4) - small.images).abs().flatten(1).mean(1)
    assert difference.max() < 0.02
    moved = (large.landmarks + 0.5) / 4 - 0.5
    assert torch.allclose(moved, small.landmarks, atol=1e-3)


def test_the_crop_is_what_cropping_the_portrait_gives() -> None:
    """The camera looks through the crop's quad; cutting the quad out of a large portrait must agree."""
    factors = sample_factors(2, seed=11)
    size = 64
    portrait = render(factors, 400, supersample=1, view="portrait")
    crop = render(factors, size)
    for i in range(2):
        quad = crop_quads(portrait.landmarks[i : i + 1].double() + 0.5)[0]
        large = to_pil(portrait.images[i]).transform(
            (size * 3, size * 3), Image.Transform.QUAD, quad.flatten().tolist(), Image.Resampling.BILINEAR
        )
        cut = to_tensor(large.resize((size, size), Image.Resampling.BOX)).reshape(3, size, size)
        assert (cut - crop.images[i]).abs().mean() < 0.02


def test_a_crop_shows_eyes_and_mouth_at_the_places_of_ffhq_and_no_roll() -> None:
    landmarks = render(sample_factors(20, seed=5), 64, supersample=1).landmarks
    left, right = landmarks[:, 36:42].mean(1), landmarks[:, 42:48].mean(1)
    across = right - left
    mouth = (landmarks[:, 48] + landmarks[:, 54]) / 2
    # e and m are weighed equally in the crop's direction, so what is left of the tilt is small and balanced.
    assert (across[:, 1] / across[:, 0]).abs().max() < 0.25
    eyes = (left + right) / 2
    assert (eyes - torch.tensor([31.5, 31.5])).norm(dim=1).max() < 6
    assert (mouth - eyes).norm(dim=1).max() <= 64 / 3.6 + 0.01


def test_roll_tilts_the_portrait() -> None:
    upright = _with(select(sample_factors(1, seed=6), 0), **PLAIN, roll=0.5, pitch=0.5)
    points = render(_with(upright, roll=1.0), (80, 64), view="portrait").landmarks
    across = points[:, 42:48].mean(1) - points[:, 36:42].mean(1)
    assert torch.atan2(across[:, 1], across[:, 0]).item() == pytest.approx(0.2, abs=0.02)


def test_explicit_quads_choose_the_framing() -> None:
    factors = sample_factors(2, seed=7)
    points = landmarks_68(Head.from_factors(factors), Face.from_factors(factors))
    free = render(factors, 40, quads=crop_quads(points))
    assert torch.allclose(free.images, render(factors, 40).images, atol=1e-5)
    wide = render(factors, (30, 40), quads=crop_quads(points))
    assert wide.images.shape == (2, 3, 30, 40)


def test_pixels_of_a_grid_are_at_their_centers() -> None:
    quads = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [2.0, 2.0], [2.0, 0.0]]])
    x, y, pixel = pixel_grid(quads, 2, 4)
    assert x[0, 0].tolist() == [0.25, 0.75, 1.25, 1.75]
    assert y[0, :, 0].tolist() == [0.5, 1.5]
    assert pixel.item() == pytest.approx(0.75)


@pytest.mark.parametrize("name", ["smile", "mouth_open", "eye_open", "gaze"])
def test_expressions_change_pixels_mostly_around_eyes_and_mouth(name: str) -> None:
    factors = _with(sample_factors(2, seed=8, details=False), **{**PLAIN, "mouth_open": 0.2})
    # A fixed camera, so that nothing moves but what the factor moves.
    quads = crop_quads(landmarks_68(Head.from_factors(factors), Face.from_factors(factors)))
    low = render(_with(factors, **{name: 0.1}), 64, quads=quads)
    high = render(_with(factors, **{name: 0.9}), 64, quads=quads)
    change = _difference(low, high)
    features = torch.maximum(low.feature_mask, high.feature_mask)
    inside = (change * features).sum() / features.sum()
    outside = (change * (1 - features)).sum() / (1 - features).sum()
    assert inside > 0.05
    assert inside > 4 * outside


# The least mean change of a 48 px image that counts as visible.
VISIBLE = {
    "glasses": 0.01,
    "beard": 0.02,
    "bald": 0.03,
    "hat": 0.05,
    "headband": 0.01,
    "freckles": 0.001,
    "earrings": 0.0005,
    "face_paint": 0.002,
    "mole": 0.0001,
    "hair_clip": 0.0005,
    "lipstick": 0.0003,
    "fun_hair": 0.03,
    "background_bokeh": 0.003,
    "background_stripes": 0.01,
    "clothes_stripes": 0.001,
    "clothes_dots": 0.0005,
}


@pytest.mark.parametrize("name", VISIBLE)
def test_every_flag_shows(name: str) -> None:
    factors = _with(sample_factors(2, seed=21, details=False), **{**PLAIN, "hair_length": 0.3})
    off, on = (render(_with(factors, **{name: value}), 48, supersample=1) for value in (0.0, 1.0))
    assert _difference(off, on).flatten(1).mean(1).min() > VISIBLE[name]


def test_presence_is_binary() -> None:
    factors = sample_factors(1, seed=2)
    for name in ("glasses", "hat", "beard", "earrings"):
        just, fully = render(_with(factors, **{name: 0.5}), 32), render(_with(factors, **{name: 1.0}), 32)
        assert torch.equal(just.images, fully.images)
        below, absent = render(_with(factors, **{name: 0.49}), 32), render(_with(factors, **{name: 0.0}), 32)
        assert torch.equal(below.images, absent.images)


@pytest.mark.parametrize(
    "name",
    [
        "yaw",
        "pitch",
        "smile",
        "mouth_open",
        "age",
        "skin",
        "hair_length",
        "hair_color",
        "light_azimuth",
        "jaw",
        "gaze",
    ],
)
def test_traits_vary_smoothly_and_visibly(name: str) -> None:
    base = _with(select(sample_factors(3, seed=31, details=False), 1), **PLAIN)
    factors = {key: value.repeat(9) for key, value in base.items()}
    factors[name] = torch.linspace(0, 1, 9)
    images = render(factors, 40, supersample=1).images
    steps = (images[1:] - images[:-1]).abs().flatten(1).mean(1)
    total = (images[-1] - images[0]).abs().mean()
    assert total > 0.008
    assert steps.max() < 0.6 * total + 0.01
    assert steps.min() > 0


def test_what_is_absent_may_be_described_in_any_way() -> None:
    """Colours and positions of details that are not there change nothing."""
    factors = sample_factors(2, seed=12, details=False)
    flags = [name for name in DETAILS if factors[name].max() == 0]
    styles = ("earring_hoops", "hat_stripes", "hat_pompom")  # flags that say how, not whether
    others = [name for name in DETAILS if (name not in flags and name != "seed") or name in styles]
    # The frames of glasses have a color of their own, and glasses are a trait.
    others.remove("glasses_hue")
    assert "mole_x" in others
    changed = _with(factors, **dict.fromkeys(others, 1.0))
    assert torch.equal(render(factors, 32, supersample=1).images, render(changed, 32, supersample=1).images)


@pytest.mark.parametrize("size", [4, 9000, (64, 32), (0, 0)])
def test_an_impossible_size_is_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(ConfigError):
        render(sample_factors(1, seed=0), size)


def test_an_impossible_view_quad_or_supersample_is_refused() -> None:
    factors = sample_factors(1, seed=0)
    with pytest.raises(ConfigError, match="view"):
        render(factors, 16, view="side")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="quads"):
        render(factors, 16, quads=torch.zeros(2, 4, 2))
    with pytest.raises(ConfigError, match="supersample"):
        render(factors, 16, supersample=0)
    with pytest.raises(ConfigError, match="smile"):
        render({name: value for name, value in factors.items() if name != "smile"}, 16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_same_image() -> None:
    factors = sample_factors(8, seed=13)
    here, there = render(factors, 64), render(factors, 64, device="cuda")
    assert (here.images - there.images.cpu()).abs().mean() < 2e-3
    assert torch.allclose(here.landmarks, there.landmarks.cpu(), atol=1e-2)
