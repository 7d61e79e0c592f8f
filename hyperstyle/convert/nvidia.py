"""NVIDIA's StyleGAN2 generators (stylegan2-ada-pytorch) <-> `Generator`.

Both store the same numbers: weights divided by the learning-rate multiplier, unscaled convolutions, the 1 in the
biases of the affine layers. Only leading axes differ, and the gain of the low-pass filters, which is here a part of
the filter. The clamp of features at +-256 and the half precision that some files ask for are not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hyperstyle.convert.filling import axis_size, check_rgb_unconditional, numbers_in_names, without_weights
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.io.components import check_tensors
from hyperstyle.io.pickle_reader import PickledObject, load_pickle
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.networks.stylegan2.ops import fir_kernel
from hyperstyle.runtime.gradients import outside_inference_mode


class _Row(NamedTuple):
    """One tensor under both names. `axes` is the part of our shape that NVIDIA's has; our values are `gain` times as
    large."""

    nvidia: str
    ours: str
    axes: slice = slice(None)
    gain: float = 1.0


@outside_inference_mode
def load_nvidia(path: str | Path) -> Generator:
    """The generator `G_ema` of a pickle of stylegan2-ada-pytorch, on the CPU, in eval mode; nothing of it is executed.

    Raises:
        CheckpointError: the file cannot be read as such a pickle, or has no generator.
        WeightsError: see `load_pickle` and `generator_from_nvidia`.
    """
    content = load_pickle(path)
    record = content.get("G_ema") if isinstance(content, dict) else None
    if not isinstance(record, PickledObject):
        entries = f"entries {', '.join(map(repr, content))}" if isinstance(content, dict) else None
        held = entries or f"something of type {type(content).__name__}"
        raise CheckpointError(f"{path} holds {held}: expected a network under 'G_ema'.")
    where = f"{path}: G_ema"
    modules = record.modules()
    for name, module in modules.items():
        if (activation := module.state.get("activation", "lrelu")) not in ("lrelu", "linear"):
            raise WeightsError(f"{where}: {name} has the activation {activation!r}: expected 'lrelu'.")
    rate = modules["mapping.fc0"].state.get("bias_gain", 0.01) if "mapping.fc0" in modules else 0.01
    if not isinstance(rate, float | int) or not rate > 0:
        raise WeightsError(f"{where}: the bias gain of mapping.fc0 is {rate!r}: expected a positive number.")
    return generator_from_nvidia(record.tensors(), mapping_rate=float(rate), where=where)


def generator_from_nvidia(
    state: Mapping[str, Tensor], *, mapping_rate: float = 0.01, where: str = "the state"
) -> Generator:
    """A generator from the tensors of NVIDIA's, all of them used; its sizes follow from their shapes.

    Args:
        state: `mapping.*` and `synthesis.*` by name, of an unconditional StyleGAN2 with skip connections; copied.
        mapping_rate: learning-rate multiplier of the mapping network.
        where: what error messages call the source.

    Returns:
        A float32 generator on the CPU, in eval mode, without gradients.

    Raises:
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite, or the generator is conditional,
            of another family or not of 3 colors.
        ConfigError: a size that `GeneratorConfig` refuses.
    """
    config = _config(state, mapping_rate, where)
    generator = without_weights(Generator, config)
    ours, rows = generator.state_dict(), _rows(generator)
    expected = {row.nvidia: ours[row.ours].reshape(ours[row.ours].shape[row.axes]) for row in rows}
    expected |= {name: state.get(name, fir_kernel()) for name in _unused_filters(config)}
    check_tensors(expected, state, where, advice="Expected StyleGAN2, skip architecture.")
    converted = {
        row.ours: state[row.nvidia].detach().to("cpu", torch.float32).reshape(ours[row.ours].shape).contiguous()
        * row.gain
        for row in rows
    }
    generator.load_state_dict(converted, assign=True)
    return generator.eval().requires_grad_(False)


def _config(state: Mapping[str, Tensor], mapping_rate: float, where: str) -> GeneratorConfig:
    """The numbers of the generator. A tensor that is not there counts as 1; `check_tensors` misses it."""
    if any(name.startswith("synthesis.input.") for name in state):
        raise WeightsError(f"{where} is a StyleGAN3 generator: only StyleGAN2 is converted.")
    if any(name.startswith("mapping.embed.") for name in state):
        check_rgb_unconditional(where, classes=axis_size(state, "mapping.embed.weight", 1))
    sizes = numbers_in_names(state, r"synthesis\.b(\d{1,5})\.")
    if not sizes:
        raise WeightsError(f"{where} is no StyleGAN2 generator: no tensor is called 'synthesis.b4...'.")
    if "synthesis.b4.torgb.weight" in state:
        check_rgb_unconditional(where, channels=axis_size(state, "synthesis.b4.torgb.weight", 0))
    resolutions = [2**n for n in range(2, max(sizes).bit_length())]
    return GeneratorConfig(
        size=max(sizes),
        channels=tuple(axis_size(state, f"synthesis.b{r}.conv1.weight", 0) for r in resolutions),
        latent_width=axis_size(state, "mapping.w_avg", 0),
        mapping_layers=max(len(numbers_in_names(state, r"mapping\.fc(\d+)\.weight$")), 1),
        mapping_rate=mapping_rate,
    )


def _rows(generator: Generator) -> list[_Row]:
    """Every tensor of ours with its NVIDIA name."""
    copied, lead, leads = slice(None), slice(1, None), slice(2, None)
    rows = [_Row("mapping.w_avg", "latent_avg"), _Row("synthesis.b4.const", "input.input", lead)]
    for i in range(generator.config.mapping_layers):
        rows += [_Row(f"mapping.fc{i}.{kind}", f"style.{i + 1}.{kind}") for kind in ("weight", "bias")]
    module_names = {module: name for name, module in generator.named_modules()}
    noise = count()
    for spec in generator.layers:
        ours, nvidia = module_names[generator.block(spec)], f"synthesis.{spec.name}"
        rows += [
            _Row(f"{nvidia}.weight", f"{ours}.conv.weight", lead),
            _Row(f"{nvidia}.affine.weight", f"{ours}.conv.modulation.weight"),
            _Row(f"{nvidia}.affine.bias", f"{ours}.conv.modulation.bias"),
        ]
        if not spec.torgb:
            rows += [
                _Row(f"{nvidia}.bias", f"{ours}.activate.bias"),
                _Row(f"{nvidia}.noise_strength", f"{ours}.noise.weight", lead),
                _Row(f"{nvidia}.noise_const", f"noises.noise_{next(noise)}", leads),
            ]
            if spec.up:
                rows.append(_Row(f"{nvidia}.resample_filter", f"{ours}.conv.blur.kernel", copied, 4.0))
        else:
            rows.append(_Row(f"{nvidia}.bias", f"{ours}.bias", slice(1, 2)))
            if spec.resolution > 4:
                filter_ = f"synthesis.b{spec.resolution}.resample_filter"
                rows.append(_Row(filter_, f"{ours}.upsample.kernel", copied, 4.0))
    return rows


def _unused_filters(config: GeneratorConfig) -> set[str]:
    """Filters that NVIDIA's layers carry and never apply."""
    return {"synthesis.b4.resample_filter", *(f"synthesis.b{r}.conv1.resample_filter" for r in config.resolutions)}
