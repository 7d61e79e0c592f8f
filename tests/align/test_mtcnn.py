"""Faces and five points by MTCNN, with weights whose output can be computed by hand and with the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hyperstyle.align import LandmarkDetector, crop, ffhq_quad
from hyperstyle.align.decision import decide
from hyperstyle.align.mtcnn import MtcnnDetector, find_faces, identity_crop
from hyperstyle.align.prepare import prepare
from hyperstyle.domain import DOMAINS
from hyperstyle.errors import ConfigError, ImageError, LandmarkError, MissingFileError
from hyperstyle.images import to_pil
from hyperstyle.networks.perception.mtcnn import VARIABLE, Mtcnn, load_mtcnn

PARTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
TEMPLATE = np.array(
    [
        [38.29459953, 51.69630051],
        [73.53179932, 51.50139999],
        [56.02519989, 71.73660278],
        [41.54930115, 92.3655014],
        [70.72990036, 92.20410156],
    ]
)


@pytest.fixture
def blind() -> Mtcnn:
    """Networks that see nothing: every window is as good as another, and the points lie at `PARTS` of its box.

    Of a photo of 21 px the first one looks at a copy of 13 px, at two by two windows. As boxes in the photo these
    begin at 2 or 5 and end at 22 or 25, and overlap so much that only the last one counts: 5..25 both ways, which
    the photo's border cuts off to 5..20.
    """
    networks = Mtcnn().eval().requires_grad_(False)
    for parameter in networks.parameters():
        parameter.zero_()
    networks.onet.conv6_1.bias.copy_(torch.tensor([0.0, 6.0]))
    networks.onet.conv6_3.bias.copy_(torch.from_numpy(PARTS.T.reshape(10)))
    return networks


@pytest.fixture
def weights(blind: Mtcnn, tmp_path: Path) -> Path:
    """The blind networks as a folder of files."""
    for name, network in blind.named_children():
        state: Any = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
        np.save(tmp_path / f"{name}.npy", state)
    return tmp_path


def gray_image(side: int) -> Image.Image:
    return Image.new("RGB", (side, side), (90, 90, 90))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


# ---- the cascade ----


def test_points_and_offsets_are_parts_of_the_box(blind: Mtcnn) -> None:
    boxes, points = find_faces(gray_image(21), blind)
    chance = 1 / (1 + np.exp(-6))
    np.testing.assert_allclose(boxes, [[5, 5, 20, 20, chance]], atol=1e-6)
    np.testing.assert_allclose(points, [5 + 16 * PARTS], atol=1e-5)
    blind.onet.conv6_2.bias.copy_(torch.tensor([0.25, -0.5, 0.0, 0.125]))
    boxes, moved = find_faces(gray_image(21), blind)
    np.testing.assert_allclose(boxes, [[9, -3, 20, 22, chance]], atol=1e-6)
    np.testing.assert_array_equal(moved, points)


def test_offsets_of_the_first_networks_move_the_box_and_make_it_square(blind: Mtcnn) -> None:
    blind.pnet.conv4_2.bias.copy_(torch.tensor([-2.0, -2.0, -8.0, -6.0]) / 21)  # 3..17 and 3..19: 2..18 and 3..19
    boxes, _ = find_faces(gray_image(21), blind)
    np.testing.assert_allclose(boxes[:, :4], [[2, 3, 18, 19]], atol=1e-5)
    blind.rnet.conv5_2.bias.copy_(torch.tensor([0.0, 0.0, -3.0, -3.0]) / 17)
    boxes, _ = find_faces(gray_image(21), blind)
    np.testing.assert_allclose(boxes[:, :4], [[2, 3, 15, 16]], atol=1e-5)


@pytest.mark.parametrize("layer", ["rnet.conv5_1", "onet.conv6_1"])
def test_a_network_that_sees_no_face_ends_the_search(blind: Mtcnn, layer: str) -> None:
    blind.get_submodule(layer).bias.copy_(torch.tensor([6.0, 0.0]))  # type: ignore[union-attr, operator]
    boxes, points = find_faces(gray_image(21), blind)
    assert (boxes.shape, points.shape) == ((0, 5), (0, 5, 2))


def test_boxes_outside_the_photo_are_left_out(blind: Mtcnn) -> None:
    blind.pnet.conv4_2.bias.fill_(3.0)
    assert len(find_faces(gray_image(21), blind)[0]) == 0


def test_of_faces_that_lie_on_one_another_one_is_left(blind: Mtcnn) -> None:
    photo = Image.new("RGB", (21, 90))
    apart = find_faces(photo, blind)[0]
    blind.onet.conv6_2.bias.copy_(torch.tensor([0.0, -0.3, 0.0, 0.3]))
    boxes, points = find_faces(photo, blind)
    assert len(apart) > len(boxes) == len(points) > 1
    for i, (left, top, right, bottom, _) in enumerate(boxes):
        for left2, top2, right2, bottom2, _ in boxes[i + 1 :]:
            width, height = min(right, right2) - max(left, left2) + 1, min(bottom, bottom2) - max(top, top2) + 1
            areas = (right - left + 1) * (bottom - top + 1), (right2 - left2 + 1) * (bottom2 - top2 + 1)
            assert max(width, 0) * max(height, 0) <= 0.7 * min(areas)


# ---- the detector ----


def test_the_detector_gives_five_points_for_each_face(weights: Path) -> None:
    detector = MtcnnDetector(weights)
    assert isinstance(detector, LandmarkDetector)
    (points,) = detector(gray_image(21))
    assert (points.shape, points.dtype) == ((5, 2), np.float64)
    np.testing.assert_allclose(points, 5 + 16 * PARTS, atol=1e-5)


def test_a_large_photo_is_searched_on_a_copy_and_its_points_are_those_of_the_photo(weights: Path) -> None:
    (points,) = MtcnnDetector(weights, longest=21)(gray_image(42))
    np.testing.assert_allclose(points, (5 + 16 * PARTS + 0.5) * 2 - 0.5, atol=1e-5)


def test_only_faces_of_enough_confidence_count(weights: Path) -> None:
    chance = 1 / (1 + np.exp(-6))
    assert len(MtcnnDetector(weights, confidence=chance - 1e-3)(gray_image(21))) == 1
    assert MtcnnDetector(weights, confidence=chance + 1e-3)(gray_image(21)) == []


def test_networks_that_are_passed_are_used_where_they_are(blind: Mtcnn) -> None:
    detector = MtcnnDetector(blind, device="meta")
    assert detector._networks is blind
    (points,) = detector(gray_image(21))
    np.testing.assert_allclose(points, 5 + 16 * PARTS, atol=1e-5)


def test_a_photo_smaller_than_every_face_has_none(weights: Path) -> None:
    assert MtcnnDetector(weights)(gray_image(16)) == []


def test_the_weights_are_looked_for_at_the_first_call(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingFileError, match="nowhere is no folder"):
        MtcnnDetector(tmp_path / "nowhere")(gray_image(21))
    monkeypatch.delenv(VARIABLE, raising=False)
    detector = MtcnnDetector()
    with pytest.raises(MissingFileError, match=r"HYPERSTYLE_MTCNN is not set.*pip install"):
        detector(gray_image(21))
    monkeypatch.setenv(VARIABLE, str(weights))
    assert len(detector(gray_image(21))) == 1


def test_a_photo_is_enlarged_for_small_faces_and_its_points_are_those_of_the_photo(weights: Path) -> None:
    assert MtcnnDetector(weights)(gray_image(16)) == []
    assert MtcnnDetector(weights, upsample=1)(gray_image(16)) != []  # searched at 32 px
    points = np.array(MtcnnDetector(weights, longest=21, upsample=1)(gray_image(84)))  # searched at 42 px
    enlarged = np.array(MtcnnDetector(weights)(gray_image(42)))
    np.testing.assert_allclose(points, (enlarged + 0.5) * 2 - 0.5, atol=1e-5)


@pytest.mark.parametrize("options", [{"confidence": 1.5}, {"confidence": -0.1}, {"longest": 0}, {"upsample": 3}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected a probability from 0 to 1.*a side in pixels.*doublings"):
        MtcnnDetector("folder", **options)


# ---- the crop for face recognition ----


def test_points_where_they_should_be_leave_the_photo_as_it_is() -> None:
    photo = noise(112, 112)
    result = identity_crop(photo, TEMPLATE)
    assert result.shape == (3, 112, 112)
    assert to_pil(result).tobytes() == photo.tobytes()


def test_what_lies_outside_the_photo_is_black() -> None:
    photo = noise(112, 112)
    pixels = np.asarray(to_pil(identity_crop(photo, TEMPLATE - [30, 0])))
    np.testing.assert_array_equal(pixels[:, 30:], np.asarray(photo)[:, :82])
    assert (pixels[:, :30] == 0).all()


def test_between_pixels_it_is_their_mean_and_at_the_border_half_black() -> None:
    pixels = np.asarray(to_pil(identity_crop(Image.new("RGB", (100, 112), (200, 100, 50)), TEMPLATE - [0.5, 0])))
    assert (pixels[:, 0] == (100, 50, 25)).all()
    assert (pixels[:, 1:100] == (200, 100, 50)).all()
    assert (pixels[:, 100] == (100, 50, 25)).all()
    assert (pixels[:, 101:] == 0).all()


def test_a_turned_photo_gives_the_same_crop_of_a_face() -> None:
    photo = noise(150, 130)
    points = TEMPLATE * 0.8 + [12, 7]
    turned = np.stack([points[:, 1], 149 - points[:, 0]], axis=1)
    expected = identity_crop(photo, points)
    cropped = identity_crop(photo.transpose(Image.Transpose.ROTATE_90), turned)
    assert (cropped - expected).abs().max() < 1.5 / 127.5


def test_points_of_another_face_are_brought_as_near_as_can_be() -> None:
    """The turn, scale and shift of least squares, found here as the solution of a linear system."""
    y, x = np.mgrid[:200, :220]
    photo = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))  # colors that say the place
    points = TEMPLATE @ [[1.1, 0.3], [-0.3, 1.1]] + [40, 10] + np.random.default_rng(1).normal(0, 3, (5, 2))
    ones, zeros = np.ones(5), np.zeros(5)
    rows = [np.stack([*TEMPLATE.T * [[1], [-1]], ones, zeros], 1), np.stack([*TEMPLATE[:, ::-1].T, zeros, ones], 1)]
    (a, b, c, d), *_ = np.linalg.lstsq(np.concatenate(rows), points.T.reshape(10), rcond=None)
    seen = np.asarray(to_pil(identity_crop(photo, points)), dtype=float)
    for u, v in ((30, 30), (56, 72), (80, 40)):
        assert np.abs(seen[v, u, :2] - (a * u - b * v + c, b * u + a * v + d)).max() <= 0.5 + 1e-6


def test_68_points_give_the_crop_of_the_five_that_they_hold() -> None:
    photo = noise(150, 130)
    points = np.full((68, 2), 7.0)
    five = TEMPLATE + np.array([10, 5])
    points[36:42], points[42:48], points[30], points[48], points[54] = five
    assert torch.equal(identity_crop(photo, points), identity_crop(photo, five))


def test_exif_orientation_is_applied_before_the_points(tmp_path: Path) -> None:
    photo = noise(150, 130)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "sideways.png", exif=exif)
    assert torch.equal(identity_crop(tmp_path / "sideways.png", TEMPLATE), identity_crop(photo, TEMPLATE))


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [(np.zeros((4, 2)), r"shape \[4, 2\]"), (np.full((5, 2), np.nan), "NaN"), (np.ones((5, 2)), "span no square")],
)
def test_what_are_no_points_of_a_face_is_refused(landmarks: npt.ArrayLike, message: str) -> None:
    with pytest.raises(LandmarkError, match=message):
        identity_crop(noise(112, 112), landmarks)


def test_an_image_that_cannot_be_read_is_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ImageError):
        identity_crop(tmp_path / "nowhere.png", TEMPLATE)
    with pytest.raises(ImageError):
        MtcnnDetector(weights)(Image.new("RGB", (3, 3)))


# ---- recordings of the published detector ----


@pytest.fixture(scope="module")
def recorded(reference_dir: Path) -> dict[str, tuple[Image.Image, Any, Any]]:
    """Name -> photo, boxes and points found in it with the published weights."""
    folder = reference_dir / "editing"
    networks = load_mtcnn(folder / "weights" / "mtcnn")
    detections = {}
    for name in json.loads((folder / "golden" / "mtcnn.json").read_text()):
        if name.endswith(".jpg"):
            path = folder / "photos" / name
        elif name.endswith("_aligned256"):
            path = folder / "golden" / "align" / f"{name.removesuffix('_aligned256')}.restyle_256_t256.png"
        else:
            continue
        photo = Image.open(path).convert("RGB")
        detections[name.removesuffix(".jpg")] = (photo, *find_faces(photo, networks))
    return detections


@pytest.mark.reference
def test_boxes_and_points_are_those_recorded(reference_dir: Path, recorded: dict[str, Any]) -> None:
    with np.load(reference_dir / "editing" / "golden" / "mtcnn.npz") as golden:
        for name, (_, boxes, points) in recorded.items():
            np.testing.assert_allclose(boxes, golden[f"{name}_boxes"], atol=2e-3, err_msg=name)
            expected = golden[f"{name}_lm"].reshape(-1, 2, 5).transpose(0, 2, 1)
            np.testing.assert_allclose(points, expected, atol=2e-3, err_msg=name)


@pytest.mark.reference
def test_the_crops_for_face_recognition_are_those_recorded(reference_dir: Path, recorded: dict[str, Any]) -> None:
    folder = reference_dir / "editing" / "golden" / "align"
    compared = 0
    for name, (photo, _, points) in recorded.items():
        if not len(points):
            assert not (folder / f"{name}.mtcnn112.png").exists()
            continue
        expected = np.asarray(Image.open(folder / f"{name}.mtcnn112.png").convert("RGB"), dtype=int)
        levels = np.abs(np.asarray(to_pil(identity_crop(photo, points[0])), dtype=int) - expected)
        assert levels.max() <= 1, name
        assert (levels > 0).mean() < 1e-3, name
        compared += 1
    assert compared


@pytest.mark.reference
def test_the_ffhq_crop_of_the_five_points_is_that_of_the_recorded_68(
    reference_dir: Path, recorded: dict[str, Any]
) -> None:
    """The recorded 68 points are whole numbers built around the five, which moves corners by about a pixel."""
    folder = reference_dir / "editing" / "golden"
    cases = json.loads((folder / "align.json").read_text())
    for name in cases.keys() & recorded.keys():
        photo, _, points = recorded[name]
        golden = ffhq_quad(cases[name]["landmarks68"])
        assert np.abs(ffhq_quad(points[0]) - golden).max() < 1.5, name
        cropped = np.asarray(crop(photo, points[0], 256, 256).image, dtype=int)
        expected = np.asarray(Image.open(folder / "align" / f"{name}.restyle_256_t256.png"), dtype=int)
        assert np.abs(cropped - expected).mean() < 2, name
    assert cases.keys() & recorded.keys()


@pytest.mark.reference
def test_the_detector_takes_the_sure_faces_only(reference_dir: Path, recorded: dict[str, Any]) -> None:
    detector = MtcnnDetector(reference_dir / "editing" / "weights" / "mtcnn")
    photo, boxes, points = recorded["portrait_small"]
    assert len(boxes) > 1
    (detected,) = detector(photo)
    np.testing.assert_allclose(detected, points[0], atol=1e-6)
    (reduced,) = MtcnnDetector(detector.weights, longest=400)(photo)
    assert np.abs(reduced - detected).max() < 0.03 * np.hypot(*(detected[1] - detected[0])) * 2


@pytest.mark.reference
@pytest.mark.parametrize("name", ["portrait_small", "face_frontal"])
@pytest.mark.parametrize("turn", ["ROTATE_90", "ROTATE_180", "ROTATE_270"])
def test_a_face_on_its_side_or_head_is_found_where_the_photo_is_turned(
    reference_dir: Path, recorded: dict[str, Any], name: str, turn: str
) -> None:
    photo, _, points = recorded[name]
    lying = photo.transpose(Image.Transpose[turn])
    weights = reference_dir / "editing" / "weights" / "mtcnn"
    (found,) = MtcnnDetector(weights, sideways=True)(lying)
    (x, y), right, bottom = points[0].T, photo.width - 1, photo.height - 1
    turned = {"ROTATE_90": [y, right - x], "ROTATE_180": [right - x, bottom - y], "ROTATE_270": [bottom - y, x]}
    np.testing.assert_allclose(found, np.stack(turned[turn], axis=1), atol=1e-6)
    assert not any(np.abs(wrong - found).mean() < 20 for wrong in MtcnnDetector(weights)(lying))  # found, or none


@pytest.mark.reference
@pytest.mark.parametrize(("name", "turned"), [("face_tilted", 0), ("face_frontal", 0), ("face_frontal", 20)])
def test_a_tilted_or_off_center_face_in_a_square_photo_is_aligned(
    reference_dir: Path, recorded: dict[str, Any], name: str, turned: float
) -> None:
    """face_frontal as it is lies in its square like a crop, and is aligned once it is turned or shifted."""
    detector = MtcnnDetector(reference_dir / "editing" / "weights" / "mtcnn")
    photo = recorded[name][0]
    assert photo.width == photo.height
    image = photo.rotate(turned, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
    shifted = Image.new("RGB", (1400, 1400), (128, 128, 128))
    shifted.paste(image, (30, 350))
    for square in [image, shifted] if name == "face_tilted" or turned else [shifted]:
        (choice,) = decide(square, name, aligner=detector)
        assert choice.note == "cut out around a detected face (largest of 1)"
        (prepared,) = prepare(square, DOMAINS["faces"], aligner=detector)
        assert prepared.source.placement is not None
        assert prepared.unaligned == ""
