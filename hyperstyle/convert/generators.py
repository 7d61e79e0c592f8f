"""StyleGAN2 generators in the layout of the PyTorch port (`g_ema`), and from whatever file has one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hyperstyle.checkpoint import check_finite
from hyperstyle.convert.filling import fill, length
from hyperstyle.convert.idinvert import idinvert_generator
from hyperstyle.convert.nvidia import load_nvidia
from hyperstyle.convert.sniff import Source, a_kind, sniff
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.gradients import outside_inference_mode
from hyperstyle.networks.generator import Generator, GeneratorConfig
from hyperstyle.networks.ops import fir_kernel

__all__ = ["FoundGenerator", "find_generator", "generator_from_state", "mean_row", "read_generator"]

_SAMPLES = 100_000  # as many as the official code averages where a file has no mean code


class FoundGenerator(NamedTuple):
    """A generator, how many tensors of its file it took, sentences on what the file did not have, and the names of
    tensors that are not needed."""

    generator: Generator
    consumed: int
    computed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@outside_inference_mode
def read_generator(path: str | Path) -> Generator:
    """The generator of a file: a `g_ema` file or bare tensors, NVIDIA's pickle, or the decoder of a HyperStyle, W
    encoder, pSp, e4e or ReStyle file.

    Returns:
        A float32 generator on the CPU, in eval mode, without gradients; its `latent_avg` is computed where the file has
        none. The tensors of `.pt` files lie in the file, which must stay as it is while they are used.

    Raises:
        CheckpointError: the file cannot be read, has no generator, or is of a family that is not converted.
        WeightsError: see `generator_from_state` and `load_nvidia`.
        ConfigError: a size that `GeneratorConfig` refuses.
    """
    return find_generator(sniff(path)).generator


def find_generator(source: Source) -> FoundGenerator:
    """The generator of a file that was read. Raises as `read_generator` does."""
    if source.kind == "nvidia":
        generator = load_nvidia(source.path)
        return FoundGenerator(generator, len(generator.state_dict()))
    if source.kind == "idinvert":
        network, consumed, unread = idinvert_generator(source.tensors, where=str(source.path))
        return FoundGenerator(network, consumed, unread=unread)
    if not source.has_generator:
        raise CheckpointError(
            f"{source.path} is {a_kind(source.kind)} without a generator: give the generator's own file."
        )
    prefix = "" if source.kind == "generator" else "decoder."
    return generator_from_state(source.part(prefix), source.latent_avg, where=str(source.path), prefix=prefix)


def generator_from_state(
    state: Mapping[str, Tensor], latent_avg: Tensor | None = None, *, where: str = "the state", prefix: str = ""
) -> FoundGenerator:
    """A generator from the tensors of the PyTorch port, all of them used; its sizes follow from their shapes.

    Args:
        state: `style.*`, `input.*`, `convs.*`, ... by name; float32 tensors are not copied.
        latent_avg: mean code, [D], [1,D] or [L,D]; None computes it.
        where: what error messages call the source.
        prefix: what stands before the names in the source, for messages.

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite, a low-pass filter is another one,
            or the mean code has no fitting shape.
        ConfigError: a size that `GeneratorConfig` refuses.
    """
    config = _config(state, where, prefix)
    for name, tensor in state.items():
        if name.endswith(".kernel") and not _is_our_filter(tensor):
            raise WeightsError(
                f"{where}: {prefix + name!r} is another low-pass filter than [1, 3, 3, 1]: such generators are not "
                "converted."
            )
    mean = torch.zeros(config.latent_width)
    computed: tuple[str, ...] = ()
    if latent_avg is not None:
        check_finite(latent_avg, "latent_avg", where)
        mean = mean_row(latent_avg, config, where)
        if latent_avg.ndim == 2 and not torch.equal(mean.expand_as(latent_avg), latent_avg.detach().cpu().float()):
            computed = (f"the generator's mean code is the mean of the {latent_avg.shape[0]} rows of latent_avg",)
    with torch.device("meta"):
        generator = Generator(config)
    fill(generator, {**state, "latent_avg": mean}, where=where, prefix=prefix)
    if latent_avg is None:
        generator.latent_avg = generator.mean_w(_SAMPLES)
        computed = (f"the mean code, from {_SAMPLES:,} samples: {Path(where).name} has none",)
    return FoundGenerator(generator, len(state) + (latent_avg is not None), computed)


def mean_row(latent_avg: Tensor, config: GeneratorConfig, where: str) -> Tensor:
    """The mean code [D] of `latent_avg`, [D], [1,D] or [L,D]. Raises WeightsError for another shape."""
    width, shape = config.latent_width, tuple(latent_avg.shape)
    if shape not in ((width,), (1, width), (config.rows, width)):
        raise WeightsError(
            f"{where}: 'latent_avg' has the shape {shape}: expected ({width},) or ({config.rows}, {width}) for its "
            f"generator of {config.size} px."
        )
    rows = latent_avg.detach().to("cpu", torch.float32).reshape(-1, width)
    return rows[0].clone() if torch.equal(rows, rows[:1].expand_as(rows)) else rows.mean(0)


def _is_our_filter(tensor: Tensor) -> bool:
    ours = fir_kernel()
    return tensor.shape == ours.shape and torch.allclose(tensor.detach().cpu().float(), ours, rtol=0.0, atol=1e-5)


def _config(state: Mapping[str, Tensor], where: str, prefix: str) -> GeneratorConfig:
    """The numbers of the generator, by its convolutions: two for every doubling of the size."""
    numbers = {int(found[1]) for name in state if (found := re.match(r"convs\.(\d{1,3})\.", name))}
    doublings = (max(numbers, default=0) + 1) // 2
    names = ["conv1.conv.weight", *(f"convs.{2 * block + 1}.conv.weight" for block in range(doublings))]
    if missing := [name for name in names if name not in state]:
        raise WeightsError(
            f"{where}: {len(missing)} convolution(s) of the generator missing ({prefix + missing[0]!r}): expected two "
            "for every doubling of the size."
        )
    depth = sum(bool(re.fullmatch(r"style\.\d+\.weight", name)) for name in state)
    return GeneratorConfig(
        size=4 << doublings,
        channels=tuple(length(state, name, 1) for name in names),
        latent_width=length(state, "conv1.conv.modulation.weight", 1),
        mapping_layers=max(depth, 1),
    )
