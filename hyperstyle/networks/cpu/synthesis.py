"""Synthesis without gradients: image by image with fused convolutions (`fuse`), a few rows at a time (`blocks`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeGuard

import torch
from torch import Tensor

from hyperstyle.networks.cpu.blocks import Block, reserve_maps, run_block, upsample2x
from hyperstyle.networks.cpu.fuse import SharedConv, fuse, share_weight
from hyperstyle.networks.cpu.workspace import Workspace, current_workspace
from hyperstyle.networks.hypernetworks.codes import of_image
from hyperstyle.networks.stylegan2.base import NoiseMaps, NoiseMode, Offsets, StyleGenerator, Styles, WeightChanges
from hyperstyle.networks.stylegan2.features import FeatureMaps, feature_layer
from hyperstyle.networks.stylegan2.generator import Generator


def applies_to(generator: StyleGenerator, device: torch.device) -> TypeGuard[Generator]:
    """Whether `synthesize` can take the place of `generator.synthesize`: a StyleGAN2 on a CPU, without gradients."""
    return isinstance(generator, Generator) and device.type == "cpu" and not torch.is_grad_enabled()


@torch.no_grad()
def synthesize(
    generator: Generator,
    styles: Styles,
    offsets: Offsets | None = None,
    *,
    residuals: Offsets | None = None,
    noise: NoiseMode | NoiseMaps = "const",
    random: torch.Generator | None = None,
    features: FeatureMaps | None = None,
) -> Tensor:
    """`generator.synthesize` without gradients: equal up to rounding, faster on a CPU, in a fraction of the memory.

    The modules of the layers are not called: to trace, export, transform or hook them, call the generator. Memory is
    freed at the end of the call, unless it is within `reuse_memory`.

    Args:
        generator: a StyleGAN2.
        styles, offsets, residuals, noise, random, features: as of `Generator.synthesize`.

    Returns:
        [B,3,size,size], about [-1, 1], not clamped, float32 or wider.

    Raises:
        ConfigError: inputs that do not fit, as of `Generator.synthesize`.
    """
    changes = offsets or {}, residuals or {}
    maps = generator.check_inputs(styles, changes, noise, random, features)
    batch = len(styles[generator.layers[0].name])
    workspace = current_workspace(keep_weights=batch > 1)
    reserve_maps(workspace, generator.input.input, generator.config)
    # Images without offsets share the weights of the layers for which that is faster.
    sharing = generator.layers if batch > 1 and not any(changes) else ()
    shared = {spec.name: share_weight(generator.conv(spec)) for spec in sharing}
    if batch == 1:
        return _image(generator, 0, styles, changes, maps, features, shared, workspace)
    size, wide = generator.config.size, torch.promote_types(generator.latent_avg.dtype, torch.float32)
    images = generator.latent_avg.new_empty((batch, 3, size, size), dtype=wide)
    for i in range(batch):
        images[i : i + 1] = _image(generator, i, styles, changes, maps, features, shared, workspace)
    return images


@torch.no_grad()
def maps_after(generator: Generator, layer: str, styles: Styles) -> Tensor:
    """`generator.synthesize(styles, until=layer)` without gradients.

    Args:
        generator: a StyleGAN2, with its own weights and noise maps.
        layer: the last convolution of a resolution below the generator's size, `b64.conv1`.
        styles: as of `Generator.synthesize`.

    Returns:
        [B,C,r,r], in the type of the generator.

    Raises:
        ConfigError: another layer, or styles that do not fit.
    """
    feature_layer(generator.layers, layer)
    noise = generator.check_inputs(styles, ({}, {}), "const", None)
    batch = len(styles[layer])
    workspace = current_workspace(keep_weights=batch > 1)
    # The next image overwrites the maps in the workspace.
    maps = [_image(generator, i, styles, ({}, {}), noise, None, {}, workspace, layer).clone() for i in range(batch)]
    return torch.cat(maps)


def _image(
    generator: Generator,
    i: int,
    styles: Styles,
    changes: WeightChanges,
    noise: Sequence[Tensor | None],
    features: FeatureMaps | None,
    shared: Mapping[str, SharedConv | None],
    workspace: Workspace,
    until: str | None = None,
) -> Tensor:
    """Image i of a batch [1,3,size,size], resolution by resolution; or the maps after `until`, in the workspace."""
    batch = len(styles[generator.layers[0].name])
    image_changes = of_image(changes[0], i, batch), of_image(changes[1], i, batch)
    maps: Iterator[Tensor | None] = (None if n is None else n[i : i + 1] if len(n) > 1 else n for n in noise)
    x: Tensor = generator.input.input  # [1,C,4,4]
    image: Any = None
    for size, group in groupby(generator.layers, lambda spec: spec.resolution):
        specs = list(group)  # conv0, which doubles the size (but at 4 px), conv1, torgb
        convs = []
        for spec in specs:
            style, noise_map = styles[spec.name][i], None if spec.torgb else next(maps)  # [I], [1,1,r,r]
            change = generator.change(spec, image_changes, 1)
            convs.append(fuse(generator.block(spec), style, change, noise_map, workspace, shared.get(spec.name)))
        up, blur = (convs[0], generator.conv(specs[0]).blur.kernel) if specs[0].up else (None, None)
        block = Block(up, convs[-2], convs[-1], blur)
        x, rgb = run_block(x, block, workspace, keep=size < generator.config.size)
        # Skip connections of the output: colors are added to the upsampled image of the resolutions before.
        if image is not None:
            rgb += upsample2x(image, generator.block(specs[-1]).upsample.kernel)
        image = rgb
        if until == specs[-2].name:
            return x
        if features is not None and features.layer == specs[-2].name:
            x = features.select(i).blended(x)
    return image
