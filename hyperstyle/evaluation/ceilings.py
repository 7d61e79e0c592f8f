"""What an inversion needs at least, in operations and bytes, and how much of both a machine does in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from hyperstyle.domain import Domain
from hyperstyle.evaluation.cases import Parts, Workload
from hyperstyle.evaluation.figures import now
from hyperstyle.networks import reference
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.stylegan2.generator import Generator

_MOST = 24 << 30  # bytes that a measurement takes of a computer's memory
_SECONDS = 1.0  # that a ceiling is measured


def operations(parts: Parts, domain: Domain, work: Workload) -> int:
    """Operations of the plain path's convolutions and matrix products, two for each multiply-add; nothing is computed.

    Strips have no encoder and no hypernetwork in them: the plain path has dense offsets at hand.
    """
    with torch.device("meta"):
        encoder, generator = WEncoder(parts[0].config).eval(), Generator(parts[1].config).eval()
        hypernetwork = Hypernetwork(parts[2].config).eval()
        crop = torch.empty(1, 3, *encoder.config.input_size)
        w = torch.empty(1, generator.config.rows, generator.config.latent_width)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            if work.edits:
                reference.synthesize(generator, w)
            else:
                reference.invert(encoder, generator, hypernetwork, domain.as_network_input, crop, work.steps)
    return counter.get_total_flops() * work.images


def least_bytes(parts: Parts, work: Workload) -> int:
    """Bytes that must come from memory and go there: every weight read once a pass, every map of the generator
    written once and read once."""
    encoder, generator, hypernetwork = (sum(t.nbytes for t in network.parameters()) for network in parts)
    maps = 2 * sum(s.channels_out * s.resolution**2 for s in parts[1].layers) * parts[1].latent_avg.element_size()
    if work.edits:
        return generator + work.edits * maps
    return encoder + work.steps * hypernetwork + (1 + work.steps) * (generator + work.batch * maps)


def arithmetic_ceiling(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of the best of many 3x3 convolutions, 512 to 512 channels at 64 px, channels last."""
    batch = 32 if device.type == "cuda" else 1
    x = torch.ones(batch, 512, 64, 64, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(512, 512, 3, 3, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    return 2.0 * 512 * 512 * 9 * 64 * 64 * batch / _best(lambda: F.conv2d(x, weight, padding=1), device)


def memory_ceiling(device: torch.device) -> float:
    """Bytes per second, read and written, of the best of many copies of 256 MB."""
    source = torch.zeros(64 << 20, device=device)
    target = torch.empty_like(source)
    return 2.0 * source.nbytes / _best(lambda: target.copy_(source), device)


def _best(function: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest call, the first two left out."""
    for _ in range(2):
        function()
    durations: list[float] = []
    end = now(device) + _SECONDS
    while not durations or now(device) < end:
        start = now(device)
        function()
        durations.append(now(device) - start)
    return min(durations)


def plain_fits(parts: Parts, batch: int) -> bool:
    """Whether the plain path has the memory to invert so many images at once, by a generous estimate."""
    table, device = parts[1].layers, parts[1].latent_avg.device
    largest = max(s.channels_out * s.resolution**2 for s in table)
    dense = sum(s.channels_out * s.channels_in * s.kernel**2 for s in table if s.name in parts[2].config.layers)
    needed = batch * (12 * largest + 3 * dense) * 4
    return needed < (torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else min(_MOST, _free()))


def _free() -> int:
    """Bytes of memory that programs can still get; a generous number where the system does not tell."""
    table = Path("/proc/meminfo")
    if table.is_file():
        for line in table.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return _MOST


def without_bfloat16(device: torch.device) -> str | None:
    """Why bfloat16 is not measured on this device; None where it has instructions for it."""
    if device.type == "cuda":
        return None if torch.cuda.get_device_capability(device) >= (8, 0) else "this GPU has no bfloat16 instructions"
    table = Path("/proc/cpuinfo")
    if table.is_file():
        words = set(table.read_text(encoding="utf-8", errors="replace").split())
        return None if words & {"avx512_bf16", "amx_bf16", "bf16"} else "this processor has no bfloat16 instructions"
    return "this system does not tell whether its processor has bfloat16 instructions"
