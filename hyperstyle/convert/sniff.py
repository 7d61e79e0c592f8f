"""Recognizes a checkpoint of another program by the names of its tensors; refuses, by name, what is not converted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from hyperstyle.convert.contents import Contents, Use, check_use, read_contents
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.io.file_kind import file_kind

__all__ = ["KINDS", "Kind", "SniffedFile", "a_kind", "sniff"]

Kind = Literal[
    "hyperstyle",
    "hyperinverter",
    "w-encoder",
    "psp",
    "e4e",
    "restyle",
    "generator",
    "nvidia",
    "nvidia-state",
    "idinvert",
    "idinvert-encoder",
    "vgg16",
]

KINDS: Mapping[Kind, str] = {
    "hyperstyle": "HyperStyle checkpoint",
    "hyperinverter": "HyperInverter checkpoint",
    "w-encoder": "W encoder",
    "psp": "pSp encoder",
    "e4e": "e4e encoder",
    "restyle": "ReStyle encoder",
    "generator": "StyleGAN2 generator",
    "nvidia": "StyleGAN2 generator in NVIDIA's pickle",
    "nvidia-state": "StyleGAN2 generator in NVIDIA's names",
    "idinvert": "StyleGAN generator of IDInvert",
    "idinvert-encoder": "encoder of IDInvert",
    "vgg16": "VGG16",
}


def a_kind(kind: Kind) -> str:
    """A kind of file in words, with the article."""
    return f"{'an' if KINDS[kind][0] in 'aeiou' else 'a'} {KINDS[kind]}"


@dataclass(frozen=True, eq=False, kw_only=True)
class SniffedFile(Contents):
    """A checkpoint of another program, as `sniff` read it: its contents (none of "nvidia", which is read later).

    Attributes:
        path: where it is.
        kind: its family.
    """

    path: Path
    kind: Kind

    @property
    def has_generator(self) -> bool:
        """Whether a generator is in the file."""
        return self.kind in ("generator", "nvidia", "nvidia-state", "idinvert") or any(
            name.startswith("decoder.") for name in self.tensors
        )


def sniff(path: str | Path, use: Use | None = None) -> SniffedFile:
    """Reads a file and recognizes its kind. The numbers of `.pt` and safetensors files stay on disk until used.

    Args:
        path: the file.
        use: "g" takes the generator in training of a training checkpoint instead of `g_ema`.

    Raises:
        ConfigError: an unknown `use`.
        CheckpointError: the file cannot be read, or is of a family that is not converted; the message says which, or
            what was found in it.
        WeightsError: it holds tensors that do not belong into such a file, or tensors that are not dense.
    """
    path = Path(path)
    check_use(use)
    if os.path.isdir(path):  # pathlib's raises where the folder above is closed to us
        raise CheckpointError(f"{path} is a folder: give the file to convert. A model folder needs no conversion.")
    if file_kind(path) == "pickle":
        if use == "g":
            raise CheckpointError(f"{path} is a pickle, of which only 'G_ema' is read: leave use (--use) out.")
        return SniffedFile(path=path, kind="nvidia")
    contents = read_contents(path, use)
    tensors, kind = contents.tensors, _kind(contents.tensors, contents.opts, path)
    if strays := [name for name in tensors if not name.startswith(_PREFIXES[kind])]:
        raise WeightsError(
            f"{path}: {len(strays)} of {len(tensors)} tensors have no place in {a_kind(kind)} (first {strays[0]!r}): "
            f"expected names that begin with {' or '.join(map(repr, _PREFIXES[kind]))}."
        )
    return SniffedFile(**vars(contents), path=path, kind=kind)


def _kind(tensors: Mapping[str, Tensor], opts: Mapping[str, Any], path: Path) -> Kind:
    for has, kind in _FAMILIES:
        if has(tensors):
            return kind
    if _any("encoder.styles.")(tensors) and _channels(tensors) == 3:
        return _pyramid(opts, path)
    for has, family in _REFUSED:
        if has(tensors):
            trained = f" (encoder_type {opts['encoder_type']!r})" if "encoder_type" in opts else ""
            raise CheckpointError(f"{path} is {family}{trained}, which is not converted. Converted are: {_CONVERTED}.")
    names = list(tensors)
    raise CheckpointError(
        f"{path} is nothing that is converted: it holds {len(names)} tensors, called {', '.join(map(repr, names[:3]))}"
        f"{', ...' if len(names) > 3 else ''}. Converted are: {_CONVERTED}."
    )


def _pyramid(opts: Mapping[str, Any], path: Path) -> Kind:
    """pSp or e4e, by the options. Raises CheckpointError where they do not say it."""
    kind = opts.get("encoder_type")
    if not isinstance(kind, str) or kind not in _PYRAMIDS:
        raise CheckpointError(
            f"{path} is a pSp or e4e encoder with encoder_type {kind!r} in its 'opts': expected one of "
            f"{', '.join(_PYRAMIDS)}. Its tensors do not show which rule it was trained with."
        )
    return _PYRAMIDS[kind]


_Test = Callable[[Mapping[str, Tensor]], bool]


def _any(prefix: str) -> _Test:
    return lambda tensors: any(name.startswith(prefix) for name in tensors)


def _channels(tensors: Mapping[str, Tensor]) -> int:
    """Channels of the input of an encoder's first convolution; 0 where there is none."""
    names = ("encoder.input_layer.0.weight", "encoder.conv1.weight")
    return next((tensors[name].shape[1] for name in names if name in tensors and tensors[name].ndim == 4), 0)


_INTO_W_PLUS = _any("encoder.output_layer_2.")
_FAMILIES: tuple[tuple[_Test, Kind], ...] = (
    (_any("hypernet.refinement_blocks."), "hyperstyle"),
    (_any("hypernet.weight_regressors."), "hyperinverter"),
    (lambda t: _any("encoder.styles.")(t) and _channels(t) == 6, "restyle"),
    (lambda t: "encoder.linear.weight" in t and _channels(t) == 3 and not _INTO_W_PLUS(t), "w-encoder"),
    (lambda t: "style.1.weight" in t and "conv1.conv.weight" in t, "generator"),
    (lambda t: "synthesis.b4.conv1.weight" in t and not _any("synthesis.input.")(t), "nvidia-state"),
    (lambda t: {"synthesis.layer0.const", "mapping.dense0.fc.weight"} <= {*t}, "idinvert"),
    (lambda t: {"block0.conv.weight", "block1.conv1.weight"} <= {*t}, "idinvert-encoder"),
    (lambda t: "layer0.weight" in t and "layer28.weight" in t, "vgg16"),
)
_PREFIXES: Mapping[Kind, tuple[str, ...]] = {
    "hyperstyle": ("hypernet.", "decoder."),
    "hyperinverter": ("hypernet.", "w_bar_encoder.", "w_encoder.", "discriminator."),
    "w-encoder": ("encoder.", "decoder."),
    "psp": ("encoder.", "decoder."),
    "e4e": ("encoder.", "decoder."),
    "restyle": ("encoder.", "decoder."),
    "generator": ("",),
    "nvidia-state": ("mapping.", "synthesis."),
    "idinvert": ("mapping.", "truncation.", "synthesis."),
    "idinvert-encoder": ("block",),
    "vgg16": ("layer",),
}
_DISCRIMINATOR = "a discriminator, which makes no images,"
_REFUSED: tuple[tuple[_Test, str], ...] = (
    (_any("encoder.styles."), "a pSp encoder of sketches or label maps instead of images in color"),
    (_INTO_W_PLUS, "a pSp encoder without a feature pyramid"),
    (_any("encoder."), "an encoder of another family"),
    (_any("synthesis.superres."), "a StyleGAN-XL generator"),
    (lambda t: "mapping.embed_proj.weight" in t and _any("synthesis.input.")(t), "a StyleGAN-XL generator"),
    (_any("synthesis.input."), "a StyleGAN3 generator"),
    (_any("layers.0.blocks.0."), "a StyleSwin generator"),
    (_any("generator.progression."), "a StyleGAN generator of the first version"),
    (_any("progression."), "a network of the first StyleGAN"),
    (lambda t: {"convs.0.0.weight", "final_conv.0.weight"} <= {*t}, _DISCRIMINATOR),
    (lambda t: "b4.fc.weight" in t and "b4.conv.weight" in t, _DISCRIMINATOR),
    (_any("synthesis."), "a StyleGAN2 generator in NVIDIA's names or an older StyleGAN, saved as a .pt file"),
)
_PYRAMIDS: Mapping[str, Literal["psp", "e4e"]] = {"GradualStyleEncoder": "psp", "Encoder4Editing": "e4e"}
_CONVERTED = (
    "HyperStyle checkpoints, HyperInverter checkpoints, "
    "W encoders, pSp, e4e and ReStyle encoders, StyleGAN2 generators (.pt with 'g_ema', "
    "NVIDIA's .pkl), IDInvert's generator, encoder and VGG16"
)
