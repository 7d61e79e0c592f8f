"""The columns of a shard, and rows <-> inversions. docs/bulk.md describes them for readers without this library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from hyperstyle.bulk.items import Item
from hyperstyle.bulk.settings import need
from hyperstyle.errors import CheckpointError, HyperStyleError, InversionError, shown
from hyperstyle.inversion.file import Record, join, split
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.pickling import fill, record_of
from hyperstyle.inversion.record import InversionRecord, StoredPlacement, StoredSource
from hyperstyle.io.opening import parse_json
from hyperstyle.model.parts import Model

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "hyperstyle-shard/1"
"""The version of the columns, in the metadata of each Parquet file."""

_KEY = b"hyperstyle"
_ARROW = {torch.float64: "float64", torch.float32: "float32", torch.float16: "float16"}  # others as float32

Row = dict[str, Any]
"""Column name -> plain value."""


@dataclass(frozen=True)
class ShardModel:
    """What the metadata of a shard says about its model: `fingerprint` and name of its domain, and shapes of `w`."""

    fingerprint: str
    domain: str
    rows: int
    width: int

    @classmethod
    def of(cls, model: Model) -> ShardModel:
        """That of a model."""
        config = model.generator.config
        return cls(model.fingerprint, model.domain.name, config.rows, config.latent_width)

    @classmethod
    def read(cls, schema: pa.Schema, name: str) -> ShardModel:
        """From the metadata of the shard `name`.

        Raises:
            CheckpointError: the file is no shard, or of a version that is not known.
        """
        try:
            values = parse_json((schema.metadata or {})[_KEY])
            version = values.pop("format")
            if version != FORMAT:
                raise CheckpointError(f"{name} has the format {shown(version)}: this version reads {FORMAT!r}.")
            return cls(**values)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{name} is no shard of inversions: expected what hyperstyle bulk writes.") from error


def schema_of(model: Model) -> pa.Schema:
    """The columns of shards of this model."""
    pa = need("pyarrow", "bulk", "writing shards")
    values = pa.list_(getattr(pa, _ARROW.get(model.dtype, "float32"))())
    points = pa.list_(pa.float64())
    tensor = pa.struct([("name", pa.string()), ("shape", pa.list_(pa.int32())), ("values", values)])
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("quad", points),  # x, y of 4 corners
            ("landmarks", points),  # x, y of 68 or 5 points
            ("note", pa.string()),
            ("doubt", pa.string()),
            ("method", pa.string()),
            ("start", pa.string()),
            ("seed", pa.int64()),
            ("w", values),  # [L, D], or [D] where all rows are equal
            ("codes", pa.list_(tensor)),
            ("quality", pa.map_(pa.string(), pa.float64())),
            ("error", pa.string()),
            ("error_kind", pa.string()),
            ("crop", pa.binary()),
            ("reconstruction", pa.binary()),
        ],
        metadata={_KEY: json.dumps({"format": FORMAT, **vars(ShardModel.of(model))})},
    )


def failed_row(item: Item, error: HyperStyleError, seed: int | None) -> Row:
    """The row of an image that cannot be inverted: the sentence of the error, and the name of its class."""
    return {
        "id": _text(item.id),
        "source": _text(item.location),
        "seed": seed,
        "error": _text(str(error)),
        "error_kind": type(error).__name__,
    }


def inverted_rows(
    items: Sequence[Item],
    sizes: Sequence[tuple[int, int]],
    doubts: Sequence[str],
    inversion: Inversion,
    seed: int | None,
) -> list[Row]:
    """The rows of a batch of images that were inverted together.

    Args:
        items: of the images.
        sizes: (width, height) of each upright photo.
        doubts: what looks wrong about each; "" if nothing does.
        inversion: of the batch, not edited.
        seed: that was asked for.
    """
    record, dtype = record_of(inversion), inversion.model.dtype
    state = record.state.apply(lambda tensor: tensor.detach().cpu())  # all at once, not row by row
    rows = []
    for i, (item, size, doubt) in enumerate(zip(items, sizes, doubts, strict=True)):
        quality = {name: figures[i] for name, figures in inversion.stored_metrics.items()}
        tensors, meta = split(Record(state.take([i]), None, inversion.sources[i : i + 1], record.meta))
        (placement,) = meta.placements or (None,)
        rows.append(
            {
                "id": _text(item.id),
                "source": _text(item.location),
                "width": size[0],
                "height": size[1],
                "quad": None if placement is None else np.ravel(placement.footprint),
                "landmarks": None if placement is None else np.ravel(placement.landmarks),
                "note": meta.sources[0].note if meta.sources else "",
                "doubt": doubt or None,
                "method": meta.method,
                "start": meta.start,
                "seed": seed,
                "w": _values(tensors.pop("w"), dtype),
                "codes": [
                    {"name": name, "shape": list(tensor.shape), "values": _values(tensor, dtype)}
                    for name, tensor in tensors.items()
                ],
                "quality": list(quality.items()),
            }
        )
    return rows


def inversion_of(row: Mapping[str, Any], shard: ShardModel, model: Model) -> Inversion:
    """The inversion of a row that has no error.

    Args:
        row: as it was read, with NumPy arrays or lists of numbers.
        shard: the metadata of its file.
        model: that it was made with.

    Raises:
        InversionError: the row does not fit the model.
    """
    name = f"the row {shown(row['id'])}"
    try:
        w = torch.tensor(np.asarray(row["w"])).reshape(1, -1, shard.width)
        tensors = {"w": w}
        for entry in row["codes"]:
            tensors[entry["name"]] = torch.tensor(np.asarray(entry["values"])).reshape(*entry["shape"])
        if not isinstance(row["method"], str) or not isinstance(row["start"], str):
            raise ValueError("it has neither method nor error.")
        placement = None
        if row["quad"] is not None:
            corners, points = (_points(row[column]) for column in ("quad", "landmarks"))
            placement = StoredPlacement(corners, points, (row["width"], row["height"]))
        meta = InversionRecord(
            fingerprint=shard.fingerprint,
            domain=shard.domain,
            method=row["method"],
            start=row["start"],
            quality={key: (value,) for key, value in row["quality"]},
            rows=shard.rows,
            tuned=(0,) if any(key.startswith("tuned/") for key in tensors) else (),
            sources=(StoredSource(row["source"], row["note"] or "", 0),),
            placements=(placement,),
        )
    except (HyperStyleError, RuntimeError, TypeError, ValueError) as error:
        raise InversionError(f"{name} is damaged: {error}") from error
    inversion: Inversion = object.__new__(Inversion)
    fill(inversion, join(tensors, meta, model, name), {"model": model})
    return inversion


def _text(name: str) -> str:
    """A text as UTF-8 can hold it: names of files need not be text."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _values(tensor: Tensor, dtype: torch.dtype) -> Any:
    """All values of a tensor as a flat NumPy array of the model's type; bfloat16, which NumPy lacks, as float32."""
    flat = tensor.to(dtype).reshape(-1)
    return (flat if dtype in _ARROW else flat.float()).numpy()


def _points(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    pairs = np.asarray(values, float).reshape(-1, 2).tolist()
    return cast("tuple[tuple[float, float], ...]", tuple(tuple(pair) for pair in pairs))
