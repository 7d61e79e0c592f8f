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

from hyperstyle.errors import ConfigError, HyperStyleError

if TYPE_CHECKING:
    from hyperstyle.images import Listing

__all__ = [
    "Failure",
    "Inputs",
    "find_images",
    "is_clip_file",
    "is_inversion",
    "is_video",
    "keep_inputs",
    "output_names",
    "read_ahead",
    "report",
    "report_left_out",
]

Item = TypeVar("Item")
Read = TypeVar("Read")


@dataclass(frozen=True)
class Failure:
    """An input that gave no result, and why."""

    source: str
    reason: str


@dataclass
class Inputs:
    """The files that a command processes one after the other; one that fails does not stop the others.

    Attributes:
        files: the images (or inversions) to read.
        names: an output name for each.
        failures: inputs without a result so far.
        total: how many inputs there are, including those that were failures from the start.
    """

    files: list[Path]
    names: list[str]
    failures: list[Failure]
    total: int

    @classmethod
    def find(cls, inputs: Iterable[str], out: Path, endings: Sequence[str], *, inversions: bool = False) -> Inputs:
        """What `find_images` finds, each with an output name of `output_names`.

        Args:
            inputs: files, folders and globs.
            out: the folder for the results.
            endings: of the files to write for each name.
            inversions: see `find_images`.

        Raises:
            ConfigError: a result would replace an input.
        """
        files, failures = find_images(inputs, inversions=inversions)
        names = output_names(files, endings)
        keep_inputs(files, (out / (name + ending) for name in names for ending in endings))
        return cls(files, names, failures, len(files) + len(failures))

    def each(self, work: Callable[[Path, str], Sequence[Path]], *, quiet: bool) -> int:
        """Calls `work` with each file and its name, prints the files that it wrote, and returns the exit code."""
        for file, name in zip(self.files, self.names, strict=True):
            try:
                written = work(file, name)
            except HyperStyleError as error:
                self.failures.append(Failure(str(file), str(error)))
                continue
            if not quiet:
                print(f"{file} -> {', '.join(map(str, written))}")
        return self.report()

    def report(self) -> int:
        """Lists what failed, and returns the exit code."""
        return report(self.failures, self.total)


def is_inversion(path: Path) -> bool:
    """Whether this is treated as a file that `hyperstyle invert` wrote."""
    return path.suffix.lower() == ".safetensors"


def is_clip_file(path: Path) -> bool:
    """Whether the name ends like a video's, and is not that of a folder."""
    from hyperstyle.images.frames import CLIP_SUFFIXES

    return path.suffix.lower() in CLIP_SUFFIXES and not path.is_dir()


def is_video(path: Path) -> bool:
    """Whether there may be several frames in this: a folder, or a name that ends like a video's."""
    return path.is_dir() or is_clip_file(path)


def find_images(inputs: Iterable[str], *, inversions: bool = False) -> tuple[list[Path], list[Failure]]:
    """The images that `inputs` name, each once, in the order typed (sorted within a folder or glob).

    A folder stands for the images directly in it, a glob for those among the files it matches, as
    `images.list_images` finds them. A file named explicitly is always taken, and so are those that match a glob with a
    suffix (`*.png`): reading them decides whether they are images.
    The results of `hyperstyle invert` in a folder, NAME.png and NAME_sheet.png next to NAME.safetensors, are not
    taken as images; with `inversions`, NAME.safetensors is taken instead.
    Inputs that match nothing, and files of a folder that look like images and cannot be read, are returned as
    failures.
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


def keep_inputs(inputs: Iterable[Path], targets: Iterable[Path], what: str = "an image to read") -> None:
    """Raises ConfigError where one of the files to write is one of those to read, which the message calls `what`."""
    to_read = {file.resolve() for file in inputs}
    for target in targets:
        if target.resolve() in to_read:
            raise ConfigError(f"the result {str(target)!r} would replace {what}. Choose another --out.")


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
