"""StyleCLIP's latent mappers (Patashnik et al., ICCV 2021, Section 5): w + 0.1 M(w), one network for each text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.edits.protocol import EditInfo, StoredEdit, amounts
from hyperstyle.errors import EditError, WeightsError, with_article
from hyperstyle.io.components import check_tensors
from hyperstyle.io.torch_files import load_state, plain_names
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, layer_table
from hyperstyle.networks.stylegan2.ops import EqualLinear

_RATE = 0.01  # stored weights are divided by it
_DEPTH = 4
# Part -> its rows. The spelling "course" is that of the published files.
_ROWS: Mapping[str, slice] = {
    "mapping": slice(None),
    "course_mapping": slice(0, 4),
    "medium_mapping": slice(4, 8),
    "fine_mapping": slice(8, None),
}
_FLAGS = {"no_coarse_mapper": "course_mapping", "no_medium_mapper": "medium_mapping", "no_fine_mapper": "fine_mapping"}
_LAYERS = [spec.name for spec in layer_table(GeneratorConfig.official(1024))]  # smaller generators have the first ones
_STYLE_PARTS = {f"mapper_{index}" for index in range(len(_LAYERS))}


class _Layers(nn.Module):
    """Normalization over dimension 1, then four linear layers with leaky ReLU: [B,...,D] -> [B,...,D].

    In W+ dimension 1 is the rows, not the channels: mappers were trained so, and their weights need it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # The first place is the normalization's, so that the others have their published numbers.
        self.mapping = nn.Sequential(
            nn.Identity(), *(EqualLinear(width, width, lr_multiplier=_RATE) for _ in range(_DEPTH))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)  # as at the input of StyleGAN2's mapping network
        for layer in self.mapping:
            if isinstance(layer, EqualLinear):
                # Not `layer(x)`: the weights are converted to the type and the device of the codes, as the directions
                # of other edits are.
                x = F.linear(x, layer.weight.to(x) * layer.scale, layer.bias.to(x) * layer.lr_multiplier)
                x = F.leaky_relu(x, 0.2) * math.sqrt(2.0)
        return x


class LatentMapper(nn.Module):
    """Codes [B,L,D] -> what to add to them [B,L,D]; rows without a mapping get zeros.

    Args:
        width: D.
        parts: "mapping" alone for all rows ("single"), or some of "course_mapping" (rows 0-3), "medium_mapping" (4-7)
            and "fine_mapping" (from 8 on).
    """

    def __init__(self, width: int, parts: tuple[str, ...] = ("course_mapping", "medium_mapping", "fine_mapping")):
        super().__init__()
        self.width = width
        for part in parts:
            self.add_module(part, _Layers(width))

    def forward(self, w: Tensor) -> Tensor:
        """See the class. Raises EditError for codes of another width, or without the rows of a mapping."""
        if w.ndim != 3 or w.shape[2] != self.width:
            raise EditError(
                f"a mapper was given codes {tuple(w.shape)}: expected [B, L, {self.width}], the codes of its generator."
            )
        # Section 5: M(w) = (M_coarse(w_coarse), M_medium(w_medium), M_fine(w_fine)), each with its rows of the code.
        change = torch.zeros_like(w)
        for part, mapping in self.named_children():
            rows = w[:, _ROWS[part]]
            if not rows.shape[1]:
                raise EditError(
                    f"codes with {w.shape[1]} rows have none for this mapper's {part!r}: it is for another generator."
                )
            change[:, _ROWS[part]] = mapping(rows)
        return change


class StyleMapper(nn.Module):
    """Styles, layer name -> [B,I], -> what to add to them: layer name -> [B,I], of the layers that have a mapping.

    Args:
        widths: official index of a layer -> I.
    """

    def __init__(self, widths: Mapping[int, int]) -> None:
        super().__init__()
        for index, width in sorted(widths.items()):
            self.add_module(f"mapper_{index}", _Layers(width))

    def forward(self, styles: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See the class. Raises EditError where styles lack a layer, or have another width there."""
        changes = {}
        for part, mapping in self.named_children():
            name = _LAYERS[int(part.removeprefix("mapper_"))]
            width = mapping.get_parameter("mapping.1.weight").shape[1]
            if name not in styles or styles[name].ndim != 2 or styles[name].shape[1] != width:
                shape = tuple(styles[name].shape) if name in styles else "nothing"
                raise EditError(
                    f"a mapper of styles needs [B, {width}] of layer {name!r} and was given {shape}. It was made for "
                    "another generator."
                )
            changes[name] = mapping(styles[name])
        return changes


@dataclass(frozen=True, eq=False)
class MapperEdit(StoredEdit):
    """Adds a multiple of a mapper's output to the code, or to the styles.

    Attributes:
        network: a `LatentMapper` for `info.space` "w", a `StyleMapper` for "styles".
        info: name, range, unit, source. Mappers are trained at strength 0.1.
    """

    network: LatentMapper | StyleMapper
    info: EditInfo

    kind: ClassVar[str] = "mapper"

    def __post_init__(self) -> None:
        if (self.info.space == "styles") != isinstance(self.network, StyleMapper):
            raise EditError(
                f"edit {self.info.name!r}: {with_article(type(self.network))} in space {self.info.space!r}; expected a "
                "LatentMapper in 'w' or a StyleMapper in 'styles'."
            )

    def __call__(self, codes: Any, strength: Tensor | float) -> Any:
        """w + strength * M(w), or the same with styles.

        Args:
            codes: [B,L,D]; in space "styles" layer name -> [B,I], all layers.
            strength: [B] or a number.

        Raises:
            EditError: the mapper is for another width or other layers, or codes [B,D], which have no rows for the
                parts of a mapper.
        """
        if isinstance(self.network, StyleMapper):
            changes = self.network(codes)
            moved = {
                name: codes[name] + amounts(strength, change)[:, None] * change for name, change in changes.items()
            }
            return {**codes, **moved}
        return codes + amounts(strength, codes)[:, None, None] * self.network(codes)

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `StoredEdit`."""
        return dict(self.network.state_dict()), {"layout": "styleclip"}

    @classmethod
    def from_parts(cls, info: EditInfo, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> MapperEdit:
        """See `StoredEdit`."""
        if dict(values) != {"layout": "styleclip"}:
            raise EditError(f"edit {info.name!r}: values {dict(values)}; expected the layout 'styleclip' of a mapper.")
        try:
            return cls(_network(tensors, f"edit {info.name!r}"), info)
        except WeightsError as error:
            raise EditError(str(error)) from error


def load_mapper(path: str | Path) -> MapperEdit:
    """A mapper from its published checkpoint: "levels" (with any of the three levels), "single", or of styles.

    The generator that such files contain as well is not read.

    Args:
        path: the checkpoint, {"state_dict": ..., "opts": ...}; the edit has the name of the file.

    Raises:
        CheckpointError: the file cannot be read, or holds objects; nothing of it is executed.
        WeightsError: it holds no mapper, or one whose tensors do not match each other or its options.
    """
    content = load_state(path, mmap=True)
    state, options = content.get("state_dict"), content.get("opts")
    if not isinstance(state, Mapping) or not isinstance(options, Mapping):
        raise WeightsError(
            f"{path} holds {sorted(map(str, content))[:4]}: expected the checkpoint of a StyleCLIP mapper, with "
            "'state_dict' and 'opts'."
        )
    # Copies, so that the memory map of the whole file, with its generator, can be closed.
    tensors = {
        key.removeprefix("mapper."): value.float().clone() if isinstance(value, Tensor) else value
        for key, value in plain_names(state, path).items()
        if isinstance(key, str) and key.startswith("mapper.")
    }
    network = _network(tensors, path)
    present = {part for part, _ in network.named_children()}
    for flag, part in _FLAGS.items():
        if present <= set(_FLAGS.values()) and flag in options and bool(options[flag]) != (part not in present):
            raise WeightsError(
                f"{path}: its options say {flag}={options[flag]} and its tensors have {', '.join(sorted(present))}: "
                "the file is damaged or was put together from two."
            )
    text = options.get("description")
    info = EditInfo(
        Path(path).stem,
        low=0.0,
        high=0.2,
        unit="of what the mapper adds (0.1 in training)",
        source=f"StyleCLIP latent mapper, {text!r}" if isinstance(text, str) else "StyleCLIP latent mapper",
        space="styles" if isinstance(network, StyleMapper) else "w",
    )
    return MapperEdit(network, info)


def _network(tensors: Mapping[str, Any], where: str | Path) -> LatentMapper | StyleMapper:
    """The network that tensors belong to, filled with them. Raises WeightsError where they make none."""
    parts = {name.partition(".")[0] for name in tensors}
    of_styles = bool(parts) and parts <= _STYLE_PARTS
    if not (of_styles or parts == {"mapping"} or (parts and parts <= set(_FLAGS.values()))):
        raise WeightsError(
            f"{where} holds the mappings {', '.join(sorted(parts)) or '(none)'}: expected 'mapping', or some of "
            f"{', '.join(_FLAGS.values())}, or 'mapper_0', 'mapper_2', ..."
        )
    if odd := [name for name, value in tensors.items() if not isinstance(value, Tensor)]:
        raise WeightsError(f"{where}: {odd[0]!r} is {with_article(type(tensors[odd[0]]))}: expected tensors only.")
    # Widths from the biases: that the other tensors have the same is checked below, with names.
    widths = {p: tensors[f"{p}.mapping.1.bias"].numel() for p in parts if f"{p}.mapping.1.bias" in tensors}
    if without := sorted(part for part in parts if not widths.get(part)):
        raise WeightsError(f"{where}: {without[0]!r} has no 'mapping.1.bias' with numbers. The file is incomplete.")
    network: LatentMapper | StyleMapper
    with torch.device("meta"):
        if of_styles:
            network = StyleMapper({int(part.removeprefix("mapper_")): width for part, width in widths.items()})
        else:
            network = LatentMapper(max(widths.values()), tuple(part for part in _ROWS if part in parts))
    check_tensors(network.state_dict(), tensors, where)
    network.load_state_dict(dict(tensors), assign=True)
    return network.eval().requires_grad_(False)
