"""Training an encoder, into W or into W+.

pSp (Richardson et al., CVPR 2021), e4e (Tov et al., SIGGRAPH 2021), and both in the passes of ReStyle (Alaluf et al.,
ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hyperstyle.errors import ConfigError
from hyperstyle.metrics import l2
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.pyramid import PyramidEncoder, PyramidEncoderConfig
from hyperstyle.networks.encoders.restyle import RestyleEncoder, RestyleEncoderConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.training.adversary import Adversary, image_adversary
from hyperstyle.training.builders import init_weights, open_generator, training_device, trunk_for
from hyperstyle.training.distributed import gather, rank
from hyperstyle.training.latent_discriminator import LatentDiscriminator, LatentPool
from hyperstyle.training.losses import delta_loss, w_mean_loss
from hyperstyle.training.objective import Objective
from hyperstyle.training.options import EncoderOptions, TrainOptions
from hyperstyle.training.steps import autocast, compiled
from hyperstyle.training.task import Phase, Scale, optimizer_for

__all__ = ["EncoderTask"]

_LATENT_LR_SCALE = 0.2  # of the encoder's: 2e-5 as published


class EncoderTask:
    """A `Task`: the encoder learns, the generator is frozen."""

    def __init__(self, options: TrainOptions) -> None:
        if options.encoder is None:
            raise ConfigError("training an encoder needs the options 'encoder'.")
        if options.data.inversions is not None:
            raise ConfigError("data.inversions: an encoder makes codes of its own. Leave it out.")
        self.own: EncoderOptions = options.encoder
        self.loss = options.loss
        device = training_device(options.optim)
        self.base = open_generator(self.own.generator, self.own.domain, device)
        generator, domain = self.base.generator, self.base.domain
        options.check_generator(generator.config.size)
        self.objective = Objective(options.loss, domain, perceptual=self.base.perceptual, device=device)
        self.progressive = self.own.kind.endswith("e4e")
        self.main = {"w": "encoder", "psp": "psp", "e4e": "e4e"}.get(self.own.kind, "restyle")
        width = generator.config.latent_width
        self.network = _new_encoder(self.own, generator.config.rows, width, domain.input_size)
        self.network.to(device)
        self.network.latent_avg.copy_(generator.latent_avg.expand_as(self.network.latent_avg))
        init_weights(self.own.init, self.network, self.main, device)
        self.dtype: torch.dtype = getattr(torch, options.optim.precision)
        self._generate = compiled(generator, options.optim.compile)
        self._encode = compiled(self.network, options.optim.compile)
        self.modules: dict[str, nn.Module] = {self.main: self.network}
        self.optimizers: dict[str, Optimizer] = {self.main: optimizer_for(self.network.parameters(), options.optim)}
        self.latent: Adversary | None = None
        self.adversary = image_adversary(options.loss, self.base)
        if self.adversary is not None:
            self._add("discriminator", self.adversary)
        if options.loss.latent_discriminator > 0:
            self.latent = Adversary(
                LatentDiscriminator(width).to(device),
                options.loss,
                weight=options.loss.latent_discriminator,
                lr_scale=_LATENT_LR_SCALE,
                factor=2.0,  # e4e adds the two losses
            )
            self._add("latent_discriminator", self.latent)
            self.pools = nn.ModuleDict({name: LatentPool(width) for name in ("real", "made")}).to(device)
            self.modules["pools"] = self.pools

    def _add(self, name: str, adversary: Adversary) -> None:
        self.modules[name], self.optimizers[name] = adversary.discriminator, adversary.optimizer

    def rows_at(self, step: int) -> int:
        """How many rows have a code of their own in this step: the first alone, then one more from time to time."""
        if self.own.kind == "w":
            return 1
        rows, start = self.base.generator.config.rows, self.own.progressive_start
        if start is None:
            return rows
        return 1 if step < start else min(rows, 2 + (step - start) // self.own.progressive_every)

    def train_step(self, crop: Tensor, step: int, scale: Scale, codes: Tensor | None = None) -> dict[str, float]:
        """loss(G(w), x), and what keeps codes near W (HyperStyle, Eq. 2; e4e, Section 4); ReStyle: after each pass."""
        rows = self.rows_at(step)
        adversary = self.adversary if self.adversary is not None and self.adversary.is_active(step) else None
        figures: dict[str, float] = {}
        for w, image in self._passes(crop, rows):
            loss, parts = self.objective(image, crop)
            if self.progressive and rows > 1 and self.loss.delta > 0:
                delta = delta_loss(w, rows - 1)
                loss, parts["delta"] = loss + self.loss.delta * delta, delta.item()
            if self.loss.w_mean > 0:
                pull = w_mean_loss(w, self.base.generator.latent_avg)
                loss, parts["w_mean"] = loss + self.loss.w_mean * pull, pull.item()
            if self.latent is not None:
                loss = loss + self.latent.generator_term(w[:, :rows])
            if adversary is not None:
                loss = loss + adversary.generator_term(image)
            scale(loss).backward()  # type: ignore[no-untyped-call]
            figures = {"loss": loss.item(), "rows": float(rows), **parts}  # of the last pass, in the end
        if self.latent is not None:
            real, made = self._pooled(w[:, :rows].detach(), step)
            figures |= {f"latent_{name}": value for name, value in self.latent.learn(real, made, scale).items()}
        if adversary is not None:
            figures |= adversary.learn(crop, image, scale)
        return figures

    def _passes(self, crop: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Codes w [B,L,D], of which the first `rows` rows are their own, and G(w) as networks see it, after each pass.

        W and W+ encoders have one pass. Those of ReStyle see the image so far, at first that of the mean of W, and
        add to its codes; gradients reach back to that pass alone (ReStyle, Section 3).
        """
        passes, w, seen = 1, crop.new_zeros(()), [crop]
        if isinstance(self.network, RestyleEncoder):
            passes, w = self.own.passes, self.network.latent_avg
            with torch.no_grad():
                seen = [crop, self._picture(w[None]).expand_as(crop)]
        for _ in range(passes):
            with autocast(self.dtype, crop.device):
                change = self._encode(*seen).to(crop.dtype)
            w = w + torch.cat([change[:, :rows], change[:, :1].expand(-1, change.shape[1] - rows, -1)], 1)
            image = self._picture(w)
            yield w, image
            w, seen = w.detach(), [crop, image.detach()]

    def _picture(self, w: Tensor) -> Tensor:
        """G(w) [B,3,h,w] as networks see it."""
        with autocast(self.dtype, w.device):
            image = self._generate(w, modulation="activations")
        return self.base.domain.as_network_input(image).to(w.dtype)

    def _pooled(self, made: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Codes [B,D] of W and predicted ones, from now and before; every process has the pools of all."""
        rows = slice(rank() * len(made), (rank() + 1) * len(made))
        everyone = {"real": gather(self._drawn(len(made))), "made": gather(made)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step)  # the same draws in every process
            pooled = {name: self.pools[name](w) for name, w in everyone.items()}
        return pooled["real"][rows], pooled["made"][rows]

    @torch.no_grad()
    def _drawn(self, count: int) -> Tensor:
        """Codes [count,D] of W."""
        generator = self.base.generator
        return generator.mapping(torch.randn(count, generator.config.latent_width).to(generator.latent_avg))

    def phases(self, step: int) -> list[Phase]:
        """The step, and from time to time R1 of the discriminators."""
        taking = {"latent_discriminator": self.latent, "discriminator": self.adversary}
        there = {name: one for name, one in taking.items() if one is not None and one.is_active(step)}
        made = [Phase(self.train_step, (self.main, *there))]
        if self.adversary is not None and self.adversary.needs_r1(step):
            made.append(self.adversary.r1_phase("discriminator"))
        if (latent := self.latent) is not None and latent.needs_r1(step):

            def of_codes(crop: Tensor, step: int, scale: Scale, codes: Tensor | None) -> Mapping[str, float]:
                return {"latent_r1": latent.regularize(self._drawn(len(crop)), scale)["r1"]}

            made.append(Phase(of_codes, ("latent_discriminator",)))
        return made

    def evaluate(self, crop: Tensor) -> Mapping[str, Tensor]:
        """L2 [B]."""
        return {"l2": l2(self.sample(crop)["reconstruction"], crop)}

    @torch.no_grad()
    def sample(self, crop: Tensor) -> dict[str, Tensor]:
        """Crops and G(w); of several passes after the first one too."""
        images = [image for _, image in self._passes(crop, self.base.generator.config.rows)]
        before = {"first": images[0]} if len(images) > 1 else {}
        return {"crop": crop, **before, "reconstruction": images[-1]}

    def model(self) -> Model:
        """The generator with this encoder; a W encoder comes without the networks that refined another one's codes."""
        if isinstance(self.network, WEncoder):
            return self.base.with_parts(encoder=self.network, hypernetwork=None, hyperinverter=None)
        if isinstance(self.network, RestyleEncoder):
            return self.base.with_parts(restyle=self.network)
        if self.main == "e4e":
            return self.base.with_parts(e4e=self.network)
        return self.base.with_parts(psp=self.network)


def _new_encoder(
    own: EncoderOptions, rows: int, width: int, input_size: tuple[int, int]
) -> WEncoder | PyramidEncoder | RestyleEncoder:
    """The network that the options name; rows that join later change nothing before."""
    trunk = trunk_for(own.backbone, input_size)
    if own.kind == "w":
        # Where the trunk leaves few positions, they are kept: an average over them says too little.
        pool: Literal["average", "flatten"] = "average" if trunk.norm == "batch" else "flatten"
        return WEncoder(WEncoderConfig(rows, width, input_size, trunk, pool, own.backbone))
    numbers = (rows, width, input_size, own.backbone, trunk, own.kind.endswith("e4e"))
    network: PyramidEncoder | RestyleEncoder
    if own.kind.startswith("restyle"):
        network = RestyleEncoder(RestyleEncoderConfig(*numbers))
    else:
        network = PyramidEncoder(PyramidEncoderConfig(*numbers))
    if own.progressive_start is not None:
        for block in list(network.styles)[1:]:
            nn.init.zeros_(block.get_parameter("linear.weight"))
    return network
