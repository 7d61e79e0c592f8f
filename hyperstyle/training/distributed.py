"""Several processes that train one network (`torchrun`): each takes a share of every batch, gradients are averaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from hyperstyle.errors import ConfigError

__all__ = ["average_gradients", "gathered", "join", "on_first", "rank", "share", "world"]


def join() -> None:
    """Joins the other processes of a `torchrun`; does nothing in a process that was started alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


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
    if world() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world()
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def gathered(part: Tensor) -> Tensor:
    """The parts [n,...] of all processes, equally long, in the order of their numbers: [world * n,...]."""
    if world() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(world())]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)


def on_first(action: Callable[[], None]) -> None:
    """Runs `action` in the first process; the others wait until it is done."""
    if rank() == 0:
        action()
    if world() > 1:
        dist.barrier()
