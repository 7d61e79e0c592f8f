"""MTCNN: three networks that detect faces, each more exact than the one before, and a loader of published files.

"Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", Zhang et al., 2016, Fig. 2. How
they work together is in `hyperstyle.align.mtcnn`. All of them take pixels as (value - 127.5) / 128, [B,3,H,W].
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import MissingFileError
from hyperstyle.io.components import check_tensors
from hyperstyle.io.npy_objects import load_named_arrays
from hyperstyle.runtime.gradients import outside_inference_mode


class _Flatten(nn.Module):
    """[B,C,H,W] -> [B,C*W*H]: column by column, the order of the published weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3).flatten(1)


def _trunk(channels: tuple[int, ...], kernels: tuple[int, ...], pools: dict[int, int], flat: int = 0) -> nn.Sequential:
    """Convolutions with PReLU, by number (the published names); `pools` has the kernel of the pooling after some.

    Where `flat` is given, a linear layer to the last of `channels` follows, from that many values.
    """
    layers: list[tuple[str, nn.Module]] = []
    before = 3
    for i, (width, kernel) in enumerate(zip(channels, kernels, strict=False), 1):
        layers += [(f"conv{i}", nn.Conv2d(before, width, kernel)), (f"prelu{i}", nn.PReLU(width))]
        if i in pools:
            layers.append((f"pool{i}", nn.MaxPool2d(pools[i], 2, ceil_mode=True)))
        before = width
    if flat:
        last = len(channels)
        layers += [("flatten", _Flatten()), (f"conv{last}", nn.Linear(flat, channels[-1]))]
        layers.append((f"prelu{last}", nn.PReLU(channels[-1])))
    return nn.Sequential(OrderedDict(layers))


class ProposalNetwork(nn.Module):
    """P-Net: classifies every window of 12 px, 2 px apart.

    [B,3,H,W] -> probabilities [B,h,w] that a window holds a face, and offsets [B,4,h,w] of its box (left, top, right,
    bottom) in parts of the window's side.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = _trunk((10, 16, 32), (3, 3, 3), {1: 2})
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(x)
        # Not over the two classes but along the row: so the published detector does it, and its thresholds are set so.
        return F.softmax(self.conv4_1(x), dim=3)[:, 1], self.conv4_2(x)


class RefinementNetwork(nn.Module):
    """R-Net: [N,3,24,24] -> probabilities [N] of a face and offsets [N,4] of its box, in parts of the box."""

    def __init__(self) -> None:
        super().__init__()
        self.features = _trunk((28, 48, 64, 128), (3, 3, 2), {1: 3, 2: 3}, flat=576)
        self.conv5_1 = nn.Linear(128, 2)
        self.conv5_2 = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(x)
        return F.softmax(self.conv5_1(x), dim=1)[:, 1], self.conv5_2(x)


class OutputNetwork(nn.Module):
    """O-Net: [N,3,48,48] -> probabilities [N] of a face, offsets [N,4] of its box and points [N,5,2], in parts of it.

    The points (x, y), from the box's left top corner: left and right eye, nose, left and right corner of the mouth.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = _trunk((32, 64, 64, 128, 256), (3, 3, 3, 2), {1: 3, 2: 3, 3: 2}, flat=1152)
        self.conv6_1 = nn.Linear(256, 2)
        self.conv6_2 = nn.Linear(256, 4)
        self.conv6_3 = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.features(x)
        points = self.conv6_3(x).unflatten(1, (2, 5)).transpose(1, 2)  # all x, then all y -> [N,5,2]
        return F.softmax(self.conv6_1(x), dim=1)[:, 1], self.conv6_2(x), points


@dataclass(frozen=True)
class MtcnnConfig:
    """All MTCNNs are of one size."""


class Mtcnn(nn.Module):
    """The three networks."""

    def __init__(self, config: MtcnnConfig | None = None) -> None:
        super().__init__()
        self.config = config or MtcnnConfig()
        self.pnet = ProposalNetwork()
        self.rnet = RefinementNetwork()
        self.onet = OutputNetwork()


@outside_inference_mode
def load_mtcnn(folder: str | Path) -> Mtcnn:
    """The networks from the published files `pnet.npy`, `rnet.npy` and `onet.npy`, without gradients, on the CPU.

    Nothing that the files hold is executed.

    Raises:
        MissingFileError: the folder or a file of it is not there.
        WeightsError: the tensors of a file are not exactly those of its network.
        CheckpointError: a file cannot be read, is of another kind, damaged or cut off.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise MissingFileError(
            f"{folder} is no folder: expected one with MTCNN's published weights pnet.npy, rnet.npy and onet.npy."
        )
    with torch.device("meta"):
        networks = Mtcnn()
    for name, network in networks.named_children():
        path = folder / f"{name}.npy"
        state = {key: torch.tensor(array) for key, array in load_named_arrays(path).items()}
        check_tensors(network.state_dict(), state, path)
        network.load_state_dict(state, assign=True)
    return networks.eval().requires_grad_(False)
