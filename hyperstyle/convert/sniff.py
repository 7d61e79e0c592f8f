"""Recognizes a checkpoint of another program by the names of its tensors; refuses, by name, what is not converted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from hyperstyle.convert.contents import Contents, Use, read_contents
from hyperstyle.errors import CheckpointError, ConfigError, WeightsError
from hyperstyle.io.file_kind import file_kind

V = TypeVar("V")


class _Family(NamedTuple):
    """What the files of one kind have in common.

    Marks are names of tensors; one that ends with a dot is the beginning of a name.
    """

    words: str
    prefixes: tuple[str, ...]  # every name begins with one of them
    marks: tuple[str, ...]  # all are there
    absent: str = ""  # a mark that is not there
    channels: int | None = None  # of the input of the first convolution
    encoder: str | None = None  # the component of a model that it becomes, where it is an encoder


_CODES = ("encoder.", "decoder.")
KINDS: Mapping[str, _Family] = {
    "hyperstyle": _Family("HyperStyle checkpoint", ("hypernet.", "decoder."), ("hypernet.refinement_blocks.",)),
    "hyperinverter": _Family(
        "HyperInverter checkpoint",
        ("hypernet.", "w_bar_encoder.", "w_encoder.", "discriminator."),
        ("hypernet.weight_regressors.",),
    ),
    "sfe": _Family(
        "StyleFeatureEditor checkpoint",
        ("encoder.", "inverter.", "decoder.", "discriminator.", "e4e_encoder."),
        ("encoder.conv.weight", "inverter.fs_backbone."),
    ),
    "sfe-inverter": _Family(
        "StyleFeatureEditor checkpoint of the first phase",
        ("encoder.", "decoder.", "discriminator."),
        ("encoder.fs_backbone.", "encoder.fuser."),
    ),
    "restyle": _Family("ReStyle encoder", _CODES, ("encoder.styles.",), channels=6, encoder="restyle"),
    "w-encoder": _Family(
        "W encoder", _CODES, ("encoder.linear.weight",), absent="encoder.output_layer_2.", channels=3, encoder="encoder"
    ),
    "generator": _Family("StyleGAN2 generator", ("",), ("style.1.weight", "conv1.conv.weight")),
    "nvidia": _Family("StyleGAN2 generator in NVIDIA's pickle", (), ("",)),  # known by its form
    "nvidia-state": _Family(
        "StyleGAN2 generator in NVIDIA's names",
        ("mapping.", "synthesis."),
        ("synthesis.b4.conv1.weight",),
        absent="synthesis.input.",
    ),
    "idinvert": _Family(
        "StyleGAN generator of IDInvert",
        ("mapping.", "truncation.", "synthesis."),
        ("synthesis.layer0.const", "mapping.dense0.fc.weight"),
    ),
    "idinvert-encoder": _Family(
        "encoder of IDInvert", ("block",), ("block0.conv.weight", "block1.conv1.weight"), encoder="idinvert"
    ),
    "vgg16": _Family("VGG16", ("layer",), ("layer0.weight", "layer28.weight"), encoder="vgg16"),
    # These two have the same tensors; their options say which it is.
    "psp": _Family("pSp encoder", _CODES, ("encoder.styles.",), channels=3, encoder="psp"),
    "e4e": _Family("e4e encoder", _CODES, ("encoder.styles.",), channels=3, encoder="e4e"),
}
# Marks of files that are not converted, and what they are of.
_REFUSED: tuple[tuple[tuple[str, ...], str], ...] = (
    (("encoder.styles.",), "a pSp encoder of sketches or label maps instead of images in color"),
    (("encoder.output_layer_2.",), "a pSp encoder without a feature pyramid"),
    (("encoder.",), "an encoder of another family"),
    (("synthesis.superres.",), "a StyleGAN-XL generator"),
    (("mapping.embed_proj.weight", "synthesis.input."), "a StyleGAN-XL generator"),
    (("synthesis.input.",), "a StyleGAN3 generator"),
    (("layers.0.blocks.0.",), "a StyleSwin generator"),
    (("generator.progression.",), "a StyleGAN generator of the first version"),
    (("progression.",), "a network of the first StyleGAN"),
    (("convs.0.0.weight", "final_conv.0.weight"), "a discriminator, which makes no images"),
    (("b4.fc.weight", "b4.conv.weight"), "a discriminator, which makes no images"),
    (("synthesis.",), "a StyleGAN2 generator in NVIDIA's names or an older StyleGAN, saved as a .pt file"),
)
_PYRAMIDS: Mapping[str, str] = {"GradualStyleEncoder": "psp", "Encoder4Editing": "e4e"}
_CONVERTED = (
    "HyperStyle, HyperInverter and StyleFeatureEditor checkpoints, "
    "W encoders, pSp, e4e and ReStyle encoders, StyleGAN2 generators (.pt with 'g_ema', "
    "NVIDIA's .pkl), IDInvert's generator, encoder and VGG16"
)


def describe_kind(kind: str) -> str:
    """One of `KINDS` in words with their article, such as "a W encoder"."""
    words = KINDS[kind].words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass(frozen=True, eq=False, kw_only=True)
class SniffedFile(Contents):
    """A checkpoint of another program, as `sniff` read it. One of the kind "nvidia" has no contents: it is read later.

    Attributes:
        path: where it is.
        kind: its family, one of `KINDS`.
    """

    path: Path
    kind: str

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
    if use not in (None, "g_ema", "g"):
        raise ConfigError(f"use={use!r}: expected 'g_ema', the averaged generator, or 'g', the one in training.")
    if os.path.isdir(path):  # pathlib's raises where the folder above is closed to us
        raise CheckpointError(f"{path} is a folder: give the file to convert. A model folder needs no conversion.")
    if file_kind(path) == "pickle":
        if use == "g":
            raise CheckpointError(f"{path} is a pickle, of which only 'G_ema' is read: leave use (--use) out.")
        return SniffedFile(path=path, kind="nvidia")
    contents = read_contents(path, use)
    tensors, kind = contents.tensors, _kind(contents.tensors, contents.opts, path)
    prefixes = KINDS[kind].prefixes
    if strays := [name for name in tensors if not name.startswith(prefixes)]:
        raise WeightsError(
            f"{path}: {len(strays)} of {len(tensors)} tensors have no place in {describe_kind(kind)} (first "
            f"{strays[0]!r}): expected names that begin with {' or '.join(map(repr, prefixes))}."
        )
    return SniffedFile(**vars(contents), path=path, kind=kind)


def _kind(tensors: Mapping[str, Tensor], opts: Mapping[str, Any], path: Path) -> str:
    """The kind of a file. Raises CheckpointError where it is none that is converted."""

    def has(mark: str) -> bool:
        return mark in tensors or (mark.endswith(".") and any(name.startswith(mark) for name in tensors))

    stems = [tensors[name] for name in ("encoder.input_layer.0.weight", "encoder.conv1.weight") if name in tensors]
    channels = next((stem.shape[1] for stem in stems if stem.ndim == 4), 0)
    for kind, family in KINDS.items():
        if all(map(has, family.marks)) and not has(family.absent) and family.channels in (None, channels):
            return by_encoder_type(opts, _PYRAMIDS, f"{path} is a pSp or e4e encoder") if kind == "psp" else kind
    for marks, words in _REFUSED:
        if all(map(has, marks)):
            trained = f" (encoder_type {opts['encoder_type']!r})" if "encoder_type" in opts else ""
            raise CheckpointError(f"{path} is {words}{trained}, and is not converted. Converted are: {_CONVERTED}.")
    names = list(tensors)
    raise CheckpointError(
        f"{path} is nothing that is converted: it holds {len(names)} tensors, called {', '.join(map(repr, names[:3]))}"
        f"{', ...' if len(names) > 3 else ''}. Converted are: {_CONVERTED}."
    )


def by_encoder_type(opts: Mapping[str, Any], table: Mapping[str, V], what: str) -> V:
    """The entry of the table for the `encoder_type` in the options of a file.

    Args:
        opts: the options.
        table: `encoder_type` -> entry.
        what: the beginning of the message, such as "FILE is a ReStyle encoder".

    Raises:
        CheckpointError: the options have none, or another one.
    """
    kind = opts.get("encoder_type")
    if not isinstance(kind, str) or kind not in table:
        raise CheckpointError(
            f"{what} with encoder_type {kind!r} in its 'opts': expected one of {', '.join(table)}. Its tensors do not "
            "show which rule it was trained with."
        )
    return table[kind]
