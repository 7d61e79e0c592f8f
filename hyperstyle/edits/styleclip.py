"""Global directions from words: StyleCLIP's edits of StyleSpace (Patashnik et al., ICCV 2021, Section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hyperstyle.edits.protocol import EditInfo, TextImageEncoder
from hyperstyle.edits.store import read_folder, write_folder
from hyperstyle.edits.stylespace import StyleEdit
from hyperstyle.errors import CheckpointError, ConfigError, EditError, EditWarning, MissingDependencyError, warn
from hyperstyle.io.opening import read_text
from hyperstyle.io.pickle_reader import load_pickle
from hyperstyle.io.torch_files import load_numbers
from hyperstyle.networks.stylegan2.generator import LayerSpec
from hyperstyle.runtime.threads import once_property

_MAX_RESOLUTION = 128  # pixels: convolutions of larger outputs are not edited, as in the published scripts


@dataclass(frozen=True)
class _Config:
    type: str
    templates: tuple[str, ...] | None = None
    model: str = ""


@dataclass(frozen=True, eq=False)
class StyleClip:
    """Makes edits from texts, by what each channel of a generator does to images in the space of CLIP.

    Attributes:
        effects: layer name -> [I,E]: for each channel the unit vector in the feature space of CLIP along which images
            move when its style changes. They may cover more layers than an edit moves, see `direction`.
        deviations: layer name -> [I], standard deviations of the styles. Edits move these layers only; each must be in
            `effects`.
        encoder: of texts; None is `edits.clip.OpenClip()`, made when the first text is read.
        templates: sentences with `{}` where a description goes; None is `default_templates()`.
        model: fingerprint of the generator, see `EditInfo`.

    Raises:
        EditError: shapes that do not go together, values that are not finite, or templates without `{}`.
    """

    effects: Mapping[str, Tensor]
    deviations: Mapping[str, Tensor]
    encoder: TextImageEncoder | None = field(default=None, repr=False)
    templates: Sequence[str] | None = None
    model: str = ""

    def __post_init__(self) -> None:
        widths = {tuple(effect.shape[1:]) for effect in self.effects.values()}
        if not self.deviations or len(widths) != 1 or len(next(iter(widths))) != 1:
            shapes = [tuple(effect.shape) for effect in self.effects.values()]
            raise EditError(
                f"effects {shapes} and deviations of {len(self.deviations)} layers: expected [I, E] and [I] by layer, "
                "the latter of one layer at least."
            )
        for name, deviation in self.deviations.items():
            if name not in self.effects or deviation.shape != self.effects[name].shape[:1]:
                have = tuple(self.effects[name].shape) if name in self.effects else "missing"
                raise EditError(f"deviations {tuple(deviation.shape)} of {name}, whose effects are {have}.")
        if not all(torch.isfinite(t).all() for t in (*self.effects.values(), *self.deviations.values())):
            raise EditError("effects or deviations hold NaN or infinite values: make them again.")
        if any((deviation < 0).any() for deviation in self.deviations.values()):
            raise EditError("deviations below 0: expected standard deviations; are these the means?")
        if self.templates is not None and not (self.templates and all("{}" in text for text in self.templates)):
            raise EditError("templates: expected one or more sentences with {} where a description goes.")

    @classmethod
    def from_files(
        cls,
        effects: str | Path,
        statistics: str | Path,
        *,
        layers: Sequence[LayerSpec],
        encoder: TextImageEncoder | None = None,
        templates: str | Path | None = None,
        model: str = "",
    ) -> StyleClip:
        """Reads the published files of a generator. As published, edits move only layers of at most 128x128 px.

        Args:
            effects: `fs3.npy`, also called `delta_i_c.npy`, [C,E]: a row for each style channel of the convolutions
                without toRGB, in their order; 6,048 rows at 1024 px, or fewer (such as 5,376) for the first ones.
            statistics: `S_mean_std`, means and deviations of the styles of all layers (or all convolutions).
            layers: those of the generator, `generator.layers`.
            encoder, model: see the class.
            templates: a text file with one sentence per line; None is `default_templates()`.

        Raises:
            CheckpointError: a file cannot be read, or would execute something.
            EditError: a file is for another generator.
        """
        by_layer = _read_effects(effects, layers)
        deviations = read_deviations(statistics, layers)
        moved = [spec.name for spec in layers if spec.name in by_layer and spec.resolution <= _MAX_RESOLUTION]
        sentences = None
        if templates is not None:
            lines = read_text(templates, "text file of templates").splitlines()
            sentences = [line.strip() for line in lines if line.strip()]
        return cls(by_layer, {name: deviations[name] for name in moved}, encoder, sentences, model)

    @once_property
    def _encoder(self) -> TextImageEncoder:
        if self.encoder is not None:
            return self.encoder
        from hyperstyle.edits.clip import OpenClip

        return OpenClip()

    def describe(self, text: str) -> Tensor:
        """The text feature [E] of a description, float64, of unit length.

        It is the mean of the features over all templates, each normalized before, and normalized again.
        """
        # Section 6, "prompt engineering": an average over many sentences has less noise than the feature of one.
        templates = default_templates() if self.templates is None else self.templates
        with torch.no_grad():
            features = self._encoder.encode_text([template.replace("{}", text) for template in templates])
        mean = torch.nn.functional.normalize(features.double().cpu(), dim=-1).mean(0)
        return torch.nn.functional.normalize(mean, dim=-1)

    def direction(self, change: Tensor, beta: float) -> dict[str, Tensor]:
        """The change of the styles that matches a change of CLIP features (paper, Section 6).

        The reaction of a channel is the dot product of its effect with `change`. Channels whose reaction is below
        `beta` in absolute value do not move. The others move by their reaction, divided by the largest absolute
        reaction in all of `effects`, times their standard deviation: the channel that reacts most moves by one standard
        deviation, if its layer is one of those that are moved. Layers in which nothing moves are left out.

        Args:
            change: [E], of unit length.
            beta: 0 or more.

        Returns:
            Layer name -> [I], float32; {} where nothing reacts enough.

        Raises:
            EditError: a change of another width, or a beta that is negative or no number.
        """
        width = next(iter(self.effects.values())).shape[1]
        if tuple(change.shape) != (width,):
            raise EditError(
                f"features of shape {tuple(change.shape)}, and the effects of channels have {width} numbers each: they "
                "were measured with another text encoder."
            )
        if not isinstance(beta, (int, float)) or not beta >= 0:
            raise EditError(f"beta {beta!r}: expected 0 or more; 0.08 to 0.3 are common.")
        # Section 6, "channelwise relevance". The effect of channel c is a unit vector Δi_c, so its product with the
        # change Δi is a cosine: R_c(Δi) = <Δi_c, Δi>. Effects [I,E] times the change [E] give [I] for each layer.
        reactions = {name: effect.double().cpu() @ change.double().cpu() for name, effect in self.effects.items()}
        # Δs_c = R_c where |R_c| >= β, else 0. As in the published scripts it is then divided by the largest |R_c|, and
        # multiplied by the deviation of the channel, so that strengths mean the same for every text.
        relevant = {name: torch.where(r.abs() < beta, 0.0, r) for name, r in reactions.items()}
        largest = max(float(r.abs().max()) for r in relevant.values())
        if largest == 0:
            return {}
        moves = {n: relevant[n] / largest * deviation.double().cpu() for n, deviation in self.deviations.items()}
        return {name: move.float() for name, move in moves.items() if move.any()}

    def __call__(self, target: str, *, neutral: str = "a face", beta: float = 0.13) -> StyleEdit:
        """The edit that leads from `neutral` to `target`; a higher `beta` moves fewer channels.

        Warns:
            EditWarning: no channel reacts by `beta` or more, so that the edit changes nothing.

        Raises:
            EditError: a text without words, texts that mean the same to the encoder, or features of another width than
                the effects.
            MissingDependencyError: no encoder was given and open_clip is not installed.
        """
        for text in (target, neutral):
            if not isinstance(text, str) or not text.strip():
                raise EditError(f"an edit from {neutral!r} to {target!r}: expected two descriptions in words.")
        change = self.describe(target) - self.describe(neutral)
        if not change.norm() > 1e-6:
            raise EditError(f"{neutral!r} and {target!r} are the same to the text encoder: there is no way between.")
        changes = self.direction(change / change.norm(), beta)
        if not changes:
            warn(
                f"no channel reacts to {target!r} (from {neutral!r}) by beta={beta:g} or more: the edit changes "
                "nothing. Lower beta.",
                EditWarning,
            )
        info = EditInfo(
            target,
            low=-5.0,
            high=5.0,
            unit="standard deviations of the channel that reacts most",
            source=f"StyleCLIP, from {neutral!r}, beta {beta:g}",
            model=self.model,
            space="styles",
            report={"channels": sum(int((change != 0).sum()) for change in changes.values())},
        )
        return StyleEdit(changes, info)

    # ---- on disk ----

    def save(self, folder: str | Path) -> None:
        """Writes `config.json` and `model.safetensors`, both or neither; the encoder is not part of it.

        Raises:
            CheckpointError: the folder cannot be written. HyperStyleError: a file cannot.
        """
        tensors = {f"effects/{name}": effect for name, effect in self.effects.items()}
        tensors |= {f"deviations/{name}": deviation for name, deviation in self.deviations.items()}
        templates = None if self.templates is None else tuple(self.templates)
        write_folder(folder, _Config(type(self).__name__, templates, self.model), tensors)

    @classmethod
    def load(cls, folder: str | Path, *, encoder: TextImageEncoder | None = None) -> StyleClip:
        """What `save` wrote. Raises MissingFileError, ConfigError, WeightsError or EditError."""
        config, tensors = read_folder(folder, _Config)
        if config.type != cls.__name__:
            raise ConfigError(f"{Path(folder) / 'config.json'} describes a {config.type!r}: expected {cls.__name__!r}.")
        parts: dict[str, dict[str, Tensor]] = {"effects": {}, "deviations": {}}
        for full, tensor in tensors.items():
            kind, _, name = full.partition("/")
            if kind not in parts or not name:
                raise ConfigError(f"{folder} has a tensor {full!r}: expected effects/LAYER and deviations/LAYER.")
            parts[kind][name] = tensor
        return cls(parts["effects"], parts["deviations"], encoder, config.templates, config.model)


# ---- published files, and sentences around a description ----


def default_templates() -> list[str]:
    """The sentences that StyleCLIP uses: CLIP's ImageNet templates, without those that contain "many".

    Raises:
        MissingDependencyError: open_clip, which carries them, is not installed.
    """
    try:
        from open_clip import OPENAI_IMAGENET_TEMPLATES
    except ImportError as error:
        raise MissingDependencyError(
            "the default sentences around a description come with open_clip, which is not installed. Run: "
            "pip install \"hyperstyle-inversion[clip]\"; or pass StyleClip(..., templates=[...]), ['{}'] at the least."
        ) from error
    sentences = [str(template("{}")) for template in OPENAI_IMAGENET_TEMPLATES]
    return [sentence for sentence in sentences if " many " not in sentence]


def _read_effects(path: str | Path, layers: Sequence[LayerSpec]) -> dict[str, Tensor]:
    """The rows of `fs3.npy`, see `StyleClip.from_files`: layer name -> [I,E], float32. They may leave out convolutions.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
        EditError: the rows end within a layer, or there are too many.
    """
    array = load_numbers(path)
    if array.dtype.kind != "f" or array.ndim != 2:
        raise CheckpointError(f"{path} holds no table of numbers [channels, features]. Expected fs3.npy (delta_i_c).")
    effects = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    convolutions = [spec for spec in layers if not spec.torgb]
    ends = list(accumulate(spec.style_width for spec in convolutions))  # C after each convolution
    if len(effects) not in ends:
        raise EditError(
            f"{path} has {len(effects):,} rows, which do not end with a convolution of this generator; all of them "
            f"have {ends[-1]:,} channels. It was made for another generator."
        )
    measured = convolutions[: ends.index(len(effects)) + 1]
    parts = torch.split(effects, [spec.style_width for spec in measured])
    return {spec.name: part for spec, part in zip(measured, parts, strict=True)}


def read_deviations(path: str | Path, layers: Sequence[LayerSpec]) -> dict[str, Tensor]:
    """Reads the standard deviations from a file like `S_mean_std`: layer name -> [I], float32.

    It may hold a vector for each layer, or one for each convolution without toRGB; the widths decide which it is.

    Raises:
        CheckpointError: it cannot be read, would execute something, or holds something else.
        EditError: it is for another generator.
    """
    content = load_pickle(path)
    vectors = content[1] if isinstance(content, list | tuple) and len(content) == 2 else None
    if not isinstance(vectors, list | tuple) or not all(
        isinstance(vector, np.ndarray) and vector.dtype.kind == "f" for vector in vectors
    ):
        raise CheckpointError(f"{path} holds no pair of means and deviations. Expected a file like S_mean_std.")
    deviations = [torch.from_numpy(np.array(vector, np.float32)).flatten() for vector in vectors]
    widths = [len(deviation) for deviation in deviations]
    for chosen in (layers, [spec for spec in layers if not spec.torgb]):
        if widths == [spec.style_width for spec in chosen]:
            return {spec.name: deviation for spec, deviation in zip(chosen, deviations, strict=True)}
    channels = sum(spec.style_width for spec in layers)
    raise EditError(
        f"{path} holds {len(vectors)} vectors of {sum(widths):,} numbers in all: this generator has {len(layers)} "
        f"layers with {channels:,} channels. They are for another one."
    )
