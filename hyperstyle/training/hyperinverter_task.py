"""Training HyperInverter's second phase (Dinh et al., CVPR 2022, Section 3.3 and 3.4)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.errors import ConfigError
from hyperstyle.metrics import l2
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.stylegan2.generator import layer_table
from hyperstyle.training.adversary import image_adversary
from hyperstyle.training.builders import init_weights, open_start, training_device, trunk_for
from hyperstyle.training.objective import Objective
from hyperstyle.training.options import HyperInverterOptions, TrainOptions
from hyperstyle.training.steps import autocast, compiled
from hyperstyle.training.task import Phase, Scale, optimizer_for

__all__ = ["HyperInverterTask"]


class HyperInverterTask:
    """A `Task`: appearance encoder and regressors learn, generator and W encoder are frozen."""

    main = "hyperinverter"

    def __init__(self, options: TrainOptions) -> None:
        if options.hyperinverter is None:
            raise ConfigError("training a HyperInverter needs the options 'hyperinverter'.")
        self.own: HyperInverterOptions = options.hyperinverter
        device = training_device(options.optim)
        self.base, self.encoder = open_start(self.own.encoder, options, device)
        generator, domain = self.base.generator, self.base.domain
        self.objective = Objective(options.loss, domain, perceptual=self.base.perceptual, device=device)
        backbone = self.encoder.config.backbone
        layers = tuple(spec.name for spec in layer_table(generator.config))
        trunk = trunk_for(backbone, domain.input_size)
        self.network = HyperInverter(
            HyperInverterConfig(generator.config, layers, domain.input_size, backbone, trunk, self.own.hidden)
        ).to(device)
        init_weights(self.own.init, self.network, "hyperinverter", device)
        self.dtype: torch.dtype = getattr(torch, options.optim.precision)
        self._generate = compiled(generator, options.optim.compile)
        self._predict = compiled(self.network, options.optim.compile)
        self.modules: dict[str, nn.Module] = {"hyperinverter": self.network}
        self.optimizers: dict[str, Optimizer] = {
            "hyperinverter": optimizer_for(self.network.parameters(), options.optim)
        }
        self.adversary = image_adversary(options.loss, self.base)
        if self.adversary is not None:
            self.modules["discriminator"] = self.adversary.discriminator
            self.optimizers["discriminator"] = self.adversary.optimizer

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> dict[str, float]:
        """Towards the images, and late past a discriminator, which then learns from the same ones."""
        adversary = self.adversary if self.adversary is not None and self.adversary.is_active(step) else None
        _, image = self._inverted(crop, codes)
        loss, figures = self.objective(image, crop)
        if adversary is not None:
            loss = loss + adversary.generator_term(image)
        scale(loss).backward()  # type: ignore[no-untyped-call]
        figures = {"loss": loss.item(), **figures}
        if adversary is not None:
            figures |= adversary.learn(crop, image, scale)
        return figures

    def _inverted(self, crop: Tensor, codes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """G(w) and the image with residuals, as networks see them; gradients reach the network alone."""
        with autocast(self.dtype, crop.device):
            with torch.no_grad():
                w = self.encoder(crop) if codes is None else codes
                start = self._generate(w, modulation="activations")
            residuals = self.network.offsets(self._predict(crop, start.to(crop.dtype)))
            image = self._generate(w, residuals=residuals, modulation="activations")
        return self.base.domain.as_network_input(start).to(crop.dtype), self.base.domain.as_network_input(image).to(
            crop.dtype
        )

    def phases(self, step: int) -> list[Phase]:
        """The step, and from time to time R1 of the discriminator."""
        if self.adversary is None or not self.adversary.is_active(step):
            return [Phase(self.train_step, ("hyperinverter",))]
        made = [Phase(self.train_step, ("hyperinverter", "discriminator"))]
        return made + ([self.adversary.r1_phase("discriminator")] if self.adversary.needs_r1(step) else [])

    @torch.no_grad()
    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """L2 [B] of G(w) and with residuals."""
        before, after = self._inverted(crop)
        return {"w_l2": l2(before, crop), "l2": l2(after, crop)}

    @torch.no_grad()
    def sample(self, crop: Tensor) -> dict[str, Tensor]:
        """Crops, G(w), and the reconstruction with residuals."""
        before, after = self._inverted(crop)
        return {"crop": crop, "before": before, "after": after}

    def model(self) -> Model:
        """The model with this HyperInverter."""
        return self.base.with_parts(hyperinverter=self.network)
