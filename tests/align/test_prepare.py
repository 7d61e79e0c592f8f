"""From an image to the input of the encoder, and warnings about doubtful images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from hyperstyle.align import crop, ffhq_quad
from hyperstyle.align.prepare import Prepared, prepare
from hyperstyle.align.source import Provenance
from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.errors import ConfigError
from hyperstyle.images import resize, to_tensor

FACES = Domain("faces", 64, (32, 32), aligner="face")
POINTS = np.array([(28, 30), (52, 30), (40, 44), (31, 56), (49, 56)], float)  # their square is 96 px wide


@pytest.fixture
def photo() -> Image.Image:
    noise = np.random.default_rng(2).integers(0, 256, (13, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((240, 260), Image.Resampling.BICUBIC)


def prepare_one(photo: Any, points: Any = None, domain: Domain = FACES, **options: Any) -> Prepared:
    (prepared,) = prepare(photo, domain, aligner=options.pop("aligner", None), landmarks=points, **options)
    return prepared


def test_a_face_is_cut_out_large_and_then_brought_to_the_size_of_the_encoder(photo: Image.Image) -> None:
    points = POINTS + 70
    prepared = prepare_one(photo, points)
    cut = crop(photo, points, 256, 256)
    assert torch.equal(prepared.crop, to_tensor(resize(cut.image, (32, 32))))
    placement = prepared.source.placement
    assert placement is not None
    np.testing.assert_array_equal(placement.footprint, cut.footprint)
    np.testing.assert_array_equal(placement.landmarks, points)
    assert placement.source_size == (240, 260)
    assert prepared.doubt == ""


def test_an_image_taken_as_it_is_is_only_resized(photo: Image.Image) -> None:
    prepared = prepare_one(photo, align=False)
    assert torch.equal(prepared.crop, to_tensor(resize(photo, (32, 32))))
    assert (prepared.source.note, prepared.source.placement, prepared.doubt) == ("used as it is", None, "")


def test_all_faces_of_a_photo_share_it(photo: Image.Image) -> None:
    faces = [POINTS + 70, POINTS + 90]
    both = prepare(photo, FACES, aligner=lambda image: faces, face="all")
    assert [b.source.placement is not None for b in both] == [True, True]
    assert both[0].source.photo is both[1].source.photo
    for prepared, points in zip(both, faces, strict=True):
        assert torch.equal(prepared.crop, prepare_one(photo, points).crop)


def test_transparency_stays_in_the_photo_and_is_white_for_the_networks(photo: Image.Image) -> None:
    clear = photo.copy()
    clear.putalpha(0)
    seen: list[str] = []
    prepared = prepare_one(clear, aligner=lambda image: seen.append(image.mode) or [POINTS + 70])  # type: ignore[func-returns-value]
    assert seen == ["RGB"]
    assert prepared.source.photo is not None
    assert prepared.source.photo.mode == "RGBA"
    assert prepared.crop.min() == 1


def test_points_belong_to_the_upright_photo(photo: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees clockwise to see it upright
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    lying = prepare_one(tmp_path / "lying.png", POINTS + 70)
    assert torch.equal(lying.crop, prepare_one(photo, POINTS + 70).crop)
    assert lying.source.photo is not None
    assert lying.source.photo.size == photo.size
    assert lying.source.name == str(tmp_path / "lying.png")


def test_a_face_at_the_edge_is_doubtful_only_when_much_of_it_is_missing(photo: Image.Image) -> None:
    little, much = POINTS + np.array([-10, 70]), POINTS + np.array([-30, 70])
    assert ffhq_quad(little)[:, 0].min() < -0.5
    assert prepare_one(photo, little).doubt == ""
    assert "39% of the square around the face lie outside the photo" in prepare_one(photo, much).doubt


def test_a_face_of_few_pixels_is_doubtful(photo: Image.Image) -> None:
    assert prepare_one(photo, POINTS / 5 + 100).doubt == ""  # 19 px, of 32
    assert "has only 14 px in the photo; 32 are looked at" in prepare_one(photo, POINTS / 7 + 100).doubt


def as_68(points: Any) -> Any:
    """68 points in dlib's order with these eyes and corners of the mouth."""
    full = np.tile(np.mean(points, axis=0), (68, 1))
    full[36:42], full[42:48], full[48], full[54] = points[0], points[1], points[3], points[4]
    return full


@pytest.mark.parametrize("kind", [np.asarray, as_68])
def test_points_that_contradict_each_other_are_doubtful(photo: Image.Image, kind: Any) -> None:
    points = POINTS + 70
    turned = (points - 110) @ np.array([(0, 1), (-1, 0)]) + 110  # a face that lies on its side is none of that
    assert [prepare_one(photo, kind(good)).doubt for good in (points, turned)] == ["", ""]
    mirrored, on_its_head = points * (-1, 1) + (220, 0), points * (1, -1) + (0, 240)
    for wrong in (points[[1, 0, 2, 3, 4]], points[[0, 1, 2, 4, 3]], points[[3, 4, 2, 0, 1]], mirrored, on_its_head):
        assert "contradict each other" in prepare_one(photo, kind(wrong)).doubt


@pytest.mark.parametrize("kind", [np.asarray, as_68])
@pytest.mark.parametrize("degrees", [0, 90, 115, 125, 180, 235, 245])
def test_points_given_for_a_face_on_its_head_are_doubtful_and_points_found_are_not(
    photo: Image.Image, kind: Any, degrees: float
) -> None:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    points = kind((POINTS - 40) @ np.array([(cos, sin), (-sin, cos)]) + 120)
    assert ("on its head" in prepare_one(photo, points).doubt) == (120 < degrees < 240)
    assert prepare_one(photo, aligner=lambda image: [points]).doubt == ""


def test_five_points_in_reversed_order_are_doubtful(photo: Image.Image) -> None:
    points = (POINTS + 70)[[4, 3, 2, 1, 0]]
    assert "its landmarks put the face on its head" in prepare_one(photo, points).doubt


@pytest.mark.parametrize("align", ["auto", False])
def test_an_image_of_one_color_or_of_few_pixels_is_doubtful(align: Any) -> None:
    def doubt(levels: Any) -> str:
        image = Image.fromarray(np.asarray(levels, dtype=np.uint8))
        return prepare_one(image, domain=Domain("faces", 64, (64, 64), aligner="face"), align=align).doubt

    ramp = np.stack([np.add.outer(np.arange(32), np.arange(32))] * 3, axis=-1)
    for plain in (np.zeros((80, 80, 3)), np.full((80, 80, 3), (10, 90, 255)), ramp // 9):
        assert doubt(plain) == "it is of one color all over"
    assert doubt(ramp * (0, 0, 1)) == ""  # half of what is looked at
    assert doubt(ramp[:31, :31]) == "it has only 31 x 31 px; 64 are looked at"


def test_what_contradicts_the_domain_or_itself_is_refused(photo: Image.Image) -> None:
    cars = DOMAINS["cars"]
    with pytest.raises(ConfigError, match=r"'cars' images are not aligned; use align='auto' or align=False"):
        prepare_one(photo, domain=cars, align=True)
    with pytest.raises(ConfigError, match="not aligned by them"):
        prepare_one(photo, POINTS, domain=cars)
    with pytest.raises(ConfigError, match="with align=False, which takes an image as it is"):
        prepare_one(photo, POINTS, align=False)
    assert prepare_one(photo, domain=cars).crop.shape == (3, 192, 256)


def test_crops_read_at_points_are_brought_to_the_generators_size_first() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    domain = Domain("d", 64, (16, 16), sampling="point")
    (prepared,) = prepare(pixels, domain, aligner=None)
    large = to_tensor(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR))
    expected = F.interpolate(large[None], size=(16, 16), mode="bilinear", align_corners=False)[0]
    assert torch.equal(prepared.crop, expected)
    (plain,) = prepare(pixels, replace(domain, sampling="average"), aligner=None)
    assert not torch.allclose(plain.crop, expected, atol=0.05)


def test_provenance_is_still_found_under_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match=r"Source is Provenance now"):
        from hyperstyle.align.source import Source  # type: ignore[attr-defined]
    assert Source is Provenance
