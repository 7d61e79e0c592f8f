"""Which methods a report measures, on how many images: checked before the first of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.engine import Job, Trial, check_trials, is_feed_forward
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.registry import by_networks
from hyperstyle.model.parts import Model, fingerprint

__all__ = ["ONE_STEP", "check_ablations", "identified", "jobs_of"]

ONE_STEP = "hyperstyle:1"
"""The row of Table 3 that is the model stopped after its first step."""


def identified(model: Model) -> str:
    """What changes with any weight of a model's networks, and with its steps."""
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
    check_trials(model, trials)
    check_ablations(list(ablations))
    names = [str(trial) for trial in trials]
    jobs, identity = [], identified(model)
    for trial in trials:
        count = images if is_feed_forward(model, trial.method) else min(optimized, images)
        if not count:
            raise ConfigError(f"{trial} optimizes each image on its own: say with --optimized N how many it may take.")
        jobs.append(Job.of(trial, inverter, count, edited=min(edited, count), model=identity))
    if "hyperstyle" in names and model.steps > 1 and ONE_STEP not in names:  # a row that costs next to nothing
        jobs.append(Job.of(Trial.of(ONE_STEP), inverter, images, model=identity))
    folders = {job.folder.lower(): job.label for job in jobs}
    for name, ablation in ablations.items():
        job = _ablation(name, ablation, images)
        if job.inverter.model.domain.input_size != model.domain.input_size:
            raise ConfigError(
                f"ablation {name!r} sees images of {ablation.model.domain.input_size} px, this model "
                f"{model.domain.input_size}: expected the same."
            )
        if (other := folders.setdefault(job.folder.lower(), name)) != name:
            raise ConfigError(
                f"ablation {name!r} would keep its reconstructions in the folder of {other!r}: choose another name."
            )
        jobs.append(job)
    return jobs


def _ablation(name: str, inverter: HyperStyleInverter, images: int) -> Job:
    """The best method of another model. Raises ConfigError for one without any."""
    methods = by_networks(inverter.model)
    if not methods:
        raise ConfigError(f"ablation {name!r} has no network that inverts. Name a model with an encoder.")
    return Job(name, inverter, methods[0], None, images, model=identified(inverter.model))
