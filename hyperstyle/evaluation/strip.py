"""What a strip of edits of one picture costs: with shared weights, and one call for each picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Literal

import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, HyperStyleError
from hyperstyle.evaluation.figures import machine, now
from hyperstyle.evaluation.loading import Spread
from hyperstyle.files import peak_memory
from hyperstyle.model import Model
from hyperstyle.networks.codes import OffsetCodes
from hyperstyle.networks.generator import Generator, GeneratorConfig
from hyperstyle.networks.hypernetwork import Hypernetwork, HypernetworkConfig
from hyperstyle.synthesis import pictures

__all__ = ["StripCost", "measure_strip"]

Way = Literal["strip", "singles"]


@dataclass(frozen=True)
class StripCost:
    """What `measure_strip` found.

    Attributes:
        size: side of the pictures in pixels.
        count: pictures of the strip.
        strip, singles: wall seconds for all of them, in one call and in one call for each, measured in turn.
        cpu: the same as seconds of processor time, which other programs disturb less: (strip, singles).
        gain: `singles` through `strip`, of the medians.
        difference: largest difference between the two in a value of the pictures, and the deviation of these values.
        built, strip_peak, singles_peak: peak resident memory in bytes of a process that builds the networks, that does
            so and draws the strip, or the singles; None where the system does not tell.
        repeats: how often each was measured.
        machine: what the figures depend on.
    """

    size: int
    count: int
    strip: Spread
    singles: Spread
    cpu: tuple[Spread, Spread]
    gain: float
    difference: tuple[float, float]
    built: int | None
    strip_peak: int | None
    singles_peak: int | None
    repeats: int
    machine: dict[str, Any]


def measure_strip(
    size: int = 1024,
    *,
    count: int = 11,
    repeats: int = 3,
    threads: int = 1,
    device: str = "cpu",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> StripCost:
    """Draws `count` edits of one picture by the published generator and hypernetwork, with random weights, both ways.

    Both begin with the codes: offsets and weights are part of what is measured.

    Args:
        size: 256, 512 or 1024, the published configurations.
        count: pictures of the strip.
        repeats: how often; strip and singles in turn, in one process.
        threads: of the processor.
        device: where the networks are.
        on_progress: see `Progress`.

    Raises:
        ConfigError: a size that no published generator has, or a number below 1 (2 for `count`).
        HyperStyleError: a process that was ended from outside.
    """
    if size not in (256, 512, 1024):
        raise ConfigError(f"a strip of {size} px: expected 256, 512 or 1024, the published sizes.")
    if count < 2 or min(repeats, threads) < 1:
        raise ConfigError(f"{count} pictures, {repeats} repeats, {threads} threads: expected 2, 1 and 1, or more.")
    show = on_progress or (lambda *_: None)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model, w, codes = _case(size, count, device)
        for way in ("strip", "singles"):
            _drawn(way, model, w[:2], codes.apply(lambda t: t[:2]))  # what is only done the first time
        taken: dict[Way, list[tuple[float, float]]] = {"strip": [], "singles": []}
        last: dict[Way, Tensor] = {}
        for turn in range(repeats):
            for place, way in enumerate(taken):
                show("drawing", 2 * turn + place, 2 * repeats)
                start, cpu = now(model.device), time.process_time()
                last[way] = _drawn(way, model, w, codes)
                taken[way].append((now(model.device) - start, time.process_time() - cpu))
        found = machine(model)
    finally:
        torch.set_num_threads(before)
    show("memory", 0, 3)
    peaks: list[int | None] = []
    for way_or_none in (None, "strip", "singles"):
        peaks.append(_alone(size, count, threads, device, way_or_none))
        show("memory", len(peaks), 3)
    strip, singles = ([Spread.of(values) for values in zip(*taken[way], strict=True)] for way in taken)
    difference = float((last["strip"] - last["singles"]).abs().max()), float(last["singles"].std())
    return StripCost(
        size=size,
        count=count,
        strip=strip[0],
        singles=singles[0],
        cpu=(strip[1], singles[1]),
        gain=singles[0].median / strip[0].median,
        difference=difference,
        built=peaks[0],
        strip_peak=peaks[1],
        singles_peak=peaks[2],
        repeats=repeats,
        machine=found,
    )


def _case(size: int, count: int, device: str) -> tuple[Model, Tensor, OffsetCodes]:
    """The networks with random weights, codes [N,L,D] that differ from each other, and one picture's offset codes."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.official(size))
    hypernetwork = Hypernetwork(HypernetworkConfig.official(size))
    for network in (generator, hypernetwork):
        network.eval().requires_grad_(False).to(device)
    model = Model(generator, Domain("random", size, (256, 256)), hypernetwork=hypernetwork)
    width = generator.config.latent_width
    w = generator.mapping(torch.randn(1, width, device=device)) + 0.3 * torch.randn(count, width, device=device)
    sums = {name: 0.05 * torch.randn(1, width, device=device) for name in hypernetwork.config.layers}
    codes = OffsetCodes(sums, {}, torch.full((1, 1), 5.0, device=device))
    return model, generator.broadcast(w), codes.apply(lambda t: t.expand(count, -1))


def _drawn(way: Way, model: Model, w: Tensor, codes: OffsetCodes) -> Tensor:
    if way == "strip":
        return pictures(model, w, {}, codes)
    rows = [slice(i, i + 1) for i in range(len(w))]
    return torch.cat([pictures(model, w[row], {}, codes.apply(lambda t, row=row: t[row])) for row in rows])  # type: ignore[misc]


def _alone(size: int, count: int, threads: int, device: str, way: Way | None) -> int | None:
    """Peak memory of a new process that draws this way."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_peak, size, count, threads, device, way).result()
        except BrokenProcessPool as error:
            raise HyperStyleError(
                "the process that measured was ended from outside; most often, the memory was full."
            ) from error


def _peak(size: int, count: int, threads: int, device: str, way: Way | None) -> int | None:
    torch.set_num_threads(threads)
    model, w, codes = _case(size, count, device)
    if way is not None:
        _drawn(way, model, w, codes)
    return peak_memory()
