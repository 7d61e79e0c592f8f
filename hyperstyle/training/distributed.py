"""Several processes that train one network (`torchrun`): each takes a share of every batch, gradients are averaged.

DistributedDataParallel, which averages in every backward call, gives the same gradients of a hypernetwork, at T times
the traffic unless each of T passes is told whether it is the last one; but not those of R1, whose penalty leaves the
last bias of a discriminator without a gradient: with PyTorch 2.15 the next call raises, with `find_unused_parameters`
too, and with `static_graph` the gradients stay those of one process. So it is done here for all, once for each step.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from hyperstyle.errors import ConfigError

__all__ = [
    "average",
    "average_figures",
    "average_gradients",
    "gathered",
    "join",
    "joined",
    "local_rank",
    "on_first",
    "rank",
    "share",
    "world",
]

_BUCKET = 1 << 24  # values that are averaged at a time: 64 MB
_PATIENCE = timedelta(hours=2)  # while the first process evaluates and writes, the others wait


def join(device: torch.device | None = None) -> None:
    """Joins the other processes of a `torchrun`; does nothing in a process that was started alone.

    Args:
        device: where this process computes: CUDA is joined by NCCL, anything else by Gloo. None is CUDA where there is
            one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        cuda = torch.cuda.is_available() if device is None else device.type == "cuda"
        dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
        atexit.register(_leave)  # threads that are left at the end of a process abort it


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def local_rank() -> int:
    """This process's number on its machine, as `torchrun` gives it: its CUDA device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def rank() -> int:
    """This process's number, 0 for the first or only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(index: Tensor) -> Tensor:
    """This process's part of a batch of indices [N]; the parts are equally long, so that means can be averaged.

    Raises:
        ConfigError: N is no multiple of the number of processes.
    """
    if len(index) % world():
        raise ConfigError(f"a batch of {len(index)} for {world()} processes: expected a multiple.")
    return index[rank() :: world()]


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces every gradient by its mean over the processes, which is that of the whole batch."""
    average(p.grad for p in parameters if p.grad is not None)


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Replaces every tensor, of one type and device, by its mean over the processes; they have the same ones."""
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
    """The means over the processes, which have figures of the same names."""
    values = torch.tensor(list(figures.values()), dtype=torch.float32, device=device)  # not every device has float64
    average([values])
    return dict(zip(figures, values.tolist(), strict=True)) if world() > 1 else dict(figures)


def gathered(part: Tensor) -> Tensor:
    """The parts [n,...] of all processes, equally long, in the order of their numbers: [world * n,...]."""
    if world() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(world())]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def joined(entries: Mapping[str, str]) -> dict[str, str]:
    """What each process knows, by name, as all know it together."""
    parts: list[Mapping[str, str]] = [entries] * world()
    if world() > 1:
        dist.all_gather_object(parts, dict(entries))
    return {name: text for part in parts for name, text in part.items()}


def on_first(action: Callable[[], None]) -> None:
    """Runs `action` in the first process; the others wait until it is done."""
    if rank() == 0:
        action()
    if world() > 1:
        dist.barrier()
