"""Inversion: the value that inverting returns and everything else consumes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from PIL import Image
from torch import Tensor

from hyperstyle.align.paste import paste_all
from hyperstyle.align.source import Provenance, photo_of
from hyperstyle.edits import Edit
from hyperstyle.errors import InversionError, warn, with_article
from hyperstyle.images import ImageSource, to_images
from hyperstyle.inversion import describe, editing, exports
from hyperstyle.inversion import file as inversion_file
from hyperstyle.inversion.editing import Strength
from hyperstyle.inversion.measure import reconstruction_metrics, with_metrics
from hyperstyle.inversion.pickling import Portable, fill, record_of
from hyperstyle.inversion.state import GeneratorOverrides, InversionState
from hyperstyle.inversion.synthesis import dense_offsets, render
from hyperstyle.model.parts import HasModel, Model
from hyperstyle.moved import renamed_argument, renamed_field
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import normal_tensors, outside_inference_mode
from hyperstyle.runtime.threads import once_property


class Refinement(Protocol):
    """Improves an inversion of known crops; the second half of every method."""

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        """Crops [B,3,h,w] in [-1,1] and their inversion so far -> a better one."""
        ...


@renamed_field("changes", "overrides")
@renamed_field("quality", "stored_metrics")
@dataclass(frozen=True, eq=False)
class Inversion(Portable):
    """One image, or a batch, as codes and offsets of a generator; immutable.

    `len`, indexing and iteration give batches of one. Made by `HyperStyleInverter.invert`; `edit` and the other
    methods return new values. Notebooks show it as an image. Copies by `copy.deepcopy` share its model; a pickle holds
    what `save` writes, and finds its model again where that is loaded, else by `attach` (see `inversion.pickling`).

    Attributes:
        model: the parts that turn it into images.
        w: [B,L,D] latent codes, edits included.
        offset_codes: what the hypernetwork predicted, offsets that were imported, or None.
        style_offsets: StyleSpace edits, layer name -> [B,I], added after the affine layers.
        crop: [B,3,h,w] in [-1,1], float32: what was inverted, as the encoder saw it; None after `load`.
        sources: where each image came from.
        method: how it was made.
        stored_metrics: what `metrics` gave when it was made: name -> one number per image. They are saved with it.
        unedited: the inversion before the first edit; None if this is it.
        intermediates: reconstructions [B,3,H,W] before and after each step, when they were asked for.
        failures: (place in the list, message) of images that were left out (`on_error="skip"`).
        refinement: what made it, for `refine`.
        overrides: residual weights, tuned parameters and noise maps, for methods that have them.
        start: what made the codes: the method of `initial`.
    """

    model: Model
    w: Tensor
    offset_codes: OffsetCodes | None = None
    style_offsets: Mapping[str, Tensor] = field(default_factory=dict)
    crop: Tensor | None = None
    sources: tuple[Provenance, ...] = ()
    method: str = "hyperstyle"
    stored_metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    unedited: Inversion | None = None
    intermediates: tuple[Tensor, ...] = ()
    failures: tuple[tuple[int, str], ...] = ()
    refinement: Refinement | None = None
    overrides: GeneratorOverrides = field(default_factory=GeneratorOverrides)
    start: str = "w-encoder"

    # ---- a batch of images ----

    def __getitem__(self, index: int | slice) -> Inversion:
        if isinstance(index, slice):
            places = list(range(len(self)))[index]
            if not places:
                raise InversionError(f"no image is in {index} of an inversion of {len(self)}.")
            return self._take(places)
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"image {place} of an inversion of {len(self)}.")
        return self._take([place % len(self)])

    def __iter__(self) -> Iterator[Inversion]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return describe.inversion_line(self)

    def _repr_png_(self) -> bytes | None:
        """What notebooks show: the image, or a labeled grid of a batch; None where its model is not loaded."""
        return describe.inversion_png(self)

    def _take(self, index: list[int]) -> Inversion:
        """These images, in this order; an index may come more than once."""
        return replace(
            self._with(self.state.take(index)),
            crop=None if self.crop is None else self.crop[index],
            sources=tuple(self.sources[i] for i in index) if self.sources else (),
            stored_metrics={k: tuple(v[i] for i in index) for k, v in self.stored_metrics.items()},
            unedited=None if self.unedited is None else self.unedited._take(index),
            intermediates=tuple(image[index] for image in self.intermediates),
            failures=(),
        )

    @classmethod
    def cat(cls, parts: Sequence[Inversion]) -> Inversion:
        """Inversions of one model as one batch; offsets and overrides that only some have are none in the others.

        Raises:
            InversionError: none, of different models, types or devices, or with offset codes for different layers.
        """
        if not parts:
            raise InversionError("no inversions to join: expected at least one.")
        first = parts[0]
        for part in parts[1:]:
            first._check_same_model(part)
        crops = [p.crop for p in parts if p.crop is not None]
        before = [p.unedited or p for p in parts]
        measured = [k for k in first.stored_metrics if all(k in p.stored_metrics for p in parts)]
        steps = [p.intermediates for p in parts] if len({len(p.intermediates) for p in parts}) == 1 else []
        return replace(
            first._with(InversionState.cat([p.state for p in parts], first.model.generator)),
            crop=torch.cat(crops) if len(crops) == len(parts) else None,
            sources=tuple(s for p in parts for s in p.sources) if all(p.sources for p in parts) else (),
            stored_metrics={k: tuple(v for p in parts for v in p.stored_metrics[k]) for k in measured},
            unedited=cls.cat(before) if any(p.unedited for p in parts) else None,
            intermediates=tuple(torch.cat(list(step)) for step in zip(*steps, strict=True)),
            failures=(),
        )

    # ---- images ----

    @property
    def offsets(self) -> dict[str, Tensor]:
        """Dense offsets Δ, layer name -> tensor broadcastable to [B,O,I,k,k]; {} without offset codes."""
        return dense_offsets(self.offset_codes, self.model.hypernetwork)

    @once_property
    def tensor(self) -> Tensor:
        """The reconstruction [B,3,H,W], float32, about [-1,1], not clamped; content rows applied."""
        with normal_tensors():
            return self.model.domain.content(render(self.model, self.state)).float()

    @property
    def images(self) -> list[Image.Image]:
        """The reconstructions as PIL images."""
        return to_images(self.tensor)

    @property
    def image(self) -> Image.Image:
        """The reconstruction of a single image. Raises InversionError on a batch."""
        self._check_single("image", "use .images, or index the batch first")
        return self.images[0]

    @property
    def initial(self) -> Inversion:
        """The same codes in the model's own generator, without offsets and other changes: plain G(w)."""
        unedited = None if self.unedited is None else self.unedited.initial
        plain = replace(self, offset_codes=None, overrides=GeneratorOverrides(), method=self.start)
        return replace(plain, stored_metrics={}, unedited=unedited, intermediates=())

    # ---- editing ----

    def edit(
        self,
        edit: str | Edit | None = None,
        strength: Strength = 1.0,
        *,
        text: str | None = None,
        neutral: str | None = None,
        beta: float | None = None,
        layers: Sequence[str | int] | None = None,
        other_model: bool = False,
        **named: Strength,
    ) -> Inversion:
        """Moves the codes or their styles and keeps offsets and noise.

        Args:
            edit: the name of one of the model's edits, or an Edit.
            strength: how far, in the edit's unit. A sequence gives a batch: every image at every strength, the
                strengths of one image next to each other.
            text: what the image should look like, instead of an edit (StyleCLIP's global directions, Patashnik et
                al., ICCV 2021, Section 6); the model needs statistics for it.
            neutral: what it looks like now, in words that differ from `text` only in what should change; "a face".
            beta: channels of less relevance, 0 to 1, stay as they are; 0.13.
            layers: limits the edit to these; in W to the rows that feed them.
            other_model: apply an edit that was made for another generator all the same, with a warning.
            named: several edits at once, `edit(age=2, smile=1)`.

        Raises:
            EditError: an unknown name, an edit that does not fit the codes or was made for another generator, a
                strength that is not a finite number, or a text and no statistics.
            ConfigError: a layer that is not there.
        """
        result = self
        for single_edit, value in editing.list_edits(self.model, edit, strength, text, neutral, beta, named):
            editing.check_model(self.model, single_edit, other_model=other_model)
            strengths = editing.check_strengths(single_edit, value)
            amounts = torch.tensor(strengths * len(result), dtype=self.w.dtype, device=self.w.device)
            if len(strengths) > 1:
                result = result._take([i for i in range(len(result)) for _ in strengths])
            result = result.edited_to(editing.apply_edit(self.model, single_edit, result.state, amounts, layers))
        return result

    # ---- combining ----

    def interpolate(self, other: Inversion, n: int = 5) -> Inversion:
        """`n` images from this one to `other`, both ends included; codes and offsets move together.

        Raises:
            InversionError: a batch, another model, offset codes for different layers, or n below 2.
        """
        self._check_single("interpolation")
        other._check_single("interpolation")
        if n < 2:
            raise InversionError(f"interpolation in {n} images: expected at least 2.")
        self._check_same_model(other)
        result = Inversion(self.model, self.w, method=self.method, start=self.start, refinement=self.refinement)
        return result._with(InversionState.between(self.state, other.state, n, self.model.generator))

    def mix(self, other: Inversion, layers: Sequence[str | int]) -> Inversion:
        """This inversion with the given layers taken from `other`: their style rows and their offsets.

        A toRGB layer shares its row with the next upsampling convolution, so both change together.

        Raises:
            InversionError: another batch size or model; ConfigError: an unknown layer.
        """
        self._check_same_model(other)
        if len(self) != len(other):
            raise InversionError(f"cannot mix a batch of {len(self)} with a batch of {len(other)}.")
        specs = [self.model.generator.layer(name) for name in layers]
        return self.edited_to(InversionState.mixed(self.state, other.state, specs, self.model.generator))

    def transfer(
        self, generator: StyleGenerator, layers: Sequence[str] | None = None, w: Tensor | None = None
    ) -> Inversion:
        """The same codes and offsets in a generator fine-tuned from this model's (paper, Section 4.4).

        Args:
            generator: of the same configuration.
            layers: keep only the offsets of these layers; None keeps all.
            w: other latent codes [B,L,D].

        Raises:
            InversionError: no generator, one of another configuration or type, or codes `w` of another shape.
        """
        source = self.model.generator
        if not isinstance(generator, StyleGenerator):
            raise InversionError(
                f"transfer() was given {with_article(type(generator))}: expected a generator, such as "
                "inverter.model.generator of a fine-tuned model."
            )
        if (generator.config, generator.latent_avg.dtype) != (source.config, self.model.dtype):
            raise InversionError(
                f"the other generator is {generator.config} in {generator.latent_avg.dtype}, this one {source.config} "
                f"in {self.model.dtype}: offsets need the same layers and type."
            )
        state = self.state.transferred(source, generator, layers, w)
        ancestors = (*self.model.ancestors, self.model.generator_fingerprint)
        model = replace(self.model, generator=generator.to(self.model.device), ancestors=ancestors, origin="")
        return replace(self.edited_to(state), model=model)  # `paste_back` adds what the other generator changed

    @outside_inference_mode
    def refine(self, steps: int | None = None, *, callback: Callable[..., None] | None = None) -> Inversion:
        """More steps of the method that made it, from here.

        Raises:
            InversionError: it was loaded from disk or has no refinement, so there is nothing to continue.
        """
        if self.refinement is None or self.crop is None:
            raise InversionError("refine() needs the inverted crop and its method: invert the image again.")
        return self.refinement(self.crop, self, steps=steps, callback=callback)

    # ---- back to the photo, figures, disk ----

    @renamed_argument("match_colours", "match_colors")
    def paste_back(
        self,
        photo: ImageSource | None = None,
        *,
        mode: Literal["difference", "replace"] | None = None,
        feather: float = 0.1,
        match_colors: bool = True,
        remove_ghosts: bool = True,
    ) -> Image.Image:
        """The (edited) face in its photo; of a batch from one photo (`face="all"`), every face.

        Args:
            photo: the photo again, for an inversion that was loaded from disk.
            mode: "difference" adds what the edit changed to the photo's own pixels, "replace" puts the reconstruction
                there; None is "difference" after an edit, else "replace".
            feather, match_colors, remove_ghosts: see `align.paste_back`.

        Returns:
            An image of the upright photo's size, with its alpha channel, ICC profile and EXIF data.

        Raises:
            InversionError: an image that was not cut out of a photo, a batch from several photos or of one face
                twice, no photo after `load`, or one of another size.
            ConfigError: another `mode` or `feather`.
        """
        base, quads = photo_of(self.sources, len(self), photo)
        mode = mode or ("replace" if self.unedited is None else "difference")
        before = (self.unedited or self).tensor if mode == "difference" else [None] * len(self)
        faces = list(zip(self.tensor, quads, before, strict=True))
        return paste_all(
            base, faces, mode=mode, feather=feather, match_colors=match_colors, remove_ghosts=remove_ghosts
        )

    def metrics(self) -> dict[str, tuple[float, ...]]:
        """Distance from the inverted crop, a number per image: l2, ms_ssim; with an evaluator perceptual, identity.

        Where the crop is gone, as after `load`, these are the `stored_metrics`.

        Raises:
            InversionError: neither the crop nor stored figures are there.
        """
        if self.crop is None:
            if not self.stored_metrics:
                raise InversionError("the inverted crop is gone and no metrics were stored: invert the image again.")
            return dict(self.stored_metrics)
        return reconstruction_metrics(self.model, self.tensor, self.crop)

    def measured(self, image: Tensor | None = None) -> Inversion:
        """Deprecated: `with_metrics`."""
        warn("Inversion.measured is measure.with_metrics now; the old name goes with version 0.3.", DeprecationWarning)
        return with_metrics(self, image)

    def save(self, path: str | Path, *, origin: Mapping[str, Any] | None = None) -> None:
        """Writes codes, offset codes and metrics; images are synthesized again, exactly, by the same model.

        Tens of kB for each image. Imported offsets are stored as they are: 94 MB for each image of a model of
        1024 px with the published layers. `origin` (plain JSON values) is stored for `inversion_file.read_origin`.

        Raises InversionError for the name of an image, HyperStyleError where the file cannot be written.
        """
        inversion_file.write(Path(path), record_of(self, origin))

    def export(self, path: str | Path, form: Literal["generator", "official", "offsets"] = "generator") -> None:
        """Writes a file, or with "official" a folder, for other programs: see `exports.export`.

        Raises ConfigError for another form, InversionError for a form that cannot hold it, HyperStyleError else.
        """
        exports.export(self, path, form)

    @classmethod
    def load(cls, path: str | Path, inverter: HasModel) -> Inversion:
        """Reads what `save` wrote.

        Raises:
            MissingFileError, WeightsError: no such file, or not a readable one.
            InversionError: the file is no inversion, or was made with another model.
        """
        model = inverter.model
        record = inversion_file.read(Path(path), model, model.device, model.dtype)
        inversion = object.__new__(cls)
        fill(inversion, record, {"model": model})
        return inversion
