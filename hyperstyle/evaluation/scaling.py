"""How time and memory of inversions and edit strips grow with what they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.cases import SIZES, Case, Implementation, Work, parts_of, peak_in_subprocess, prepared
from hyperstyle.evaluation.ceilings import plain_fits
from hyperstyle.evaluation.figures import Progress, machine
from hyperstyle.evaluation.loading import Spread
from hyperstyle.evaluation.speed import threads_set, timed
from hyperstyle.inverter import HyperStyleInverter

__all__ = ["OVER", "Cost", "Scaling", "measure_scaling"]

OVER: Mapping[str, tuple[int, ...]] = {
    "steps": (0, 1, 2, 3, 5, 10),
    "batch": (1, 2, 4, 8),
    "size": SIZES,
    "edits": (1, 2, 4, 8, 16, 32),
}
"""What costs are measured over, and its values. All else is as in one inversion of one image in five steps; edits
are of one image, its offset codes at hand."""


@dataclass(frozen=True)
class Cost:
    """What one piece of work costs.

    Attributes:
        over, value: what was varied, and how much of it there was.
        way: "fast", the library, or "plain".
        seconds, cpu: of all images, by the clock and of the processor.
        peak: bytes that a process of its own has in memory at most; None where it was not measured.
        built: the same of a process that only builds the model.
    """

    over: str
    value: int
    way: Implementation
    seconds: Spread
    cpu: Spread
    peak: int | None
    built: int | None


@dataclass(frozen=True)
class Scaling:
    """What `measure_scaling` measured: the costs, and what they depend on."""

    weights: str
    repeats: int
    costs: tuple[Cost, ...]
    machine: Mapping[str, Any]


def measure_scaling(
    case: Case,
    over: Sequence[str] = tuple(OVER),
    *,
    values: Mapping[str, Sequence[int]] = OVER,
    plain: bool = False,
    memory: bool = True,
    repeats: int = 3,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Scaling:
    """Measures each value in turn, after a first run that does not count.

    Args:
        case: the model; sizes are of published configurations.
        over: some of `OVER`.
        values: for each of them.
        plain: measure the plain path too, where its memory suffices.
        memory: measure peaks too, each in a process of its own.
        repeats: times to measure.
        threads: of the processor; None leaves them as they are.
        on_progress: see `Progress`.

    Raises:
        ConfigError: something else to measure over, sizes of a given model, or a number below 1. What building the
            model and the plain path raise.
    """
    case.check()
    over = tuple(dict.fromkeys(over))
    if unknown := [name for name in over if name not in OVER]:
        raise ConfigError(f"costs over {unknown[0]!r} are not measured: expected some of {', '.join(OVER)}.")
    if "size" in over and case.model is not None:
        raise ConfigError(f"{case.model!r} has one size: measure it over {', '.join(n for n in OVER if n != 'size')}.")
    if repeats < 1 or (threads is not None and threads < 1):
        raise ConfigError(f"{repeats} repeats, {threads} threads: expected 1 or more.")
    show = on_progress or (lambda *_: None)
    implementations: tuple[Implementation, ...] = ("fast", "plain") if plain else ("fast",)
    # Each model is built once: those of other sizes come last.
    todo = [(name, value) for name in sorted(over, key=lambda name: name == "size") for value in values[name]]
    built: tuple[Case, HyperStyleInverter, int | None] | None = None
    costs: list[Cost] = []
    with threads_set(threads):
        count = torch.get_num_threads()
        for done, (name, value) in enumerate(todo):
            show(f"over {name}", done, len(todo))
            own_case = replace(case, size=value) if name == "size" else case
            work = {
                "steps": Work(steps=value),
                "batch": Work(batch=value),
                "edits": Work(edits=value),
                "size": Work(),
            }[name]
            if built is None or built[0] != own_case:
                built = None  # two models would share the memory
                built_peak = peak_in_subprocess(own_case, None, work, count) if memory else None
                built = own_case, own_case.build(), built_peak
            _, inverter, least = built
            for implementation in implementations:
                if implementation == "plain" and not plain_fits(parts_of(inverter), work.batch):
                    continue
                run = prepared(implementation, inverter, work)
                run()
                durations = [timed(run, inverter.model.device)[1:] for _ in range(repeats)]
                seconds, cpu = (Spread.of([duration[k] for duration in durations]) for k in (0, 1))
                peak = peak_in_subprocess(own_case, implementation, work, count) if memory else None
                costs.append(Cost(name, value, implementation, seconds, cpu, peak, least))
        if built is None:
            raise ConfigError("nothing to measure: expected values to measure over.")
        about_machine = machine(built[1].model)
    return Scaling(case.words, repeats, tuple(costs), about_machine)
