"""How many faces MTCNN and dlib's frontal detector find in photographs that are made hard, step by step.

    python -m examples.faces.hard_faces photos/ --mtcnn weights/mtcnn --out runs/hard_faces

The tables of docs/alignment.md. The photos must show faces that MTCNN finds as they are: where it finds them is taken
as the truth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from examples.faces.variants import Face, Points, Variant, side_by_side, variants
from hyperstyle.align.crop import ffhq_quad
from hyperstyle.align.mtcnn import MtcnnDetector, find_faces
from hyperstyle.align.turns import ScoredFaces, find_sideways
from hyperstyle.cli.arguments import writable_folder
from hyperstyle.errors import ConfigError, HyperStyleError, LandmarkError
from hyperstyle.evaluation.alignment import photos_of
from hyperstyle.evaluation.tables import Column, Table, to_csv, to_markdown
from hyperstyle.images import load_image, reduce_to
from hyperstyle.io.files import write_text
from hyperstyle.io.opening import parse_json, read_text
from hyperstyle.networks.perception.mtcnn import Mtcnn, load_mtcnn

__all__ = ["compare_corners", "count_faces", "hard_faces", "main", "truth_of"]

Detector = Callable[[Image.Image], list[Points]]
"""An image -> for each face [5,2] points; or, of a detector that only finds boxes, two opposite corners [2,2]."""

NEAR = 0.1  # distances between the eyes: mean error of the points up to which a face counts as found
SAME = 0.5  # up to which it counts as seen, with wrong points
_CONFIDENCE, _LONGEST = 0.95, 2048  # of the faces that are taken as the truth, and of the photo they are found in
# Sides of dlib's boxes over the distance between the eyes: 2.2 to 2.6 on photographs of people.
_BOX_SIDES = (1.6, 3.6)


@dataclass(frozen=True)
class Count:
    """What a detector found in one image."""

    photo: str
    kind: str
    amount: str
    detector: str
    faces: int
    found: int
    off: int
    false: int


def truth_of(photo: Image.Image, networks: Mtcnn, longest: int) -> tuple[Image.Image, list[Face]]:
    """The photo, reduced to a longer side in pixels, and the faces that MTCNN finds in it before."""
    searched = reduce_to(photo, _LONGEST)
    boxes, points = find_faces(searched, networks, confidence=_CONFIDENCE)
    reduced = reduce_to(photo, longest)
    scale = np.divide(reduced.size, searched.size)
    faces = []
    for box, each in zip(boxes, points, strict=True):
        left, top, right, bottom = (box[:4].reshape(2, 2) * scale).flatten().tolist()
        faces.append(Face((each + 0.5) * scale - 0.5, (left, top, right, bottom)))
    return reduced, faces


def error_of(detection: Points, truth: Points) -> float:
    """How far a detection is from a face [5,2], over the distance between the eyes.

    Of five points it is their mean distance. Of a box it is 0 if its center lies within half the distance between the
    eyes of the mean of the five points, and its side is that of a face's box; else infinity.
    """
    eyes = float(np.hypot(*(truth[1] - truth[0])))
    if len(detection) == 5:
        return float(np.hypot(*(detection - truth).T).mean()) / eyes
    center, side = detection.mean(axis=0), float(np.abs(detection[1] - detection[0]).mean())
    distance = float(np.hypot(*(center - truth.mean(axis=0))))
    is_face = distance <= 0.5 * eyes and _BOX_SIDES[0] * eyes <= side <= _BOX_SIDES[1] * eyes
    return 0.0 if is_face else np.inf


def count_faces(detector: Detector, variant: Variant) -> tuple[int, int, int]:
    """How many faces of an image are found, how many others are seen with wrong points, and false detections."""
    detections = detector(variant.image)
    left = list(variant.points)
    found = off = 0
    for detection in detections:
        errors = [error_of(detection, truth) for truth in left]
        if not errors or min(errors) > SAME:
            continue
        found, off = (found + 1, off) if min(errors) <= NEAR else (found, off + 1)
        del left[int(np.argmin(errors))]
    return found, off, len(detections) - found - off


def hard_faces(
    photos: Mapping[str, tuple[Image.Image, Sequence[Face]]],
    detectors: Mapping[str, Detector],
    on_photo: Callable[[str], None] = lambda name: None,
) -> list[Count]:
    """What each detector finds in every variant of the photos, and in all of them side by side.

    Args:
        photos: name -> photo and its faces, at least one.
        detectors: name -> detector.
        on_photo: called with the name of each photo before it is searched.
    """
    counts: list[Count] = []

    def search(name: str, variant: Variant) -> None:
        for title, detector in detectors.items():
            counts.append(
                Count(name, variant.kind, variant.amount, title, len(variant.points), *count_faces(detector, variant))
            )

    for name, (photo, faces) in photos.items():
        on_photo(name)
        for variant in variants(photo, faces):
            search(name, variant)
    if len(photos) > 1:
        on_photo("side by side")
        search("all", side_by_side(list(photos.values())))
    return counts


def count_table(counts: Sequence[Count]) -> Table:
    """A row for each kind and amount, a column for each detector: found, seen with wrong points (off), false."""
    detectors = list(dict.fromkeys(count.detector for count in counts))
    rows: list[dict[str, Any]] = []
    for kind, amount in dict.fromkeys((count.kind, count.amount) for count in counts):
        row: dict[str, Any] = {"variant": f"{kind}, {amount}" if amount else kind}
        for detector in detectors:
            cell = [c for c in counts if (c.kind, c.amount, c.detector) == (kind, amount, detector)]
            row["faces"] = sum(c.faces for c in cell)
            found, off, false = (sum(getattr(c, key) for c in cell) for key in ("found", "off", "false"))
            row[detector] = f"{found}" + (f", {off} off" if off else "") + (f", {false} false" if false else "")
        rows.append(row)
    columns = [Column("variant", "photos"), Column("faces", "faces"), *(Column(name, name) for name in detectors)]
    return Table(columns, rows)


# ---- detectors ----


def mtcnn_detectors(weights: Path) -> dict[str, Detector]:
    """MTCNN as it is, with `sideways`, and with `upsample`."""
    first = MtcnnDetector(weights)
    return {
        "MTCNN": first,
        "MTCNN sideways": replace(first, sideways=True),
        "MTCNN doubled": replace(first, upsample=1),
    }


def dlib_detectors() -> dict[str, Detector]:
    """dlib's frontal face detector alone, which needs no file: its boxes; with turning, and with doubling."""
    import dlib

    frontal = dlib.get_frontal_face_detector()

    def detector(upsample: int, sideways: bool) -> Detector:
        def scored(image: Image.Image) -> ScoredFaces:
            boxes, scores, _ = dlib.fhog_object_detector.run(frontal, np.asarray(image), upsample, 0.0)
            corners = [((box.left(), box.top()), (box.right(), box.bottom())) for box in boxes]
            return max(scores, default=-np.inf), [np.array(each, dtype=np.float64) for each in corners]

        def search(image: Image.Image) -> list[Points]:
            return find_sideways(scored, image, sure=0.0) if sideways else scored(image)[1]

        return search

    titles = {(0, False): "dlib", (0, True): "dlib sideways", (1, False): "dlib doubled"}
    return {title: detector(*settings) for settings, title in titles.items()}


# ---- corners ----


def compare_corners(photos: Path, landmarks: Path, detector: MtcnnDetector) -> list[dict[str, Any]]:
    """How far the corners of the crops by a detector's five points are from those by 68 points in a file.

    Args:
        photos: a folder.
        landmarks: JSON, name of a photo without its suffix -> {"landmarks68": [[x, y], ...]}.
        detector: its face that is nearest counts.

    Returns:
        For each photo that the file names: its name, the side of the crop by the 68 points in pixels, and the mean and
        the largest distance of the four corners in pixels, which are left out where no face is found.

    Raises:
        ConfigError: no photo of the folder is in the file. LandmarkError: the file holds something else.
        HyperStyleError: what the detector and `load_image` raise.
    """
    try:
        entries = parse_json(read_text(landmarks))
        known = {name: np.array(entry["landmarks68"], dtype=np.float64) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LandmarkError(
            f"{str(landmarks)!r} is no JSON file of landmarks ({error!r}): expected "
            '{"NAME": {"landmarks68": [[x, y], ...]}, ...}.'
        ) from error
    rows = []
    for path in photos_of(photos).images:
        if path.stem not in known:
            continue
        expected = ffhq_quad(known[path.stem])
        row: dict[str, Any] = {"photo": path.stem, "side": float(np.hypot(*(expected[1] - expected[0])))}
        quads = [ffhq_quad(points) for points in detector(load_image(path))]
        if quads:
            distances = min((np.hypot(*(quad - expected).T) for quad in quads), key=np.mean)  # [4]
            row |= {"mean": float(distances.mean()), "largest": float(distances.max())}
        rows.append(row)
    if not rows:
        raise ConfigError(f"{str(landmarks)!r} names no photo of {str(photos)!r}.")
    return rows


def corner_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of `compare_corners`, with the distances as shares of the side too."""
    shares: list[dict[str, Any]] = []
    for row in rows:
        share = {f"{key}_share": row[key] / row["side"] for key in ("mean", "largest") if row.get(key) is not None}
        shares.append({**row, **share})
    columns = [
        Column("photo", "photo"),
        Column("side", "side, px", ".0f"),
        *(Column(key, f"{key}, px", ".2f") for key in ("mean", "largest")),
        *(Column(f"{key}_share", f"{key}, of the side", ".2%") for key in ("mean", "largest")),
    ]
    return Table(columns, shares)


# ---- the command ----


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables, and writes them as Markdown and CSV; 2, and one line on stderr, where an error ends it."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.faces.hard_faces", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument("photos", type=Path, metavar="FOLDER", help="photographs of people")
    parser.add_argument("--mtcnn", type=Path, required=True, metavar="FOLDER", help="published weights of MTCNN")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the tables; it is made")
    parser.add_argument("--dlib", action="store_true", help="also dlib's frontal face detector, where it is installed")
    parser.add_argument("--longest", type=int, default=512, metavar="PX", help="photos are reduced to it first (512)")
    parser.add_argument("--corners", type=Path, metavar="FILE", help="JSON of 68 points: compare the crops' corners")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        _run(args)
    except HyperStyleError as error:
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    writable_folder(args.out)
    networks = load_mtcnn(args.mtcnn)
    photos: dict[str, tuple[Image.Image, list[Face]]] = {}
    for path in photos_of(args.photos).images:
        photo, faces = truth_of(load_image(path), networks, args.longest)
        if faces:
            photos[path.stem] = (photo, faces)
        else:
            print(f"{path.name}: no face in it as it is; left out", file=sys.stderr)
    if not photos:
        raise ConfigError(f"MTCNN finds no face in the photos of {str(args.photos)!r}. Give photographs of people.")
    detectors = mtcnn_detectors(args.mtcnn) | (dlib_detectors() if args.dlib else {})
    counts = hard_faces(photos, detectors, lambda name: print(name, file=sys.stderr))
    tables = {"hard_faces": count_table(counts)}
    if args.corners is not None:
        tables["corners"] = corner_table(compare_corners(args.photos, args.corners, MtcnnDetector(args.mtcnn)))
    for name, table in tables.items():
        markdown = to_markdown(table)
        print(f"{markdown}\n")
        write_text(args.out / f"{name}.md", f"{markdown}\n")
        write_text(args.out / f"{name}.csv", to_csv(table))
    each = [Column(name, name) for name in Count.__dataclass_fields__]
    write_text(args.out / "hard_faces_each.csv", to_csv(Table(each, [vars(count) for count in counts])))


if __name__ == "__main__":
    sys.exit(main())
