"""How far a reconstruction is from the crop that was inverted: metrics, and inversions that carry them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import InversionError
from hyperstyle.inversion.pickling import Portable
from hyperstyle.model.parts import Model

T = TypeVar("T", bound=Portable)

_is_measuring = ContextVar("_is_measuring", default=True)


@contextmanager
def without_metrics() -> Iterator[None]:
    """Within it, this thread inverts without measuring: for the seconds from a crop to its reconstruction alone."""
    token = _is_measuring.set(False)
    try:
        yield
    finally:
        _is_measuring.reset(token)


@torch.no_grad()
def reconstruction_metrics(model: Model, image: Tensor, crop: Tensor) -> dict[str, tuple[float, ...]]:
    """`l2`, `ms_ssim` and, where the model has an evaluator, `perceptual` and `identity`: a number for each image.

    Args:
        model: its domain resizes images for networks, its evaluator compares them.
        image: reconstructions [B,3,H,W] in about [-1, 1].
        crop: the inverted images [B,3,h,w] in [-1, 1].
    """
    resized = model.domain.resize_to_input(image)  # [B,3,h,w]
    rows = {"l2": metrics.l2(resized, crop), "ms_ssim": metrics.ms_ssim(resized, crop)}
    if model.evaluator is not None:
        rows["perceptual"] = metrics.perceptual(resized, crop, model.evaluator)
        rows["identity"] = metrics.identity(resized, crop, model.evaluator)
    return {name: tuple(values.tolist()) for name, values in rows.items()}


def with_metrics(inversion: T, image: Tensor | None = None) -> T:
    """The same inversion with its `metrics` in `stored_metrics`; within `without_metrics` these stay empty.

    Args:
        inversion: with its crop.
        image: its `tensor`, where that was rendered already: it is kept and not rendered again.

    Raises:
        InversionError: the crop is gone.
    """
    if inversion.crop is None:
        raise InversionError("the inverted crop is gone: invert the image again.")
    value: Any = inversion  # of a dataclass, which its base class does not say
    image = value.tensor if image is None else image
    rows = reconstruction_metrics(inversion.model, image, inversion.crop) if _is_measuring.get() else {}
    measured: T = replace(value, stored_metrics=rows)
    measured.__dict__["tensor"] = image  # where the cached property `tensor` keeps its value
    return measured
