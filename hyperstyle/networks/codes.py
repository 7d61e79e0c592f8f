"""Offset codes: the small vectors from which a hypernetwork's heads make dense weight offsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperstyle.errors import InversionError

__all__ = ["OffsetCodes"]


@dataclass(frozen=True)
class OffsetCodes:
    """A weighted sum of hypernetwork passes, kept as codes instead of dense offsets.

    A head that is affine in its code, Δ(c) = A c + b, satisfies Σ_t Δ(c_t) = A Σ_t c_t + T b: the sum of the codes
    and T carry the accumulated offset exactly (Eq. 6). Heads that are not affine keep one code per pass.

    Attributes:
        sums: layer -> [B,C], weighted sum of the codes of affine heads.
        terms: layer -> [B,K,C], the codes of the K passes for the other heads.
        weights: [B,K] weight of each pass ([B,1], the sum, where no head needs them one by one).
    """

    sums: Mapping[str, Tensor]
    terms: Mapping[str, Tensor]
    weights: Tensor

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that have a code."""
        return (*self.sums, *self.terms)

    @property
    def count(self) -> Tensor:
        """[B] the sum of the weights: T after T passes."""
        return self.weights.sum(1)

    @property
    def values(self) -> int:
        """How many numbers describe one picture."""
        tensors = [*self.sums.values(), *self.terms.values(), self.weights]
        return sum(t[0].numel() for t in tensors)

    def __len__(self) -> int:
        return self.weights.shape[0]

    def __add__(self, other: OffsetCodes) -> OffsetCodes:
        """The codes whose dense offsets are the sum of both (Eq. 6)."""
        self._check(other)
        sums = {name: code + other.sums[name] for name, code in self.sums.items()}
        if not self.terms:
            return OffsetCodes(sums, {}, (self.count + other.count)[:, None])
        terms = {name: torch.cat([code, other.terms[name]], 1) for name, code in self.terms.items()}
        return OffsetCodes(sums, terms, torch.cat([self.weights, other.weights], 1))

    def __mul__(self, factor: float) -> OffsetCodes:
        """The codes whose dense offsets are `factor` times these."""
        return OffsetCodes({n: c * factor for n, c in self.sums.items()}, dict(self.terms), self.weights * factor)

    def apply(self, function: Callable[[Tensor], Tensor]) -> OffsetCodes:
        """The same structure with `function` applied to every tensor (indexing, moving, detaching)."""
        return OffsetCodes(
            {n: function(c) for n, c in self.sums.items()},
            {n: function(c) for n, c in self.terms.items()},
            function(self.weights),
        )

    def only(self, layers: Sequence[str]) -> OffsetCodes:
        """The codes of these layers alone; the other layers are left as they are in the generator."""
        return OffsetCodes(
            {n: c for n, c in self.sums.items() if n in layers},
            {n: c for n, c in self.terms.items() if n in layers},
            self.weights,
        )

    def update(self, other: OffsetCodes) -> OffsetCodes:
        """These codes with the layers of `other` replaced by its own; both must have the same pass weights."""
        if self.weights.shape != other.weights.shape or not torch.equal(self.weights, other.weights):
            raise InversionError("offset codes of a different number of passes cannot be mixed by layer.")
        return OffsetCodes({**self.sums, **other.sums}, {**self.terms, **other.terms}, self.weights)

    @staticmethod
    def mixed(mine: OffsetCodes | None, theirs: OffsetCodes | None, layers: Sequence[str]) -> OffsetCodes | None:
        """`mine` with these layers as `theirs` has them. A layer without a code, and None, mean no offset."""
        kept = None if mine is None else mine.only([name for name in mine.layers if name not in layers])
        taken = None if theirs is None else theirs.only(layers)
        parts = [part for part in (kept, taken) if part is not None and part.layers]
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else parts[0].update(parts[1])

    @staticmethod
    def cat(parts: Sequence[OffsetCodes]) -> OffsetCodes:
        """Pictures of all parts in one batch."""
        first = parts[0]
        for part in parts[1:]:
            first._check(part)
        width = max(p.weights.shape[1] for p in parts)

        def pad(t: Tensor) -> Tensor:  # fewer passes: weight 0
            return torch.nn.functional.pad(t, (0, 0) * (t.ndim - 2) + (0, width - t.shape[1]))

        return OffsetCodes(
            {n: torch.cat([p.sums[n] for p in parts]) for n in first.sums},
            {n: torch.cat([pad(p.terms[n]) for p in parts]) for n in first.terms},
            torch.cat([pad(p.weights) for p in parts]),
        )

    def _check(self, other: OffsetCodes) -> None:
        if set(self.sums) != set(other.sums) or set(self.terms) != set(other.terms):
            raise InversionError(
                "offset codes of different layers cannot be combined: "
                f"{len(self.layers)} layers here, {len(other.layers)} there."
            )
