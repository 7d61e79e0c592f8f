"""Points to drag: as the text of the page, `60,80:60,70 90,40`, and as marks on the image that is clicked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from PIL import Image, ImageDraw

from hyperstyle.app.views import FACE_SIZE, enlarged
from hyperstyle.errors import ConfigError
from hyperstyle.inversion.inversion import Inversion

Point = tuple[float, float]
Move = tuple[Point, Point | None]
"""Where a point is, and where it is to go, in pixels of the reconstruction; None where that is not chosen yet."""

_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_MOVE = re.compile(rf"{_NUMBER},{_NUMBER}(?::{_NUMBER},{_NUMBER})?")
_START, _TARGET = (220, 38, 38), (37, 99, 235)
_RADIUS = 6  # of a mark, in pixels of the image that is shown


def parse(text: str) -> list[Move]:
    """Reads moves that are separated by spaces or ";". Raises ConfigError for anything else."""
    moves: list[Move] = []
    for part in re.sub(r"\s*([,:])\s*", r"\1", text).replace(";", " ").split():
        match = _MOVE.fullmatch(part)
        if match is None:
            raise ConfigError(f"{part!r} is no move of a point: expected x,y:x,y, as in 60,80:60,70.")
        x, y, to_x, to_y = match.groups()
        moves.append(((float(x), float(y)), None if to_x is None else (float(to_x), float(to_y))))
    return moves


def with_point(text: str, x: float, y: float) -> str:
    """The text with one more point: the target of the last move where that has none, else the start of a new one."""
    moves = parse(text)
    if moves and moves[-1][1] is None:
        moves[-1] = (moves[-1][0], (x, y))
    else:
        moves.append(((x, y), None))
    return " ".join(":".join(f"{a:g},{b:g}" for a, b in filter(None, move)) for move in moves)


def pairs(moves: Sequence[Move]) -> list[tuple[Point, Point]]:
    """The moves as `Inversion.drag` takes them. Raises ConfigError for none, or one without a target."""
    complete = [(start, target) for start, target in moves if target is not None]
    if not complete or len(complete) < len(moves):
        raise ConfigError("Click a point of the face, and then where it is to go.")
    return complete


def marked(inversion: Inversion, moves: Sequence[Move]) -> Image.Image:
    """The image of an inversion, enlarged, with a red mark at each point, a blue one at its target, and an arrow."""
    image = inversion.image
    shown = enlarged(image).copy()
    scale = max(shown.size) / max(image.size)
    draw = ImageDraw.Draw(shown)
    for start, target in moves:
        first = _to_shown(start, scale)
        if target is not None:
            second = _to_shown(target, scale)
            draw.line([first, second], fill="white", width=5)
            draw.line([first, second], fill=_TARGET, width=2)
            _mark(draw, second, _TARGET)
        _mark(draw, first, _START)
    return shown


def from_shown(point: Sequence[float], size: int) -> Point:
    """A pixel of the image by `marked` as a point of the reconstruction, whose longer side is `size`, to a quarter."""
    scale = max(FACE_SIZE / size, 1.0)
    x, y = ((value + 0.5) / scale - 0.5 for value in point)
    return max(round(x * 4) / 4, 0.0), max(round(y * 4) / 4, 0.0)


def _to_shown(point: Point, scale: float) -> Point:
    x, y = ((value + 0.5) * scale - 0.5 for value in point)
    return x, y


def _mark(draw: ImageDraw.ImageDraw, point: Point, color: tuple[int, int, int]) -> None:
    draw.circle(point, _RADIUS, fill=color, outline="white", width=2)
