"""Edits in StyleSpace: the outputs of the affine layers, moved channel by channel (Wu et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hyperstyle.edits.catalog import CHANNELS
from hyperstyle.edits.protocol import EditInfo, StoredEdit, amounts
from hyperstyle.errors import EditError, did_you_mean
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, LayerSpec, layer_table

_PUBLISHED_STEP = 3.0  # what one unit of the published strengths adds to each channel


@dataclass(frozen=True, eq=False)
class StyleEdit(StoredEdit):
    """Adds a multiple of a change to the styles of some layers.

    Attributes:
        changes: layer name -> [I], what one unit of strength adds. Other layers stay as they are.
        info: name, range, unit, source; its space is "styles".
    """

    changes: Mapping[str, Tensor]
    info: EditInfo

    kind: ClassVar[str] = "style"

    def __post_init__(self) -> None:
        if self.info.space != "styles":
            raise EditError(f"edit {self.info.name!r} moves styles: expected an EditInfo with space='styles'.")
        for name, change in self.changes.items():
            if change.ndim != 1 or not torch.isfinite(change).all():
                raise EditError(
                    f"edit {self.info.name!r}: a change of shape {tuple(change.shape)} for {name}; expected finite "
                    "numbers of shape [I], one for each input channel."
                )

    def __call__(self, codes: Mapping[str, Tensor], strength: Tensor | float) -> dict[str, Tensor]:
        """styles + strength * change.

        Args:
            codes: layer name -> [B,I], all layers, as `Generator.styles` makes them.
            strength: [B] or a number.

        Raises:
            EditError: latent codes instead of styles, or a layer that is missing or of another width.
        """
        if not isinstance(codes, Mapping):
            raise EditError(f"edit {self.info.name!r} moves styles: pass what `generator.styles(w)` gives.")
        edited = dict(codes)
        for name, change in self.changes.items():
            have = f"has {tuple(codes[name].shape)}" if name in codes else "has no such layer"
            if name not in codes or codes[name].ndim != 2 or codes[name].shape[1] != len(change):
                raise EditError(
                    f"edit {self.info.name!r} moves {len(change)} channels of {name}, and this generator {have}. "
                    "It was made for another one."
                )
            edited[name] = codes[name] + amounts(strength, codes[name])[:, None] * change.to(codes[name])
        return edited

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `StoredEdit`."""
        return dict(self.changes), {}

    @classmethod
    def from_parts(cls, info: EditInfo, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> StyleEdit:
        """See `StoredEdit`."""
        if values:
            raise EditError(f"edit {info.name!r} holds the values {sorted(values)}: expected a tensor for each layer.")
        return cls(dict(tensors), info)


def channel_edit(
    layers: Sequence[LayerSpec],
    channels: Iterable[tuple[str | int, int]],
    name: str,
    *,
    deviations: Mapping[str, Tensor] | None = None,
    step: float = 1.0,
    torgb_counted: bool | None = None,
    low: float = -10.0,
    high: float = 10.0,
    source: str = "",
    model: str = "",
) -> StyleEdit:
    """An edit that moves single channels of the styles, all of them up at positive strengths.

    Args:
        layers: those of the generator, `generator.layers` or `layer_table(config)`.
        channels: pairs (layer, channel), counted from 0; a layer by its name or its number, see `torgb_counted`.
        name: what the edit is called.
        deviations: layer name -> [I], standard deviations of the styles: a unit of strength is then `step` deviations
            of each channel, as in the paper; otherwise it is `step` in units of the styles.
        step: see `deviations`.
        torgb_counted: whether the numbers of layers count toRGB too, as in the official order, or the other
            convolutions alone. None: the first, if every channel then exists, else the second.
        low, high: sensible strengths.
        source, model: see `EditInfo`.

    Raises:
        EditError: no channels, one named twice or that is not there, or deviations that lack a layer.
    """
    resolved = _resolve(layers, list(channels), torgb_counted, name)
    changes: dict[str, Tensor] = {}
    for i, (spec, channel) in enumerate(resolved):
        change = changes.setdefault(spec.name, torch.zeros(spec.style_width))
        if (spec, channel) in resolved[:i]:
            raise EditError(f"edit {name!r} names channel {channel} of {spec.name} twice: once is enough.")
        change[channel] = step * (1.0 if deviations is None else _deviation(deviations, spec, channel, name))
    if not any(change.any() for change in changes.values()):
        raise EditError(f"edit {name!r} moves no channel: its step or the deviations are 0. Give a step above 0.")
    what = "units of each channel" if deviations is None else "standard deviations of each channel"
    unit = what if step == 1 else f"{step:g} {what}"
    return StyleEdit(changes, EditInfo(name, low, high, unit, source, model, space="styles"))


def published_channels(
    name: str,
    layers: Sequence[LayerSpec],
    *,
    domain: str = "faces",
    deviations: Mapping[str, Tensor] | None = None,
    model: str = "",
) -> StyleEdit:
    """The edit of published channels with this name ("smiling", "goatee", "wheel angle"; "_" stands for a space).

    One unit of strength adds 3 to each channel, as where they were published, or one deviation with `deviations`. The
    lists name channels without a sign: try both.

    Args:
        name: see `catalog.CHANNELS`.
        layers: those of the generator.
        domain: "faces" or "cars".
        deviations: layer name -> [I]; `styleclip.read_deviations` has them from a published file.
        model: see `EditInfo`.

    Raises:
        EditError: an unknown domain or name, or a generator that the channels are not for.
    """
    if domain not in CHANNELS:
        raise EditError(f"no published channels for {domain!r}. {did_you_mean(domain, CHANNELS)}")
    published = CHANNELS[domain]
    key = name.replace("_", " ")
    if key not in published.channels:
        raise EditError(f"no published channels {name!r} for {domain}. {did_you_mean(key, published.channels)}")
    official = layer_table(GeneratorConfig.official(published.size))
    if [spec.style_width for spec in layers] != [spec.style_width for spec in official]:
        raise EditError(
            f"the channels {name!r} are those of the official generator of {published.size} px, and this one has "
            f"{layers[-1].resolution} px and other layers: they mean nothing here. Give channels of its own to "
            "`channel_edit`."
        )
    return channel_edit(
        layers,
        published.channels[key],
        key,
        deviations=deviations,
        step=_PUBLISHED_STEP if deviations is None else 1.0,
        torgb_counted=True,
        low=-5.0 if deviations is None else -10.0,
        high=5.0 if deviations is None else 10.0,
        source=f"StyleSpace channels of {domain}",
        model=model,
    )


def _resolve(
    layers: Sequence[LayerSpec], channels: list[tuple[str | int, int]], torgb_counted: bool | None, name: str
) -> list[tuple[LayerSpec, int]]:
    """Layers and channels that are there. Raises EditError."""
    if not channels or not all(_is_pair(pair) for pair in channels):
        raise EditError(f"edit {name!r} names {channels or 'no channel'}: expected pairs (layer, channel).")
    by_name: dict[str | int, LayerSpec] = {spec.name: spec for spec in layers}
    all_layers = by_name | {spec.index: spec for spec in layers}
    without_torgb = by_name | dict(enumerate(spec for spec in layers if not spec.torgb))
    for known in {None: (all_layers, without_torgb), True: (all_layers,), False: (without_torgb,)}[torgb_counted]:
        fits = [(known[n], c) for n, c in channels if n in known and 0 <= c < known[n].style_width]
        if len(fits) == len(channels):
            return fits
    layer, channel = next((n, c) for n, c in channels if n not in known or not 0 <= c < known[n].style_width)
    have = f"has no layer {layer!r}, but {layers[0].name} to {layers[-1].name} and the numbers 0 to "
    have += str(len(known) - len(by_name) - 1)
    if layer in known:
        have = f"has {known[layer].style_width} there"
    raise EditError(f"edit {name!r} moves channel {channel} of layer {layer!r}: this generator {have}.")


def _is_pair(pair: object) -> bool:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return False
    return isinstance(pair[0], (str, int)) and isinstance(pair[1], int)


def _deviation(deviations: Mapping[str, Tensor], spec: LayerSpec, channel: int, name: str) -> float:
    values = deviations.get(spec.name)
    if values is None or tuple(values.shape) != (spec.style_width,):
        have = "none" if values is None else tuple(values.shape)
        raise EditError(f"edit {name!r} needs [{spec.style_width}] deviations of {spec.name}: {have} given.")
    return float(values[channel])
