"""How far dragged points come, and what it does to the face, on the held-out avatars of the package.

    python -m examples.avatars.studies.drag
    python -m examples.avatars.studies.drag --settings
    python -m examples.avatars.studies.drag --images docs/images

The figures, the comparison of settings, and the images of docs/drag.md.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from examples.avatars.studies.command import run_command, study_parser
from hyperstyle.align import LandmarkDetector
from hyperstyle.cli.arguments import check_output_files, load_inverter, writable_folder
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError, EditWarning
from hyperstyle.evaluation.figures import Progress
from hyperstyle.evaluation.held_out import HELD_OUT, held_out_avatars
from hyperstyle.images import image_grid, save_image
from hyperstyle.inversion import dragging
from hyperstyle.inversion.dragging import DragSettings
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.masks import make_mask
from hyperstyle.inversion.optimize import Step
from hyperstyle.inversion.strips import animate
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.components import write_json

__all__ = ["DragResult", "compare_settings", "evaluate_drag", "main"]

MOVES = (
    ("mouth corner up", 54, (0.0, -1.0)),
    ("mouth corner outwards", 54, (1.0, 0.0)),
    ("chin up", 8, (0.0, -1.0)),
    ("nose sideways", 30, (1.0, 0.0)),
)
"""What is dragged where: a landmark in the iBUG order, and a direction. An avatar has one of them, in turn."""

_DISTANCES = (4, 8, 16)  # pixels
_KINDS = (
    ("HyperStyle", "hyperstyle", _DISTANCES),
    ("W encoder, no offsets", "w-encoder", _DISTANCES),
    ("HyperStyle, mask", "hyperstyle", (8,)),
)
_MASK = "face"
_COMPARED_DISTANCE = 8
_FRAME = 384  # side of the animation in pixels
_ANIMATED = 35  # the avatar of the animation


@dataclass(frozen=True)
class Drag:
    """One drag and what came of it.

    Attributes:
        left: distance of the landmark that the aligner finds afterwards from where it was to go, in pixels. NaN where
            no face is found.
        tracked: the same of the point that the drag itself follows.
        identity: of the result and the input crop, by the evaluator: 1 is the same.
        steps: how many were made.
        seconds: of the processor.
        outside: mean change of the rendered image outside of the mask of the face, in the 256 levels of a color. Of a
            drag with a mask, before the unedited image is put there.
    """

    left: float
    tracked: float
    identity: float
    steps: int
    seconds: float
    outside: float


@dataclass(frozen=True)
class DragResult:
    """Means over the drags of one kind, the values of `Drag`.

    Attributes:
        name: what was inverted how, or which setting is another one.
        distance: how far points were to go, in pixels.
        drags: how many.
        lost: after how many of them the aligner finds no face.
        arrived: the share of drags whose tracked point came within the tolerance.
        before: identity of the reconstruction and the input before the drag.
    """

    name: str
    distance: int
    drags: int
    lost: int
    left: float
    tracked: float
    arrived: float
    identity: float
    before: float
    steps: float
    seconds: float
    outside: float

    @classmethod
    def mean(cls, name: str, distance: int, before: Sequence[float], drags: Sequence[Drag], near: float) -> DragResult:
        """Of these drags; `before` has the identity of each, and a point arrived that is as `near` to its target."""
        means = {key: float(np.nanmean([getattr(drag, key) for drag in drags])) for key in asdict(drags[0])}
        arrived = float(np.mean([drag.tracked <= near for drag in drags]))
        lost = sum(np.isnan(drag.left) for drag in drags)
        return cls(name, distance, len(drags), int(lost), arrived=arrived, before=float(np.mean(before)), **means)


def evaluate_drag(
    inverter: HyperStyleInverter, *, count: int = 32, on_progress: Progress | None = None
) -> Iterator[DragResult]:
    """Drags a landmark of every avatar, with weight offsets and without, and with a mask, as `_KINDS` lists.

    Args:
        inverter: of the bundled model.
        count: the first so many of the held-out avatars.
        on_progress: called while it goes on.

    Raises:
        ConfigError: another count than there are, or an inverter without an aligner.
    """
    settings = DragSettings.of(inverter.model.generator)
    done = 0
    for name, method, distances in _KINDS:
        cases = list(_cases(inverter, method, range(count)))
        before = [inversion.metrics()["identity"][0] for inversion, _, _ in cases]
        for distance in distances:
            drags = []
            for inversion, landmark, direction in cases:
                move = direction * distance
                drags.append(_dragged(inverter, inversion, landmark, move, settings, "mask" in name)[0])
                done += 1
                if on_progress is not None:
                    on_progress("dragging", done, count * sum(len(kind[2]) for kind in _KINDS))
            yield DragResult.mean(name, distance, before, drags, settings.tolerance)


def compare_settings(
    inverter: HyperStyleInverter, *, count: int = 16, on_progress: Progress | None = None
) -> Iterator[DragResult]:
    """Drags landmarks of other avatars than `evaluate_drag` by 8 pixels, with one setting at a time changed."""
    base = DragSettings.of(inverter.model.generator)
    size, rows = inverter.model.generator.config.size, inverter.model.generator.config.rows
    changes: list[dict[str, Any]] = [
        {},
        *({"layer": f"b{size // part}.conv1"} for part in (8, 2)),
        *({"radius": radius} for radius in (2.0, 3.0, 6.0)),
        *({"tracking_radius": radius} for radius in (4.0, 12.0)),
        *({"rows": number} for number in (rows // 3, rows // 3 * 2, rows)),
        *({"lr": lr} for lr in (0.005, 0.02)),
        *({"template": share} for share in (0.0, 1.0)),
        {"tolerance": 2.0},
    ]
    cases = list(_cases(inverter, "hyperstyle", range(HELD_OUT - count, HELD_OUT)))
    before = [inversion.metrics()["identity"][0] for inversion, _, _ in cases]
    for done, change in enumerate(changes, 1):
        settings = replace(base, **change)
        drags = [_dragged(inverter, *case[:2], case[2] * _COMPARED_DISTANCE, settings, False)[0] for case in cases]
        name = ", ".join(f"{key} {value}" for key, value in change.items()) or "as it is"
        if on_progress is not None:
            on_progress("comparing settings", done, len(changes))
        yield DragResult.mean(name, _COMPARED_DISTANCE, before, drags, settings.tolerance)


Case = tuple[Inversion, int, npt.NDArray[np.float64]]
"""An inversion, the number of a landmark, and a direction (x, y)."""


def _cases(inverter: HyperStyleInverter, method: str, numbers: Sequence[int]) -> Iterator[Case]:
    """An avatar each, inverted, and its move. Raises ConfigError for numbers of avatars that there are not."""
    if not numbers:
        raise ConfigError("no avatars: expected --count 1 or more.")
    crops = held_out_avatars(max(numbers) + 1)
    for number in numbers:
        _, landmark, direction = MOVES[number % len(MOVES)]
        yield inverter.invert(crops[number], method=method, align=False), landmark, np.array(direction)


def _dragged(
    inverter: HyperStyleInverter,
    inversion: Inversion,
    landmark: int,
    move: npt.NDArray[np.float64],
    settings: DragSettings,
    is_masked: bool,
    callback: Callable[[Step], None] | None = None,
) -> tuple[Drag, Inversion]:
    """Drags a landmark of the reconstruction. A target beyond the border of the image is moved onto it."""
    source = _landmarks(inverter, inversion)[landmark]
    size = inversion.model.domain.size
    target = np.clip(source + move, 0, size - 1)
    points = dragging.find_points(inversion, [(tuple(source), tuple(target))])
    mask = make_mask(inversion, _MASK)
    tracked: list[torch.Tensor] = []

    def follow(step: Step) -> None:
        tracked.append(step.points[0])
        if callback is not None:
            callback(step)

    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EditWarning)  # that it did not arrive is in the figures
        state = dragging.drag(
            inversion.model, inversion.state, points, settings, mask=mask if is_masked else None, callback=follow
        )
    seconds = time.process_time() - started
    result = inversion.edited_to(state, mask if is_masked else None)
    now = _landmarks(inverter, result)
    left = float("nan") if now is None else float(np.linalg.norm(now[landmark] - target))
    change = (result.unmasked() - inversion.tensor).abs().mean(1, keepdim=True) * 127.5
    return Drag(
        left,
        float((tracked[-1].double() - torch.from_numpy(target)).norm()),
        result.metrics()["identity"][0],
        len(tracked) - 1 if len(tracked) < settings.steps else settings.steps,
        seconds,
        float(change[mask == 0].mean()),
    ), result


def _landmarks(inverter: HyperStyleInverter, inversion: Inversion) -> Any:
    """The landmarks [68,2] of the reconstruction, None where no face is found."""
    detector: LandmarkDetector | None = inverter.aligner
    if detector is None:
        raise ConfigError("the model has no detector of landmarks, which measures the result.")
    faces = detector(inversion.image)
    return faces[0] if len(faces) else None


def _marked(image: Image.Image, points: Sequence[tuple[Any, str]], side: int = _FRAME) -> Image.Image:
    """The image enlarged to `side` pixels, with a circle of a color around each point."""
    scale = side / image.width
    marked = image.resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(marked)
    for point, color in points:
        x, y = ((float(value) + 0.5) * scale for value in point)
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), outline=color, width=3)
    return marked


def write_images(inverter: HyperStyleInverter, folder: Path) -> list[Path]:
    """Writes drag.jpg, four avatars before and after each way of dragging, and drag.webp, the steps of one drag."""
    settings = DragSettings.of(inverter.model.generator)
    rows = []
    numbers = range(32, 32 + len(MOVES))
    for (inversion, landmark, direction), (plain, *_) in zip(
        _cases(inverter, "hyperstyle", numbers), _cases(inverter, "w-encoder", numbers), strict=True
    ):
        move = direction * _COMPARED_DISTANCE
        source = _landmarks(inverter, inversion)[landmark]
        target = [(source + move, "deepskyblue")]
        kinds = ((inversion, False), (inversion, True), (plain, False))
        images = [_dragged(inverter, each, landmark, move, settings, masked)[1].image for each, masked in kinds]
        rows.append([_marked(inversion.image, [(source, "red"), *target]), *(_marked(i, target) for i in images)])
    labels = ["reconstruction", "dragged", "within the face", "by the W encoder"]
    grid = image_grid(rows, labels=labels, cell=256)
    save_image(grid, folder / "drag.jpg")

    frames: list[Image.Image] = []
    (case,) = _cases(inverter, "hyperstyle", [_ANIMATED])
    inversion, landmark, direction = case
    goal = _landmarks(inverter, inversion)[landmark] + direction * _DISTANCES[-1]

    def show(step: Step) -> None:
        image = replace(inversion, w=step.w).image
        frames.append(_marked(image, [(goal, "deepskyblue"), (step.points[0].tolist(), "red")]))

    _dragged(inverter, inversion, landmark, direction * _DISTANCES[-1], settings, False, show)
    some = frames[:: max(len(frames) // 40, 1)]
    animate([*[some[0]] * 6, *some, *[frames[-1]] * 8], folder / "drag.webp", rate=15, back=False, longest=256)
    return [folder / "drag.jpg", folder / "drag.webp"]


_HEADER = (
    f"{'':24}{'px':>4}{'left':>7}{'tracked':>9}{'arrived':>9}{'identity':>10}{'before':>8}{'steps':>7}{'seconds':>9}"
    f"{'outside':>9}"
)


def drag_line(r: DragResult) -> str:
    """A line of what the command prints, under `_HEADER`."""
    return (
        f"{r.name:24}{r.distance:4}{r.left:7.2f}{r.tracked:9.2f}{r.arrived:9.0%}{r.identity:10.3f}{r.before:8.3f}"
        f"{r.steps:7.0f}{r.seconds:9.2f}{r.outside:9.2f}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what `evaluate_drag` finds, or `compare_settings`, or writes the images."""
    parser = study_parser(
        "drag",
        "Drags a landmark of every held-out avatar (" + ", ".join(name for name, *_ in MOVES) + ") by 4, 8 and 16 "
        "pixels, and prints the distance that is left, by the landmarks that the model's aligner finds in the result "
        "and by the point that was tracked, the identity of the face to the input before and after, steps, seconds of "
        "the processor, and the change outside of the face.",
    )
    parser.add_argument("--count", type=int, metavar="N", help="avatars (default: 32; of --settings 16, others)")
    parser.add_argument("--settings", action="store_true", help="compare settings, each changed alone")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="write drag.jpg and drag.webp there instead")
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    check_output_files(args, json="JSON")
    inverter = load_inverter(args)
    if args.images is not None:
        for path in write_images(inverter, writable_folder(args.images)):
            print(path)
        return
    measure, count = (compare_settings, 16) if args.settings else (evaluate_drag, 32)
    count = count if args.count is None else args.count
    results = []
    print(_HEADER)
    with progress_bar(args.quiet) as show:
        for result in measure(inverter, count=count, on_progress=show):
            results.append(result)
            print(drag_line(result), flush=True)
    if args.json is not None:
        write_json(args.json, {"drags": [asdict(result) for result in results]})


if __name__ == "__main__":
    sys.exit(main())
