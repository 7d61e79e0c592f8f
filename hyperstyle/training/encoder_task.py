"""Training an encoder, into W or into W+.

pSp (Richardson et al., CVPR 2021), e4e (Tov et al., SIGGRAPH 2021), and both in the steps of ReStyle (Alaluf et al.,
ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from hyperstyle.metrics import l2
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.pyramid import PyramidEncoder, RestyleEncoder
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.training.adversarial import Adversary, LatentDiscriminator, LatentPool, Scale
from hyperstyle.training.distributed import gather, rank
from hyperstyle.training.objective import ImageLoss, delta_loss, w_mean_loss
from hyperstyle.training.options import TrainOptions
from hyperstyle.training.task import Task, autocast

_LATENT_LR_SCALE = 0.2  # of the latent discriminator: 2e-5 as published, with 1e-4 for the encoder


class EncoderTask(Task):
    """The encoder learns; the generator is frozen.

    Attributes:
        settings: kind of the encoder, steps, progressive training.

    Args:
        base, network, objective, options: see `Task`.
    """

    network: WEncoder | PyramidEncoder | RestyleEncoder

    def __init__(self, base: Model, network: nn.Module, objective: ImageLoss, options: TrainOptions) -> None:
        super().__init__(base, network, objective, options)
        assert options.encoder is not None  # the table of this task
        self.settings = options.encoder
        if options.loss.latent_discriminator > 0:
            width = base.generator.config.latent_width
            latent = Adversary(
                LatentDiscriminator(width).to(base.device),
                options.loss,
                weight=options.loss.latent_discriminator,
                lr_scale=_LATENT_LR_SCALE,
                factor=2.0,  # e4e adds the two losses
                prefix="latent_",
            )
            self.add_adversary("latent_discriminator", latent)
            self.pools = nn.ModuleDict({name: LatentPool(width) for name in ("real", "made")}).to(base.device)
            self.modules["pools"] = self.pools

    def rows_at(self, step: int) -> int:
        """How many rows have a code of their own in this step: one at first, then one more at regular intervals."""
        if self.settings.kind == "w":
            return 1
        rows, start = self.base.generator.config.rows, self.settings.progressive_start
        if start is None:
            return rows
        return 1 if step < start else min(rows, 2 + (step - start) // self.settings.progressive_every)

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> dict[str, float]:
        """Loss and backward for G(w) (HyperStyle, Eq. 2; e4e, Section 4), or after each step of ReStyle."""
        rows = self.rows_at(step)
        figures: dict[str, float] = {}
        for w, image in self._encode(crop, rows):
            terms, lengths = self._code_terms(w, rows)
            figures = self.add_gradient(image, crop, step, scale, terms) | lengths  # those of the last step remain
        if (latent := self.adversaries.get("latent_discriminator")) is not None:
            figures |= latent.add_gradient(*self._pooled(w[:, :rows].detach(), step), scale)
        return {"rows": float(rows)} | figures | self.train_discriminator(image, crop, step, scale)

    def _code_terms(self, w: Tensor, rows: int) -> tuple[list[Tensor], dict[str, float]]:
        """The weighted terms of the loss that keep codes w [B,L,D] near W, and figures for the log."""
        terms, figures = [], dict[str, float]()
        if self.settings.kind.endswith("e4e") and rows > 1 and self.options.loss.delta > 0:
            delta = delta_loss(w, rows - 1)
            terms.append(self.options.loss.delta * delta)
            figures["delta"] = delta.item()
        if self.options.loss.w_mean > 0:
            distance = w_mean_loss(w, self.base.generator.latent_avg)
            terms.append(self.options.loss.w_mean * distance)
            figures["w_mean"] = distance.item()
        if (latent := self.adversaries.get("latent_discriminator")) is not None:
            terms.append(latent.generator_term(w[:, :rows]))
        return terms, figures

    def _encode(self, crop: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Codes w [B,L,D], of which the first `rows` rows are their own, and G(w) as networks see it, after each step.

        Encoders into W and W+ have one step. Those of ReStyle see the image so far, at first that of the mean of W, and
        predict an offset of its codes; gradients reach back to that step alone (ReStyle, Section 3).
        """
        steps, w, inputs = 1, crop.new_zeros(()), [crop]
        if isinstance(self.network, RestyleEncoder):
            steps, w = self.settings.passes, self.network.latent_avg
            with torch.no_grad():
                inputs = [crop, self._synthesize(w[None]).expand_as(crop)]
        for _ in range(steps):
            with autocast(self.dtype, crop.device):
                offset = self.predict(*inputs).to(crop.dtype)  # [B,L,D]
            # Rows that have no code of their own yet follow the first.
            w = w + torch.cat([offset[:, :rows], offset[:, :1].expand(-1, offset.shape[1] - rows, -1)], 1)
            image = self._synthesize(w)
            yield w, image
            w, inputs = w.detach(), [crop, image.detach()]

    def _synthesize(self, w: Tensor) -> Tensor:
        """G(w) [B,3,h,w] as networks see it."""
        with autocast(self.dtype, w.device):
            image = self.generate(w, modulation="activations")
        return self.as_input(image).to(w.dtype)

    def _pooled(self, predicted: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Codes [B,D] of W and predicted ones, of this and earlier steps; every process has the pools of all."""
        own_part = slice(rank() * len(predicted), (rank() + 1) * len(predicted))
        real, fake = gather(self._sample_w(len(predicted))), gather(predicted)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step)  # the same choices in every process
            pooled = self.pools["real"](real), self.pools["made"](fake)
        return pooled[0][own_part], pooled[1][own_part]

    @torch.no_grad()
    def _sample_w(self, count: int) -> Tensor:
        """Random codes [count,D] of W."""
        generator = self.base.generator
        return generator.mapping(torch.randn(count, generator.config.latent_width).to(generator.latent_avg))

    def real_data(self, adversary: str, crop: Tensor) -> Tensor:
        """Real data for R1: the crops, or as many random codes of W for the latent discriminator."""
        return crop if adversary == "discriminator" else self._sample_w(len(crop))

    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """L2 [B]."""
        return {"l2": l2(self.sample(crop)["reconstruction"], crop)}

    @torch.no_grad()
    def sample(self, crop: Tensor) -> dict[str, Tensor]:
        """Crops and G(w); with several steps also the reconstruction after the first."""
        images = [image for _, image in self._encode(crop, self.base.generator.config.rows)]
        first = {"first": images[0]} if len(images) > 1 else {}
        return {"crop": crop, **first, "reconstruction": images[-1]}

    def model(self) -> Model:
        """The model with this encoder; a new W encoder replaces the hypernetworks that refined the codes of another."""
        model = super().model()
        return model.with_parts(hypernetwork=None, hyperinverter=None) if self.main == "encoder" else model
