"""The engine: every method on every image, inverted by `invert`, timed, measured and edited; a row of the journal each.

All tables are made from its rows: `reconstruction`, `methods`, `celebahq` and the report. A run that was interrupted
goes on with the image it was at, where the journal is a file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, QualityWarning
from hyperstyle.evaluation.equal_effect import read_edits
from hyperstyle.evaluation.figures import Progress, now
from hyperstyle.evaluation.images import TestImages
from hyperstyle.evaluation.journal import Journal, Record
from hyperstyle.evaluation.measures import Measures
from hyperstyle.images import save_image, to_images
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder, peak_memory
from hyperstyle.methods.registry import MethodLike, Start, Steps, by_networks, resolve_method
from hyperstyle.model.parts import Model

__all__ = ["Job", "Study", "Trial", "check_trials", "invert_one", "is_feed_forward", "measure_all"]


@dataclass(frozen=True)
class Trial:
    """A method as `invert` knows it, and how many steps its last part takes; None is that part's own number."""

    method: str
    steps: int | None = None

    def __str__(self) -> str:
        return self.method if self.steps is None else f"{self.method}:{self.steps}"

    @classmethod
    def of(cls, text: str) -> Trial:
        """Reads "METHOD" or "METHOD:STEPS".

        Raises:
            ConfigError: steps that are no number.
        """
        method, colon, steps = text.partition(":")
        if colon and not steps.isdecimal():
            raise ConfigError(f"method {text!r}: expected METHOD or METHOD:STEPS, as in hyperstyle+offsets:50.")
        return cls(method, int(steps) if colon else None)


@dataclass(frozen=True)
class Job:
    """A method on the first `count` images, and edits of the first `edited` of these.

    Attributes:
        label: its name in rows and tables.
        inverter: whose method.
        method, steps: see `HyperStyleInverter.invert`.
        count, edited: how many images.
        start: index of an image -> the start of its inversion; None is the method's own start.
        steps_measured: steps after which the reconstruction on the way is measured too.
        model: identifies the weights, so that rows of other weights are measured again.
    """

    label: str
    inverter: HyperStyleInverter
    method: MethodLike
    steps: Steps | None
    count: int
    edited: int = 0
    start: Callable[[int], Start] | None = None
    steps_measured: tuple[int, ...] = ()
    model: str = ""

    @classmethod
    def of(cls, trial: Trial, inverter: HyperStyleInverter, count: int, *, edited: int = 0, model: str = "") -> Job:
        """The job of a trial, under its name."""
        return cls(str(trial), inverter, trial.method, trial.steps, count, edited, model=model)

    @property
    def folder(self) -> str:
        """Name of the folder of its reconstructions."""
        return self.label.replace(":", "-")

    @property
    def is_optimization(self) -> bool:
        """Whether it optimizes for each image on its own."""
        return not isinstance(self.method, str) or not is_feed_forward(self.inverter.model, self.method)


@dataclass(frozen=True)
class Study:
    """What is measured, on what, and where it is kept.

    Attributes:
        images, measures: on what, and which figures.
        journal: where the figures are kept.
        folder: where reconstructions are kept, `folder/reconstructions/LABEL/DIGEST.png`; None keeps none.
        full_size: whether they are kept at the generator's size, or at the size that the encoder sees.
        edits: names of the edits to measure, of traits that the evaluator reads.
        points: strengths over the range of each edit.
    """

    images: TestImages
    measures: Measures
    journal: Journal = field(default_factory=Journal)
    folder: Path | None = None
    full_size: bool = False
    edits: tuple[str, ...] = ()
    points: int = 2

    def reconstruction(self, job: Job, i: int) -> Path:
        """The file of a reconstruction, for a study that has a folder."""
        if self.folder is None:
            raise TypeError("this study keeps no reconstructions")
        return self.folder / "reconstructions" / job.folder / f"{self.images.digests[i]}.png"

    def rows(self, label: str, count: int) -> list[Record]:
        """What was measured of the first images; for all of them, once `measure_all` is done."""
        rows = [self.journal.get(label, name) for name in self.images.names[:count]]
        return [row for row in rows if row is not None]


Extra = Callable[[Job, int, Inversion, Mapping[int, Tensor]], Mapping[str, Any]]
"""(job, index of the image, its inversion, step -> reconstruction on the way [1,3,H,W]) -> more entries of the row."""


def measure_all(
    study: Study, jobs: Sequence[Job], on_progress: Progress | None = None, *, extra: Extra | None = None
) -> None:
    """Does what the journal does not have yet: a row for each job and image.

    A row has "method" and "picture", which name it, "crop" and "model", which say what it was measured of, "seconds" of
    `invert`, "memory" at its peak in bytes or None, "figures" by their keys, "edits" (see `read_edits`) of a job with
    edits, and "on_the_way" of a job with `steps_measured`: {"step", "seconds", "figures"} each.

    Args:
        study: what is measured, and where it is kept.
        jobs: the methods.
        on_progress: called with the label, images done, and images; for a method that is an object, which optimizes
            for minutes, with steps of all images in place of images.
        extra: called with every new inversion for more entries of its row.
    """
    for job in jobs:
        done = [_is_done(study, job, i) for i in range(job.count)]
        if not job.is_optimization and not all(done):
            invert_one(job.inverter, study.images.load(0), job)  # not counted: it warms up
        if study.folder is not None:
            make_folder(study.reconstruction(job, 0).parent)
        for i in range(job.count):
            if not done[i]:
                study.journal.add(_measured(study, job, i, on_progress, extra))
            if on_progress is not None and isinstance(job.method, str):
                on_progress(job.label, i + 1, job.count)


def check_trials(model: Model, trials: Sequence[Trial]) -> None:
    """Raises before anything is measured.

    Raises:
        ConfigError: no trial, or one twice.
        MethodError: an unknown method, one whose weights the model lacks, or steps of one that takes none.
    """
    if not trials or len(set(trials)) < len(trials):
        names = ", ".join(map(str, trials)) or "none"
        raise ConfigError(f"methods {names}: expected 1 or more, each once.")
    for trial in trials:
        resolve_method(model, trial.method, steps=trial.steps)


def is_feed_forward(model: Model, method: str) -> bool:
    """Whether networks do all of a method."""
    parts = {part for name in by_networks(model) for part in name.split("+")}
    return all(part in parts for part in method.split("+"))


def invert_one(
    inverter: HyperStyleInverter,
    crop: Tensor,
    job: Job | Trial,
    *,
    start: Start | None = None,
    callback: Callable[..., None] | None = None,
) -> Inversion:
    """One crop [3,h,w] as anybody would invert it; that it looks wrong is for the figures to show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QualityWarning)
        return inverter.invert(crop, method=job.method, steps=job.steps, start=start, align=False, callback=callback)


def _is_done(study: Study, job: Job, i: int) -> bool:
    row = study.journal.get(job.label, study.images.names[i])
    if row is None or (row["crop"], row["model"]) != (study.images.digests[i], job.model):
        return False
    if study.folder is not None and not study.reconstruction(job, i).exists():
        return False
    return i >= job.edited or not study.edits or "edits" in row


def _measured(study: Study, job: Job, i: int, on_progress: Progress | None, extra: Extra | None) -> Record:
    """The row of one image; its reconstruction is written."""
    model, crop = job.inverter.model, study.images.load(i)
    target = crop[None].to(model.device)
    on_the_way: dict[int, Tensor] = {}
    clock: dict[int, float] = {}

    def watch(step: Any) -> None:
        if step.step in job.steps_measured:
            clock[step.step] = now(model.device) - began
            on_the_way[step.step] = model.domain.content(step.image).float()
        if on_progress is not None and not isinstance(job.method, str):
            on_progress(job.label, i * step.steps + step.step + 1, job.count * step.steps)

    _forget_peak(model.device)
    began = now(model.device)
    inversion = invert_one(job.inverter, crop, job, start=job.start and job.start(i), callback=watch)
    seconds = now(model.device) - began
    row: Record = {"method": job.label, "picture": study.images.names[i], "crop": study.images.digests[i]}
    row |= {"model": job.model, "seconds": seconds, "memory": _peak(model.device)}
    reconstruction = inversion.tensor
    row["figures"] = study.measures(model, reconstruction, target)
    if job.steps_measured:
        row["on_the_way"] = [
            {"step": step, "seconds": clock[step], "figures": study.measures(model, image, target)}
            for step, image in on_the_way.items()
        ]
    if i < job.edited and study.edits:
        row["edits"] = read_edits(inversion, study.edits, points=study.points)
    if study.folder is not None:
        image = reconstruction if study.full_size else model.domain.resize_to_input(reconstruction)
        save_image(to_images(image)[0], study.reconstruction(job, i))
    return row | dict(extra(job, i, inversion, on_the_way)) if extra is not None else row


def _forget_peak(device: torch.device) -> None:
    """So that the next peak is that of one inversion."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    counters = Path("/proc/self/clear_refs")  # Linux: 5 sets the process's peak back to what it has now
    try:
        counters.write_text("5", encoding="ascii")
    except OSError:
        return  # elsewhere the peak is that of the process so far


def _peak(device: torch.device) -> int | None:
    """Bytes: of the device's memory on CUDA, of the whole process otherwise."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
