"""Offset codes -> dense offsets, the large matrices of the hypernetwork read once for all layers and images.

`reference.predict` is the same step by step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.networks.hypernetworks.codes import LazyOffsets, OffsetCodes
from hyperstyle.networks.hypernetworks.heads import SharedExpander, SharedHead
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork

_FEW_ROWS = 32  # codes that `_times_large_matrix` is faster for


def offsets(hypernetwork: Hypernetwork, codes: OffsetCodes) -> LazyOffsets:
    """`hypernetwork.offsets(codes)` layer by layer, with the part that all layers share computed at once.

    Where gradients are recorded, or elsewhere than on a CPU, too.

    Args:
        hypernetwork: that predicted the codes.
        codes: one row for each of B images.

    Returns:
        Layer name -> Δ, broadcastable to [B,O,I,k,k]; those of large layers are computed on access.
    """
    heads = {spec.name: hypernetwork.head(spec) for spec in hypernetwork.layers if spec.name in codes.sums}
    shared = [name for name, head in heads.items() if isinstance(head, SharedHead)]
    deltas = {
        name: head.expand(codes.sums[name], codes.count, None) for name, head in heads.items() if name not in shared
    }
    fast = FastOffsets(hypernetwork, codes, deltas=deltas)
    expander = hypernetwork.shared_weight_hypernet
    if not shared or expander is None:
        return fast
    # All shared heads as one: [layers * B,C] -> [layers * B,C,C] -> layers times [B,C,C].
    every = _rows(expander, torch.cat([codes.sums[name] for name in shared]), codes.count.repeat(len(shared)))
    rows = dict(zip(shared, torch.split(every, len(codes)), strict=True))
    is_cpu_form = every.device.type == "cpu" and not torch.is_grad_enabled()
    return replace(fast, rows=rows, w1_image=_w1_as_image(expander) if is_cpu_form else None)


@dataclass(frozen=True, eq=False)
class FastOffsets(LazyOffsets):
    """`LazyOffsets` of a hypernetwork whose large matrices have been read for all layers and images.

    What was computed from them is kept: as published, 9 MB an image for the shared heads and 1 MB for the others, and
    9 MB in all for `w1_image`.

    Attributes:
        hypernetwork: that predicted the codes.
        codes: one row for each of B images.
        rows: of the shared heads, layer -> [B,C,C], from which Δ is computed on access.
        deltas: Δ of the other heads that are affine, layer -> [B,O,I,1,1] or [B,O,I,k,k].
        w1_image: [1,C,C,9], w1 of the shared expander with its C input rows as channels; None where gradients are
            recorded, and elsewhere than on a CPU.
    """

    hypernetwork: Hypernetwork
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    deltas: Mapping[str, Tensor] = field(default_factory=dict)
    w1_image: Tensor | None = None

    def __getitem__(self, layer: str) -> Tensor:
        expander = self.hypernetwork.shared_weight_hypernet
        if layer in self.rows and expander is not None:
            rows = self.rows[layer]
            if self.w1_image is not None and len(rows) == 1 and not torch.is_grad_enabled():
                delta = _delta_of_image(expander, rows[0], self.codes.count, self.w1_image)
            else:
                delta = expander.delta(rows, self.codes.count)
        elif layer in self.deltas:
            delta = self.deltas[layer]
        else:
            return super().__getitem__(layer)
        return self.codes.only([layer]).expanded({layer: delta})[layer]

    def select(self, i: int) -> FastOffsets:
        codes = self.codes.select(slice(i, i + 1))
        rows, deltas = ({name: t[i : i + 1] for name, t in group.items()} for group in (self.rows, self.deltas))
        return FastOffsets(self.hypernetwork, codes, rows, deltas, self.w1_image)


def _rows(expander: SharedExpander, code: Tensor, count: Tensor) -> Tensor:
    """`expander.rows` [B,C] -> [B,C,C], faster for few codes in float32 on a CPU without gradients."""
    is_float32_on_cpu = code.device.type == "cpu" and code.dtype == torch.float32
    if not is_float32_on_cpu or len(code) > _FEW_ROWS or torch.is_grad_enabled():
        return expander.rows(code, count)
    bias = (count[:, None] * expander.b2).view(-1, expander.width, expander.width)
    return _times_large_matrix(code, expander.w2).view_as(bias).add_(bias)


def _times_large_matrix(code: Tensor, matrix: Tensor) -> Tensor:
    """A product [B,C] @ [C,N] -> [B,N] that reads the matrix from its first to its last row.

    Libraries copy parts of a matrix to where they multiply fast, which is worth its time for many rows of `code` only.
    """
    count = math.gcd(8, matrix.shape[1])  # of parts, which threads share
    # [C,N] -> [C,count,N/count] -> [count,C,N/count]
    parts = matrix.view(len(matrix), count, -1).transpose(0, 1)
    product = matrix.new_zeros(count, len(code), parts.shape[2])  # [count,B,N/count]
    for first in range(0, len(matrix), 16):  # 16 rows of the matrix at a time
        product.baddbmm_(code[:, first : first + 16].expand(count, -1, -1), parts[:, first : first + 16])
    return product.transpose(0, 1).reshape(len(code), -1)  # [B,count,N/count] -> [B,N]


def _w1_as_image(expander: SharedExpander) -> Tensor:
    """w1 [C,C*9] as an image of C channels with a position for each input channel and tap: [1,C,C,9], channels-last."""
    # [C,I*9] -> [I*9,C] -> [1,I,9,C] in memory, seen as [1,C,I,9]
    return expander.w1.t().contiguous().view(1, expander.width, 9, expander.width).permute(0, 3, 1, 2)


def _delta_of_image(expander: SharedExpander, rows: Tensor, count: Tensor, w1_image: Tensor) -> Tensor:
    """`expander.delta` of one image, [C,C] -> Δ [1,C,C,3,3], as a 1x1 convolution whose weights are the rows.

    It leaves output channels innermost in memory, the order of packed weights, so that `fuse` copies nothing.
    """
    delta = F.conv2d(w1_image, rows[:, :, None, None])  # [1,O,I,9]
    delta += (count * expander.b1).view(expander.width, 9)
    return delta.view(-1, expander.width, expander.width, 3, 3)
