"""Every method on every image: inverted, timed, measured, edited; a line of the journal each."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, QualityWarning
from hyperstyle.evaluation.equal_effect import compare
from hyperstyle.evaluation.figures import Progress, now
from hyperstyle.evaluation.methods import Trial
from hyperstyle.evaluation.report.images import TestImages
from hyperstyle.evaluation.report.journal import Journal, Record
from hyperstyle.evaluation.report.measures import Measures
from hyperstyle.evaluation.report.tables import ONCE
from hyperstyle.images import save_image, to_images
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.files import make_folder, peak_memory
from hyperstyle.methods.registry import by_networks, resolve_method
from hyperstyle.model.parts import Model, fingerprint

__all__ = ["Job", "Study", "alone", "check_ablations", "identified", "invert_one", "jobs_of", "measure_all"]


@dataclass(frozen=True)
class Job:
    """A method on the first `count` images, and edits of the first `edited` of these.

    Attributes:
        label: its name in rows and tables.
        inverter: whose method; that of the report but for ablations.
        model: what its model is told from others by, see `identified`.
        trial: the method and its steps.
    """

    label: str
    inverter: HyperStyleInverter
    model: str
    trial: Trial
    count: int
    edited: int = 0

    @property
    def folder(self) -> str:
        """Of its reconstructions."""
        return self.label.replace(":", "-")

    @property
    def is_optimization(self) -> bool:
        """Whether it searches for each image on its own."""
        return not alone(self.inverter.model, self.trial)


@dataclass(frozen=True)
class Study:
    """What is measured, on what, and where it is kept.

    Attributes:
        images, measures: on what, and which figures.
        journal: where the figures are kept.
        folder: where images are kept, `folder/reconstructions/LABEL/DIGEST.png`.
        edits: names of the edits to measure, of traits that the evaluator reads.
        points: strengths over the range of each edit.
    """

    images: TestImages
    measures: Measures
    journal: Journal
    folder: Path
    edits: tuple[str, ...]
    points: int

    def reconstruction(self, job: Job, i: int) -> Path:
        """The file of a reconstruction."""
        return self.folder / "reconstructions" / job.folder / f"{self.images.digests[i]}.png"

    def rows(self, label: str, count: int) -> list[Record]:
        """What was measured of the first images; for all of them, once `measure_all` is done."""
        found = [self.journal.get(label, name) for name in self.images.names[:count]]
        return [row for row in found if row is not None]


def alone(model: Model, trial: Trial) -> bool:
    """Whether networks do all of a method."""
    known = {part for name in by_networks(model) for part in name.split("+")}
    return all(part in known for part in trial.method.split("+"))


def identified(model: Model) -> str:
    """What changes with any weight of a model's networks, and with its passes."""
    return f"{fingerprint(*model.networks.values())} {model.steps}"


def check_ablations(names: Sequence[str]) -> None:
    """Names of ablations become names of folders.

    Raises:
        ConfigError: one that cannot be such a name, or one twice.
    """
    for name in names:
        if not re.fullmatch(r"[\w-][\w.-]*", name, re.ASCII):
            raise ConfigError(
                f"ablation {name!r}: expected a name of letters, digits, '.', '_' and '-' that begins with no '.', as "
                "in separable=runs/separable/model."
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"ablations {', '.join(names)}: expected each once.")


def jobs_of(
    inverter: HyperStyleInverter,
    trials: Sequence[Trial] | None,
    ablations: Mapping[str, HyperStyleInverter],
    *,
    images: int,
    optimized: int,
    edited: int,
) -> list[Job]:
    """All jobs of a report, checked.

    Args:
        inverter: the model.
        trials: methods; None is every one of the model's networks and, with `optimized`, W+ optimization and PTI.
        ablations: other models by name, each by its own best method.
        images: how many there are.
        optimized: how many of them the methods that optimize take.
        edited: how many of them are edited.

    Raises:
        ConfigError: a method twice, one that optimizes with `optimized` 0, or an ablation whose name is no name of a
            folder, or that of another method's.
        MethodError: an unknown method, or one whose weights the model lacks.
    """
    model = inverter.model
    if trials is None:
        trials = [Trial(name) for name in by_networks(model)]
        if optimized:
            trials += [Trial("optimize-w+", 300), Trial("pti")]
    if not trials:
        raise ConfigError(
            "the model has no network that inverts: train one (hyperstyle train encoder), or say with --methods and "
            "--optimized which images to search for, as in --methods optimize-w+:300 --optimized 4."
        )
    names = [str(trial) for trial in trials]
    if len(set(names)) < len(names):
        raise ConfigError(f"methods {', '.join(names)}: expected each once.")
    check_ablations(list(ablations))
    jobs, identity = [], identified(model)
    for trial in trials:
        resolve_method(model, trial.method, steps=trial.steps)
        count = images if alone(model, trial) else min(optimized, images)
        if not count:
            raise ConfigError(f"{trial} optimizes each image on its own: say with --optimized N how many it may take.")
        jobs.append(Job(str(trial), inverter, identity, trial, count, min(edited, count)))
    once = Trial.of(ONCE)  # a row of Table 3 that costs next to nothing
    if "hyperstyle" in names and model.steps > 1 and ONCE not in names:
        jobs.append(Job(ONCE, inverter, identity, once, images))
    for name, other in ablations.items():
        if other.model.domain.input_size != model.domain.input_size:
            raise ConfigError(
                f"ablation {name!r} sees images of {other.model.domain.input_size} px, this model "
                f"{model.domain.input_size}: expected the same."
            )
        own = by_networks(other.model)
        if not own:
            raise ConfigError(f"ablation {name!r} has no network that inverts. Name a model with an encoder.")
        job = Job(name, other, identified(other.model), Trial(own[0]), images)
        if taken := [one.label for one in jobs if one.folder.lower() == job.folder.lower()]:
            raise ConfigError(
                f"ablation {name!r} would keep its reconstructions in the folder of {taken[0]!r}: choose another name."
            )
        jobs.append(job)
    return jobs


def invert_one(inverter: HyperStyleInverter, crop: Tensor, trial: Trial) -> Inversion:
    """One crop [3,h,w] as anybody would invert it; that it looks wrong is for the report to show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QualityWarning)
        return inverter.invert(crop, method=trial.method, steps=trial.steps, align=False)


def measure_all(study: Study, jobs: Sequence[Job], on_progress: Progress | None = None) -> None:
    """Does what the journal does not have yet."""
    for job in jobs:
        names = study.images.names[: job.count]
        if not job.is_optimization and any(not _done(study, job, i) for i in range(job.count)):
            invert_one(job.inverter, study.images.load(0), job.trial)  # not counted: it warms up
        make_folder(study.reconstruction(job, 0).parent)
        for i, name in enumerate(names):
            if not _done(study, job, i):
                row = _measured(study, job, i)
                study.journal.add({"method": job.label, "picture": name, "crop": study.images.digests[i], **row})
            if on_progress is not None:
                on_progress(job.label, i + 1, job.count)


def _done(study: Study, job: Job, i: int) -> bool:
    row = study.journal.get(job.label, study.images.names[i])
    if row is None or (row["crop"], row["model"]) != (study.images.digests[i], job.model):
        return False
    if not study.reconstruction(job, i).exists():
        return False
    return i >= job.edited or not study.edits or "edits" in row


def _measured(study: Study, job: Job, i: int) -> dict[str, Any]:
    """Figures, seconds, memory and edits of an image; its reconstruction is written."""
    model, crop = job.inverter.model, study.images.load(i)
    _forget_peak(model.device)
    began = now(model.device)
    inversion = invert_one(job.inverter, crop, job.trial)
    seconds = now(model.device) - began
    row: dict[str, Any] = {"model": job.model, "seconds": seconds, "memory": _peak(model.device)}
    rendered = inversion.tensor
    row["figures"] = study.measures(model, rendered, crop[None].to(model.device))
    if i < job.edited and study.edits:
        curves = compare(model, {job.label: [inversion]}, study.edits, points=study.points)
        row["edits"] = {c.edit: {"changes": c.changes[0], "identities": c.identities[0]} for c in curves}
    save_image(to_images(model.domain.resize_to_input(rendered))[0], study.reconstruction(job, i))
    return row


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
