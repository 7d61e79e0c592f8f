"""The evaluation engine: inverts every image with every method, and times, measures and edits the results.

It writes one row of the journal for each method and image. The tables of `reconstruction`, `methods`, `celebahq` and
the report are made from these rows. If the journal is a file, an interrupted run continues with the image it had
reached.
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
from hyperstyle.evaluation.equal_effect import measure_effects
from hyperstyle.evaluation.figures import Progress, now
from hyperstyle.evaluation.images import EvaluationImages
from hyperstyle.evaluation.journal import Journal, Record
from hyperstyle.evaluation.measures import Measures
from hyperstyle.evaluation.trials import Trial
from hyperstyle.images import save_image, to_images
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import without_metrics
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder, peak_memory
from hyperstyle.methods.base import Start
from hyperstyle.methods.registry import MethodLike, Steps, by_networks, resolve_method
from hyperstyle.model.parts import Model, fingerprint


@dataclass(frozen=True)
class Job:
    """One method, to be run on the first images of a study; some of its inversions are also edited.

    Attributes:
        label: its name in rows and tables.
        inverter: runs the method.
        method, steps: arguments of `HyperStyleInverter.invert`.
        count: number of images to invert, from the first on.
        edited: number of these to edit as well, from the first on.
        start: index of an image -> the start of its inversion; None takes the method's own start.
        steps_measured: steps at which the reconstruction so far is measured too.
        model: identifies the weights. Rows of the journal with another value are measured again.
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
        """The job that runs a trial; its label is `str(trial)`."""
        return cls(str(trial), inverter, trial.method, trial.steps, count, edited, model=model)

    @property
    def folder(self) -> str:
        """Name of the folder for its reconstructions: its label, with "-" for ":"."""
        return self.label.replace(":", "-")

    @property
    def is_optimization(self) -> bool:
        """Whether its method optimizes for each image. A method that is an object, not a name, is taken for one."""
        return not isinstance(self.method, str) or not is_feed_forward(self.inverter.model, self.method)


@dataclass(frozen=True)
class Study:
    """What is measured, on which images, and where the results are stored.

    Attributes:
        images: the images to invert.
        measures: computes the figures of a reconstruction.
        journal: stores the rows of figures.
        folder: reconstructions are saved as `folder/reconstructions/LABEL/DIGEST.png`; None saves none.
        full_size: save reconstructions at the generator's size, instead of the size of the encoder's input.
        edits: names of the edits to measure. The evaluator must predict the trait that each of them changes.
        points: number of strengths at which an edit is measured, evenly spaced over its range; strength 0 is added.
    """

    images: EvaluationImages
    measures: Measures
    journal: Journal = field(default_factory=Journal)
    folder: Path | None = None
    full_size: bool = False
    edits: tuple[str, ...] = ()
    points: int = 2

    def reconstruction_path(self, job: Job, i: int) -> Path:
        """Where the reconstruction of image `i` is saved. Raises TypeError for a study without a folder."""
        if self.folder is None:
            raise TypeError("this study keeps no reconstructions")
        return self.folder / "reconstructions" / job.folder / f"{self.images.digests[i]}.png"

    def rows(self, label: str, count: int) -> list[Record]:
        """The journal's rows of a job's label for the first `count` images; those not yet measured are left out."""
        rows = [self.journal.get(label, name) for name in self.images.names[:count]]
        return [row for row in rows if row is not None]


Extra = Callable[[Job, int, Inversion, Mapping[int, Tensor]], Mapping[str, Any]]
"""(job, index of the image, its inversion, step -> reconstruction at that step [1,3,H,W]) -> more entries of the row.

The steps are those of `Job.steps_measured`.
"""


def measure_all(
    study: Study, jobs: Sequence[Job], on_progress: Progress | None = None, *, extra: Extra | None = None
) -> None:
    """Measures every job on every image, except what the journal has already, and adds a row for each.

    The entries of a row:
        "method", "picture": the job's label and the image's name, which together identify the row.
        "crop", "model": digest of the crop and `Job.model`. If they have changed, the row is measured again.
        "seconds": time that `invert` took.
        "memory": peak memory in bytes (see `_peak`), or None if unknown.
        "figures": name -> figure of the reconstruction.
        "edits": see `measure_effects`; only for the images that are edited.
        "on_the_way": list of {"step", "seconds", "figures"}, one for each of `Job.steps_measured` that was reached;
            only for a job that has some.

    Before the first image of a feed-forward method it is run once more, so that no row contains its warm-up.

    Args:
        study: what is measured, and where the results are stored.
        jobs: the methods.
        on_progress: called with the job's label, the number done and the total. These count images or, if the method
            is an object (which may optimize for minutes), the steps for all images.
        extra: called with every new inversion; returns more entries for its row.
    """
    for job in jobs:
        done = [_is_done(study, job, i) for i in range(job.count)]
        if not job.is_optimization and not all(done):
            invert_one(job.inverter, study.images.load(0), job)  # not counted: it warms up
        if study.folder is not None:
            make_folder(study.reconstruction_path(job, 0).parent)
        for i in range(job.count):
            if not done[i]:
                study.journal.add(_measured(study, job, i, on_progress, extra))
            if on_progress is not None and isinstance(job.method, str):
                on_progress(job.label, i + 1, job.count)


def check_trials(model: Model, trials: Sequence[Trial]) -> None:
    """Checks that a model can run all trials, so that errors come before anything is measured.

    Raises:
        ConfigError: no trials, or the same one twice.
        MethodError: an unknown method, one whose networks the model lacks, or steps for one that takes none.
    """
    if not trials or len(set(trials)) < len(trials):
        names = ", ".join(map(str, trials)) or "none"
        raise ConfigError(f"methods {names}: expected 1 or more, each once.")
    for trial in trials:
        resolve_method(model, trial.method, steps=trial.steps)


def weights_id(model: Model) -> str:
    """A text that is another one if any weight of the model's networks or its number of steps is, for `Job.model`."""
    return f"{fingerprint(*model.networks.values())} {model.steps}"


def is_feed_forward(model: Model, method: str) -> bool:
    """Whether a method, with all parts joined by "+", only runs networks and optimizes nothing."""
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
    """Inverts one crop [3,h,w] with the job's method, by `inverter.invert`; an inversion of one image.

    `QualityWarning` is suppressed, since the quality is measured anyway.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QualityWarning)
        return inverter.invert(crop, method=job.method, steps=job.steps, start=start, align=False, callback=callback)


def _is_done(study: Study, job: Job, i: int) -> bool:
    row = study.journal.get(job.label, study.images.names[i])
    if row is None or (row["crop"], row["model"]) != (study.images.digests[i], job.model):
        return False
    if study.folder is not None and not study.reconstruction_path(job, i).exists():
        return False
    return i >= job.edited or not study.edits or "edits" in row


def _measured(study: Study, job: Job, i: int, on_progress: Progress | None, extra: Extra | None) -> Record:
    """Inverts and measures one image: returns its row, and saves its reconstruction if the study has a folder."""
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
    with without_metrics():
        inversion = invert_one(job.inverter, crop, job, start=job.start and job.start(i), callback=watch)
        reconstruction = inversion.tensor
    seconds = now(model.device) - began
    row: Record = {"method": job.label, "picture": study.images.names[i], "crop": study.images.digests[i]}
    row |= {"model": job.model, "seconds": seconds, "memory": _peak(model.device)}
    row["figures"] = study.measures(model, reconstruction, target)
    if job.steps_measured:
        row["on_the_way"] = [
            {"step": step, "seconds": clock[step], "figures": study.measures(model, image, target)}
            for step, image in on_the_way.items()
        ]
    if i < job.edited and study.edits:
        row["edits"] = measure_effects(inversion, study.edits, points=study.points)
    if study.folder is not None:
        image = reconstruction if study.full_size else model.domain.resize_to_input(reconstruction)
        save_image(to_images(image)[0], study.reconstruction_path(job, i))
    return row | dict(extra(job, i, inversion, on_the_way)) if extra is not None else row


def _forget_peak(device: torch.device) -> None:
    """Resets the peak of memory, so that `_peak` then gives that of one inversion (on CUDA and Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    counters = Path("/proc/self/clear_refs")  # Linux: 5 sets the process's peak back to what it has now
    try:
        counters.write_text("5", encoding="ascii")
    except OSError:
        return  # elsewhere the peak is that of the process so far


def _peak(device: torch.device) -> int | None:
    """Peak memory in bytes: of the GPU's allocations on CUDA, else of the process; None if unknown."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
