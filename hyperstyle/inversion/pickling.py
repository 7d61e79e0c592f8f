"""Inversions that are copied and pickled: they travel as their state, without their model, and find it again.

A pickle holds what `Inversion.save` writes. The model is looked for in the process where it is unpickled, at once and
again when it is first needed: the very object, one that came by pickle itself, or one with the same weights. Where
there is none, what does not need one (codes, figures, sources) is there all the same, and `attach` gives it one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from hyperstyle.align.source import Provenance
from hyperstyle.errors import InversionError
from hyperstyle.inversion import file as inversion_file
from hyperstyle.inversion.file import Record
from hyperstyle.inversion.record import InversionRecord
from hyperstyle.inversion.state import GeneratorOverrides, InversionState
from hyperstyle.model.parts import HasModel, Model, ModelKey, living_model
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.runtime.gradients import copy_inference_tensors

T = TypeVar("T", bound="Portable")

_KEY = "_key"  # in the `__dict__` of those whose model is still looked for


class Portable:
    """The base of `Inversion`: its state and model; copying, pickling, and finding the model again."""

    model: Model
    w: Tensor
    offset_codes: OffsetCodes | None
    style_offsets: Mapping[str, Tensor]
    overrides: GeneratorOverrides
    mask: Tensor | None
    sources: tuple[Provenance, ...]
    failures: tuple[tuple[int, str], ...]
    crop: Tensor | None
    intermediates: tuple[Tensor, ...]

    def __len__(self) -> int:
        return self.w.shape[0]

    @property
    def state(self) -> InversionState:
        """All that decides its images."""
        return InversionState(self.w, self.offset_codes, self.style_offsets, self.overrides, self.mask)

    def _with(self: T, state: InversionState) -> T:
        """The same with this state; what else belongs to the images is up to the caller."""
        result: T = replace(self, **vars(state))  # type: ignore[type-var]
        return result

    def edited_to(self: T, state: InversionState, mask: Tensor | None = None) -> T:
        """An edit: the same images with another state, without metrics. `unedited` is what was before the first one.

        Args:
            state: of the same images. Its own mask is not taken.
            mask: [B,1,H,W] of all edits so far, see `masks.united_mask`; None for the whole image.
        """
        edited = self._with(replace(state, mask=mask))
        unedited = getattr(self, "unedited", None) or self
        result: T = replace(edited, stored_metrics={}, unedited=unedited, intermediates=())  # type: ignore[type-var]
        return result

    def __post_init__(self) -> None:
        """Copies tensors that were made in inference mode: no gradient could ever flow through them."""
        tensors = (*self.state.tensors, *self.intermediates, *([] if self.crop is None else [self.crop]))
        if any(tensor.is_inference() for tensor in tensors):
            images = {name: copy_inference_tensors(getattr(self, name)) for name in ("crop", "intermediates")}
            self.__dict__.update(vars(self.state.apply(copy_inference_tensors)), **images)

    def _check_single(self, what: str, advice: str = "index the batch first") -> None:
        if len(self) != 1:
            raise InversionError(f"{what} of a batch of {len(self)}: {advice}.")

    def _check_same_model(self, other: Portable) -> None:
        if self.model is not other.model and self.model.fingerprint != other.model.fingerprint:
            raise InversionError("the two inversions belong to different models.")
        if (self.w.device, self.w.dtype) != (other.w.device, other.w.dtype):
            this_kind, other_kind = (f"{w.dtype} on {w.device}" for w in (self.w, other.w))
            raise InversionError(
                f"one is {this_kind}, the other {other_kind}: load a saved one with the other's model."
            )

    @property
    def missing_model(self) -> ModelKey | None:
        """The key of its model while that is not loaded here; None as soon as it is, since it is looked for first."""
        key: ModelKey | None = self.__dict__.get(_KEY)
        if key is not None and (model := living_model(key)) is not None:
            inversion_file.check(record_of(self), model)
            _settle(self, model)
            return None
        return key

    def attach(self: T, inverter: HasModel) -> T:
        """A copy of this inversion with the inverter's model, on that model's device; this one is unchanged.

        Raises:
            InversionError: it was made with another model, or does not fit it.
        """
        key, model = _key(self), inverter.model
        if key.token != model.token and key.fingerprint != model.fingerprint:
            raise InversionError(
                f"the inversion was made with a {key.domain!r} model with fingerprint {key.fingerprint}; this one is "
                f"{model.domain.name!r}, {model.fingerprint}. Attach it to the model it was made with."
            )
        if "model" not in self.__dict__:
            inversion_file.check(record_of(self), model)
        attached = copy.copy(self)
        _settle(attached, model)
        return attached

    if not TYPE_CHECKING:  # for a type checker every name would exist

        def __getattr__(self, name: str) -> Any:
            """Looks for the model when it is first needed. Any other name that is not there is no attribute."""
            key = self.__dict__.get(_KEY)
            if name != "model" or key is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            if self.missing_model is not None:
                load = f"from_pretrained({key.origin})" if key.origin else "building it as it was built there"
                raise InversionError(
                    f"this inversion was unpickled where its model is not loaded: {key.domain!r}, fingerprint "
                    f"{key.fingerprint}. Load it, by {load}, and keep it, or pass it to inversion.attach(inverter)."
                )
            return self.__dict__["model"]

    def __copy__(self: T) -> T:
        duplicate = object.__new__(type(self))
        duplicate.__dict__.update(self.__dict__)
        return duplicate

    def __deepcopy__(self: T, memo: dict[int, Any]) -> T:
        """Copies of all tensors. Model, refinement and photos, which nothing changes, are shared."""
        shared = [self.__dict__.get("model"), self.__dict__.get("refinement"), *(s.photo for s in self.sources)]
        for part in shared:
            memo.setdefault(id(part), part)
        duplicate = object.__new__(type(self))
        memo[id(self)] = duplicate
        duplicate.__dict__.update({name: copy.deepcopy(value, memo) for name, value in list(self.__dict__.items())})
        return duplicate

    def __getstate__(self) -> dict[str, Any]:
        key, unedited = _key(self), self.__dict__["unedited"]
        elsewhere = unedited is not None and _key(unedited).token != key.token  # as after `transfer`
        tensors, meta = inversion_file.pack(record_of(self))
        return {
            "tensors": tensors,
            "meta": meta,
            "key": key,
            "failures": self.failures,
            "unedited": unedited if elsewhere else None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        model = living_model(state["key"])
        record = inversion_file.unpack(state["tensors"], state["meta"], model)
        fill(self, record, {_KEY: state["key"]} if model is None else {"model": model})
        if state["unedited"] is not None:
            self.__dict__["unedited"] = state["unedited"]
        self.__dict__["failures"] = state["failures"]


def fill(inversion: Any, record: Record, model: Mapping[str, Any]) -> None:
    """Gives an empty inversion all values of a record, and `model`: the model, or the key by which it is looked for."""
    meta, unedited = record.meta, None
    values: dict[str, Any] = {"crop": None, "intermediates": (), "refinement": None, "failures": (), **model}
    values |= {"method": meta.method, "start": meta.start, "sources": record.sources, "stored_metrics": meta.quality}
    if record.unedited is not None:
        unedited = object.__new__(type(inversion))
        unedited.__dict__.update(values, **vars(record.unedited), unedited=None)
    inversion.__dict__.update(values, **vars(record.state), unedited=unedited)


def record_of(inversion: Any, origin: Mapping[str, Any] | None = None) -> Record:
    """The values of an inversion that a file and a pickle hold; `origin`, plain values, says what it was made from."""
    key, unedited = _key(inversion), inversion.unedited
    before = None  # also of a transferred inversion, whose unedited image needs another model
    if unedited is not None and _key(unedited).token == key.token:
        before = unedited.state
    state = inversion.state if before is not None else replace(inversion.state, mask=None)  # which limits nothing
    meta = InversionRecord(
        fingerprint=key.fingerprint,
        domain=key.domain,
        method=inversion.method,
        start=inversion.start,
        quality={name: tuple(figures) for name, figures in inversion.stored_metrics.items()},
        origin=None if origin is None else dict(origin),
    )
    return Record(state, before, inversion.sources, meta)


def _key(inversion: Any) -> ModelKey:
    """The key of its model, or of the one that it had where it was pickled."""
    model: Model | None = inversion.__dict__.get("model")
    key: ModelKey = inversion.__dict__[_KEY] if model is None else model.key
    return key


def _settle(inversion: Any, model: Model) -> None:
    """Gives it the model, in place, and moves its tensors to the model's device and type."""
    token = _key(inversion).token
    values = inversion.__dict__

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(model.device, model.dtype)

    unedited = inversion.unedited
    mask = None if inversion.mask is None else inversion.mask.to(model.device)  # float32, whatever the model's type
    values.update(vars(replace(inversion.state.apply(move), mask=mask)))
    values["crop"] = None if inversion.crop is None else inversion.crop.to(model.device)
    values["intermediates"] = tuple(image.to(model.device) for image in inversion.intermediates)
    if unedited is not None and _key(unedited).token == token:
        values["unedited"] = copy.copy(unedited)
        _settle(values["unedited"], model)
    values.pop("tensor", None)
    values["model"] = model
    values.pop(_KEY, None)
