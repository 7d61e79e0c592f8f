"""What the refinements that optimize share: their loss, what they draw, and batches that fit into the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError, MemoryWarning, MethodError, warn
from hyperstyle.inversion.inversion import Inversion, Refinement
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.synthesis import render
from hyperstyle.methods.optimization import ImageLoss, check_target
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.lpips import load_lpips
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import check_no_inference_weights, copy_inference_tensors, outside_inference_mode

__all__ = ["add_l2", "draw", "in_parts", "lpips_loss", "perceptual_loss", "refined"]


# ---- losses ----


def perceptual_loss(model: Model) -> ImageLoss:
    """The distance of the model's perceptual network, or LPIPS where it has none. Never that of its evaluator.

    Raises:
        MissingDependencyError, MethodError: what `load_lpips` raises.
    """
    network = model.perceptual
    if network is None:
        return lpips_loss(model.device)
    return lambda image, target: metrics.perceptual(image.float(), target.float(), network)


def lpips_loss(device: torch.device) -> ImageLoss:
    """LPIPS with AlexNet, whose weights torchvision fetches when it is first used. Raises as `load_lpips` does."""
    network = load_lpips(instead="Or pass loss=..., a function (image, target) -> [B].").to(device)

    def loss(image: Tensor, target: Tensor) -> Tensor:
        found: Tensor = network(image.float(), target.float())
        return found.flatten()

    return loss


def add_l2(loss: ImageLoss, weight: float = 1.0) -> ImageLoss:
    """weight * L2 + the loss."""
    return lambda image, target: weight * metrics.l2(image.float(), target.float()) + loss(image, target)


# ---- images ----


def draw(inversion: Inversion, *, plain_noise: bool = False, generator: StyleGenerator | None = None) -> Tensor:
    """The generator's images [B,3,size,size] of all that the inversion has; gradients flow to whatever needs them.

    Args:
        inversion: with the codes, offset codes and noise maps to draw.
        plain_noise: leave noise out.
        generator: in place of the images' own generators.
    """
    return render(
        inversion.model,
        inversion.state,
        differentiable=True,
        generator=generator,
        noise="none" if plain_noise else "const",
    )


# ---- the frame of a refinement ----


@outside_inference_mode
def refined(
    name: str,
    refinement: Refinement,
    crop: Tensor,
    inversion: Inversion,
    optimize: Callable[[Tensor, Inversion], Inversion],
) -> Inversion:
    """What `optimize` makes of crops and inversion, checked before and measured after.

    Args:
        name: of the method; it is added to that of the inversion.
        refinement: what `Inversion.refine` continues with.
        crop: [B,3,h,w] in [-1,1].
        inversion: of these crops.
        optimize: (crops, inversion) -> inversion; called again with halves where the memory is too small.

    Raises:
        ImageError: a crop with values that are not finite.
        ConfigError: a model in half precision, or another number of crops than of inverted images.
        MethodError: not even one image fits into the memory, or networks were built in inference mode.
    """
    model, crop = inversion.model, copy_inference_tensors(crop)
    if torch.finfo(model.dtype).bits < 32:
        raise ConfigError(
            f"method {name!r} with a model in {model.dtype}: small steps vanish there. Load it with dtype=None."
        )
    if len(crop) != len(inversion):
        raise ConfigError(f"{len(crop)} crop(s) for {len(inversion)} image(s): expected one for each.")
    check_target(crop)
    for network in model.networks.values():
        check_no_inference_weights(network)
    method = inversion.method if inversion.method.endswith(name) else f"{inversion.method}+{name}"
    found = in_parts(optimize, crop.to(model.device, model.dtype), inversion, name)
    return with_metrics(
        replace(found, crop=crop.to(model.device), method=method, stored_metrics={}, refinement=refinement)
    )


def in_parts(
    optimize: Callable[[Tensor, Inversion], Inversion], crop: Tensor, inversion: Inversion, name: str
) -> Inversion:
    """What `optimize` makes of all images together or, where the memory is too small for that, of halves of them.

    Warns:
        MemoryWarning: at each split.

    Raises:
        MethodError: the memory is too small for one image.
    """
    try:
        return optimize(crop, inversion)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        if len(inversion) == 1:
            raise MethodError(
                f"method {name!r} ran out of memory with a single image on {crop.device}. Free some, use another "
                "device, or a method that needs less."
            ) from error
    # Out of the handler: the error's traceback held the tensors that filled the memory.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(inversion) // 2
    warn(
        f"{len(inversion)} images of method {name!r} did not fit into the memory of {crop.device} together and start "
        f"again as {half} and {len(inversion) - half}. A smaller batch_size saves the time of the failed attempt.",
        MemoryWarning,
    )
    parts: Sequence[slice] = (slice(None, half), slice(half, None))
    return Inversion.cat([in_parts(optimize, crop[part], inversion[part], name) for part in parts])


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it; the CPU's allocator and Apple's GPU only say so."""
    text = str(error).lower()
    phrases = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in text for words in phrases)
