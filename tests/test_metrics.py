"""Distances between images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.align.mtcnn import identity_crop
from hyperstyle.errors import ImageError
from hyperstyle.images import to_pil
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig


@pytest.fixture
def pair() -> Tensor:
    """Two smooth images with edges [2,3,64,64]."""
    coarse = torch.rand(2, 3, 6, 6) * 2 - 1
    smooth = F.interpolate(coarse, size=(64, 64), mode="bilinear", align_corners=False)
    smooth[:, :, 20:40, 10:30] *= -1
    return smooth


@pytest.fixture(scope="module")
def evaluator() -> AttributeNetwork:
    torch.manual_seed(1)
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    return AttributeNetwork(AttributeNetworkConfig(("age",), trunk, 32, 8)).eval().requires_grad_(False)


def test_l2_is_the_mean_square_on_the_scale_of_minus_one_to_one() -> None:
    a = torch.zeros(2, 3, 2, 2)
    b = torch.stack([torch.full((3, 2, 2), 0.5), torch.zeros(3, 2, 2)])
    b[1, 0, 0, 0] = 1.0
    assert metrics.l2(a, b).tolist() == pytest.approx([0.25, 1 / 12])
    assert metrics.l2(-torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2)).tolist() == [4.0]


def test_equal_images_have_an_ms_ssim_of_one(pair: Tensor) -> None:
    assert metrics.ms_ssim(pair, pair).tolist() == [1.0, 1.0]


def test_ms_ssim_falls_with_noise_and_with_blur(pair: Tensor) -> None:
    noise = torch.randn_like(pair)
    noisy = [metrics.ms_ssim(pair, pair + level * noise) for level in (0.02, 0.1, 0.3, 1.0)]
    blurred = [
        metrics.ms_ssim(pair, F.avg_pool2d(pair, size, 1, size // 2, count_include_pad=False)) for size in (3, 7, 15)
    ]
    for row in (noisy, blurred):
        for better, worse in pairwise(row):
            assert (better > worse).all()
        assert (row[0] < 1).all()
        assert (row[-1] >= 0).all()


def test_ms_ssim_is_symmetric_and_within_its_bounds(pair: Tensor) -> None:
    other = torch.rand_like(pair) * 2 - 1
    forth, back = metrics.ms_ssim(pair, other), metrics.ms_ssim(other, pair)
    torch.testing.assert_close(forth, back)
    for value in (forth, metrics.ms_ssim(pair, -pair)):
        assert ((value >= 0) & (value < 0.5)).all()


def test_ms_ssim_of_a_brightness_change_is_that_of_its_formula() -> None:
    a, b = torch.full((1, 3, 256, 256), 0.2), torch.full((1, 3, 256, 256), 0.6)
    c1 = 0.02**2
    expected = ((2 * 0.2 * 0.6 + c1) / (0.2**2 + 0.6**2 + c1)) ** 0.1333  # contrast is 1 at every scale
    assert metrics.ms_ssim(a, b).item() == pytest.approx(expected, abs=1e-3)


def test_large_images_are_not_enlarged(pair: Tensor) -> None:
    big = F.interpolate(pair, size=(256, 256), mode="bilinear", align_corners=False)
    other = big + 0.1 * torch.randn_like(big)
    small = F.avg_pool2d(other, 4)
    torch.testing.assert_close(
        metrics.ms_ssim(pair, small),
        metrics.ms_ssim(big, F.interpolate(small, size=(256, 256), mode="bilinear", align_corners=False)),
    )


def test_the_perceptual_distance_is_zero_for_equal_images_and_grows(pair: Tensor, evaluator: AttributeNetwork) -> None:
    noise = torch.randn_like(pair)
    assert metrics.perceptual(pair, pair, evaluator).tolist() == [0, 0]
    near, far = (metrics.perceptual(pair, pair + level * noise, evaluator) for level in (0.05, 0.5))
    assert (near > 0).all()
    assert (far > near).all()


def test_identity_is_a_cosine(pair: Tensor, evaluator: AttributeNetwork) -> None:
    torch.testing.assert_close(metrics.identity(pair, pair, evaluator), torch.ones(2))
    a, b = evaluator.embedding(pair), evaluator.embedding(pair.flip(0))
    expected = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    torch.testing.assert_close(metrics.identity(pair, pair.flip(0), evaluator), expected)


def test_l1_is_the_mean_distance_on_the_scale_of_minus_one_to_one() -> None:
    b = torch.stack([torch.full((3, 2, 2), -0.5), torch.zeros(3, 2, 2)])
    b[1, 0, 0, 0] = 1.0
    assert metrics.l1(torch.zeros(2, 3, 2, 2), b).tolist() == pytest.approx([0.5, 1 / 12])


def test_cosines_do_not_know_lengths() -> None:
    a, b = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[5.0, 0.0], [-2.0, 0.0]])
    assert metrics.cosine(a, b).tolist() == pytest.approx([1.0, -(0.5**0.5)])


def test_both_forms_of_ms_ssim_agree_where_values_spread_and_resemble_each_other(pair: Tensor) -> None:
    big = F.interpolate(pair, size=(256, 256), mode="bilinear", align_corners=False)
    big = big / big.abs().amax((1, 2, 3), keepdim=True) * 2  # values below -0.5 at every scale
    other = big + 0.1 * torch.randn_like(big)
    torch.testing.assert_close(metrics.ms_ssim_reference(big, other), metrics.ms_ssim(big, other))


def test_the_reference_form_guesses_the_range_of_the_first_image(pair: Tensor) -> None:
    big = F.interpolate(pair, size=(256, 256), mode="bilinear", align_corners=False).clamp(-0.4, 0.4)
    other = big + 0.1 * torch.randn_like(big)
    # With half the range on twice the scale, nothing changes.
    torch.testing.assert_close(metrics.ms_ssim_reference(big, other), metrics.ms_ssim(2 * big, 2 * other))
    assert (metrics.ms_ssim_reference(big, other) < metrics.ms_ssim(big, other) - 1e-4).all()
    outlier = other.clone()
    outlier[:, :, :32, :32] = -1.0  # reaches the coarsest scale
    forth, back = metrics.ms_ssim_reference(big, outlier), metrics.ms_ssim_reference(outlier, big)
    assert (back > forth + 1e-4).all()


def test_the_reference_form_has_no_figure_for_opposites(pair: Tensor) -> None:
    big = F.interpolate(pair, size=(256, 256), mode="bilinear", align_corners=False)
    assert metrics.ms_ssim_reference(big, -big).isnan().all()
    assert metrics.ms_ssim_reference(big, big).tolist() == pytest.approx([1.0, 1.0])
    with pytest.raises(ImageError, match="at least 176x176"):
        metrics.ms_ssim_reference(pair, pair)


@pytest.mark.parametrize("name", ["l1", "l2", "ms_ssim", "ms_ssim_reference"])
def test_images_of_different_shapes_are_refused(name: str) -> None:
    with pytest.raises(ImageError, match="expected the same"):
        getattr(metrics, name)(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
    with pytest.raises(ImageError, match="expected the same"):
        getattr(metrics, name)(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))


def test_a_batch_has_the_figures_of_its_images(pair: Tensor, evaluator: AttributeNetwork) -> None:
    other = pair + 0.2 * torch.randn_like(pair)
    rows: list[Callable[[Tensor, Tensor], Tensor]] = [
        metrics.l1,
        metrics.l2,
        metrics.ms_ssim,
        lambda a, b: metrics.perceptual(a, b, evaluator),
        lambda a, b: metrics.identity(a, b, evaluator),
    ]
    for row in rows:
        singles = torch.cat([row(pair[i : i + 1], other[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(row(pair, other), singles, atol=2e-5, rtol=0)


def test_the_published_identity_compares_the_first_faces_and_leaves_out_images_without_one(pair: Tensor) -> None:
    face = np.array([(20, 24), (42, 25), (31, 34), (22, 46), (40, 45)], float)

    def detector(photo: Image.Image) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        return [] if photo.getextrema() == ((0, 0),) * 3 else [face, face + 9]  # none in a black image

    def network(image: Tensor) -> Tensor:
        assert tuple(image.shape[1:]) == (3, 112, 112)
        return F.normalize(F.avg_pool2d(image, 16).flatten(1))

    black = torch.full_like(pair[0], -1)
    a, b = torch.stack([*pair, black, pair[0]]), torch.stack([pair[0], *pair.flip(0), black])
    similarities = metrics.published_identity(a, b, network, detector)
    first, second = (network(identity_crop(to_pil(image), face)[None])[0] for image in pair)
    assert similarities[:2].tolist() == pytest.approx([1, 1])
    assert similarities[2:].isnan().tolist() == [True, True]
    (crossed,) = metrics.published_identity(pair[:1], pair[1:], network, detector).tolist()
    assert crossed == pytest.approx((first @ second).item())
    assert crossed < 0.9
    with pytest.raises(ImageError, match="expected the same"):
        metrics.published_identity(a, b[:1], network, detector)
