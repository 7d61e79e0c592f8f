"""Which methods a model cannot do, and why: one answer for `invert`, `describe` and `convert`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hyperstyle.errors import MethodError, did_you_mean
from hyperstyle.model.parts import Model

__all__ = [
    "ENCODERS",
    "NAMES",
    "RESTYLE",
    "SEARCHING",
    "encoders",
    "missing",
    "missing_error",
    "starts",
    "why_missing",
    "why_unfit",
]

ENCODERS = ("w-encoder", "e4e", "psp")
RESTYLE = ("restyle-e4e", "restyle-psp")
SEARCHING = ("optimize-w", "optimize-w+", "pti")  # their starts are searched for

_NETWORKS = {
    "hyperstyle": ("hypernetwork",),
    "offset-codes": ("hypernetwork",),
    "hyperinverter": ("hyperinverter",),
    "w-encoder": ("encoder",),
    "e4e": ("e4e",),
    "psp": ("psp",),
    "restyle-e4e": ("restyle",),
    "restyle-psp": ("restyle",),
    "idinvert": ("idinvert", "vgg16"),
}
"""Parts of the model that each method needs besides its start."""

_PARTS = {
    "hypernetwork": "hypernetwork",
    "hyperinverter": "HyperInverter network",
    "encoder": "W encoder",
    "e4e": "e4e encoder",
    "psp": "pSp encoder",
    "restyle": "ReStyle encoder",
    "idinvert": "encoder of IDInvert",
    "vgg16": "VGG16",
}

_BEGINS_WITH_W = ("hyperstyle", "hyperinverter", "offsets", "offset-codes")

NAMES = ("hyperstyle", "hyperinverter", *ENCODERS, *RESTYLE, *SEARCHING, "offsets", "offset-codes", "idinvert")

_HYPERSTYLE = ("a hypernetwork", "hyperstyle convert HYPERSTYLE.pt --encoder W_ENCODER.pt --out FOLDER")
_LACKING = {
    "hyperstyle": _HYPERSTYLE,
    "offset-codes": _HYPERSTYLE,
    "hyperinverter": (
        "a HyperInverter",
        "hyperstyle convert HYPERINVERTER.pt --encoder W_ENCODER.pt --generator GENERATOR.pkl --out FOLDER",
    ),
    "idinvert": (
        "the encoder of IDInvert, and VGG16",
        "hyperstyle convert GENERATOR.pth --encoder ENCODER.pth --vgg VGG16.pth --out FOLDER",
    ),
    "e4e": ("an e4e encoder", "hyperstyle convert FILE --encoder E4E.pt --out FOLDER"),
    "psp": ("a pSp encoder", "hyperstyle convert FILE --encoder PSP.pt --out FOLDER"),
    "restyle-e4e": ("a ReStyle encoder of that kind", "hyperstyle convert FILE --encoder RESTYLE.pt --out FOLDER"),
    "restyle-psp": ("a ReStyle encoder of that kind", "hyperstyle convert FILE --encoder RESTYLE.pt --out FOLDER"),
}
"""What each method needs, and the command that makes a model with it."""

_TRAINED = {
    "hyperstyle": "hyperstyle",
    "offset-codes": "hyperstyle",
    "hyperinverter": "hyperinverter",
    "e4e": "encoder",
    "psp": "encoder",
}
"""What `hyperstyle train` calls the network of a method."""


def encoders(model: Model) -> dict[str, nn.Module | None]:
    """The networks that methods can start with, by the names of these starts; None where the model has none."""
    return {"w-encoder": model.encoder, "e4e": model.e4e, "psp": model.psp, "idinvert": model.idinvert}


def starts(model: Model) -> tuple[str, ...]:
    """Names of the methods that give codes alone."""
    names = tuple(name for name, network in encoders(model).items() if name in ENCODERS and network is not None)
    return names if model.restyle is None else (*names, model.restyle.config.method)


def missing(model: Model) -> dict[str, str]:
    """The `NAMES` that the parts of this model do not allow, each with the reason."""
    reasons = {name: why_missing(model, name) for name in NAMES}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def why_missing(model: Model, name: str) -> str | None:
    """Why a model cannot do the method of this name, without a capital and a full stop; None where it can."""
    if (reason := why_unfit(model, name)) is not None:
        return reason
    if name in _BEGINS_WITH_W and model.encoder is None:
        others = starts(model)
        return "the model has no W encoder to start from" + (f"; use {others[0]}+{name}" if others else "")
    return None


def why_unfit(model: Model, name: str) -> str | None:
    """Why a model cannot do a method whatever it starts from: a network is not there, or the generator is another."""
    for part in _NETWORKS.get(name, ()):
        if getattr(model, part) is None:
            return f"the model has no {_PARTS[part]}"
    if name in RESTYLE and model.restyle is not None and model.restyle.config.method != name:
        return f"the model's ReStyle encoder is for {model.restyle.config.method!r}"
    if name in (*SEARCHING, "offsets") and not model.generator.takes_offsets:
        return "the model's generator is a StyleGAN of the first version, and the method is for StyleGAN2"
    return None


def missing_error(model: Model, name: str, methods: Sequence[str]) -> MethodError:
    """The error for a method that a model cannot do: the reason, the `methods` that it can do, and the way to it."""
    reason, instead = why_missing(model, name), did_you_mean(name, methods)
    if name not in _LACKING:
        return MethodError(f"method {name!r} cannot be used: {reason}. {instead}")
    what, command = _LACKING[name]
    return MethodError(
        f"method {name!r} needs {what}, and {reason}. {instead} To add it, convert the model's file again, "
        f"with the encoders that it has: {command}."
        + (f" Or train it: hyperstyle train {_TRAINED[name]}, whose --help says how." if name in _TRAINED else "")
    )
