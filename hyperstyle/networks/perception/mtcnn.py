"""MTCNN: three networks that detect faces, each more exact than the one before, where their weights are, and a loader.

"Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", Zhang et al., 2016, Fig. 2. How
they work together is in `hyperstyle.align.mtcnn`. All of them take pixels as (value - 127.5) / 128, [B,3,H,W].
"""

from __future__ import annotations

import importlib.util
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import CheckpointError, MissingFileError, WeightsError
from hyperstyle.io.components import CONFIG, check_tensors, load_component
from hyperstyle.io.joblib_arrays import load_packed_arrays
from hyperstyle.io.npy_objects import Floats, load_named_arrays
from hyperstyle.runtime.gradients import outside_inference_mode

VARIABLE = "HYPERSTYLE_MTCNN"
"""The environment variable that may name a folder of MTCNN's weights."""

_PACKAGE = "mtcnn"  # on PyPI; it keeps its weights in `assets/weights`
_PUBLISHED, _PACKED = ".npy", ".lz4"  # of the folder of the HyperStyle repository, and of the package


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
    """MTCNN has no numbers to choose: there is one published architecture."""


class Mtcnn(nn.Module):
    """The three networks."""

    def __init__(self, config: MtcnnConfig | None = None) -> None:
        super().__init__()
        self.config = config or MtcnnConfig()
        self.pnet = ProposalNetwork()
        self.rnet = RefinementNetwork()
        self.onet = OutputNetwork()


def find_mtcnn() -> Path:
    """The folder of the weights on this machine, for `load_mtcnn`; nothing is downloaded, no package is imported.

    It is the folder that `HYPERSTYLE_MTCNN` names, else that of the installed package `mtcnn`.

    Raises:
        CheckpointError: the variable names no folder.
        MissingFileError: there is neither.
    """
    if configured := os.environ.get(VARIABLE):
        folder = Path(os.path.expanduser(configured))
        if not folder.is_dir():
            raise CheckpointError(f"{configured}, named by {VARIABLE}, is no folder. Expected that of MTCNN's weights.")
        return folder
    spec = importlib.util.find_spec(_PACKAGE)
    for package in [] if spec is None else spec.submodule_search_locations or []:
        folder = Path(package, "assets", "weights")
        if (folder / f"pnet{_PACKED}").is_file():
            return folder
    raise MissingFileError(
        f"MTCNN has no weights: none were given, {VARIABLE} is not set, and the package mtcnn (1.0 or newer), which "
        'has them, is not installed. Install it with `pip install "hyperstyle-inversion[mtcnn]"`.'
    )


@outside_inference_mode
def load_mtcnn(folder: str | Path) -> Mtcnn:
    """The networks from a folder of their weights, in float32, without gradients, on the CPU.

    Nothing that the files hold is executed.

    Args:
        folder: with the published `pnet.npy`, `rnet.npy` and `onet.npy`; or the `pnet.lz4`, `rnet.lz4` and `onet.lz4`
            of the package mtcnn; or the component of a model, `config.json` and `model.safetensors`.

    Raises:
        MissingFileError: the folder or a file of it is not there.
        WeightsError: the tensors of a file are not exactly those of its network.
        CheckpointError: a file cannot be read, is of another kind, damaged or cut off.
        ConfigError: the folder is the component of another kind.
        MissingDependencyError: for the files of the package: lz4 is not installed.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise MissingFileError(
            f"{folder} is no folder: expected one with MTCNN's published weights pnet.npy, rnet.npy and onet.npy."
        )
    if (folder / CONFIG).is_file():
        return load_component(Mtcnn, MtcnnConfig, folder, device=torch.device("cpu"))
    suffix = _PACKED if (folder / f"pnet{_PACKED}").is_file() else _PUBLISHED
    with torch.device("meta"):
        networks = Mtcnn()
    for name, network in networks.named_children():
        path = folder / f"{name}{suffix}"
        if suffix == _PACKED:
            arrays = _from_tensorflow(load_packed_arrays(path), network, _HEADS[name], path)
        else:
            arrays = load_named_arrays(path)
        state = {key: torch.tensor(array) for key, array in arrays.items()}
        check_tensors(network.state_dict(), state, path)
        network.load_state_dict(state, assign=True)
    return networks.eval().requires_grad_(False)


# ---- TensorFlow's layout, which the package has ----

_HEADS = {  # in the package's order: box, points, probability
    "pnet": ("conv4_2", "conv4_1"),
    "rnet": ("conv5_2", "conv5_1"),
    "onet": ("conv6_2", "conv6_3", "conv6_1"),
}


def _from_tensorflow(
    arrays: Sequence[Floats], network: nn.Module, heads: Sequence[str], path: Path
) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays of TensorFlow's layers, in their order, by the names and in the layout of the network.

    Kernels are [k,k,I,O] and matrices [I,O] there. PReLU has the shape [1,1,C] after a convolution. The first linear
    layer sees pixels column by column, as in `_Flatten`, but all channels of a pixel together.

    Raises:
        WeightsError: another number of arrays, or one of another shape.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    trunk = [key for key in shapes if key.startswith("features.")]
    names = [*trunk, *(f"{head}.{kind}" for head in heads for kind in ("weight", "bias"))]
    if len(arrays) != len(names):
        raise WeightsError(f"{path} holds {len(arrays)} arrays: expected {len(names)}, as in the package mtcnn 1.0.")
    state = {}
    channels = 3  # that the next layer of the trunk sees
    for name, array in zip(names, arrays, strict=True):
        shape = shapes[name]
        expected = (*shape[2:], *shape[1::-1])
        if array.shape != expected and (len(shape) > 1 or array.shape != (1, 1, *shape)):
            raise WeightsError(f"{path}: the array of {name!r} has shape {array.shape}, expected {expected}.")
        if len(shape) == 4:
            array = array.transpose(3, 2, 0, 1)
        elif len(shape) == 2:
            array = array.reshape(-1, channels, shape[0]).transpose(2, 1, 0)
        if len(shape) > 1 and name in trunk:
            channels = shape[0]
        state[name] = array.reshape(shape)
    return state
