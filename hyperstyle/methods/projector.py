"""The projector of StyleGAN2 (`optimization.project`) as a refinement of inversions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from hyperstyle.inversion.inversion import Inversion
from hyperstyle.methods.optimising import add_l2, draw, perceptual_loss, refined
from hyperstyle.methods.optimization import ImageLoss, Projection, project

__all__ = ["PIVOT", "W_PLUS", "Projector"]

W_PLUS = Projection(steps=2000, lr=0.01, space="w+")
"""Published numbers for W+."""

PIVOT = Projection(steps=450, lr=0.01, samples=600)
"""Published numbers for the pivots of PTI (Roich et al., 2021)."""


@dataclass(frozen=True)
class Projector:
    """Moves the codes, from where the inversion has them, until the image is near to the crop.

    Offsets and other changes stay and are drawn. Images of a batch are optimized side by side.

    Attributes:
        settings: the numbers; `Projection()` are the published ones for W.
        loss: (image, target) -> [B]; None is the model's perceptual network, or LPIPS where it has none.
        l2: weight of the mean squared error beside it; None is 0, as published, and 1 with the model's own network.
        keep_noise: the inversion keeps the noise maps that were fitted beside the codes, where the generator's strength
            of noise is not zero in all layers. Published code drops them.
    """

    settings: Projection = field(default_factory=Projection)
    loss: ImageLoss | None = None
    l2: float | None = None
    keep_noise: bool = True

    @property
    def name(self) -> str:
        """The name of the method: "optimize-w" or "optimize-w+"."""
        return f"optimize-{self.settings.space}"

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        """Takes `steps` steps, by default those of the settings; the callback sees a `ProjectStep` at each.

        Raises:
            ConfigError: a negative number of steps, or codes whose rows differ in the space "w".
            MethodError, MissingDependencyError: no perceptual loss can be had, or an image is too much for the memory.
            ImageError: crops that are not finite.
        """
        model = inversion.model
        settings = self.settings if steps is None else replace(self.settings, steps=steps)
        own_network = self.loss is None and model.perceptual is not None
        weight = float(own_network) if self.l2 is None else self.l2
        loss = add_l2(self.loss or perceptual_loss(model), weight)
        strengths = (value for name, value in model.generator.named_parameters() if name.endswith("noise.weight"))
        noisy = any(bool(strength.any()) for strength in strengths)

        def optimize(crops: Tensor, part: Inversion) -> Inversion:
            overrides = part.overrides

            def drawn(codes: Tensor, noise: Sequence[Tensor]) -> Tensor:
                return draw(replace(part, w=codes, overrides=replace(overrides, noise=tuple(noise) or overrides.noise)))

            found = project(
                crops,
                model.generator,
                loss,
                settings,
                to_input=model.domain.as_network_input,
                start=part.w,
                maps=overrides.noise,
                draw=drawn,
                callback=callback,
            )
            noise = found.noise if found.noise is not None and self.keep_noise and noisy else overrides.noise
            return replace(part, w=found.w, overrides=replace(overrides, noise=noise))

        return refined(self.name, self, crop, inversion, optimize)
