"""Training images of any size, color mode and source, as batches that depend on seed and step alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from hyperstyle.align.crop import crop as cut_out
from hyperstyle.align.decision import LandmarkDetector, decide
from hyperstyle.errors import AlignmentError, ConfigError, ImageError, MissingDependencyError
from hyperstyle.images import resize, to_tensor
from hyperstyle.training.image_sources import Entry, find_entries
from hyperstyle.training.options import DataOptions

__all__ = ["Batch", "TrainingImages", "open_data", "open_images"]

_MAX_REPLACEMENTS = 100  # images that are tried in place of an unreadable one
Cut = Callable[[Image.Image, str], Image.Image]


class Batch(NamedTuple):
    """A batch of images.

    Attributes:
        images: [B,3,h,w] in [-1,1].
        indices: of its images in the data set.
        flipped: for each image, whether it is mirrored.
    """

    images: Tensor
    indices: tuple[int, ...]
    flipped: tuple[bool, ...]


class TrainingImages:
    """Images that are read on demand. Those that cannot be read are skipped, and listed in `failures`.

    Args:
        entries: the images.
        size: (height, width) to which each is resized, whatever its aspect ratio, as in an inversion.
        content: (first, end) rows of the content where a square image is padded like the generator's (cars: 64, 448,
            with a `size` of 3:4): squares are cropped to them. Other images are used in full.
        cut: (image, name) -> the part to be used; may raise AlignmentError.
        workers: threads that read.
        left_out: name -> reason, for files of the source that look like images and cannot be read.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        size: tuple[int, int],
        *,
        content: tuple[int, int] | None = None,
        cut: Cut | None = None,
        workers: int = 1,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        self._left_out = dict(left_out or {})
        self._entries, self.size, self._content, self._cut, self._workers = entries, size, content, cut, workers
        self._failures: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(workers)
        self._ahead = ThreadPoolExecutor(1)
        self._next: tuple[object, Future[Batch]] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The path of each within its source, with "/" between folders."""
        return tuple(entry.name for entry in self._entries)

    @property
    def failures(self) -> Mapping[str, str]:
        """Name -> reason, for images that could not be read so far and for files that were left out at the start."""
        return self._left_out | self._failures

    def named(self, names: Collection[str]) -> TrainingImages:
        """The images with these names, in the same order."""
        return self._with([entry for entry in self._entries if entry.name in names])

    def split(self, share: float) -> tuple[TrainingImages, TrainingImages]:
        """(training images, held-out images), of which the second are about this share.

        Names alone decide, so the same images are held out when others are added. With a share above 0 neither part is
        empty, so a single image is in both; with 0 the second is empty.
        """
        order = sorted(range(len(self)), key=lambda i: _hash_position(self._entries[i].name))
        count = sum(_hash_position(self._entries[i].name) < share for i in order)
        if share > 0:
            count = min(max(count, 1), max(len(self) - 1, 1))
        chosen = set(order[:count])
        test = [entry for i, entry in enumerate(self._entries) if i in chosen]
        train = [entry for i, entry in enumerate(self._entries) if i not in chosen] or test
        return self._with(train), self._with(test)

    def load(self, indices: Sequence[int]) -> tuple[Tensor, list[int]]:
        """([B,3,h,w] in [-1,1], the images that can be read, in order; the indices of those that cannot)."""
        images = list(self._pool.map(self._image, indices))
        failed = [index for index, image in zip(indices, images, strict=True) if image is None]
        readable = [image for image in images if image is not None]
        return torch.stack(readable) if readable else torch.empty(0, 3, *self.size), failed

    def batch(self, step: int, batch: int, seed: int, flip: float = 0.0, *, part: tuple[int, int] = (0, 1)) -> Batch:
        """The images of a step. Each epoch has every image once, in an order that depends on the seed.

        An image that cannot be read is replaced by another one, which depends on seed and step too. The next batch is
        read in the background.

        Args:
            step: from 0 on.
            batch: number of images, all parts together.
            seed: for order, replacements and mirroring.
            flip: probability that an image is mirrored.
            part: (k, n): only the k-th of n equal parts of the batch, for process k of n.

        Raises:
            ImageError: none of very many images could be read.
            ConfigError: the batch cannot be divided into n parts.
        """
        key = (batch, seed, flip, part)
        ready, self._next = self._next, None
        result = ready[1].result() if ready is not None and ready[0] == (step, key) else self._batch(step, *key)
        self._next = (step + 1, key), self._ahead.submit(self._batch, step + 1, *key)
        return result

    def _batch(self, step: int, batch: int, seed: int, flip: float, part: tuple[int, int]) -> Batch:
        number, parts = part
        if batch % parts:
            raise ConfigError(f"a batch of {batch} in {parts} parts: expected a multiple of {parts}.")
        count = len(self)
        random = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
        mirrored = (torch.rand(batch, generator=random) < flip).tolist()
        replacements = torch.randint(0, count, (batch, _MAX_REPLACEMENTS), generator=random)
        slots = range(number, batch, parts)
        chosen = [_order(count, seed, (step * batch + i) // count)[(step * batch + i) % count] for i in slots]
        read = self._pool.map(self._first_readable, chosen, (replacements[i].tolist() for i in slots))
        images, indices = [], []
        for slot, (image, index) in zip(slots, read, strict=True):
            images.append(image.flip(-1) if mirrored[slot] else image)
            indices.append(index)
        return Batch(torch.stack(images), tuple(indices), tuple(mirrored[i] for i in slots))

    def _first_readable(self, index: int, replacements: list[int]) -> tuple[Tensor, int]:
        for candidate in (index, *replacements):
            image = self._image(candidate)
            if image is not None:
                return image, candidate
        name, reason = next(iter(self._failures.items()))
        raise ImageError(
            f"{len(self._failures)} of {len(self)} images cannot be read, the first of them {name!r}: {reason}"
        )

    def _image(self, index: int) -> Tensor | None:
        """[3,h,w], or None where it cannot be read."""
        entry = self._entries[index]
        if entry.name in self._failures:
            return None
        try:
            image = entry.read()
            if self._cut is not None:
                image = self._cut(image, entry.name)
        except (ImageError, AlignmentError, MissingDependencyError) as error:
            self._failures[entry.name] = str(error)
            return None
        if self._content is not None and image.width == image.height:
            first, end = self._content
            side = (end - first) * self.size[1] / self.size[0]  # of the padded square, in the unit of `content`
            rows = round(first * image.height / side), round(end * image.height / side)
            image = image.crop((0, rows[0], image.width, rows[1]))
        return to_tensor(resize(image, self.size))

    def _with(self, entries: Sequence[Entry]) -> TrainingImages:
        return TrainingImages(
            entries, self.size, content=self._content, cut=self._cut, workers=self._workers, left_out=self._left_out
        )


def open_images(
    source: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    content: tuple[int, int] | None = None,
    aligner: LandmarkDetector | None = None,
    workers: int = 1,
) -> TrainingImages:
    """The images of a folder, list, zip or shards (`image_sources.find_entries`), read on demand.

    Args:
        source: folder or file.
        size: (height, width) to which they are resized.
        content: see `TrainingImages`.
        aligner: finds the faces, which are cropped from images that are not aligned yet. It runs at every reading;
            aligning all images once beforehand takes much less time.
        workers: threads that read.

    Raises:
        ImageError: the source does not exist or has no image.
    """
    entries = find_entries(source)
    return TrainingImages(
        entries.images,
        size,
        content=content,
        cut=None if aligner is None else _face_cutter(aligner, size),
        workers=workers,
        left_out=entries.left_out,
    )


def open_data(
    options: DataOptions,
    size: tuple[int, int],
    *,
    content: tuple[int, int] | None = None,
    aligner: LandmarkDetector | None = None,
) -> tuple[TrainingImages, TrainingImages]:
    """(training images, held-out images) of the options; the aligner is used with `align="auto"`.

    Raises:
        ImageError: see `open_images`.
        ConfigError: `align="auto"` without an aligner.
    """
    if options.align == "auto" and aligner is None:
        raise ConfigError('data.align is "auto", and this domain has no aligner. Use "no", with crops as images.')
    aligner = aligner if options.align == "auto" else None
    images = open_images(options.train, size, content=content, aligner=aligner, workers=options.workers)
    if options.test is None:
        return images.split(options.test_share)
    return images, open_images(options.test, size, content=content, aligner=aligner, workers=options.workers)


def _hash_position(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:6], "big") / 2**48


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    random = torch.Generator().manual_seed((seed * 7_368_787 + epoch) % 2**63)
    return tuple(torch.randperm(count, generator=random).tolist())


def _face_cutter(aligner: LandmarkDetector, size: tuple[int, int]) -> Cut:
    def cut(image: Image.Image, name: str) -> Image.Image:
        [choice] = decide(image, name, aligner=aligner, align="auto", face="largest", landmarks=None)
        return image if choice.landmarks is None else cut_out(image, choice.landmarks, max(size), max(size)).image

    return cut
