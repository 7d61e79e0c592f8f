"""HyperInverter files in the official layout -> the networks of its second phase."""

from __future__ import annotations

import re

import torch

from hyperstyle.convert.filling import Converted, axis_size, backbone_of, fill, trunk_config, without_weights
from hyperstyle.convert.sniff import SniffedFile
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, layer_table

__all__ = ["check_complete", "hyperinverter"]

# Other networks in these files, which are not read, and why.
_LEFT = {
    "w_encoder.": "its W encoder ({} tensors; the encoder's own file is read, as by the official code)",
    "discriminator.": "its discriminator ({} tensors)",
}


def check_complete(file: SniffedFile, *, encoder: bool, generator: bool) -> None:
    """Raises CheckpointError unless an encoder and a generator were given together with a HyperInverter file."""
    missing = [name for name, is_given in (("W encoder", encoder), ("generator", generator)) if not is_given]
    if missing:
        raise CheckpointError(
            f"{file.path} is a HyperInverter checkpoint, which needs its W encoder and its generator too. "
            f"Not given: {', '.join(missing)}. Run: hyperstyle convert {file.path.name} --encoder W_ENCODER.pt "
            "--generator STYLEGAN2.pkl --out FOLDER"
        )


def hyperinverter(file: SniffedFile, generator: GeneratorConfig) -> Converted[HyperInverter]:
    """The HyperInverter of a file, for a generator with these numbers, which stands in a file of its own.

    Layers, widths and the size at which it looks at images follow from the tensors.

    Raises:
        WeightsError: see `fill`; or it was made for another generator, or predicts more than weights of convolutions.
    """
    where = str(file.path)
    appearance = file.part("w_bar_encoder.")
    state = file.part("hypernet.") | {f"w_bar_encoder.{name}": tensor for name, tensor in appearance.items()}
    layers = _layers(state, generator, where)
    backbone = backbone_of(appearance)
    first = f"weight_regressors.{layers[0].replace('.', '_')}_weight."
    convs = sum(bool(re.fullmatch(rf"{re.escape(first)}feature_extractor\.\d+\.weight", name)) for name in state)
    # The appearance features are side / 32 wide: every convolution that reads them, but the first, halves that, to 1.
    side = 32 << max(1, convs - 1)
    config = HyperInverterConfig(
        generator,
        layers,
        (side, side),
        backbone,
        trunk_config(appearance, backbone),
        hidden=axis_size(state, f"{first}w1", 0),
        channels=axis_size(state, f"{first}feature_extractor.0.weight", 0),
    )
    counts = {text: len(file.part(prefix)) for prefix, text in _LEFT.items()}
    unread = tuple(text.format(count) for text, count in counts.items() if count)
    return Converted(fill(without_weights(HyperInverter, config), state, where=where), len(state), unread=unread)


def _layers(state: dict[str, torch.Tensor], generator: GeneratorConfig, where: str) -> tuple[str, ...]:
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
