"""Published weights of trunks: ResNet-34 (ImageNet) and IR-SE-50 (faces), loaded into the trunk of a network."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError, HubError, WeightsError, with_article
from hyperstyle.io.components import check_tensors, load_tensors
from hyperstyle.io.file_kind import file_kind
from hyperstyle.io.hub import explain
from hyperstyle.io.torch_files import load_state, plain_names

_COUNTER = "num_batches_tracked"  # of a batch normalization; only newer files have it, and it is not used
_SUFFIXES = (".bin", ".pt", ".pth", ".safetensors")
_HEADS = ("fc.", "output_layer.")  # layers after the trunk: a classifier, an embedding


def trunk_file(name: str | Path) -> Path | None:
    """The file of weights with this name; None if it is no file, but may be the name or folder of a model.

    Args:
        name: a file on disk; or `org/name/FILE`, a file of a Hub repository, such as
            `timm/resnet34.tv_in1k/model.safetensors`, which is downloaded unless it is in the cache.

    Raises:
        HubError: the download failed; the message says why.
    """
    path, text = Path(os.path.expanduser(name)), Path(name).as_posix()
    if os.path.isfile(path):
        return path
    if path.suffix not in _SUFFIXES or text.count("/") < 2 or text.startswith((".", "/", "~")):
        return None
    from huggingface_hub import hf_hub_download

    owner, repo, inside = text.split("/", 2)
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", inside))
    except Exception as error:  # the client's errors have no common base class
        raise HubError(
            f"{text!r} is no file on disk, and could not be fetched from the Hub: {explain(error, f'{owner}/{repo}')}"
        ) from error


@torch.no_grad()
def load_trunk(network: nn.Module, path: Path) -> tuple[str, ...]:
    """Loads a published file into the trunk of a network; its other layers do not change.

    Nor do PReLU slopes, where ImageNet's network has a ReLU. Layers of the file after its trunk are not used. If the
    first convolution has six input channels (crop and reconstruction), only the first three, those of the crop,
    are loaded.

    Args:
        network: one with a trunk (`backbones.TrunkNetwork`): a hypernetwork, an encoder of any kind, a HyperInverter.
        path: torchvision's state dict of ResNet-34 or the published one of IR-SE-50, as a .pt / .pth file or, with the
            same names, as .safetensors.

    Returns:
        Names of the tensors of the trunk that were loaded.

    Raises:
        ConfigError: the network has no trunk.
        CheckpointError: the file cannot be read.
        WeightsError: its tensors are not exactly those of this trunk; nothing is loaded then.
    """
    network = getattr(network, "w_bar_encoder", network)
    stem = "conv1" if hasattr(network, "conv1") else "input_layer"
    if not hasattr(network, stem) or not hasattr(network, "body"):
        raise ConfigError(f"{type(network).__name__} has no trunk for {path}: expected an encoder or a hypernetwork.")
    is_resnet = stem == "conv1"
    parts = ("conv1.", "bn1.", "body.") if is_resnet else ("input_layer.", "body.")
    trunk = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(parts)}
    trunk = {name: tensor for name, tensor in trunk.items() if not name.endswith(_COUNTER)}
    tensors = {name: tensor for name, tensor in _read(path).items() if not name.startswith(_HEADS)}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)}
    if is_resnet:
        tensors = _resnet_names(tensors)
    first = "conv1.weight" if is_resnet else "input_layer.0.weight"
    trunk[first] = trunk[first][:, :3]  # shares its memory with the network, as all do
    convolutions = (tensor for tensor in trunk.values() if tensor.ndim == 4 and tensor.shape[3] > 1)
    widths = ", ".join(dict.fromkeys(str(len(tensor)) for tensor in convolutions))
    check_tensors(
        trunk,
        tensors,
        path,
        advice=f"This network has a trunk of {'ResNet' if is_resnet else 'IR-SE'}, with the widths {widths}. Take a "
        "file that fits, or train from scratch.",
    )
    for name, tensor in tensors.items():
        trunk[name].copy_(tensor)
    return tuple(tensors)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file. Raises WeightsError if it holds anything else."""
    content: Mapping[str, object] = load_tensors(path)[0] if file_kind(path) == "safetensors" else load_state(path)
    content = plain_names(content, path)
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if len(tensors) < len(content):
        odd = next(name for name in content if name not in tensors)
        raise WeightsError(f"{path}: {odd!r} is {with_article(type(content[odd]))}: expected tensors only.")
    return tensors


def _resnet_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names of blocks, `layer2.0.`, as those of a trunk, which numbers all blocks: `body.3.`."""
    blocks = {m[0] for name in tensors if (m := re.match(r"layer\d+\.\d+\.", name))}
    order = sorted(blocks, key=lambda block: [int(number) for number in re.findall(r"\d+", block)])
    renamed = {block: f"body.{index}." for index, block in enumerate(order)}
    return {re.sub(r"^layer\d+\.\d+\.", lambda m: renamed[m[0]], name): t for name, t in tensors.items()}
