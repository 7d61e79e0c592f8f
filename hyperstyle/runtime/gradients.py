"""Calls within `torch.no_grad()` and `torch.inference_mode()`: tensors of any use, and gradients where they are needed.

A tensor that is made in inference mode is an *inference tensor* for good: no gradient can be computed through it later,
not even outside. So a model that was loaded there could never be optimized against, and what an inverter made there
could not be refined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from hyperstyle.errors import MethodError, with_article

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def normal_tensors() -> Iterator[None]:
    """No inference mode, whatever the caller is in; gradients are recorded or not as they were."""
    recorded = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(recorded):  # the first one alone would turn gradients on
        yield


outside_inference_mode = normal_tensors()
"""Decorator: the function, run with `normal_tensors`."""


def with_gradients(function: Callable[P, T]) -> Callable[P, T]:
    """The function, run where gradients are recorded, whatever the caller is in; it gets copies of inference tensors.

    Raises:
        MethodError: it is given a network with weights that are inference tensors.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False), torch.enable_grad():
            return function(
                *map(copy_inference_tensors, args), **{k: copy_inference_tensors(v) for k, v in kwargs.items()}
            )

    return run


def copy_inference_tensors(value: Any) -> Any:
    """The value with inference tensors replaced by copies, in lists, tuples and mappings too; anything else as it is.

    Raises:
        MethodError: a network with weights that are inference tensors.
    """
    if isinstance(value, Tensor):
        with torch.inference_mode(False):
            return value.clone() if value.is_inference() else value
    if isinstance(value, nn.Module):
        check_no_inference_weights(value)
    if type(value) in (list, tuple):
        return type(value)(map(copy_inference_tensors, value))
    if isinstance(value, Mapping) and any(isinstance(item, Tensor) and item.is_inference() for item in value.values()):
        return {name: copy_inference_tensors(item) for name, item in value.items()}
    return value


def check_no_inference_weights(network: nn.Module) -> None:
    """Raises MethodError for a network through which no gradient can flow, since it was built in inference mode."""
    if any(weight.is_inference() for weight in (*network.parameters(), *network.buffers())):
        raise MethodError(
            f"the weights of {with_article(type(network))} were made inside torch.inference_mode(), and PyTorch "
            "computes no gradients through such tensors. Build the network outside of it, or load it by "
            "from_pretrained."
        )
