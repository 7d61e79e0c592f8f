"""The file format of inversions: one safetensors file with a JSON record in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperstyle.align.source import Placement, Provenance
from hyperstyle.errors import InversionError, WeightsError
from hyperstyle.inversion.state import GeneratorOverrides, InversionState
from hyperstyle.io.components import load_tensors, save_tensors
from hyperstyle.io.file_kind import check_suffix
from hyperstyle.io.opening import check_file
from hyperstyle.networks.hypernetworks.codes import OffsetCodes

_FORMAT = "hyperstyle-inversion/2"
_BEFORE = "unedited/"


@dataclass(frozen=True, eq=False)
class Record:
    """The content of the file.

    Attributes:
        state: of the inversion.
        unedited: before the first edit, where there was one.
        sources: where each image came from; the photos themselves are not stored.
        meta: plain values.
    """

    state: InversionState
    unedited: InversionState | None
    sources: tuple[Provenance, ...]
    meta: Mapping[str, Any]


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
    save_tensors(path, tensors, {"format": _FORMAT, "record": json.dumps(meta)})


def pack(record: Record) -> tuple[bytes, dict[str, Any]]:
    """The same as `write`, in memory: the bytes of a safetensors file, and the plain values."""
    from safetensors.torch import save

    tensors, meta = _split(record)
    return save({name: tensor.detach() for name, tensor in tensors.items()}), meta


def unpack(tensors: bytes, meta: dict[str, Any], device: torch.device, dtype: torch.dtype | None = None) -> Record:
    """The record that was packed, its tensors on this device and of this type (None: as they were)."""
    from safetensors.torch import load

    return _record(load(tensors), meta, device, dtype)


def _split(record: Record) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors that share no memory, and plain values."""
    tensors, tuned = _tensors(record.state)
    before, before_tuned = ({}, []) if record.unedited is None else _tensors(record.unedited)
    # What an edit left as it was, most of all the offset codes, is not stored again.
    changed = {
        n: t for n, t in before.items() if n not in tensors or not (t is tensors[n] or torch.equal(t, tensors[n]))
    }
    photos = list(dict.fromkeys(id(s.photo) for s in record.sources if s.photo is not None))
    numbers = [s.photo_number if s.photo is None else photos.index(id(s.photo)) for s in record.sources]
    meta = {
        **record.meta,
        "rows": record.state.w.shape[1],
        "tuned": tuned,
        "unedited": None if record.unedited is None else {"tensors": list(before), "tuned": before_tuned},
        "sources": [
            {"name": s.name, "note": s.note, "photo": number} for s, number in zip(record.sources, numbers, strict=True)
        ],
        "placements": [
            None if s.placement is None else {name: np.asarray(v).tolist() for name, v in vars(s.placement).items()}
            for s in record.sources
        ],
    }
    stored = {**tensors, **{_BEFORE + name: tensor for name, tensor in changed.items()}}
    separate = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in stored.items()}
    return separate, meta


def read(path: Path, device: torch.device, dtype: torch.dtype) -> Record:
    """Reads it. Raises MissingFileError, WeightsError, or InversionError where the file is of another kind."""
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != _FORMAT or "w" not in tensors:
        raise InversionError(f"{path} is not an inversion: expected a file written by Inversion.save().")
    try:
        return _record(tensors, json.loads(metadata["record"]), device, dtype)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InversionError(f"{path} is a damaged inversion ({reason}). Save it again.") from error


def read_origin(path: Path) -> dict[str, Any] | None:
    """What `Inversion.save` was given as `origin`; None where the file does not say. Reads the header, no tensors.

    Raises:
        WeightsError: the file cannot be read, or is damaged or cut off.
        InversionError: it is a safetensors file of another kind.
    """
    from safetensors import SafetensorError, safe_open

    check_file(path, "safetensors file", error=WeightsError)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}. Write it again.") from error
    if metadata.get("format") != _FORMAT:
        raise InversionError(f"{path} is not an inversion: expected a file written by Inversion.save().")
    try:
        origin: Any = json.loads(metadata["record"]).get("origin")
    except (KeyError, AttributeError, ValueError) as error:
        raise WeightsError(
            f"{path} is a damaged inversion ({type(error).__name__}: {error}). Write it again."
        ) from error
    return dict(origin) if isinstance(origin, dict) else None


def _record(
    tensors: dict[str, Tensor], meta: dict[str, Any], device: torch.device, dtype: torch.dtype | None
) -> Record:
    # Copies, which PyTorch aligns in memory, and codes whose rows are not one row repeated: how a matrix product rounds
    # may depend on where its operands lie, and the images must come out bit for bit.
    tensors = {k: v.to(device, dtype or v.dtype, copy=True) for k, v in tensors.items()}
    before = None
    if (stored := meta["unedited"]) is not None:
        names = {name: _BEFORE + name if _BEFORE + name in tensors else name for name in stored["tensors"]}
        before = _state({name: tensors[place] for name, place in names.items()}, meta["rows"], stored["tuned"])
    sources = tuple(
        Provenance(row["name"], row["note"], None, None if place is None else _placement(**place), row.get("photo"))
        for row, place in zip(meta["sources"], meta["placements"], strict=True)
    )
    return Record(_state(tensors, meta["rows"], meta["tuned"]), before, sources, meta)


def _placement(footprint: list[list[float]], landmarks: list[list[float]], source_size: tuple[int, int]) -> Placement:
    return Placement(np.asarray(footprint, float), np.asarray(landmarks, float), (source_size[0], source_size[1]))


def _state(tensors: Mapping[str, Tensor], rows: int, tuned: list[int]) -> InversionState:
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
    return InversionState(w, codes("codes"), group("style/"), overrides)
