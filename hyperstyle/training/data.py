"""The images of a training run, those held out for evaluation, and latent codes that are known in advance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hyperstyle.align.aligners import find_aligner
from hyperstyle.errors import ConfigError, MissingFileError, TrainingWarning, warn
from hyperstyle.inversion.file import read
from hyperstyle.model.folder import aligner_of
from hyperstyle.model.parts import Model
from hyperstyle.training.distributed import rank
from hyperstyle.training.images import TrainingImages, open_images
from hyperstyle.training.options import DataOptions


@dataclass(frozen=True)
class TrainingData:
    """The images of a run.

    Attributes:
        images, held_out: for training and for evaluation.
        flip: probability that a training image is mirrored.
        codes: indices of training images -> their codes [B,L,D], where they are known in advance.
        left_out: name -> reason, for images that lack an inversion.
    """

    images: TrainingImages
    held_out: TrainingImages
    flip: float
    codes: Callable[[Sequence[int]], Tensor] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


def open_data(options: DataOptions, base: Model) -> TrainingData:
    """The images that the options name, for the domain of `base`. Warns about files that are left out.

    Raises:
        ImageError: see `open_images`.
        ConfigError: `align="auto"` without an aligner; an unknown aligner, or one with `align="no"`.
        MissingFileError, InversionError: no inversions, or of another generator.
    """
    domain, aligner = base.domain, None
    if options.align == "auto":
        if (detector := aligner_of(base)) is not None:  # None: images of this domain are not aligned
            aligner = find_aligner(options.aligner, detector)
        if aligner is None:
            raise ConfigError('data.align is "auto", and this domain has no aligner. Use "no", with crops as images.')
    elif options.aligner != "auto":
        raise ConfigError(f'data.aligner is {options.aligner!r}, and data.align is "no". Set that to "auto".')
    opened = partial(
        open_images, size=domain.input_size, content=domain.content_rows, aligner=aligner, workers=options.workers
    )
    images = opened(options.train)
    if options.test is None:
        images, held_out = images.split(options.test_share)
    else:
        held_out = opened(options.test)
    failures = {**held_out.failures, **images.failures}  # of files that are no images; nothing was read yet
    if rank() == 0 and failures:
        name, reason = next(iter(failures.items()))
        warn(
            f"{len(failures)} file(s) that look like images cannot be read and are left out. The first, {name!r}, "
            f"{reason} All are in unreadable.json.",
            TrainingWarning,
        )
    if options.inversions is None:
        return TrainingData(images, held_out, options.flip)
    files = inversions_of(options.inversions, images.names)
    left_out = {name: f"It has no inversion in {options.inversions!r}." for name in images.names if name not in files}
    if left_out and rank() == 0:
        warn(
            f"{len(left_out)} of {len(images)} images have no inversion in {options.inversions!r} and are left out, "
            f"the first is {next(iter(left_out))!r}; unreadable.json will list them.",
            TrainingWarning,
        )
    images = images.named(files)
    return TrainingData(images, held_out, 0.0, code_reader([files[name] for name in images.names], base), left_out)


def inversions_of(folder: str, names: Iterable[str]) -> dict[str, Path]:
    """Finds the inversion of each image on disk: image name -> file. Images without one are left out.

    Args:
        folder: the folder of the inversions. That of `a/b.png` is `a/b.safetensors` in it, else `b.safetensors`.
        names: of the images, as paths relative to the folder of images.

    Raises:
        MissingFileError: no image has an inversion. ConfigError: two images have the same one.
    """
    files: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for name in names:
        nested = Path(folder) / Path(name).with_suffix(".safetensors")
        path = next((file for file in (nested, Path(folder) / nested.name) if file.is_file()), None)
        if path is None:
            continue
        files[name] = path
        if (owner := owners.setdefault(path, name)) != name:
            raise ConfigError(
                f"the inversion {path} would be that of {owner} and of {name}: expected one for each. Give the "
                "images names of their own and invert them anew."
            )
    if not files:
        raise MissingFileError(
            f"no image has an inversion in {folder!r}: invert all images of the folder first (hyperstyle invert)."
        )
    return files


def code_reader(paths: Sequence[Path], model: Model) -> Callable[[Sequence[int]], Tensor]:
    """A function that reads codes from inversions on disk: indices of `paths` -> codes before any edit [B,L,D].

    The codes are float32, on the CPU. Files are read anew at every call; the first one is also read here, to check it.

    Args:
        paths: files of inversions, of one image each.
        model: whose generator the inversions must have been made with.

    Raises:
        InversionError: the first file was made with another generator. The function raises it for the other files.
        HyperStyleError: what `inversion.file.read` raises.
    """

    def code(path: Path) -> Tensor:
        record = read(path, model, torch.device("cpu"), torch.float32, accepts_generator=True)
        return (record.state if record.unedited is None else record.unedited).w

    code(paths[0])  # raises before training starts
    return lambda indices: torch.cat([code(paths[i]) for i in indices])
