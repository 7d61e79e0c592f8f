"""The methods that `invert` knows by name, and the parts that each needs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from hyperstyle.errors import MethodError, did_you_mean
from hyperstyle.inversion import Refinement
from hyperstyle.methods.hyperstyle import HyperStyleRefinement
from hyperstyle.methods.restyle import RestyleRefinement
from hyperstyle.model import Model

__all__ = ["NAMES", "Start", "available", "find"]

Start = Callable[[Tensor], Tensor]
"""Crops [B,3,h,w] -> codes [B,L,D] or [B,D]."""

NAMES = ("hyperstyle", "w-encoder", "restyle-e4e", "restyle-psp")


def available(model: Model) -> tuple[str, ...]:
    """Names of the methods that the parts of this model allow."""
    names = []
    if model.encoder is not None:
        names = ["w-encoder"] if model.hypernetwork is None else ["hyperstyle", "w-encoder"]
    if model.restyle is not None:
        names.append(model.restyle.config.method)
    return tuple(names)


def find(
    model: Model, method: str | Refinement | None, start: Start | None, keep_intermediates: bool
) -> tuple[Start, Refinement | None]:
    """The two halves of a method: what makes the first codes, and what refines them (None for nothing).

    Args:
        model: the parts.
        method: a name, a refinement of the user's own, or None for the best that the model has.
        start: in place of the method's own start.
        keep_intermediates: passed on to the refinement.

    Raises:
        MethodError: an unknown name, or the model lacks a part.
    """
    if method is None:
        method = "w-encoder" if model.hypernetwork is None else "hyperstyle"
        if model.restyle is not None and model.encoder is None and model.hypernetwork is None:
            method = model.restyle.config.method
    if isinstance(method, str):
        if method not in NAMES:
            raise MethodError(f"no method {method!r}. {did_you_mean(method, NAMES)}")
        if method.startswith("restyle"):
            mean = _restyle_mean(model, method)
            return start or (lambda crops: mean.expand(len(crops), -1, -1)), RestyleRefinement(keep_intermediates)
    begin = start or model.encoder
    if begin is None:
        raise MethodError(
            "this model has no encoder to start from. Convert its file again with one: hyperstyle convert FILE "
            "--encoder W_ENCODER.pt --out FOLDER. Or pass start=..., a function from crops [B,3,h,w] to codes [B,L,D]."
        )
    if not isinstance(method, str):
        return begin, method
    if method == "w-encoder":
        return begin, None
    if model.hypernetwork is None:
        raise MethodError(
            f"method {method!r} needs a hypernetwork, which this model lacks. {did_you_mean(method, available(model))}"
        )
    return begin, HyperStyleRefinement(keep_intermediates)


def _restyle_mean(model: Model, method: str) -> Tensor:
    """[L,D] where ReStyle starts."""
    if model.restyle is None or model.restyle.config.method != method:
        raise MethodError(
            f"method {method!r} needs a ReStyle encoder of that kind, which this model lacks. "
            f"{did_you_mean(method, available(model))} To add one, convert the model's file again: hyperstyle convert "
            "FILE --encoder RESTYLE.pt --out FOLDER."
        )
    return model.restyle.latent_avg
