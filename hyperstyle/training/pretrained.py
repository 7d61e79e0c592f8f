"""Published weights of the trunks: ImageNet's ResNet-34 and the face network IR-SE-50, put where they belong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError, HubError, WeightsError
from hyperstyle.io.components import check_tensors, load_tensors
from hyperstyle.io.file_kind import file_kind
from hyperstyle.io.hub import explain
from hyperstyle.io.torch_files import load_state, plain_names

__all__ = ["LoadedTrunk", "load_trunk", "trunk_file"]

_COUNTER = "num_batches_tracked"  # of a normalization; newer files have it, and nothing reads it
_SUFFIXES = (".bin", ".pt", ".pth", ".safetensors")
_HEADS = ("fc.", "output_layer.")  # what the files have behind the trunk: classes, an embedding


class LoadedTrunk(NamedTuple):
    """What became of the tensors of a trunk and of its file, by name; counters of normalizations are no part of it.

    Attributes:
        filled: of the trunk, from the file.
        kept: of the trunk, as they were, for the file has none such: slopes, where ImageNet's network has a ReLU.
        left: of the file, since they stand behind the trunk.
    """

    filled: tuple[str, ...]
    kept: tuple[str, ...]
    left: tuple[str, ...]


def trunk_file(name: str | Path) -> Path | None:
    """The file of weights that has this name; None where it is none, but perhaps a model's name or folder.

    Args:
        name: of a file on disk; or `org/name/FILE`, a file of a Hub repository, such as
            `timm/resnet34.tv_in1k/model.safetensors`, which is fetched unless it is in the cache.

    Raises:
        HubError: the Hub does not give the file; the message says why.
    """
    path, text = Path(name).expanduser(), Path(name).as_posix()
    if path.is_file():
        return path
    if path.suffix not in _SUFFIXES or text.count("/") < 2 or text.startswith((".", "/", "~")):
        return None
    from huggingface_hub import hf_hub_download

    owner, repo, inside = text.split("/", 2)
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", inside))
    except Exception as error:  # the client has no common class for what can go wrong
        raise HubError(
            f"{text!r} is no file on disk, and could not be fetched from the Hub: {explain(error, f'{owner}/{repo}')}"
        ) from error


@torch.no_grad()
def load_trunk(network: nn.Module, path: str | Path) -> LoadedTrunk:
    """Fills the trunk of a network from a published file; its other parts stay as they are.

    Where the first convolution has six channels in (a crop and a reconstruction), the first three are filled, which see
    the crop; the others stay as drawn.

    Args:
        network: one with a trunk (`backbones.add_trunk`): a hypernetwork, an encoder of any kind, a HyperInverter.
        path: torchvision's state dict of ResNet-34 or the published one of IR-SE-50, as a .pt / .pth file or, with the
            same names, as .safetensors.

    Raises:
        ConfigError: the network has no trunk.
        CheckpointError: the file cannot be read.
        WeightsError: its tensors are not exactly those of this network's trunk; it then has none of them.
    """
    network = getattr(network, "w_bar_encoder", network)
    stem = "conv1" if hasattr(network, "conv1") else "input_layer"
    if not hasattr(network, stem) or not hasattr(network, "body"):
        raise ConfigError(f"{type(network).__name__} has no trunk for {path}: expected an encoder or a hypernetwork.")
    parts = ("conv1.", "bn1.", "relu.", "body.") if stem == "conv1" else ("input_layer.", "body.")
    places = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(parts)}
    found = {name: tensor for name, tensor in _read(Path(path)).items() if not name.endswith(_COUNTER)}
    left = tuple(name for name in found if name.startswith(_HEADS))
    tensors = {name: tensor for name, tensor in found.items() if name not in left}
    kept: tuple[str, ...] = ()
    if stem == "conv1":
        tensors, kept = _resnet_names(tensors), ("relu.weight",)
    wanted = {name: t for name, t in places.items() if name not in kept and not name.endswith(_COUNTER)}
    first = "conv1.weight" if stem == "conv1" else "input_layer.0.weight"
    wanted[first] = wanted[first][:, :3]
    check_tensors(
        wanted,
        tensors,
        path,
        advice=f"This network has a trunk {'of ResNet' if stem == 'conv1' else 'of IR-SE'}, with the widths "
        f"{_widths(places)}. Take a file that fits, or train from scratch.",
    )
    for name, tensor in tensors.items():
        wanted[name].copy_(tensor)  # `wanted` shares its memory with the network
    return LoadedTrunk(tuple(tensors), kept, left)


def _read(path: Path) -> dict[str, Tensor]:
    found: Mapping[str, object] = load_tensors(path)[0] if file_kind(path) == "safetensors" else load_state(path)
    found = plain_names(found, path)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if len(tensors) < len(found):
        odd = next(name for name in found if name not in tensors)
        raise WeightsError(f"{path}: {odd!r} is a {type(found[odd]).__name__}: expected tensors only.")
    return tensors


def _resnet_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names of blocks, `layer2.0.`, as those of a trunk, whose blocks are counted on: `body.3.`."""
    blocks = {m[0]: None for name in tensors if (m := re.match(r"layer\d+\.\d+\.", name))}
    places = sorted(blocks, key=lambda block: [int(number) for number in re.findall(r"\d+", block)])
    renamed = {block: f"body.{place}." for place, block in enumerate(places)}
    return {
        renamed[m[0]] + name[m.end() :] if (m := re.match(r"layer\d+\.\d+\.", name)) else name: tensor
        for name, tensor in tensors.items()
    }


def _widths(places: Mapping[str, Tensor]) -> str:
    """Channels of the trunk's convolutions, from the first on, for messages."""
    convolutions = (tensor for tensor in places.values() if tensor.ndim == 4 and tensor.shape[3] > 1)
    return ", ".join(dict.fromkeys(str(len(tensor)) for tensor in convolutions))
