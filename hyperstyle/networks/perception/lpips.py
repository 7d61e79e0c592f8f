"""LPIPS (Zhang et al., CVPR 2018) of the package `lpips`, and messages for the case that its weights are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn

from hyperstyle.errors import MethodError, MissingDependencyError
from hyperstyle.runtime.gradients import outside_inference_mode
from hyperstyle.runtime.threads import ignored_warnings

_TRUNKS = {  # what torchvision calls the files of the trunks
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


@outside_inference_mode
def load_lpips(net: Literal["alex", "vgg", "squeeze"] = "alex", *, instead: str) -> nn.Module:
    """The network, frozen: images [B,3,h,w] in [-1,1], twice -> [B,1,1,1].

    The trunk's weights are those in torchvision's cache; where they are not there torchvision fetches them, unless
    HF_HUB_OFFLINE is set.

    Args:
        net: its trunk.
        instead: what to do without it, the end of the messages.

    Raises:
        MissingDependencyError: lpips or torchvision is not installed.
        MethodError: the trunk's weights are damaged, or not there and cannot be fetched.
    """
    try:
        import lpips
    except ImportError as error:
        raise MissingDependencyError(
            f"LPIPS needs a package that is missing ({error}). Run: pip install lpips torchvision. {instead}"
        ) from error
    from huggingface_hub import constants

    cache = Path(torch.hub.get_dir()) / "checkpoints"
    place = f"Put {_TRUNKS[net]} into {cache}. {instead}"
    if constants.HF_HUB_OFFLINE and not (cache / _TRUNKS[net]).exists():
        raise MethodError(f"LPIPS needs the weights of its trunk {net!r}, and HF_HUB_OFFLINE is set. {place}")
    try:
        with ignored_warnings():  # lpips builds its trunk with arguments that torchvision calls deprecated
            network = cast("nn.Module", lpips.LPIPS(net=net, verbose=False))
    except (OSError, RuntimeError, EOFError) as error:
        if (file := cache / _TRUNKS[net]).exists():
            raise MethodError(
                f"LPIPS needs the weights of its trunk {net!r}, and {file} is damaged ({str(error) or 'it is empty'}). "
                f"Delete it, to fetch it again. {instead}"
            ) from error
        raise MethodError(
            f"LPIPS needs the weights of its trunk {net!r}, and torchvision cannot fetch them ({error}). {place}"
        ) from error
    return network.eval().requires_grad_(False)
