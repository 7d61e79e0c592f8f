"""The methods that `invert` knows by name, their combinations, and the parts that each needs.

A method is a start, which makes the first codes of a crop, and any number of refinements after it. A name stands for a
part of this; "+" joins parts: `"e4e+hyperstyle+pti"` starts with e4e, lets the hypernetwork predict offsets and tunes
the generator beneath them. What comes before a refinement whose name stands first:

    w-encoder, e4e, psp         a start, nothing after it
    restyle-e4e, restyle-psp    begins with the encoder's mean code
    hyperstyle, hyperinverter   w-encoder
    optimize-w, optimize-w+     the mean of W
    pti                         the projector in W with the numbers of PTI; it is the part "optimize-w"
    offsets                     w-encoder
    offset-codes                hyperstyle
    idinvert                    its own encoder
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError, did_you_mean
from hyperstyle.inversion.inversion import Inversion, Refinement
from hyperstyle.methods.hyperinverter import HyperInverterRefinement
from hyperstyle.methods.hyperstyle import HyperStyleRefinement
from hyperstyle.methods.idinvert import DomainGuidedRefinement
from hyperstyle.methods.missing import (
    ENCODERS,
    NAMES,
    RESTYLE,
    SEARCHING,
    encoders,
    missing_error,
    starts,
    why_missing,
    why_unfit,
)
from hyperstyle.methods.offset_codes import OffsetCodeTuner
from hyperstyle.methods.offset_optimization import OffsetTuner
from hyperstyle.methods.optimization import MAX_SEED, Projection, check_whole, code_statistics
from hyperstyle.methods.projector import PIVOT, W_PLUS, Projector
from hyperstyle.methods.pti import PivotalTuner, PivotalTuning
from hyperstyle.methods.restyle import RestyleRefinement
from hyperstyle.model.parts import Model

__all__ = [
    "NAMES",
    "Method",
    "MethodChain",
    "Start",
    "Steps",
    "available",
    "by_networks",
    "describe_step",
    "resolve_method",
]

Start = Callable[[Tensor], Tensor]
"""Crops [B,3,h,w] -> codes [B,L,D] or [B,D]."""

Method = str | Refinement | Sequence[str | Refinement]
"""Names joined by "+", an object, or a list of both."""

Steps = int | Mapping[str, int]
"""Of the last part, or of parts by their names."""


@dataclass(frozen=True)
class MethodChain:
    """A method, ready for crops of one model.

    Attributes:
        start: crops -> codes.
        start_name: the name of the start; "mean" for a mean code, "start" for a function of the user's own.
        parts: (name, refinement, steps or None for its own number) in their order.
        name: of the whole; None where a part has none, and then the last refinement names its result.
    """

    start: Start
    start_name: str
    parts: tuple[tuple[str, Refinement, int | None], ...]
    name: str | None

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        """All refinements, one after the other.

        Args:
            crop: [B,3,h,w] in [-1,1].
            inversion: of these crops, with the codes of the start.
            callback: called with what each refinement gives its callback.

        Returns:
            Their inversion. Its `start` is what made its codes: the start, or what moved them later.

        Raises:
            MethodError: a refinement returned something else than an inversion of these images, or codes of another
                shape, type or device.
        """
        start = self.start_name
        for name, refinement, steps in self.parts:
            # without figures: those of the part before would be taken for those of a refinement that measures nothing
            made = refinement(crop, replace(inversion, stored_metrics={}), steps=steps, callback=callback)
            if not isinstance(made, Inversion) or len(made) != len(inversion):
                raise MethodError(
                    f"method {name!r} returned {made!r}: expected an Inversion of {len(inversion)} image(s)."
                )
            if (kind := _kind(made.w)) != _kind(inversion.w):
                raise MethodError(f"method {name!r} returned codes {kind}: expected {_kind(inversion.w)}.")
            if not torch.equal(made.w, inversion.w):
                start = made.method.removeprefix("mean+")
            inversion = made
        method = self.name or inversion.method
        if (method, start) == (inversion.method, inversion.start):
            return inversion  # with its image, which need not be made once more
        return replace(inversion, method=method, start=start)


def _kind(codes: Tensor) -> str:
    return f"{list(codes.shape)}, {codes.dtype} on {codes.device}"


def describe_step(step: Any) -> str:
    """What a callback sees in a few words: how many steps of how many and, where there is one, the loss."""
    words = f"{step.step}/{step.steps}" if hasattr(step, "steps") else ""
    return f"{words} loss {step.loss:.4f}" if hasattr(step, "loss") else words


def by_networks(model: Model) -> tuple[str, ...]:
    """Names of the methods that the networks of this model allow without optimizing anything, the best first.

    Where there is no W encoder, those that begin with one are listed with another start: "e4e+hyperstyle".
    """
    there = {"hyperstyle": model.hypernetwork, "hyperinverter": model.hyperinverter}
    return _from_a_start(model, [name for name, network in there.items() if network is not None]) + starts(model)


def available(model: Model) -> tuple[str, ...]:
    """Names of the methods that the parts of this model allow, for `resolve_method`; they can be joined by "+"."""
    names = by_networks(model)
    if not model.generator.takes_offsets:  # no W of one row, and no place for offsets
        return (*names, "idinvert") if why_unfit(model, "idinvert") is None else names
    tuning = ["offsets"] if model.hypernetwork is None else ["offsets", "offset-codes"]
    return (*names, *SEARCHING, *_from_a_start(model, tuning))


def _from_a_start(model: Model, names: Sequence[str]) -> tuple[str, ...]:
    """Methods that begin with the W encoder, and with the first other start where there is none."""
    first = starts(model)[:1]
    return tuple(name if model.encoder is not None else f"{first[0]}+{name}" for name in names if first)


def resolve_method(
    model: Model,
    method: Method | None = None,
    start: Start | str | None = None,
    *,
    steps: Steps | None = None,
    seed: int | None = None,
    keep_intermediates: bool = False,
) -> MethodChain:
    """What a method is for a model.

    Args:
        model: the parts.
        method: names joined by "+", a refinement of the user's own, a list of both, or None for the best there is.
        start: in place of the method's own start: a function, or a name or names that the method is joined to.
        steps: of the last part, or by the names of parts; None, and what is not named, is each part's own number.
        seed: of the chance in optimizing methods; None is the published one.
        keep_intermediates: passed on to the refinements that have a network predict.

    Raises:
        MethodError: an unknown name, a start that stands behind something, steps of something that takes none, or a
            model that lacks a part; a method or start of another kind.
        ConfigError: steps or a seed that are no whole numbers from 0 on.
    """
    if seed is not None:
        check_whole("seed", seed, MAX_SEED)
    before = _split(start) if isinstance(start, str) else []
    parts: Sequence[str | Refinement] = [
        *before,
        *(_default(model, start is not None) if method is None else _split(method)),
    ]
    begin = None if start is None or isinstance(start, str) else _own_start(model, start)
    named = [part for part in parts if isinstance(part, str)]
    made: list[tuple[str, Refinement]] = []
    name = "+".join(named) if named and len(named) == len(parts) else None
    start_name = "start"
    if begin is None:
        begin, start_name, made, parts = _begin(model, parts, seed)
    elif parts and isinstance(parts[0], str) and parts[0] in ENCODERS:
        raise MethodError(f"start={start!r} and {parts[0]!r}, which is a start too: give one of them.")
    for part in parts:
        if not isinstance(part, str):
            made.append((type(part).__name__, part))
        elif part in ENCODERS:
            raise MethodError(f"{part!r} is a start and stands behind something in {name or method!r}: put it first.")
        else:
            made.append((part, _refinement(model, part, seed, keep_intermediates)))
    return MethodChain(begin, start_name, _with_steps(made, steps, name or "start"), name)


def _split(method: Method) -> list[str | Refinement]:
    """The parts. A "+" joins where another name follows; "optimize-w+" ends with one of its own."""
    if isinstance(method, str):
        names = re.split(r"\+(?=[^+])", method)
        if unknown := [name for name in names if name not in NAMES]:
            raise MethodError(f"no method {unknown[0]!r}. {did_you_mean(unknown[0], NAMES)}")
        return list(names)
    if isinstance(method, Sequence):
        return [part for one in method for part in _split(one)]
    if not callable(method) or isinstance(method, type):
        raise MethodError(f"method {method!r}: expected a name, an object that can be called, or a list of these.")
    return [method]


def _own_start(model: Model, start: Start) -> Start:
    """The start of a user, whose codes are checked and brought to the type and device of the model.

    It gets copies of the crops and gives copies of its codes, which it may change later.
    """
    if not callable(start):
        raise MethodError(f"start={start!r}: expected a name, or a function from crops [B,3,h,w] to codes [B,L,D].")
    config = model.generator.config

    def begin(crops: Tensor) -> Tensor:
        codes, (rows, width) = start(crops.clone()), (config.rows, config.latent_width)
        shapes = [(len(crops), rows, width), (len(crops), width)]
        if not isinstance(codes, Tensor) or tuple(codes.shape) not in shapes or not codes.isfinite().all():
            kind = (
                f"latent codes of shape {tuple(codes.shape)}"
                if isinstance(codes, Tensor)
                else f"something of type {type(codes).__name__}"
            )
            raise ConfigError(f"start gave {kind}: expected finite codes of shape {shapes[0]} or {shapes[1]}.")
        return codes.detach().to(model.device, model.dtype, copy=True)

    return begin


def _default(model: Model, started: bool) -> list[str | Refinement]:
    """The best that the model has: of its networks alone, as nobody waits for an optimizer unasked."""
    there = {"hyperstyle": model.hypernetwork, "hyperinverter": model.hyperinverter}
    refining: list[str | Refinement] = [name for name, network in there.items() if network is not None]
    if started:
        return refining[:1]
    names = ("idinvert",) if why_unfit(model, "idinvert") is None else by_networks(model)
    return _split(names[0]) if names else refining[:1] or ["w-encoder"]


def _begin(
    model: Model, parts: Sequence[str | Refinement], seed: int | None
) -> tuple[Start, str, list[tuple[str, Refinement]], Sequence[str | Refinement]]:
    """The start of a method that was given none, its name, what it implies before the first part, and the parts."""
    if parts and parts[0] == "offset-codes":
        parts = ["hyperstyle", *parts]
    first = parts[0] if parts else "w-encoder"
    made: list[tuple[str, Refinement]] = []
    if isinstance(first, str) and first not in ENCODERS:
        _refinement(model, first, seed, False)  # that its parts are there
    if first in RESTYLE:
        encoder = model.restyle
        if encoder is None:
            raise TypeError("a model without a ReStyle encoder was refused above")
        mean = encoder.latent_avg
        return (lambda crops: mean.expand(len(crops), -1, -1)), "mean", made, parts
    if first in ("optimize-w", "optimize-w+", "pti"):
        numbers = {"optimize-w+": W_PLUS, "pti": PIVOT}.get(str(first), Projection())
        if first == "pti":
            made.append(("optimize-w", Projector(_seeded(numbers, seed), keep_noise=False)))
        generator, samples = model.generator, numbers.samples
        return (lambda crops: code_statistics(generator, samples)[0].expand(len(crops), -1)), "mean", made, parts
    encoder_name = str(first) if first in (*ENCODERS, "idinvert") else "w-encoder"
    method = first if isinstance(first, str) else "w-encoder"
    return _encoder(model, encoder_name, method), encoder_name, made, parts[1:] if first in ENCODERS else parts


def _encoder(model: Model, name: str, method: str) -> Start:
    """The encoder of this name, with which a method begins. Raises MethodError where the model lacks it."""
    found = encoders(model)[name]
    if found is not None:
        return found
    if name == "w-encoder":
        others = [other for other in ("e4e", "psp") if encoders(model)[other] is not None]
        raise MethodError(
            f"method {method!r} has no encoder to start from: {why_missing(model, method)}. Convert the model's file "
            "again with one: hyperstyle convert FILE --encoder W_ENCODER.pt --out FOLDER. Or pass start=..., "
            + (f"one of {', '.join(map(repr, others))}, or " if others else "")
            + "a function from crops [B,3,h,w] to codes [B,L,D]."
        )
    raise missing_error(model, name, available(model))


def _refinement(model: Model, name: str, seed: int | None, keep: bool) -> Refinement:
    """The refinement of this name. Raises MethodError where the model lacks its network."""
    if why_unfit(model, name) is not None:
        raise missing_error(model, name, available(model))
    made: dict[str, Callable[[], Refinement]] = {
        "hyperstyle": lambda: HyperStyleRefinement(keep),
        "hyperinverter": lambda: HyperInverterRefinement(keep),
        "restyle-e4e": lambda: RestyleRefinement(keep),
        "restyle-psp": lambda: RestyleRefinement(keep),
        "optimize-w": lambda: Projector(_seeded(Projection(), seed)),
        "optimize-w+": lambda: Projector(_seeded(W_PLUS, seed)),
        "pti": lambda: PivotalTuner(PivotalTuning() if seed is None else PivotalTuning(seed=seed)),
        "offsets": OffsetTuner,
        "offset-codes": OffsetCodeTuner,
        "idinvert": DomainGuidedRefinement,
    }
    return made[name]()


def _seeded(settings: Projection, seed: int | None) -> Projection:
    return settings if seed is None else replace(settings, seed=seed)


def _with_steps(
    parts: Sequence[tuple[str, Refinement]], steps: Steps | None, name: str
) -> tuple[tuple[str, Refinement, int | None], ...]:
    """The parts with their numbers of steps."""
    if isinstance(steps, Mapping):
        known = [part for part, _ in parts]
        if unknown := [part for part in steps if part not in known]:
            raise MethodError(f"steps of {unknown[0]!r}, which is no part of it. {did_you_mean(unknown[0], known)}")
        for part, number in steps.items():
            check_whole(f"steps of {part!r}", number)
        return tuple((part, refinement, steps.get(part)) for part, refinement in parts)
    if steps and not parts:
        raise MethodError(f"method {name!r} has no refinement steps; steps={steps} was asked for.")
    if steps is not None:
        check_whole("steps", steps)
    last = len(parts) - 1
    return tuple((part, refinement, steps if i == last else None) for i, (part, refinement) in enumerate(parts))
