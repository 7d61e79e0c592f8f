"""Published edits along GANSpace components as data: which component, which rows, how strong, for which generator.

Strengths are absolute (see `GanspaceEdit`): the coordinate on the component, in standard deviations from the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["GANSPACE", "NamedComponent", "ganspace_names", "published_entry"]


@dataclass(frozen=True)
class NamedComponent:
    """One named edit.

    Attributes:
        component: which, from 0 on.
        first, end: rows that are moved, `end` not included.
        strength: the published one.
        reach: the range in use is -reach to reach.
        invert: see `GanspaceEdit`.
    """

    component: int
    first: int
    end: int
    strength: float
    reach: float
    invert: bool = False

    @property
    def rows(self) -> tuple[int, int]:
        """(first, end)."""
        return self.first, self.end


def _face(component: int, first: int, end: int, strength: float) -> NamedComponent:
    return NamedComponent(component, first, end, strength, max(20.0, abs(strength)))  # PTI sweeps -20 to 20


GANSPACE: Mapping[str, Mapping[str, NamedComponent]] = {
    "cars": {  # StyleGAN2 of 512 px: HyperStyle, e4e; "flip" is of GANSpace's teaser notebook
        "pose_1": NamedComponent(0, 0, 5, 2.0, 2.0),
        "pose_2": NamedComponent(0, 0, 5, -2.0, 2.0),
        "cube": NamedComponent(16, 3, 6, 25.0, 25.0),
        "color": NamedComponent(22, 9, 11, -8.0, 8.0),
        "grass": NamedComponent(41, 9, 11, -18.0, 18.0),
        "flip": NamedComponent(0, 0, 5, 2.0, 2.0, invert=True),
    },
    "faces": {  # StyleGAN2 of 1024 px: HyperInverter, StyleFeatureEditor, PTI ("smile"), and GANSpace's teaser
        "eye_openness": _face(54, 7, 8, 5.0),
        "trimmed_beard": _face(58, 7, 9, 7.0),
        "lipstick": _face(34, 10, 11, 20.0),
        "face_roundness": _face(37, 0, 5, 20.0),
        "nose_length": _face(51, 4, 5, -30.0),
        "eyebrow_thickness": _face(37, 8, 9, 20.0),
        "head_angle_up": _face(11, 1, 4, -10.5),
        "displeased": _face(36, 4, 7, 10.0),
        "smile": _face(46, 4, 5, -6.0),
        "white_hair": _face(57, 7, 10, -24.0),
        "wrinkles": _face(20, 6, 7, -18.0),
        "background_blur": _face(49, 6, 9, 20.0),
        "bald": _face(21, 2, 5, 20.0),
        "big_smile": _face(19, 4, 5, 20.0),
        "boyishness": _face(8, 2, 5, 20.0),
        "caricature_smile": _face(26, 3, 8, 13.0),
        "curly_hair": _face(47, 3, 6, 20.0),
        "dark_bg_shiny_hair": _face(13, 8, 9, 20.0),
        "dark_hair": _face(16, 8, 9, 20.0),
        "dark_hair_and_light_pos": _face(14, 8, 9, 20.0),
        "disgusted": _face(43, 6, 8, -30.0),
        "elderly_woman": _face(34, 6, 7, 20.0),
        "eye_wrinkles": _face(28, 6, 8, 20.0),
        "fearful_eyes": _face(54, 4, 10, 20.0),
        "frizzy_hair": _face(31, 2, 6, 20.0),
        "hairline": _face(21, 4, 5, -20.0),
        "happy_elderly_lady": _face(27, 4, 7, 20.0),
        "happy_frizzy_hair": _face(30, 0, 8, 20.0),
        "huge_grin": _face(28, 4, 6, 20.0),
        "in_awe": _face(23, 3, 6, -15.0),
        "large_jaw": _face(22, 3, 6, 20.0),
        "light_lr": _face(15, 8, 9, 10.0),
        "lipstick_and_age": _face(34, 6, 11, 20.0),
        "mascara_vs_beard": _face(41, 6, 9, 20.0),
        "overexposed": _face(27, 8, 18, 15.0),
        "scary_eyes": _face(33, 6, 8, 20.0),
        "screaming": _face(35, 3, 7, -15.0),
        "short_face": _face(32, 2, 6, -20.0),
        "show_front_teeth": _face(59, 4, 5, 40.0),
        "straight_bowl_cut": _face(20, 4, 5, -20.0),
        "sunlight_in_face": _face(10, 8, 9, 10.0),
        "wide_smile": _face(23, 3, 6, 20.0),
    },
    "churches": {  # StyleGAN2 of 256 px: HyperInverter
        "clouds": NamedComponent(20, 7, 9, -20.0, 20.0),
        "vibrant": NamedComponent(8, 12, 14, -20.0, 20.0),
        "blue_skies": NamedComponent(11, 9, 14, 9.9, 9.9),
        "trees": NamedComponent(12, 5, 6, -19.1, 19.1),
    },
}
_MARKS = {"cars": "car", "faces": "ffhq", "churches": "church"}  # which part of a published file's name says its domain


def ganspace_names(file: str) -> dict[str, NamedComponent]:
    """The named edits for a file of components: those of the domain that its name says, else of all domains."""
    domains = [domain for domain, mark in _MARKS.items() if mark in file.lower()]
    return {name: entry for domain in domains or GANSPACE for name, entry in GANSPACE[domain].items()}


def published_entry(
    file: str, component: int, rows: tuple[int, int] | None, invert: bool = False
) -> tuple[str, NamedComponent] | None:
    """The name and entry of the published edit that moves these rows along this component of the file."""
    for name, entry in ganspace_names(file).items():
        if (entry.component, entry.rows, entry.invert) == (component, rows, invert):
            return name, entry
    return None
