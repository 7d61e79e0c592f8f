"""The files of IDInvert (Zhu et al., ECCV 2020): StyleGAN, encoder and VGG16 -> the networks of this library.

The StyleGAN is stored as it was trained: upsampling layers from 128 px on hold their weights as [k,k,I,O] for a fused
transposed convolution, which turns them around, and every resolution has an output of its own, of which only the last
is used once training is over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from hyperstyle.convert.filling import Converted, axis_size, fill, without_weights
from hyperstyle.errors import WeightsError
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder, IdInvertEncoderConfig
from hyperstyle.networks.perception.vgg import Vgg16, Vgg16Config
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config, blur_filter

__all__ = ["idinvert_encoder", "idinvert_generator", "vgg16_features"]

# Pattern of a tensor's name in a generator file -> our name.
_GENERATOR_NAMES = {
    r"truncation\.w_avg": "latent_avg",
    r"mapping\.dense(\d+)\.fc\.weight": r"style.\1.weight",
    r"mapping\.dense(\d+)\.wscale\.bias": r"style.\1.bias",
    r"synthesis\.layer0\.const": "constant",
    r"synthesis\.layer(\d+)(?:\.conv)?\.weight": r"convs.\1.weight",
    r"synthesis\.layer(\d+)\.epilogue\.bias": r"convs.\1.bias",
    r"synthesis\.layer(\d+)\.epilogue\.apply_noise\.weight": r"convs.\1.noise_strength",
    r"synthesis\.layer(\d+)\.epilogue\.apply_noise\.noise": r"noises.noise_\1",
    r"synthesis\.layer(\d+)\.epilogue\.style_mod\.dense\.fc\.weight": r"convs.\1.modulation.weight",
    r"synthesis\.layer(\d+)\.epilogue\.style_mod\.dense\.wscale\.bias": r"convs.\1.modulation.bias",
}
_RESIDUAL = {"conv": "shortcut.conv", "conv1": "first.conv", "conv2": "second.conv"}
_RESIDUAL |= {"wscale1": "first.conv", "wscale2": "second.conv"}
_RESIDUAL |= {"bn.bn": "shortcut.norm", "bn1.bn": "first.norm", "bn2.bn": "second.norm"}


def idinvert_generator(state: Mapping[str, Tensor], *, where: str = "the state") -> Converted[StyleGan1]:
    """The StyleGAN of a generator file. Its sizes follow from the tensors.

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite; it is still growing (its level of
            detail is not 0), or has another low-pass filter.
        ConfigError: a size that `StyleGan1Config` refuses.
    """
    layers = 1 + max(
        (int(match[1]) for name in state if (match := re.match(r"synthesis\.layer(\d+)\.", name))), default=0
    )
    depth = len([name for name in state if re.fullmatch(r"mapping\.dense\d+\.fc\.weight", name)])
    last = (layers - 1) // 2
    bias = "synthesis.layer{}.epilogue.bias"
    config = StyleGan1Config(
        size=4 << last,
        channels=tuple(axis_size(state, bias.format(2 * block), 0) for block in range(last + 1)),
        latent_width=axis_size(state, "mapping.dense0.fc.weight", 1),
        mapping_layers=max(depth, 1),
    )
    if "synthesis.lod" in state and state["synthesis.lod"].count_nonzero():
        raise WeightsError(f"{where}: the level of detail is not 0, so it is still growing. Use the final generator.")
    ours: dict[str, Tensor] = {}
    unread = [name for name in state if re.match(r"truncation\.truncation$|synthesis\.lod$", name)]
    for name, tensor in state.items():
        if match := re.fullmatch(r"synthesis\.output(\d+)\.(conv\.weight|bias)", name):
            if int(match[1]) == last:
                ours[f"to_rgb.{match[2].removeprefix('conv.')}"] = tensor
            else:
                unread.append(name)
        elif re.fullmatch(r"synthesis\.layer\d+\.blur\.kernel", name):
            if not torch.allclose(tensor.float(), blur_filter(), atol=1e-6):
                raise WeightsError(f"{where}: {name!r} is another filter than [1, 2, 1], which is not converted.")
            ours["blur"] = blur_filter()
        elif name not in unread:
            ours.update([_generator_tensor(name, tensor)])
    network = fill(without_weights(StyleGan1, config), ours, where=where)
    return Converted(network, len(state) - len(unread), unread=tuple(unread))


def _generator_tensor(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Our name of a tensor and its value; the name itself where there is none, which `fill` refuses."""
    if re.fullmatch(r"mapping\.dense\d+\.wscale\.bias", name):
        tensor = tensor / math.sqrt(2)  # here the gain of the layer is on weights and biases alike
    if re.fullmatch(r"synthesis\.layer\d+\.weight", name) and tensor.ndim == 4:
        tensor = tensor.permute(3, 2, 0, 1).flip(2, 3)  # [k,k,I,O] of a transposed convolution -> [O,I,k,k], turned
    for pattern, ours in _GENERATOR_NAMES.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(ours), tensor
    return name, tensor


def idinvert_encoder(
    state: Mapping[str, Tensor], rows: int, latent_width: int, input_size: tuple[int, int], *, where: str = "the state"
) -> Converted[IdInvertEncoder]:
    """The encoder of an encoder file, for codes [L,D] and crops of `input_size` (height, width).

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite.
        ConfigError: sides of the crop that the encoder cannot halve.
    """
    blocks = [int(match[1]) for name in state if (match := re.match(r"block(\d+)\.", name))]
    last = max(blocks, default=0)
    widths = [axis_size(state, "block0.conv.weight", 0)]
    widths += [axis_size(state, f"block{n}.conv2.weight", 0) for n in range(1, last)]
    config = IdInvertEncoderConfig(rows, latent_width, input_size, tuple(widths))
    ours = {_encoder_name(name, last): tensor for name, tensor in state.items()}
    return Converted(fill(without_weights(IdInvertEncoder, config), ours, where=where), len(state))


def _encoder_name(name: str, last: int) -> str:
    """Our name of a tensor; the name itself where there is none."""
    match = re.fullmatch(r"block(\d+)\.(.+)\.(\w+)", name)
    if match is None:
        return name
    block, part, suffix = int(match[1]), match[2], match[3]
    if block == 0:
        ours = {"conv": "stem.conv", "bn.bn": "stem.norm"}.get(part)
    elif block == last:
        ours = "norm" if part == "bn.bn" else None
        if (part, suffix) == ("fc", "weight"):
            return "weight"
    else:
        ours = f"blocks.{block - 1}.{_RESIDUAL[part]}" if part in _RESIDUAL else None
    return name if ours is None else f"{ours}.{suffix}"


def vgg16_features(state: Mapping[str, Tensor], *, where: str = "the state") -> Converted[Vgg16]:
    """The features of IDInvert's VGG16, up to `block4_conv3`.

    Torchvision's VGG16, whose tensors are called `features.N.*`, is another: it wants another preprocessing.

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite.
    """
    network = without_weights(Vgg16, Vgg16Config())
    ours, unread = {"mean": Vgg16(Vgg16Config((1,), (1,))).mean}, []
    for name, tensor in state.items():
        match = re.fullmatch(r"layer(\d+)\.(weight|bias)", name)
        if match and int(match[1]) >= len(network.features):
            unread.append(name)
        else:
            ours[f"features.{match[1]}.{match[2]}" if match else name] = tensor
    return Converted(fill(network, ours, where=where), len(state) - len(unread), unread=tuple(unread))
