"""Training a hypernetwork (HyperStyle, Alaluf et al., CVPR 2022, Section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.errors import ConfigError
from hyperstyle.inversion.synthesis import synthesize
from hyperstyle.metrics import l2
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig, tuned_layers
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, layer_table
from hyperstyle.training.adversary import image_adversary
from hyperstyle.training.builders import init_weights, open_start, training_device, trunk_for
from hyperstyle.training.losses import w_mean_loss
from hyperstyle.training.objective import Objective
from hyperstyle.training.options import HyperStyleOptions, TrainOptions
from hyperstyle.training.steps import autocast, compiled, passes
from hyperstyle.training.task import Phase, Scale, optimizer_for

__all__ = ["HyperStyleTask", "chosen_layers"]

_MEDIUM = 16  # px: convolutions from here on are medium or fine


def chosen_layers(generator: GeneratorConfig, layers: str | tuple[str, ...]) -> tuple[str, ...]:
    """The layers that `HyperStyleOptions.layers` means, in the official order.

    "published" is every convolution but toRGB, as in the released networks; "medium-fine" leaves out those below 16 px,
    as Section 3.3 has it; "all" takes toRGB too (Table 3's ablations).

    Raises:
        ConfigError: a layer that the generator does not have.
    """
    table = layer_table(generator)
    if layers == "all":
        return tuple(spec.name for spec in table)
    if layers == "medium-fine":
        return tuple(spec.name for spec in table if not spec.torgb and spec.resolution >= _MEDIUM)
    if isinstance(layers, str):
        return tuned_layers(generator)
    return tuned_layers(generator, [int(name) if name.isdecimal() else name for name in layers])


class HyperStyleTask:
    """A `Task`: the hypernetwork learns, generator and encoder are frozen.

    With a pull towards the mean of W the encoder learns too, from the first reconstruction.
    """

    main = "hypernetwork"

    def __init__(self, options: TrainOptions) -> None:
        if options.hyperstyle is None:
            raise ConfigError("training a hypernetwork needs the options 'hyperstyle'.")
        self.own: HyperStyleOptions = options.hyperstyle
        device = training_device(options.optim)
        self.base, self.encoder = open_start(self.own.encoder, options, device)
        generator, domain = self.base.generator, self.base.domain
        self.objective = Objective(options.loss, domain, perceptual=self.base.perceptual, device=device)
        trunk = trunk_for("resnet", domain.input_size)
        self.network = Hypernetwork(
            HypernetworkConfig(
                generator.config,
                chosen_layers(generator.config, self.own.layers),
                domain.input_size,
                trunk,
                heads=self.own.heads,
                code_width=trunk.widths[-1],
            )
        ).to(device)
        init_weights(self.own.init, self.network, "hypernetwork", device)
        self.pull = options.loss.w_mean
        if self.pull and options.data.inversions is not None:
            raise ConfigError("the loss w_mean trains the encoder, whose codes data.inversions fixes. Use one of them.")
        self.encoder.requires_grad_(self.pull > 0)
        self.dtype = getattr(torch, options.optim.precision)
        self._generate = compiled(generator, options.optim.compile)
        self._predict = compiled(self.network, options.optim.compile)
        self.modules: dict[str, nn.Module] = {"hypernetwork": self.network}
        if self.pull:
            self.modules["encoder"] = self.encoder
        learning = [p for module in self.modules.values() for p in module.parameters()]
        self.optimizers: dict[str, Optimizer] = {"hypernetwork": optimizer_for(learning, options.optim)}
        self.adversary = image_adversary(options.loss, self.base)
        if self.adversary is not None:
            self.modules["discriminator"] = self.adversary.discriminator
            self.optimizers["discriminator"] = self.adversary.optimizer

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> dict[str, float]:
        """Loss and backward at every pass; nothing flows between passes (Section 3.2, Eq. 4 to 7)."""
        adversary = self.adversary if self.adversary is not None and self.adversary.is_active(step) else None
        w, start, figures = self._start(crop, scale, codes)
        image = start
        for image in self._passes(crop, w, start):
            loss, parts = self.objective(image, crop)  # Eq. 7
            if adversary is not None:
                loss = loss + adversary.generator_term(image)
            scale(loss).backward()  # type: ignore[no-untyped-call]
            figures |= {"loss": loss.item(), **parts}  # of the last pass, in the end
        if adversary is not None:
            figures |= adversary.learn(crop, image, scale)
        return figures

    def _start(self, crop: Tensor, scale: Scale, codes: Tensor | None) -> tuple[Tensor, Tensor, dict[str, float]]:
        """w [B,L,D] and G(w) as networks see it; where the encoder learns, its gradients are added."""
        with torch.set_grad_enabled(self.pull > 0):
            with autocast(self.dtype, crop.device):
                w = self.encoder(crop) if codes is None else codes
                image = self._generate(w, modulation="activations")
            image, w = self.base.domain.as_network_input(image).to(crop.dtype), w.to(crop.dtype)
        if not self.pull:
            return w, image, {}
        away = w_mean_loss(w, self.base.generator.latent_avg)
        loss, _ = self.objective(image, crop)
        scale(loss + self.pull * away).backward()  # type: ignore[no-untyped-call]
        return w.detach(), image.detach(), {"w_loss": loss.item(), "w_mean": away.item()}

    def _passes(self, crop: Tensor, w: Tensor, start: Tensor) -> Iterator[Tensor]:
        return passes(
            crop,
            w,
            start,
            self._generate,
            self._predict,
            to_input=self.base.domain.as_network_input,
            steps=self.own.passes,
            dtype=self.dtype,
        )

    def phases(self, step: int) -> list[Phase]:
        """The step, and from time to time R1 of the discriminator."""
        if self.adversary is None or not self.adversary.is_active(step):
            return [Phase(self.train_step, ("hypernetwork",))]
        made = [Phase(self.train_step, ("hypernetwork", "discriminator"))]
        return made + ([self.adversary.r1_phase("discriminator")] if self.adversary.needs_r1(step) else [])

    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """L2 [B] of G(w) and after the last pass."""
        pictures = self.sample(crop)
        return {"w_l2": l2(pictures["before"], crop), "l2": l2(pictures["after"], crop)}

    @torch.no_grad()
    def sample(self, crop: Tensor) -> dict[str, Tensor]:
        """Crops, G(w), and the reconstruction after the last pass."""
        with autocast(self.dtype, crop.device):
            w, generator = self.encoder(crop), self.base.generator
            start = self.base.domain.as_network_input(synthesize(generator, generator.styles(w))).to(crop.dtype)
        *_, after = self._passes(crop, w.to(crop.dtype), start)
        return {"crop": crop, "before": start, "after": after}

    def model(self) -> Model:
        """The model with this hypernetwork."""
        return replace(self.base.with_parts(hypernetwork=self.network), steps=self.own.passes)
