"""Finds the input images that a command line names as files, folders and globs, and an output name for each."""

from __future__ import annotations

import glob
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.flags import as_flags
from hyperstyle.errors import ConfigError, HyperStyleError

if TYPE_CHECKING:
    from hyperstyle.images import Listing

_MAX_NAME = 255  # bytes of a file's name, on all common disks


@dataclass(frozen=True)
class Failure:
    """An input that gave no result, by its path or as it was typed, and the reason."""

    source: str
    reason: str


@dataclass
class Inputs:
    """The files that a command processes one after the other; one that fails does not stop the others.

    Attributes:
        files: the images (or inversions) to process.
        names: the output name of each file, without an ending.
        failures: inputs that failed so far: those that `find_images` returned as such, then those that `each` adds.
        total: number of files, plus the number of failures that `find_images` returned.
    """

    files: list[Path]
    names: list[str]
    failures: list[Failure]
    total: int

    @classmethod
    def find(
        cls, inputs: Iterable[str], out: Path, endings: Sequence[str], *, inversions: bool = False, overwrite: bool
    ) -> Inputs:
        """The files that `find_images` finds, with output names from `output_names`; all names are checked.

        Args:
            inputs: paths of files and folders, and globs.
            out: the folder for the results.
            endings: one for each file that is written per name, such as "_sheet.png".
            inversions: see `find_images`.
            overwrite: whether results may be there already.

        Raises:
            ConfigError: what `check_targets` refuses of a result, `out`/NAME + ending.
        """
        files, failures = find_images(inputs, inversions=inversions)
        names = output_names(files, endings)
        check_targets(files, [out / (name + ending) for name in names for ending in endings], overwrite=overwrite)
        return cls(files, names, failures, len(files) + len(failures))

    def each(self, work: Callable[[Path, str], Sequence[Path]], *, quiet: bool) -> int:
        """Calls `work` for each file, reports failures, and returns the exit code, 1 if anything failed, else 0.

        Args:
            work: (file, output name) -> the paths that it wrote. A HyperStyleError is a failure of this file alone.
            quiet: do not print the paths that were written.
        """
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
        """Lists the failures on stderr, and returns the exit code: 1 if there are any, else 0."""
        return report(self.failures, self.total)


def is_inversion(path: Path) -> bool:
    """Whether the name ends in .safetensors, as those of inversions that `hyperstyle invert` wrote do."""
    return path.suffix.lower() == ".safetensors"


def is_clip_file(path: Path) -> bool:
    """Whether the path has the suffix of a video file and is no existing folder; the file need not exist."""
    from hyperstyle.images.frames import CLIP_SUFFIXES

    return path.suffix.lower() in CLIP_SUFFIXES and not path.is_dir()


def find_images(inputs: Iterable[str], *, inversions: bool = False) -> tuple[list[Path], list[Failure]]:
    """The image files that `inputs` name, each once, in the order given (sorted within a folder or glob).

    A file is always taken, whether it is an image or not, and so is every match of a glob that ends in a plain suffix
    (`*.png`): whoever reads them finds out. Of a folder, the images directly in it are taken, and of any other glob
    (`photos/*`) the images among its matches; `images.list_images` decides what is an image.

    In a folder, the results of `hyperstyle invert`, NAME.png and NAME_sheet.png next to NAME.safetensors, are not
    taken. With `inversions`, each NAME.safetensors in it is taken, before the images.

    Returns:
        The files, and the failures: inputs that name nothing, and files of a folder or glob that look like images
        but cannot be read.
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
    """One output name per image, so that no two of all the files `name + ending` have the same name.

    A name is the stem of the image (`me`); of images of one folder that share it, each has its suffix added (`me_png`
    and `me_gif`), whatever their order, since a folder may grow. Where an earlier image of another folder has taken the
    name, it is put after the name of the folder (`holiday_me`), or else gets a number (`me_2`).
    Names that differ only in case count as the same, as they do on macOS and Windows.
    """
    places = [(image.resolve().parent, image.stem.casefold()) for image in images]
    sharing = Counter(places)
    used: set[str] = set()
    names = []
    for image, place in zip(images, places, strict=True):
        stem = image.stem if sharing[place] == 1 else f"{image.stem}{image.suffix.replace('.', '_')}"
        candidates = itertools.chain(
            [stem, f"{place[0].name}_{stem}"],
            (f"{stem}_{number}" for number in itertools.count(2)),
        )
        name = next(name for name in candidates if not used & _files(name, endings))
        names.append(name)
        used |= _files(name, endings)
    return names


def check_targets(
    inputs: Iterable[Path], targets: Sequence[Path], *, what: str = "an image to read", overwrite: bool
) -> None:
    """Checks the names of all files to write, before the first of them is made.

    Args:
        inputs: files that stay as they are.
        targets: the files to write.
        what: what the message calls one of `inputs`.
        overwrite: whether files may be replaced that are there already.

    Raises:
        ConfigError: a name is too long for a file, or is that of an input or, without `overwrite`, of any file.
    """
    to_read = {file.resolve() for file in inputs}
    for target in targets:
        if (length := len(os.fsencode(target.name))) > _MAX_NAME:
            raise ConfigError(
                f"the result {target.name[:40] + '...'!r} would have a name of {length} bytes: a file has at most "
                f"{_MAX_NAME}. Rename the input, or copy it under a shorter name."
            )
        if target.resolve() in to_read:
            raise ConfigError(f"the result {str(target)!r} would replace {what}. Choose another --out.")
    if not overwrite and (there := [target for target in targets if target.exists()]):
        more = f", and so are {len(there) - 1} more" if len(there) > 1 else ""
        raise ConfigError(
            f"the result {str(there[0])!r} is there already{more}. Choose another --out, or replace what is there with "
            "--overwrite."
        )


def report(failures: Sequence[Failure], total: int) -> int:
    """Lists the failures, of `total` inputs, on stderr, and returns the exit code: 1 if there are any, else 0.

    A reason that several inputs share is printed once, after all their names; in it, NAME is that of each.
    """
    if not failures:
        return 0
    print(f"hyperstyle: {len(failures)} of {total} failed:", file=sys.stderr)
    groups: dict[str, list[Failure]] = {}
    for failure in failures:
        shared = failure.reason.replace(repr(failure.source), "NAME")
        shared = re.sub(
            rf"(?<=[/\\']){re.escape(Path(failure.source).stem)}(?=[._'])", "NAME", shared
        )  # of its results
        groups.setdefault(shared, []).append(failure)
    for shared, group in groups.items():
        reason = group[0].reason if len(group) == 1 else shared
        print(f"  {', '.join(failure.source for failure in group)}: {as_flags(reason)}", file=sys.stderr)
    return 1


def report_left_out(listing: Listing) -> int:
    """Calls `report` for the files of a listing that look like images but cannot be read; returns the exit code."""
    failures = [Failure(str(file), why) for file, why in listing.left_out]
    return report(failures, len(listing.images) + len(failures))


def _files(name: str, endings: Sequence[str]) -> set[str]:
    """The names of the files to write for an output name, in lower case."""
    return {(name + ending).casefold() for ending in endings}


def _is_result(file: Path, records: Container[str]) -> bool:
    """Whether the file is the image NAME.png or the grid NAME_sheet.png of one of `records`, names NAME.safetensors."""
    return file.suffix == ".png" and any(
        f"{stem}.safetensors" in records for stem in (file.stem, file.stem.removesuffix("_sheet"))
    )
