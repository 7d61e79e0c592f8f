"""Training a hypernetwork (HyperStyle, Alaluf et al., CVPR 2022, Section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig, tuned_layers
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, layer_table
from hyperstyle.training.builders import init_weights, open_base_and_encoder, training_device, trunk_for
from hyperstyle.training.hypernetwork_task import HypernetworkTask
from hyperstyle.training.losses import w_mean_loss
from hyperstyle.training.objective import ImageLoss, Objective
from hyperstyle.training.options import LossOptions, OptimOptions, TrainOptions
from hyperstyle.training.task import Scale, autocast

__all__ = ["HyperStyleTask", "chosen_layers"]

_MEDIUM = 16  # px: convolutions from here on are medium or fine


def chosen_layers(generator: GeneratorConfig, layers: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names of the layers in `HyperStyleOptions.layers`, in the official order.

    "published" is every convolution but toRGB, as in the released networks; "medium-fine" omits those below 16 px, as
    in Section 3.3; "all" includes toRGB (ablation of Table 3).

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


class HyperStyleTask(HypernetworkTask):
    """The hypernetwork learns; generator and encoder are frozen.

    With a weight of the loss w_mean the encoder learns too, from the first reconstruction.

    Attributes:
        steps: T, refinement steps for each image.

    Args:
        base: the model it starts from.
        encoder: predicts w.
        network: the hypernetwork.
        objective, optim, loss: see `Task`; with a weight of `loss.w_mean`, the encoder learns too.
        steps: see above.
    """

    network: Hypernetwork

    def __init__(
        self,
        base: Model,
        encoder: WEncoder,
        network: Hypernetwork,
        objective: ImageLoss,
        optim: OptimOptions,
        loss: LossOptions,
        steps: int = 5,
    ) -> None:
        self.encoder, self.steps, self.w_mean = encoder, steps, loss.w_mean
        encoder.requires_grad_(self.w_mean > 0)
        learning = {"encoder": encoder} if self.w_mean > 0 else None
        super().__init__("hypernetwork", network, base, objective, optim, loss, learning)

    @classmethod
    def from_options(cls, options: TrainOptions) -> HyperStyleTask:
        """A task with a new hypernetwork.

        Raises:
            ConfigError: the options do not fit together. HyperStyleError: something they name cannot be used.
        """
        if options.hyperstyle is None:
            raise ConfigError("training a hypernetwork needs the options 'hyperstyle'.")
        if options.loss.w_mean and options.data.inversions is not None:
            raise ConfigError("the loss w_mean trains the encoder, whose codes data.inversions fixes. Use one of them.")
        device = training_device(options.optim)
        base, encoder = open_base_and_encoder(options.hyperstyle.encoder, options, device)
        objective = Objective(options.loss, base.domain, perceptual=base.perceptual, device=device)
        trunk = trunk_for("resnet", base.domain.input_size)
        config = HypernetworkConfig(
            base.generator.config,
            chosen_layers(base.generator.config, options.hyperstyle.layers),
            base.domain.input_size,
            trunk,
            heads=options.hyperstyle.heads,
            code_width=trunk.widths[-1],
        )
        network = Hypernetwork(config).to(device)
        init_weights(options.hyperstyle.init, network, "hypernetwork", device)
        return cls(base, encoder, network, objective, options.optim, options.loss, options.hyperstyle.passes)

    def train_step(
        self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None, *, start: Tensor | None = None
    ) -> dict[str, float]:
        """Loss and backward at every refinement step; nothing flows between them (Section 3.2, Eq. 4 to 7)."""
        w, first, figures = self._first_reconstruction(crop, scale, codes, start)
        image = first
        for image in self.refine(crop, w, first, self.steps):
            figures |= self.add_gradient(image, crop, step, scale)  # those of the last step remain
        return figures | self.train_discriminator(image, crop, step, scale)

    def _first_reconstruction(
        self, crop: Tensor, scale: Scale, codes: Tensor | None, start: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """w [B,L,D], G(w) as networks see it, and figures; adds the encoder's gradients where it learns."""
        with torch.set_grad_enabled(self.w_mean > 0):
            w, image = self.start(crop, codes) if codes is None or start is None else (codes, start)
            image = self.as_input(image).to(crop.dtype)
        if not self.w_mean:
            return w, image, {}
        distance = w_mean_loss(w, self.base.generator.latent_avg)
        loss, _ = self.objective(image, crop)
        scale(loss + self.w_mean * distance).backward()  # type: ignore[no-untyped-call]
        return w.detach(), image.detach(), {"w_loss": loss.item(), "w_mean": distance.item()}

    def refine(self, crop: Tensor, w: Tensor, start: Tensor, steps: int) -> Iterator[Tensor]:
        """The reconstruction [B,3,h,w] after each step, from `start` = G(w); gradients reach back to that step alone.

        Args:
            crop: [B,3,h,w].
            w: [B,L,D], fixed.
            start: [B,3,h,w] as networks see it.
            steps: T.
        """
        current = start
        accumulated: Mapping[str, Tensor] = {}
        for _ in range(steps):
            with autocast(self.dtype, crop.device):
                new = self.network.offsets(self.predict(crop, current))
                offsets = {k: d + accumulated[k] if k in accumulated else d for k, d in new.items()}  # Eq. 6
                image = self.generate(w, offsets, modulation="activations")  # Eq. 4
            image = self.as_input(image).to(crop.dtype)
            yield image
            current = image.detach()
            accumulated = {k: d.detach() for k, d in offsets.items()}

    @torch.no_grad()
    def sample(self, crop: Tensor) -> dict[str, Tensor]:
        """Crops, G(w), and the reconstruction after the last step."""
        w, image = self.start(crop, None)
        before = self.as_input(image).to(crop.dtype)
        *_, after = self.refine(crop, w, before, self.steps)
        return {"crop": crop, "before": before, "after": after}

    def model(self) -> Model:
        """The model with this hypernetwork."""
        return replace(super().model(), steps=self.steps)
