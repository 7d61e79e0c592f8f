"""What a checkpoint holds, without its numbers."""

from __future__ import annotations

from typing import Any

import torch


def structure(value: Any) -> Any:
    """Names, types and shapes of what a checkpoint holds."""
    if isinstance(value, dict):
        return {str(key): structure(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [structure(one) for one in value]
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
