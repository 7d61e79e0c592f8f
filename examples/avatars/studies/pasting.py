"""Whether pasting back leaves a photo as it was, and how much of the seam is left, on rendered photos.

    python -m examples.avatars.studies.pasting

The figures of docs/photos.md.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from examples.avatars.renderer.factors import FACTORS, Factors, sample_factors, select
from examples.avatars.renderer.render import render
from examples.avatars.renderer.snapshots import snapshots
from examples.avatars.studies.command import run_command, study_parser
from hyperstyle.align.source import photo_of
from hyperstyle.cli.arguments import check_output_files, load_inverter
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import ConfigError, QualityWarning
from hyperstyle.evaluation.figures import HELD_OUT_SEED, Progress
from hyperstyle.images import to_pil
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.components import write_json

__all__ = ["Ghosts", "Pasting", "Seam", "evaluate_pasting", "main", "new_edges", "pasting_text", "seam_contrast"]

Values = npt.NDArray[np.float64]

_BAND = 0.1  # of the side: the strip along the border in which colors are compared
_STRETCHES = 8  # of each side of the quad, over which they are averaged

_WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("replace, hard edge", {"mode": "replace", "feather": 0.0, "match_colors": False}),
    ("replace, colors matched", {"mode": "replace", "feather": 0.0, "match_colors": True}),
    ("replace, feathered", {"mode": "replace", "match_colors": False}),
    ("replace, both", {"mode": "replace"}),
    ("difference, hard edge", {"mode": "difference", "feather": 0.0}),
    ("difference, feathered", {"mode": "difference"}),
)
_EDITED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("replace", {"mode": "replace"}),
    ("difference, ghosts left", {"mode": "difference", "remove_ghosts": False}),
    ("difference", {"mode": "difference"}),
)
_NOT_PASTED = "the photo as it was"
_DEVIATION = 1 / math.sqrt(12)  # of a factor, which is spread evenly over [0, 1]: the unit of its edit
_SEEN = 12  # levels by which the drawn edit changes a pixel that counts as changed


@dataclass(frozen=True)
class Seam:
    """The contrast that one way of blending leaves, means over the photos, in the 256 levels of a color.

    Attributes:
        way: the mode and what blends. "replace" pastes the unedited reconstruction, "difference" an edit.
        step: across the border of the quad: how much the outermost pixels within it differ from the photo's own.
        band: how much the colors of the outermost tenth of the quad do, averaged over an eighth of a side.
    """

    way: str
    step: float
    band: float


@dataclass(frozen=True)
class Ghosts:
    """How far an edited photo is from the same person drawn with the factor moved as far, in levels, means.

    Codes carry other factors along, so that none comes to 0: the ways are to be compared with each other.

    Attributes:
        way: the mode.
        features: over eyes, brows and mouth.
        changed: over the pixels that the drawn edit changes.
        face: over the whole face.
        edges: `new_edges`, over the quad.
    """

    way: str
    features: float
    changed: float
    face: float
    edges: float


@dataclass(frozen=True)
class Pasting:
    """What pasting back did to rendered photos.

    Attributes:
        photos: how many.
        size: their side in pixels.
        edit, strength: what was edited.
        changed: pixels, of all photos together, that the unedited round trip changed in mode "difference".
        outside: pixels outside the quad that changed, in any photo and any way.
        inside: mean change by the unedited reconstruction in mode "replace" within the quad, in levels.
        seams: one for each way of blending.
        ghosts: one for each way of pasting the edit; none for edits that move no continuous factor.
    """

    photos: int
    size: int
    edit: str
    strength: float
    changed: int
    outside: int
    inside: float
    seams: tuple[Seam, ...]
    ghosts: tuple[Ghosts, ...]


def evaluate_pasting(
    inverter: HyperStyleInverter,
    *,
    count: int = 32,
    size: int = 512,
    edit: str = "smile",
    strength: float = 2.0,
    seed: int = HELD_OUT_SEED,
    on_progress: Progress | None = None,
) -> Pasting:
    """Inverts photos of avatars (random position, scale, tilt and background), edits them and pastes them back.

    Args:
        inverter: of a domain of faces.
        count: photos.
        size: their side in pixels.
        edit, strength: the edit of mode "difference", in standard deviations of its factor.
        seed: no training set uses the default.
        on_progress: called while it goes on.

    Raises:
        ConfigError: fewer than 1 photo, a size that cannot be drawn, or a domain that is not aligned by faces.
        EditError: the model has no such edit.
    """
    if inverter.model.domain.aligner != "face":
        raise ConfigError(f"{inverter.model.domain.name!r} images are not cut out of photos: nothing is pasted back.")
    changed, outside, inside = 0, 0, []
    contrasts: dict[str, list[tuple[float, float]]] = {way: [] for way, _ in _WAYS}
    distances: dict[str, list[tuple[float, ...]]] = {way: [] for way in (_NOT_PASTED, *(way for way, _ in _EDITED))}
    for done, photo in enumerate(snapshots(count, seed=seed, size=size), 1):
        unedited = _inverted(inverter, photo.image, photo.landmarks)
        edited = unedited.edit(edit, strength)
        _, (quad,) = photo_of(unedited.sources, 1)
        changed += int(_change(photo.image, unedited.edit(edit, 0.0).paste_back()).any(axis=-1).sum())
        depth, _ = _places(quad, photo.image.size)
        for way, options in _WAYS:
            pasted = (unedited if options["mode"] == "replace" else edited).paste_back(**options)
            change = _change(photo.image, pasted)
            outside += int(change[depth < 0].any(axis=-1).sum())
            contrasts[way].append(seam_contrast(photo.image, pasted, quad))
            if way == "replace, both":
                inside.append(float(np.abs(change[depth >= 0]).mean()))
        person = select(sample_factors(count, seed=seed), done - 1)
        for way, row in _distances(inverter, person, size, edit, strength).items():
            distances[way].append(row)
        if on_progress is not None:
            on_progress("pasting back", done, count)
    ghosts = tuple(Ghosts(way, *map(float, np.nanmean(rows, axis=0))) for way, rows in distances.items() if rows)
    seams = tuple(Seam(way, *map(float, np.mean(rows, axis=0))) for way, rows in contrasts.items())
    return Pasting(count, size, edit, strength, changed, outside, float(np.mean(inside)), seams, ghosts)


def _inverted(inverter: HyperStyleInverter, photo: Image.Image, landmarks: npt.ArrayLike) -> Inversion:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QualityWarning)  # faces at the border of their photo are wanted here
        return inverter.invert(photo, landmarks=landmarks)


def _distances(
    inverter: HyperStyleInverter, person: Factors, size: int, edit: str, strength: float
) -> dict[str, tuple[float, ...]]:
    """The figures of `Ghosts` for one person, by way of pasting; {} where the edit moves no continuous factor."""
    info = inverter.edits[edit].info
    factor = info.trait or info.name
    if strength == 0 or not any(f.name == factor and f.kind == "continuous" for f in FACTORS):
        return {}
    # Up or down, whichever end of the factor is farther: there is room for the edit then, or nearly.
    value = float(person[factor])
    room = 1 - value if value < 0.5 else -value
    step = math.copysign(min(abs(room), abs(strength) * _DEVIATION), room)
    photo = render(person, size, view="portrait")
    truth = render({**person, factor: person[factor] + step}, size, view="portrait")
    unedited, truth_image = to_pil(photo.images[0]), to_pil(truth.images[0])
    edited = _inverted(inverter, unedited, photo.landmarks[0].double().numpy()).edit(edit, step / _DEVIATION)
    regions = [
        (photo.feature_mask + truth.feature_mask)[0, 0].numpy() > 0.5,
        np.abs(_change(unedited, truth_image)).max(axis=-1) > _SEEN,
        (photo.face_mask + truth.face_mask)[0, 0].numpy() > 0.5,
    ]
    pasted = {_NOT_PASTED: unedited} | {way: edited.paste_back(**options) for way, options in _EDITED}
    gaps = {way: np.abs(_change(truth_image, image)).mean(axis=-1) for way, image in pasted.items()}
    crop = edited.paste_back(mode="replace", feather=0.0, match_colors=False)
    _, (quad,) = photo_of(edited.sources, 1)
    inside = _places(quad, unedited.size)[0] >= 0
    return {
        way: (
            *(float(gap[region].mean()) if region.any() else math.nan for region in regions),
            float(new_edges(unedited, crop, pasted[way])[inside].mean()),
        )
        for way, gap in gaps.items()
    }


def new_edges(photo: Image.Image, crop: Image.Image, pasted: Image.Image) -> Values:
    """[H, W]: how strong edges of a pasted photo are that neither photo nor edited crop has, in levels per pixel.

    At each pixel, the distance of the gradient of `pasted` from the triangle of 0 and the gradients of the two others:
    a blend of the two has edges of one, of the other or weaker ones, but no halo and no second outline.

    Args:
        photo, crop, pasted: of one size; `crop` is the photo with the edited crop over it.
    """
    p, c, r = (
        np.stack(np.gradient(np.asarray(image, dtype=np.float64).mean(axis=-1))) for image in (photo, crop, pasted)
    )
    zero = np.zeros_like(p)
    sides = ((zero, p), (p, c), (c, zero))
    distance = np.minimum.reduce([_from_segment(r, a, b) for a, b in sides])
    turn = np.sign(_cross(p, c))
    within = np.logical_and.reduce([turn * _cross(b - a, r - a) >= 0 for a, b in sides])
    edges: Values = np.where(within & (turn != 0), 0.0, distance)
    return edges


def _cross(a: Values, b: Values) -> Values:
    """[H, W]: of vectors [2, H, W]."""
    product: Values = a[0] * b[1] - a[1] * b[0]
    return product


def _from_segment(point: Values, a: Values, b: Values) -> Values:
    """[H, W]: the distance of points from the segments from a to b, all [2, H, W]."""
    side = b - a
    along = ((point - a) * side).sum(axis=0) / np.maximum((side**2).sum(axis=0), 1e-9)
    distance: Values = np.linalg.norm(point - a - np.clip(along, 0, 1) * side, axis=0)
    return distance


def seam_contrast(photo: Image.Image, pasted: Image.Image, quad: npt.ArrayLike) -> tuple[float, float]:
    """`Seam.step` and `Seam.band` of a photo and the same with a crop pasted back, both RGB.

    Args:
        photo, pasted: of one size.
        quad: [4, 2] corners (top left, bottom left, bottom right, top right) in pixel indices.
    """
    corners = np.asarray(quad, dtype=np.float64)
    change = _change(photo, pasted)
    depth, unit = _places(corners, photo.size)
    side = float(np.hypot(*(corners[3] - corners[0])))
    border = (depth >= 0) & (depth * side < 1)
    step = float(np.abs(change[border]).mean()) if border.any() else 0.0

    means = []
    for across, along in ((0, 1), (1, 0)):
        stretch = np.minimum((unit[..., along] * _STRETCHES).astype(np.int64), _STRETCHES - 1)
        for near in (unit[..., across], 1 - unit[..., across]):
            strip = (depth >= 0) & (near < _BAND)
            for k in range(_STRETCHES):
                part = change[strip & (stretch == k)]
                if len(part):
                    means.append(np.abs(part.mean(axis=0)).mean())
    return step, float(np.mean(means)) if means else 0.0


def _change(photo: Image.Image, pasted: Image.Image) -> Values:
    """[H, W, 3]: the second minus the first."""
    return np.asarray(pasted, dtype=np.float64) - np.asarray(photo, dtype=np.float64)


def _places(quad: npt.NDArray[np.float64], size: tuple[int, int]) -> tuple[Values, Values]:
    """Of every pixel center of a photo of (width, height): how deep in the quad [H, W], and (u, v) there [H, W, 2].

    In sides of the quad: 0 on its border, negative outside.
    """
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]])
    unit: Values = (np.stack([x, y], axis=-1) - quad[0]) @ np.linalg.inv(axes)
    return np.minimum(unit, 1 - unit).min(axis=-1), unit


def pasting_text(result: Pasting) -> str:
    """What the command prints."""
    lines = [
        f"{result.photos} photos of {result.size} px",
        f"pixels changed by the unedited round trip, mode difference: {result.changed}",
        f"pixels changed outside the quad, any mode: {result.outside}",
        f"change within the quad by the unedited reconstruction, mode replace: {result.inside:.2f} levels",
        "",
        f"{'contrast at the seam, in levels':34}{'step':>8}{'band':>8}",
    ]
    lines += [f"{seam.way:34}{seam.step:8.2f}{seam.band:8.2f}" for seam in result.seams]
    lines.append(f"difference: of {result.edit} {result.strength:+g}")
    if result.ghosts:
        lines += [
            "",
            f"{'distance to the edit as drawn, in levels':42}{'features':>9}{'changed':>9}{'face':>8}{'edges':>8}",
        ]
        lines += [f"{g.way:42}{g.features:9.2f}{g.changed:9.2f}{g.face:8.2f}{g.edges:8.3f}" for g in result.ghosts]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what `evaluate_pasting` finds."""
    parser = study_parser(
        "pasting",
        "Renders photos of avatars, inverts them, and pastes them back unedited and edited. Prints how many pixels "
        "changed where none may, and the contrast that is left at the seam by each way of blending: across the "
        "border (step), and in the colors of the outermost tenth of the square (band). For edits of a factor "
        "that can be rendered, such as smile, also how far the edited photo is from the same person rendered so: over "
        "eyes and mouth, over what the rendering changes, and over the face.",
    )
    parser.add_argument("--count", type=int, default=32, metavar="N", help="photos (default: 32)")
    parser.add_argument("--size", type=int, default=512, metavar="PX", help="side of the photos (default: 512)")
    parser.add_argument("--edit", default="smile", metavar="NAME", help="the edit to paste back (default: smile)")
    parser.add_argument("--strength", type=float, default=2.0, help="how far (default: 2)")
    return run_command(parser, _run, argv)


def _run(args: argparse.Namespace) -> None:
    check_output_files(args, json="JSON")
    inverter = load_inverter(args)
    with progress_bar(args.quiet, unit="photo") as show:
        result = evaluate_pasting(
            inverter, count=args.count, size=args.size, edit=args.edit, strength=args.strength, on_progress=show
        )
    print(pasting_text(result))
    if args.json is not None:
        write_json(args.json, asdict(result))


if __name__ == "__main__":
    sys.exit(main())
