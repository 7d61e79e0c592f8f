"""dlib's detector and predictor behind the library's interface, on synthetic faces; small ones are trained here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter

from hyperstyle.align import LandmarkDetector, crop, ffhq_quad
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.errors import (
    CheckpointError,
    ConfigError,
    HubError,
    ImageError,
    MissingDependencyError,
    MissingFileError,
)

dlib = pytest.importorskip("dlib")

Points = npt.NDArray[np.float64]
Box = tuple[int, int, int]  # left, top, side
EMPTY = Image.new("RGB", (260, 180), "#8090a0")
FIVE = [36, 39, 42, 45, 33]  # dlib's other order: corners of the eyes, base of the nose


def around(x: float, y: float, width: float, height: float, count: int) -> Points:
    """Points on an ellipse, clockwise in the image, starting at its left end."""
    angle = np.pi + 2 * np.pi * np.arange(count) / count
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], axis=1)


def template() -> Points:
    """The 68 points in a box from 0 to 1, in the iBUG 300-W order."""
    angle = np.pi * (1 - np.arange(17) / 16)
    jaw = np.stack([0.5 + 0.42 * np.cos(angle), 0.45 + 0.5 * np.sin(angle)], axis=1)
    brow = np.stack([np.linspace(0.18, 0.42, 5), np.full(5, 0.24)], axis=1)
    bridge = np.stack([np.full(4, 0.5), np.linspace(0.35, 0.56, 4)], axis=1)
    base = np.stack([np.linspace(0.42, 0.58, 5), np.full(5, 0.6)], axis=1)
    eye, mouth = around(0.3, 0.36, 0.1, 0.05, 6), around(0.5, 0.76, 0.17, 0.07, 12)
    lips = around(0.5, 0.76, 0.12, 0.03, 8)
    other = np.array([0.4, 0.0])
    return np.concatenate([jaw, brow, brow + other, bridge, base, eye, eye + other, mouth, lips])


def placed(box: Box) -> Points:
    return template() * box[2] + np.array(box[:2])


def photo(size: tuple[int, int], *boxes: Box, seed: int = 0) -> Image.Image:
    """Faces on a cloudy background."""
    noise = np.random.default_rng(seed).integers(40, 215, (10, 10, 3))
    image = Image.fromarray(noise.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for box in boxes:
        left, top, side = box
        points = placed(box)

        def line(first: int, last: int, color: str, points: Points = points, width: int = side // 24 or 1) -> None:
            draw.line([tuple(p) for p in points[first:last]], fill=color, width=width)

        draw.ellipse((left + 0.08 * side, top, left + 0.92 * side, top + 0.95 * side), fill="#e8b898")
        for first in (36, 42):
            draw.polygon([tuple(p) for p in points[first : first + 6]], fill="#202030")
        draw.polygon([tuple(p) for p in points[48:60]], fill="#902030")
        line(17, 22, "#403020")
        line(22, 27, "#403020")
        line(27, 31, "#b07858")
        line(31, 36, "#b07858")
    return image.filter(ImageFilter.GaussianBlur(0.6))


def rectangle(box: Box) -> object:
    left, top, side = box
    return dlib.rectangle(left, top, left + side - 1, top + side - 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with detector.svm, predictor.dat (68 points) and five.dat, from a few drawings, by dlib's trainers."""
    folder = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(1)
    boxes = []
    for _ in range(12):
        side = int(random.integers(76, 90))
        boxes.append((int(random.integers(5, 155 - side)), int(random.integers(5, 155 - side)), side))
    images = [np.array(photo((160, 160), box, seed=k)) for k, box in enumerate(boxes)]

    detection = dlib.simple_object_detector_training_options()
    detection.detection_window_size, detection.num_threads, detection.C = 64 * 64, 1, 5
    detection.epsilon = 0.05
    detector = dlib.train_simple_object_detector(images, [[rectangle(box)] for box in boxes], detection)
    detector.save(str(folder / "detector.svm"))

    shape = dlib.shape_predictor_training_options()
    shape.num_threads, shape.random_seed, shape.tree_depth, shape.cascade_depth = 1, "1", 2, 6
    shape.num_trees_per_cascade_level, shape.num_test_splits, shape.feature_pool_size = 30, 20, 120
    shape.oversampling_amount, shape.oversampling_translation_jitter = 20, 0.1
    for name, used in (("predictor.dat", list(range(68))), ("five.dat", FIVE)):
        truth = []
        for box in boxes:
            parts = [dlib.point(*map(int, np.rint(placed(box)[index]))) for index in used]
            truth.append([dlib.full_object_detection(rectangle(box), dlib.points(parts))])
        dlib.train_shape_predictor(images, truth, shape).save(str(folder / name))
    return folder


Make = Callable[..., DlibDetector]


@pytest.fixture
def make(trained: Path) -> Make:
    """A detector with the trained files."""

    def make(**options: int) -> DlibDetector:
        return DlibDetector(trained / "predictor.dat", detector=trained / "detector.svm", **options)

    return make


def error(points: Points, box: Box) -> float:
    """Mean distance from the truth, relative to the side of the face."""
    return float(np.hypot(*(points - placed(box)).T).mean()) / box[2]


def test_the_landmarks_of_a_face_are_found_in_the_photos_own_pixels(make: Make) -> None:
    box = (110, 40, 84)
    image = photo((260, 180), box)
    detector: LandmarkDetector = make()
    [points] = detector(image)
    assert (points.dtype, points.shape) == (np.float64, (68, 2))
    assert error(points, box) < 0.1
    quad = ffhq_quad(placed(box))
    off = np.hypot(*(crop(image, points, 64, 64).quad - quad).T)
    assert off.max() < 0.15 * np.hypot(*(quad[3] - quad[0]))


def test_every_face_is_found_and_none_where_there_is_none(make: Make) -> None:
    left, right = (20, 60, 82), (170, 30, 96)
    landmarks = sorted(make()(photo((300, 200), left, right)), key=lambda points: points[30, 0])
    assert [error(points, box) < 0.1 for points, box in zip(landmarks, (left, right), strict=True)] == [True, True]
    assert make()(EMPTY) == []
    assert make()(Image.new("RGB", (16, 16))) == []


def test_on_photos_of_moderate_size_the_result_is_that_of_plain_dlib(make: Make, trained: Path) -> None:
    image = photo((300, 200), (20, 60, 82), (170, 30, 96))
    pixels = np.array(image)
    predict = dlib.shape_predictor(str(trained / "predictor.dat"))
    boxes = dlib.fhog_object_detector(str(trained / "detector.svm"))(pixels, 1)
    expected = [[(part.x, part.y) for part in predict(pixels, box).parts()] for box in boxes]
    assert [points.tolist() for points in make()(image)] == [[list(p) for p in points] for points in expected]


def test_large_photos_are_searched_on_a_reduced_copy_and_the_points_are_those_of_the_photo(make: Make) -> None:
    box = (500, 300, 640)
    image = photo((1600, 1200), box)
    [points] = make(longest=200, upsample=0)(image)
    assert error(points, box) < 0.1
    assert make(longest=40, upsample=0)(image) == []  # of 16 px on that copy


def test_small_faces_are_found_on_an_enlarged_copy(make: Make) -> None:
    box = (20, 20, 40)
    image = photo((80, 80), box)
    assert make(upsample=0)(image) == []
    [points] = make(upsample=1)(image)
    assert error(points, box) < 0.1


@pytest.mark.parametrize("turn", ["ROTATE_90", "ROTATE_180", "ROTATE_270"])
def test_a_face_that_lies_is_found_on_request_at_its_place_in_the_photo_as_given(make: Make, turn: str) -> None:
    box = (110, 40, 84)
    image = photo((260, 180), box)
    [expected] = make()(image)
    lying = image.transpose(Image.Transpose[turn])
    assert make()(lying) == []
    [points] = make(sideways=True)(lying)
    # The crop stands upright, and is the same one.
    assert np.abs(np.asarray(crop(lying, points, 64).image) - np.asarray(crop(image, expected, 64).image)).max() == 0


def test_searching_sideways_changes_nothing_for_an_upright_face_and_invents_none(make: Make) -> None:
    image = photo((260, 180), (110, 40, 84))
    assert [p.tolist() for p in make(sideways=True)(image)] == [p.tolist() for p in make()(image)]
    assert make(sideways=True)(EMPTY) == []


def test_gray_photos_give_the_landmarks_of_their_colors(make: Make) -> None:
    image = photo((260, 180), (110, 40, 84)).convert("L")
    assert [p.tolist() for p in make()(image)] == [p.tolist() for p in make()(image.convert("RGB"))]
    with pytest.raises(ImageError):
        make()(Image.new("RGB", (4, 4)))


def test_nothing_is_read_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    DlibDetector("nowhere.dat", detector="nowhere.svm")


def test_without_dlib_the_error_says_how_to_get_it_and_how_to_do_without(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install dlib-bin.*landmarks=.*align=False"):
        make()(photo((64, 64)))


def test_a_predictor_that_is_nowhere_is_looked_for_once_by_each_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def nowhere(path: object) -> Path:
        looked.append(path)
        raise MissingFileError("No landmark predictor") from HubError("offline")

    monkeypatch.setattr("hyperstyle.align.dlib_detector.find_predictor", nowhere)
    detector = DlibDetector()
    raised = []
    for _ in range(3):
        with pytest.raises(MissingFileError, match="No landmark predictor") as failure:
            detector(EMPTY)
        raised.append((failure.value, failure.value.__cause__, len(failure.traceback)))
    assert len(looked) == 1
    assert len({id(error) for error, _, _ in raised}) == 1
    assert isinstance(raised[2][1], HubError)
    assert raised[2][2] == raised[1][2]  # the traceback does not grow with the photos
    with pytest.raises(MissingFileError):
        DlibDetector()(EMPTY)
    assert len(looked) == 2


@pytest.mark.parametrize("options", [{"longest": 0}, {"upsample": -1}, {"upsample": 5}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"such as 1280, and 0 to 4 doublings"):
        DlibDetector(**options)  # type: ignore[arg-type]


def test_a_predictor_of_five_points_is_refused(trained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"five\.dat predicts 5 points; expected 68.*has no mouth"):
        DlibDetector(trained / "five.dat")(photo((64, 64)))


@pytest.mark.parametrize("name", ["detector.svm", "text.dat", "packed.dat", "cut.dat"])
def test_a_file_that_holds_no_predictor_is_refused(trained: Path, tmp_path: Path, name: str) -> None:
    predictor = (trained / "predictor.dat").read_bytes()
    for content_name, content in {
        "text.dat": b"a text",
        "packed.dat": b"BZh91AY&SY",
        "cut.dat": predictor[: len(predictor) // 2],
    }.items():
        (tmp_path / content_name).write_bytes(content)
    path = (trained if name == "detector.svm" else tmp_path) / name
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read as a landmark predictor.*bunzip2"):
        DlibDetector(path)(photo((64, 64)))


@pytest.mark.parametrize("name", ["predictor.dat", "absent.svm"])
def test_a_file_that_holds_no_detector_is_refused(trained: Path, name: str) -> None:
    message = "cannot be read as a face detector.*train_simple_object_det|is missing: expected a face detector"
    with pytest.raises(CheckpointError, match=rf"{name} ({message})"):
        DlibDetector(trained / "predictor.dat", detector=trained / name)(photo((64, 64)))


@pytest.mark.reference
@pytest.mark.parametrize(("name", "count"), [("face_frontal", 1), ("portrait_large", 1), ("car", 0)])
def test_dlibs_own_detector_finds_the_faces_of_photos(
    reference_dir: Path, trained: Path, name: str, count: int
) -> None:
    detector = DlibDetector(trained / "predictor.dat", longest=400)
    assert len(detector(Image.open(reference_dir / "editing" / "photos" / f"{name}.jpg"))) == count
