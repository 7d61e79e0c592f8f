"""The FFHQ crop: its geometry, equality with the reference scripts, and invalid landmarks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperstyle.align import crop, ffhq_quad
from hyperstyle.align.crop import _gaussian
from hyperstyle.errors import ConfigError, LandmarkError

Points = npt.NDArray[np.float64]

# Eyes 40 px apart, mouth 40 px below: half the side is max(2 * 40, 1.8 * 40) = 80, the center 4 px below the
# eyes.
FACE = np.array([[80, 90], [120, 90], [100, 110], [85, 130], [115, 130]], dtype=np.float64)

CASES = [
    ("portrait_small", "restyle_256_t256"),
    ("portrait_small", "hyperstyle_1024_t1024"),
    ("portrait_small", "hyperinverter_1024_t4096"),
    ("face_frontal", "restyle_256_t256"),
    ("face_frontal", "hyperstyle_1024_t1024"),
    ("face_frontal", "hyperinverter_1024_t4096"),
    ("face_tilted", "restyle_256_t256"),
    ("face_tilted", "hyperstyle_1024_t1024"),
    ("face_tilted", "hyperinverter_1024_t4096"),
    ("face_tilted", "up5.hyperstyle_1024_t1024"),
]
SLOW = CASES[-1:]  # 9 times the pixels of the others; the halving before the crop is tested in test_alignment.py


def waves(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 11), 127 + 100 * np.sin((x + y) / 13)], -1)
        .round()
        .astype(np.uint8)
    )


def as_68(five: Points) -> Points:
    """68 points whose eyes and mouth corners are those of the five; all others at the nose."""
    points = np.tile(five[2], (68, 1))
    around = np.array([[-6, 0], [-3, -3], [3, -3], [6, 0], [3, 3], [-3, 3]])
    points[36:42], points[42:48] = five[0] + around, five[1] + around
    points[48], points[54] = five[3], five[4]
    return points


@pytest.mark.reference
@pytest.mark.parametrize(
    ("photo", "case"), [pytest.param(*case, marks=pytest.mark.slow) if case in SLOW else case for case in CASES]
)
def test_crops_equal_the_reference_scripts_byte_for_byte(reference_dir: Path, photo: str, case: str) -> None:
    folder = reference_dir / "editing"
    record = json.loads((folder / "golden" / "align.json").read_text(encoding="utf-8"))[photo]
    expected = record["cases"][case]
    image = Image.open(folder / record["photo"]).convert("RGB")
    landmarks = np.array(record["landmarks68"])
    if case.startswith("up5"):
        image = image.resize((image.width * 5, image.height * 5), Image.Resampling.NEAREST)
        landmarks = landmarks * 5 + 2
    result = crop(image, landmarks, expected["output_size"], expected["transform_size"])

    assert np.abs(result.quad - expected["quad"]).max() < 1e-9
    if hashlib.sha256(result.image.tobytes()).hexdigest() != expected["sha256_of_pixels"]:
        # Another Pillow resamples a little differently; this bounds by how much.
        golden = Image.open(folder / "golden" / (expected.get("file") or expected["box256_file"]))
        ours = result.image.resize(golden.size, Image.Resampling.BOX)
        gap = np.abs(np.asarray(ours, dtype=int) - np.asarray(golden, dtype=int))
        assert gap.max() <= 2
        assert gap.mean() < 0.05
        pytest.skip(f"equal to {gap.max()} levels with this Pillow; byte for byte with the one of the recording")


@pytest.mark.reference
def test_the_recorded_cases_are_all_tried(reference_dir: Path) -> None:
    record = json.loads((reference_dir / "editing" / "golden" / "align.json").read_text(encoding="utf-8"))
    assert sorted((photo, case) for photo, entry in record.items() for case in entry["cases"]) == sorted(CASES)


@pytest.mark.parametrize("sigma", [0.3, 2.9, 20.5])
@pytest.mark.parametrize("shape", [(40, 61), (301, 170)])
def test_the_blur_equals_scipys(sigma: float, shape: tuple[int, int]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    plane = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    plane[:10] = 255
    expected = ndimage.gaussian_filter(plane, sigma)
    assert np.array_equal(_gaussian(plane, sigma), expected)


def test_the_quad_of_an_upright_face_is_its_square() -> None:
    assert ffhq_quad(FACE).tolist() == [[20, 14], [20, 174], [180, 174], [180, 14]]


def test_five_and_68_points_give_the_same_quad() -> None:
    assert np.allclose(ffhq_quad(as_68(FACE)), ffhq_quad(FACE), atol=1e-12)


def test_the_quad_follows_turned_scaled_and_moved_landmarks() -> None:
    angle, scale, shift = 0.7, 2.5, np.array([300.0, -40.0])
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert np.allclose(ffhq_quad(FACE @ turn + shift), ffhq_quad(FACE) @ turn + shift, atol=1e-9)


def test_the_crop_of_a_square_on_whole_pixels_is_that_square() -> None:
    photo = waves(300, 280)
    result = crop(photo, FACE, size=160, transform_size=160)
    # Corner indices 20..180 plus a half are the centers' square: its pixels are means of two by two
    # neighbors.
    source = np.asarray(photo, dtype=float)[14:175, 20:181]
    expected = (source[:-1, :-1] + source[1:, :-1] + source[:-1, 1:] + source[1:, 1:]) / 4
    assert np.abs(np.asarray(result.image) - expected).max() <= 1
    assert result.source_size == (300, 280)
    assert np.array_equal(result.quad, result.footprint)


def test_a_turned_photo_gives_the_same_crop() -> None:
    photo = waves(300, 280)
    turned = photo.transpose(Image.Transpose.ROTATE_90)
    moved = np.stack([FACE[:, 1], 299 - FACE[:, 0]], axis=1)
    a, b = crop(photo, FACE, 128, 128).image, crop(turned, moved, 128, 128).image
    assert np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max() <= 1


def test_exif_orientation_is_applied_before_the_landmarks(tmp_path: Path) -> None:
    photo = waves(300, 280)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "sideways.png", exif=exif)
    a, b = crop(photo, FACE, 64, 64), crop(tmp_path / "sideways.png", FACE, 64, 64)
    assert a.image.tobytes() == b.image.tobytes()
    assert b.source_size == (300, 280)


def test_a_large_transform_is_reduced_to_the_size() -> None:
    result = crop(waves(300, 280), FACE, size=64, transform_size=256)
    assert result.image.size == (64, 64)
    plain = crop(waves(300, 280), FACE, size=64, transform_size=64)
    assert result.image.tobytes() != plain.image.tobytes()


@pytest.mark.parametrize("size", [(239, 231), (240, 240)])
def test_the_footprint_tells_where_a_shrunk_crop_was_taken(size: tuple[int, int]) -> None:
    # Coordinates as colors: the crop's pixels say which point of the photo each of them shows.
    y, x = np.mgrid[: size[1], : size[0]]
    photo = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))
    result = crop(photo, FACE + 15, size=16, transform_size=16)  # side 160: shrunk by 5, which moves it by 2 px
    seen = np.asarray(result.image, dtype=float)[..., :2].mean(axis=(0, 1))
    assert np.abs(seen - result.footprint.mean(axis=0)).max() < 0.6
    assert np.abs(seen - result.quad.mean(axis=0)).min() > 1


def test_the_outside_is_a_reflection() -> None:
    photo = Image.new("RGB", (200, 200), (200, 150, 100))
    assert (np.asarray(crop(photo, FACE - [60, 40], 64, 64).image) == (200, 150, 100)).all()


def test_padding_fades_to_the_median_far_outside() -> None:
    photo = Image.new("RGB", (200, 200), (200, 150, 100))
    photo.paste((0, 0, 0), (0, 0, 12, 200))
    filled = np.asarray(crop(photo, FACE - [60, 40], 64, 64).image)
    assert (np.abs(filled[:, 0].astype(int) - (200, 150, 100)) <= 40).all()


def test_every_source_and_kind_of_landmarks_is_taken() -> None:
    photo = waves(300, 280)
    expected = crop(photo, FACE, 64, 64).image.tobytes()
    assert crop(np.asarray(photo), FACE.tolist(), 64, 64).image.tobytes() == expected
    assert crop(photo.convert("RGBA"), FACE.astype(np.int64), 64, 64).image.tobytes() == expected


def test_a_crop_is_a_value_that_cannot_be_changed() -> None:
    landmarks = FACE.copy()
    result = crop(waves(300, 280), landmarks, 64, 64)
    landmarks[:] = 0
    assert np.array_equal(result.landmarks, FACE)
    with pytest.raises(FrozenInstanceError):
        result.source_size = (1, 1)  # type: ignore[misc]
    for array in (result.quad, result.footprint, result.landmarks):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((67, 2)), r"shape \[67, 2\].*Expected \[68, 2\]"),
        (np.zeros((68, 3)), r"shape \[68, 3\]"),
        (np.zeros((1, 5, 2)), r"shape \[1, 5, 2\]"),
        ([], r"shape \[0\]"),
        (None, r"shape \[\]|not an array|not finite"),
        ("eyes", "not an array of numbers"),
        ([[1, 2], [3]], "not an array of numbers"),
        (np.where(np.arange(10).reshape(5, 2) == 3, np.nan, FACE), "1 of the 5 landmarks are NaN"),
        (np.full((68, 2), np.inf), "68 of the 68 landmarks are NaN or infinite"),
        (np.full((5, 2), 50.0), "span no square"),
        (FACE / 300, "not fractions"),
        (np.array([[80, 90], [120, 90], [100, 70], [100, 50], [100, 50]]), "span no square"),
    ],
)
def test_landmarks_that_make_no_square_are_refused(landmarks: npt.ArrayLike, message: str) -> None:
    for call in (ffhq_quad, lambda points: crop(waves(300, 280), points)):
        with pytest.raises(LandmarkError, match=message):
            call(landmarks)


def test_landmarks_outside_the_image_are_refused_with_both_ranges() -> None:
    with pytest.raises(LandmarkError, match=r"All 5 landmarks lie outside the image of 300 x 280 px: x from 1080"):
        crop(waves(300, 280), FACE + np.array([1000, 0]))
    with pytest.raises(LandmarkError, match="outside the image"):
        crop(waves(300, 280), FACE - [0, 500])


def test_a_square_far_larger_than_the_image_is_refused() -> None:
    with pytest.raises(LandmarkError, match=r"side of 3200 px, over 8 times"):
        crop(waves(300, 280), (FACE - FACE[0]) * 20 + 10)


def test_a_square_outside_the_image_is_refused() -> None:
    chin_only = as_68(FACE + np.array([1000, 0]))
    chin_only[0] = (5, 5)
    with pytest.raises(LandmarkError, match="lies outside the image"):
        crop(waves(300, 280), chin_only)


def test_landmarks_partly_outside_are_fine() -> None:
    assert crop(waves(300, 280), FACE - [90, 100], 64, 64).image.size == (64, 64)


@pytest.mark.parametrize(
    ("size", "transform_size"), [(0, 0), (2048, 1024), (-1, 64), (999_999_999, 999_999_999), (64, 8193)]
)
def test_impossible_sizes_are_refused(size: int, transform_size: int) -> None:
    with pytest.raises(ConfigError, match=f"size {size} with transform_size {transform_size}"):
        crop(waves(300, 280), FACE, size, transform_size)
