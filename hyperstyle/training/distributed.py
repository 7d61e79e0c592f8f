"""Several processes that train one network (`torchrun`): each takes a share of every batch, gradients are averaged.

DistributedDataParallel is not used. It averages in every backward call, which for a hypernetwork is T times the
traffic; and it fails for R1, whose penalty gives the last bias of a discriminator no gradient: with PyTorch 2.15 the
next call raises, even with `find_unused_parameters`, and with `static_graph` gradients are not averaged. So gradients
are averaged here, once per optimizer step.
"""

from __future__ import annotations

import atexit
import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

_BUCKET = 1 << 24  # values that are averaged at a time: 64 MB
_TIMEOUT = timedelta(hours=2)  # while the first process evaluates and writes, the others wait


def join(device: torch.device | None = None) -> None:
    """Joins the other processes of a `torchrun`; does nothing in a single process.

    Args:
        device: of this process: NCCL for CUDA, Gloo for others. None is CUDA where it is available.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        cuda = torch.cuda.is_available() if device is None else device.type == "cuda"
        # PyTorch imports this module at the first step of an optimizer. Its functions have the process group of that
        # moment as a default argument: the group would never be destroyed. Imported here, they have none.
        importlib.import_module("torch.distributed.nn.functional")
        dist.init_process_group("nccl" if cuda else "gloo", timeout=_TIMEOUT)
        atexit.register(dist.destroy_process_group)  # threads still running at exit would abort the process


def rank() -> int:
    """This process's number, 0 for the first or only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


@torch.no_grad()
def average_tensors(tensors: Iterable[Tensor]) -> None:
    """Replaces each tensor by its mean over the processes. All have the same tensors, of one type and device."""
    if world() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([t.flatten() for t in bucket])
        dist.all_reduce(flat)
        flat /= world()
        for tensor, mean in zip(bucket, torch.split(flat, [t.numel() for t in bucket]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def average_figures(figures: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """The mean of each figure over the processes, which have figures of the same names."""
    values = torch.tensor(list(figures.values()), dtype=torch.float32, device=device)  # not every device has float64
    average_tensors([values])
    return dict(zip(figures, values.tolist(), strict=True)) if world() > 1 else dict(figures)


def gather(part: Tensor) -> Tensor:
    """[n,...] of each process -> [world * n,...], concatenated in the order of ranks."""
    if world() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(world())]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def merge(entries: Mapping[str, str]) -> dict[str, str]:
    """The union of the entries of all processes."""
    parts: list[Mapping[str, str]] = [entries] * world()
    if world() > 1:
        dist.all_gather_object(parts, dict(entries))
    return {name: text for part in parts for name, text in part.items()}


def on_first(action: Callable[[], object]) -> None:
    """Runs `action` in the first process; the others wait until it is done."""
    if rank() == 0:
        action()
    if world() > 1:
        dist.barrier()
