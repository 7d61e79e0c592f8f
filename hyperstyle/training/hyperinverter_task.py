"""Training HyperInverter's second phase (Dinh et al., CVPR 2022, Section 3.3 and 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.stylegan2.generator import layer_table
from hyperstyle.training.builders import init_weights, open_base_and_encoder, training_device, trunk_for
from hyperstyle.training.hypernetwork_task import HypernetworkTask
from hyperstyle.training.objective import ImageLoss, Objective
from hyperstyle.training.options import LossOptions, OptimOptions, TrainOptions
from hyperstyle.training.task import Scale, autocast

__all__ = ["HyperInverterTask"]


class HyperInverterTask(HypernetworkTask):
    """Appearance encoder and hypernetworks learn; generator and W encoder are frozen.

    Args:
        base: the model it starts from.
        encoder: predicts w.
        network: the HyperInverter.
        objective, optim, loss: see `Task`.
    """

    network: HyperInverter

    def __init__(
        self,
        base: Model,
        encoder: WEncoder,
        network: HyperInverter,
        objective: ImageLoss,
        optim: OptimOptions,
        loss: LossOptions,
    ) -> None:
        self.encoder = encoder
        super().__init__("hyperinverter", network, base, objective, optim, loss)

    @classmethod
    def from_options(cls, options: TrainOptions) -> HyperInverterTask:
        """A task with a new HyperInverter.

        Raises:
            ConfigError: the options do not fit together. HyperStyleError: something they name cannot be used.
        """
        if options.hyperinverter is None:
            raise ConfigError("training a HyperInverter needs the options 'hyperinverter'.")
        device = training_device(options.optim)
        base, encoder = open_base_and_encoder(options.hyperinverter.encoder, options, device)
        objective = Objective(options.loss, base.domain, perceptual=base.perceptual, device=device)
        config = HyperInverterConfig(
            base.generator.config,
            tuple(spec.name for spec in layer_table(base.generator.config)),
            base.domain.input_size,
            encoder.config.backbone,
            trunk_for(encoder.config.backbone, base.domain.input_size),
            options.hyperinverter.hidden,
        )
        network = HyperInverter(config).to(device)
        init_weights(options.hyperinverter.init, network, "hyperinverter", device)
        return cls(base, encoder, network, objective, options.optim, options.loss)

    def train_step(
        self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, *, start: Tensor | None = None
    ) -> dict[str, float]:
        """Adds the gradients of the objective; in the late phase those of the adversarial losses too."""
        _, image = self._invert(crop, codes, start)
        figures = self.add_gradient(image, crop, step, scale)
        return figures | self.train_discriminator(image, crop, step, scale)

    def _invert(self, crop: Tensor, codes: Tensor | None = None, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """G(w) and the image with residual weights, as networks see them; gradients reach the network alone."""
        if codes is None or start is None:
            with torch.no_grad():
                codes, start = self.start(crop, codes)
        with autocast(self.dtype, crop.device):
            residuals = self.network.offsets(self.predict(crop, start.to(crop.dtype)))
            image = self.generate(codes, residuals=residuals, modulation="activations")
        return self.as_input(start).to(crop.dtype), self.as_input(image).to(crop.dtype)

    @torch.no_grad()
    def sample(self, crop: Tensor) -> dict[str, Tensor]:
        """Crops, G(w), and the reconstruction with residual weights."""
        before, after = self._invert(crop)
        return {"crop": crop, "before": before, "after": after}
