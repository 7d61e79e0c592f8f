"""The images that files, folders and globs on the command line name, and an output name for each."""

from __future__ import annotations

import glob
import itertools
import sys
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hyperstyle.errors import ConfigError

if TYPE_CHECKING:
    from hyperstyle.images import Listing

__all__ = ["Failure", "find_images", "keep_inputs", "output_names", "read_ahead", "report", "report_left_out"]

Item = TypeVar("Item")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Failure:
    """An input that gave no result, and why."""

    source: str
    reason: str


def find_images(inputs: Iterable[str], *, inversions: bool = False) -> tuple[list[Path], list[Failure]]:
    """The images that `inputs` name, each once, in the order typed (sorted within a folder or glob).

    A folder stands for the images directly in it, a glob for those among the files it matches, as
    `images.list_images` finds them. A file typed by name is taken as it is, and so are those that match a glob with a
    suffix (`*.png`): reading them decides whether they are images.
    What `hyperstyle invert` made of NAME, NAME.png and NAME_sheet.png beside NAME.safetensors, is no image of a folder;
    with `inversions` the NAME.safetensors is taken in their place.
    What names nothing, and what looks like an image in a folder and cannot be read, is returned as a failure.
    """
    from hyperstyle.images import Listing, list_folder, list_images

    images: dict[Path, Path] = {}
    left_out: dict[Path, Failure] = {}
    failures = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            files = list_folder(path)
            records = {file.name: file for file in files if file.suffix == ".safetensors" and file.name[0] != "."}
            listing = list_images(file for file in files if not _is_result(file, records))
            if inversions:
                listing = Listing((*records.values(), *listing.images), listing.left_out)
            reason = "no image in this folder (looked at names and contents)"
        elif path.exists():
            listing, reason = Listing((path,)), ""
        elif glob.has_magic(text):
            # Shells expand globs themselves, except on Windows and inside quotes.
            files = sorted(Path(match) for match in glob.glob(text, recursive=True) if Path(match).is_file())
            has_suffix = path.suffix != "" and not glob.has_magic(path.suffix)
            listing = Listing(tuple(files)) if has_suffix else list_images(files)
            reason = f"no {'image' if files else 'file'} matches this pattern"
        else:
            listing, reason = Listing(()), "no such file or folder"
        if not listing.images and not listing.left_out:
            failures.append(Failure(text, reason))
        for file in listing.images:
            images.setdefault(file.resolve(), file)
        for file, why in listing.left_out:
            left_out.setdefault(file.resolve(), Failure(str(file), why))
    failures += [failure for file, failure in left_out.items() if file not in images]
    return list(images.values()), failures


def output_names(images: Sequence[Path], endings: Sequence[str]) -> list[str]:
    """One output name per image, so that no two files `name + ending` are the same.

    The stem where it is free (`me`), else with the folder before it (`holiday_me`), else numbered (`me_2`).
    Names that differ only in case count as the same, as they do on macOS and Windows.
    """
    used: set[str] = set()
    names = []
    for image in images:
        stem = image.stem
        candidates = itertools.chain(
            [stem, f"{image.resolve().parent.name}_{stem}"],
            (f"{stem}_{number}" for number in itertools.count(2)),
        )
        name = next(name for name in candidates if not used & _files(name, endings))
        names.append(name)
        used |= _files(name, endings)
    return names


def keep_inputs(images: Iterable[Path], targets: Iterable[Path]) -> None:
    """Raises ConfigError where one of the files to write is one of the images to read."""
    inputs = {image.resolve() for image in images}
    for target in targets:
        if target.resolve() in inputs:
            raise ConfigError(f"the result {str(target)!r} would replace an image to read. Choose another --out.")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Read], ahead: int
) -> Generator[tuple[Item, Future[Read]], None, None]:
    """Each item with the future of `read(item)`, in order; a thread reads up to `ahead` items in advance.

    The iterator keeps no reference to an item it has yielded. What `read` raises is raised by the future's `result()`.
    Closing it (`contextlib.closing`) drops what is not yet read and waits for the one being read.
    """
    waiting: deque[tuple[Item, Future[Read]]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def report(failures: Sequence[Failure], total: int) -> int:
    """Lists on stderr what failed, and returns the exit code: 1 if anything did."""
    if not failures:
        return 0
    print(f"hyperstyle: {len(failures)} of {total} failed:", file=sys.stderr)
    for failure in failures:
        print(f"  {failure.source}: {' '.join(failure.reason.split())}", file=sys.stderr)
    return 1


def report_left_out(listing: Listing) -> int:
    """`report` of what looks like an image in a folder and cannot be read."""
    failures = [Failure(str(file), why) for file, why in listing.left_out]
    return report(failures, len(listing.images) + len(failures))


def _files(name: str, endings: Sequence[str]) -> set[str]:
    return {(name + ending).casefold() for ending in endings}


def _is_result(file: Path, records: Container[str]) -> bool:
    """Whether `hyperstyle invert` wrote this image of a reconstruction, or this grid, beside one of the records."""
    return file.suffix == ".png" and any(
        f"{stem}.safetensors" in records for stem in (file.stem, file.stem.removesuffix("_sheet"))
    )
