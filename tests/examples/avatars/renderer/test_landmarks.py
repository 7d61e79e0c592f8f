from __future__ import annotations

import torch
from torch import Tensor

from examples.avatars.renderer.anatomy import Face
from examples.avatars.renderer.factors import Factors, sample_factors
from examples.avatars.renderer.geometry import Head, crop_quads, portrait_quads, to_pixels
from examples.avatars.renderer.landmarks import landmarks_68
from examples.avatars.renderer.render import render

# The landmark that each one becomes in a mirror.
MIRROR = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


def _frontal(count: int, seed: int) -> Factors:
    factors = sample_factors(count, seed=seed)
    for name in ("yaw", "roll", "gaze"):
        factors[name] = torch.full_like(factors[name], 0.5)
    return factors


def _scene(factors: Factors) -> Tensor:
    return landmarks_68(Head.from_factors(factors), Face.from_factors(factors))


def test_a_frontal_face_has_symmetric_landmarks() -> None:
    points = _scene(_frontal(12, 1))
    mirrored = points[:, MIRROR] * torch.tensor([-1.0, 1.0])
    assert torch.allclose(points, mirrored, atol=1e-5)


def test_turning_the_other_way_mirrors_the_landmarks() -> None:
    factors = _frontal(6, 2)
    right, left = dict(factors), dict(factors)
    right["yaw"], left["yaw"] = torch.full((6,), 0.9), torch.full((6,), 0.1)
    mirrored = _scene(left)[:, MIRROR] * torch.tensor([-1.0, 1.0])
    assert torch.allclose(_scene(right), mirrored, atol=1e-5)


def test_landmarks_lie_in_the_image_and_in_the_order_of_the_scheme() -> None:
    factors = sample_factors(200, seed=3)
    points = _scene(factors)
    p = to_pixels(points, portrait_quads(factors, 200, 160), 200, 160)
    assert p.min() >= 0
    assert p[..., 0].max() <= 159
    assert p[..., 1].max() <= 199
    crops = to_pixels(points, crop_quads(points), 64, 64)
    inner = crops[:, 17:]
    assert inner.min() > 2
    assert inner.max() < 62
    assert (crops[:, 0, 0] < crops[:, 16, 0]).all()
    assert (crops[:, 8, 1] > crops[:, 57, 1]).all()  # chin below the lips
    for left, right in ((17, 21), (22, 26), (36, 39), (42, 45), (31, 35), (48, 54)):
        assert (crops[:, left, 0] < crops[:, right, 0]).all()
    for upper, lower in ((19, 37), (37, 41), (44, 46), (27, 30), (30, 33), (33, 51), (51, 62), (66, 57)):
        assert (crops[:, upper, 1] < crops[:, lower, 1]).all()


def test_eye_landmarks_surround_the_dark_pupils() -> None:
    factors = _frontal(3, 4)
    fixed = {
        "eye_open": 0.9,
        "eye_size": 0.5,
        "glasses": 0.0,
        "face_paint": 0.0,
        "fringe": 0.0,
        "skin": 0.1,
        "smile": 0.2,
    }
    factors.update({name: torch.full((3,), value) for name, value in fixed.items()})
    rendered = render(factors, 128, supersample=1)
    for first in (36, 42):
        center = (rendered.landmarks[:, first : first + 6].mean(1) + 0.5).long()
        for i, (x, y) in enumerate(center.tolist()):
            dark = rendered.images[i, :, y - 3 : y + 3, x - 3 : x + 3].mean(0).min()
            cheek = rendered.images[i, :, y + 18, x].mean()
            assert dark < -0.6 < cheek


def test_mouth_landmarks_surround_the_dark_of_an_open_mouth() -> None:
    factors = _frontal(2, 5)
    factors.update({name: torch.full((2,), value) for name, value in (("mouth_open", 1.0), ("smile", 0.5))})
    rendered = render(factors, 128, supersample=1)
    for i in range(2):
        lower = rendered.landmarks[i, 66]
        upper = rendered.landmarks[i, 62]
        assert lower[1] - upper[1] > 5
        x, y = (upper * 0.4 + lower * 0.6 + 0.5).long().tolist()
        assert rendered.images[i, :, y - 2 : y + 3, x].mean(0).min() < -0.3


def test_scene_points_and_pixels_agree_in_a_turned_image() -> None:
    quad = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 2.0], [2.0, 1.0]]])  # a square on its corner
    points = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]])
    expected = torch.tensor([[[-0.5, -0.5], [4.5, 4.5], [9.5, 9.5]]])
    assert torch.allclose(to_pixels(points, quad, 10, 10), expected, atol=1e-5)
