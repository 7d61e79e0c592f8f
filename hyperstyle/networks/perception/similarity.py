"""Networks that measure the similarity of two images, and the loaders of their published files.

They are MoCo v2, and for faces ArcFace on IR-SE-50 (identity loss) and CurricularFace on IR-101 (identity figure).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ImageError, WeightsError, with_article
from hyperstyle.io.components import check_tensors
from hyperstyle.io.torch_files import load_state, plain_names
from hyperstyle.networks.encoders.backbones import ResidualBlock, TrunkConfig, TrunkNetwork
from hyperstyle.runtime.gradients import outside_inference_mode

M = TypeVar("M", bound=nn.Module)

_MOCO_QUERY = "module.encoder_q."
_CROP_OF = 256  # the side of the images that the identity loss cuts the face out of
_ROWS, _COLUMNS = slice(35, 223), slice(32, 220)


class Similarity(Protocol):
    """Images [B,3,H,W] in [-1,1] -> unit vectors [B,E]; the cosine of two of them is the images' similarity."""

    def __call__(self, image: Tensor) -> Tensor:
        """The vectors. Raises ImageError for images of a size that the network cannot use."""
        ...


def _check_images(name: str, image: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 3:
        raise ImageError(f"{name} was given {tuple(image.shape)}: expected images [B, 3, H, W].")


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
                stride = 2 if i == 0 and name != "layer1" else 1
                stage.append(ResidualBlock(before, [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]))
                before = 4 * width
            self.add_module(name, stage)

    def forward(self, image: Tensor) -> Tensor:
        """[B,3,H,W] -> [B,E]. Raises ImageError for anything but such images."""
        _check_images("the MoCo network", image)
        x = F.interpolate(image, size=(224, 224), mode="nearest")
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for name in self._stages:
            x = self.get_submodule(name)(x)
        return F.normalize(x.mean((2, 3)))


class FaceNetwork(TrunkNetwork):
    """Images [B,3,H,W] in [-1,1] -> unit vectors [B,E] whose cosine is the similarity of two faces.

    Tensor names are those of the published files.

    Args:
        trunk: numbers of its IR or IR-SE trunk.
        squeeze: squeeze-and-excitation in the blocks (IR-SE).
        affine: whether the last normalization has weights.
        prepare: how an image gets to `input_size`: "crop" keeps rows 35:223 and columns 32:220 of a 256 px image
            and averages; "nearest" resizes the whole image.
        input_size: side of the trunk's input, in pixels.
        width: E.
    """

    def __init__(
        self,
        trunk: TrunkConfig,
        *,
        squeeze: bool = True,
        affine: bool = True,
        prepare: Literal["crop", "nearest"] = "crop",
        input_size: int = 112,
        width: int = 512,
    ) -> None:
        super().__init__("irse", 3, trunk, squeeze=squeeze)
        self.prepare, self.input_size = prepare, input_size
        rows, columns = trunk.output_size(input_size, input_size)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(trunk.widths[-1]),
            nn.Dropout(),  # in training only; it keeps the places of the published layers
            nn.Flatten(),
            nn.Linear(trunk.widths[-1] * rows * columns, width),
            nn.BatchNorm1d(width, affine=affine),
        )

    @classmethod
    def arcface(cls) -> FaceNetwork:
        """The network of the identity loss."""
        return cls(TrunkConfig.irse50())

    @classmethod
    def curricular(cls) -> FaceNetwork:
        """The network of the identity figure.

        The published figure aligns faces by a detector first. Here the image, an FFHQ crop already, is resized as it
        is, so that no detector's weights are needed.
        """
        return cls(TrunkConfig.ir101(), squeeze=False, affine=False, prepare="nearest")

    def prepared(self, image: Tensor) -> Tensor:
        """The input of the trunk: [B,3,input_size,input_size].

        Raises:
            ImageError: not [B,3,H,W]; or, where the face is cut out by its place, not 256x256 px.
        """
        _check_images("a face network", image)
        if self.prepare == "nearest":
            return F.interpolate(image, size=(self.input_size, self.input_size), mode="nearest")
        if tuple(image.shape[2:]) != (_CROP_OF, _CROP_OF):
            raise ImageError(
                f"a face network was given images of {image.shape[2]}x{image.shape[3]} px (height x width): expected "
                f"{_CROP_OF}x{_CROP_OF}, in which the place of the face is known. Average larger ones down first."
            )
        return F.adaptive_avg_pool2d(image[:, :, _ROWS, _COLUMNS], self.input_size)

    def forward(self, image: Tensor) -> Tensor:
        """[B,3,H,W] -> [B,E], see `prepared` for sizes and errors."""
        return F.normalize(self.output_layer(self.trunk_features(self.prepared(image))))


@outside_inference_mode
def load_arcface(path: str | Path) -> FaceNetwork:
    """The network of the identity loss from its published file, a state dict of IR-SE-50.

    Raises:
        CheckpointError: the file cannot be read. WeightsError: its tensors are not exactly those of the network.
    """
    return _filled(FaceNetwork.arcface, plain_names(load_state(path), path), path)


@outside_inference_mode
def load_curricular(path: str | Path) -> FaceNetwork:
    """The network of the identity figure from its published file, a state dict of IR-101.

    Raises:
        CheckpointError: the file cannot be read. WeightsError: its tensors are not exactly those of the network.
    """
    return _filled(FaceNetwork.curricular, plain_names(load_state(path), path), path)


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
    query = {k.removeprefix(_MOCO_QUERY): v for k, v in state.items() if k.startswith(_MOCO_QUERY)}
    return _filled(MocoNetwork, {k: v for k, v in query.items() if not k.startswith("fc.")}, path)


def _filled(build: Callable[[], M], state: Mapping[str, Any], path: str | Path) -> M:
    """The network with exactly these tensors, in evaluation mode and without gradients."""
    if non_tensors := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise WeightsError(
            f"{path}: {non_tensors[0]!r} is {with_article(type(state[non_tensors[0]]))}: expected tensors only."
        )
    with torch.device("meta"):
        network = build()
    check_tensors(network.state_dict(), state, path)
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)
