"""Features in the state of an inversion: maps of one layer, and the codes whose edits a feature editor carries over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hyperstyle.errors import InversionError
from hyperstyle.networks.stylegan2.features import FeatureMaps

_STYLE = "guide/style/"


@dataclass(frozen=True, eq=False)
class Guide:
    """Codes of the same images for the feature editor (StyleFeatureEditor: those of e4e), before and after all edits.

    The difference D of the maps that the model's own generator makes of both tells the editor H what to change in the
    features F: H(F, D). It runs for images without edits too, where D is zero.

    Attributes:
        before: [B,L,D] codes without edits.
        w: [B,L,D] codes with the edits of the inversion.
        scale: [B] how much of H(F, D) is taken in place of F: 1; 0 for images without a guide.
        style_offsets: layer name -> [B,S], the StyleSpace edits of the inversion.
    """

    before: Tensor
    w: Tensor
    scale: Tensor
    style_offsets: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Features:
    """Feature maps of B images.

    Attributes:
        maps: what the generator is given; with a guide, after the feature editor.
        guide: the codes that the feature editor needs; None where the maps stay as they are in edits.
    """

    maps: FeatureMaps
    guide: Guide | None = None

    @property
    def named(self) -> dict[str, Tensor]:
        """All tensors by name, [B,...] each."""
        tensors = {"maps": self.maps.maps, "blend": self.maps.blend}
        if self.guide is not None:
            tensors |= {f"guide/{name}": getattr(self.guide, name) for name in ("before", "w", "scale")}
            tensors |= {_STYLE + name: offset for name, offset in self.guide.style_offsets.items()}
        return tensors

    @staticmethod
    def of_named(layer: str, tensors: Mapping[str, Tensor]) -> Features:
        """The features of a layer with these tensors (see `named`)."""
        guide = None
        if "guide/w" in tensors:
            styles = {name.removeprefix(_STYLE): t for name, t in tensors.items() if name.startswith(_STYLE)}
            guide = Guide(tensors["guide/before"], tensors["guide/w"], tensors["guide/scale"], styles)
        return Features(FeatureMaps(layer, tensors["maps"], tensors["blend"]), guide)

    def apply(self, function: Callable[[Tensor], Tensor]) -> Features:
        """A copy with `function` applied to every tensor."""
        return Features.of_named(self.maps.layer, {name: function(tensor) for name, tensor in self.named.items()})

    def take(self, images: slice | list[int]) -> Features:
        """Those of these images; of one image several times, as views of one row."""
        if isinstance(images, list) and len({*images}) == 1:
            first, count = images[0], len(images)
            return self.apply(lambda t: t[first : first + 1].expand(count, *t.shape[1:]))
        return self.apply(lambda t: t[images])

    def without_effect(self) -> Features:
        """The same maps and guide, of which nothing is taken: for images without features."""
        nothing = torch.tensor([1.0, 0.0]).to(self.maps.blend).expand_as(self.maps.blend)
        return replace(self, maps=replace(self.maps, blend=nothing))

    @staticmethod
    def cat(parts: Sequence[Features | None], counts: Sequence[int]) -> Features | None:
        """Joins all parts, of `counts` images each, along the batch axis; None where no part has features.

        Parts without features get zeros of which nothing is taken. Raises InversionError for features of different
        layers.
        """
        if all(part is None for part in parts):
            return None
        layer, shapes = _common([part for part in parts if part is not None])

        def named(part: Features | None, count: int) -> dict[str, Tensor]:
            given = {} if part is None else part.named
            zeros = {name: t.new_zeros(1, *t.shape[1:]).expand(count, *t.shape[1:]) for name, t in shapes.items()}
            if part is None:
                zeros["blend"] = zeros["blend"] + zeros["blend"].new_tensor([1.0, 0.0])
            return zeros | given

        rows = [named(part, count) for part, count in zip(parts, counts, strict=True)]
        return Features.of_named(layer, {name: torch.cat([row[name] for row in rows]) for name in shapes})

    @staticmethod
    def between(a: Features | None, b: Features | None, ticks: Sequence[float]) -> Features | None:
        """(1 - t) * a + t * b for each tick t, of one image each.

        Where one has no features, those of the other fade: only how much is taken of them changes. Raises
        InversionError for features of different layers.
        """
        if a is None or b is None:
            if (given := a or b) is None:
                return None
            a, b = a or given.without_effect(), b or given.without_effect()
        layer, shapes = _common([a, b])
        first, second = a.named, b.named
        missing = {name: tensor.new_zeros(1, *tensor.shape[1:]) for name, tensor in shapes.items()}
        lines = {}
        for name in shapes:
            # A guide that only one side has stays as it is, and its scale goes to or from zero.
            alone = name.startswith("guide/") and name != "guide/scale" and (a.guide is None) is not (b.guide is None)
            x, y = (side.get(name, missing[name]) for side in (first, second))
            if alone:
                x = y = first.get(name, second.get(name, missing[name]))
            lines[name] = torch.cat([(1 - t) * x + t * y for t in ticks])
        return Features.of_named(layer, lines)

    @staticmethod
    def mixed(a: Features | None, b: Features | None, layers: Sequence[str]) -> Features | None:
        """Those of `a`, or of `b` for the layers of these names. Raises InversionError if that gives two of them."""
        remaining = None if a is None or a.maps.layer in layers else a
        chosen = b if b is not None and b.maps.layer in layers else None
        if remaining is not None and chosen is not None:
            _common([remaining, chosen])
        return chosen or remaining


def _common(parts: Sequence[Features]) -> tuple[str, dict[str, Tensor]]:
    """The layer of all parts, and by name the tensors of the parts, of any that has one.

    Raises InversionError where they are features of different layers.
    """
    layers = sorted({part.maps.layer for part in parts})
    if len(layers) > 1:
        raise InversionError(
            f"features of layer {layers[0]!r} and of {layers[1]!r} cannot be combined: a generator takes those of one "
            "layer. Invert both images with features of the same layer, or use Inversion.initial."
        )
    shapes: dict[str, Tensor] = {}
    for part in parts:
        shapes |= part.named
    return layers[0], shapes
