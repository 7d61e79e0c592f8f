"""StyleFeatureEditor's files -> its Inverter and its feature editor.

The prefix `encoder.` stands for the feature editor in files of the second phase and for the Inverter in those of the
first: `sniff` tells them apart by what is below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from hyperstyle.convert.filling import Converted, axis_size, fill, numbers_in_names, without_weights
from hyperstyle.convert.sniff import SniffedFile
from hyperstyle.errors import WeightsError
from hyperstyle.networks.encoders.sfe import FeatureEditor, FeatureEditorConfig, SfeInverter, SfeInverterConfig
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import Generator

# What training files hold besides, by prefix.
_UNREAD = {
    "decoder.": "its generator ({} tensors)",
    "discriminator.": "its discriminator ({} tensors)",
    "e4e_encoder.": "its e4e encoder ({} tensors; the encoder's own file is read, as by the official code)",
}


def convert_sfe(
    file: SniffedFile, generator: StyleGenerator, generator_file: SniffedFile, input_size: tuple[int, int]
) -> dict[str, Converted[SfeInverter] | Converted[FeatureEditor]]:
    """The Inverter and, of a file of the second phase, the feature editor, by the names of their components.

    Args:
        file: of the kind "sfe" (second phase) or "sfe-inverter" (first phase).
        generator: the generator that it was trained with; its mean code is added to what the Inverter predicts.
        generator_file: where that came from.
        input_size: (height, width) of the crop in pixels; the domain's. The features have a quarter of its side.

    Raises:
        WeightsError: see `fill`; or the generator is no StyleGAN2, or its file has no noise maps.
        ConfigError: sizes that do not fit the generator.
    """
    where = str(file.path)
    if not isinstance(generator, Generator):
        raise WeightsError(f"{where} is for a StyleGAN2, and {generator_file.path} is none. Give its generator.")
    is_port = generator_file.kind not in ("nvidia", "nvidia-state")  # these always have them
    if is_port and not any(name.startswith(("noises.", "decoder.noises.")) for name in generator_file.tensors):
        raise WeightsError(
            f"{generator_file.path} has no noise maps, which the features of {where} contain: give the file with "
            "'noises.noise_0' and so on that it was trained with, stylegan2-ffhq-config-f.pt."
        )
    layer, has_editor = f"b{input_size[0] // 4}.conv1", file.kind == "sfe"
    state = file.part("inverter." if has_editor else "encoder.")
    counts = {text: len(file.part(prefix)) for prefix, text in _UNREAD.items()}
    unread = [text.format(count) for text, count in counts.items() if count]
    if file.latent_avg is not None:
        unread.append("latent_avg (the generator's is used, as by the official code)")
    stages = range(1, 5)
    config = SfeInverterConfig(
        generator.config,
        layer,
        _blocks(state, "fuser.body"),
        input_size,
        tuple(axis_size(state, f"fs_backbone.block_{n}.0.conv1.weight", 0) for n in stages),  # type: ignore[arg-type]
        tuple(_blocks(state, f"fs_backbone.block_{n}") for n in stages),  # type: ignore[arg-type]
    )
    mean = generator.latent_avg.expand(generator.config.rows, -1).to("cpu", torch.float32).contiguous().clone()
    inverter = fill(
        without_weights(SfeInverter, config),
        {**state, "latent_avg": mean},
        where=where,
        prefix="inverter." if has_editor else "encoder.",
    )
    parts: dict[str, Converted[SfeInverter] | Converted[FeatureEditor]] = {
        "sfe_inverter": Converted(inverter, len(state), unread=tuple(unread))
    }
    if has_editor:
        state = file.part("encoder.")
        editor = without_weights(FeatureEditor, FeatureEditorConfig(generator.config, layer, _blocks(state, "body")))
        parts["feature_editor"] = Converted(fill(editor, state, where=where, prefix="encoder."), len(state))
    return parts


def _blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many blocks there are below a prefix; 1 for none, whose tensors `fill` reports as missing."""
    return max(1, len(numbers_in_names(state, rf"{re.escape(prefix)}\.(\d{{1,3}})\.")))
