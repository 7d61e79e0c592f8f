"""HyperStyle checkpoints in the official layout -> the hypernetwork; domain and steps from their options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from hyperstyle.convert.filling import Converted, axis_size, fill, trunk_config, without_weights
from hyperstyle.convert.sniff import SniffedFile
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, layer_table

__all__ = ["domain_name", "hypernetwork", "steps_of"]

# What the official names of data sets contain, and the domain that each is.
_DATA_SETS = {"ffhq": "faces", "celeba": "faces", "cars": "cars", "wild": "wild", "afhq": "wild", "church": "churches"}

_HEADS: Mapping[str, Literal["shared", "separable"]] = {
    "SharedWeightsHyperNetResNet": "shared",
    "SharedWeightsHyperNetResNetSeparable": "separable",
}


def domain_name(file: SniffedFile) -> str | None:
    """The name of the domain by the options of a file; None where they do not say it."""
    data = file.opts.get("dataset_type")
    if not isinstance(data, str):
        return None
    return next((name for mark, name in _DATA_SETS.items() if mark in data.lower()), None)


def steps_of(file: SniffedFile) -> int | None:
    """How many refinement steps a file was trained with; None where its options do not say it."""
    steps = file.opts.get("n_iters_per_batch")
    return steps if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else None


def hypernetwork(file: SniffedFile, generator: GeneratorConfig, input_size: tuple[int, int]) -> Converted[Hypernetwork]:
    """The hypernetwork of a HyperStyle file, for a generator with these numbers.

    Kind of heads and tuned layers are those of the options, or of the tensors where there are no options.

    Args:
        file: it.
        generator: of the file.
        input_size: (height, width) of the crop in pixels; the domain's.

    Raises:
        CheckpointError: options that name an unknown kind of hypernetwork or no layers.
        WeightsError: see `fill`; or the shared tensors, which the file holds once per block, differ from each other.
    """
    where = str(file.path)
    state = file.part("hypernet.")
    aliases = _without_aliases(state, where)
    shared = "shared_weight_hypernet.w1"
    last = [name for name in state if re.fullmatch(r"refinement_blocks\.\d+\.convs\.0\.weight", name)]
    code_width = axis_size(state, shared, 0) if shared in state else axis_size(state, _last_conv(state, last), 0)
    config = HypernetworkConfig(
        generator,
        _layers(file, state, generator),
        input_size,
        trunk_config(state, "resnet"),
        _heads(file, state),
        code_width,
    )
    network = without_weights(Hypernetwork, config)
    unread: tuple[str, ...] = ()
    if network.shared_weight_hypernet is None:  # the official code makes it even where no layer uses it
        unread = tuple(name for name in state if name.startswith("shared_weight_hypernet."))
        state = {name: tensor for name, tensor in state.items() if name not in unread}
    fill(network, state, where=where, prefix="hypernet.")
    return Converted(network, len(state), aliases, tuple(f"hypernet.{name}" for name in unread))


def _without_aliases(state: dict[str, Tensor], where: str) -> int:
    """Takes `refinement_blocks.N.hypernet.*` out, which are the shared tensors once more; returns how many they were.

    Raises:
        WeightsError: one of them is not the shared tensor.
    """
    names = [name for name in state if re.match(r"refinement_blocks\.\d+\.hypernet\.", name)]
    for name in names:
        original = "shared_weight_hypernet." + name.rsplit(".", 1)[1]
        tensor, shared = state.pop(name), state.get(original)
        same = shared is not None and tensor.shape == shared.shape and tensor.dtype == shared.dtype
        if same and shared is not None and tensor.data_ptr() != shared.data_ptr():
            same = torch.equal(tensor, shared)
        if not same:
            raise WeightsError(
                f"{where}: 'hypernet.{name}' is not equal to 'hypernet.{original}', which all blocks share: the file "
                "was altered or is damaged."
            )
    return len(names)


def _heads(file: SniffedFile, state: Mapping[str, Tensor]) -> Literal["shared", "separable"]:
    kind = file.opts.get("encoder_type")
    if kind is None:
        return "separable" if any(".make_kernel_in." in name for name in state) else "shared"
    if not isinstance(kind, str) or kind not in _HEADS:
        raise CheckpointError(
            f"{file.path}: encoder_type is {kind!r}: expected one of {', '.join(_HEADS)} for a HyperStyle file."
        )
    return _HEADS[kind]


def _layers(file: SniffedFile, state: Mapping[str, Tensor], generator: GeneratorConfig) -> tuple[str, ...]:
    """Names of the tuned layers: "" means all, and indexes beyond the last layer mean nothing, as officially."""
    table = layer_table(generator)
    written: Any = file.opts.get("layers_to_tune")
    if isinstance(written, str):
        if not re.fullmatch(r"\s*(\d+\s*(,\s*\d+\s*)*)?", written):
            raise CheckpointError(f"{file.path}: layers_to_tune is {written!r}: expected numbers with commas.")
        written = [int(number) for number in written.split(",")] if written.strip() else [s.index for s in table]
    if not isinstance(written, list | tuple):
        matches = (re.match(r"refinement_blocks\.(\d{1,3})\.", name) for name in state)
        written = {int(match[1]) for match in matches if match}
    names = tuple(spec.name for spec in table if spec.index in written)
    if not names:
        raise CheckpointError(f"{file.path}: layers_to_tune names no layer of a generator of {generator.size} px.")
    return names


def _last_conv(state: Mapping[str, Tensor], first: list[str]) -> str:
    """Name of the last convolution of the refinement block whose first convolution is `first[0]`."""
    start = first[0].removesuffix("0.weight") if first else ""
    return max((name for name in state if name.startswith(start) and name.endswith(".weight")), default="")
