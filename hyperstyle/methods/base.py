"""What methods share: how a method declares itself, and the frame of a refinement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MemoryWarning, MethodError, QualityWarning, warn
from hyperstyle.inversion.inversion import Inversion, Refinement
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.optimize import Step, StepCallback, check_target
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan1 import StyleGan1
from hyperstyle.runtime.gradients import check_no_inference_weights, copy_inference_tensors, outside_inference_mode

__all__ = [
    "Method",
    "Options",
    "Refiner",
    "Remedy",
    "Start",
    "StartingPoint",
    "component",
    "needs_stylegan2",
    "optimize_in_parts",
    "predicted",
    "refine_by_optimization",
    "warn_of_many_steps",
    "watch_images",
]

Start = Callable[[Tensor], Tensor]
"""Crops [B,3,h,w] -> codes [B,L,D] or [B,D]."""


# ---- declaring a method ----


@dataclass(frozen=True)
class Options:
    """What a call of `invert` says to all parts of its method.

    Attributes:
        seed: of what is random in a method that optimizes; None is the published one.
        keep_intermediates: keep the reconstructions before and after each step of a network.
    """

    seed: int | None = None
    keep_intermediates: bool = False


@dataclass(frozen=True)
class StartingPoint:
    """Codes of its own with which a method begins.

    Attributes:
        name: what `Inversion.start` is called; "mean" for a mean code.
        of: a model -> the function from crops to codes. It is asked only of models that have what the method needs.
    """

    name: str
    of: Callable[[Model], Start]


def component(name: str) -> Callable[[Model], Start]:
    """`StartingPoint.of` where codes come from an encoder: the model's component of this name."""

    def of(model: Model) -> Start:
        encoder: Start = getattr(model, name)
        return encoder

    return of


@dataclass(frozen=True)
class Remedy:
    """How a model gets what a method needs.

    Attributes:
        needs: in words.
        convert: the command that makes a model with it.
        train: its name for `hyperstyle train`, or None.
    """

    needs: str
    convert: str
    train: str | None = None


@dataclass(frozen=True)
class Method:
    """A way to invert, as `invert(method=...)` knows it by name; `registry.METHODS` lists them.

    Attributes:
        name: no "+" but at its end.
        needs: components of the model without which it cannot run, with their names in messages.
        start: its own codes to begin with, or the name of the method that gives them.
        refinement: makes what refines the codes; None for a start alone.
        preceded_by: names and makers of refinements that come before it where it stands first.
        optimizes: whether it takes gradient steps. `invert` takes no such method unasked.
        preferred: all the same the default of every model that can run it.
        unfit: a model that has all it needs -> why it cannot run nevertheless, or None.
        remedy: what to do where a component is missing.
    """

    name: str
    needs: Mapping[str, str] = field(default_factory=dict)
    start: StartingPoint | str = "w-encoder"
    refinement: Callable[[Options], Refinement] | None = None
    preceded_by: tuple[tuple[str, Callable[[Options], Refinement]], ...] = ()
    optimizes: bool = False
    preferred: bool = False
    unfit: Callable[[Model], str | None] = lambda model: None
    remedy: Remedy | None = None

    def why_unfit(self, model: Model) -> str | None:
        """Why a model cannot run it, whatever it begins with, as a part of a sentence; None where it can."""
        for component, words in self.needs.items():
            if getattr(model, component) is None:
                return f"the model has no {words}"
        return self.unfit(model)


def needs_stylegan2(model: Model) -> str | None:
    """`Method.unfit` of methods that need one row of W, or a place for offsets: those of StyleGAN2."""
    if isinstance(model.generator, StyleGan1):
        return "the model's generator is a StyleGAN of the first version, and the method is for StyleGAN2"
    return None


# ---- refinements ----


class Refiner(ABC):
    """A refinement of this package: an object that is called as `Refinement` says, and does it in `refine`."""

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: StepCallback | None = None,
    ) -> Inversion:
        """See `refine`."""
        return self.refine(crop, inversion, steps, callback)

    @abstractmethod
    def refine(self, crop: Tensor, inversion: Inversion, steps: int | None, callback: StepCallback | None) -> Inversion:
        """A better inversion.

        Args:
            crop: [B,3,h,w] in [-1,1].
            inversion: of these crops so far.
            steps: None is the refinement's own number.
            callback: called with a `Step` at each step.
        """


def watch_images(model: Model, images: list[Tensor] | None, callback: StepCallback | None) -> Callable[[Step], None]:
    """A callback that calls `callback` and, where there is a list, appends the image [B,3,H,W] of each step to it."""

    def watch(step: Step) -> None:
        if images is not None:
            images.append(model.domain.content(step.image).float())
        if callback is not None:
            callback(step)

    return watch


def predicted(inversion: Inversion, image: Tensor) -> Inversion:
    """A refined inversion with its metrics; `image` [B,3,size,size] is the generator's last one.

    The image is the inversion's `tensor`, up to rounding where neighbors are equal, since the same operations made it
    of the same batch. Larger batches, style offsets and overrides are rendered anew, as `tensor` would be.
    """
    is_tensor = len(inversion) <= DEFAULT_BATCH_SIZE and not inversion.style_offsets and not inversion.overrides
    return with_metrics(inversion, inversion.model.domain.content(image).float() if is_tensor else None)


def warn_of_many_steps(method: str, steps: int, trained: int, instead: str) -> None:
    """Warns of so many steps of a network that reconstructions get worse: twice as many as it was trained with.

    The bundled hypernetwork (5) is best at 5 to 9 of them, depending on the metric; see docs/methods.md.

    Args:
        method: its name.
        steps: their number, those of earlier calls included.
        trained: the number that it was trained with.
        instead: a sentence that says what gives better reconstructions.
    """
    if steps >= 2 * max(trained, 1):
        warn(
            f"{steps} steps of {method!r}, whose network was trained with {trained}: with twice "
            f"as many or more, reconstructions become worse. {instead}",
            QualityWarning,
        )


@outside_inference_mode
def refine_by_optimization(
    name: str,
    refinement: Refinement,
    crop: Tensor,
    inversion: Inversion,
    optimize: Callable[[Tensor, Inversion], Inversion],
) -> Inversion:
    """The frame of a refinement that optimizes: inputs are checked before, the result is named and measured after.

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
    refined = optimize_in_parts(optimize, crop.to(model.device, model.dtype), inversion, name)
    return with_metrics(
        replace(refined, crop=crop.to(model.device), method=method, stored_metrics={}, refinement=refinement)
    )


def optimize_in_parts(
    optimize: Callable[[Tensor, Inversion], Inversion], crop: Tensor, inversion: Inversion, name: str
) -> Inversion:
    """The result of `optimize` for all images together or, where the memory is too small for that, for halves of them.

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
    halves = (slice(None, half), slice(half, None))
    return Inversion.cat([optimize_in_parts(optimize, crop[part], inversion[part], name) for part in halves])


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it; the CPU's allocator and Apple's GPU only say so."""
    text = str(error).lower()
    phrases = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(phrase in text for phrase in phrases)
