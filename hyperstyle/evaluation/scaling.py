"""How time and memory of inversions and edit strips grow with what they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.cases import (
    SIZES,
    Case,
    Implementation,
    Workload,
    build_run,
    parts_of,
    peak_in_subprocess,
    time_call,
)
from hyperstyle.evaluation.ceilings import plain_fits
from hyperstyle.evaluation.figures import Progress, machine
from hyperstyle.evaluation.journal import Record
from hyperstyle.evaluation.loading import spread
from hyperstyle.inverter import HyperStyleInverter

OVER: Mapping[str, tuple[int, ...]] = {
    "steps": (0, 1, 2, 3, 5, 10),
    "batch": (1, 2, 4, 8),
    "size": SIZES,
    "edits": (1, 2, 4, 8, 16, 32),
}
"""What costs are measured over, and its values. All else is as in one inversion of one image in five steps; edits
are of one image, its offset codes at hand."""


def measure_scaling(
    case: Case,
    over: Sequence[str] = tuple(OVER),
    *,
    plain: bool = False,
    memory: bool = True,
    on_progress: Progress | None = None,
) -> Record:
    """Measures each value in turn, after a first run that does not count.

    Args:
        case: the model; sizes are of published configurations.
        over: some of `OVER`.
        plain: measure the plain path too, where its memory suffices.
        memory: measure peaks too, each in a process of its own.
        on_progress: see `Progress`.

    Returns:
        What was measured: "weights" and "machine", what the figures depend on, "repeats", and "costs", one for each
        piece of work:

        "over", "value": what was varied, and how much of it there was.
        "way": "fast", the library, or "plain".
        "seconds", "cpu": of all images, by the clock and of the processor, see `spread`.
        "peak": bytes that a process of its own has in memory at most; None where it was not measured.
        "built": the same of a process that only builds the model.

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
    if not over:
        raise ConfigError("nothing to measure: expected values to measure over.")
    show = on_progress or (lambda *_: None)
    implementations: tuple[Implementation, ...] = ("fast", "plain") if plain else ("fast",)
    todo: dict[Case, list[tuple[str, int]]] = {}  # each model is built once
    for name in over:
        for value in OVER[name]:
            todo.setdefault(replace(case, size=value) if name == "size" else case, []).append((name, value))
    total, done = sum(map(len, todo.values())), 0
    costs: list[Record] = []
    with case.with_threads():
        for model_case, values in todo.items():
            built = peak_in_subprocess(model_case, None, Workload()) if memory else None
            inverter = model_case.build()
            about = machine(inverter.model)
            for name, value in values:
                show(f"over {name}", done, total)
                varied = {
                    "steps": Workload(steps=value),
                    "batch": Workload(batch=value),
                    "edits": Workload(edits=value),
                }
                work = varied.get(name, Workload())
                for implementation in implementations:
                    if implementation == "plain" and not plain_fits(parts_of(inverter), work.batch):
                        continue
                    cost: Record = {"over": name, "value": value, "way": implementation}
                    cost |= _seconds(model_case, inverter, implementation, work)
                    cost["peak"] = peak_in_subprocess(model_case, implementation, work) if memory else None
                    costs.append(cost | {"built": built})
                done += 1
            del inverter  # two models would share the memory
    costs.sort(key=lambda cost: (over.index(cost["over"]), cost["value"]))
    return {"weights": case.weights, "repeats": case.repeat, "costs": costs, "machine": about}


def _seconds(case: Case, inverter: HyperStyleInverter, implementation: Implementation, work: Workload) -> Record:
    run = build_run(implementation, inverter, work)
    run()
    durations = [time_call(run, inverter.model.device)[1:] for _ in range(case.repeat)]
    return {name: spread([pair[k] for pair in durations]) for k, name in enumerate(("seconds", "cpu"))}
