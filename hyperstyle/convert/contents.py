"""Finds the weights in a checkpoint of another program, and strips the prefixes that training leaves on their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from hyperstyle.errors import CheckpointError
from hyperstyle.io.components import load_tensors
from hyperstyle.io.file_kind import file_kind
from hyperstyle.io.torch_files import as_tensor, load_state, plain_names

Use = Literal["g_ema", "g"]
"""Which generator of a training checkpoint: the running average, or the one in training."""

_PLACES = ("g_ema", "G_ema", "state_dict")
_WRAPPERS = ("model.", "net.", "network.")  # attributes in which training frameworks keep the whole network


@dataclass(frozen=True, eq=False)
class Contents:
    """What is in a file of weights.

    Attributes:
        tensors: the weights by name, without `_orig_mod.`, `module.` and the like.
        latent_avg: mean code, [D], [1,D] or [L,D], where the file has one.
        opts: the options it was trained with, where it has them; of a safetensors file its metadata.
        unread: other entries of the file, which are not needed (optimizers, step counts).
        notes: sentences on what was read from another place than usual (a generator in training).
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    latent_avg: Tensor | None = None
    opts: Mapping[str, Any] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def read_contents(path: Path, use: Use | None = None) -> Contents:
    """Reads a `.pt` or safetensors file of weights by name; the numbers stay on disk until they are used.

    Args:
        path: the file.
        use: "g" takes the generator in training where the file is a training checkpoint; else it is `g_ema`.

    Raises:
        CheckpointError: the file cannot be read, or holds no weights by name, or not those that `use` asks for.
        WeightsError: two tensors have one name, or one is not dense.
    """
    content: Mapping[str, Any]
    weights: Any
    opts: Any
    content, opts = load_tensors(path) if file_kind(path) == "safetensors" else (load_state(path, mmap=True), {})
    place = _place(content, use, path)
    if place is not None:
        weights = content[place]
        metadata = {key: value for key, value in content.items() if key != place}
    else:  # at the top level only `latent_avg` and `opts` are no weights
        metadata = {name: content[name] for name in ("latent_avg", "opts") if name in content}
        if isinstance(metadata.get("opts"), Tensor):
            del metadata["opts"]
        weights = {name: value for name, value in content.items() if name not in metadata}
    mean, opts = _mean(metadata.pop("latent_avg", None), path), metadata.pop("opts", opts)
    named = {key: None if isinstance(value, list | tuple) else as_tensor(value) for key, value in weights.items()}
    tensors = {key: tensor for key, tensor in named.items() if isinstance(key, str) and tensor is not None}
    if not tensors or len(tensors) < len(named):
        raise CheckpointError(f"{path} {_strange(content, place)}")
    tensors = plain_names(tensors, path)
    unread = sorted(map(str, metadata))
    if tensors.pop("n_averaged", None) is not None:  # the counter of PyTorch's AveragedModel
        unread.append("n_averaged")
    while wrapper := next((w for w in _WRAPPERS if tensors and all(name.startswith(w) for name in tensors)), None):
        tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    in_training = place == "g"
    if (prefix := _generator_prefix(tensors, use, path)) is not None:
        others = Counter(name.partition(".")[0] for name in tensors if not name.startswith(prefix))
        unread += [f"{first} ({count} tensors)" for first, count in sorted(others.items())]
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        in_training = in_training or prefix.split(".")[-2] == "g"
    elif use == "g" and not in_training:
        raise CheckpointError(
            f"{path} has no generator under 'g', which was asked for: leave use (--use) out, or give a training "
            "checkpoint."
        )
    if mean is None and "latent_avg" in tensors and "conv1.conv.weight" in tensors:
        mean = _mean(tensors.pop("latent_avg"), path)
    note = f"the generator of {path.name} is 'g', the one in training, not the averaged 'g_ema': its images are worse"
    notes = (note,) if in_training else ()
    return Contents(tensors, mean, opts if isinstance(opts, dict) else {}, tuple(unread), notes)


def _place(content: Mapping[str, Any], use: Use | None, path: Path) -> str | None:
    """The entry that holds the weights; None where they are at the top level."""
    first = next((name for name in _PLACES if isinstance(content.get(name), dict)), None)
    if isinstance(content.get("g"), dict):
        if use == "g":
            return "g"
        if first is None:
            raise _only_g(path)
    return first


def _only_g(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} has only 'g', the generator in training, and no 'g_ema', the averaged one, whose images are better: "
        "give a file with 'g_ema', or take this one by hyperstyle convert --use g (in Python use='g')."
    )


def _mean(value: object, path: Path) -> Tensor | None:
    """The mean code as a tensor of at most two axes."""
    if value is None:
        return None
    tensor = as_tensor(value)
    if tensor is None:
        kind = type(value).__name__.strip("_")
        raise CheckpointError(
            f"{path}: 'latent_avg' is of type {kind}: expected a tensor, an array or a list of numbers."
        )
    tensor = tensor if tensor.is_floating_point() else tensor.float()
    while tensor.ndim > 2 and tensor.shape[0] == 1:
        tensor = tensor[0]
    return tensor


def _generator_prefix(tensors: Mapping[str, Tensor], use: Use | None, path: Path) -> str | None:
    """What stands before the names of a generator that is kept below another name (`g_ema.`, `generator.`), or None.

    The decoder of an encoder's or hypernetwork's file is none.
    """
    if any(name.startswith(("encoder.", "hypernet.")) for name in tensors):
        return None
    end = "style.1.weight"
    prefixes = [name.removesuffix(end) for name in tensors if name.endswith("." + end)]
    prefixes = [prefix for prefix in prefixes if f"{prefix}conv1.conv.weight" in tensors]
    if not prefixes:
        return None
    training = [prefix for prefix in prefixes if prefix.split(".")[-2] == "g"]
    averaged = [prefix for prefix in prefixes if "ema" in re.split(r"[._]", prefix.lower())]
    unmarked = [prefix for prefix in prefixes if prefix not in (*training, *averaged)]
    choice = training if use == "g" else averaged or unmarked
    if use != "g" and not choice:
        raise _only_g(path)
    if len(choice) > 1:
        names = ", ".join(repr(prefix.removesuffix(".")) for prefix in choice)
        raise CheckpointError(f"{path} holds several generators ({names}): save the one that is meant alone.")
    return choice[0] if choice else None


def _strange(content: Mapping[str, Any], place: str | None) -> str:
    """The end of the message about a file whose weights are not where they are expected."""
    if place is not None:
        inside = content[place]
        bad_key = next((key for key, value in inside.items() if not isinstance(value, Tensor)), None)
        text = "nothing" if bad_key is None else f"{bad_key!r} of type {type(inside[bad_key]).__name__.strip('_')}"
        return f"holds {text} under {place!r}: expected tensors by name."
    entries = ", ".join(map(repr, list(content)[:6])) or "nothing"
    only = " Its 'd' is a discriminator, which makes no images." if isinstance(content.get("d"), dict) else ""
    return f"holds {entries}: expected tensors under 'state_dict' or 'g_ema', or nothing but tensors.{only}"
