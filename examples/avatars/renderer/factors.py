"""The table of factors that describe one avatar, and how they are drawn at random.

Every factor is a number in [0, 1]. *Traits* are what the W codes of the bundled generator carry; *details*
are what no W code carries (patterns, jewellery, hats), so that inverting an image with details needs more
than W. Whether a thing is there at all is always a flag of its own (present from 0.5 on), never a ramp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, did_you_mean

__all__ = ["DETAILS", "FACTORS", "NAMES", "TRAITS", "Factor", "Factors", "check", "sample_factors", "select"]

Factors = dict[str, Tensor]
"""Factor name -> values [B], float32 in [0, 1]."""


@dataclass(frozen=True)
class Factor:
    """One factor: its name, who carries it, how it varies and what its two ends mean."""

    name: str
    group: Literal["trait", "detail"]
    kind: Literal["continuous", "hue", "flag", "seed"]
    low: str
    high: str
    probability: float = 0.5
    """How often a flag is set when drawn at random; unused for the other kinds."""

    @property
    def absent(self) -> float:
        """The value that stands for "not there" (flags) or "nothing special" (the rest)."""
        return 0.0 if self.kind == "flag" else 0.5


def _trait(name: str, low: str, high: str) -> Factor:
    return Factor(name, "trait", "continuous", low, high)


def _detail(name: str, low: str, high: str) -> Factor:
    return Factor(name, "detail", "continuous", low, high)


def _hue(name: str, group: Literal["trait", "detail"] = "detail") -> Factor:
    return Factor(name, group, "hue", "red", "red again, round the color wheel")


def _flag(name: str, probability: float, high: str, group: Literal["trait", "detail"] = "detail") -> Factor:
    return Factor(name, group, "flag", "absent", high, probability)


FACTORS: tuple[Factor, ...] = (
    # pose and expression
    _trait("yaw", "turned to the image's left", "turned to the image's right"),
    _trait("pitch", "looking up", "looking down"),
    _trait("roll", "tilted to the image's left", "tilted to the image's right"),
    _trait("smile", "a slight pout", "a broad smile with teeth"),
    _trait("mouth_open", "closed", "wide open"),
    _trait("eye_open", "narrowed", "wide open"),
    _trait("gaze", "looking to the image's left", "looking to the image's right"),
    _trait("brow_height", "low", "raised"),
    # shape
    _trait("age", "young", "old: wrinkles, a slight sag, a higher forehead, and hair as gray as `gray` makes it"),
    _trait("face_width", "narrow", "wide"),
    _trait("jaw", "pointed chin", "square jaw"),
    _trait("cheeks", "flat", "full"),
    _trait("eye_size", "small", "large"),
    _trait("eye_tilt", "outer corners down", "outer corners up"),
    _trait("brow_thickness", "thin", "bushy"),
    _trait("nose_size", "narrow", "broad"),
    _trait("nose_length", "short", "long"),
    _trait("lip_fullness", "thin", "full"),
    # colors of the person
    _trait("skin", "fair", "deep"),
    _trait("skin_warmth", "olive", "rosy"),
    _trait("eye_color", "brown", "blue"),
    # hair
    _trait("hair_color", "black", "light blond"),
    _trait("hair_length", "buzz cut", "below the shoulders"),
    _trait("hair_volume", "flat", "full"),
    _trait("hair_curl", "straight", "curly"),
    _trait("fringe", "forehead free", "fringe down to the brows"),
    _trait("parting", "parted at the image's left", "parted at the image's right"),
    _flag("bald", 0.05, "no hair on the head", "trait"),
    _flag("beard", 0.20, "a beard and a moustache", "trait"),
    _trait("beard_length", "stubble", "full beard"),
    _flag("glasses", 0.28, "glasses", "trait"),
    _trait("glasses_shape", "rectangular and thick", "round and thin"),
    # light and surroundings
    _trait("light_azimuth", "light from the image's left", "light from the image's right"),
    _trait("light_elevation", "level light", "light from above"),
    _trait("light_warmth", "cool light", "warm light"),
    _hue("background_hue", "trait"),
    _trait("background_saturation", "nearly gray", "colourful"),
    _trait("background_value", "dark", "bright"),
    _hue("clothes_hue", "trait"),
    _trait("clothes_saturation", "muted", "strong"),
    _trait("clothes_value", "dark", "bright"),
    _trait("neckline", "round collar", "V neck"),
    # details
    _flag("freckles", 0.22, "freckles"),
    _detail("freckle_density", "a few", "many"),
    _flag("mole", 0.18, "a mole"),
    _detail("mole_x", "at the image's left", "at the image's right"),
    _detail("mole_y", "high on the cheek", "at the chin"),
    _flag("lipstick", 0.22, "lipstick (never with a beard)"),
    _hue("lipstick_hue"),
    _flag("face_paint", 0.08, "two stripes on each cheek"),
    _hue("paint_hue"),
    _flag("earrings", 0.28, "earrings"),
    _flag("earring_hoops", 0.5, "hoops instead of studs"),
    _hue("earring_hue"),
    _hue("glasses_hue"),
    _flag("fun_hair", 0.09, "dyed hair"),
    _hue("fun_hue"),
    _flag("hat", 0.14, "a knitted hat"),
    _hue("hat_hue"),
    _detail("hat_value", "dark", "bright"),
    _flag("hat_stripes", 0.45, "a striped hat"),
    _flag("hat_pompom", 0.4, "a bobble on the hat"),
    _flag("headband", 0.12, "a headband (never with a hat)"),
    _hue("headband_hue"),
    _flag("hair_clip", 0.14, "a hair clip (never with a hat, nor on a bald head)"),
    _hue("clip_hue"),
    _flag("clothes_stripes", 0.28, "striped clothes"),
    _flag("clothes_dots", 0.2, "dotted clothes"),
    _hue("clothes_accent"),
    _detail("clothes_scale", "coarse pattern", "fine pattern"),
    _detail("clothes_angle", "no turn", "half a turn"),
    _flag("background_bokeh", 0.18, "discs of light behind"),
    _flag("background_stripes", 0.13, "broad stripes behind"),
    _hue("background_accent"),
    _detail("background_scale", "coarse pattern", "fine pattern"),
    Factor("seed", "detail", "seed", "one arrangement of strands, spots and folds", "another arrangement"),
    # Last, so that the random numbers of the factors above are those that they were before this one was added.
    _trait("gray", "turns gray late or never", "turns gray early"),
)

NAMES: tuple[str, ...] = tuple(factor.name for factor in FACTORS)
TRAITS: tuple[str, ...] = tuple(factor.name for factor in FACTORS if factor.group == "trait")
DETAILS: tuple[str, ...] = tuple(factor.name for factor in FACTORS if factor.group == "detail")


def sample_factors(count: int, *, seed: int, details: bool = True) -> Factors:
    """Draw the factors of `count` avatars; flags come out as exactly 0 or 1.

    Avatar i depends on `seed` and i only, not on `count` nor on `details`: a larger draw starts
    with the smaller.

    Args:
        count: how many, at least 1.
        seed: any integer from 0 to 2**63 - 1; global random state is neither read nor changed.
        details: False sets every detail to its absent value and leaves the traits as they are.

    Raises:
        ConfigError: `count` is below 1 or `seed` is out of range.
    """
    if count < 1:
        raise ConfigError(f"Cannot draw {count} avatars. Ask for at least 1.")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"The seed {seed} cannot be used. Give an integer from 0 to 2**63 - 1.")
    generator = torch.Generator().manual_seed(seed)
    # One call per avatar, so that the stream an avatar sees cannot depend on how many follow it.
    values = torch.stack([torch.rand(len(FACTORS), generator=generator) for _ in range(count)])
    factors: Factors = {}
    for column, factor in enumerate(FACTORS):
        value = values[:, column]
        if factor.kind == "flag":
            value = (value < factor.probability).float()
        if factor.group == "detail" and not details:
            value = torch.full_like(value, factor.absent)
        factors[factor.name] = value.contiguous()
    return factors


def select(factors: Factors, index: int | slice | list[int] | Tensor) -> Factors:
    """The avatars at `index`, in that order; a single integer gives a batch of one."""
    if isinstance(index, int):
        index = [index]
    return {name: values[index] for name, values in factors.items()}


def check(factors: Factors) -> int:
    """The batch size of `factors`.

    Raises:
        ConfigError: a name is unknown or missing, or values are not one float of [0, 1] per avatar.
    """
    for name in factors:
        if name not in NAMES:
            raise ConfigError(f"There is no avatar factor named {name!r}. {did_you_mean(name, NAMES)}")
    missing = [name for name in NAMES if name not in factors]
    if missing:
        raise ConfigError(
            f"The avatar factors {', '.join(missing)} are missing. Start from sample_factors(), "
            "which gives all of them, and change the ones you want."
        )
    shape = factors[NAMES[0]].shape
    for name, values in factors.items():
        if values.dim() != 1 or values.shape != shape or not len(values) or not values.is_floating_point():
            raise ConfigError(
                f"The avatar factor {name!r} is {values.dtype} of shape {tuple(values.shape)}; expected "
                f"floats of shape [B], at least one and the same number for every factor ({NAMES[0]!r} has "
                f"{tuple(shape)})."
            )
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise ConfigError(
                f"The avatar factor {name!r} goes from {values.min().item():.3g} to "
                f"{values.max().item():.3g}; expected values in [0, 1]. Clamp them first."
            )
    return len(factors[NAMES[0]])
