"""W encoder, pSp, e4e and ReStyle files in the official layout -> the encoders of this library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from hyperstyle.convert.filling import fill, length, trunk_config
from hyperstyle.convert.generators import mean_row
from hyperstyle.convert.sniff import SniffedFile
from hyperstyle.errors import CheckpointError
from hyperstyle.io.components import check_finite
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig
from hyperstyle.networks.encoders.pyramid import PyramidEncoder, PyramidEncoderConfig
from hyperstyle.networks.encoders.restyle import RestyleEncoder, RestyleEncoderConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig

__all__ = ["pyramid_encoder", "restyle_encoder", "w_encoder"]

E = TypeVar("E", WEncoder, PyramidEncoder, RestyleEncoder)

_RESTYLE_TYPES = {
    "ProgressiveBackboneEncoder": True,
    "ResNetProgressiveBackboneEncoder": True,
    "BackboneEncoder": False,
    "ResNetBackboneEncoder": False,
}


def w_encoder(
    file: SniffedFile, generator: GeneratorConfig, input_size: tuple[int, int], latent_avg: Tensor
) -> tuple[WEncoder, int]:
    """The encoder of a W encoder file (pSp and e4e trained into W), and how many tensors it took.

    Args:
        file: it.
        generator: numbers of the generator that it serves.
        input_size: (height, width) of the crop in pixels; the domain's.
        latent_avg: [D] or [L,D], added to what it predicts; the official code takes HyperStyle's, not the encoder's.

    Raises:
        WeightsError: see `fill`.
    """
    state = file.part("encoder.")
    backbone, trunk = _trunk(state)
    width = length(state, "linear.weight", 0)
    config = WEncoderConfig(generator.rows, width, input_size, trunk, backbone=backbone)
    with torch.device("meta"):
        empty = WEncoder(config)
    return _filled(empty, state, latent_avg, generator, file), len(state)


def pyramid_encoder(
    file: SniffedFile, generator: GeneratorConfig, input_size: tuple[int, int], latent_avg: Tensor
) -> tuple[PyramidEncoder, int]:
    """The encoder of a pSp or e4e file, and how many tensors it took; arguments as of `w_encoder`.

    Raises:
        WeightsError: see `fill`; also where it has another number of style rows than the generator.
    """
    state = file.part("encoder.")
    backbone, trunk = _trunk(state)
    width = length(state, "styles.0.linear.weight", 0)
    config = PyramidEncoderConfig(generator.rows, width, input_size, backbone, trunk, progressive=file.kind == "e4e")
    with torch.device("meta"):
        empty = PyramidEncoder(config)
    return _filled(empty, state, latent_avg, generator, file), len(state)


def restyle_encoder(
    file: SniffedFile, generator: GeneratorConfig, input_size: tuple[int, int], latent_avg: Tensor
) -> tuple[RestyleEncoder, int]:
    """The encoder of a ReStyle file, and how many tensors it took; arguments as of `w_encoder`.

    Raises:
        CheckpointError: the options do not say whether it is ReStyle-e4e or ReStyle-pSp, whose tensors are alike.
        WeightsError: see `fill`.
    """
    kind = file.opts.get("encoder_type")
    if not isinstance(kind, str) or kind not in _RESTYLE_TYPES:
        raise CheckpointError(
            f"{file.path} is a ReStyle encoder with encoder_type {kind!r} in its 'opts': expected one of "
            f"{', '.join(_RESTYLE_TYPES)}. Its tensors do not show which rule it was trained with."
        )
    state = file.part("encoder.")
    backbone, trunk = _trunk(state)
    width = length(state, "styles.0.linear.weight", 0)
    config = RestyleEncoderConfig(generator.rows, width, input_size, backbone, trunk, progressive=_RESTYLE_TYPES[kind])
    with torch.device("meta"):
        empty = RestyleEncoder(config)
    return _filled(empty, state, latent_avg, generator, file), len(state)


def _trunk(state: Mapping[str, Tensor]) -> tuple[Backbone, TrunkConfig]:
    """Kind and numbers of the trunk that the tensors of an encoder show."""
    if "conv1.weight" in state:
        return "resnet", trunk_config(state, TrunkConfig.resnet34(), stem="conv1.weight", last="conv2.weight")
    stem = "input_layer.0.weight"
    return "irse", trunk_config(state, TrunkConfig.irse50(), stem=stem, last="res_layer.3.weight")


def _filled(
    empty: E, state: Mapping[str, Tensor], latent_avg: Tensor, generator: GeneratorConfig, file: SniffedFile
) -> E:
    """The encoder with the tensors of its file and the mean code, [D], [1,D] or [L,D]."""
    where = str(file.path)
    check_finite(latent_avg, "latent_avg", where)
    mean_row(latent_avg, generator, where)  # refuses other shapes
    rows = latent_avg.detach().to("cpu", torch.float32).expand(generator.rows, generator.latent_width)
    mean = rows.contiguous().clone()  # with memory of its own
    return fill(empty, {**state, "latent_avg": mean}, where=where, prefix="encoder.")
