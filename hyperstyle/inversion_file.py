"""The file format of inversions: one safetensors file with a JSON record in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperstyle.checkpoint import load_tensors, save_tensors
from hyperstyle.errors import InversionError
from hyperstyle.networks.codes import OffsetCodes

__all__ = ["Placement", "Record", "read", "write"]

_FORMAT = "hyperstyle-inversion/1"


@dataclass(frozen=True, eq=False)
class Placement:
    """Where in its photo a crop was taken from.

    Attributes:
        footprint: [4,2] corners (top left, bottom left, bottom right, top right) in pixels of the upright photo.
        landmarks: [68,2] or [5,2] points they came from.
        source_size: (width, height) of the upright photo.
    """

    footprint: npt.NDArray[np.float64]
    landmarks: npt.NDArray[np.float64]
    source_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Record:
    """What stands in the file.

    Attributes:
        w: [B,L,D].
        codes: offset codes, or None.
        style_offsets: layer name -> [B,I].
        unedited_w: the codes before the first edit, where there was one.
        placements: where each picture was cut out of its photo.
        meta: plain values.
    """

    w: Tensor
    codes: OffsetCodes | None
    style_offsets: Mapping[str, Tensor]
    unedited_w: Tensor | None
    placements: tuple[Placement | None, ...]
    meta: Mapping[str, Any]


def _pack(w: Tensor) -> Tensor:
    """W codes, the same row L times, are stored once."""
    return w[:, :1] if torch.equal(w, w[:, :1].expand_as(w)) else w


def write(path: Path, record: Record) -> None:
    """Writes atomically. Raises HyperStyleError where the file cannot be written."""
    tensors = {"w": _pack(record.w)}
    if record.unedited_w is not None:
        tensors["unedited_w"] = _pack(record.unedited_w)
    if record.codes is not None:
        tensors["codes/weights"] = record.codes.weights
        tensors.update({f"codes/sum/{n}": c for n, c in record.codes.sums.items()})
        tensors.update({f"codes/term/{n}": c for n, c in record.codes.terms.items()})
    tensors.update({f"style/{n}": c for n, c in record.style_offsets.items()})
    meta = {
        **record.meta,
        "rows": record.w.shape[1],
        "placements": [
            None
            if p is None
            else {
                "footprint": p.footprint.tolist(),
                "landmarks": p.landmarks.tolist(),
                "source_size": list(p.source_size),
            }
            for p in record.placements
        ],
    }
    save_tensors(path, tensors, {"format": _FORMAT, "record": json.dumps(meta)})


def read(path: Path, device: torch.device, dtype: torch.dtype) -> Record:
    """Reads it. Raises MissingFileError, WeightsError, or InversionError where the file is of another kind."""
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != _FORMAT or "w" not in tensors:
        raise InversionError(f"{path} is not an inversion: expected a file written by Inversion.save().")
    meta = json.loads(metadata["record"])
    tensors = {k: v.to(device, dtype) for k, v in tensors.items()}

    def unpack(t: Tensor) -> Tensor:
        return t.expand(-1, meta["rows"], -1) if t.shape[1] == 1 else t

    def group(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    codes = None
    if "codes/weights" in tensors:
        codes = OffsetCodes(group("codes/sum/"), group("codes/term/"), tensors["codes/weights"])
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
    unedited = tensors.get("unedited_w")
    return Record(
        w=unpack(tensors["w"]),
        codes=codes,
        style_offsets=group("style/"),
        unedited_w=None if unedited is None else unpack(unedited),
        placements=placements,
        meta=meta,
    )
