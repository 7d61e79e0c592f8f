"""What a file made by others is: read, its family told by the names of its tensors, or refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from hyperstyle.checkpoint import check_dense
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.file_kind import file_kind
from hyperstyle.foreign import load_state

__all__ = ["KINDS", "Kind", "Source", "a_kind", "sniff"]

Kind = Literal[
    "hyperstyle",
    "hyperinverter",
    "w-encoder",
    "psp",
    "e4e",
    "restyle",
    "generator",
    "nvidia",
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
    "idinvert": "StyleGAN generator of IDInvert",
    "idinvert-encoder": "encoder of IDInvert",
    "vgg16": "VGG16",
}


def a_kind(kind: Kind) -> str:
    """The words for a kind of file, with their article."""
    return f"{'an' if KINDS[kind][0] in 'aeiou' else 'a'} {KINDS[kind]}"


@dataclass(frozen=True, eq=False)
class Source:
    """A file made by others.

    Attributes:
        path: where it is.
        kind: its family.
        tensors: the weights by name, without the prefix that training on several GPUs leaves; empty for "nvidia".
        latent_avg: mean code, [D] or [L,D], where the file has one.
        opts: the options it was trained with, where it has them.
        unread: other entries of the file, which are not needed (optimizers, step counts).
    """

    path: Path
    kind: Kind
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    latent_avg: Tensor | None = None
    opts: Mapping[str, Any] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    @property
    def has_generator(self) -> bool:
        """Whether a generator is in the file."""
        return self.kind in ("generator", "nvidia", "idinvert") or any(
            name.startswith("decoder.") for name in self.tensors
        )

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def sniff(path: str | Path) -> Source:
    """Reads a file and tells what it is. The numbers of `.pt` files stay on disk until they are used.

    Raises:
        CheckpointError: the file cannot be read, or is of a family that is not converted; the message says which, or
            what was found in it.
        WeightsError: it holds tensors that do not belong into such a file, or tensors that are not dense.
    """
    path = Path(path)
    if os.path.isdir(path):  # pathlib's raises where the folder above is closed to us
        raise CheckpointError(f"{path} is a folder: give the file to convert. A model folder needs no conversion.")
    if file_kind(path) == "pickle":
        return Source(path, "nvidia")
    content = load_state(path, mmap=True)
    place = next((name for name in ("g_ema", "state_dict") if isinstance(content.get(name), dict)), None)
    weights = content if place is None else content[place]
    if not weights or not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()):
        raise CheckpointError(f"{path} {_strange(content, place)}")
    prefix = "module." if all(key.startswith("module.") for key in weights) else ""
    tensors = {key.removeprefix(prefix): value for key, value in weights.items()}
    rest = {} if place is None else {key: value for key, value in content.items() if key != place}
    mean, opts = rest.pop("latent_avg", None), rest.pop("opts", None)
    if mean is not None and not isinstance(mean, Tensor):
        raise CheckpointError(f"{path}: 'latent_avg' is of type {type(mean).__name__}: expected a tensor.")
    if place is None and "latent_avg" in tensors:
        mean = tensors.pop("latent_avg")
    for name, tensor in {**tensors, **({} if mean is None else {"latent_avg": mean})}.items():
        check_dense(tensor, name, path)
    opts = opts if isinstance(opts, dict) else {}
    kind = _kind(tensors, opts, path)
    if strays := [name for name in tensors if not name.startswith(_PREFIXES[kind])]:
        raise WeightsError(
            f"{path}: {len(strays)} of {len(tensors)} tensors have no place in {a_kind(kind)} (first {strays[0]!r}): "
            f"expected names that begin with {' or '.join(map(repr, _PREFIXES[kind]))}."
        )
    return Source(path, kind, tensors, mean, opts, tuple(sorted(map(str, rest))))


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


def _strange(content: Mapping[str, Any], place: str | None) -> str:
    """What is said of a file whose weights are not where they are expected."""
    if place is not None:
        inside = content[place]
        odd = next((key for key, value in inside.items() if not isinstance(value, Tensor)), None)
        found = "nothing" if odd is None else f"{odd!r} of type {type(inside[odd]).__name__}"
        return f"holds {found} under {place!r}: expected tensors by name."
    entries = ", ".join(map(repr, list(content)[:6])) or "nothing"
    only = " Its 'g' alone is the generator in training, not the averaged one." if "g" in content else ""
    return f"holds {entries}: expected tensors under 'state_dict' or 'g_ema', or nothing but tensors.{only}"


_Test = Callable[[Mapping[str, Tensor]], bool]


def _any(prefix: str) -> _Test:
    return lambda tensors: any(name.startswith(prefix) for name in tensors)


def _channels(tensors: Mapping[str, Tensor]) -> int:
    """What the first convolution of an encoder sees."""
    names = ("encoder.input_layer.0.weight", "encoder.conv1.weight")
    return next((tensors[name].shape[1] for name in names if name in tensors and tensors[name].ndim == 4), 0)


_INTO_W_PLUS = _any("encoder.output_layer_2.")
_FAMILIES: tuple[tuple[_Test, Kind], ...] = (
    (_any("hypernet.refinement_blocks."), "hyperstyle"),
    (_any("hypernet.weight_regressors."), "hyperinverter"),
    (lambda t: _any("encoder.styles.")(t) and _channels(t) == 6, "restyle"),
    (lambda t: "encoder.linear.weight" in t and _channels(t) == 3 and not _INTO_W_PLUS(t), "w-encoder"),
    (lambda t: "style.1.weight" in t and "conv1.conv.weight" in t, "generator"),
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
    "idinvert": ("mapping.", "truncation.", "synthesis."),
    "idinvert-encoder": ("block",),
    "vgg16": ("layer",),
}
_REFUSED: tuple[tuple[_Test, str], ...] = (
    (_any("encoder.styles."), "a pSp encoder of sketches or label maps instead of pictures in colour"),
    (_INTO_W_PLUS, "a pSp encoder without a feature pyramid"),
    (_any("encoder."), "an encoder of another family"),
    (_any("synthesis."), "a StyleGAN2 generator in NVIDIA's names or an older StyleGAN, saved as a .pt file"),
)
_PYRAMIDS: Mapping[str, Literal["psp", "e4e"]] = {"GradualStyleEncoder": "psp", "Encoder4Editing": "e4e"}
_CONVERTED = (
    "HyperStyle checkpoints, HyperInverter checkpoints, "
    "W encoders, pSp, e4e and ReStyle encoders, StyleGAN2 generators (.pt with 'g_ema', "
    "NVIDIA's .pkl), IDInvert's generator, encoder and VGG16"
)
