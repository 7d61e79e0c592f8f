"""Sizes and lengths of the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import GeneratorConfig
from hyperstyle.training.options import OptimOptions, TaskName, TrainOptions, resolve

__all__ = ["Recipe"]


def _generator() -> GeneratorConfig:
    return GeneratorConfig(128, (128, 128, 96, 64, 32, 32), latent_width=128, mapping_layers=4)


@dataclass(frozen=True)
class AdversarialOptions:
    """How the generator is made sharper.

    Attributes:
        steps: in all, with batches of `Recipe.generator_batch`.
        regression: of these, how many at first without the discriminator, so that images are right before it sees them.
        patch: side of the patches that the discriminator sees.
        patches: how many of each image.
        channels: of the discriminator, at 4 px, 8 px, ...
        weight: of the adversarial term; the pyramid's L1 has weight 1.
        perceptual: weight of the perceptual distance.
        r1: gamma of the R1 penalty.
        lr: learning rate of the generator; of the discriminator, `lr_scale` times as much.
    """

    steps: int = 6500
    regression: int = 3000
    patch: int = 32
    patches: int = 8
    channels: tuple[int, ...] = (96, 64, 32, 32)
    weight: float = 0.4
    perceptual: float = 0.5
    r1: float = 0.3
    lr: float = 2e-3
    lr_scale: float = 2.0


@dataclass(frozen=True)
class Recipe:
    """Sizes and lengths. The defaults made the bundled model; `tiny` runs in a minute, for tests.

    Attributes:
        generator: configuration of the generator; smaller sizes of it are trained first.
        clean, detailed, held_out: numbers of rendered images.
        generator_steps: per resolution from 16 px up, with batches of `generator_batch`.
        mapping_steps: length of that stage.
        factor_steps: length of fitting factors -> W to a finished model, which comes without it.
        adversarial: of the generator's second stage.
        encoder_steps: towards the codes, then towards the images.
        hypernetwork_steps: (length, refinement steps T, size of the images compared) of each phase.
        ablation_steps, ablation_images: phases, as in `hypernetwork_steps`, and number of images of each ablation.
        further_steps: for training a finished model further: steps of the encoder, (length, T) of the hypernetwork's
            phases.
        batch: images per step of encoder and hypernetwork.
        perceptual: weight of the perceptual loss of encoder and hypernetwork.
        people: with two images each, to learn identity from.
        judge_steps, perceptual_steps: lengths of those stages.
        hyper_first: hypernetwork and HyperInverter change layers from this resolution up.
        hyper_heads: its form of heads, see `HypernetworkConfig.heads`.
        hyper_code: width of its offset codes.
        hyper_widths, hyper_blocks, encoder_widths, perceptual_widths, encoder_blocks: trunks; the evaluator has the
            encoder's widths.
        inverter_steps: (length, size of the images compared) of each phase of HyperInverter's stage.
        inverter_widths, inverter_blocks, inverter_hidden, inverter_channels: its trunk, of three stages or more, the
            width of its codes and the channels of the convolutions that read the features of a layer.
        seed: of everything but the next.
        mapping_seed: of the first weights of the factor mapping (PyTorch's own default seed).
        stem: kernel and stride of the first convolution of encoder, hypernetwork and judges.
        bfloat16: train in bfloat16 autocast.
        compile: call the networks through `torch.compile` (twice as fast on a CPU; needs a C++ compiler).
    """

    generator: GeneratorConfig = field(default_factory=_generator)
    clean: int = 12_000
    detailed: int = 14_000
    held_out: int = 512
    generator_steps: tuple[int, ...] = (5000, 6000, 8000, 8000)
    generator_batch: int = 8
    mapping_steps: int = 6000
    factor_steps: int = 3000
    adversarial: AdversarialOptions = AdversarialOptions()
    encoder_steps: tuple[int, int] = (1000, 3200)
    hypernetwork_steps: tuple[tuple[int, int, int], ...] = (
        (3500, 1, 64),
        (700, 1, 128),
        (250, 2, 128),
        (200, 3, 128),
        (150, 6, 128),
    )
    further_steps: tuple[int, tuple[tuple[int, int], ...]] = (
        4500,
        ((700, 1), (400, 2), (300, 3), (200, 6), (100, 10)),
    )
    ablation_steps: tuple[tuple[int, int, int], ...] = (
        (500, 1, 64),
        (100, 1, 128),
        (60, 2, 128),
        (40, 3, 128),
        (20, 5, 128),
    )
    ablation_images: int = 5000
    perceptual: float = 1.0
    people: int = 2400
    judge_steps: int = 2500
    perceptual_steps: int = 2500
    batch: int = 16
    hyper_first: int = 16
    hyper_heads: Literal["shared", "plain", "separable", "compact"] = "compact"
    hyper_code: int = 128
    hyper_widths: tuple[int, ...] = (48, 96, 128)
    hyper_blocks: tuple[int, ...] = (1, 2, 2)
    encoder_widths: tuple[int, ...] = (32, 64, 96, 128)
    perceptual_widths: tuple[int, ...] = (24, 48, 64, 96)
    encoder_blocks: tuple[int, ...] = (1, 2, 2, 2)
    inverter_steps: tuple[tuple[int, int], ...] = ((1000, 64), (300, 128))
    inverter_widths: tuple[int, ...] = (48, 96, 128)
    inverter_blocks: tuple[int, ...] = (1, 2, 2)
    inverter_hidden: int = 32
    inverter_channels: int = 32
    seed: int = 1
    mapping_seed: int = 67280421310721
    stem: tuple[int, int] = (5, 2)
    bfloat16: bool = True
    compile: bool = True

    @property
    def dtype(self) -> torch.dtype:
        """Of autocast."""
        return torch.bfloat16 if self.bfloat16 else torch.float32

    def optim(self, *, clip: float = 0.0, ema: float = 0.0) -> OptimOptions:
        """Options of the optimization in all stages, with the maximum norm of the gradient and the decay of an EMA."""
        precision: Literal["float32", "bfloat16"] = "bfloat16" if self.bfloat16 else "float32"
        return OptimOptions("adam", clip=clip, precision=precision, ema=ema, compile=self.compile, seed=self.seed)

    def task_options(self, task: TaskName, optim: OptimOptions) -> TrainOptions:
        """Options of a task that gets its networks, losses and images from the recipe: none are named."""
        start = "encoder.generator" if task == "encoder" else f"{task}.encoder"
        options = resolve(task, flags={start: "", "data.train": "", "run.out": "", "loss.adversarial": 0})
        return replace(options, optim=optim)

    def trunk(self, widths: tuple[int, ...], blocks: tuple[int, ...]) -> TrunkConfig:
        """A trunk with the recipe's first convolution and group normalization."""
        return TrunkConfig(widths, blocks, *self.stem, 2, norm="group")

    def changed_layers(self, generator: StyleGenerator) -> tuple[str, ...]:
        """Names of the generator's convolutions that hypernetwork and HyperInverter change."""
        return tuple(s.name for s in generator.layers if s.resolution >= self.hyper_first and not s.torgb)

    def continued(self) -> Recipe:
        """For training a finished model further: towards the images only, and at full size."""
        encoder, hypernetwork = self.further_steps
        size = self.generator.size
        return replace(
            self,
            encoder_steps=(0, encoder),
            hypernetwork_steps=tuple((length, steps, size) for length, steps in hypernetwork),
        )

    @classmethod
    def tiny(cls) -> Recipe:
        """A 32 px model that trains in seconds: too small to be good, large enough to show that learning works."""
        return cls(
            generator=GeneratorConfig(32, (32, 32, 32, 16), latent_width=64, mapping_layers=2),
            clean=64,
            detailed=64,
            held_out=16,
            generator_steps=(130, 20),
            mapping_steps=20,
            factor_steps=20,
            adversarial=AdversarialOptions(steps=20, regression=5, patch=16, patches=2, channels=(16, 16, 16)),
            encoder_steps=(10, 25),
            hypernetwork_steps=((10, 1, 16), (5, 1, 32), (5, 2, 32)),
            ablation_steps=((10, 1, 16), (6, 2, 32)),
            ablation_images=64,
            further_steps=(80, ((30, 1), (30, 2))),
            hyper_first=8,
            hyper_code=16,
            hyper_widths=(16, 32),
            hyper_blocks=(1, 1),
            encoder_widths=(16, 32),
            perceptual_widths=(16, 24),
            encoder_blocks=(1, 1),
            inverter_steps=((20, 16), (10, 32)),
            inverter_widths=(16, 16, 32),
            inverter_blocks=(1, 1, 1),
            inverter_hidden=16,
            inverter_channels=16,
            people=16,
            judge_steps=8,
            perceptual_steps=8,
            stem=(3, 1),
            bfloat16=False,
            compile=False,
        )
