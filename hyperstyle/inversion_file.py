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

from hyperstyle.align.source import Placement, Source
from hyperstyle.checkpoint import load_tensors, save_tensors
from hyperstyle.errors import InversionError
from hyperstyle.networks.codes import OffsetCodes

__all__ = ["Record", "read", "write"]

_FORMAT = "hyperstyle-inversion/1"


@dataclass(frozen=True, eq=False)
class Record:
    """What stands in the file.

    Attributes:
        w: [B,L,D].
        codes: offset codes, or None.
        style_offsets: layer name -> [B,I].
        unedited: `w`, `codes` and `style_offsets` before the first edit, where there was one.
        sources: where each picture came from; the photos themselves are not stored.
        meta: plain values.
    """

    w: Tensor
    codes: OffsetCodes | None
    style_offsets: Mapping[str, Tensor]
    unedited: tuple[Tensor, OffsetCodes | None, Mapping[str, Tensor]] | None
    sources: tuple[Source, ...]
    meta: Mapping[str, Any]


def _pack(w: Tensor) -> Tensor:
    """W codes, the same row L times, are stored once."""
    return w[:, :1].clone() if torch.equal(w, w[:, :1].expand_as(w)) else w.clone()


def _named(codes: OffsetCodes | None, prefix: str) -> dict[str, Tensor]:
    if codes is None:
        return {}
    return {
        f"{prefix}/weights": codes.weights,
        **{f"{prefix}/sum/{n}": c for n, c in codes.sums.items()},
        **{f"{prefix}/term/{n}": c for n, c in codes.terms.items()},
        **{f"{prefix}/dense/{n}": c for n, c in codes.dense.items()},
    }


def write(path: Path, record: Record) -> None:
    """Writes atomically. Raises HyperStyleError where the file cannot be written."""
    tensors = {"w": _pack(record.w), **_named(record.codes, "codes")}
    same_codes = True
    if record.unedited is not None:
        tensors["unedited_w"] = _pack(record.unedited[0])
        before, now = _named(record.unedited[1], "codes"), _named(record.codes, "codes")
        same_codes = before.keys() == now.keys() and all(torch.equal(before[n], now[n]) for n in now)
        if not same_codes:  # an edit keeps them; mix() does not
            tensors.update({n: c.clone() for n, c in _named(record.unedited[1], "unedited_codes").items()})
        tensors.update({f"unedited_style/{n}": c.clone() for n, c in record.unedited[2].items()})
    tensors.update({f"style/{n}": c for n, c in record.style_offsets.items()})
    photos = list(dict.fromkeys(id(s.photo) for s in record.sources if s.photo is not None))
    numbers = [s.photo_number if s.photo is None else photos.index(id(s.photo)) for s in record.sources]
    meta = {
        **record.meta,
        "rows": record.w.shape[1],
        "same_codes": same_codes,
        "sources": [
            {"name": s.name, "note": s.note, "photo": number} for s, number in zip(record.sources, numbers, strict=True)
        ],
        "placements": [
            None
            if (p := source.placement) is None
            else {
                "footprint": p.footprint.tolist(),
                "landmarks": p.landmarks.tolist(),
                "source_size": list(p.source_size),
            }
            for source in record.sources
        ],
    }
    save_tensors(path, tensors, {"format": _FORMAT, "record": json.dumps(meta)})


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


def _record(tensors: dict[str, Tensor], meta: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Record:
    # Copies, which PyTorch aligns in memory, and codes whose rows are not one row repeated: how a matrix product rounds
    # may depend on where its operands lie, and the pictures must come out bit for bit.
    tensors = {k: v.to(device, dtype, copy=True) for k, v in tensors.items()}

    def unpack(t: Tensor) -> Tensor:
        return t.expand(-1, meta["rows"], -1).contiguous() if t.shape[1] == 1 else t

    def group(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    def offset_codes(prefix: str) -> OffsetCodes | None:
        if f"{prefix}/weights" not in tensors:
            return None
        sums, terms, dense = (group(f"{prefix}/{kind}/") for kind in ("sum", "term", "dense"))
        return OffsetCodes(sums, terms, tensors[f"{prefix}/weights"], dense)

    codes = offset_codes("codes")
    unedited = None
    if "unedited_w" in tensors:
        before = codes if meta["same_codes"] else offset_codes("unedited_codes")
        unedited = (unpack(tensors["unedited_w"]), before, group("unedited_style/"))
    placements = tuple(
        None
        if p is None
        else Placement(
            np.asarray(p["footprint"], float),
            np.asarray(p["landmarks"], float),
            (p["source_size"][0], p["source_size"][1]),
        )
        for p in meta["placements"]
    )
    return Record(
        w=unpack(tensors["w"]),
        codes=codes,
        style_offsets=group("style/"),
        unedited=unedited,
        sources=tuple(
            Source(row["name"], row["note"], None, placement, row.get("photo"))
            for row, placement in zip(meta["sources"], placements, strict=True)
        ),
        meta=meta,
    )
