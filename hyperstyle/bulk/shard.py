"""One shard: a list of images in; a Parquet file of inversions and a JSON file of figures out, both atomically."""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperstyle.align.prepare import Prepared, prepare
from hyperstyle.bulk.items import Item, Reader
from hyperstyle.bulk.marker import FORMAT, Marker
from hyperstyle.bulk.schema import Row, failed_row, inverted_rows, schema_of
from hyperstyle.bulk.settings import RowSettings, need
from hyperstyle.errors import (
    AlignmentError,
    ConfigError,
    HyperStyleError,
    ImageError,
    MissingDependencyError,
    shown,
    with_article,
)
from hyperstyle.images import to_images
from hyperstyle.images.save import QUALITY, encode
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import atomic_write, peak_memory, sha256, write_text
from hyperstyle.methods import registry
from hyperstyle.runtime.batches import together_or_alone
from hyperstyle.runtime.read_ahead import read_ahead
from hyperstyle.runtime.threads import ignored_warnings

_ROW_GROUP = 256  # rows that are kept in memory and written together, unless their bytes are more than these
_ROW_GROUP_BYTES = 64 << 20  # features of a layer are megabytes in each row, and PTI's parameters a hundred
_FAULTS_OF_IMAGES = (ImageError, AlignmentError, MissingDependencyError)  # others would stop every image


class _Ready(NamedTuple):
    """An image that has been read and aligned; `size`: (width, height) of its upright photo."""

    place: int
    item: Item
    face: Prepared
    size: tuple[int, int]


def invert_shard(
    inputs: Iterable[Item | str | os.PathLike[str]],
    output: str | os.PathLike[str],
    inverter: HyperStyleInverter,
    settings: RowSettings | None = None,
    *,
    threads: int = 2,
    crashes: Mapping[str, str] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Marker:
    """Inverts a list of images into the Parquet file `output`, and then writes the JSON file next to it.

    The rows depend on the images, their order, the model and the settings alone: the same call writes the same bytes.
    An image that fails has a row with its error. Files that are there already are replaced.

    Args:
        inputs: items, or paths and URLs, which are their own ids.
        output: ends in .parquet; its folder must exist.
        inverter: the model, and what finds faces.
        settings: None for the defaults.
        threads: how many read and align images.
        crashes: id -> the sentence for an image that must not be opened, since a process died of it.
        on_batch: is called with the number of rows after each batch; what it raises ends the shard, unwritten.

    Returns:
        What the JSON file holds.

    Raises:
        ConfigError: no images, inputs that are no list of them, an id that comes twice, a file of another suffix, or a
            wrong setting.
        SourceError: images cannot be read since their disk or store does not answer.
        HyperStyleError: a file cannot be written. What is wrong with the method or the detector.
    """
    begin, path, settings = time.perf_counter(), Path(output), settings or RowSettings()
    items = _items(inputs)
    _check(items, path)
    registry.resolve_method(inverter.model, settings.method, steps=settings.steps, seed=settings.seed)
    shard = _Shard(inverter, settings, Reader(), crashes or {})
    figures: Counter[str] = Counter()
    with (
        ignored_warnings(),  # rows say what is doubtful
        atomic_write(path) as file,
        closing(read_ahead(enumerate(items), shard.prepare, 2 * settings.batch, threads=threads)) as reading,
        _writer(file, inverter) as write,
    ):
        while batch := list(islice(reading, settings.batch)):
            rows = shard.invert([(place, item, future.result) for (place, item), future in batch])
            figures.update(row["error_kind"] for row in rows if row.get("error_kind"))
            write(rows)
            if on_batch is not None:
                on_batch(len(rows))
    marker = Marker(
        format=FORMAT,
        rows=len(items),
        failed=figures.total(),
        failures=dict(sorted(figures.items())),
        seconds=round(time.perf_counter() - begin, 3),
        model=inverter.model.fingerprint,
        bytes=path.stat().st_size,
        sha256=sha256(path),
        memory=peak_memory(),
        versions=_versions(),
    )
    write_text(path.with_suffix(".json"), json.dumps(vars(marker), indent=1) + "\n")
    return marker


class _Shard:
    """The work on the images of one shard."""

    def __init__(
        self, inverter: HyperStyleInverter, settings: RowSettings, reader: Reader, crashes: Mapping[str, str]
    ) -> None:
        self.inverter, self.settings, self.reader, self.crashes = inverter, settings, reader, crashes

    def prepare(self, numbered: tuple[int, Item]) -> _Ready:
        """Reads and aligns an image; on one of the threads that read ahead."""
        place, item = numbered
        if item.id in self.crashes:
            raise ImageError(self.crashes[item.id])
        face, size = prepare_item(item, self.inverter, self.settings, self.reader)
        if self.inverter.model.device.type == "cuda":
            face = face.pinned()
        return _Ready(place, item, face, size)

    def invert(self, batch: Sequence[tuple[int, Item, Callable[[], _Ready]]]) -> list[Row]:
        """The rows of a batch, in its order."""
        rows: dict[int, Row] = {}
        ready: list[_Ready] = []

        def fail(place: int, item: Item, error: HyperStyleError) -> None:
            rows[place] = failed_row(item, error, self.settings.seed)

        for place, item, result in batch:
            try:
                ready.append(result())
            except _FAULTS_OF_IMAGES as error:
                fail(place, item, error)
        together_or_alone(
            ready,
            lambda images: rows.update(zip((image.place for image in images), self._invert(images), strict=True)),
            lambda image, error: fail(image.place, image.item, error),
        )
        return [rows[place] for place in sorted(rows)]

    def _invert(self, images: Sequence[_Ready]) -> list[Row]:
        settings = self.settings
        inversion = self.inverter.invert(
            [image.face for image in images],
            method=settings.method,
            steps=settings.steps,
            seed=settings.seed,
            batch_size=len(images),
        )
        doubts = [" and ".join(filter(None, (image.face.doubt, image.face.unaligned))) for image in images]
        rows = inverted_rows(
            [image.item for image in images], [image.size for image in images], doubts, inversion, settings.seed
        )
        for column, kind, tensor in (
            ("crop", settings.crops, inversion.crop),
            ("reconstruction", settings.reconstructions, inversion.tensor),
        ):
            if kind is not None and tensor is not None:
                for row, image in zip(rows, to_images(tensor), strict=True):
                    row[column] = bytes(encode(image, f"{column} of {row['id']}", kind.upper(), quality=QUALITY))
        return rows


def prepare_item(
    item: Item, inverter: HyperStyleInverter, settings: RowSettings, reader: Reader
) -> tuple[Prepared, tuple[int, int]]:
    """The image, read and aligned, without its photo; and (width, height) of the upright photo.

    Raises:
        SourceError: its disk or store does not answer. HyperStyleError: what `prepare` raises.
    """
    face: Any = settings.face
    (prepared,) = prepare(
        reader.read(item),
        inverter.model.domain,
        aligner=inverter.aligner,
        align=settings.align_mode,
        face=face,
        name=item.location,
    )
    photo = prepared.source.photo
    assert photo is not None  # `prepare` sets it
    return replace(prepared, source=replace(prepared.source, photo=None)), photo.size


@contextmanager
def _writer(file: Path, inverter: HyperStyleInverter) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Gives the body a function that adds rows to a new Parquet file; a row group is written when it is full."""
    pa, parquet = need("pyarrow", "bulk", "writing shards"), need("pyarrow.parquet", "bulk", "writing shards")
    schema = schema_of(inverter.model)
    waiting: list[Row] = []
    size = 0
    numbers = ["w.list.element", "codes.list.element.values.list.element"]
    others = [name for name in schema.names if name not in ("w", "codes")]
    with parquet.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=[*others, "codes.list.element.name"],
        use_byte_stream_split=numbers,
    ) as writer:

        def flush() -> None:
            nonlocal size
            if waiting:
                writer.write_table(pa.Table.from_pylist(waiting, schema))
                waiting.clear()
                size = 0

        def write(rows: Sequence[Row]) -> None:
            nonlocal size
            waiting.extend(rows)
            size += sum(map(_bytes_of, rows))
            if len(waiting) >= _ROW_GROUP or size >= _ROW_GROUP_BYTES:
                flush()

        yield write
        flush()


def _bytes_of(row: Row) -> int:
    """Of its tensors and images."""
    tensors: list[np.ndarray[Any, Any]] = [row["w"], *(code["values"] for code in row["codes"])] if "w" in row else []
    return sum(each.nbytes for each in tensors) + sum(len(row.get(name, b"")) for name in ("crop", "reconstruction"))


def _items(inputs: Iterable[Item | str | os.PathLike[str]]) -> list[Item]:
    """The images of a call, those without an id named by their path. Raises ConfigError for anything else."""
    if isinstance(inputs, str | bytes | os.PathLike | Item):
        raise ConfigError(f"inputs={shown(str(inputs))}: expected a list of paths, URLs or items, such as [...] of it.")
    items = []
    for each in inputs:
        if not isinstance(each, Item | str | os.PathLike):
            raise ConfigError(f"inputs with {with_article(type(each))}: expected paths, URLs or items.")
        items.append(each if isinstance(each, Item) else Item(os.fspath(each), os.fspath(each)))
    return items


def _check(items: Sequence[Item], path: Path) -> None:
    """Raises ConfigError for no items, ids that come twice, and a file of another suffix."""
    if not items:
        raise ConfigError("a shard of no images: expected at least one.")
    if path.suffix != ".parquet":
        raise ConfigError(f"a shard named {shown(path.name)}: expected a name that ends in .parquet.")
    if double := [name for name, count in Counter(item.id for item in items).items() if count > 1]:
        raise ConfigError(f"the id {shown(double[0])} comes twice: each image of a job needs its own.")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("hyperstyle-inversion", "torch", "pyarrow"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a source tree that was never installed
            versions[name] = "unknown"
    return versions
