"""Shards -> rows, and inversions as they were before they were written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
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
        values: column name -> plain value, see docs/bulk.md; lists of numbers are NumPy arrays, not to be written into.
        inversion: the inversion; None for an image that failed, and where no inverter was given.
    """

    values: Mapping[str, Any]
    inversion: Inversion | None = None

    @property
    def id(self) -> str:
        """Unique within the job. Raises ConfigError where the column was not read."""
        return str(self._read("id"))

    @property
    def error(self) -> str | None:
        """Why the image failed; None if it did not. Raises ConfigError where the column was not read."""
        error: str | None = self._read("error")
        return error

    def _read(self, column: str) -> Any:
        if column not in self.values:
            raise ConfigError(f"the column {column!r} was not read: add it to columns=...")
        return self.values[column]


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
        ConfigError: the folder has no shard that is done; columns that there are not.
        CheckpointError: a file is missing or damaged, or is no shard.
        InversionError: it was made with another model.
    """
    files = find_shards(shards) if isinstance(shards, str | os.PathLike) else [Path(each) for each in shards]
    if inverter is not None and columns is not None:
        raise ConfigError("columns=... with an inverter, which needs all of them: leave out one or the other.")
    if isinstance(columns, str):
        raise ConfigError(f"columns={columns!r}: expected a list of names, [{columns!r}].")
    names = None if columns is None else list(columns)
    for file in files:
        yield from _rows(file, inverter, names)


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
            known = content.schema_arrow.names
            if unknown := [name for name in columns or () if name not in known]:
                raise ConfigError(f"{file} has no column {shown(unknown[0])}. Its columns: {', '.join(known)}.")
            # Not over the borders of row groups, which are small where rows are large.
            groups = range(content.num_row_groups)
            for batch in chain.from_iterable(
                content.iter_batches(_ROWS, row_groups=[group], columns=columns) for group in groups
            ):
                for i in range(batch.num_rows):
                    values = {name: _plain(column[i]) for name, column in zip(batch.schema.names, batch, strict=True)}
                    inversion = None
                    if inverter is not None and values["error"] is None:
                        inversion = inversion_of(values, shard, inverter.model)
                    yield ShardRow(values, inversion)
    except (pa.ArrowException, OSError) as error:
        raise CheckpointError(
            f"{file} is damaged or cut off: {error}. Remove its JSON file and run the same hyperstyle bulk again."
        ) from error


def _plain(value: Any) -> Any:
    """A scalar of Arrow as a plain value, and a list of numbers as a NumPy array, without an object for each number."""
    types = need("pyarrow.types", "bulk", "reading shards")
    if not value.is_valid:
        return None
    if types.is_list(value.type):
        if types.is_primitive(value.type.value_type):
            return value.values.to_numpy(zero_copy_only=False)
        return [_plain(each) for each in value.values]
    return {name: _plain(value[name]) for name in value} if types.is_struct(value.type) else value.as_py()
