"""Statistics for StyleCLIP's global directions, measured on any generator (Patashnik et al., 2021, Section 6)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.edits.protocol import TextImageEncoder
from hyperstyle.edits.sampling import sample_w
from hyperstyle.edits.styleclip import StyleClip
from hyperstyle.errors import CheckpointError, ConfigError
from hyperstyle.io.components import load_tensors, save_tensors
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import LayerSpec

Progress = Callable[[str, int, int | None], None]
"""Called with (what is being done, number done, total number, None if unknown)."""

_BATCH = 1024  # codes at once
_SAVE_EVERY = 8  # channels after which the progress is written
_PIXELS = 1 << 22  # of images that are synthesized at once


@dataclass(frozen=True)
class StyleClipSampling:
    """How a generator is measured. The defaults are the published ones for faces.

    Attributes:
        samples: number of random codes, for the mean and standard deviation of each channel.
        images: number of images in which each channel is moved; their codes are the first of the samples.
        deviations: how far a channel is moved from its mean, up and down, in standard deviations; 10 is common for
            domains other than faces.
        truncation: psi, with which the first `truncated_rows` rows of each code [L,D] are truncated; the other rows
            are not truncated.
        truncated_rows: number of rows, counted from the coarsest; see `truncation`.
        max_resolution: the largest output resolution, in pixels, of the convolutions that are measured.
        seed: of the random codes.
    """

    samples: int = 100_000
    images: int = 100
    deviations: float = 5.0
    truncation: float = 0.7
    truncated_rows: int = 8
    max_resolution: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        counts = 1 <= self.images <= self.samples and self.samples >= 2 and self.truncated_rows >= 0
        if not counts or self.max_resolution < 4:
            raise ConfigError(
                f"{self.samples} samples, {self.images} images, {self.truncated_rows} truncated rows and resolutions "
                f"up to {self.max_resolution} px: expected 2 or more samples, 1 or more images but not more than "
                "samples, 0 or more rows, and 4 px or more."
            )
        if not 0 < self.deviations < float("inf") or not abs(self.truncation) < float("inf"):
            raise ConfigError(
                f"deviations={self.deviations} and truncation={self.truncation}: expected a positive number and a "
                "finite one."
            )

    def layers(self, generator: StyleGenerator) -> tuple[LayerSpec, ...]:
        """The convolutions that are measured, in the official order, coarse to fine; no toRGB."""
        return tuple(spec for spec in generator.layers if not spec.torgb and spec.resolution <= self.max_resolution)


@torch.no_grad()
def style_statistics(
    generator: StyleGenerator, settings: StyleClipSampling, *, on_progress: Progress | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Mean and standard deviation of the styles over `settings.samples` codes; no image is synthesized.

    Args:
        generator: its `latent_avg` must be the mean of W, towards which codes are truncated.
        settings: how many codes, and their truncation.
        on_progress: called after each batch of codes.

    Returns:
        Means and standard deviations, layer name -> [I] each, one number for each input channel, of all layers, toRGB
        too; float32 on the CPU.
    """
    # Sums of s - c and (s - c)², with c the styles of the mean code: var = E[(s - c)²] - E[s - c]². With c = 0 the two
    # terms would nearly cancel.
    center = {name: style[0].double() for name, style in generator.styles(generator.latent_avg[None]).items()}
    first = {name: torch.zeros_like(style) for name, style in center.items()}
    second = {name: torch.zeros_like(style) for name, style in center.items()}
    done = 0
    for w in _codes(generator, settings, settings.samples):
        for name, style in generator.styles(w).items():
            distance = style.double() - center[name]
            first[name] += distance.sum(0)
            second[name] += distance.square().sum(0)
        done += len(w)
        if on_progress is not None:
            on_progress("statistics of styles", done, settings.samples)
    mean = {name: total / done for name, total in first.items()}
    std = {name: (total / done - mean[name].square()).clamp(min=0).sqrt() for name, total in second.items()}
    return (
        {name: (center[name] + mean[name]).float().cpu() for name in mean},
        {name: deviation.float().cpu() for name, deviation in std.items()},
    )


@torch.no_grad()
def fit_styleclip(
    generator: StyleGenerator,
    encoder: TextImageEncoder,
    settings: StyleClipSampling,
    *,
    progress_file: str | Path | None = None,
    content: Callable[[Tensor], Tensor] | None = None,
    model: str = "",
    on_progress: Progress | None = None,
) -> StyleClip:
    """Measures a generator's style statistics and channel effects, and makes StyleCLIP edits by text from them.

    The effect of a channel is the direction in which it moves images in the encoder's feature space, as a unit vector.
    One channel at a time is set to its mean minus, and plus, `settings.deviations` standard deviations in all
    `settings.images` images; all other channels keep their values.

    Args:
        generator: synthesizes 2 x `settings.images` images for each channel.
        encoder: computes the features of the images; for CLIP, `OpenClip(preparation="bicubic")`.
        settings: as for `style_statistics`.
        progress_file: a .safetensors file to which the effects so far are written every few channels and when the
            function is interrupted. Effects that an existing file holds are not measured again. It is not removed.
        content: the generator's images [B,3,size,size] -> the part that the encoder sees, such as `domain.content`
            for cars; None for all of them.
        model: see `StyleClip`.
        on_progress: called after each batch of codes, and after each channel.

    Returns:
        Effects and deviations of the layers `settings.layers(generator)`; float32 on the CPU; zeros for a channel that
            changes nothing.

    Raises:
        CheckpointError: the progress file cannot be read, or is of another generator, encoder or other settings.
        HyperStyleError: it cannot be written.
    """
    means, deviations = style_statistics(generator, settings, on_progress=on_progress)
    layers = settings.layers(generator)
    codes = torch.cat(list(_codes(generator, settings, settings.images)))
    styles = generator.styles(codes)
    batch = max(1, _PIXELS // generator.config.size**2)

    def image_features(styles: Mapping[str, Tensor]) -> Tensor:
        """Styles, layer name -> [N,I], -> features [N,E] of their images, which are made a few at a time."""
        features = []
        for start in range(0, len(next(iter(styles.values()))), batch):
            part = {name: style[start : start + batch] for name, style in styles.items()}
            image = generator.synthesize(part, modulation="activations").clamp(-1, 1)
            features.append(encoder.encode_image(image if content is None else content(image)).float().cpu())
        return torch.cat(features)

    channels = [(spec.name, channel) for spec in layers for channel in range(spec.style_width)]
    progress, effects = None, []
    if progress_file is not None:
        progress = _ProgressFile(Path(progress_file), settings, layers, image_features(styles))
        effects = progress.read(len(channels))
    known = len(effects)
    twice = {name: style.repeat(2, 1) for name, style in styles.items()}  # [2N,I]: channels moved down, then up
    try:
        for name, channel in channels[known:]:
            # StyleCLIP, Section 6: channel c alone is set to mean - a std in the first half of the batch, and to
            # mean + a std in the second. All other channels keep their values.
            moved = twice[name].clone()  # [2N,I]
            mean, shift = means[name][channel], settings.deviations * deviations[name][channel]
            moved[: len(codes), channel], moved[len(codes) :, channel] = float(mean - shift), float(mean + shift)
            features = image_features({**twice, name: moved}).reshape(2, len(codes), -1).transpose(0, 1)  # [N,2,E]
            effects.append(effects_of_features(features[None])[0])
            if progress is not None and len(effects) % _SAVE_EVERY == 0:
                progress.write(effects)
            if on_progress is not None:
                on_progress("effects of channels", len(effects), len(channels))
    finally:  # Ctrl-C too
        if progress is not None and len(effects) > known:
            progress.write(effects)
    parts = torch.split(torch.stack(effects), [spec.style_width for spec in layers])
    by_layer = {spec.name: part for spec, part in zip(layers, parts, strict=True)}
    return StyleClip(by_layer, {name: deviations[name] for name in by_layer}, encoder, model=model)


def effects_of_features(features: Tensor) -> Tensor:
    """Image features with each channel moved down and up -> the effect of each channel, a unit vector.

    Each feature vector is scaled to unit length, and so are the differences up - down, their mean over the images is
    taken, and scaled to unit length once more.

    Args:
        features: [C,N,2,E] of C channels and N images, moved down (0) and up (1); the vectors [E] may have any norm.

    Returns:
        [C,E]; zeros for a channel that changes nothing.
    """
    # Δi_c: the direction from "down" to "up" in the space of CLIP, averaged over the images.
    unit = F.normalize(features.double(), dim=-1)  # [C,N,2,E]
    change = F.normalize(unit[:, :, 1] - unit[:, :, 0], dim=-1)  # [C,N,E]
    return F.normalize(change.mean(1), dim=-1).to(features.dtype)


def _codes(generator: StyleGenerator, settings: StyleClipSampling, count: int) -> Iterator[Tensor]:
    """The first `count` random codes of the seed, in batches [b,L,D], truncated as `settings` says."""
    mean, rows = generator.latent_avg, slice(0, settings.truncated_rows)
    for codes in sample_w(generator, count, seed=settings.seed, batch_size=_BATCH):
        w = generator.broadcast(codes).clone()
        w[:, rows] = mean + settings.truncation * (w[:, rows] - mean)
        yield w


class _ProgressFile:
    """A file of the effects measured so far, with what identifies the generator, encoder and settings."""

    def __init__(self, path: Path, settings: StyleClipSampling, layers: Sequence[LayerSpec], features: Tensor) -> None:
        values = asdict(settings)
        values["reach"] = values.pop("max_resolution")  # its name in the file
        self.path = path
        self.metadata = {
            "settings": json.dumps(values, sort_keys=True),
            "layers": ",".join(f"{spec.name}:{spec.style_width}" for spec in layers),
        }
        self.features = features  # [N,E] of the images before anything is moved

    def read(self, channels: int) -> list[Tensor]:
        """The effects [E] of the first channels, [] without a file. Raises CheckpointError if it is of another run."""
        if not os.path.exists(self.path):
            return []
        tensors, metadata = load_tensors(self.path)
        effects, features = (tensors.get(name, torch.empty(0)) for name in ("effects", "features"))
        same = metadata == self.metadata and features.shape == self.features.shape
        same = same and torch.allclose(features, self.features, rtol=1e-3, atol=1e-3)
        if not same or effects.shape[1:] != features.shape[1:] or len(effects) > channels:
            raise CheckpointError(
                f"{self.path} holds effects that were measured with another generator, encoder or other settings. Go "
                "on with those, or remove the file or name another one to begin anew."
            )
        return list(effects.clone().unbind())

    def write(self, effects: Sequence[Tensor]) -> None:
        """Replaces the file. Raises HyperStyleError if it cannot be written."""
        save_tensors(self.path, {"effects": torch.stack(list(effects)), "features": self.features}, self.metadata)
