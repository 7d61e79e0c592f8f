"""Inversion: the value that inverting returns and everything else consumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from hyperstyle.inversion import describe, dragging, editing, exports, masks
from hyperstyle.inversion import file as inversion_file
from hyperstyle.inversion.batch import Batch
from hyperstyle.inversion.dragging import Moves
from hyperstyle.inversion.editing import Strength
from hyperstyle.inversion.file import FeatureType
from hyperstyle.inversion.measure import reconstruction_metrics, with_metrics
from hyperstyle.inversion.optimize import StepCallback
from hyperstyle.inversion.pickling import fill, record_of
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
class Inversion(Batch):
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
        mask: [B,1,H,W] float32 in [0,1], where `tensor` is the edited image; 0 is where it is that of `unedited`. None
            for everywhere.
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
    mask: Tensor | None = None

    def __repr__(self) -> str:
        return describe.inversion_line(self)

    def _repr_png_(self) -> bytes | None:
        """What notebooks show: the image, or a labeled grid of a batch; None where its model is not loaded."""
        return describe.inversion_png(self)

    # ---- images ----

    @property
    def offsets(self) -> dict[str, Tensor]:
        """Dense offsets Δ, layer name -> tensor broadcastable to [B,O,I,k,k]; {} without offset codes."""
        return dense_offsets(self.offset_codes, self.model.hypernetwork)

    @once_property
    def tensor(self) -> Tensor:
        """The reconstruction [B,3,H,W], float32, about [-1,1], not clamped; content rows applied.

        With a mask it is mask * edited + (1 - mask) * unedited.
        """
        image = self.unmasked()
        if self.mask is None or self.unedited is None:
            return image
        with normal_tensors():
            return torch.lerp(self.unedited.tensor, image, self.mask)  # exact where the mask is 0 or 1

    def unmasked(self) -> Tensor:
        """The same without regard to the mask. Rendered anew by every call."""
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
        mask: ImageSource | None = None,
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
            mask: limits the image to a part: a region ("mouth", "eyes", "brows", "nose", "face"), or an image or array
                of the reconstruction's size (`masks.make_mask`). The masks of edits one after the other are united; an
                edit without one is of the whole image, also for those before and after it.
            other_model: apply an edit that was made for another generator all the same, with a warning.
            named: several edits at once, `edit(age=2, smile=1)`.

        Raises:
            EditError: an unknown name, an edit that does not fit the codes or was made for another generator, a
                strength that is not a finite number, or a text and no statistics.
            ConfigError: a layer that is not there, or an unknown region.
            ImageError, AlignmentError: a mask that `masks.make_mask` refuses.
        """
        result, area = self, None if mask is None else masks.united_mask(self, masks.make_mask(self, mask))
        for single_edit, value in editing.list_edits(self.model, edit, strength, text, neutral, beta, named):
            editing.check_model(self.model, single_edit, other_model=other_model)
            strengths = editing.check_strengths(single_edit, value)
            amounts = torch.tensor(strengths * len(result), dtype=self.w.dtype, device=self.w.device)
            if len(strengths) > 1:
                index = [i for i in range(len(result)) for _ in strengths]
                result, area = result._take(index), None if area is None else area[index]
            state = editing.apply_edit(self.model, single_edit, result.state, amounts, layers)
            result = result.edited_to(state, area)
        return result

    def drag(
        self,
        moves: Moves,
        *,
        mask: ImageSource | None = None,
        steps: int | None = None,
        radius: float | None = None,
        in_photo: bool = False,
        callback: StepCallback | None = None,
    ) -> Inversion:
        """Drags points of a single image to other places, and the rest follows (`inversion.dragging`).

        Args:
            moves: ((x, y), (x2, y2)) of each point, where it is and where it is to go: pixel indices of `image`.
            mask: what may change, as of `edit`; here it also keeps the features outside of it.
            steps: maximum number, 200. The drag ends once all points are as near as `DragSettings.tolerance` says.
            radius: the surroundings of a point that are pulled along, in pixels; None is `DragSettings.of`.
            in_photo: the points are in pixels of the upright photo.
            callback: called at every step; see `optimize.Step`, with `points`, `w`, and the image without the mask.

        Returns:
            An edit with other `w`. An EditWarning says how far the points came if they did not arrive.

        Raises:
            ConfigError: no points, points outside, a target that is the point itself, or numbers that cannot be used.
            InversionError: a batch, features in place of a layer's output, or points of a photo where there is none.
            ConfigError, ImageError, AlignmentError: a mask that `masks.make_mask` refuses.
        """
        points = dragging.find_points(self, moves, in_photo=in_photo)
        settings = dragging.DragSettings.of(self.model.generator, steps=steps, radius=radius)
        area = None if mask is None else masks.make_mask(self, mask)
        united = None if area is None else masks.united_mask(self, area)
        state = dragging.drag(self.model, self.state, points, settings, mask=area, callback=callback)
        return self.edited_to(state, united)

    # ---- combining ----

    def interpolate(self, other: Inversion, n: int = 5) -> Inversion:
        """`n` images from this one to `other`, both ends included; codes, offsets and masks move together.

        Where only one of them is edited, the other gets its mask.

        Raises:
            InversionError: a batch, another model, offset codes for different layers, or n below 2.
        """
        self._check_single("interpolation")
        other._check_single("interpolation")
        if n < 2:
            raise InversionError(f"interpolation in {n} images: expected at least 2.")
        self._check_same_model(other)
        result = Inversion(self.model, self.w, method=self.method, start=self.start, refinement=self.refinement)
        a, b = masks.with_masks([self, other], unedited=other.mask if self.mask is None else self.mask)
        if a.mask is not None or b.mask is not None:
            result = replace(result, unedited=(self.unedited or self).interpolate(other.unedited or other, n))
        return result._with(InversionState.between(a, b, n, self.model.generator))

    def mix(self, other: Inversion, layers: Sequence[str | int]) -> Inversion:
        """This inversion with the given layers taken from `other`: their style rows and their offsets.

        A toRGB layer shares its row with the next upsampling convolution, so both change together. It is an edit of the
        whole image: a mask goes.

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
        """The same codes and offsets in a generator fine-tuned from this model's (paper, Section 4.4), without mask.

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
        """More steps of the method that made it, from here. With a mask, only what is within it changes.

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
        mask: ImageSource | None = None,
        mode: Literal["difference", "replace"] | None = None,
        feather: float = 0.1,
        match_colors: bool = True,
        remove_ghosts: bool = True,
    ) -> Image.Image:
        """The (edited) face in its photo; of a batch from one photo (`face="all"`), every face.

        Args:
            photo: the photo again, for an inversion that was loaded from disk.
            mask: where the photo may change, as of `edit`, besides where the inversion's own mask lets it. It is
                interpolated linearly to the photo's pixels; those where it is 0 stay bit for bit.
            mode: "difference" adds what the edit changed to the photo's own pixels, "replace" puts the reconstruction
                there; None is "difference" after an edit, else "replace".
            feather, match_colors, remove_ghosts: see `align.paste_back`.

        Returns:
            An image of the upright photo's size, with its alpha channel, ICC profile and EXIF data.

        Raises:
            InversionError: an image that was not cut out of a photo, a batch from several photos or of one face
                twice, no photo after `load`, or one of another size.
            ConfigError: another `mode` or `feather`.
            ConfigError, ImageError, AlignmentError: a mask that `masks.make_mask` refuses.
        """
        base, quads = photo_of(self.sources, len(self), photo)
        mode = mode or ("replace" if self.unedited is None else "difference")
        before = list((self.unedited or self).tensor) if mode == "difference" else None
        faces = masks.pasted_faces(self, quads, before, mask)
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

    def save(
        self, path: str | Path, *, origin: Mapping[str, Any] | None = None, features: FeatureType = "float32"
    ) -> None:
        """Writes codes, offset codes and metrics; images are synthesized again, exactly, by the same model.

        Tens of kB for each image. Imported offsets are stored as they are: 94 MB for each image of a model of
        1024 px with the published layers, features 8 MB; `features="float16"` halves that, and changes the loaded image
        by up to 3.2e-4. `origin` (plain JSON values) is stored for `inversion_file.read_origin`.

        Raises InversionError for the name of an image, or features that float16 cannot hold; ConfigError for another
        type of features; HyperStyleError where the file cannot be written.
        """
        inversion_file.write(Path(path), record_of(self, origin), features=features)

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
