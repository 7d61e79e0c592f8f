"""HyperStyleInverter: align, start, refine, and hand back an Inversion."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, cast

import numpy.typing as npt
import torch

from hyperstyle.align import LandmarkDetector
from hyperstyle.align.decision import Align, Face
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.align.prepare import Prepared, prepare
from hyperstyle.domain import Domain
from hyperstyle.edits import Edit
from hyperstyle.edits.text import TextEdits
from hyperstyle.errors import (
    ConfigError,
    HyperStyleError,
    LandmarkError,
    QualityWarning,
    warn,
)
from hyperstyle.images import ImageSource
from hyperstyle.inversion import describe
from hyperstyle.inversion.inversion import DEFAULT_BATCH_SIZE, Inversion
from hyperstyle.io import hub
from hyperstyle.io.components import read_json
from hyperstyle.io.files import write_text
from hyperstyle.methods import missing, registry
from hyperstyle.model.card import model_card
from hyperstyle.model.folder import check_parts, read_model, write_model
from hyperstyle.model.parts import ALIGNER, Model
from hyperstyle.moved import renamed_argument
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder
from hyperstyle.networks.encoders.pyramid import PyramidEncoder
from hyperstyle.networks.encoders.restyle import RestyleEncoder
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.perception.attributes import AttributeNetwork
from hyperstyle.networks.perception.vgg import Vgg16
from hyperstyle.networks.stylegan2.generator import Generator
from hyperstyle.runtime.device import pick_device
from hyperstyle.runtime.gradients import outside_inference_mode

__all__ = ["L2_WARN_THRESHOLD", "START_L2_WARN_THRESHOLD", "HyperStyleInverter", "aligner_for", "pick_device"]

Landmarks = npt.ArrayLike

L2_WARN_THRESHOLD = 0.04
"""L2 against the crop above which a refined reconstruction counts as wrong. The bundled model stays below 0.02 on
portraits of its kind. It reaches 0.01 to 0.09 on portraits cut out by wrong points, 0.065 on noise, and 0.07 to 0.17 on
photos of people; two different portraits are about 0.3 apart.
"""

START_L2_WARN_THRESHOLD = 0.1
"""The same for the W encoder alone, with which the bundled model reaches 0.06 on portraits of its kind."""


class HyperStyleInverter:
    """Puts images into a generator so that they can be edited.

    `HyperStyleInverter()` is the bundled model on the best device there is; with parts it is a composition of them, and
    puts them into evaluation mode.

    Args:
        generator: maps codes and offsets to images.
        encoder: crop -> w; the start of the built-in methods but ReStyle.
        hypernetwork: predicts offset codes.
        domain: what kind of image this is.
        aligner: finds landmarks in photos, for domains whose crops are aligned by them. None is the model's own where
            it has one, else `DlibDetector()`, which needs dlib and its predictor file when it is first used.
        edits: edits by name.
        evaluator: reads traits and identity, for figures.
        perceptual: a second network of that kind, for losses; the evaluator measures and is never optimized against.
        steps: passes of the hypernetwork by default.
        restyle: predicts changes of w, for the method "restyle-e4e" (or "restyle-psp").
        info: source, licence and notes, shown by `describe`.
        text: makes edits of descriptions, `Inversion.edit(text=...)`: a `StyleClip`.
        psp, e4e: further encoders, into W+.
        hyperinverter: predicts residual weights.
        idinvert, vgg16: encoder and features of IDInvert, for a `StyleGan1`.
        device: "auto", "cpu", "cuda", ...: where the parts are moved to, in place; None leaves them where they are, and
            is "auto" for the bundled model.

    Raises:
        ConfigError: parts that do not fit together, some parts without the others, or a device that is not there.

    Example:
        >>> inverter = HyperStyleInverter()
        >>> inversion = inverter.invert("me.jpg")
        >>> inversion.edit("age", 2).image.save("older.png")
    """

    @outside_inference_mode
    @renamed_argument("judge", "evaluator")
    def __init__(
        self,
        generator: Generator | None = None,
        encoder: WEncoder | None = None,
        hypernetwork: Hypernetwork | None = None,
        *,
        domain: Domain | None = None,
        aligner: LandmarkDetector | None = None,
        edits: Mapping[str, Edit] | None = None,
        evaluator: AttributeNetwork | None = None,
        perceptual: AttributeNetwork | None = None,
        steps: int = 5,
        restyle: RestyleEncoder | None = None,
        info: Mapping[str, Any] | None = None,
        text: TextEdits | None = None,
        psp: PyramidEncoder | None = None,
        e4e: PyramidEncoder | None = None,
        hyperinverter: HyperInverter | None = None,
        idinvert: IdInvertEncoder | None = None,
        vgg16: Vgg16 | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if generator is None:
            given = [encoder, hypernetwork, domain, edits, evaluator, perceptual, restyle, info, text]
            given += [psp, e4e, hyperinverter, idinvert, vgg16]
            if any(part is not None for part in given):
                raise ConfigError("parts were given without a generator. Pass one, or nothing for the bundled model.")
            model = read_model(
                hub.resolve("avatars"), device=pick_device("auto" if device is None else device), dtype=torch.float32
            )
            model = replace(model, origin="'avatars'")
        else:
            chosen = None if device is None else pick_device(device)
            if domain is None:
                raise ConfigError(
                    "a composition needs a domain, as in domain=hyperstyle.Domain('mine', size=256, ...)."
                )
            model = Model(
                generator,
                domain,
                encoder,
                hypernetwork,
                edits or {},
                evaluator,
                perceptual,
                steps,
                restyle,
                info or {},
                text=text,
                psp=psp,
                e4e=e4e,
                hyperinverter=hyperinverter,
                idinvert=idinvert,
                vgg16=vgg16,
            )
            check_parts(model)
            for part in model.networks.values():
                part.eval()  # else batch statistics would let one image of a batch change another
                if chosen is not None:
                    part.to(chosen)
        self._model = model
        self.aligner = aligner_for(aligner, model)

    # ---- models ----

    @property
    def model(self) -> Model:
        """The parts."""
        return self._model

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "avatars",
        *,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        aligner: LandmarkDetector | None = None,
    ) -> HyperStyleInverter:
        """Loads a model.

        Args:
            name: the bundled "avatars", a model folder, or a Hub repository "org/name".
            device: "auto", "cpu", "cuda", ...
            dtype: of the weights; None is float32, always.
            revision, cache_dir, local_files_only: for the Hub.
            aligner: see the class.

        Raises:
            ModelNotFoundError: no such model. CheckpointError, ConfigError: its folder cannot be used.
        """
        folder = hub.resolve(name, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
        made = cls.__new__(cls)
        model = read_model(folder, device=pick_device(device), dtype=dtype or torch.float32)
        origin = repr(os.fspath(name)) + (f", revision={revision!r}" if revision else "")
        made._model = replace(model, origin=origin)
        made.aligner = aligner_for(aligner, made.model)
        return made

    def save_pretrained(self, path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> None:
        """Writes the model as a folder for `from_pretrained`, all of it or nothing. Raises HyperStyleError."""
        write_model(self.model, Path(path), dtype=dtype)

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
    ) -> str:
        """Uploads the model and a card made of what it records to the Hub repository `org/name`; returns its URL.

        The arguments are those of `hyperstyle.io.hub.upload`. It is one commit, which replaces the README.md there.

        Raises:
            HubError: the Hub does not take it; the message says why and what to do.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self.save_pretrained(folder)
            card = model_card(self.model, repo, sha256=read_json(folder / "hyperstyle.json")["sha256"])
            write_text(folder / "README.md", card)
            return hub.upload(folder, repo, private=private, token=token, revision=revision, message=commit_message)

    @outside_inference_mode
    def to(self, device: str | torch.device) -> HyperStyleInverter:
        """The same model with its weights moved to a device; returns itself."""
        chosen = pick_device(device)
        for module in self.model.networks.values():
            module.to(chosen)
        return self

    def compile(self, mode: str | None = None) -> HyperStyleInverter:
        """Itself, its networks compiled by `torch.compile(mode=mode)` when they are first called, which takes minutes.

        For many images of one size; needs a C++ compiler.
        """
        self.model.compile(mode)
        return self

    @property
    def edits(self) -> Mapping[str, Edit]:
        """The edits that `Inversion.edit` knows by name; each has `info` with its range and unit."""
        return describe.Edits(self.model.edits)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names that `invert(method=...)` accepts for this model."""
        return registry.available(self.model)

    def describe(self) -> dict[str, Any]:
        """Domain, sizes, parts, methods and why others are missing, edits, source, licence, hashes, as plain values."""
        return describe.described(self.model, self.aligner, self.methods, missing.missing(self.model))

    def __repr__(self) -> str:
        return describe.inverter_line(self.model, self.aligner, self.methods)

    # ---- inverting ----

    @outside_inference_mode
    def invert(
        self,
        image: ImageSource | Prepared | Sequence[ImageSource | Prepared],
        *,
        method: registry.Method | None = None,
        start: registry.Start | str | None = None,
        steps: registry.Steps | None = None,
        seed: int | None = None,
        align: Align = "auto",
        face: Face = "largest",
        landmarks: Landmarks | Sequence[Landmarks | None] | None = None,
        batch_size: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        intermediates: bool = False,
        callback: Callable[..., None] | None = None,
        progress: bool = False,
    ) -> Inversion:
        """Inverts one image, or a list as one batch.

        Args:
            image: path, bytes, open file, PIL image, uint8 array [H,W,3], tensor [3,H,W] in [-1,1], or a list of these;
                or what `align.prepare.prepare` made of one, for which `align`, `face` and `landmarks` are settled.
            method: one of `methods`, several joined by "+" (`methods.registry` says how each begins), a Refinement
                object, or a list of names and objects; None is the first of `methods` that optimizes nothing.
            start: a name, as in start="e4e", or a function from crops [B,3,h,w] to codes [B,L,D], in place of the
                method's own start.
            steps: of the last part of the method; a mapping gives those of parts by their names, as in
                {"hyperstyle": 5, "pti": 100}. None is each part's own number.
            seed: of the noise in "optimize-w" and the samples in "pti"; None is the published one.
            align: "auto" cuts the face out where landmarks are given or found, but takes a square image as a crop
                where its face lies in place or none is found (`align.decision.decide`), and notes in
                `Inversion.sources` what it did; True aligns; False never does.
            face: which of several detected faces: the largest, the one nearest to the center, a place in the
                aligner's list, or "all": a batch of them, which `Inversion.paste_back` puts back together.
            landmarks: [68,2] or [5,2] points in pixels of the upright photo; for a list of images, one for each.
            batch_size: images that go through the networks together; None is 8.
            on_error: "skip" leaves out images that fail and lists them in `Inversion.failures`.
            intermediates: keep the reconstructions before and after each pass of a network.
            callback: called at every step with a `RefineStep`, or what else the refinement of a method gives; those
                that optimize have `step`, `steps`, `image` and `loss`.
            progress: show a progress bar over batches, with step and loss.

        Raises:
            ImageError: an image cannot be read. AlignmentError: it cannot be aligned.
            MethodError: an unknown method, or one whose weights the model lacks.
            ConfigError: wrong arguments.
            MissingDependencyError: a perceptual loss is needed, and there is neither the model's own nor LPIPS.

        Warns:
            MemoryWarning: a batch did not fit into the memory of an optimizing method and was split.
            QualityWarning: once, where crops (`align.prepare`) or reconstructions (`L2_WARN_THRESHOLD`,
                `START_L2_WARN_THRESHOLD`) look wrong; and for so many passes of a network that they make
                reconstructions worse.
        """
        many = isinstance(image, Sequence) and not isinstance(image, str | bytes | bytearray | memoryview)
        images: list[ImageSource | Prepared] = list(image) if many else [image]  # type: ignore[arg-type,list-item]
        if not images:
            raise ConfigError("an empty list of images was given: expected at least one.")
        points = self._landmarks(landmarks, len(images), many)
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error={on_error!r}: expected 'raise' or 'skip'.")
        if batch_size is not None and (not isinstance(batch_size, Integral) or batch_size < 1):
            raise ConfigError(f"batch_size={batch_size}: expected a whole number, 1 or more.")
        if align not in (True, False, "auto"):
            raise ConfigError(f"align={align!r}: expected True, False or 'auto'.")
        align = "auto" if align == "auto" else bool(align)  # 0 and NumPy's values are equal to these, not the same
        way = registry.find(self.model, method, start, steps=steps, seed=seed, keep_intermediates=intermediates)

        pictures: list[Prepared] = []
        failures: list[tuple[int, str]] = []
        for i, (one, own) in enumerate(zip(images, points, strict=True)):
            if isinstance(one, Prepared):
                pictures.append(one)
                continue
            try:
                pictures += prepare(one, self.model.domain, aligner=self.aligner, align=align, face=face, landmarks=own)
            except HyperStyleError as error:
                if on_error == "raise":
                    raise
                failures.append((i, str(error)))
        if not pictures:
            raise ConfigError(
                f"none of the {len(images)} images could be used. The first failed with: {failures[0][1]}"
            )

        size = int(batch_size or DEFAULT_BATCH_SIZE)
        starts = range(0, len(pictures), size)
        if progress:
            from tqdm import tqdm

            starts = bar = tqdm(starts, desc="inverting", unit="batch")
            callback = _shown(callback, bar.set_postfix_str)
        parts = []
        for first in starts:
            together = pictures[first : first + size]
            # Only from pinned memory do copies to a GPU run on while the next ones are asked for.
            crops = [one.crop.to(self.model.device, non_blocking=one.crop.is_pinned()) for one in together]
            batch = torch.stack(crops)
            with torch.no_grad():
                w = self.model.generator.broadcast(way.start(batch.to(self.model.dtype))).contiguous()
            sources = tuple(one.source for one in together)
            part = Inversion(self.model, w, crop=batch, sources=sources, method=way.begins, start=way.begins)
            part = way(batch, part, callback=callback)
            parts.append(part if part.quality else part.measured())
        whole = parts[0] if len(parts) == 1 else Inversion.cat(parts)  # one keeps its image: it is drawn already
        usual = START_L2_WARN_THRESHOLD if not way.parts or steps == 0 else L2_WARN_THRESHOLD
        if doubts := _doubts(pictures, whole.quality, usual):
            more = f" And {len(doubts) - 3} more." if len(doubts) > 3 else ""
            warn(
                f"{len(doubts)} of {len(whole)} image(s) may have come out wrong. {' '.join(doubts[:3])}{more} Look "
                "at the crop; landmarks=... or another face=... may give a better one.",
                QualityWarning,
            )
        return replace(whole, failures=tuple(failures)) if failures else whole

    @staticmethod
    def _landmarks(landmarks: Landmarks | Sequence[Landmarks | None] | None, count: int, many: bool) -> list[Any]:
        """One set of points, or None, for each image."""
        if landmarks is None:
            return [None] * count
        if not many:
            return [landmarks]
        given = list(cast("Sequence[Any]", landmarks))
        if len(given) != count:
            raise LandmarkError(f"{len(given)} sets of landmarks for {count} images: expected one for each, or None.")
        return given


def aligner_for(aligner: LandmarkDetector | None, model: Model) -> LandmarkDetector | None:
    """The aligner, by default that of the model's domain, if it has one; it reads its files on first use."""
    if aligner is not None or model.domain.aligner != "face":
        return aligner
    if model.aligner is None:
        return DlibDetector()
    detector, predictor = (model.aligner / name for name in ALIGNER)
    return DlibDetector(predictor, detector=detector)


def _shown(callback: Callable[..., None] | None, show: Callable[[str], None]) -> Callable[[Any], None]:
    """The callback, and each step shown in words."""

    def both(step: Any) -> None:
        show(registry.describe_step(step))
        if callback is not None:
            callback(step)

    return both


def _doubts(pictures: Sequence[Prepared], quality: Mapping[str, tuple[float, ...]], usual: float) -> list[str]:
    """What looks wrong, a sentence for each image; `usual` is the largest L2 that does not."""
    errors = quality.get("l2", (0.0,) * len(pictures))
    found = []
    for picture, error in zip(pictures, errors, strict=True):
        doubts = [picture.doubt] if picture.doubt else []
        if not error <= usual:
            doubts.append(f"the reconstruction is far from its crop (L2 {error:.2g}, usually below {usual:g})")
        if doubts:
            found.append(f"{picture.source.name!r}: {' and '.join(doubts)}.")
    return found
