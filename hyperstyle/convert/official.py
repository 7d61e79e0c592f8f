"""HyperStyle, encoder and HyperInverter files in the official layouts -> networks; domain and steps by the options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from hyperstyle.convert.filling import Converted, axis_size, fill, numbers_in_names, trunk_of, without_weights
from hyperstyle.convert.generators import mean_row
from hyperstyle.convert.sniff import SniffedFile, by_encoder_type
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.io.components import check_finite
from hyperstyle.networks.encoders.pyramid import (
    PyramidEncoder,
    PyramidEncoderConfig,
    RestyleEncoder,
    RestyleEncoderConfig,
)
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, layer_table

# What the official names of data sets contain, and the domain that each is.
_DATA_SETS = {"ffhq": "faces", "celeba": "faces", "cars": "cars", "wild": "wild", "afhq": "wild", "church": "churches"}

_HEADS: Mapping[str, Literal["shared", "separable"]] = {
    "SharedWeightsHyperNetResNet": "shared",
    "SharedWeightsHyperNetResNetSeparable": "separable",
}
# ReStyle's encoder_type -> whether it is of ReStyle-e4e, which adds its rows to the first one.
_RESTYLE_TYPES = {
    "ProgressiveBackboneEncoder": True,
    "ResNetProgressiveBackboneEncoder": True,
    "BackboneEncoder": False,
    "ResNetBackboneEncoder": False,
}
# Other networks in these files, which are not read, and why.
_LEFT = {
    "w_encoder.": "its W encoder ({} tensors; the encoder's own file is read, as by the official code)",
    "discriminator.": "its discriminator ({} tensors)",
}


def domain_name(file: SniffedFile) -> str | None:
    """The name of the domain, such as "faces", by the data set in the options of a file; None where they name none."""
    data = file.opts.get("dataset_type")
    if not isinstance(data, str):
        return None
    return next((name for mark, name in _DATA_SETS.items() if mark in data.lower()), None)


def steps_of(file: SniffedFile) -> int | None:
    """How many refinement steps a file was trained with; None where its options do not say it."""
    steps = file.opts.get("n_iters_per_batch")
    return steps if isinstance(steps, int) and not isinstance(steps, bool) and steps > 0 else None


def convert_hypernetwork(
    file: SniffedFile, generator: GeneratorConfig, input_size: tuple[int, int]
) -> Converted[Hypernetwork]:
    """The hypernetwork of a HyperStyle file.

    Kind of heads and tuned layers are those of the options, or of the tensors where there are no options.

    Args:
        file: of the kind "hyperstyle".
        generator: the configuration of the generator whose weights it changes.
        input_size: (height, width) of the crop in pixels; the domain's.

    Raises:
        CheckpointError: options that name an unknown kind of hypernetwork or no layers.
        WeightsError: see `fill`; or the shared tensors, which the file holds once per block, differ from each other.
    """
    where = str(file.path)
    state = file.part("hypernet.")
    aliases = _without_aliases(state, where)
    trunk, layers, heads = trunk_of(state, "resnet")[1], _tuned_layers(file, state, generator), _heads(file, state)
    config = HypernetworkConfig(generator, layers, input_size, trunk, heads, _code_width(state))
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


def _tuned_layers(file: SniffedFile, state: Mapping[str, Tensor], generator: GeneratorConfig) -> tuple[str, ...]:
    """Names of the tuned layers: "" means all, and indexes beyond the last layer mean nothing, as officially."""
    table = layer_table(generator)
    written: Any = file.opts.get("layers_to_tune")
    if isinstance(written, str):
        if not re.fullmatch(r"\s*(\d+\s*(,\s*\d+\s*)*)?", written):
            raise CheckpointError(f"{file.path}: layers_to_tune is {written!r}: expected numbers with commas.")
        written = [int(number) for number in written.split(",")] if written.strip() else [s.index for s in table]
    if not isinstance(written, list | tuple):
        written = numbers_in_names(state, r"refinement_blocks\.(\d{1,3})\.")
    names = tuple(spec.name for spec in table if spec.index in written)
    if not names:
        raise CheckpointError(f"{file.path}: layers_to_tune names no layer of a generator of {generator.size} px.")
    return names


def _code_width(state: Mapping[str, Tensor]) -> int:
    """The length of a code: the input of the shared network, else the output of the first block's last convolution."""
    name = "shared_weight_hypernet.w1"
    if name not in state:
        first = r"refinement_blocks\.\d+\.convs\.0\.weight"
        start = next((name.removesuffix("0.weight") for name in state if re.fullmatch(first, name)), "")
        name = max((name for name in state if name.startswith(start) and name.endswith(".weight")), default="")
    return axis_size(state, name, 0)


def convert_encoder(
    file: SniffedFile, generator: GeneratorConfig, input_size: tuple[int, int], latent_avg: Tensor
) -> Converted[WEncoder | PyramidEncoder | RestyleEncoder]:
    """The encoder of a W encoder (pSp and e4e trained into W), pSp, e4e or ReStyle file.

    Args:
        file: the file; its kind is "w-encoder", "psp", "e4e" or "restyle".
        generator: the configuration of the generator that it makes codes for.
        input_size: (height, width) of the crop in pixels; the domain's.
        latent_avg: [D], [1,D] or [L,D], added to what it predicts; the official code takes HyperStyle's for a W
            encoder, not the encoder's own.

    Raises:
        CheckpointError: the options of a ReStyle file do not say whether it is ReStyle-e4e or ReStyle-pSp, whose
            tensors are alike.
        WeightsError: see `fill`; also where it has another number of style rows than the generator.
    """
    state = file.part("encoder.")
    backbone, trunk = trunk_of(state)
    width = axis_size(state, "linear.weight" if file.kind == "w-encoder" else "styles.0.linear.weight", 0)
    rows, where = generator.rows, str(file.path)
    network: WEncoder | PyramidEncoder | RestyleEncoder
    if file.kind == "w-encoder":
        network = without_weights(WEncoder, WEncoderConfig(rows, width, input_size, trunk, backbone=backbone))
    elif file.kind == "restyle":
        progressive = by_encoder_type(file.opts, _RESTYLE_TYPES, f"{file.path} is a ReStyle encoder")
        config = RestyleEncoderConfig(rows, width, input_size, backbone, trunk, progressive=progressive)
        network = without_weights(RestyleEncoder, config)
    else:
        pyramid = PyramidEncoderConfig(rows, width, input_size, backbone, trunk, progressive=file.kind == "e4e")
        network = without_weights(PyramidEncoder, pyramid)
    check_finite(latent_avg, "latent_avg", where)
    mean_row(latent_avg, generator, where)  # refuses other shapes
    mean = latent_avg.detach().to("cpu", torch.float32).expand(rows, generator.latent_width)
    mean = mean.contiguous().clone()  # [L,D], with memory of its own
    return Converted(fill(network, {**state, "latent_avg": mean}, where=where, prefix="encoder."), len(state))


def convert_hyperinverter(file: SniffedFile, generator: GeneratorConfig) -> Converted[HyperInverter]:
    """The HyperInverter of a file.

    Layers, widths and the size at which it looks at images follow from the tensors.

    Args:
        file: of the kind "hyperinverter".
        generator: the configuration of the generator that it was trained with, which is in another file.

    Raises:
        WeightsError: see `fill`; or it was made for another generator, or predicts more than weights of convolutions.
    """
    where = str(file.path)
    appearance = file.part("w_bar_encoder.")
    state = file.part("hypernet.") | {f"w_bar_encoder.{name}": tensor for name, tensor in appearance.items()}
    layers = _predicted_layers(state, generator, where)
    first = f"weight_regressors.{layers[0].replace('.', '_')}_weight."
    convs = len(numbers_in_names(state, rf"{re.escape(first)}feature_extractor\.(\d+)\.weight$"))
    # The appearance features are side / 32 wide: every convolution that reads them, but the first, halves that, to 1.
    side = 32 << max(1, convs - 1)
    config = HyperInverterConfig(
        generator,
        layers,
        (side, side),
        *trunk_of(appearance),
        hidden=axis_size(state, f"{first}w1", 0),
        channels=axis_size(state, f"{first}feature_extractor.0.weight", 0),
    )
    counts = {text: len(file.part(prefix)) for prefix, text in _LEFT.items()}
    unread = tuple(text.format(count) for text, count in counts.items() if count)
    return Converted(fill(without_weights(HyperInverter, config), state, where=where), len(state), unread=unread)


def _predicted_layers(state: Mapping[str, Tensor], generator: GeneratorConfig, where: str) -> tuple[str, ...]:
    """Names of the layers that have a regressor. Raises WeightsError for one that is for nothing this generator has."""
    names = dict.fromkeys(match[1] for name in state if (match := re.match(r"weight_regressors\.(\w+)\.", name)))
    layer_names = {spec.name.replace(".", "_") + "_weight": spec.name for spec in layer_table(generator)}
    for name in names:
        if not re.fullmatch(r"b\d+_(conv[01]|torgb)_weight", name):
            raise WeightsError(
                f"{where} predicts {name!r}: only HyperInverters that change the weights of convolutions are converted "
                "(target_shape_name 'conv_without_bias')."
            )
        if name not in layer_names:
            raise WeightsError(
                f"{where} predicts {name!r}, which a generator of {generator.size} px does not have. Give the "
                "generator that it was trained with."
            )
    if not names:
        raise WeightsError(f"{where} has no 'hypernet.weight_regressors', so it predicts nothing.")
    return tuple(layer_names[name] for name in names)
