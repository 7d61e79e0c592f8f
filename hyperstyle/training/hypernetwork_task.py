"""Training a hypernetwork: HyperStyle (Alaluf et al., CVPR 2022) and HyperInverter (Dinh et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from hyperstyle.metrics import l2
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.training.adversarial import Scale
from hyperstyle.training.builders import w_encoder_of
from hyperstyle.training.objective import ImageLoss, w_mean_loss
from hyperstyle.training.options import TrainOptions
from hyperstyle.training.task import Task, autocast


class HypernetworkTask(Task):
    """Trains a network that predicts changes of the generator's weights from a crop and its reconstruction G(w).

    The generator is frozen. So is the W encoder of `base`, which predicts w, unless the loss w_mean has a weight: then
    the encoder is trained too, by the objective for G(w) and by w_mean.

    Attributes:
        encoder: predicts w, where no codes are known in advance.

    Args:
        base, network, objective, options: see `Task`; `base` has a W encoder.
    """

    def __init__(self, base: Model, network: nn.Module, objective: ImageLoss, options: TrainOptions) -> None:
        self.encoder, self.w_mean = w_encoder_of(base), options.loss.w_mean
        self.encoder.requires_grad_(self.w_mean > 0)
        super().__init__(base, network, objective, options, {"encoder": self.encoder} if self.w_mean > 0 else None)

    def refine(self, crop: Tensor, w: Tensor, start: Tensor) -> Iterator[Tensor]:
        """Yields the reconstruction [B,3,h,w] at the size of the crop, after each step.

        The gradient of each flows back through the step that made it, and no further.

        Args:
            crop: [B,3,h,w].
            w: [B,L,D], fixed.
            start: [B,3,R,R], the generator's image G(w).
        """
        raise NotImplementedError

    def train_step(
        self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, *, start: Tensor | None = None
    ) -> Mapping[str, float]:
        """Backpropagates the loss after every step of `refine`; the figures are those of the last step.

        Args:
            crop, step, scale, codes: see `Task`.
            start: the generator's image G(codes) [B,3,R,R], where it is known in advance; not used without codes.
        """
        with torch.set_grad_enabled(self.w_mean > 0):
            w, start = self.first_reconstruction(crop, codes) if codes is None or start is None else (codes, start)
        figures = self._train_encoder(crop, w, start, scale) if self.w_mean > 0 else {}
        image = start
        for image in self.refine(crop, w.detach(), start.detach()):
            figures |= self.add_gradient(image, crop, step, scale)  # those of the last step remain
        return figures | self.train_discriminator(image, crop, step, scale)

    def _train_encoder(self, crop: Tensor, w: Tensor, start: Tensor, scale: Scale) -> dict[str, float]:
        """Adds the encoder's gradients of w [B,L,D] and G(w) [B,3,R,R]; returns figures for the log."""
        distance = w_mean_loss(w, self.base.generator.latent_avg)
        loss, _ = self.objective(self.as_input(start).to(crop.dtype), crop)
        scale(loss + self.w_mean * distance).backward()  # type: ignore[no-untyped-call]
        return {"w_loss": loss.item(), "w_mean": distance.item()}

    def first_reconstruction(self, crop: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns w [B,L,D], predicted where `codes` is None, and G(w) [B,3,R,R] in the type of autocast."""
        with autocast(self.dtype, crop.device):
            w = self.encoder(crop) if codes is None else codes
            image = self.generate(w, modulation="activations")
        return w.to(crop.dtype), image

    @torch.no_grad()
    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """L2 [B] of G(w) as "w_l2", and as "l2" that of the reconstruction with predicted weights."""
        images = self.sample(crop)
        return {"w_l2": l2(images["before"], crop), "l2": l2(images["after"], crop)}

    @torch.no_grad()
    def sample(self, crop: Tensor) -> dict[str, Tensor]:
        """The crops as "crop", G(w) as "before", and as "after" the reconstruction after the last step."""
        w, start = self.first_reconstruction(crop, None)
        *_, after = self.refine(crop, w, start)
        return {"crop": crop, "before": self.as_input(start).to(crop.dtype), "after": after}


class HyperStyleTask(HypernetworkTask):
    """Trains the hypernetwork of HyperStyle (Section 3); generator and encoder are as in `HypernetworkTask`.

    Attributes:
        steps: T, refinement steps for each image.
    """

    network: Hypernetwork

    def __init__(self, base: Model, network: nn.Module, objective: ImageLoss, options: TrainOptions) -> None:
        super().__init__(base, network, objective, options)
        assert options.hyperstyle is not None  # the table of this task
        self.steps = options.hyperstyle.passes

    def refine(self, crop: Tensor, w: Tensor, start: Tensor) -> Iterator[Tensor]:
        """The reconstruction after each step; see `HypernetworkTask` (Section 3.2, Eq. 4 to 7)."""
        current = self.as_input(start).to(crop.dtype)
        accumulated: Mapping[str, Tensor] = {}
        for _ in range(self.steps):
            with autocast(self.dtype, crop.device):
                new = self.network.offsets(self.predict(crop, current))
                offsets = {k: d + accumulated[k] if k in accumulated else d for k, d in new.items()}  # Eq. 6
                image = self.generate(w, offsets, modulation="activations")  # Eq. 4
            image = self.as_input(image).to(crop.dtype)
            yield image
            current = image.detach()
            accumulated = {k: d.detach() for k, d in offsets.items()}

    def model(self) -> Model:
        """The model `base` with this hypernetwork and this number of steps."""
        return replace(super().model(), steps=self.steps)


class HyperInverterTask(HypernetworkTask):
    """HyperInverter's second phase (Section 3.3 and 3.4): trains the appearance encoder and the hypernetworks.

    Generator and W encoder are as in `HypernetworkTask`. In the late phase, the loss has an adversarial term.
    """

    network: HyperInverter

    def refine(self, crop: Tensor, w: Tensor, start: Tensor) -> Iterator[Tensor]:
        """The reconstruction with residual weights, in one step; see `HypernetworkTask`."""
        with autocast(self.dtype, crop.device):
            residuals = self.network.offsets(self.predict(crop, start.to(crop.dtype)))
            image = self.generate(w, residuals=residuals, modulation="activations")
        yield self.as_input(image).to(crop.dtype)
