"""W encoder, pSp, e4e and ReStyle files in the official layout -> the encoders of this library."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperstyle.convert.filling import Converted, axis_size, backbone_of, fill, trunk_config, without_weights
from hyperstyle.convert.generators import mean_row
from hyperstyle.convert.sniff import SniffedFile
from hyperstyle.errors import CheckpointError
from hyperstyle.io.components import check_finite
from hyperstyle.networks.encoders.pyramid import (
    PyramidEncoder,
    PyramidEncoderConfig,
    RestyleEncoder,
    RestyleEncoderConfig,
)
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig

__all__ = ["convert_encoder"]

# ReStyle's encoder_type -> whether it is of ReStyle-e4e, which adds its rows to the first one.
_RESTYLE_TYPES = {
    "ProgressiveBackboneEncoder": True,
    "ResNetProgressiveBackboneEncoder": True,
    "BackboneEncoder": False,
    "ResNetBackboneEncoder": False,
}


def convert_encoder(
    file: SniffedFile, generator: GeneratorConfig, input_size: tuple[int, int], latent_avg: Tensor
) -> Converted[WEncoder | PyramidEncoder | RestyleEncoder]:
    """The encoder of a W encoder (pSp and e4e trained into W), pSp, e4e or ReStyle file.

    Args:
        file: the file; its kind is "w-encoder", "psp", "e4e" or "restyle".
        generator: numbers of the generator that it serves.
        input_size: (height, width) of the crop in pixels; the domain's.
        latent_avg: [D], [1,D] or [L,D], added to what it predicts; the official code takes HyperStyle's for a W
            encoder, not the encoder's own.

    Raises:
        CheckpointError: the options of a ReStyle file do not say whether it is ReStyle-e4e or ReStyle-pSp, whose
            tensors are alike.
        WeightsError: see `fill`; also where it has another number of style rows than the generator.
    """
    state = file.part("encoder.")
    backbone = backbone_of(state)
    trunk = trunk_config(state, backbone)
    width = axis_size(state, "linear.weight" if file.kind == "w-encoder" else "styles.0.linear.weight", 0)
    rows = generator.rows
    network: WEncoder | PyramidEncoder | RestyleEncoder
    if file.kind == "w-encoder":
        network = without_weights(WEncoder, WEncoderConfig(rows, width, input_size, trunk, backbone=backbone))
    elif file.kind == "restyle":
        config = RestyleEncoderConfig(rows, width, input_size, backbone, trunk, progressive=_is_restyle_e4e(file))
        network = without_weights(RestyleEncoder, config)
    else:
        progressive = file.kind == "e4e"
        network = without_weights(
            PyramidEncoder, PyramidEncoderConfig(rows, width, input_size, backbone, trunk, progressive=progressive)
        )
    where = str(file.path)
    check_finite(latent_avg, "latent_avg", where)
    mean_row(latent_avg, generator, where)  # refuses other shapes
    mean = latent_avg.detach().to("cpu", torch.float32).expand(rows, generator.latent_width)
    mean = mean.contiguous().clone()  # [L,D], with memory of its own
    filled = fill(network, {**state, "latent_avg": mean}, where=where, prefix="encoder.")
    return Converted(filled, len(state))


def _is_restyle_e4e(file: SniffedFile) -> bool:
    kind = file.opts.get("encoder_type")
    if not isinstance(kind, str) or kind not in _RESTYLE_TYPES:
        raise CheckpointError(
            f"{file.path} is a ReStyle encoder with encoder_type {kind!r} in its 'opts': expected one of "
            f"{', '.join(_RESTYLE_TYPES)}. Its tensors do not show which rule it was trained with."
        )
    return _RESTYLE_TYPES[kind]
