"""The methods that `invert` knows by name, their combinations, and what a model can do.

A method is a start, which gives the first codes of a crop, and any number of refinements after it. A name stands for a
part of this; "+" joins parts: `"e4e+hyperstyle+pti"` starts with e4e, lets the hypernetwork predict offsets and tunes
the generator beneath them. What comes before a refinement whose name stands first:

    w-encoder, e4e, psp         a start, nothing after it
    restyle-e4e, restyle-psp    begins with the encoder's mean code
    sfe, sfe-inverter           nothing: it predicts codes and features from the crop alone
    hyperstyle, hyperinverter   w-encoder
    optimize-w, optimize-w+     the mean of W
    pti                         the projector in W with the numbers of PTI; it is the part "optimize-w"
    offsets, features           w-encoder
    offset-codes                hyperstyle
    idinvert                    its own encoder

A method is declared by a `Method`, in the file that implements it. A new one is a file, a line in
`METHODS` and its name in `names.NAMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MethodError, did_you_mean
from hyperstyle.inversion.inversion import Inversion, Refinement
from hyperstyle.inversion.optimize import check_integer
from hyperstyle.methods.base import Method, Options, Start, StartingPoint
from hyperstyle.methods.encoders import E4E, PSP, W_ENCODER
from hyperstyle.methods.features import FEATURES
from hyperstyle.methods.hyperinverter import HYPERINVERTER
from hyperstyle.methods.hyperstyle import HYPERSTYLE
from hyperstyle.methods.idinvert import IDINVERT
from hyperstyle.methods.names import split_names
from hyperstyle.methods.offsets import OFFSET_CODES, OFFSETS
from hyperstyle.methods.projector import MAX_SEED, OPTIMIZE_W, OPTIMIZE_W_PLUS
from hyperstyle.methods.pti import PTI
from hyperstyle.methods.restyle import RESTYLE_E4E, RESTYLE_PSP
from hyperstyle.methods.sfe import SFE, SFE_INVERTER
from hyperstyle.model.parts import Model

__all__ = [
    "METHODS",
    "MethodChain",
    "MethodLike",
    "Start",
    "Steps",
    "available",
    "by_networks",
    "describe_step",
    "missing_methods",
    "resolve_method",
    "why_missing",
]

_MAX_STEPS = 1_000_000  # days even for the smallest model: more is a mistake

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        SFE,
        SFE_INVERTER,
        HYPERSTYLE,
        HYPERINVERTER,
        W_ENCODER,
        E4E,
        PSP,
        RESTYLE_E4E,
        RESTYLE_PSP,
        OPTIMIZE_W,
        OPTIMIZE_W_PLUS,
        PTI,
        OFFSETS,
        FEATURES,
        OFFSET_CODES,
        IDINVERT,
    )
}
"""All methods by name; of those that optimize nothing, the best first."""

MethodLike = str | Refinement | Sequence[str | Refinement]
"""Names joined by "+", an object, or a list of both."""

Steps = int | Mapping[str, int]
"""Of the last part, or of parts by their names."""


@dataclass(frozen=True)
class MethodChain:
    """A method, ready for crops of one model.

    Attributes:
        start: crops -> codes.
        start_name: the name of the start; "mean" for a mean code, "start" for a function of the user.
        parts: (name, refinement, steps or None for its own number) in their order.
        name: of the chain; None where a part has none, and then the last refinement names its result.
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
            callback: passed to each refinement.

        Returns:
            Their inversion. Its `start` names what gave its codes: the start, or the last method that moved them.

        Raises:
            MethodError: a refinement returned something else than an inversion of these images, or codes of another
                shape, type or device.
        """
        start = self.start_name
        for name, refinement, steps in self.parts:
            # Without stored metrics: else those of the part before would be taken for those of a part that sets none.
            refined = refinement(crop, replace(inversion, stored_metrics={}), steps=steps, callback=callback)
            if not isinstance(refined, Inversion) or len(refined) != len(inversion):
                raise MethodError(
                    f"method {name!r} returned {refined!r}: expected an Inversion of {len(inversion)} image(s)."
                )
            if (kind := _kind(refined.w)) != _kind(inversion.w):
                raise MethodError(f"method {name!r} returned codes {kind}: expected {_kind(inversion.w)}.")
            if not torch.equal(refined.w, inversion.w):  # it moved the codes: `initial` is named after it
                start = refined.method.removeprefix("mean+")
            inversion = refined
        method = self.name or inversion.method
        if (method, start) == (inversion.method, inversion.start):
            return inversion  # with its image, which need not be rendered again
        return replace(inversion, method=method, start=start)


def _kind(codes: Tensor) -> str:
    return f"{list(codes.shape)}, {codes.dtype} on {codes.device}"


def describe_step(step: Any) -> str:
    """A step in a few words: its number, how many there are and, where there is one, the loss."""
    words = f"{step.step}/{step.steps}" if hasattr(step, "steps") else ""
    return f"{words} loss {step.loss:.4f}" if hasattr(step, "loss") else words


# ---- what a model can do ----


def by_networks(model: Model) -> tuple[str, ...]:
    """Names of the methods that the networks of this model allow without optimizing anything, the best first.

    Where there is no W encoder, those that begin with one are listed with another start: "e4e+hyperstyle".
    """
    return _fitting_names(model, optimizing=False)


def available(model: Model) -> tuple[str, ...]:
    """Names of the methods that the parts of this model allow, for `resolve_method`; they can be joined by "+"."""
    return by_networks(model) + _fitting_names(model, optimizing=True)


def missing_methods(model: Model) -> dict[str, str]:
    """The methods that the parts of this model do not allow, each with the reason."""
    reasons = {name: why_missing(model, name) for name in METHODS}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def why_missing(model: Model, name: str) -> str | None:
    """Why a model cannot run the method of this name, as a part of a sentence; None where it can."""
    method = METHODS[name]
    if (reason := method.why_unfit(model)) is not None:
        return reason
    if isinstance(method.start, str) and METHODS[method.start].why_unfit(model) is not None:
        starts = _starts(model)
        return "the model has no W encoder to start from" + (f"; use {starts[0]}+{name}" if starts else "")
    return None


def _fitting_names(model: Model, *, optimizing: bool) -> tuple[str, ...]:
    """Names of methods that the model can run, with another start in front where it lacks the one they begin with."""
    starts, names = _starts(model), []  # the first start is the best, in the order of METHODS
    for name, method in METHODS.items():
        if method.optimizes is optimizing and method.why_unfit(model) is None:
            if why_missing(model, name) is None:
                names.append(name)
            elif starts:
                names.append(f"{starts[0]}+{name}")
    return tuple(names)


def _starts(model: Model) -> tuple[str, ...]:
    """Names of the methods that give codes without an optimizer, in this model; those that are nothing else first."""
    fitting = [m for m in METHODS.values() if isinstance(m.start, StartingPoint) and m.why_unfit(model) is None]
    return tuple(m.name for m in sorted(fitting, key=lambda m: m.refinement is not None) if not m.optimizes)


def _check_fits(model: Model, method: Method) -> None:
    """Raises MethodError for a model that cannot run a method: the reason, what it can run, and what to do."""
    if method.why_unfit(model) is None:
        return
    reason, instead = why_missing(model, method.name), did_you_mean(method.name, available(model))
    remedy = method.remedy
    if remedy is None:
        raise MethodError(f"method {method.name!r} cannot be used: {reason}. {instead}")
    raise MethodError(
        f"method {method.name!r} needs {remedy.needs}, and {reason}. {instead} To add it, convert the model's file "
        f"again, with the encoders that it has: {remedy.convert}."
        + (f" Or train it: hyperstyle train {remedy.train}, whose --help says how." if remedy.train else "")
    )


# ---- from names to a chain ----


def resolve_method(
    model: Model,
    method: MethodLike | None = None,
    start: Start | str | None = None,
    *,
    steps: Steps | None = None,
    seed: int | None = None,
    keep_intermediates: bool = False,
) -> MethodChain:
    """The start and the refinements that a method stands for in a model.

    Args:
        model: the parts.
        method: names joined by "+", a refinement of the user, a list of both, or None for the best there is.
        start: in place of the method's own start: a function, or a name or names that the method is joined to.
        steps: of the last part, or by the names of parts; None, and what is not named, is each part's own number.
        seed: of the random numbers in optimizing methods; None is the published one.
        keep_intermediates: for refinements that have a network predict.

    Raises:
        MethodError: an unknown name, a start that stands behind something, steps of something that takes none, or a
            model that lacks a part; a method or start of another kind.
        ConfigError: steps or a seed that are no whole numbers from 0 on, or more than a million steps.
    """
    if seed is not None:
        check_integer("seed", seed, most=MAX_SEED)
    options = Options(seed, keep_intermediates)
    parts = _split(start) if isinstance(start, str) else []
    parts += _default(model, has_start=start is not None) if method is None else _split(method)
    names = [part.name for part in parts if isinstance(part, Method)]
    name = "+".join(names) if names and len(names) == len(parts) else None
    first = parts[0] if parts and isinstance(parts[0], Method) else None
    refinements: list[tuple[str, Refinement]] = []
    if start is None or isinstance(start, str):
        begin, start_name = _start_of(model, first or W_ENCODER)
        if first is not None:
            # "pti" alone is "optimize-w", for the pivots, and "pti"; behind another method it is "pti".
            refinements = [(before, make(options)) for before, make in first.preceded_by]
            if first.refinement is None:
                parts = parts[1:]  # a start alone, which is in `begin`
    else:
        begin, start_name = _checked_start(model, start), "start"
        if first is not None and first.refinement is None:
            raise MethodError(f"start={start!r} and {first.name!r}, which is a start too: give one of them.")
    for part in parts:
        if not isinstance(part, Method):
            refinements.append((type(part).__name__, part))
            continue
        if part.refinement is None:
            raise MethodError(
                f"{part.name!r} is a start and stands behind something in {name or method!r}: put it first."
            )
        _check_fits(model, part)
        refinements.append((part.name, part.refinement(options)))
    return MethodChain(begin, start_name, _with_steps(refinements, steps, name or "start"), name)


def _split(method: MethodLike) -> list[Method | Refinement]:
    """The parts, see `split_names`."""
    if isinstance(method, str):
        return [METHODS[name] for name in split_names(method, METHODS)]
    if isinstance(method, Sequence):
        return [part for element in method for part in _split(element)]
    if not callable(method) or isinstance(method, type):
        raise MethodError(f"method {method!r}: expected a name, an object that can be called, or a list of these.")
    return [method]


def _default(model: Model, *, has_start: bool) -> list[Method | Refinement]:
    """The best that the model has: of its networks alone, as nobody waits for an optimizer unasked."""
    fitting = [method for method in METHODS.values() if method.why_unfit(model) is None]
    refining = [method for method in fitting if isinstance(method.start, str) and not method.optimizes]
    if has_start:  # a refinement, which does not bring codes of its own
        return [*refining[:1]]
    # IDInvert is published with its optimization: its encoder alone is no method of its own.
    names = [method.name for method in fitting if method.preferred] or by_networks(model)
    return _split(names[0]) if names else [*(refining[:1] or [W_ENCODER])]


def _start_of(model: Model, method: Method) -> tuple[Start, str]:
    """The start of a method that was given none, and its name."""
    starting = METHODS[method.start] if isinstance(method.start, str) else method
    if method is not W_ENCODER:
        _check_fits(model, method)
    if starting.why_unfit(model) is not None:
        starts = [name for name in _starts(model) if METHODS[name].refinement is None]
        raise MethodError(
            f"method {method.name!r} has no encoder to start from: {why_missing(model, method.name)}. Convert the "
            "model's file again with one: hyperstyle convert FILE --encoder W_ENCODER.pt --out FOLDER. Or pass "
            "start=..., "
            + (f"one of {', '.join(map(repr, starts))}, or " if starts else "")
            + "a function from crops [B,3,h,w] to codes [B,L,D]."
        )
    if not isinstance(starting.start, StartingPoint):
        raise TypeError(f"method {starting.name!r} has no codes of its own to begin with")
    return starting.start.of(model), starting.start.name


def _checked_start(model: Model, start: Start) -> Start:
    """A start of the user, whose codes are checked and brought to the type and device of the model.

    It gets copies of the crops, and its codes are copied: it may change both later.
    """
    if not callable(start):
        raise MethodError(f"start={start!r}: expected a name, or a function from crops [B,3,h,w] to codes [B,L,D].")
    config = model.generator.config

    def begin(crops: Tensor) -> Tensor:
        codes, (rows, width) = start(crops.clone()), (config.rows, config.latent_width)
        shapes = [(len(crops), rows, width), (len(crops), width)]  # [B,L,D] and [B,D]
        if not isinstance(codes, Tensor) or tuple(codes.shape) not in shapes or not codes.isfinite().all():
            kind = (
                f"latent codes of shape {tuple(codes.shape)}"
                if isinstance(codes, Tensor)
                else f"something of type {type(codes).__name__}"
            )
            raise ConfigError(f"start gave {kind}: expected finite codes of shape {shapes[0]} or {shapes[1]}.")
        return codes.detach().to(model.device, model.dtype, copy=True)  # [B,L,D] or [B,D]

    return begin


def _with_steps(
    parts: Sequence[tuple[str, Refinement]], steps: Steps | None, name: str
) -> tuple[tuple[str, Refinement, int | None], ...]:
    """The parts with their numbers of steps."""
    if isinstance(steps, Mapping):
        known = [part for part, _ in parts]
        if unknown := [part for part in steps if part not in known]:
            raise MethodError(f"steps of {unknown[0]!r}, which is no part of it. {did_you_mean(unknown[0], known)}")
        for part, number in steps.items():
            check_integer(f"steps of {part!r}", number, most=_MAX_STEPS)
        return tuple((part, refinement, steps.get(part)) for part, refinement in parts)
    if steps and not parts:
        raise MethodError(f"method {name!r} has no refinement steps; steps={steps} was asked for.")
    if steps is not None:
        check_integer("steps", steps, most=_MAX_STEPS)
    last = len(parts) - 1  # a number without a name is that of the last part
    return tuple((part, refinement, steps if i == last else None) for i, (part, refinement) in enumerate(parts))
