"""Networks that measure the similarity of two images: the protocol, MoCo v2, and the loaders of the published files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ImageError, WeightsError
from hyperstyle.io.components import check_tensors
from hyperstyle.io.torch_files import load_state, plain_names
from hyperstyle.networks.perception.identity import FaceNetwork, FaceNetworkConfig
from hyperstyle.runtime.gradients import outside_inference_mode

__all__ = ["MocoNetwork", "Similarity", "load_arcface", "load_curricular", "load_moco"]

M = TypeVar("M", bound=nn.Module)

_MOCO_QUERY = "module.encoder_q."


class Similarity(Protocol):
    """Images [B,3,H,W] in [-1,1] -> unit vectors [B,E]; the cosine of two of them is the images' similarity."""

    def __call__(self, image: Tensor) -> Tensor:
        """The vectors. Raises ImageError for images of a size that the network cannot use."""
        ...


class _Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolution and a shortcut (torchvision's names)."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels = 4 * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels:
            shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class MocoNetwork(nn.Module):
    """ResNet-50 up to its average: images [B,3,H,W] in [-1,1] -> unit vectors [B,4*widths[-1]].

    Images are resized to 224x224 by nearest neighbors, whatever their aspect, and not normalized otherwise.

    Args:
        widths, blocks: inner channels and number of bottlenecks per stage; the defaults are ResNet-50's.
    """

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 512), blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        before = widths[0]
        self.conv1 = nn.Conv2d(3, before, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self._stages = tuple(f"layer{i + 1}" for i in range(len(widths)))
        for name, width, count in zip(self._stages, widths, blocks, strict=True):
            stage = nn.Sequential()
            for i in range(count):
                stage.append(_Bottleneck(before, width, 2 if i == 0 and name != "layer1" else 1))
                before = 4 * width
            self.add_module(name, stage)

    def forward(self, image: Tensor) -> Tensor:
        """[B,3,H,W] -> [B,E]. Raises ImageError for anything but such images."""
        if image.ndim != 4 or image.shape[1] != 3:
            raise ImageError(f"the MoCo network was given {tuple(image.shape)}: expected images [B, 3, H, W].")
        x = F.interpolate(image, size=(224, 224), mode="nearest")
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for name in self._stages:
            x = self.get_submodule(name)(x)
        return F.normalize(x.mean((2, 3)))


@outside_inference_mode
def load_arcface(path: str | Path) -> FaceNetwork:
    """The network of the identity loss from its published file, a state dict of IR-SE-50.

    Raises:
        CheckpointError: the file cannot be read. WeightsError: its tensors are not exactly those of the network.
    """
    with torch.device("meta"):
        network = FaceNetwork(FaceNetworkConfig.arcface())
    return _filled(network, plain_names(load_state(path), path), Path(path))


@outside_inference_mode
def load_curricular(path: str | Path) -> FaceNetwork:
    """The network of the identity figure from its published file, a state dict of IR-101.

    Raises:
        CheckpointError: the file cannot be read. WeightsError: its tensors are not exactly those of the network.
    """
    with torch.device("meta"):
        network = FaceNetwork(FaceNetworkConfig.curricular())
    return _filled(network, plain_names(load_state(path), path), Path(path))


@outside_inference_mode
def load_moco(path: str | Path) -> MocoNetwork:
    """The network for other domains from the published file of MoCo v2.

    Only the query encoder is read, without the projection that was added for training (`fc`); the momentum encoder, the
    queue and the optimizer's state are ignored.

    Raises:
        CheckpointError: the file cannot be read.
        WeightsError: it holds no query encoder, or one whose tensors are not exactly those of the network.
    """
    state = load_state(path).get("state_dict")
    if not isinstance(state, Mapping) or not any(name.startswith(_MOCO_QUERY) for name in state):
        raise WeightsError(f"{path} holds no tensors 'state_dict/{_MOCO_QUERY}...': expected the file of MoCo v2.")
    query = {k[len(_MOCO_QUERY) :]: v for k, v in state.items() if k.startswith(_MOCO_QUERY)}
    with torch.device("meta"):
        network = MocoNetwork()
    return _filled(network, {k: v for k, v in query.items() if not k.startswith("fc.")}, Path(path))


def _filled(network: M, state: Mapping[str, Any], path: Path) -> M:
    """The network with exactly these tensors, in evaluation mode and without gradients."""
    if non_tensors := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise WeightsError(
            f"{path}: {non_tensors[0]!r} is a {type(state[non_tensors[0]]).__name__}: expected tensors only."
        )
    check_tensors(network.state_dict(), state, path)
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)
