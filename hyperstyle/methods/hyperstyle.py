"""HyperStyle (Alaluf et al., CVPR 2022): iterative refinement of generator weights by a hypernetwork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hyperstyle.errors import MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE, synthesize
from hyperstyle.methods.optimising import draw
from hyperstyle.methods.optimization import check_whole, warn_of_many_steps
from hyperstyle.networks import cpu
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.stylegan2.base import StyleGenerator

__all__ = ["HyperStyleRefinement", "RefineStep", "refine"]


@dataclass(frozen=True)
class RefineStep:
    """What a callback of `refine` sees after each step.

    Attributes:
        step: 1 after the first step; 0 for the reconstruction before any.
        steps: how many steps there will be.
        codes: accumulated offset codes, None at step 0.
        image: the reconstruction with them [B,3,size,size].
    """

    step: int
    steps: int
    codes: OffsetCodes | None
    image: Tensor


def refine(
    crop: Tensor,
    w: Tensor,
    generator: StyleGenerator,
    hypernetwork: Hypernetwork,
    to_input: Callable[[Tensor], Tensor],
    *,
    steps: int = 5,
    codes: OffsetCodes | None = None,
    draw: Callable[[OffsetCodes | None], Tensor] | None = None,
    callback: Callable[[RefineStep], None] | None = None,
) -> tuple[OffsetCodes | None, Tensor]:
    """Predicts weight offsets in a loop while the latent code stays fixed (Eq. 4 to 6).

    Args:
        crop: [B,3,h,w] in [-1,1], the image as the hypernetwork sees it.
        w: [B,L,D] latent codes, from the W encoder.
        generator, hypernetwork: the networks.
        to_input: the generator's image [B,3,size,size] -> [B,3,h,w].
        steps: steps of the hypernetwork; 0 leaves the codes as they are.
        codes: accumulated codes to continue from.
        draw: offset codes -> the generator's image, where it is more than `w` and these.
        callback: called with the state before the first step and after each.

    Returns:
        The accumulated offset codes (None if there are none) and the reconstruction with them.
    """

    def reconstruct() -> Tensor:
        if draw is not None:
            return draw(codes)
        offsets = None if codes is None else cpu.offsets(hypernetwork, codes)
        return synthesize(generator, generator.styles(w), offsets)

    with cpu.reuse_memory():
        image = reconstruct()
        if callback is not None:
            callback(RefineStep(0, steps, codes, image))
        for step in range(1, steps + 1):
            new = hypernetwork(crop, to_input(image).to(crop.dtype))  # Eq. 4: H(x, y)
            codes = new if codes is None else codes + new  # Eq. 6: offsets add up, and so do their codes
            image = reconstruct()  # Eq. 5: weights * (1 + Δ)
            if callback is not None:
                callback(RefineStep(step, steps, codes, image))
    return codes, image


@dataclass(frozen=True)
class HyperStyleRefinement:
    """`refine` as a refinement of inversions.

    Attributes:
        keep_intermediates: keep the reconstruction before and after each step in the inversion.
    """

    keep_intermediates: bool = False

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        """Adds `steps` steps (the model's own number by default) to the inversion's offset codes.

        Raises:
            MethodError: the model has no hypernetwork.
            ConfigError: steps that are no number from 0 on.

        Warns:
            QualityWarning: twice as many steps as the hypernetwork was trained with, or more, earlier ones included.
        """
        model = inversion.model
        if model.hypernetwork is None:
            raise MethodError(
                "this model has no hypernetwork, so it cannot refine. Use method='w-encoder', or a model with one."
            )
        steps = model.steps if steps is None else steps
        check_whole("steps", steps)
        done = 0.0 if inversion.offset_codes is None else float(inversion.offset_codes.count.max())
        if steps:
            better = "Gradient steps make it better: invert with method='hyperstyle+offsets', steps=50."
            warn_of_many_steps("hyperstyle", round(done) + steps, model.steps, better)
        seen: list[Tensor] = []

        def watch(step: RefineStep) -> None:
            if self.keep_intermediates:
                seen.append(model.domain.content(step.image).float())
            if callback is not None:
                callback(step)

        with torch.no_grad():
            codes, image = refine(
                crop.to(model.device, model.dtype),
                inversion.w,
                model.generator,
                model.hypernetwork,
                model.domain.as_network_input,
                steps=steps,
                codes=inversion.offset_codes,
                draw=(lambda codes: draw(replace(inversion, offset_codes=codes))) if inversion.overrides else None,
                callback=watch,
            )
        refined = replace(
            inversion,
            crop=crop.to(model.device),
            offset_codes=codes,
            method=inversion.method if inversion.method.endswith("+hyperstyle") else "hyperstyle",
            intermediates=tuple(seen),
            refinement=self,
        )
        # The image of the loop is `tensor`, up to rounding where neighbors are equal: the same operations and batch.
        is_tensor = len(refined) <= DEFAULT_BATCH_SIZE and not refined.style_offsets and not refined.overrides
        return with_metrics(refined, model.domain.content(image).float() if is_tensor else None)
