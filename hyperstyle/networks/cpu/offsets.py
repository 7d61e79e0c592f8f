"""Offset codes -> dense offsets, the large matrices of the hypernetwork read once for all layers and images.

`reference.predict` is the same step by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.heads import SharedHead
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.hypernetworks.lazy import LazyOffsets

__all__ = ["FastOffsets"]


@dataclass(frozen=True, eq=False)
class FastOffsets(LazyOffsets):
    """`LazyOffsets` of a hypernetwork whose large matrices are read once for all layers and images.

    What depends on them is kept: as published, 9 MB an image for the shared heads and 1 MB for the others, and 9 MB in
    all for `turned`.

    Attributes:
        hypernetwork: whose codes these are.
        codes: one row for each of B images.
        rows: of the shared heads, layer -> [B,C,C]; Δ is made of them when its layer is asked for.
        deltas: Δ of the other heads that are affine, layer -> [B,O,I,1,1] or [B,O,I,k,k].
        turned: `SharedExpander.turned`, on a CPU and without gradients.
    """

    hypernetwork: Hypernetwork
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    deltas: Mapping[str, Tensor] = field(default_factory=dict)
    turned: Tensor | None = None

    @classmethod
    def of(cls, network: Hypernetwork, codes: OffsetCodes) -> FastOffsets:
        """What `codes` stand for."""
        heads = {spec.name: network.head(spec) for spec in network.layers if spec.name in codes.sums}
        shared = [name for name, head in heads.items() if isinstance(head, SharedHead)]
        rows: dict[str, Tensor] = {}
        turned: Tensor | None = None
        deltas = {
            name: head.expand(codes.sums[name], codes.count, None) for name, head in heads.items() if name not in shared
        }
        if shared and (expander := network.shared_weight_hypernet) is not None:
            every = expander.rows(torch.cat([codes.sums[name] for name in shared]), codes.count.repeat(len(shared)))
            rows = dict(zip(shared, torch.split(every, len(codes)), strict=True))
            if every.device.type == "cpu" and not torch.is_grad_enabled():
                turned = expander.turned()
        return cls(network, codes, rows, deltas, turned)

    def __getitem__(self, layer: str) -> Tensor:
        expander = self.hypernetwork.shared_weight_hypernet
        if layer in self.rows and expander is not None:
            made = expander.delta(self.rows[layer], self.codes.count, self.turned)
        elif layer in self.deltas:
            made = self.deltas[layer]
        else:
            return super().__getitem__(layer)
        return self.codes.only([layer]).expanded({layer: made})[layer]

    def select(self, i: int) -> FastOffsets:
        codes = self.codes.select(slice(i, i + 1))
        rows, deltas = ({name: t[i : i + 1] for name, t in group.items()} for group in (self.rows, self.deltas))
        return FastOffsets(self.hypernetwork, codes, rows, deltas, self.turned)
