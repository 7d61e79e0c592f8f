"""How a method is declared, and the functions that refinements share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError, MemoryWarning, MethodError, QualityWarning, warn
from hyperstyle.inversion.inversion import Inversion, Refinement
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.optimize import Step, StepCallback, check_target
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.model.parts import Model
from hyperstyle.runtime.gradients import (
    check_no_inference_weights,
    copy_inference_tensors,
    outside_inference_mode,
    with_gradients,
)

T = TypeVar("T")

Start = Callable[[Tensor], Tensor]
"""Crops [B,3,h,w] in [-1,1] -> first latent codes, [B,L,D] or [B,D]."""


# ---- declaring a method ----


@dataclass(frozen=True)
class Options:
    """Arguments of `invert` that are passed to every refinement of a method.

    Attributes:
        seed: of the random numbers in methods that optimize; None takes the seed of the published code.
        keep_intermediates: keep the reconstructions before and after each prediction of a network.
    """

    seed: int | None = None
    keep_intermediates: bool = False

    def seeded(self, settings: T) -> T:
        """The settings of a method, a dataclass, with this seed; unchanged if it is None."""
        return settings if self.seed is None else replace(settings, seed=self.seed)  # type: ignore[type-var]


@dataclass(frozen=True)
class StartingPoint:
    """Where a method gets its first latent codes, if it does not take them from another method.

    Attributes:
        name: the value of `Inversion.start`; "mean" for a mean code.
        of: model -> the function from crops to codes. Called only for models that have what the method needs.
    """

    name: str
    of: Callable[[Model], Start]


def encoder_start(name: str) -> Callable[[Model], Start]:
    """A value for `StartingPoint.of`: the encoder in the model's attribute of this name predicts the first codes."""
    return lambda model: getattr(model, name)


@dataclass(frozen=True)
class Remedy:
    """What to do if a model lacks the components that a method needs, for the error message.

    Attributes:
        needs: the missing components, in words.
        convert: the command line that converts a model with them.
        train: the task of `hyperstyle train` that trains them, or None if there is none.
    """

    needs: str
    convert: str
    train: str | None = None


@dataclass(frozen=True)
class Method:
    """An inversion method: first codes, and a refinement of them. `registry.METHODS` lists all by name.

    Attributes:
        name: for `invert(method=...)`. It may end in "+" (W+), but has no other "+", which joins methods.
        needs: attribute of `Model` that the method cannot run without -> what messages call it.
        start: the method's own first codes, or the name of the method that gives them.
        refinement: options -> the refinement; None for a method that only gives first codes.
        preceded_by: (name, options -> refinement) of refinements that run before this one when the method is the first
            in a chain: "pti" alone first runs "optimize-w".
        optimizes: whether it takes gradient steps. Such a method is not a default, unless it is `preferred`.
        preferred: whether it is the default of every model that can run it, although it optimizes.
        unfit: model -> why it cannot run the method although it has all that `needs` lists, or None if it can.
        remedy: how to get missing components, for the error message; None for a method that has no remedy to offer.
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
        """The reason, as a clause, why a model cannot run this method; None if it can.

        The method that gives the first codes is not checked, because another start may take its place.
        """
        for component, words in self.needs.items():
            if getattr(model, component) is None:
                return f"the model has no {words}"
        return self.unfit(model)


def why_not_stylegan2(model: Model) -> str | None:
    """A value for `Method.unfit`: the reason, as a clause, if the generator is no StyleGAN2; None if it is one.

    For methods that search the space W (one code for all layers) or change weights by offsets.
    """
    if not model.generator.takes_offsets:
        return "the model's generator is a StyleGAN of the first version, and the method is for StyleGAN2"
    return None


# ---- refinements ----


class BaseRefinement(ABC):
    """Base class of this package's refinements: calling one, as the protocol `Refinement` demands, runs `refine`."""

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
        """Returns a better inversion of the same crops.

        Args:
            crop: [B,3,h,w] in [-1,1].
            inversion: the inversion of these crops so far.
            steps: number of steps; None takes the refinement's default.
            callback: called with a `Step` at each step.
        """


def predict_in_steps(
    value: T,
    render: Callable[[T], Tensor],
    predict: Callable[[T, Tensor], T],
    steps: int,
    callback: StepCallback | None,
    shown: str,
) -> tuple[T, Tensor]:
    """Renders a value and predicts a better one from its image, in turn: the loop of HyperStyle and ReStyle.

    Args:
        value: what is refined, such as latent codes or offset codes.
        render: value -> its image [B,3,H,W].
        predict: (value, its image) -> the next value.
        steps: number of predictions.
        callback: called with the state before the first prediction and after each.
        shown: name of the attribute of `Step` that holds the value.

    Returns:
        The last value and its image.
    """
    image = render(value)
    for step in range(steps + 1):  # HyperStyle, Eq. 4 to 6; ReStyle, Section 3
        if step:  # step 0 shows the start, before any prediction
            value = predict(value, image)
            image = render(value)
        if callback is not None:
            callback(Step(step, steps, image, **{shown: value}))
    return value, image


def watch_images(model: Model, images: list[Tensor] | None, callback: StepCallback | None) -> Callable[[Step], None]:
    """Wraps a callback so that it also collects the images of all steps.

    Args:
        model: its domain says which rows of the images are content.
        images: gets the images [B,3,H,W] of each step, in float32, without padding; None collects nothing.
        callback: called with every `Step`, or None.
    """

    def watch(step: Step) -> None:
        if images is not None:
            images.append(model.domain.content(step.image).float())  # [B,3,H,W]
        if callback is not None:
            callback(step)

    return watch


def with_image_metrics(inversion: Inversion, image: Tensor) -> Inversion:
    """The inversion with its metrics, measured on the image that the method has rendered already, where possible.

    That saves a rendering: the image is kept as `Inversion.tensor`. It differs from a new rendering by rounding at most
    (if consecutive images are equal, they would share weights). The image is ignored, and `tensor` rendered anew, for
    more than `DEFAULT_BATCH_SIZE` images and for inversions with style offsets, overrides or a mask.

    Args:
        inversion: as predicted by a network, with its crop.
        image: [B,3,size,size], the generator's last output for it.
    """
    # `Inversion.tensor` renders larger batches in parts, and the loops of methods leave style offsets and masks out.
    is_plain = not inversion.style_offsets and not inversion.overrides and inversion.mask is None
    is_tensor = len(inversion) <= DEFAULT_BATCH_SIZE and is_plain
    return with_metrics(inversion, inversion.model.domain.content(image).float() if is_tensor else None)


def warn_of_many_steps(method: str, steps: int, trained: int, instead: str) -> None:
    """Warns (QualityWarning) if a network runs for at least twice the steps it was trained with.

    Reconstructions get worse then. The bundled hypernetwork was trained with 5 steps and is best at 5 to 9, depending
    on the metric; see docs/methods.md.

    Args:
        method: name of the method.
        steps: total number of steps, including those of earlier calls.
        trained: the number of steps that the network was trained with.
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
    """Runs a refinement that optimizes: checks the inputs, calls `optimize`, and names and measures the result.

    Args:
        name: name of the method; appended, with "+", to `inversion.method`, unless that ends with it already.
        refinement: stored in the result, for `Inversion.refine` to continue with.
        crop: [B,3,h,w] in [-1,1].
        inversion: the inversion of these crops so far.
        optimize: (crops, inversion) -> inversion with new codes, offsets or overrides; its crop, method and metrics are
            set afterwards. Called where gradients are recorded, and if memory runs out again for halves of the batch.

    Raises:
        ImageError: a crop with values that are not finite.
        ConfigError: the model is in half precision, or the numbers of crops and inverted images differ.
        MethodError: memory runs out even for one image, or a network was built in inference mode.
    """
    model, crop = inversion.model, copy_inference_tensors(crop)
    if torch.finfo(model.dtype).bits < 32:
        raise ConfigError(
            f"method {name!r} with a model in {model.dtype}: small steps vanish there. Load it with dtype=None."
        )
    if len(crop) != len(inversion):
        raise ConfigError(f"{len(crop)} crop(s) for {len(inversion)} image(s): expected one for each.")
    check_target(crop)  # one NaN would make every loss of its image NaN
    for network in model.networks.values():
        check_no_inference_weights(network)
    # More steps of "hyperstyle+pti" are no other method.
    method = inversion.method if inversion.method.endswith(name) else f"{inversion.method}+{name}"
    refined = optimize_in_parts(with_gradients(optimize), crop.to(model.device, model.dtype), inversion, name)
    return with_metrics(
        replace(refined, crop=crop.to(model.device), method=method, stored_metrics={}, refinement=refinement)
    )


def optimize_in_parts(
    optimize: Callable[[Tensor, Inversion], Inversion], crop: Tensor, inversion: Inversion, name: str
) -> Inversion:
    """The result of `optimize` for the whole batch; if memory runs out, for its halves (and theirs), joined again.

    Args:
        optimize: (crops, inversion) -> inversion.
        crop: [B,3,h,w].
        inversion: the inversion of these crops so far.
        name: name of the method, for messages.

    Warns:
        MemoryWarning: at each split.

    Raises:
        MethodError: memory runs out even for one image.
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
    half = len(inversion) // 2  # the second half is the larger one of an odd number
    warn(
        f"{len(inversion)} images of method {name!r} did not fit into the memory of {crop.device} together and start "
        f"again as {half} and {len(inversion) - half}. A smaller batch_size saves the time of the failed attempt.",
        MemoryWarning,
    )
    halves = (slice(None, half), slice(half, None))
    return Inversion.cat([optimize_in_parts(optimize, crop[part], inversion[part], name) for part in halves])


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out: CUDA raises a class of its own; the CPU and Apple's GPU only say so in the message."""
    text = str(error).lower()
    phrases = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(phrase in text for phrase in phrases)
