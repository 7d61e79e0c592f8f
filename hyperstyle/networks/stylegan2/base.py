"""What style-based generators have in common: latent codes -> styles of the layers -> images."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError, did_you_mean
from hyperstyle.networks.stylegan2.config import GeneratorConfig, LayerSpec
from hyperstyle.networks.stylegan2.layers import StoredNoise
from hyperstyle.networks.stylegan2.ops import Modulation

NoiseMode = Literal["const", "random", "none"]
"""The stored noise maps, new random ones for every image, or no noise."""

NoiseMaps = Sequence[Tensor]
"""Explicit noise maps [1 or B,1,r,r], one for each layer that adds noise, in the order of the layers."""

Offsets = Mapping[str, Tensor]
"""Layer name -> change of its weight, broadcastable to [B,O,I,k,k]: a relative offset Δ, or a residual to be added."""

Styles = Mapping[str, Tensor]
"""Layer name -> style [B,S]."""

WeightChanges = tuple[Offsets, Offsets]
"""Offsets, and residuals."""

Self = TypeVar("Self", bound="StyleGenerator")  # typing has it from Python 3.11 on


class StyleGenerator(nn.Module, ABC):
    """A generator that runs in three stages: `mapping`, `styles`, `synthesize`. Inversions, edits and methods use this
    interface only.

    A subclass sets all attributes below and implements the abstract methods. Shapes: B images, D the width of latent
    codes (`config.latent_width`), L their rows (`config.rows`), S the width of a layer's style (`spec.style_width`: its
    input channels I in StyleGAN2, twice its output channels in StyleGAN).

    Attributes:
        config: the configuration that the generator was built from.
        layers: specifications of the layers that have a style, in the official order.
        latent_avg: [D] mean of the latent codes, for truncation, encoders and edits.
        noises: the stored noise maps.
        takes_offsets: whether `synthesize` accepts offsets and residuals of the weights.
        has_w: whether the generator has a space W: `mapping` returns one code [B,D] that feeds all layers.
    """

    config: GeneratorConfig
    layers: tuple[LayerSpec, ...]
    latent_avg: Tensor
    noises: StoredNoise
    takes_offsets: ClassVar[bool]
    has_w: ClassVar[bool]

    # ---- what a class of generators defines ----

    @abstractmethod
    def mapping(self, z: Tensor) -> Tensor:
        """z [B,D] -> latent codes: [B,D] where `has_w`, else [B,L,D]."""

    @abstractmethod
    def block(self, spec: LayerSpec) -> Any:
        """The module that computes a layer: convolution, noise, bias and activation, or toRGB.

        Its parameters are those that `parameters_of` names.
        """

    @abstractmethod
    def affine(self, spec: LayerSpec) -> nn.Module:
        """The affine layer that maps one row of the latent codes, [B,D], to the style [B,S] of a layer."""

    @abstractmethod
    def weight(self, name: str | int) -> Tensor:
        """The raw convolution weight [O,I,k,k] of a layer, as stored: without the scale of the equalized learning rate.

        Raises ConfigError for a layer without a convolution (the constant input of StyleGAN).
        """

    @abstractmethod
    def _synthesize(
        self,
        styles: Styles,
        changes: WeightChanges,
        noise: Sequence[Tensor | None],
        modulation: Modulation,
        until: LayerSpec | None,
    ) -> Tensor:
        """`synthesize` of checked styles: `changes` are offsets and residuals, `noise` has a map for each layer."""

    # ---- layers and parameters ----

    def layer(self, name: str | int) -> LayerSpec:
        """The layer with this name (`b64.conv1`) or official index. Raises ConfigError for an unknown one."""
        for spec in self.layers:
            if name in (spec.name, spec.index):
                return spec
        raise ConfigError(
            f"no layer {name!r} in this generator. {did_you_mean(str(name), [s.name for s in self.layers])}"
        )

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The modules of all layers (see `block`), in the official order."""
        return tuple(self.block(spec) for spec in self.layers)

    def parameters_of(self, name: str | int) -> tuple[str, ...]:
        """Full names of a layer's parameters, as in `named_parameters`: weight, affine map, bias, noise strength."""
        block = self.block(self.layer(name))
        path = next(path for path, module in self.named_modules() if module is block)
        return tuple(f"{path}.{parameter}" for parameter, _ in block.named_parameters())

    def with_parameters(self: Self, values: Mapping[str, Tensor]) -> Self:
        """A new generator with these parameter values; all other parameters and buffers are shared with this one.

        Args:
            values: full name of a parameter -> its new value, without gradient.

        Raises:
            ConfigError: an unknown name, or a value of another shape than the parameter.
        """
        parameters = dict(self.named_parameters())
        for name, value in values.items():
            if name not in parameters:
                raise ConfigError(f"no parameter {name!r} in this generator. {did_you_mean(name, parameters)}")
            if value.shape != parameters[name].shape:
                raise ConfigError(
                    f"parameter {name} of shape {tuple(value.shape)}: expected {tuple(parameters[name].shape)}."
                )
        # deepcopy takes what stands in its memo for copied already: modules are new, their tensors are these.
        shared: dict[int, Any] = {id(t): t for t in (*self.parameters(), *self.buffers())}
        copied = copy.deepcopy(self, shared)
        for name, value in values.items():
            path, _, last = name.rpartition(".")
            setattr(copied.get_submodule(path), last, nn.Parameter(value, requires_grad=False))
        return copied

    # ---- stages ----

    def check_has_w(self) -> None:
        """Raises ConfigError for a generator without a space W (see `has_w`)."""
        if not self.has_w:
            raise ConfigError(
                f"the mapping network of this {type(self).__name__} makes another code for every row, so it has no "
                "W of one row to search or to take directions from. Use generator.mapping(z), which gives [B, L, D]."
            )

    def broadcast(self, w: Tensor) -> Tensor:
        """[B,D], one code per image -> [B,L,D], the code repeated in every row (a view); [B,L,D] is returned as is."""
        return w[:, None].expand(-1, self.config.rows, -1) if w.ndim == 2 else w

    def styles(self, w: Tensor) -> dict[str, Tensor]:
        """Latent codes [B,L,D] or [B,D] -> StyleSpace: layer name -> [B,S]. Raises ConfigError for another shape."""
        w = self.broadcast(w)  # [B,L,D]
        expected = (self.config.rows, self.config.latent_width)
        if w.ndim != 3 or tuple(w.shape[1:]) != expected:
            raise ConfigError(f"latent codes of shape {tuple(w.shape)}: expected [B, {expected[0]}, {expected[1]}].")
        # A in StyleGAN2's Fig. 2: a learned affine map for each layer, s = A(w). Layers may share a row of w.
        return {s.name: self.affine(s)(w[:, s.row]) for s in self.layers}

    def synthesize(
        self,
        styles: Styles,
        offsets: Offsets | None = None,
        *,
        noise: NoiseMode | NoiseMaps = "const",
        random: torch.Generator | None = None,
        modulation: Modulation = "weights",
        residuals: Offsets | None = None,
        until: str | int | None = None,
    ) -> Tensor:
        """Styles -> image [B,3,size,size], about [-1, 1], not clamped.

        Args:
            styles: layer name -> [B,S], all layers.
            offsets: layer name -> Δ broadcastable to [B,O,I,k,k]; the raw weight W becomes W * (1 + Δ) + residual.
                Absent layers are untouched. `LazyOffsets` are computed when a layer is run.
            noise: the stored maps ("const"), fresh ones ("random"), no noise ("none"), or a list of maps, one for
                each convolution but toRGB in the official order: [1 or B,1,r,r] with r its resolution.
            random: source of the fresh noise.
            modulation: "weights" or "activations", see `ops.modulated_conv`; without meaning for a StyleGAN, whose
                styles never act on weights. Without gradients on a CPU `networks.cpu.synthesize` computes the images
                of a StyleGAN2 in half the time.
            residuals: layer name -> residual (HyperInverter), of the shapes of offsets.
            until: a layer with feature maps (not toRGB): its output [B,C,r,r], noise, bias and activation included, is
                returned in place of the image, and no later layer is run.

        Raises:
            ConfigError: styles that lack a layer, an offset for a layer that does not exist or of a wrong shape, or
                for a generator that takes none (`takes_offsets`), an unknown noise mode, noise maps of a wrong number
                or shape, or an `until` that is no layer, or toRGB.
        """
        changes = offsets or {}, residuals or {}
        maps = self.check_inputs(styles, changes, noise, random)
        last = None if until is None else self.layer(until)
        if last is not None and last.torgb:
            raise ConfigError(
                f"the output of {last.name} is colors: expected a layer with feature maps, such as b4.conv1."
            )
        return self._synthesize(styles, changes, maps, modulation, last)

    def forward(self, w: Tensor, offsets: Offsets | None = None, **options: Any) -> Tensor:
        """Latent codes [B,L,D] or [B,D] -> images [B,3,size,size]: `synthesize(styles(w), offsets, **options)`."""
        return self.synthesize(self.styles(w), offsets, **options)

    def check_inputs(
        self, styles: Styles, changes: WeightChanges, noise: NoiseMode | NoiseMaps, random: torch.Generator | None
    ) -> list[Tensor | None]:
        """Checks the inputs of `synthesize`, and makes the noise maps.

        Args:
            styles, noise, random: as of `synthesize`.
            changes: offsets and residuals. Their shapes are not checked, since lazy ones are computed later.

        Returns:
            A noise map [1 or B,1,r,r] for each layer that adds noise; None for no noise.

        Raises:
            ConfigError: a missing style, an unknown layer, different batch sizes, or noise that does not fit.
        """
        if any(changes) and not self.takes_offsets:
            raise ConfigError(
                "offsets of weights for a StyleGAN: only StyleGAN2 generators have a place for them. Change the codes "
                "or their styles."
            )
        names = [s.name for s in self.layers]
        modes = ("const", "random", "none")
        if noise not in modes if isinstance(noise, str) else not isinstance(noise, Sequence):
            raise ConfigError(f"noise={noise!r}: expected 'const', 'random', 'none' or a list of maps.")
        if missing := [name for name in names if name not in styles]:
            raise ConfigError(
                f"styles lack {len(missing)} layer(s), first {missing[0]!r}: pass all that styles(w) gave."
            )
        if unknown := sorted({*changes[0], *changes[1]} - set(names)):
            raise ConfigError(f"offsets for unknown layer {unknown[0]!r}. {did_you_mean(unknown[0], names)}")
        batch = styles[names[0]].shape[0]
        if other := next((name for name in names if styles[name].shape[0] != batch), None):
            raise ConfigError(f"styles of {styles[other].shape[0]} image(s) in {other}, of {batch} in {names[0]}.")
        if not isinstance(noise, str):
            # one map for all images, or one for each
            sizes = [s.resolution for s in self.layers if not s.torgb]
            shapes = [tuple(map_.shape) for map_ in noise]
            if not any(shapes == [(n, 1, r, r) for r in sizes] for n in (1, batch)):
                raise ConfigError(f"noise maps of shapes {shapes}: expected [1 or {batch}, 1, r, r] with r = {sizes}.")
            return list(noise)
        stored = list(self.noises.buffers())  # in the order of the layers
        if noise == "random":
            # a new map for every image, [B,1,r,r]
            return [torch.randn(batch, *t.shape[1:], generator=random, device=t.device, dtype=t.dtype) for t in stored]
        return [t if noise == "const" else None for t in stored]
