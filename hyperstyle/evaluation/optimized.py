"""Rows that optimize every image on its own: W optimization, PTI, and the best offsets that can be found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.evaluation.equivalence import Equivalence, equivalences
from hyperstyle.evaluation.figures import Figures, Point, Progress, Row, cat, mean_point, mean_row, measure, now
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE, synthesize
from hyperstyle.methods.offset_optimization import optimize_offsets
from hyperstyle.methods.optimization import Projection, project
from hyperstyle.methods.pti import PivotalTuning, TuneStep, tune
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.attributes import AttributeNetwork

__all__ = ["Known", "Optimization", "Optimized", "evaluate_optimized", "perceptual_network"]

_RECORDED = (0, 10, 20, 30, 50, 75, 100, 150, 200, 250, 300, 350)  # steps of PTI, beside its last


@dataclass(frozen=True)
class Optimization:
    """Numbers of the rows that optimize.

    Attributes:
        images: how many, the first ones; all where there are fewer.
        projection, tuning, offsets: steps of W optimization, of PTI, and of the search for offsets.
        timed: how many images W optimization and the search for offsets invert one at a time, for the seconds; the
            others go in batches. PTI tunes a generator to one image, so all of its images are timed.
    """

    images: int = 32
    projection: int = 300
    tuning: int = 350
    offsets: int = 350
    timed: int = 3

    def __post_init__(self) -> None:
        if min(self.images, self.projection, self.tuning, self.offsets, self.timed) < 1:
            raise ConfigError(f"{self}: expected numbers from 1 on.")


class Known(NamedTuple):
    """What is measured of a method: figures of all images, seconds of some."""

    figures: Figures
    seconds: Sequence[float]


@dataclass(frozen=True, eq=False)
class Optimized:
    """What `evaluate_optimized` found; all means are over the same images.

    Attributes:
        rows: the methods that were known, then `optimize-w`, `pti` and, with a hypernetwork, `offsets`.
        encoder_over_optimisation: L2 of the W encoder over that of W optimization.
        tuning: PTI over its steps; 0 is the pivot. Seconds are without the search for the pivot.
        equivalence: for each figure; empty without a hypernetwork.
        images: title -> [N,3,H,W] reconstructions.
    """

    rows: tuple[Row, ...]
    encoder_over_optimization: float
    tuning: tuple[Point, ...]
    equivalence: tuple[Equivalence, ...]
    shown: Mapping[str, Tensor]


def perceptual_network(model: Model) -> AttributeNetwork:
    """The network that optimization may use.

    Raises:
        MethodError: the model has none. The evaluator is no substitute: it cannot measure what was made to please it.
    """
    if model.perceptual is None:
        raise MethodError(
            "this model has no perceptual network to optimize against (its evaluator only measures). Use a model with "
            "one, or leave out the rows that optimize (--optimized 0)."
        )
    return model.perceptual


def evaluate_optimized(
    model: Model,
    crops: Tensor,
    codes: Tensor,
    known: Mapping[str, Known],
    settings: Optimization,
    on_progress: Progress | None = None,
) -> Optimized:
    """Inverts the first images by W optimization, PTI and optimized offsets.

    All three minimize the same sum, L2 + the distance of the model's perceptual network. The evaluator, which measures,
    takes no part. What differs from the published methods:

    - `optimize-w`: the projector in W from the mean code. Its published loss is a perceptual distance alone, and it
      fits noise maps too; here only the code moves.
    - `pti`: the pivot is the code of `optimize-w`. All steps are taken, without the published early stop, whose
      threshold belongs to LPIPS. Its seconds are those of tuning plus the median of those of the pivot.
    - `offsets`: relative weight offsets of the hypernetwork's layers, at the W encoder's code. Not a rival but a
      bound: how near offsets come where they are searched for each image, as far as gradient descent finds them.

    Args:
        model: with a perceptual network.
        crops: [N,3,h,w].
        codes: [N,L,D] of the W encoder.
        known: "w-encoder" and perhaps "hyperstyle", on these crops.
        settings: how many images and steps.
        on_progress: called at every step, with images x steps.

    Raises:
        MethodError: the model has no perceptual network.
    """
    network = perceptual_network(model)
    crops, codes = crops[: settings.images], codes[: settings.images]

    to_input = model.domain.as_network_input

    def distance(image: Tensor, target: Tensor) -> Tensor:
        return metrics.perceptual(image.float(), target.float(), network)

    def loss(image: Tensor, target: Tensor) -> Tensor:
        return metrics.l2(image.float(), target.float()) + distance(image, target)

    def find_code(part: slice, tick: _Tick) -> tuple[Tensor, Tensor]:
        numbers = Projection(steps=settings.projection, optimize_noise=False)
        w = project(crops[part], model.generator, loss, numbers, to_input=to_input, callback=tick).w
        return w, _synthesize(model, w)

    def find_offsets(part: slice, tick: _Tick) -> tuple[Tensor, Tensor]:
        layers = () if model.hypernetwork is None else model.hypernetwork.config.layers
        w, steps = codes[part], settings.offsets
        found = optimize_offsets(
            crops[part], w, model.generator, layers, loss, steps=steps, to_input=to_input, callback=tick
        )
        return w, _synthesize(model, w, found)

    trace: list[dict[int, tuple[float, Figures]]] = []

    def tune_generator(part: slice, tick: _Tick) -> tuple[Tensor, Tensor]:
        pivot = by_code.codes[part]
        images: dict[int, tuple[float, Tensor]] = {}  # step -> seconds so far, reconstruction
        began = now(model.device)

        def watch(step: TuneStep) -> None:
            tick(step)
            if step.step in _RECORDED:
                images[step.step] = now(model.device) - began, model.domain.content(step.image)

        numbers = PivotalTuning(steps=settings.tuning, threshold=0.0)
        tuned = tune(crops[part], pivot, model.generator, distance, numbers, to_input=to_input, callback=watch)
        with torch.no_grad():
            image = model.domain.content(tuned(pivot)).float()
        images[settings.tuning] = now(model.device) - began, image
        trace.append({s: (taken, measure(model, seen, crops[part])) for s, (taken, seen) in images.items()})
        return pivot, image

    by_code = _invert(model, crops, "optimize-w", settings.projection, settings.timed, find_code, on_progress)
    by_tuning = _invert(model, crops, "pti", settings.tuning, len(crops), tune_generator, on_progress)
    search = torch.tensor(by_code.seconds, dtype=torch.float64).quantile(0.5).item()
    tuning = tuple(
        mean_point(step, cat(seen[step][1] for seen in trace), [seen[step][0] for seen in trace])
        for step in sorted(trace[0])
    )
    methods = {name: (one.figures, one.seconds) for name, one in known.items()}
    methods["optimize-w"] = by_code.figures, by_code.seconds
    methods["pti"] = by_tuning.figures, [search + seen[settings.tuning][0] for seen in trace]
    shown = {"W optimization": by_code.shown, "PTI": by_tuning.shown}
    if model.hypernetwork is not None:
        by_offsets = _invert(model, crops, "offsets", settings.offsets, settings.timed, find_offsets, on_progress)
        methods["offsets"] = by_offsets.figures, by_offsets.seconds
        shown["offsets (bound)"] = by_offsets.shown
    rows = {name: mean_row(name, figures, seconds, len(crops)) for name, (figures, seconds) in methods.items()}
    return Optimized(
        tuple(rows.values()),
        rows["w-encoder"].l2 / rows["optimize-w"].l2,
        tuning,
        equivalences(rows["hyperstyle"], tuning, search) if "hyperstyle" in rows else (),
        shown,
    )


class _Step(Protocol):
    """What the callbacks of all three methods see."""

    @property
    def step(self) -> int: ...


_Tick = Callable[[_Step], None]


class _Inverted(NamedTuple):
    codes: Tensor  # [N,L,D]
    shown: Tensor  # [N,3,H,W]
    figures: Figures
    seconds: list[float]


def _synthesize(model: Model, w: Tensor, offsets: Mapping[str, Tensor] | None = None) -> Tensor:
    with torch.no_grad():
        return model.domain.content(synthesize(model.generator, model.generator.styles(w), offsets)).float()


def _invert(
    model: Model,
    crops: Tensor,
    name: str,
    steps: int,
    timed: int,
    invert: Callable[[slice, _Tick], tuple[Tensor, Tensor]],
    on_progress: Progress | None,
) -> _Inverted:
    """Inverts the first `timed` crops one at a time, with a clock, and the others in batches."""
    count, singles = len(crops), min(timed, len(crops))
    parts = [slice(i, i + 1) for i in range(singles)]
    parts += [slice(i, min(i + DEFAULT_BATCH_SIZE, count)) for i in range(singles, count, DEFAULT_BATCH_SIZE)]
    made: list[tuple[Tensor, Tensor]] = []
    figures: list[Figures] = []
    seconds: list[float] = []
    for part in parts:

        def tick(step: _Step, part: slice = part) -> None:
            if on_progress is not None:
                size = part.stop - part.start
                on_progress(name, part.start * steps + (step.step + 1) * size, count * steps)

        began = now(model.device)
        made.append(invert(part, tick))
        if len(seconds) < singles:
            seconds.append(now(model.device) - began)
        figures.append(measure(model, made[-1][1], crops[part], ms_ssim=True))
    codes, shown = (torch.cat(tensors) for tensors in zip(*made, strict=True))
    return _Inverted(codes, shown.cpu(), cat(figures), seconds)
