"""Line charts as SVG, written out, so that a page needs no other package and stays sharp at any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["COLORS", "Series", "chart"]

COLORS = ("#3b6fb6", "#d1602b", "#3a8f5c", "#9457a8", "#b03a48", "#7a6a2f", "#2f8f96", "#6b6f76")

_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 28, 40


@dataclass(frozen=True)
class Series:
    """A line with its name, a place among the colors, and points (x, y) in their order."""

    name: str
    color: int
    points: Sequence[tuple[float, float]]


def chart(
    series: Sequence[Series],
    *,
    title: str,
    x: str,
    y: str,
    log: bool = False,
    names: bool = False,
    size: tuple[int, int] = (340, 250),
) -> str:
    """An `<svg>` element.

    Args:
        series: the lines; one of a single point is a dot.
        title, x, y: words above, below and beside.
        log: both axes are logarithmic; values must be above 0.
        names: write the names at the last points.
        size: (width, height) in pixels.
    """
    width, height = size
    shown = [point for one in series for point in one.points]
    if not shown:
        return ""
    across = _Axis([p[0] for p in shown], _LEFT, width - _RIGHT - (90 if names else 0), log)
    up = _Axis([p[1] for p in shown], height - _BOTTOM, _TOP, log)
    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    parts.append(f'<text class="title" x="{_LEFT}" y="16">{escape(title)}</text>')
    for value in across.ticks:
        place = across.at(value)
        parts.append(f'<line class="grid" x1="{place:.1f}" y1="{_TOP}" x2="{place:.1f}" y2="{height - _BOTTOM}"/>')
        parts.append(f'<text x="{place:.1f}" y="{height - _BOTTOM + 14}" text-anchor="middle">{_number(value)}</text>')
    for value in up.ticks:
        place = up.at(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{place:.1f}" x2="{across.end:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{place + 3.5:.1f}" text-anchor="end">{_number(value)}</text>')
    parts.append(f'<text x="{(_LEFT + across.end) / 2:.0f}" y="{height - 8}" text-anchor="middle">{escape(x)}</text>')
    middle = (_TOP + height - _BOTTOM) / 2
    parts.append(f'<text transform="translate(12 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    for one in series:
        color = COLORS[one.color % len(COLORS)]
        places = [(across.at(a), up.at(b)) for a, b in one.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f"<g><title>{escape(one.name)}</title>")
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{3.5 if names else 2.2}" fill="{color}"/>' for a, b in places]
        if names and places:
            a, b = places[-1]
            parts.append(f'<text x="{a + 7:.1f}" y="{b + 3.5:.1f}" style="fill:{color}">{escape(one.name)}</text>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


class _Axis:
    """Values -> pixels, with round ticks."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool) -> None:
        self.start, self.end, self.log = start, end, log
        low, high = (self._scaled(f(values)) for f in (min, max))
        margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        self.low, self.high = low - margin, high + margin
        self.ticks = self._ticks()

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def at(self, value: float) -> float:
        return self.start + (self._scaled(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def _ticks(self) -> list[float]:
        if self.log:
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            leads = (1, 2, 5) if self.high - self.low < 2.5 else (1,)
            every = [lead * 10.0**power for power in powers for lead in leads]
            return [value for value in every if self.low <= math.log10(value) <= self.high]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(lead * power for lead in (1, 2, 2.5, 5, 10) if lead * power >= rough)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]


def _number(value: float) -> str:
    text = f"{value:.4g}"
    return "0" if float(text) == 0 else text
