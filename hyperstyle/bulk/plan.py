"""The plan of a job: its images, split into shards once and for all, and the folder that it writes into."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile

from hyperstyle.bulk.items import Item
from hyperstyle.bulk.marker import find_damage
from hyperstyle.bulk.settings import JobSettings
from hyperstyle.bulk.sources import absolute, list_source
from hyperstyle.errors import ConfigError, HyperStyleError, shown
from hyperstyle.io.claims import Claims
from hyperstyle.io.files import make_folder, replace_folder, write_text
from hyperstyle.io.hub import BUNDLED, local_folder, model_digest
from hyperstyle.io.opening import parse_json, read_text
from hyperstyle.io.temporary import is_temporary
from hyperstyle.io.typed_config import config_from_dict, config_to_dict

FORMAT = "hyperstyle-bulk/1"
DEFAULT_SHARD_SIZE = 1000

_FILE, _LISTS = "job.json", "inputs"
_ABSENT = Item._field_defaults
_BUCKETS = 64  # files in which ids are compared: a hundred million ids make 25 MB in each
_IN_MEMORY = 1 << 20  # bytes of a bucket before it goes to the disk
_POLL = 0.5  # seconds between looks at another process that makes the plan


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `job.json` holds: all that decides the rows, and the numbers of images and shards.

    Attributes:
        format: `FORMAT`.
        source: absolute path or URL.
        column: of Parquet sources, see `list_source`.
        shard_size: images in each shard but the last.
        digest: of the model, see `hub.model_digest`.
        settings: of the rows.
        images, shards: how many there are.
    """

    format: str = FORMAT
    source: str
    column: str | None = None
    shard_size: int = DEFAULT_SHARD_SIZE
    digest: str
    settings: JobSettings = field(default_factory=JobSettings)
    images: int = 0
    shards: int = 0


@dataclass(frozen=True)
class BulkJob:
    """A plan and its folder."""

    folder: Path
    plan: Plan

    @classmethod
    def open(cls, folder: Path) -> BulkJob:
        """The job of a folder. Raises ConfigError where there is none, or a damaged one."""
        path = folder / _FILE
        if not path.is_file():
            raise ConfigError(
                f"there is no bulk job in {shown(os.fspath(folder))}: expected what hyperstyle bulk writes."
            )
        try:
            values = parse_json(read_text(path, "JSON file of a bulk job", error=ConfigError))
        except ValueError as error:
            raise ConfigError(f"{path} is not valid JSON: {error}.") from error
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            raise ConfigError(f"{path} has the format {shown(values['format'])}: this version reads {FORMAT!r}.")
        return cls(folder, config_from_dict(Plan, values, str(path)))

    def shard(self, number: int) -> Path:
        """The Parquet file of a shard."""
        return self.folder / f"{number:05d}.parquet"

    def marker(self, number: int) -> Path:
        """The JSON file of a shard, which is there once the shard is done."""
        return self.shard(number).with_suffix(".json")

    def started(self, number: int) -> Path:
        """The file that is there while a process works on a shard: where it stays, the process died."""
        return self.shard(number).with_suffix(".started")

    def items(self, number: int) -> list[Item]:
        """The images of a shard. Raises ConfigError where its list is missing or damaged."""
        path = self.folder / _LISTS / f"{number:05d}.jsonl"
        try:
            lines = read_text(path, "list of the images of a shard", error=ConfigError).splitlines()
            return [Item(**parse_json(line)) for line in lines]
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path} is damaged: {error}. Begin the job anew in another folder.") from error

    def unfinished(self, *, deep: bool = False) -> list[int]:
        """The numbers of shards that are not done, or damaged; `deep` compares the SHA-256 of each, too."""
        done = {entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".json")}
        numbers = range(self.plan.shards)
        return [n for n in numbers if self.marker(n).name not in done or find_damage(self.shard(n), deep=deep)]


def make_plan(source: str, settings: JobSettings, shard_size: int, column: str | None = None) -> Plan:
    """The plan of a job whose images are not listed yet. Finds the model, fetching its files where need be.

    Raises:
        ConfigError: a wrong size. ModelNotFoundError, ConfigError, MissingFileError: no such model.
    """
    if shard_size < 1:
        raise ConfigError(f"shards of {shard_size} images: expected 1 or more.")
    model = settings.model
    if model not in BUNDLED and (folder := local_folder(model)) is not None:
        model = os.path.abspath(folder)  # workers may have another current folder
    settings = JobSettings(**{**vars(settings), "model": model})
    return Plan(
        source=absolute(source),
        column=column,
        shard_size=shard_size,
        digest=model_digest(settings.model),
        settings=settings,
    )


def begin_job(
    folder: Path, plan: Plan, on_image: Callable[[int], object] = lambda count: None, *, first: int | None = None
) -> BulkJob:
    """The job of a folder, which is begun if there is none: its images are listed and split into shards.

    Of several processes that call it, one lists the images, and the others wait for it.

    Args:
        folder: is made where it is missing.
        plan: what is asked for; see `make_plan`.
        on_image: is called with the number of images listed so far, now and then.
        first: take only so many images, the first ones of the source.

    Raises:
        ConfigError: the folder holds another job, or other files; no images, or an id that comes twice.
        HyperStyleError: it cannot be written. What `list_source` raises.
    """
    make_folder(folder, error=ConfigError)
    marker = folder / _FILE
    with Claims() as claims:
        while (status := claims.claim(marker)) == "busy":
            time.sleep(_POLL)
        if status == "claimed":
            if others := [path.name for path in folder.iterdir() if path.name != _LISTS and not is_temporary(path)]:
                raise ConfigError(
                    f"the folder {shown(os.fspath(folder))} holds other files, such as {shown(others[0])}, and no bulk "
                    "job. Choose another folder."
                )
            with replace_folder(folder / _LISTS, error=HyperStyleError) as lists:
                items = islice(list_source(plan.source, column=plan.column), first)
                images, shards = _write_lists(items, lists, plan, on_image)
            full = {**config_to_dict(plan), "images": images, "shards": shards}
            write_text(marker, json.dumps(full, indent=1) + "\n")
    job = BulkJob.open(folder)
    check_same(job, plan)
    return job


def check_same(job: BulkJob, plan: Plan) -> None:
    """Raises ConfigError where a folder's job is not the one that is asked for; the message says what differs."""
    before, now = ({**vars(each), **vars(each.settings)} for each in (job.plan, plan))
    where = f"the folder {shown(os.fspath(job.folder))} holds another job"
    for name in ("source", "column", "shard_size", "model", *vars(plan.settings), "digest"):
        if before[name] == now[name]:
            continue
        if name == "digest":
            raise ConfigError(
                f"{where}: the model {shown(now['model'])} is another one of the same name than it was begun with. Put "
                "that one back, or choose another folder."
            )
        raise ConfigError(
            f"{where}: it was begun with {name} = {shown(before[name])}, and this one has {shown(now[name])}. Choose "
            "another folder, or the same settings."
        )


def _write_lists(items: Iterable[Item], folder: Path, plan: Plan, on_image: Callable[[int], object]) -> tuple[int, int]:
    """Writes a list for each shard, an image in a line; returns the numbers of images and of shards."""
    images = shards = 0
    with ExitStack() as stack:
        ids = _Ids(stack)
        for part in _parts(items, plan.shard_size):
            lines = []
            for item in part:
                ids.add(item.id)
                given = {
                    name: value for name, value in zip(Item._fields, item, strict=True) if value != _ABSENT.get(name)
                }
                lines.append(json.dumps(given) + "\n")
            # Not by `write_text`: the folder is flushed to the disk as a whole.
            (folder / f"{shards:05d}.jsonl").write_bytes("".join(lines).encode("utf-8"))
            images, shards = images + len(part), shards + 1
            on_image(images)
        if not images:
            raise ConfigError(f"there is no image in {shown(plan.source)}. Give a source with images.")
        digest = ids.find_double()
    if digest is not None:
        name = next(each.id for each in list_source(plan.source, column=plan.column) if _digest(each.id) == digest)
        raise ConfigError(f"the id {shown(name)} comes twice in {shown(plan.source)}: each image needs its own.")
    return images, shards


def _parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    part: list[Item] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Ids:
    """Finds an id that comes twice, by digests of 16 bytes in files, so that memory does not grow with the job."""

    def __init__(self, stack: ExitStack) -> None:
        self._buckets = [stack.enter_context(SpooledTemporaryFile(_IN_MEMORY)) for _ in range(_BUCKETS)]  # noqa: SIM115

    def add(self, name: str) -> None:
        """Adds an id."""
        digest = _digest(name)
        self._buckets[digest[0] % _BUCKETS].write(digest)

    def find_double(self) -> bytes | None:
        """The digest of an id that was added twice; None if there is none."""
        double: bytes | None = None
        for bucket in self._buckets:
            bucket.seek(0)
            content = bucket.read()
            seen: set[bytes] = set()
            for at in range(0, len(content), 16):
                digest = content[at : at + 16]
                if digest in seen:
                    double = digest
                seen.add(digest)
        return double
