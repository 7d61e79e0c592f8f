"""The file format of inversions: one safetensors file with a JSON record in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperstyle.align.source import Placement, Provenance
from hyperstyle.errors import ConfigError, HyperStyleError, InversionError, WeightsError, shown
from hyperstyle.images.masks import MASK_LEVELS
from hyperstyle.inversion.record import (
    UNEDITED,
    InversionRecord,
    StoredPlacement,
    StoredSource,
    StoredState,
)
from hyperstyle.inversion.state import GeneratorOverrides, InversionState
from hyperstyle.io.components import load_tensors, open_safetensors, save_tensors
from hyperstyle.io.file_kind import check_suffix
from hyperstyle.io.opening import check_file
from hyperstyle.io.typed_config import config_from_dict
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.codes import OffsetCodes

_FORMAT = "hyperstyle-inversion/2"


@dataclass(frozen=True, eq=False)
class Record:
    """The content of the file.

    Attributes:
        state: of the inversion.
        unedited: before the first edit, where there was one.
        sources: where each image came from; the photos themselves are not stored.
        meta: plain values. Those that follow from the rest are set when it is written.
    """

    state: InversionState
    unedited: InversionState | None
    sources: tuple[Provenance, ...]
    meta: InversionRecord


def _named(codes: OffsetCodes | None, prefix: str) -> dict[str, Tensor]:
    if codes is None:
        return {}
    groups = {"sum": codes.sums, "term": codes.terms, "dense": codes.dense}
    named = {f"{prefix}/{kind}/{name}": t for kind, group in groups.items() for name, t in group.items()}
    return {f"{prefix}/weights": codes.weights, **named}


def _tensors(state: InversionState) -> tuple[dict[str, Tensor], list[int]]:
    """All tensors of a state by name, and the number of each image's tuned parameters; shared ones are stored once."""
    overrides = state.overrides
    distinct = {id(parameters): parameters for parameters in overrides.tuned}
    numbers = {key: i for i, key in enumerate(distinct)}
    w = state.w[:, :1] if torch.equal(state.w, state.w[:, :1].expand_as(state.w)) else state.w  # W: equal rows are one
    tensors = {"w": w, **_named(state.offset_codes, "codes"), **_named(overrides.residuals, "residuals")}
    tensors |= {f"style/{name}": offset for name, offset in state.style_offsets.items()}
    tensors |= {f"tuned/{numbers[key]}/{n}": value for key, group in distinct.items() for n, value in group.items()}
    tensors |= {f"noise/{i}": noise for i, noise in enumerate(overrides.noise)}
    if state.mask is not None:  # a byte for each pixel holds it without loss
        tensors["mask"] = state.mask.mul(MASK_LEVELS).round().byte()
    return tensors, [numbers[id(parameters)] for parameters in overrides.tuned]


def write(path: Path, record: Record) -> None:
    """Writes atomically.

    Raises:
        InversionError: the name is that of an image or another kind of file.
        HyperStyleError: the file cannot be written.
    """
    advice = "Save the image itself by inversion.image.save(...), and the inversion as NAME.safetensors."
    check_suffix(path, "safetensors", "PyTorch", advice=advice, error=InversionError)
    tensors, meta = _split(record)
    save_tensors(path, tensors, {"format": _FORMAT, "record": json.dumps(meta.to_dict())})


def pack(record: Record) -> tuple[bytes, dict[str, Any]]:
    """The same as `write`, in memory: the bytes of a safetensors file, and the plain values."""
    from safetensors.torch import save

    tensors, meta = _split(record)
    return save({name: tensor.detach() for name, tensor in tensors.items()}), meta.to_dict()


def unpack(tensors: bytes, meta: dict[str, Any], model: Model | None) -> Record:
    """The record that was packed, its tensors on the device and of the type of the model.

    Without a model they stay on the CPU, of their own type, and `check` comes later.

    Raises:
        InversionError: it does not fit the model.
    """
    from safetensors.torch import load

    stored, record = load(tensors), config_from_dict(InversionRecord, meta, "the record")
    if model is None:
        return _record(stored, record, torch.device("cpu"), None)
    with _damages("what was unpickled", InversionError):
        record.check(stored, model)
    return _record(stored, record, model.device, model.dtype)


def check(record: Record, model: Model) -> None:
    """Raises InversionError for the record of an unpickled inversion that does not fit the model."""
    tensors, meta = _split(record)
    with _damages("what was unpickled", InversionError):
        meta.check(tensors, model)


def _split(record: Record) -> tuple[dict[str, Tensor], InversionRecord]:
    """Tensors that share no memory, and plain values."""
    tensors, tuned = _tensors(record.state)
    before, before_tuned = ({}, []) if record.unedited is None else _tensors(record.unedited)
    # What an edit left as it was, most of all the offset codes, is not stored again.
    changed = {
        n: t for n, t in before.items() if n not in tensors or not (t is tensors[n] or torch.equal(t, tensors[n]))
    }
    photos = list(dict.fromkeys(id(s.photo) for s in record.sources if s.photo is not None))
    numbers = [s.photo_number if s.photo is None else photos.index(id(s.photo)) for s in record.sources]
    meta = replace(
        record.meta,
        rows=record.state.w.shape[1],
        tuned=tuple(tuned),
        unedited=None if record.unedited is None else StoredState(tuple(before), tuple(before_tuned)),
        sources=tuple(StoredSource(s.name, s.note, n) for s, n in zip(record.sources, numbers, strict=True)),
        placements=tuple(None if s.placement is None else _stored(s.placement) for s in record.sources),
    )
    stored = {**tensors, **{UNEDITED + name: tensor for name, tensor in changed.items()}}
    separate = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in stored.items()}
    return separate, meta


def read(
    path: Path, model: Model, device: torch.device, dtype: torch.dtype, *, accepts_generator: bool = False
) -> Record:
    """Reads it, and checks it whole against the model it was made with.

    Args:
        path: the file.
        model: the model it must have been made with.
        device, dtype: of the tensors.
        accepts_generator: also read what a model of the same generator alone, without hypernetworks, has made.

    Raises:
        MissingFileError, WeightsError: no such file, or not a readable one.
        InversionError: the file is of another kind, damaged, or made with another model.
    """
    tensors, metadata = load_tensors(path)
    meta = _meta(path, metadata, InversionError)
    is_fitting = meta.fingerprint == model.fingerprint
    if not is_fitting and not (accepts_generator and meta.fingerprint == model.generator_fingerprint):
        raise InversionError(
            f"{path} was made with a {shown(meta.domain)} model with fingerprint {shown(meta.fingerprint)[1:-1]}; this "
            f"one is {model.domain.name!r}, {model.fingerprint}. Load the model it was made with."
        )
    with _damages(path, InversionError):
        meta.check(tensors, model)
    return _record(tensors, meta, device, dtype)


def read_origin(path: Path) -> dict[str, Any] | None:
    """What `Inversion.save` was given as `origin`; None where the file does not say. Reads the header, no tensors.

    Raises:
        WeightsError: the file cannot be read, or is damaged or cut off.
        InversionError: it is a safetensors file of another kind.
    """
    from safetensors import SafetensorError

    check_file(path, "safetensors file", error=WeightsError)
    try:
        with open_safetensors(path) as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}. Write it again.") from error
    return _meta(path, metadata, WeightsError).origin


def _meta(path: Path, metadata: Mapping[str, str], kind: type[HyperStyleError]) -> InversionRecord:
    """The record. Raises InversionError for a file of another kind, and `kind` for a damaged record."""
    if metadata.get("format") != _FORMAT:
        raise InversionError(
            f"{path} is not an inversion: expected a file that `hyperstyle invert` or Inversion.save() wrote."
        )
    with _damages(path, kind):
        return InversionRecord.parse(metadata.get("record", ""))


@contextmanager
def _damages(path: str | Path, kind: type[HyperStyleError]) -> Iterator[None]:
    """Raises `kind`, which says that the file is damaged, in place of an error about what is in it."""
    try:
        yield
    except (ConfigError, InversionError, WeightsError) as error:
        raise kind(f"{path} is a damaged inversion: {error} Save it again.") from error


def _record(
    tensors: dict[str, Tensor], meta: InversionRecord, device: torch.device, dtype: torch.dtype | None
) -> Record:
    # Copies, which PyTorch aligns in memory, and codes whose rows are not one row repeated: how a matrix product rounds
    # may depend on where its operands lie, and the images must come out bit for bit.
    tensors = {k: v.to(device, v.dtype if k == "mask" else dtype or v.dtype, copy=True) for k, v in tensors.items()}
    before = None
    if (stored := meta.unedited) is not None:
        names = {name: UNEDITED + name if UNEDITED + name in tensors else name for name in stored.tensors}
        before = _state({name: tensors[place] for name, place in names.items()}, meta.rows, stored.tuned)
    sources = tuple(
        Provenance(row.name, row.note, None, None if place is None else _placement(place), row.photo)
        for row, place in zip(meta.sources, meta.placements, strict=True)
    )
    return Record(_state(tensors, meta.rows, meta.tuned), before, sources, meta)


def _stored(placement: Placement) -> StoredPlacement:
    values = {name: np.asarray(value).tolist() for name, value in vars(placement).items()}
    return config_from_dict(StoredPlacement, values, "placement")


def _placement(stored: StoredPlacement) -> Placement:
    return Placement(np.asarray(stored.footprint, float), np.asarray(stored.landmarks, float), stored.source_size)


def _state(tensors: Mapping[str, Tensor], rows: int, tuned: Sequence[int]) -> InversionState:
    def group(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    def codes(prefix: str) -> OffsetCodes | None:
        if f"{prefix}/weights" not in tensors:
            return None
        sums, terms, dense = (group(f"{prefix}/{kind}/") for kind in ("sum", "term", "dense"))
        return OffsetCodes(sums, terms, tensors[f"{prefix}/weights"], dense)

    w = tensors["w"]
    parameters = [group(f"tuned/{number}/") for number in range(max(tuned, default=-1) + 1)]
    noise = tuple(tensors[f"noise/{i}"] for i in range(len(group("noise/"))))
    overrides = GeneratorOverrides(codes("residuals"), tuple(parameters[number] for number in tuned), noise)
    w = w.expand(-1, rows, -1).contiguous() if w.shape[1] == 1 else w
    mask = tensors["mask"].float().div(MASK_LEVELS) if "mask" in tensors else None
    return InversionState(w, codes("codes"), group("style/"), overrides, mask)
