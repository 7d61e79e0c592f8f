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

from hyperstyle.convert.filling import Converted, axis_size, fill, numbers_in_names, rename_tensors, without_weights
from hyperstyle.errors import WeightsError
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder, IdInvertEncoderConfig
from hyperstyle.networks.perception.vgg import Vgg16, Vgg16Config
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config, blur_filter

# Pattern of a tensor's name in a generator file -> our name; None for what is not needed.
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
    r"synthesis\.layer\d+\.blur\.kernel": "blur",
    r"synthesis\.output\d+\.(conv\.weight|bias)": None,  # of smaller images, in training
    r"truncation\.truncation|synthesis\.lod": None,
}
# Part of a residual block in an encoder file -> ours.
_RESIDUAL = {
    "conv": "shortcut.conv",
    "conv1": "first.conv",
    "conv2": "second.conv",
    "wscale1": "first.conv",
    "wscale2": "second.conv",
    "bn.bn": "shortcut.norm",
    "bn1.bn": "first.norm",
    "bn2.bn": "second.norm",
}


def idinvert_generator(state: Mapping[str, Tensor], *, where: str = "the state") -> Converted[StyleGan1]:
    """The StyleGAN of a generator file. Its sizes follow from the tensors.

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite; it is still growing (its level of
            detail is not 0), or has another low-pass filter.
        ConfigError: a size that `StyleGan1Config` refuses.
    """
    last = max(numbers_in_names(state, r"synthesis\.layer(\d+)\."), default=0) // 2
    depth = len(numbers_in_names(state, r"mapping\.dense(\d+)\.fc\.weight$"))
    bias = "synthesis.layer{}.epilogue.bias"
    config = StyleGan1Config(
        size=4 << last,
        channels=tuple(axis_size(state, bias.format(2 * block), 0) for block in range(last + 1)),
        latent_width=axis_size(state, "mapping.dense0.fc.weight", 1),
        mapping_layers=max(depth, 1),
    )
    if "synthesis.lod" in state and state["synthesis.lod"].count_nonzero():
        raise WeightsError(f"{where}: the level of detail is not 0, so it is still growing. Use the final generator.")
    tensors = dict(state)
    for name, tensor in state.items():
        if re.fullmatch(r"mapping\.dense\d+\.wscale\.bias", name):
            tensors[name] = tensor / math.sqrt(2)  # here the gain of the layer is on weights and biases alike
        elif re.fullmatch(r"synthesis\.layer\d+\.weight", name) and tensor.ndim == 4:
            # [k,k,I,O] of a transposed convolution -> [O,I,k,k], turned
            tensors[name] = tensor.permute(3, 2, 0, 1).flip(2, 3)
        elif re.fullmatch(r"synthesis\.layer\d+\.blur\.kernel", name):
            if not torch.allclose(tensor.float(), blur_filter(), atol=1e-6):
                raise WeightsError(f"{where}: {name!r} is another filter than [1, 2, 1], which is not converted.")
            tensors[name] = blur_filter()
    output = rf"synthesis\.output{last}\."
    names = {rf"{output}conv\.weight": "to_rgb.weight", rf"{output}bias": "to_rgb.bias"} | _GENERATOR_NAMES
    ours, unread = rename_tensors(tensors, names)
    network = fill(without_weights(StyleGan1, config), ours, where=where)
    return Converted(network, len(state) - len(unread), unread=tuple(unread))


def idinvert_encoder(
    state: Mapping[str, Tensor], rows: int, latent_width: int, input_size: tuple[int, int], *, where: str = "the state"
) -> Converted[IdInvertEncoder]:
    """The encoder of an encoder file, for codes [L,D] and crops of `input_size` (height, width).

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite.
        ConfigError: sides of the crop that the encoder cannot halve.
    """
    last = max(numbers_in_names(state, r"block(\d+)\."), default=0)
    widths = [axis_size(state, "block0.conv.weight", 0)]
    widths += [axis_size(state, f"block{n}.conv2.weight", 0) for n in range(1, last)]
    config = IdInvertEncoderConfig(rows, latent_width, input_size, tuple(widths))
    names = {r"block0\.conv\.(\w+)": r"stem.conv.\1", r"block0\.bn\.bn\.(\w+)": r"stem.norm.\1"}
    names |= {rf"block{last}\.bn\.bn\.(\w+)": r"norm.\1", rf"block{last}\.fc\.weight": "weight"}
    for block in range(1, last):
        names |= {rf"block{block}\.{part}\.(\w+)": rf"blocks.{block - 1}.{ours}.\1" for part, ours in _RESIDUAL.items()}
    network = fill(without_weights(IdInvertEncoder, config), rename_tensors(state, names)[0], where=where)
    return Converted(network, len(state))


def vgg16_features(state: Mapping[str, Tensor], *, where: str = "the state") -> Converted[Vgg16]:
    """The features of IDInvert's VGG16, up to `block4_conv3`.

    Torchvision's VGG16, whose tensors are called `features.N.*`, is another: it wants another preprocessing.

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite.
    """
    network = without_weights(Vgg16, Vgg16Config())
    features = "|".join(map(str, range(len(network.features))))
    names = {rf"layer({features})\.(weight|bias)": r"features.\1.\2", r"layer\d+\.(weight|bias)": None}
    ours, unread = rename_tensors(state, names)
    ours["mean"] = Vgg16(Vgg16Config((1,), (1,))).mean
    return Converted(fill(network, ours, where=where), len(state) - len(unread), unread=tuple(unread))
