"""What `hyperstyle bench` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperstyle.evaluation.loading import Loading, Spread
    from hyperstyle.evaluation.scaling import Scaling
    from hyperstyle.evaluation.speed_figures import Error, Speed

__all__ = ["loading_lines", "scaling_lines", "speed_lines"]


def speed_lines(result: Speed) -> Iterator[str]:
    """The rows of two paths as a table, and a line for everything else."""
    yield f"{result.size} px, T={result.steps}, batch {result.batch}, {result.weights}"
    if result.pairs:
        yield f"seconds for each image, medians of {result.repeats} pairs of runs, smallest and largest"
        heads = " ".join(f"{head:>22}" for head in ("library", "plain path", "times as fast"))
        yield f"  {'':<16} {heads} {'by cpu':>7} {'GFLOP/s':>8} {'share':>6}"
    for pair in result.pairs:
        times = " ".join(f"{_spread(value, 1):>22}" for value in (pair.fast, pair.plain, pair.ratio))
        yield (
            f"  {pair.name:<16} {times} {pair.cpu_ratio.median:>7.2f} {pair.gflops:>8.0f} {pair.arithmetic_share:>6.0%}"
        )
    for pair in result.pairs:
        if not pair.together:
            yield f"  {pair.name}: the plain path one by one; {pair.pictures} at once might not fit into memory"
    for name, reason in result.missing.items():
        yield f"  {name}: not measured, {reason}"
    for what, value in result.agreement.items():
        yield f"{'largest difference in float32, ' + what:<36} {value:.1e}"
    for dtype, errors in result.errors.items():
        for what, error in errors.items():
            yield f"{'error of ' + dtype + ', ' + what:<36} {_error(error)}"
    if result.memory is not None:
        ratio = result.memory.above_weights_ratio
        above = "" if ratio is None else f"; above the weights {ratio:.2f} of it"
        yield (
            f"{'peak memory in GiB':<36} {_gib(result.memory.built)} built, {_gib(result.memory.fast)} library, "
            f"{_gib(result.memory.plain)} plain path{above}"
        )
    for rate in result.rates:
        yield (
            f"{rate.dtype + ', batch ' + str(rate.batch):<36} {rate.pictures_per_second:.2f} images/s, "
            f"{1e3 * rate.seconds.median:.1f} ms a batch, {1e3 * rate.networks.median:.1f} ms of it the networks"
        )
    for name, most in result.ceilings.items():
        unit = "GB/s of copies" if name == "memory" else "GFLOP/s of a 3x3 convolution"
        yield f"{'the most here, ' + name:<36} {most / 1e9:.0f} {unit}"
    yield "machine: " + ", ".join(f"{name} {value}" for name, value in result.machine.items())


def _error(error: Error) -> str:
    values = (
        ("at most", error.largest, ".4f"),
        ("mean", error.mean, ".5f"),
        ("PSNR in dB", error.psnr, ".1f"),
        ("identity", error.identity, ".4f"),
    )
    return ", ".join(f"{name} {value:{form}}" for name, value, form in values if value is not None) or "not finite"


def scaling_lines(result: Scaling) -> Iterator[str]:
    """A line for each cost."""
    yield f"{result.weights}; seconds, medians of {result.repeats}, smallest and largest; peak memory"
    for cost in result.costs:
        name = {"fast": "library"}.get(cost.way, cost.way)
        peak = "" if cost.peak is None else f" {_gib(cost.peak):>8} GiB"
        yield f"  {cost.over:<6} {cost.value:>5} {name:<8} {_spread(cost.seconds, 1):>24} s{peak}"
    yield "machine: " + ", ".join(f"{name} {value}" for name, value in result.machine.items())


def loading_lines(result: Loading) -> Iterator[str]:
    """A line for each figure."""
    yield f"{result.model}: {_gib(result.weights)} GiB of weights; medians of {result.repeats}, smallest and largest"
    rows = (
        ("load the model folder", result.seconds),
        ("torch.load of the official files", result.official_seconds),
        ("the same with mmap=True", result.official_mapped_seconds),
    )
    for name, seconds in rows:
        if seconds is not None:
            yield f"  {name:<34} {_spread(seconds, 1)} s"
    for name, peak in (
        ("peak memory of the imports", result.imported),
        ("peak memory after loading", result.loaded),
        (f"peak memory after T={result.steps}, one image", result.inverted),
    ):
        yield f"  {name:<34} " + ("not known on this system" if peak is None else f"{_spread(peak, 1 << 30)} GiB")
    if result.share is not None:
        yield f"  {'share of the weights in it':<34} {result.share:.0%}"
    yield "machine: " + ", ".join(f"{name} {value}" for name, value in result.machine.items())


def _spread(values: Spread, unit: int) -> str:
    return f"{values.median / unit:.2f} ({values.low / unit:.2f} to {values.high / unit:.2f})"


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f}"
