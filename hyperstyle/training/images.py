"""Training images of any size, color mode and source, as batches that depend on seed and step alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from hyperstyle.align.crop import crop
from hyperstyle.align.decision import LandmarkDetector, decide
from hyperstyle.errors import AlignmentError, ImageError, MissingDependencyError, TrainingWarning, warn
from hyperstyle.images import resize, to_tensor
from hyperstyle.training.image_sources import Entries, Entry, find_entries

_MAX_REPLACEMENTS = 100  # images that are tried in place of an unreadable one
Batch = tuple[Tensor, tuple[int, ...]]
"""Images [B,3,h,w] in [-1,1], and the index of each in the data set."""


class TrainingImages:
    """Images that are read on demand. Those that cannot be read are skipped, and listed in `failures`.

    Square images in which the aligner finds no face are taken as aligned crops, and listed in `unaligned`; the first of
    them gives a TrainingWarning.

    Args:
        entries: the images.
        size: (height, width) to which each is resized, whatever its aspect ratio, as in an inversion.
        content: (first, end) rows of the content where a square image is padded like the generator's (cars: 64, 448,
            with a `size` of 3:4): squares are cropped to them. Other images are used in full.
        aligner: finds the faces, which are cropped from images that are not aligned yet. It runs at every reading;
            aligning all images once beforehand takes much less time.
        workers: threads that read.
    """

    def __init__(
        self,
        entries: Entries,
        size: tuple[int, int],
        content: tuple[int, int] | None,
        aligner: LandmarkDetector | None,
        workers: int,
    ) -> None:
        self._entries, self._left_out, self.size = entries.images, entries.left_out, size
        self._content, self._aligner, self._workers = content, aligner, workers
        self._failures: dict[str, str] = {}
        self._unaligned: dict[str, str] = {}
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

    @property
    def unaligned(self) -> Mapping[str, str]:
        """Name -> reason, for images read so far that were taken as aligned crops with no face seen in them."""
        return dict(self._unaligned)

    def _with(self, images: list[Entry]) -> TrainingImages:
        return TrainingImages(Entries(images, self._left_out), self.size, self._content, self._aligner, self._workers)

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

    def load(self, indices: Sequence[int]) -> Tensor:
        """[B,3,h,w] in [-1,1], those of the images that can be read, in order."""
        images = [image for image in self._pool.map(self._image, indices) if image is not None]
        return torch.stack(images) if images else torch.empty(0, 3, *self.size)

    def batch(self, step: int, batch: int, seed: int, flip: float = 0.0, *, part: tuple[int, int] = (0, 1)) -> Batch:
        """The images of a step. Each epoch has every image once, in an order that depends on the seed.

        An image that cannot be read is replaced by another one, which depends on seed and step too. The next batch is
        read in the background.

        Args:
            step: from 0 on.
            batch: number of images, all parts together.
            seed: for order, replacements and mirroring.
            flip: probability that an image is mirrored.
            part: (k, n): only the k-th of n equal parts of the batch, for process k of n. n divides `batch`.

        Raises:
            ImageError: none of very many images could be read.
        """
        key = (batch, seed, flip, part)
        ready, self._next = self._next, None
        result = ready[1].result() if ready is not None and ready[0] == (step, key) else self._batch(step, *key)
        self._next = (step + 1, key), self._ahead.submit(self._batch, step + 1, *key)
        return result

    def _batch(self, step: int, batch: int, seed: int, flip: float, part: tuple[int, int]) -> Batch:
        count = len(self)
        random = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
        mirrored = (torch.rand(batch, generator=random) < flip).tolist()
        replacements = torch.randint(0, count, (batch, _MAX_REPLACEMENTS), generator=random)
        slots = range(part[0], batch, part[1])
        chosen = [_order(count, seed, (step * batch + i) // count)[(step * batch + i) % count] for i in slots]
        read = self._pool.map(self._first_readable, chosen, (replacements[i].tolist() for i in slots))
        images, indices = zip(*read, strict=True)
        flipped = [image.flip(-1) if mirrored[slot] else image for slot, image in zip(slots, images, strict=True)]
        return torch.stack(flipped), indices

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
            if self._aligner is not None:
                [choice] = decide(image, entry.name, aligner=self._aligner)
                if choice.unaligned:
                    self._note_unaligned(entry.name, choice.unaligned)
                if choice.landmarks is not None:
                    image = crop(image, choice.landmarks, max(self.size), max(self.size)).image
        except (ImageError, AlignmentError, MissingDependencyError) as error:
            self._failures[entry.name] = str(error)
            return None
        if self._content is not None and image.width == image.height:
            first, end = self._content
            side = (end - first) * self.size[1] / self.size[0]  # of the padded square, in the unit of `content`
            rows = round(first * image.height / side), round(end * image.height / side)
            image = image.crop((0, rows[0], image.width, rows[1]))
        return to_tensor(resize(image, self.size))

    def _note_unaligned(self, name: str, reason: str) -> None:
        """Adds an image to `unaligned`; warns of the first."""
        is_first = not self._unaligned
        self._unaligned[name] = reason
        if is_first:
            warn(
                f"{name!r} is square and taken as an aligned crop, since {reason}. All such images will be listed in "
                'unaligned.json. Leave out those that are no aligned crops; where all are, data.align is "no".',
                TrainingWarning,
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
        size, content, aligner, workers: see `TrainingImages`.

    Raises:
        ImageError: the source does not exist or has no image.
    """
    return TrainingImages(find_entries(source), size, content, aligner, workers)


def _hash_position(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:6], "big") / 2**48


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    random = torch.Generator().manual_seed((seed * 7_368_787 + epoch) % 2**63)
    return tuple(torch.randperm(count, generator=random).tolist())
