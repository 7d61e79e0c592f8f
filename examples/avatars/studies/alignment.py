"""How well a detector finds faces and landmarks on rendered photos, whose landmarks are known.

    python -m examples.avatars.studies.alignment

The figures of docs/alignment.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from examples.avatars.renderer.factors import sample_factors, select
from examples.avatars.renderer.render import render
from examples.avatars.renderer.snapshots import snapshots
from examples.avatars.studies.command import run_command, study_parser
from hyperstyle.align.crop import ffhq_quad, five_points
from hyperstyle.align.decision import LandmarkDetector
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.cli.arguments import check_output_files, load_inverter
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.alignment import distance_of_quads
from hyperstyle.evaluation.figures import HELD_OUT_SEED, Progress, machine
from hyperstyle.images import to_pil
from hyperstyle.io.components import write_json

__all__ = ["AlignmentRow", "alignment_text", "evaluate_alignment", "main"]

Points = npt.NDArray[np.float64]

_NEAR = 0.5  # distances of the eyes: mean error of the points below which a detection is the face


@dataclass(frozen=True)
class AlignmentRow:
    """What a detector did on photos with one face each; errors are over the faces found, None where none was.

    Attributes:
        pictures: which images.
        count: how many.
        detected: share of the photos whose face was found: points within half the distance of the eyes, on average.
        false: detections beside it, in all photos together.
        pixels: mean distance of the points from the true ones.
        relative, relative_95: the same over the distance of the eyes; mean, and 95th percentile over the photos.
        corners, corners_95: mean distance of the crop's four corners from the true ones over the crop's side.
        seconds: of a photo, the median.
    """

    pictures: str
    count: int
    detected: float
    false: int
    pixels: float | None
    relative: float | None
    relative_95: float | None
    corners: float | None
    corners_95: float | None
    seconds: float


def evaluate_alignment(
    detector: LandmarkDetector,
    *,
    count: int = 256,
    size: int = 256,
    crop_size: int = 128,
    seed: int = HELD_OUT_SEED,
    on_progress: Progress | None = None,
) -> tuple[AlignmentRow, ...]:
    """Figures on photos of `size` px (random position, scale, tilt and background), and on crops already cut out.

    Args:
        detector: of 68 or 5 points.
        count: images of each kind.
        size, crop_size: their sides in pixels.
        seed: no training set uses the default.
        on_progress: called while it goes on.

    Raises:
        ConfigError: fewer than 1 image, or sizes that cannot be drawn.
        HyperStyleError: what the detector raises.
    """
    rows = []
    for name, photos in (
        (f"photos {size} px", _photos(count, size, seed)),
        (f"crops {crop_size} px", _crops(count, crop_size, seed)),
    ):
        measured = []
        for done, (photo, truth) in enumerate(photos, 1):
            measured.append(_measured(detector, photo, truth))
            if on_progress is not None:
                on_progress(name, done, count)
        rows.append(_row(name, measured))
    return tuple(rows)


def _photos(count: int, size: int, seed: int) -> Iterator[tuple[Image.Image, Points]]:
    for photo in snapshots(count, seed=seed, size=size, supersample=2):
        yield photo.image, photo.landmarks


def _crops(count: int, size: int, seed: int) -> Iterator[tuple[Image.Image, Points]]:
    factors = sample_factors(count, seed=seed)
    for index in range(count):
        rendered = render(select(factors, index), size)
        yield to_pil(rendered.images[0]), rendered.landmarks[0].double().numpy()


@dataclass(frozen=True)
class _Measured:
    """One photo: the errors of the face where it was found, what else was, seconds."""

    errors: tuple[float, float, float] | None  # pixels, over the distance of the eyes, corners over the side
    false: int
    seconds: float


def _measured(detector: LandmarkDetector, photo: Image.Image, truth: Points) -> _Measured:
    start = time.perf_counter()
    faces = detector(photo)
    seconds = time.perf_counter() - start
    left, right = five_points(truth)[:2]
    eyes = float(np.hypot(*(right - left)))
    distances = [
        float(np.hypot(*(points - (truth if len(points) == 68 else five_points(truth))).T).mean()) for points in faces
    ]
    if not distances or min(distances) > _NEAR * eyes:
        return _Measured(None, len(faces), seconds)
    best = int(np.argmin(distances))
    corners, side = distance_of_quads(ffhq_quad(faces[best]), ffhq_quad(truth))
    return _Measured((distances[best], distances[best] / eyes, corners / side), len(faces) - 1, seconds)


def _row(name: str, measured: Sequence[_Measured]) -> AlignmentRow:
    errors = np.array([photo.errors for photo in measured if photo.errors is not None], dtype=np.float64).reshape(-1, 3)
    none = not len(errors)

    def mean(column: int) -> float | None:
        return None if none else float(errors[:, column].mean())

    def high(column: int) -> float | None:
        return None if none else float(np.percentile(errors[:, column], 95))

    return AlignmentRow(
        pictures=name,
        count=len(measured),
        detected=len(errors) / len(measured),
        false=sum(photo.false for photo in measured),
        pixels=mean(0),
        relative=mean(1),
        relative_95=high(1),
        corners=mean(2),
        corners_95=high(2),
        seconds=float(np.median([photo.seconds for photo in measured])),
    )


def alignment_text(rows: Sequence[AlignmentRow]) -> str:
    """A line for each kind of image."""

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.2%}"

    titles = ("count", "found", "false", "px", "/ eyes", "95 %", "corners", "95 %", "seconds")
    lines = [f"{'pictures':14}" + "".join(f"{title:>9}" for title in titles)]
    for row in rows:
        cells = (
            str(row.count),
            f"{row.detected:.1%}",
            str(row.false),
            "-" if row.pixels is None else f"{row.pixels:.2f}",
            *map(share, (row.relative, row.relative_95, row.corners, row.corners_95)),
            f"{row.seconds:.3f}",
        )
        lines.append(f"{row.pictures:14}" + "".join(f"{cell:>9}" for cell in cells))
    return "\n".join(lines) + (
        "\n\npx: mean distance of the landmarks from the true ones; / eyes: over the distance of the eyes; "
        "corners: mean distance of the crop's corners over its side; 95 %: that percentile of the column before"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table of `evaluate_alignment`."""
    parser = study_parser(
        "alignment",
        "Renders photos of avatars that no training set held, with random position, scale, tilt and background, and "
        "crops already cut out, finds faces in them, and prints: the share found, other detections, the mean distance "
        "of the landmarks from the true ones in pixels and over the distance of the eyes, and that of the crop's "
        "corners over its side.",
    )
    parser.add_argument(
        "--aligner",
        choices=("model", "dlib"),
        default="model",
        help="the model's own, or dlib's frontal face detector with the published predictor (default: model)",
    )
    parser.add_argument("--count", type=int, default=256, metavar="N", help="images of each kind (default: 256)")
    parser.add_argument("--size", type=int, default=256, metavar="PX", help="side of the photos (default: 256)")
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    check_output_files(args, json="JSON")
    inverter = load_inverter(args)
    detector = inverter.aligner if args.aligner == "model" else DlibDetector()
    if detector is None:
        raise ConfigError("this model has no aligner. Use one that has, or --aligner dlib.")
    crop_size = inverter.model.domain.input_size[0]
    with progress_bar(args.quiet) as show:
        rows = evaluate_alignment(detector, count=args.count, size=args.size, crop_size=crop_size, on_progress=show)
    print(alignment_text(rows))
    if args.json is not None:
        write_json(
            args.json,
            {
                "machine": machine(inverter.model),
                "pictures": {"count": args.count, "seed": HELD_OUT_SEED},
                "aligner": args.aligner,
                "rows": [asdict(row) for row in rows],
            },
        )


if __name__ == "__main__":
    sys.exit(main())
