"""Where a model runs."""

from __future__ import annotations

import torch

from hyperstyle.errors import ConfigError


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises ConfigError for a device that is not there."""
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device {device!r} is not known to PyTorch. Use 'auto', 'cpu' or 'cuda'.") from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device {device!r}: models run on 'cpu', 'cuda' and 'mps'. Use one of these, or 'auto'.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r}: this PyTorch sees no CUDA device. Use 'auto' or 'cpu'.")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device {device!r}: this PyTorch sees no Apple GPU. Use 'auto' or 'cpu'.")
    return chosen
