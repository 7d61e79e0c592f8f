"""StyleGAN2 generators in the layout of the PyTorch port (`g_ema`), and from whatever file has one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hyperstyle.convert.contents import Use
from hyperstyle.convert.filling import (
    Converted,
    axis_size,
    check_rgb_unconditional,
    fill,
    numbers_in_names,
    without_weights,
)
from hyperstyle.convert.idinvert import idinvert_generator
from hyperstyle.convert.nvidia import generator_from_nvidia, load_nvidia
from hyperstyle.convert.sniff import SniffedFile, describe_kind, sniff
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.io.components import check_finite
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig, layer_table
from hyperstyle.networks.stylegan2.ops import fir_kernel
from hyperstyle.runtime.gradients import outside_inference_mode

_SAMPLES = 100_000  # as many as the official code averages where a file has no mean code
_NOISE_SEED = 0
_CLASSES = re.compile(r"(?:.*\.)?(?:\w*embed(?:ding)?s?|\w*emb|embed_\w+|label_\w+|class_\w+)\.weight")


@outside_inference_mode
def read_generator(path: str | Path, *, use: Use | None = None) -> StyleGenerator:
    """The generator of a file: a `g_ema` file or bare tensors (`.pt` or safetensors), NVIDIA's pickle, or the decoder
    of a HyperStyle, W encoder, pSp, e4e or ReStyle file.

    Args:
        path: the file.
        use: "g" takes the generator in training where the file is a training checkpoint; None is `g_ema`, and refuses
            a file that has only `g`.

    Returns:
        A float32 generator on the CPU, in eval mode, without gradients; its `latent_avg` is computed and its noise maps
        are sampled where the file has none. The tensors of `.pt` and safetensors files lie in the file, which must stay
        as it is while they are used.

    Raises:
        CheckpointError: the file cannot be read, has no generator, or is of a family that is not converted, or has
            only `g` and `use` does not ask for it.
        WeightsError: see `generator_from_state` and `load_nvidia`.
        ConfigError: a size that `GeneratorConfig` refuses, or an unknown `use`.
    """
    return find_generator(sniff(path, use)).network


def find_generator(file: SniffedFile) -> Converted[StyleGenerator]:
    """The generator of a file that was read. Raises as `read_generator` does."""
    if file.kind == "nvidia":
        generator = load_nvidia(file.path)
        return Converted(generator, len(generator.state_dict()))
    if file.kind == "nvidia-state":
        generator = generator_from_nvidia(file.tensors, where=str(file.path))
        assumed = f"the learning-rate multiplier of the mapping network, 0.01: {file.path.name} does not say it"
        return Converted(generator, len(file.tensors), computed=(assumed,))
    if file.kind == "idinvert":
        return idinvert_generator(file.tensors, where=str(file.path))
    if not file.has_generator:
        raise CheckpointError(
            f"{file.path} is {describe_kind(file.kind)} without a generator: give the generator's own file."
        )
    prefix = "" if file.kind == "generator" else "decoder."
    return generator_from_state(file.part(prefix), file.latent_avg, where=str(file.path), prefix=prefix)


def generator_from_state(
    state: Mapping[str, Tensor], latent_avg: Tensor | None = None, *, where: str = "the state", prefix: str = ""
) -> Converted[Generator]:
    """A generator from the tensors of the PyTorch port, all of them used; its sizes follow from their shapes.

    Args:
        state: `style.*`, `input.*`, `convs.*`, ... by name; float32 tensors are not copied. Without any `noises.*`
            (files from before they were saved), the maps are sampled, see `noise_maps`; without any filter, the
            published one is taken.
        latent_avg: mean code, [D], [1,D] or [L,D]; None computes it.
        where: what error messages call the source.
        prefix: what stands before the names in the source, for messages.

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite, a low-pass filter is another one,
            the mean code has no fitting shape, or it makes images of other colors or of classes.
        ConfigError: a size that `GeneratorConfig` refuses.
    """
    _check_kind(state, where)
    config = _config(state, where, prefix)
    published = fir_kernel()
    for name, tensor in state.items():
        if not name.endswith(".kernel"):
            continue
        kernel = tensor.detach().cpu().float()
        if kernel.shape != published.shape or not torch.allclose(kernel, published, rtol=0.0, atol=1e-5):
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
    generator = without_weights(Generator, config)
    maps = {} if any(name.startswith("noises.") for name in state) else noise_maps(config)
    filters: dict[str, Tensor] = {}
    if not any(name.endswith(".kernel") for name in state):
        filters = {name: fir_kernel() for name in generator.state_dict() if name.endswith(".kernel")}
    fill(generator, {**state, **maps, **filters, "latent_avg": mean}, where=where, prefix=prefix)
    if latent_avg is None:
        generator.latent_avg = generator.mean_w(_SAMPLES)
        computed = (f"the mean code, from {_SAMPLES:,} samples: {Path(where).name} has none",)
    if maps:
        sampled = f"the noise maps, {len(maps)} of standard normal noise with seed {_NOISE_SEED}"
        computed += (f"{sampled}: {Path(where).name} has none",)
    if filters:
        computed += (f"the low-pass filters, [1, 3, 3, 1] as published: {Path(where).name} has none",)
    return Converted(generator, len(state) + (latent_avg is not None), computed=computed)


def noise_maps(config: GeneratorConfig) -> dict[str, Tensor]:
    """Noise maps `noises.noise_N` [1,1,r,r] for a generator whose file has none.

    Such a generator was trained, and used, with fresh normal noise in every call. A fixed sample of it keeps the
    statistics of its features and gives the same image every time; zeros would give smoother images than it was trained
    to make. NumPy's legacy stream is the same in all versions, so equal files give equal models everywhere.
    """
    random = np.random.RandomState(_NOISE_SEED)
    sides = [spec.resolution for spec in layer_table(config) if not spec.torgb]
    return {
        f"noises.noise_{n}": torch.from_numpy(random.standard_normal((1, 1, side, side)).astype(np.float32))
        for n, side in enumerate(sides)
    }


def _check_kind(state: Mapping[str, Tensor], where: str) -> None:
    """Raises WeightsError for a generator with classes, or of images that are not RGB."""
    if "to_rgb1.conv.weight" in state:
        check_rgb_unconditional(where, channels=axis_size(state, "to_rgb1.conv.weight", 1))
    for name, tensor in state.items():
        if _CLASSES.fullmatch(name) and tensor.ndim == 2:  # a linear layer is [out, classes], a table [classes, out]
            linear = name.removesuffix("weight") + "bias" in state
            check_rgb_unconditional(where, classes=tensor.shape[1 if linear else 0])
    into, width = axis_size(state, "style.1.weight", 1), axis_size(state, "style.1.weight", 0)
    if into != width and "style.1.weight" in state:
        raise WeightsError(
            f"{where}: the mapping network takes {into} numbers and gives {width}, as those of class-conditional "
            "generators: only unconditional ones are converted."
        )


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


def _config(state: Mapping[str, Tensor], where: str, prefix: str) -> GeneratorConfig:
    """The numbers of the generator, by its convolutions: two for every doubling of the size."""
    doublings = (max(numbers_in_names(state, r"convs\.(\d{1,3})\."), default=0) + 1) // 2
    names = ["conv1.conv.weight", *(f"convs.{2 * block + 1}.conv.weight" for block in range(doublings))]
    if missing := [name for name in names if name not in state]:
        raise WeightsError(
            f"{where}: {len(missing)} convolution(s) of the generator missing ({prefix + missing[0]!r}): expected two "
            "for every doubling of the size."
        )
    return GeneratorConfig(
        size=4 << doublings,
        channels=tuple(axis_size(state, name, 1) for name in names),
        latent_width=axis_size(state, "conv1.conv.modulation.weight", 1),
        mapping_layers=max(len(numbers_in_names(state, r"style\.(\d+)\.weight$")), 1),
    )
