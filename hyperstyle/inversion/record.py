"""The JSON record of an inversion file as dataclasses, and the check of its tensors against a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, InversionError, shown
from hyperstyle.io.components import check_finite
from hyperstyle.io.opening import parse_json
from hyperstyle.io.typed_config import config_from_dict, config_to_dict
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.codes import Expander

UNEDITED = "unedited/"
"""What the names of tensors begin with that only the state before the first edit has."""

_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class StoredSource:
    """An image's source: `Provenance` without its photo. `photo` is its number in the batch."""

    name: str
    note: str
    photo: int | None = None


@dataclass(frozen=True)
class StoredPlacement:
    """`Placement`: footprint [4][2], landmarks [68 or 5][2], (width, height) of the photo."""

    footprint: tuple[tuple[float, float], ...]
    landmarks: tuple[tuple[float, float], ...]
    source_size: tuple[int, int]

    def __post_init__(self) -> None:
        numbers = [number for point in (*self.footprint, *self.landmarks) for number in point]
        is_shaped = len(self.footprint) == 4 and len(self.landmarks) in (5, 68) and min(self.source_size) > 0
        if not is_shaped or not all(abs(number) < 1e6 for number in numbers):
            raise ConfigError(
                "a placement needs 4 corners, 5 or 68 landmarks, all near the photo, and a size in pixels."
            )


@dataclass(frozen=True)
class StoredState:
    """The state before the first edit: names of its tensors, and the number of each image's tuned parameters."""

    tensors: tuple[str, ...]
    tuned: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class InversionRecord:
    """Plain values of an inversion of B images.

    Attributes:
        fingerprint, domain: of the model that made it.
        method, start: see `Inversion`.
        quality: `Inversion.stored_metrics`.
        origin: what `Inversion.save` was given, not checked.
        rows: L, rows of the latent codes.
        tuned: the number of each image's tuned parameters, [B], or () where there are none.
        unedited: before the first edit, where there was one.
        sources, placements: of each image, [B], or () where they are unknown.
    """

    fingerprint: str
    domain: str
    method: str
    start: str = "w-encoder"
    quality: dict[str, tuple[float, ...]]
    origin: dict[str, Any] | None = None
    rows: int = 0
    tuned: tuple[int, ...] = ()
    unedited: StoredState | None = None
    sources: tuple[StoredSource, ...] = ()
    placements: tuple[StoredPlacement | None, ...] = ()

    @classmethod
    def parse(cls, text: str) -> InversionRecord:
        """From JSON. Raises ConfigError for any text that is no record."""
        try:
            values = parse_json(text)
        except ValueError as error:
            raise ConfigError(f"the record is not valid JSON: {error}.") from error
        return config_from_dict(cls, values, "the record")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = config_to_dict(self)
        if self.origin is None:
            del values["origin"]
        return values

    def check(self, tensors: Mapping[str, Tensor], model: Model) -> None:
        """Checks everything against the model it was made with, before anything is built from it.

        Args:
            tensors: all of the file.
            model: whose generator, and whose networks where offsets and residuals are codes, it must fit.

        Raises:
            InversionError: numbers or shapes that fit neither each other nor the model, or an unknown tensor.
            WeightsError: values that are not finite.
        """
        w, before = tensors.get("w", torch.zeros(0)), self.unedited or StoredState((), ())
        batch, checker, rows = len(w) if w.ndim else 0, _Checker(model), model.generator.config.rows
        if batch < 1 or self.rows != rows:
            raise InversionError(f"{batch} image(s) of {self.rows} rows: expected 1 or more, of {rows}.")
        lists = {"sources": self.sources, "tuned": self.tuned, "unedited: tuned": before.tuned}
        lengths = {f"quality: {name}": len(figures) for name, figures in self.quality.items()}
        lengths |= {name: len(values) for name, values in lists.items() if values}
        if wrong := [name for name, length in lengths.items() if length != batch]:
            raise InversionError(f"{shown(wrong[0])} has {lengths[wrong[0]]} values for {batch} images.")
        if len(self.placements) != len(self.sources):
            raise InversionError(f"{len(self.placements)} placements of {len(self.sources)} sources: expected as many.")
        if not all(0 <= number < batch for number in (*self.tuned, *before.tuned)):
            raise InversionError(f"the numbers of tuned parameters do not lie in 0..{batch - 1}.")
        now = {name: tensor for name, tensor in tensors.items() if not name.startswith(UNEDITED)}
        old = {name: tensors[UNEDITED + name] for name in before.tensors if UNEDITED + name in tensors}
        if len(now) + len(old) < len(tensors) or any(name not in now and name not in old for name in before.tensors):
            raise InversionError("the tensors of the state before the first edit are not those that it lists.")
        both = {**now, **old}
        states = [now, *([] if self.unedited is None else [{name: both[name] for name in before.tensors}])]
        if "mask" in tensors and ("mask" in before.tensors or self.unedited is None):
            raise InversionError("a mask limits edits: expected the state before the first one, without a mask.")
        for state in states:
            for name in state:
                checker.check(name, state, batch)
            if "w" not in state:
                raise InversionError("the tensor 'w' of the unedited state is missing.")
            maps = [name for name in state if name.startswith("noise/")]
            if maps and len(maps) != len(checker.noise):
                raise InversionError(f"{len(maps)} noise maps: expected {len(checker.noise)}.")
            for group in ("codes", "residuals"):
                if f"{group}/weights" not in state and any(name.startswith(f"{group}/") for name in state):
                    raise InversionError(f"the tensor '{group}/weights' is missing.")


class _Checker:
    """The shapes that a model allows; `noise`: name of each noise map -> its shape [1,r,r]."""

    def __init__(self, model: Model) -> None:
        generator = model.generator
        self._config, self._takes_offsets = generator.config, generator.takes_offsets
        self._layers = {spec.name: spec for spec in generator.layers}
        self._parameters = {name: tuple(value.shape) for name, value in generator.named_parameters()}
        self._networks: dict[str, Expander | None] = {"codes": model.hypernetwork, "residuals": model.hyperinverter}
        self._mask = (1, *model.domain.content_size)
        self.noise = {f"noise/{i}": tuple(stored.shape[1:]) for i, stored in enumerate(generator.noises.buffers())}

    def check(self, name: str, state: Mapping[str, Tensor], batch: int) -> None:
        """Raises InversionError or WeightsError unless a state of B images may have this tensor."""
        tensor = state[name]
        shape, expected = tuple(tensor.shape), self._shape(name, state, batch)
        if expected is None:
            raise InversionError(f"the tensor {shown(name)} is unknown, or for a network that the model does not have.")
        fits = shape == expected
        if "/dense/" in name:  # from the last axis on, each size is 1 or that of the weight
            fits = len(shape) <= 5 and all(n in (1, m) for n, m in zip(shape[::-1], expected[::-1], strict=False))
        types, words = ((torch.uint8,), "bytes") if name == "mask" else (_TYPES, "floating-point numbers")
        if not fits or tensor.dtype not in types:
            raise InversionError(
                f"the tensor {shown(name)} is {tensor.dtype} of shape {shape}: expected {words} of the shape "
                f"{expected}."
            )
        check_finite(tensor, name, "the tensors")

    def _shape(self, name: str, state: Mapping[str, Tensor], batch: int) -> tuple[int, ...] | None:
        """The shape that the tensor must have, or broadcast to; None for a tensor that may not be there."""
        group, _, rest = name.partition("/")
        if name == "w":
            rows = 1 if state[name].shape[1:2] == (1,) else self._config.rows  # equal rows are one
            return batch, rows, self._config.latent_width
        if group == "style" and rest in self._layers:
            return batch, self._layers[rest].style_width
        if name in self.noise:
            return batch, *self.noise[name]
        if name == "mask":
            return batch, *self._mask
        if group == "tuned":
            number, _, parameter = rest.partition("/")
            return self._parameters.get(parameter) if number in map(str, range(batch)) else None
        return self._code_shape(group, rest, state, batch) if group in self._networks and self._takes_offsets else None

    def _code_shape(self, group: str, rest: str, state: Mapping[str, Tensor], batch: int) -> tuple[int, ...] | None:
        """The same for the tensors of `OffsetCodes`."""
        weights = state.get(f"{group}/weights")
        steps = weights.shape[1] if weights is not None and weights.ndim == 2 else 1
        kind, _, layer = rest.partition("/")
        spec, network = self._layers.get(layer), self._networks[group]
        if rest == "weights":
            return batch, max(1, steps)
        if kind == "dense" and spec is not None:
            return batch, spec.channels_out, spec.channels_in, spec.kernel, spec.kernel
        if spec is None or network is None or spec not in network.layers:
            return None
        if kind == ("sum" if network.is_affine(spec) else "term"):
            return (batch, network.code_width) if kind == "sum" else (batch, steps, network.code_width)
        return None
