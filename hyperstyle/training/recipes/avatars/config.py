"""Sizes and lengths of the recipe."""

from __future__ import annotations

from dataclasses import dataclass, field

from hyperstyle.networks.generator import GeneratorConfig

__all__ = ["Recipe"]


def _generator() -> GeneratorConfig:
    return GeneratorConfig(64, (128, 128, 96, 64, 32), latent_width=128, mapping_layers=4)


@dataclass(frozen=True)
class Recipe:
    """Sizes and lengths. The defaults made the bundled model; `tiny` runs in a minute, for tests.

    Attributes:
        generator: configuration of the generator; smaller sizes of it are trained first.
        clean, detailed, held_out: numbers of rendered pictures.
        generator_steps: per resolution from 16 px up, with batches of `generator_batch`.
        mapping_steps, encoder_steps: lengths of those stages.
        hypernetwork_steps: (length, passes T) of each phase.
        batch: pictures per step of encoder and hypernetwork.
        people, judge_steps: people with two pictures each to learn identity from, and the length of that stage.
        hyper_first: the hypernetwork changes layers from this resolution up.
        hyper_code: width of its offset codes.
        hyper_widths, hyper_blocks, encoder_widths, encoder_blocks: trunks.
        seed: of everything but the next.
        mapping_seed: of the first weights of the factor mapping (PyTorch's own default seed).
        bfloat16: train in bfloat16 autocast.
    """

    generator: GeneratorConfig = field(default_factory=_generator)
    clean: int = 12_000
    detailed: int = 14_000
    held_out: int = 512
    generator_steps: tuple[int, ...] = (6000, 9000, 13000)
    generator_batch: int = 8
    mapping_steps: int = 6000
    encoder_steps: int = 3000
    hypernetwork_steps: tuple[tuple[int, int], ...] = ((4800, 1), (1000, 2), (600, 3), (300, 5))
    people: int = 2400
    judge_steps: int = 4000
    batch: int = 16
    hyper_first: int = 16
    hyper_code: int = 128
    hyper_widths: tuple[int, ...] = (48, 96, 128)
    hyper_blocks: tuple[int, ...] = (1, 2, 2)
    encoder_widths: tuple[int, ...] = (32, 64, 96, 128)
    encoder_blocks: tuple[int, ...] = (1, 2, 2, 2)
    seed: int = 1
    mapping_seed: int = 67280421310721
    bfloat16: bool = True

    @classmethod
    def tiny(cls) -> Recipe:
        """A 16 px model that trains in seconds: too small to be good, large enough to show that learning works."""
        return cls(
            generator=GeneratorConfig(16, (32, 32, 32), latent_width=64, mapping_layers=2),
            clean=128,
            detailed=128,
            held_out=16,
            generator_steps=(150,),
            mapping_steps=50,
            encoder_steps=60,
            hypernetwork_steps=((30, 1), (10, 2)),
            hyper_first=8,
            hyper_code=16,
            hyper_widths=(16, 32),
            hyper_blocks=(1, 1),
            encoder_widths=(16, 32),
            encoder_blocks=(1, 1),
            people=32,
            judge_steps=20,
            bfloat16=False,
        )
