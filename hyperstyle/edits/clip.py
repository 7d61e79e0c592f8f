"""CLIP (Radford et al., ICML 2021) through the optional package open_clip_torch, and the losses that use it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.errors import (
    CheckpointError,
    ConfigError,
    EditError,
    HubError,
    ImageError,
    MissingDependencyError,
    MissingFileError,
    WeightsError,
    did_you_mean,
)
from hyperstyle.io.components import check_tensors, load_tensors
from hyperstyle.io.file_kind import file_kind
from hyperstyle.io.files import sha256
from hyperstyle.io.hub import explain
from hyperstyle.io.opening import check_file
from hyperstyle.io.torch_files import load_state, plain_names
from hyperstyle.runtime.gradients import outside_inference_mode

VARIABLE = "HYPERSTYLE_CLIP"

Preparation = Literal["averaged", "bicubic"]

# Entries of OpenAI's files that are no weights.
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}
# The mean and deviation of colors in [0, 1] that CLIP was trained with.
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class OpenClip:
    """A CLIP network of open_clip as a `TextImageEncoder`.

    Args:
        weights: the file of the weights: OpenAI's `ViT-B-32.pt`, or a `.pt` or `.safetensors` of open_clip. None takes
            the file that the environment variable `HYPERSTYLE_CLIP` names, else open_clip fetches OpenAI's weights from
            the Hub into the cache of huggingface_hub; HF_HUB_OFFLINE is honored.
        model: its name in open_clip; OpenAI's weights need the "quickgelu" ones.
        device: where it runs; texts and images are brought there, features stay there.
        preparation: how images become what the network takes: "averaged" as StyleCLIP's losses do
            (`prepare_averaged`), "bicubic" as the network was trained (`prepare_bicubic`), for statistics.

    Raises:
        MissingDependencyError: open_clip_torch is not installed.
        ConfigError: open_clip has no such model, or one of another architecture; an unknown preparation.
        CheckpointError: the file of the weights is not there, cannot be read, or is for another model.
        HubError: the weights are not on disk and cannot be fetched; the message names the file and its sha256.
    """

    @outside_inference_mode
    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        model: str = "ViT-B-32-quickgelu",
        device: str | torch.device = "cpu",
        preparation: Preparation = "averaged",
    ) -> None:
        if preparation not in ("averaged", "bicubic"):
            raise ConfigError(f"preparation={preparation!r}: expected 'averaged' or 'bicubic'.")
        self.model, self.device, self.preparation = model, torch.device(device), preparation
        open_clip = _open_clip()
        config = open_clip.get_model_config(model)
        if config is None:
            raise ConfigError(f"open_clip has no model {model!r}. {did_you_mean(model, open_clip.list_models())}")
        source = weights or os.environ.get(VARIABLE)
        digest, needed = _needed(open_clip, model)
        if source is None and digest is None:
            raise ConfigError(f"no weights were given for {model!r}: pass weights=. Needed are {needed}")
        path = _download(open_clip, model, needed) if source is None else Path(os.path.expanduser(source))
        if not os.path.isfile(path):
            how = "given as the weights of CLIP" if weights else f"named by {VARIABLE}"
            raise MissingFileError(f"{path}, {how}, is not a file. Expected {needed}")
        state = _read(open_clip, path, digest, needed)
        try:
            self._network = open_clip.CLIP(**config)
        except TypeError as error:
            raise ConfigError(
                f"open_clip's model {model!r} is not built like CLIP: expected one like 'ViT-B-32-quickgelu'."
            ) from error
        check_tensors(self._network.state_dict(), state, path, advice=f"The weights are not those of {model!r}.")
        self._network.load_state_dict(state)
        self._network.to(self.device).eval().requires_grad_(False)
        self._tokenizer = open_clip.get_tokenizer(model)
        side = self._network.visual.image_size
        self.size: int = side[0] if isinstance(side, tuple) else side

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> features [N,E]. Spaces and line ends around a text do not count. Raises EditError for no text."""
        if isinstance(texts, str) or not texts:
            raise EditError(f"CLIP was given {texts!r}: expected a list of one or more texts.")
        with torch.no_grad():
            features: Tensor = self._network.encode_text(self._tokenizer(list(texts)).to(self.device))
        return features

    def encode_image(self, images: Tensor) -> Tensor:
        """Images [B,3,h,w] in [-1,1], of any size -> features [B,E]; gradients flow. Raises ImageError for others."""
        prepare = prepare_averaged if self.preparation == "averaged" else prepare_bicubic
        features: Tensor = self._network.encode_image(prepare(images.to(self.device), self.size))
        return features


def prepare_averaged(images: Tensor, size: int = 224) -> Tensor:
    """Images [B,3,h,w] in [-1,1] -> [B,3,size,size], as StyleCLIP's losses prepare them.

    Each pixel is repeated 7 times, then blocks are averaged; values stay in [-1,1] and are not normalized by CLIP's
    mean and deviation. Published for sides that are multiples of 32; other sides get blocks as even as they can be,
    and images that are not square are squeezed. Both steps are linear, so no enlarged image is made.

    Raises:
        ImageError: not floating-point images of this shape.
    """
    _check(images)
    rows, columns = (_averages(n, size).to(images) for n in images.shape[2:])  # [h,size], [w,size]
    return rows.mT @ images @ columns


def prepare_bicubic(images: Tensor, size: int = 224) -> Tensor:
    """Images [B,3,h,w] in [-1,1] -> [B,3,size,size], resized and normalized by CLIP's mean and deviation.

    Raises:
        ImageError: not floating-point images of this shape.
    """
    _check(images)
    resized = F.interpolate(images, size=(size, size), mode="bicubic", align_corners=True)
    mean, std = (images.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return (resized / 2 + 0.5 - mean) / std


def clip_loss(images: Tensor, texts: Tensor) -> Tensor:
    """One minus the cosine of the features of images [B,E] and of texts [B or 1,E] -> [B].

    StyleCLIP writes it 1 - logit / 100, with CLIP's logit: 100 times the cosine.
    """
    return 1 - F.cosine_similarity(images, texts.to(images), dim=1)


def _check(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point() or 0 in images.shape:
        raise ImageError(
            f"CLIP was given {images.dtype} {tuple(images.shape)}: expected images [B, 3, h, w] in [-1, 1]."
        )


def _averages(side: int, size: int) -> Tensor:
    """[side,size] the share of each pixel of a line, 7 times repeated, in each of the blocks that are averaged."""
    block, pixel = torch.arange(size + 1) * 7 * side, 7 * torch.arange(side)[:, None]
    first, end = block[:-1] // size, -(-block[1:] // size)  # as adaptive average pooling has them
    return (torch.minimum(end, pixel + 7) - torch.maximum(first, pixel)).clamp(min=0) / (end - first)


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise MissingDependencyError(
            "edits by text need CLIP: the package open_clip_torch is not installed. Run: pip install "
            '"hyperstyle-inversion[clip]". Or pass an encoder of your own (encode_text, encode_image).'
        ) from error
    return open_clip


def _needed(open_clip: Any, model: str) -> tuple[str | None, str]:
    """The sha256 of OpenAI's file for a model, None where there is none, and a sentence on which file is needed."""
    *_, digest, name = ["", "", *str(open_clip.get_pretrained_url(model, "openai")).split("/")]
    if len(digest) != 64:
        return None, f"weights of {model!r} for open_clip, a .pt or .safetensors file: OpenAI published none."
    return digest, f"{name} of OpenAI's CLIP (sha256 {digest}), or weights of {model!r} for open_clip."


def _download(open_clip: Any, model: str, needed: str) -> Path:
    """OpenAI's weights, from the cache or the Hub. Raises HubError."""
    source = open_clip.get_pretrained_cfg(model, "openai")
    try:
        return Path(open_clip.download_pretrained(source))
    except Exception as error:  # what networks and their clients raise has no common class
        repo = source.get("hf_hub", "").rstrip("/") or "the Hub"
        raise HubError(
            f"the weights of CLIP could not be fetched: {explain(error.__context__ or error, repo)} Fetch the file by "
            f"hand and pass its path, or set {VARIABLE} to it. Needed are {needed}"
        ) from error


def _read(open_clip: Any, path: Path, digest: str | None, needed: str) -> dict[str, Tensor]:
    """The tensors of a file by their names in open_clip; OpenAI's has this digest. Raises CheckpointError."""
    state: Mapping[str, Any]
    if file_kind(path) == "safetensors":
        state = load_tensors(path)[0]
    elif _is_torchscript(path):
        if digest is None or sha256(path) != digest:
            raise CheckpointError(
                f"{path} is a TorchScript program and not OpenAI's published file, and it was not run. Expected "
                f"{needed}"
            )
        state = open_clip.load_openai_model(str(path), precision="fp32", device="cpu").state_dict()
    else:
        state = load_state(path)
        state = state.get("state_dict", state)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no plain tensors by name. Expected {needed}")
    return {str(name): tensor for name, tensor in plain_names(state, path).items() if name not in _NOT_WEIGHTS}


def _is_torchscript(path: Path) -> bool:
    """Whether a file is TorchScript, which is code; only its file list is read."""
    check_file(path, "file of CLIP's weights")
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
