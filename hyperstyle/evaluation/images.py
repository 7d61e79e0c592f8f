"""The images that a model is measured on: a folder, the held-out crops of the library, or crops in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from hyperstyle.align.decision import Align, warn_of_unaligned
from hyperstyle.align.prepare import prepare
from hyperstyle.errors import ConfigError, HyperStyleError
from hyperstyle.evaluation.held_out import HELD_OUT, held_out_avatars
from hyperstyle.images import list_images, to_pil, to_tensor
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.parts import Model


@dataclass(frozen=True)
class EvaluationImages:
    """Images as the encoder sees them: `load` gives the crop of one when it is needed.

    Attributes:
        source: where they are from, in words.
        names: one for each image.
        load: index -> crop [3,h,w] in [-1,1] on the CPU, quantized to the 256 levels of an 8-bit image. Those of a
            folder are read and cropped anew at every call.
        digests: that of each crop, see `digest`.
        failures: (name, reason) of files that look like images and could not be read or cropped; they have no index.
        without_face: (name, reason) of images in which no face was seen: the whole image is their crop.
        files: the file of each image, for those of a folder; otherwise empty.
    """

    source: str
    names: tuple[str, ...]
    load: Callable[[int], Tensor]
    digests: tuple[str, ...]
    failures: tuple[tuple[str, str], ...] = ()
    without_face: tuple[tuple[str, str], ...] = ()
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def digest(crop: Tensor) -> str:
    """16 hex digits: the start of the SHA-256 hash of the size and values of a crop [3,h,w]."""
    sha = hashlib.sha256(repr(tuple(crop.shape)).encode())
    sha.update(crop.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def given_crops(model: Model, crops: Tensor) -> EvaluationImages:
    """Crops [N,3,h,w] in [-1,1], quantized to 256 levels as if they had been read from image files.

    Raises:
        ConfigError: no images, or of another size than the domain's input.
    """
    height, width = model.domain.input_size
    if crops.ndim != 4 or not len(crops) or tuple(crops.shape[1:]) != (3, height, width):
        raise ConfigError(f"images {tuple(crops.shape)} to evaluate on: expected [N, 3, {height}, {width}].")
    rounded = [to_tensor(to_pil(crop)) for crop in crops]
    names = tuple(f"crop-{i:04}" for i in range(len(rounded)))
    return EvaluationImages("given crops", names, lambda i: rounded[i], tuple(map(digest, rounded)))


def folder_images(
    folder: Path, inverter: HyperStyleInverter, *, align: Align = False, count: int | None = None
) -> EvaluationImages:
    """The images of a folder and the folders in it, sorted by path; those that cannot be used become `failures`.

    Every file is read and cropped once here, for its digest, and again whenever it is loaded.

    Args:
        folder: of images of any size and mode.
        inverter: its domain and aligner decide how images are cropped and resized.
        align: False uses whole images as crops; "auto" and True as in `HyperStyleInverter.invert`.
        count: stop after this many images that can be used; None is all.

    Raises:
        ConfigError: no such folder, no image in it, or none that can be used.

    Warns:
        QualityWarning: of the images in `without_face`, once with the list.
    """
    if not os.path.isdir(folder):
        raise ConfigError(f"{str(folder)!r} is no folder: expected one with images to measure on.")
    listing = list_images(sorted(folder.rglob("*")), within=folder)
    failures = [(file.relative_to(folder).as_posix(), why) for file, why in listing.left_out]
    if not listing.images:
        raise ConfigError(f"no image in {str(folder)!r} (looked at names and contents).{_first(failures)}")
    readable: dict[str, Path] = {}
    digests: list[str] = []
    without_face: list[tuple[str, str]] = []

    def read(file: Path) -> tuple[Tensor, str]:
        prepared = prepare(file, inverter.model.domain, aligner=inverter.aligner, align=align)[0]
        return to_tensor(to_pil(prepared.crop)), prepared.unaligned

    for file in listing.images:
        name = file.relative_to(folder).as_posix()
        try:
            crop, unaligned = read(file)
        except HyperStyleError as error:
            failures.append((name, str(error)))
        else:
            readable[name] = file
            digests.append(digest(crop))
            if unaligned:
                without_face.append((name, unaligned))
        if count is not None and len(readable) == count:
            break
    if not readable:
        raise ConfigError(f"none of the {len(listing.images)} images in {str(folder)!r} can be used.{_first(failures)}")
    warn_of_unaligned(
        ((repr(name), reason) for name, reason in without_face), remedy="cut it out first, with `hyperstyle align`"
    )
    files = tuple(readable.values())
    return EvaluationImages(
        folder.name,
        tuple(readable),
        lambda i: read(files[i])[0],
        tuple(digests),
        failures=tuple(failures),
        without_face=tuple(without_face),
        files=files,
    )


def _first(failures: Sequence[tuple[str, str]]) -> str:
    return f" The first is {failures[0][0]!r}: {failures[0][1]}" if failures else ""


def held_out_images(inverter: HyperStyleInverter, count: int | None = None) -> EvaluationImages:
    """Crops of avatars that come with the library and were in no training set, see `held_out_avatars`.

    Args:
        inverter: of a domain of rendered portraits. The side of its input in pixels, 16 to 128, is that of the crops.
        count: the first so many, 1 to 64; None is all 64.

    Raises:
        ConfigError: a domain of other images, or `count` or the side is out of range.
    """
    domain = inverter.model.domain
    if not domain.is_rendered:
        raise ConfigError(
            f"no images of the domain {domain.name!r} come with the library. Name a folder of crops with --data."
        )
    crops = held_out_avatars(HELD_OUT if count is None else count, domain.input_size[0])
    names = tuple(f"avatar-{i:04}" for i in range(len(crops)))
    return EvaluationImages("held-out avatars", names, lambda i: crops[i], tuple(map(digest, crops)))
