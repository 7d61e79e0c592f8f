"""Which images of `hyperstyle invert` are inverted already: by an earlier run, or by another one at the same time."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hyperstyle.cli.arguments import landmarks_file
from hyperstyle.cli.inputs import Failure
from hyperstyle.errors import ImageError, InversionError, WeightsError
from hyperstyle.io.claims import Claims, Stamp, stamp
from hyperstyle.io.files import sha256

__all__ = ["Asked", "Job", "Resumption"]

_SETTINGS = {"method": None, "steps": None, "seed": None, "align": "auto", "face": "largest", "sideways": False}
"""The flags that change results, and their defaults."""


class Job(NamedTuple):
    """An image, and where its results go.

    Attributes:
        image: the file.
        stem: path of the results without their endings.
        outdated: the state of a record there that is to be replaced.
    """

    picture: Path
    stem: Path
    outdated: Stamp | None = None

    @property
    def record(self) -> Path:
        """The inversion file, which is written last."""
        return self.stem.with_name(self.stem.name + ".safetensors")


@dataclass(frozen=True)
class Asked:
    """What an inversion file must have been made from, and how, to be what is asked for.

    Attributes:
        settings: flag -> value, of those that change results.
        model: digest of what the model is made of.
        landmarks: `--landmarks`.
    """

    settings: Mapping[str, Any]
    model: str
    landmarks: Path | None

    @classmethod
    def by(cls, args: argparse.Namespace) -> Asked:
        """By the flags of `hyperstyle invert`. Finds the model, fetching its files where need be, and loads nothing.

        Raises:
            ModelNotFoundError: there is no such model. ConfigError, MissingFileError: its folder cannot be used.
        """
        settings = {name: getattr(args, name) for name in _SETTINGS}
        return cls(json.loads(json.dumps(settings)), _model_digest(args.model), args.landmarks)

    def origin(self, picture: Path) -> dict[str, Any]:
        """What is stored with the inversion of this image, as plain values. Raises ImageError where it is not there."""
        points = landmarks_file(picture, self.landmarks)
        try:
            return {
                "bytes": picture.stat().st_size,
                "sha256": sha256(picture),
                "landmarks": sha256(points) if points is not None and points.is_file() else None,
                "model": self.model,
                "settings": dict(self.settings),
            }
        except OSError as error:
            raise ImageError(f"{str(picture)!r} cannot be read any more: {error.strerror}.") from error

    def verdict(self, job: Job) -> Literal["done", "damaged"] | Failure:
        """Whether the record of a job, which is there, is what is asked for; "damaged" is none at all."""
        from hyperstyle.inversion.file import read_origin

        try:
            stored = read_origin(job.record)
            if stored is None:  # by `Inversion.save`, or by an earlier version: the name is all there is to go by
                return "done"
            reason = self._difference(stored, job.picture)
        except WeightsError:
            return "damaged"
        except InversionError:
            reason = "is no inversion"
        except ImageError as error:
            return Failure(str(job.picture), str(error))
        if reason is None:
            return "done"
        advice = "Replace it with --overwrite, or choose another --out."
        return Failure(str(job.picture), f"{str(job.record)!r} is there already and {reason}. {advice}")

    def _difference(self, stored: Mapping[str, Any], picture: Path) -> str | None:
        """How a record differs from what is asked for, in words."""
        now = self.origin(picture)
        if (stored.get("bytes"), stored.get("sha256")) != (now["bytes"], now["sha256"]):
            return "is of another image"
        if stored.get("model") != now["model"]:
            return "was made by another model"
        before = found if isinstance(found := stored.get("settings"), dict) else {}
        for name, default in _SETTINGS.items():
            if (old := before.get(name, default)) != (new := self.settings[name]):
                return f"was made with {_in_words(name, old)}, not {_in_words(name, new)}"
        if stored.get("landmarks") != now["landmarks"]:
            return "was made with other --landmarks"
        return None


@dataclass
class Resumption:
    """Goes through the images of a run, and leaves out those that are inverted already or that another run has.

    Attributes:
        asked: what is asked for.
        claims: of this run.
        overwrite: do again what is there.
        done: how many images were inverted already, or by another run meanwhile.
        busy: how many another run still has in hand.
        refused: those whose place is taken by the inversion of something else.
    """

    asked: Asked
    claims: Claims
    overwrite: bool = False
    done: int = 0
    busy: int = 0
    refused: list[Failure] = field(default_factory=list)

    def unfinished(self, jobs: Iterable[Job]) -> list[Job]:
        """Those that are to be done, by what lies on the disk now."""
        if self.overwrite:
            return [job._replace(outdated=stamp(job.record)) for job in jobs]
        return [left for job in jobs if (left := self._unless_done(job)) is not None]

    def claimed(self, jobs: Iterable[Job], on_skip: Callable[[], object]) -> Iterator[Job]:
        """Each job that nobody else has, taken in hand when it is asked for; `on_skip` is called for each left out.

        Those that another run has are asked for once more at the end: by then they are done, or were given back.
        """
        waiting: list[Job] = []
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

    def tell(self, total: int, out: Path, quiet: bool) -> None:
        """Says what was left out."""
        if self.done and not quiet:
            where = f"{self.done} of {total}"
            if self.overwrite:
                line = f"{where} were inverted by another run meanwhile"
            else:
                line = f"{where} were in {str(out)!r} already (--overwrite does them again)"
            print(f"hyperstyle: {line}", file=sys.stderr)
        if self.busy:
            print(
                f"hyperstyle: {self.busy} of {total} are being inverted by another run: start this one again to see "
                "that they are done",
                file=sys.stderr,
            )

    def _unless_done(self, job: Job) -> Job | None:
        """The job, where there is no record or a damaged one, to be replaced; else counts it as what it is."""
        there = stamp(job.record)
        if there is None:
            return job
        verdict = self.asked.verdict(job)
        if verdict == "damaged":
            return job._replace(outdated=there)
        if verdict == "done":
            self.done += 1
        else:
            self.refused.append(verdict)
        return None


def _model_digest(name: str) -> str:
    """16 hex digits of what decides how images come out: the files of its networks and aligner, domain and steps.

    By its `hyperstyle.json`, so without reading the weights. Edits may be added to a model, so they do not count.
    """
    from hyperstyle.io import hub
    from hyperstyle.io.components import read_json

    manifest = read_json(hub.resolve(name) / "hyperstyle.json")
    hashes = manifest.get("sha256")
    if isinstance(hashes, dict):  # if not, loading it says so
        hashes = {name: value for name, value in hashes.items() if name != "styleclip"}
    content = [manifest.get("domain"), manifest.get("steps"), hashes]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _in_words(name: str, value: Any) -> str:
    if value is None or isinstance(value, bool):
        return f"the default --{name}" if value is None else f"--{name}" if value else f"no --{name}"
    text = ",".join(f"{part}={number}" for part, number in value.items()) if isinstance(value, dict) else value
    return f"--{name} {text}"
