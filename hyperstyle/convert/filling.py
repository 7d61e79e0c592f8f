"""Tensors of a file made by others -> a network: every tensor used and every place filled, or an error says which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from torch import Tensor, nn

from hyperstyle.errors import WeightsError
from hyperstyle.io.components import check_tensors
from hyperstyle.networks.encoders.backbones import TrunkConfig

__all__ = ["check_rgb", "check_unconditional", "fill", "length", "trunk_config"]

M = TypeVar("M", bound=nn.Module)


def fill(module: M, tensors: Mapping[str, Tensor], *, where: str, prefix: str = "") -> M:
    """A module that was built on the meta device, with these tensors as its own, in float32.

    Float32 tensors are taken as they are, without a copy.

    Args:
        module: on the meta device.
        tensors: by the names that the module gives them.
        where: what messages call the source.
        prefix: what stands before the names in the source, for messages.

    Returns:
        The module, in eval mode and without gradients.

    Raises:
        WeightsError: see `check_tensors`.
    """
    places = module.state_dict()
    check_tensors(places, tensors, where, prefix=prefix)
    module.load_state_dict({n: t.detach().to("cpu", places[n].dtype) for n, t in tensors.items()}, assign=True)
    return module.eval().requires_grad_(False)


def length(tensors: Mapping[str, Tensor], name: str, axis: int) -> int:
    """The size of an axis. A tensor that is not there, or has fewer axes, counts as 1; `fill` reports it."""
    return tensors[name].shape[axis] if name in tensors and tensors[name].ndim > axis else 1


def trunk_config(tensors: Mapping[str, Tensor], published: TrunkConfig, *, stem: str, last: str) -> TrunkConfig:
    """Widths and blocks of a trunk by its tensors; strides, which no tensor shows, are those of the published one.

    Args:
        tensors: by name.
        published: the numbers that no tensor shows.
        stem: name of the first convolution's weight.
        last: name, below `body.N.`, of the last convolution's weight of a block.
    """
    widths: list[int] = []
    blocks: list[int] = []
    count = 0
    while (name := f"body.{count}.{last}") in tensors:
        width = length(tensors, name, 0)
        if widths and widths[-1] == width:
            blocks[-1] += 1
        else:
            widths.append(width)
            blocks.append(1)
        count += 1
    if not count:
        return published
    return replace(published, widths=tuple(widths), blocks=tuple(blocks), stem_kernel=length(tensors, stem, 3))


def check_rgb(channels: int, where: str) -> None:
    """Raises WeightsError where a generator makes images of another number of channels than 3."""
    if channels != 3:
        kinds = {1: "a generator of gray images", 4: "a generator of RGBA images", 12: "a SWAGAN generator"}
        kind = kinds.get(channels, "a generator of other images than RGB")
        raise WeightsError(
            f"{where} is {kind}, with {channels} channel(s): expected 3, as only generators of RGB images convert."
        )


def check_unconditional(classes: int | None, where: str) -> None:
    """Raises WeightsError for a generator with classes."""
    if classes is not None:
        raise WeightsError(
            f"{where} is a class-conditional generator with {classes} class labels: only unconditional "
            "ones are converted."
        )
