"""Offset codes: the small vectors from which a hypernetwork's heads compute dense weight offsets, layer by layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, InversionError
from hyperstyle.networks.stylegan2.config import LayerSpec


@dataclass(frozen=True, eq=False)
class OffsetCodes:
    """The weight offsets of B images: a weighted sum over hypernetwork steps, stored as codes, not dense tensors.

    A head that is affine in its code, Δ(c) = A c + b, satisfies Σ_t Δ(c_t) = A Σ_t c_t + T b: the sum of the codes
    and T carry the accumulated offset exactly (Eq. 6). Heads that are not affine keep one code per step.

    Offsets that no hypernetwork predicted, such as imported ones, have no codes and are stored dense. The offset of a
    layer that has both is their sum.

    `len()` is the number of images B. `a + b` are codes whose offsets are the sum of both, `a * factor` those whose
    offsets are multiplied.

    Attributes:
        sums: layer -> [B,C], weighted sum of the codes of affine heads.
        terms: layer -> [B,K,C], the codes of the K steps, not weighted, for the other heads.
        weights: [B,K] weight of each step ([B,1], the sum, where no head needs them one by one).
        dense: layer -> Δ, broadcastable to [B,O,I,k,k].
    """

    sums: Mapping[str, Tensor]
    terms: Mapping[str, Tensor]
    weights: Tensor
    dense: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_dense(cls, dense: Mapping[str, Tensor]) -> OffsetCodes:
        """Dense offsets alone, layer -> [B,O,I,k,k], at least one layer."""
        first = next(iter(dense.values()))
        return cls({}, {}, first.new_zeros(first.shape[0], 1), dense)

    @classmethod
    def none(cls, w: Tensor) -> OffsetCodes:
        """No offsets for B images, which `cat` takes as zeros. Of `w` [B,...] only B, type and device are used."""
        return cls({}, {}, w.new_zeros(len(w), 1))

    @property
    def coded(self) -> tuple[str, ...]:
        """Names of all layers that have a code."""
        return (*self.sums, *self.terms)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that have a code or a dense offset."""
        return (*self.coded, *(name for name in self.dense if name not in self.coded))

    @property
    def count(self) -> Tensor:
        """[B] the sum of the weights: T after T steps."""
        # [B,K] -> [B], with which the bias b of an affine head is multiplied
        return self.weights.sum(1)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors: those of `sums`, those of `terms`, `weights`, then those of `dense`."""
        return (*self.sums.values(), *self.terms.values(), self.weights, *self.dense.values())

    def __len__(self) -> int:
        return self.weights.shape[0]

    def __add__(self, other: OffsetCodes) -> OffsetCodes:
        """The codes whose dense offsets are the sum of both (Eq. 6).

        Raises:
            InversionError: both have codes, for different layers.
        """
        dense = _added(self.dense, other.dense)
        if not self.coded or not other.coded:
            return replace(self if self.coded else other, dense=dense)
        self._check(other)
        # Eq. 6: sum over t of Δ(c_t) = A (sum of c_t) + T b for affine heads.
        sums = {name: code + other.sums[name] for name, code in self.sums.items()}
        if not self.terms:
            return OffsetCodes(sums, {}, (self.count + other.count)[:, None], dense)
        # The other heads need every step: [B,K,C] and [B,K',C] -> [B,K + K',C].
        terms = {name: torch.cat([code, other.terms[name]], 1) for name, code in self.terms.items()}
        return OffsetCodes(sums, terms, torch.cat([self.weights, other.weights], 1), dense)

    def __mul__(self, factor: float) -> OffsetCodes:
        """The codes whose dense offsets are `factor` times these."""
        # Affine heads: the sum of the codes and the sum of the weights both scale. The others scale by their weights.
        sums, dense = ({n: t * factor for n, t in group.items()} for group in (self.sums, self.dense))
        return OffsetCodes(sums, dict(self.terms), self.weights * factor, dense)

    def apply(self, function: Callable[[Tensor], Tensor]) -> OffsetCodes:
        """A copy with `function` applied to every tensor, to move, convert, detach or expand them.

        To choose images, call `select`: dense offsets that all images share have no axis of length B.
        """
        sums, terms, dense = ({n: function(t) for n, t in g.items()} for g in (self.sums, self.terms, self.dense))
        return OffsetCodes(sums, terms, function(self.weights), dense)

    def select(self, chosen: slice | list[int]) -> OffsetCodes:
        """The codes of these images; dense offsets that all images share are kept whole."""
        # Δ of [O,I,k,k] or, for several images, [1,O,I,k,k] belongs to all images.
        dense = {n: t if t.ndim < 5 or len(t) < len(self) else t[chosen] for n, t in self.dense.items()}
        return replace(replace(self, dense={}).apply(lambda t: t[chosen]), dense=dense)

    def only(self, layers: Sequence[str]) -> OffsetCodes:
        """The codes and dense offsets of `layers` only; all other layers get no offset."""
        groups = (self.sums, self.terms, self.dense)
        sums, terms, dense = ({n: t for n, t in group.items() if n in layers} for group in groups)
        return OffsetCodes(sums, terms, self.weights, dense)

    @staticmethod
    def mixed(first: OffsetCodes | None, second: OffsetCodes | None, layers: Sequence[str]) -> OffsetCodes | None:
        """`first` with `layers` taken from `second`; the result is None where no offset is left.

        None, and a layer with neither code nor dense offset, count as no offset: such a layer of `second` ends up
        without one.

        Raises:
            InversionError: codes are kept from both sides, and their step weights differ.
        """
        a = None if first is None else first._with_effect([name for name in first.layers if name not in layers])
        b = None if second is None else second._with_effect(layers)
        if a is None or b is None:
            return b if a is None else a
        dense = {**a.dense, **b.dense}
        if not a.coded or not b.coded:
            return replace(a if a.coded else b, dense=dense)
        if not torch.equal(a.weights, b.weights):
            raise InversionError("offset codes of a different number of steps cannot be mixed by layer.")
        return OffsetCodes({**a.sums, **b.sums}, {**a.terms, **b.terms}, a.weights, dense)

    def _with_effect(self, layers: Sequence[str]) -> OffsetCodes | None:
        """`only(layers)`, without codes if all step weights and all `sums` are zero; None where nothing is left."""
        has_effect = self.weights.any() or any(code.any() for code in self.sums.values())
        codes = (self if has_effect else OffsetCodes({}, {}, self.weights[:, :1], self.dense)).only(layers)
        return codes if codes.layers else None

    @staticmethod
    def cat(parts: Sequence[OffsetCodes]) -> OffsetCodes:
        """Joins all parts along the batch axis. A part without codes, or without a dense offset, gets zeros.

        Raises:
            InversionError: two parts have codes, for different layers.
        """
        coded = [part for part in parts if part.coded]
        for part in coded[1:]:
            coded[0]._check(part)
        width = max(p.weights.shape[1] for p in parts)

        def pad(t: Tensor) -> Tensor:  # missing steps have weight 0
            # [B,K] or [B,K,C] -> K = width: padding counts axes from the last one, two numbers each
            return torch.nn.functional.pad(t, (0, 0) * (t.ndim - 2) + (0, width - t.shape[1]))

        def joined(groups: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
            result = {}
            for name, like in {n: t for group in groups for n, t in group.items()}.items():
                shapes = [group[name].shape[1:] for group in groups if name in group]
                shape = [max(sizes) for sizes in zip(*shapes, strict=True)]  # equal taps may be stored once
                # a part without this layer: zeros, [] -> [b,*shape]
                rows = [group.get(name, like.new_zeros(())) for group in groups]
                result[name] = torch.cat([t.expand(len(p), *shape) for t, p in zip(rows, parts, strict=True)])
            return result

        return OffsetCodes(
            joined([p.sums for p in parts]),
            joined([{n: pad(t) for n, t in p.terms.items()} for p in parts]),
            torch.cat([pad(p.weights) for p in parts]),  # [B,K]
            joined([p.dense for p in parts]),
        )

    def expanded(self, offsets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Layer -> Δ, the sum of `offsets`, which a network computed from these codes, and of `dense`.

        It has every layer that either of them has.
        """
        return _added(offsets, self.dense)

    def _check(self, other: OffsetCodes) -> None:
        """Raises InversionError unless both have codes for the same layers."""
        if set(self.sums) != set(other.sums) or set(self.terms) != set(other.terms):
            raise InversionError(
                f"offset codes for different layers cannot be combined, {len(self.coded)} here and {len(other.coded)} "
                "there: in a layer that one side lacks, no code stands for no offset. Combine inversions whose codes "
                "are for the same layers."
            )


def _added(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sum for each layer of either side; a layer that one side lacks counts as zero there."""
    return {**a, **{name: a[name] + value if name in a else value for name, value in b.items()}}


class Expander(ABC):
    """A network that expands codes: `Hypernetwork` to offsets, `HyperInverter` to residuals.

    Attributes:
        layers: the layers that it changes, in the official order.
        kind: what messages call the network.
        code_width: C of its codes.
    """

    layers: tuple[LayerSpec, ...]
    kind: ClassVar[str]
    code_width: int

    def is_affine(self, spec: LayerSpec) -> bool:
        """Whether the codes of this layer, one of `layers`, are summed (`OffsetCodes.sums`), not kept for each step."""
        return True

    @abstractmethod
    def expand(self, spec: LayerSpec, codes: OffsetCodes) -> Tensor:
        """The offset or residual that a layer's codes stand for, broadcastable to [B,O,I,k,k].

        It is the weighted sum over all steps (Eq. 6), without `codes.dense`, which `offsets` adds.

        Args:
            spec: one of `layers`.
            codes: have a code for this layer.
        """

    def offsets(self, codes: OffsetCodes, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Codes -> dense tensors: layer name -> [B,O,I,k,k] (or [B,O,I,1,1] where all taps are equal).

        These are offsets Δ of a hypernetwork, and residuals, which are added to raw weights, of a HyperInverter.

        Args:
            codes: what `forward` returned, or a weighted sum of such; dense tensors among them are added.
            layers: only these layers; those with neither a code nor a dense tensor are left out. None takes all.

        Raises:
            ConfigError: there is a code, in any layer, for a layer that this network does not change.
        """
        if unknown := sorted(set(codes.coded) - {spec.name for spec in self.layers}):
            raise ConfigError(f"offset codes for layer {unknown[0]!r}, which this {self.kind} does not change.")
        codes = codes if layers is None else codes.only(list(layers))
        return codes.expanded({s.name: self.expand(s, codes) for s in self.layers if s.name in codes.coded})


@dataclass(frozen=True, eq=False)
class LazyOffsets(Mapping[str, Tensor]):
    """The offsets `hypernetwork.offsets(codes)`, computed layer by layer on access and not cached.

    The published layers of a 1024 px model have 86 MB of dense offsets for each image; the largest has 9 MB.

    Attributes:
        hypernetwork: computes the offsets.
        codes: one row for each image.
    """

    hypernetwork: Expander
    codes: OffsetCodes

    def __getitem__(self, layer: str) -> Tensor:
        # Only this layer's code is expanded.
        return self.hypernetwork.offsets(self.codes, [layer])[layer]

    def __contains__(self, layer: object) -> bool:
        return layer in self.codes.layers  # the default of Mapping would compute the offset

    def __iter__(self) -> Iterator[str]:
        return iter(self.codes.layers)

    def __len__(self) -> int:
        return len(self.codes.layers)

    def select(self, i: int) -> LazyOffsets:
        """The offsets of one image, of shapes [1,...]."""
        return LazyOffsets(self.hypernetwork, self.codes.select(slice(i, i + 1)))


def of_image(offsets: Mapping[str, Tensor], i: int, batch: int) -> Mapping[str, Tensor]:
    """Selects image `i` of a batch: offsets that broadcast to [B,O,I,k,k] -> offsets that do to [1,O,I,k,k].

    Nothing is computed or copied: `LazyOffsets` stay lazy.

    Raises:
        ConfigError: `LazyOffsets` of neither 1 nor `batch` images.
    """
    # Codes of one image are those of all; dense offsets broadcast where their first axis is 1 or missing.
    if isinstance(offsets, LazyOffsets):
        if len(offsets.codes) not in (1, batch):
            raise ConfigError(f"offset codes of {len(offsets.codes)} images for {batch}: expected 1 or {batch}.")
        return offsets if len(offsets.codes) == 1 else offsets.select(i)
    return {name: t[i : i + 1] if t.ndim == 5 and len(t) == batch else t for name, t in offsets.items()}
