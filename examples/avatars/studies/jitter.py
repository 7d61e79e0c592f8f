"""How steadily a crop follows a head that turns, before the landmarks are smoothed over time and after.

    python -m examples.avatars.studies.jitter --noise 1

The figures of docs/photos.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, repeat

import numpy as np
import numpy.typing as npt
from PIL import Image

from examples.avatars.renderer.clip import turning_head
from examples.avatars.studies.command import run_command, study_parser
from hyperstyle.align import LandmarkDetector, ffhq_quad
from hyperstyle.align.smoothing import follow_face, quad_jitter, smooth
from hyperstyle.cli.arguments import check_output_files, load_inverter
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.figures import HELD_OUT_SEED
from hyperstyle.io.components import write_json

__all__ = ["Jitter", "evaluate_jitter", "main"]

Points = npt.NDArray[np.float64]

_TURN = 48  # frames of one movement of the head: its speed
_MISSED = 0.05  # of the frames, by the stand-in for a detector


@dataclass(frozen=True)
class Jitter:
    """What `evaluate_jitter` found; lengths in pixels of the frame.

    Attributes:
        frames: how many.
        missed: in how many of them the face was not found.
        side: mean side of the true crop.
        jitter_found, jitter_smoothed, jitter_true: `quad_jitter` of the landmarks as found, smoothed, and true: what
            the true ones have is movement.
        error_found, error_smoothed: root mean square distance of the crop's corners from the true ones; as found over
            the frames with a face, smoothed over all that have landmarks then.
    """

    frames: int
    missed: int
    side: float
    jitter_found: float
    jitter_smoothed: float
    jitter_true: float
    error_found: float
    error_smoothed: float


def evaluate_jitter(
    count: int = 48,
    *,
    detector: LandmarkDetector | None = None,
    noise: float = 0.0,
    width: float = 3.0,
    seed: int = HELD_OUT_SEED,
    size: tuple[int, int] = (320, 240),
    on_progress: Callable[[str, int, int | None], None] | None = None,
) -> Jitter:
    """Follows an avatar that turns its head (`renderer.clip.turning_head`), at the same speed however many frames.

    Args:
        count: frames, at least 3; 48 are one whole movement, fewer its beginning, and with more it is repeated.
        detector: finds the landmarks; None takes the true ones, with `noise`, and misses one frame in twenty.
        noise: standard deviation along x and y, in pixels, of every point in every frame; without a detector.
        width: see `smooth`.
        seed: who is seen, and the noise.
        size: (width, height) of the frames.
        on_progress: called with what is being done, frames done, and their number.

    Raises:
        ConfigError: a value out of range, or a face that is nowhere found in three frames in a row.
    """
    if not (np.isfinite(noise) and noise >= 0):
        raise ConfigError(f"Noise of {noise} px: expected 0 or more, such as 1.")
    if count < 3:
        raise ConfigError(f"A clip of {count} frames: expected 3 or more, as shaking is seen in three in a row.")
    truth: list[Points] = []
    random = np.random.default_rng(seed)

    def stand_in(photo: Image.Image) -> list[Points]:
        shaken = truth[-1] + random.normal(0, noise, truth[-1].shape)
        return [] if random.random() < _MISSED else [shaken]

    def frames() -> Iterator[Image.Image]:
        # The last frame has the pose of the first one, with which the next movement begins.
        turns = (islice(turning_head(_TURN, seed=seed, size=size), _TURN - 1) for _ in repeat(None))
        for frame, points in islice(chain.from_iterable(turns), count):
            truth.append(points.numpy())
            yield frame

    def show(done: int) -> None:
        if on_progress is not None:
            on_progress("following the face", done, count)

    tracked = follow_face(stand_in if detector is None else detector, frames(), on_frame=show)
    smoothed = smooth(tracked, width=width)
    quads = [ffhq_quad(points) for points in truth]
    return Jitter(
        frames=count,
        missed=sum(points is None for points in tracked),
        side=float(np.mean([np.linalg.norm(quad[1] - quad[0]) for quad in quads])),
        jitter_found=quad_jitter(tracked),
        jitter_smoothed=quad_jitter(smoothed),
        jitter_true=quad_jitter(truth),
        error_found=_error(tracked, quads),
        error_smoothed=_error(smoothed, quads),
    )


def _error(track: list[Points | None], quads: list[Points]) -> float:
    offsets = [ffhq_quad(points) - quad for points, quad in zip(track, quads, strict=True) if points is not None]
    return float(np.sqrt(np.square(offsets).sum(axis=-1).mean()))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what `evaluate_jitter` finds."""
    parser = study_parser(
        "jitter",
        "Renders a clip of an avatar that turns its head, finds its landmarks in every frame, with the model's own "
        "detector or as the true ones with noise, and prints how much the crop shakes before and after smoothing "
        "over time, and how far it is from the true one.",
    )
    parser.add_argument(
        "--count", type=int, default=48, metavar="N", help="frames, from 3 on (default: 48, one whole turn)"
    )
    parser.add_argument(
        "--noise",
        type=float,
        metavar="PX",
        help="in place of the detector: the true landmarks with noise of this standard deviation",
    )
    parser.add_argument("--smoothing", type=float, default=3.0, metavar="FRAMES", help="as in edit (default: 3)")
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    check_output_files(args, json="JSON")
    detector = None if args.noise is not None else load_inverter(args).aligner
    if detector is None and args.noise is None:
        raise ConfigError(f"the model {args.model!r} has no detector. Give --noise, such as --noise 1.")
    with progress_bar(args.quiet, unit="frame") as show:
        result = evaluate_jitter(
            args.count, detector=detector, noise=args.noise or 0.0, width=args.smoothing, on_progress=show
        )
    print(f"{'':10}{'jitter':>10}{'error':>10}    in pixels, of a crop of {result.side:.0f} px")
    for name, jitter, error in (
        ("found", result.jitter_found, result.error_found),
        ("smoothed", result.jitter_smoothed, result.error_smoothed),
        ("true", result.jitter_true, 0.0),
    ):
        print(f"{name:10}{jitter:10.3f}{error:10.3f}")
    print(f"{result.frames} frames, {result.missed} of them without a face")
    if args.json is not None:
        write_json(args.json, asdict(result))


if __name__ == "__main__":
    sys.exit(main())
