"""Which images of `hyperstyle invert` are inverted already: by an earlier run, or by another one at the same time."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hyperstyle.cli.arguments import InversionArguments, ModelArguments
from hyperstyle.cli.flags import default_of, flag, output_folder, positional, switch
from hyperstyle.cli.inputs import Failure
from hyperstyle.errors import ImageError, InversionError, WeightsError
from hyperstyle.io.claims import Claims, Stamp, stamp
from hyperstyle.io.files import sha256
from hyperstyle.io.hub import model_digest

DEFAULT_BATCH_SIZE = 8
"""Images, or faces of one, that go through the networks at once where the device allows it."""

_SETTINGS = ("method", "steps", "seed", "align", "aligner", "face", "sideways")
"""The flags that change results."""


@dataclass(frozen=True, kw_only=True)
class InvertArguments(ModelArguments, InversionArguments):
    """For every image: NAME.png (the reconstruction), NAME_sheet.png (input, codes alone, result) and NAME.safetensors
    (to edit later). With --face all they hold every face of the image. An image that fails does not stop the others.
    Images whose NAME.safetensors is there already are left out, so that the same command goes on after an
    interruption, and several at once share the work.
    """

    inputs: list[str] = positional(nargs="+", metavar="IMAGE", help="image, folder of images, or glob")
    out: Path = output_folder("inversions")
    overwrite: bool = switch("invert again what is there already, in place of what is there")
    batch: int | None = flag(
        help=f"images that go through the networks together (default: {DEFAULT_BATCH_SIZE} on CUDA devices, else 1)"
    )
    quiet: bool = switch("no progress bar, no line per image")


class ImageJob(NamedTuple):
    """An image, and where its results go.

    Attributes:
        image: the file.
        stem: path of the results without their endings.
        outdated: identifies the version of an inversion file there that is to be replaced; None if there is none.
    """

    image: Path
    stem: Path
    outdated: Stamp | None = None

    @property
    def record(self) -> Path:
        """Path of the inversion file, which is written last. Not stored: paths of many thousand jobs take memory."""
        return self.stem.with_name(f"{self.stem.name}.safetensors")


class Resumption:
    """Goes through the images of a run, and skips those that are inverted already or that another run works on.

    An inversion file counts as done if it is of this image, and was made with the model and the settings of this run.

    Attributes:
        claims: marks images as being worked on, for other runs.
        done: how many images were inverted already, or by another run meanwhile.
        busy: how many another run still works on.
        refused: those whose output file is there and holds another inversion.
    """

    def __init__(self, args: InvertArguments, claims: Claims) -> None:
        """Finds the model, fetching its files where need be, and loads nothing.

        Raises:
            ModelNotFoundError: there is no such model. ConfigError, MissingFileError: its folder cannot be used.
        """
        self.claims = claims
        self.done = self.busy = 0
        self.refused: list[Failure] = []
        self._args = args
        self._settings = json.loads(json.dumps({name: getattr(args, name) for name in _SETTINGS}))
        self._model = model_digest(args.model)

    def origin(self, image: Path) -> dict[str, Any]:
        """What is stored with the inversion of this image, as JSON values. Raises ImageError where it is not there."""
        points = self._args.landmarks_file(image)
        try:
            return {
                "bytes": image.stat().st_size,
                "sha256": sha256(image),
                "landmarks": sha256(points) if points is not None and points.is_file() else None,
                "model": self._model,
                "settings": self._settings,
            }
        except OSError as error:
            raise ImageError(f"{str(image)!r} cannot be read any more: {error.strerror}.") from error

    def unfinished(self, jobs: Iterable[ImageJob]) -> list[ImageJob]:
        """The jobs whose inversion file is missing, damaged or, with --overwrite, to be replaced; counts the others."""
        if self._args.overwrite:
            return [job._replace(outdated=stamp(job.record)) for job in jobs]
        return [left for job in jobs if (left := self._unless_done(job)) is not None]

    def claimed(self, jobs: Iterable[ImageJob], on_skip: Callable[[], object]) -> Iterator[ImageJob]:
        """Each job that no other run works on, claimed when it is yielded; `on_skip` is called for each one skipped.

        Those claimed by another run are tried once more at the end: by then they are done, or were released.
        """
        waiting: list[ImageJob] = []
        rounds = itertools.chain(((job, False) for job in jobs), ((job, True) for job in waiting))
        for job, is_last in rounds:
            status = self.claims.claim(job.record, outdated=job.outdated)
            if status == "claimed":
                yield job
                continue
            left = job if status == "busy" else self._unless_done(job)
            if left is not None and not is_last:
                waiting.append(left)
                continue
            self.busy += left is not None
            on_skip()

    def print_skipped(self, total: int) -> None:
        """Prints how many of all images were skipped, and why."""
        if self.done and not self._args.quiet:
            why = "were inverted by another run meanwhile"
            if not self._args.overwrite:
                why = f"were in {str(self._args.out)!r} already (--overwrite does them again)"
            print(f"hyperstyle: {self.done} of {total} {why}", file=sys.stderr)
        if self.busy:
            print(
                f"hyperstyle: {self.busy} of {total} are being inverted by another run: start this one again to see "
                "that they are done",
                file=sys.stderr,
            )

    def _unless_done(self, job: ImageJob) -> ImageJob | None:
        """The job, where there is no record or a damaged one, to be replaced; else counts it as what it is."""
        from hyperstyle.inversion.file import read_origin

        there = stamp(job.record)
        if there is None:
            image, grid = (job.record.with_name(f"{job.record.stem}{ending}") for ending in (".png", "_sheet.png"))
            if not image.exists() or grid.exists():  # those of an interrupted run: the grid is written first
                return job
            self._refuse(job, f"{str(image)!r} is there already and is no result")
            return None
        try:
            stored = read_origin(job.record)
            # None: by `Inversion.save`, or by an earlier version, so that only the name can be compared.
            reason = None if stored is None else self._difference(stored, job.image)
        except WeightsError:
            return job._replace(outdated=there)
        except InversionError:
            reason = "is no inversion"
        except ImageError as error:
            self.refused.append(Failure(str(job.image), str(error)))
            return None
        if reason is None:
            self.done += 1
        else:
            self._refuse(job, f"{str(job.record)!r} is there already and {reason}")
        return None

    def _refuse(self, job: ImageJob, reason: str) -> None:
        advice = "Replace it with --overwrite, or choose another --out."
        self.refused.append(Failure(str(job.image), f"{reason}. {advice}"))

    def _difference(self, stored: Mapping[str, Any], image: Path) -> str | None:
        """How a record differs from what this run would write, in words."""
        now = self.origin(image)
        if (stored.get("bytes"), stored.get("sha256")) != (now["bytes"], now["sha256"]):
            return "is of another image"
        if stored.get("model") != now["model"]:
            return "was made by another model"
        before = stored.get("settings")
        before = before if isinstance(before, dict) else {}
        for name, new in self._settings.items():
            old = before.get(name, default_of(InvertArguments, name))
            if old != new:
                return f"was made with {_in_words(name, old)}, not {_in_words(name, new)}"
        if stored.get("landmarks") != now["landmarks"]:
            return "was made with other --landmarks"
        return None


def _in_words(name: str, value: Any) -> str:
    if value is None or isinstance(value, bool):
        return f"the default --{name}" if value is None else f"--{name}" if value else f"no --{name}"
    text = ",".join(f"{part}={number}" for part, number in value.items()) if isinstance(value, dict) else value
    return f"--{name} {text}"
