"""Shards -> rows, and inversions as they were before they were written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperstyle.bulk.schema import ShardModel, inversion_of
from hyperstyle.bulk.settings import need
from hyperstyle.errors import CheckpointError, ConfigError, InversionError, shown
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.io.opening import check_file
from hyperstyle.model.parts import HasModel

_ROWS = 64  # that are in memory together


@dataclass(frozen=True, eq=False)
class ShardRow:
    """One image of a shard.

    Attributes:
        values: column name -> plain value, see docs/bulk.md; arrays of numbers are NumPy arrays.
        inversion: the inversion; None for an image that failed, and where no inverter was given.
    """

    values: Mapping[str, Any]
    inversion: Inversion | None = None

    @property
    def id(self) -> str:
        """Unique within the job."""
        return str(self.values["id"])

    @property
    def error(self) -> str | None:
        """Why the image failed; None if it did not."""
        error: str | None = self.values["error"]
        return error


def find_shards(path: str | os.PathLike[str]) -> list[Path]:
    """The shards of a folder that are done, sorted by name; or the one file.

    Raises:
        ConfigError: there are none.
    """
    place = Path(path)
    if not place.is_dir():
        return [place]
    shards = sorted(
        (file for file in place.glob("*.parquet") if file.with_suffix(".json").is_file()),
        key=lambda file: (len(file.name), file.name),
    )
    if not shards:
        raise ConfigError(f"no shard in {shown(os.fspath(path))} is done: expected NNNNN.parquet with its NNNNN.json.")
    return shards


def load_shards(
    shards: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    inverter: HasModel | None = None,
    *,
    columns: Iterable[str] | None = None,
) -> Iterator[ShardRow]:
    """The rows of shards, in their order, a few in memory at a time.

    Args:
        shards: the folder of a job, a Parquet file, or several files.
        inverter: with the model that made them; the rows get their inversions, whose tensors are those from before they
            were written, and which render the same bytes. None reads the values alone.
        columns: of the values; None for all. Not with an inverter.

    Raises:
        ConfigError: the folder has no shard that is done.
        CheckpointError: a file is missing or damaged, or is no shard.
        InversionError: it was made with another model.
    """
    files = find_shards(shards) if isinstance(shards, str | os.PathLike) else [Path(each) for each in shards]
    if inverter is not None and columns is not None:
        raise ConfigError("columns=... with an inverter, which needs all of them: leave out one or the other.")
    for file in files:
        yield from _rows(file, inverter, None if columns is None else list(columns))


def _rows(file: Path, inverter: HasModel | None, columns: list[str] | None) -> Iterator[ShardRow]:
    pa, parquet = need("pyarrow", "bulk", "reading shards"), need("pyarrow.parquet", "bulk", "reading shards")
    check_file(file, "shard, a Parquet file")
    try:
        with parquet.ParquetFile(file) as content:
            shard = ShardModel.read(content.schema_arrow, str(file))
            if inverter is not None and shard.fingerprint != inverter.model.fingerprint:
                raise InversionError(
                    f"{file} was made with a {shown(shard.domain)} model with fingerprint {shard.fingerprint}; this "
                    f"one is {inverter.model.domain.name!r}, {inverter.model.fingerprint}. Load the one it was made "
                    "with."
                )
            for batch in content.iter_batches(_ROWS, columns=columns):
                for values in batch.to_pylist():
                    inversion = None
                    if inverter is not None and values["error"] is None:
                        inversion = inversion_of(values, shard, inverter.model)
                    yield ShardRow(values, inversion)
    except (pa.ArrowException, OSError) as error:
        raise CheckpointError(
            f"{file} is damaged or cut off: {error}. Remove its JSON file and run the same hyperstyle bulk again."
        ) from error
