"""Builds networks from the tensors of another program's file; one missing or left over is an error that names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count, groupby, takewhile
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from hyperstyle.errors import WeightsError
from hyperstyle.io.components import check_tensors
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig

M = TypeVar("M", bound=nn.Module)
N_co = TypeVar("N_co", bound=nn.Module, covariant=True)

# Of each kind of trunk: the published numbers, the first convolution, and the last one of a block, below `body.N.`.
_TRUNKS: Mapping[Backbone, tuple[Callable[[], TrunkConfig], str, str]] = {
    "resnet": (TrunkConfig.resnet34, "conv1.weight", "conv2.weight"),
    "irse": (TrunkConfig.irse50, "input_layer.0.weight", "res_layer.3.weight"),
}


@dataclass(frozen=True)
class Converted(Generic[N_co]):
    """A network made from a file, and what became of the tensors of the file.

    Attributes:
        network: with the weights of the file, in eval mode and without gradients.
        consumed: number of tensors that the network was filled with.
        aliases: number of tensors that repeat others (the shared hypernetwork, which official files list per block).
        unread: for each tensor, or group of them, that is not needed: its name, or a sentence about it.
        computed: for each thing that the file lacks and that was computed instead: a sentence about it.
    """

    network: N_co
    consumed: int
    aliases: int = 0
    unread: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()


def without_weights(kind: Callable[[Any], M], config: Any) -> M:
    """`kind(config)` on the meta device, without memory for its weights, for `fill` to give it weights."""
    with torch.device("meta"):
        return kind(config)


def fill(module: M, tensors: Mapping[str, Tensor], *, where: str, prefix: str = "") -> M:
    """Gives a module `without_weights` these tensors as its parameters and buffers, on the CPU and in its own types.

    A tensor that is on the CPU and of the right type (float32 for weights) is not copied.

    Args:
        module: see `without_weights`.
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


def axis_size(tensors: Mapping[str, Tensor], name: str, axis: int) -> int:
    """The size of an axis of the tensor with this name; 1 if there is none, which `fill` reports then."""
    return tensors[name].shape[axis] if name in tensors and tensors[name].ndim > axis else 1


def numbers_in_names(names: Iterable[str], pattern: str) -> set[int]:
    """The numbers that the group of a regular expression finds, in names that begin with it, such as layer numbers."""
    return {int(match[1]) for name in names if (match := re.match(pattern, name))}


def rename_tensors(
    tensors: Mapping[str, Tensor], names: Mapping[str, str | None]
) -> tuple[dict[str, Tensor], list[str]]:
    """(Tensors by the library's names, the file's names of those that are left out).

    Args:
        tensors: by the names of the file.
        names: regular expression for a whole name -> the library's name, which may refer to its groups; None leaves the
            tensor out. The first that matches counts. A name that matches none stays, and `fill` refuses it.
    """
    ours: dict[str, Tensor] = {}
    left_out = []
    for name, tensor in tensors.items():
        our_name: str | None = name
        for pattern, template in names.items():
            if match := re.fullmatch(pattern, name):
                our_name = None if template is None else match.expand(template)
                break
        if our_name is None:
            left_out.append(name)
        else:
            ours[our_name] = tensor
    return ours, left_out


def trunk_of(tensors: Mapping[str, Tensor], backbone: Backbone | None = None) -> tuple[Backbone, TrunkConfig]:
    """The kind of an encoder's trunk, `backbone` unless None, and its configuration.

    Widths, blocks and the kernel of the stem follow from the shapes. The rest, such as strides, is that of the
    published trunk of this kind; so is everything if the tensors include no block.
    """
    if backbone is None:
        backbone = "resnet" if "conv1.weight" in tensors else "irse"
    published, stem, last = _TRUNKS[backbone]
    names = takewhile(tensors.__contains__, (f"body.{number}.{last}" for number in count()))
    stages = [(width, len(list(blocks))) for width, blocks in groupby(axis_size(tensors, name, 0) for name in names)]
    if not stages:
        return backbone, published()
    widths, blocks = zip(*stages, strict=True)
    return backbone, replace(published(), widths=widths, blocks=blocks, stem_kernel=axis_size(tensors, stem, 3))


def check_rgb_unconditional(where: str, *, channels: int = 3, classes: int | None = None) -> None:
    """Raises WeightsError unless a generator makes RGB images and is unconditional.

    Args:
        where: what messages call the source.
        channels: of its images.
        classes: how many labels it takes; None for an unconditional one.
    """
    if channels != 3:
        kinds = {1: "a generator of gray images", 4: "a generator of RGBA images", 12: "a SWAGAN generator"}
        kind = kinds.get(channels, "a generator of other images than RGB")
        raise WeightsError(
            f"{where} is {kind}, with {channels} channel(s): expected 3, as only generators of RGB images convert."
        )
    if classes is not None:
        raise WeightsError(
            f"{where} is a class-conditional generator with {classes} class labels: only unconditional "
            "ones are converted."
        )
