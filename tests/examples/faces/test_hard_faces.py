"""Photos that are made hard: where their faces are afterwards, and how detections are counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from examples.faces.hard_faces import Count, compare_corners, count_faces, count_table, error_of, hard_faces, main
from examples.faces.variants import ANGLES, SIDES, Face, Points, Variant, cover, darken, shrink, side_by_side, turn
from hyperstyle.align.crop import ffhq_quad, five_points
from hyperstyle.align.decision import MAX_MISPLACEMENT
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.errors import ConfigError, LandmarkError

POINTS = np.array([(60, 50), (100, 55), (78, 80), (62, 101), (94, 104)], dtype=np.float64)
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
FACE = Face(POINTS, (45, 20, 115, 120))


@pytest.fixture
def photo() -> Image.Image:
    """A black image with a disk of another color at each of the five points."""
    image = Image.new("RGB", (170, 140))
    draw = ImageDraw.Draw(image)
    for (x, y), color in zip(POINTS.tolist(), COLORS, strict=True):
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=color)
    return image


def centers(image: Image.Image) -> Points:
    """Where the disks are: the mean position of the pixels of each color, [5,2]."""
    pixels = np.asarray(image, dtype=float)
    means = []
    for color in COLORS:
        weight = np.clip(1 - np.abs(pixels - color).sum(axis=2) / 150, 0, None)
        y, x = np.mgrid[: image.height, : image.width]
        means.append(((x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()))
    return np.array(means)


@pytest.mark.parametrize("degrees", [*ANGLES, 7.5, 270, -20])
def test_the_points_turn_with_the_photo_which_stays_whole(photo: Image.Image, degrees: float) -> None:
    np.testing.assert_allclose(centers(photo), POINTS, atol=1e-6)
    turned, (points,) = turn(photo, [POINTS], degrees)
    np.testing.assert_allclose(centers(turned), points, atol=0.3)  # a shift by half a pixel is more
    corners = np.array([(0, 0), (photo.width, 0), (0, photo.height), photo.size]) - 0.5
    _, (moved,) = turn(photo, [corners], degrees)
    assert moved.min() >= -0.5 - 1e-5
    assert (moved <= np.array(turned.size) - 0.5 + 1e-5).all()


def test_a_turn_by_a_right_angle_is_that_of_pillow(photo: Image.Image) -> None:
    for degrees, transpose in ((90, Image.Transpose.ROTATE_90), (180, Image.Transpose.ROTATE_180)):
        levels, expected = (
            np.asarray(each, dtype=int) for each in (turn(photo, [POINTS], degrees)[0], photo.transpose(transpose))
        )
        assert np.abs(levels - expected).max() <= 1  # Pillow cuts the fractions of levels off


@pytest.mark.parametrize("scale", [0.9, 0.5, 0.37])
def test_the_points_shrink_with_the_photo(photo: Image.Image, scale: float) -> None:
    small, (points,) = shrink(photo, [POINTS], scale)
    assert small.size == (round(170 * scale), round(140 * scale))
    np.testing.assert_allclose(centers(small), points, atol=0.3)


def test_a_photo_is_darkened_and_its_face_is_covered_by_half(photo: Image.Image) -> None:
    assert darken(photo, 0.25).getextrema() == ((0, 64),) * 3
    shown = {half: np.asarray(cover(photo, [FACE], half)) for half in ("lower", "upper", "left")}
    for half, visible in (("lower", (0, 1)), ("upper", (3, 4)), ("left", (1, 4))):
        for i, (x, y) in enumerate(POINTS.astype(int)):
            if i in visible:
                assert (shown[half][y, x] == COLORS[i]).all()
            elif i != 2:  # the nose lies on the border
                assert (shown[half][y, x] == 128).all()


def test_photos_side_by_side_keep_their_faces(photo: Image.Image) -> None:
    row = side_by_side([(photo, [FACE]), (photo, [FACE])])
    assert len(row.points) == 2
    half = row.image.width // 2
    for start, points in zip((0, half), row.points, strict=True):
        found = centers(row.image.crop((start, 0, start + half, row.image.height)))
        np.testing.assert_allclose(found + np.array([start, 0]), points, atol=0.2)


def test_a_face_is_found_within_a_tenth_of_the_distance_of_the_eyes_and_counted_once(photo: Image.Image) -> None:
    eyes = float(np.hypot(*(POINTS[1] - POINTS[0])))
    near, far = (POINTS + np.array([share * eyes, 0]) for share in (0.09, 0.11))
    assert error_of(near, POINTS) == pytest.approx(0.09)
    assert error_of(far, POINTS) == pytest.approx(0.11)
    variant = Variant("unchanged", "", photo, [POINTS, POINTS + 200])
    assert count_faces(lambda image: [near, far], variant) == (1, 0, 1)
    assert count_faces(lambda image: [far, near], variant) == (0, 1, 1)
    assert count_faces(lambda image: [near, near], variant) == (1, 0, 1)
    assert count_faces(lambda image: [POINTS + 100], variant) == (0, 0, 1)
    assert count_faces(lambda image: [], variant) == (0, 0, 0)
    assert count_faces(lambda image: [POINTS + 201, near], variant) == (2, 0, 0)


def test_a_box_is_a_face_where_it_lies_around_the_points_at_the_size_of_one() -> None:
    middle, eyes = POINTS.mean(axis=0), float(np.hypot(*(POINTS[1] - POINTS[0])))

    def box(side: float, shift: float = 0.0) -> Points:
        return np.array([middle - side * eyes / 2, middle + side * eyes / 2]) + np.array([shift * eyes, 0])

    assert error_of(box(2.3), POINTS) == error_of(box(2.3, 0.45), POINTS) == 0
    for wrong in (box(2.3, 0.55), box(1.2), box(5)):
        assert error_of(wrong, POINTS) == np.inf


def test_every_variant_is_searched_by_every_detector(photo: Image.Image) -> None:
    seen: list[Image.Image] = []

    def detector(image: Image.Image) -> list[Points]:
        seen.append(image)
        return [POINTS]

    counts = hard_faces({"a": (photo, [FACE]), "b": (photo, [FACE])}, {"one": detector, "none": lambda image: []})
    single = 1 + len(ANGLES) + len(SIDES) + 3 + 3
    assert len(counts) == 2 * (2 * single + 1)
    assert len(seen) == 2 * single + 1
    assert all(count.found == 0 for count in counts if count.detector == "none")
    found = {(c.kind, c.amount): (c.found, c.off, c.false) for c in counts if (c.photo, c.detector) == ("a", "one")}
    assert found["unchanged", ""] == found["darkened", "x 0.1"] == (1, 0, 0)
    assert found["turned", "90 degrees"] == (0, 0, 1)
    table = count_table(counts)
    assert table.rows[0] == {"variant": "unchanged", "faces": 2, "one": "2", "none": "0"}
    assert table.rows[5]["one"] == "0, 2 false"
    assert table.rows[-1]["faces"] == 2
    assert isinstance(counts[0], Count)


def test_the_points_of_a_rendered_portrait_are_followed(portrait: Any) -> None:
    """A patch around each point, compared with those around it in the portrait that was turned there and back."""
    photo, landmarks = portrait(3, (320, 400))
    points = five_points(landmarks)
    turned, (moved,) = turn(photo, [points], 30)
    back, (again,) = turn(turned, [moved], -30)
    np.testing.assert_allclose(again - points, (np.subtract(back.size, photo.size) / 2)[None].repeat(5, 0), atol=1e-9)
    before, after = np.asarray(photo, dtype=float), np.asarray(back, dtype=float)

    def difference(x: int, y: int, u: int, v: int) -> float:
        return float(np.abs(before[y - 9 : y + 10, x - 9 : x + 10] - after[v - 9 : v + 10, u - 9 : u + 10]).mean())

    for (x, y), (u, v) in zip(points.round().astype(int), again.round().astype(int), strict=True):
        there = difference(x, y, u, v)
        assert all(there < difference(x, y, u + dx, v + dy) for dx, dy in ((5, 0), (-5, 0), (0, 5), (0, -5)))


# ---- with the published weights ----


@pytest.mark.reference
def test_the_command_writes_its_tables(reference_dir: Path, tmp_path: Path) -> None:
    folder = reference_dir / "editing"
    (tmp_path / "photos").mkdir()
    for name in ("face_frontal", "car"):
        (tmp_path / "photos" / f"{name}.jpg").write_bytes((folder / "photos" / f"{name}.jpg").read_bytes())
    out, points = tmp_path / "out", folder / "golden" / "align.json"
    arguments = [str(tmp_path / "photos"), "--mtcnn", str(folder / "weights" / "mtcnn"), "--out", str(out)]
    assert main([*arguments, "--longest", "256", "--corners", str(points)]) == 0
    with (out / "hard_faces.csv").open(encoding="utf-8") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert rows["unchanged"] == {"variant": "unchanged", "faces": "1", **dict.fromkeys(MTCNN, "1")}
    assert (rows["turned, 90 degrees"]["MTCNN"][0], rows["turned, 90 degrees"]["MTCNN sideways"]) == ("0", "1")
    assert (out / "corners.md").read_text(encoding="utf-8").count("face_frontal") == 1


MTCNN = ("MTCNN", "MTCNN sideways", "MTCNN doubled")


@pytest.mark.reference
def test_corners_by_five_points_are_as_near_those_by_68_as_rounding_lets_them_be(reference_dir: Path) -> None:
    """The recorded 68 points are built around MTCNN's five, in whole pixels.

    So the bound is how far corners move where each of the five points is moved by up to half a pixel each way.
    """
    folder = reference_dir / "editing"
    detector = MtcnnDetector(folder / "weights" / "mtcnn")
    rows = compare_corners(folder / "photos", folder / "golden" / "align.json", detector)
    assert [row["photo"] for row in rows] == ["face_frontal", "face_tilted", "portrait_small"]
    random = np.random.default_rng(0)
    for row in rows:
        (points,) = detector(Image.open(folder / "photos" / f"{row['photo']}.jpg"))
        moved = (ffhq_quad(points + random.uniform(-0.5, 0.5, (5, 2))) for _ in range(500))
        bound = max(float(np.hypot(*(quad - ffhq_quad(points)).T).max()) for quad in moved)
        assert 1 < bound < 5
        assert row["mean"] <= row["largest"] < bound
        assert row["largest"] < 0.005 * row["side"]


@pytest.mark.reference
def test_corners_on_rendered_portraits_are_near_those_by_the_points_of_the_renderer(
    reference_dir: Path, portrait: Any, tmp_path: Path
) -> None:
    """Points that do not come from MTCNN. It was trained on photographs: a tenth of the side is what counts as aligned
    (`MAX_MISPLACEMENT`)."""
    known = {}
    for number in range(5):
        photo, landmarks = portrait(number, (640, 800))
        photo.save(tmp_path / f"{number}.png")
        known[str(number)] = {"landmarks68": landmarks.tolist()}
    (tmp_path / "points.json").write_text(json.dumps(known), encoding="utf-8")
    detector = MtcnnDetector(reference_dir / "editing" / "weights" / "mtcnn")
    rows = compare_corners(tmp_path, tmp_path / "points.json", detector)
    assert len(rows) == 5
    for row in rows:
        assert row["mean"] < MAX_MISPLACEMENT * row["side"]


def test_a_file_without_landmarks_is_refused(photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "me.png")
    points = tmp_path / "points.json"
    for text in ("[1]", "{", '{"me": {"landmarks": []}}', '{"me": 3}'):
        points.write_text(text, encoding="utf-8")
        with pytest.raises(LandmarkError, match="is no JSON file of landmarks"):
            compare_corners(tmp_path, points, MtcnnDetector(tmp_path))
    points.write_text(json.dumps({"you": {"landmarks68": [[0, 0]] * 68}}), encoding="utf-8")
    with pytest.raises(ConfigError, match="names no photo of"):
        compare_corners(tmp_path, points, MtcnnDetector(tmp_path))
