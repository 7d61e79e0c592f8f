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
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
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
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.device import pick_device
from hyperstyle.runtime.gradients import outside_inference_mode

__all__ = ["L2_WARN_THRESHOLD", "START_L2_WARN_THRESHOLD", "HyperStyleInverter", "pick_device"]

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
        aligner: finds landmarks in photos, for domains whose crops are aligned by them. None is
            the model's aligner where it has one, else `DlibDetector()`, which needs dlib and a predictor file at first
            use.
        edits: edits by name.
        evaluator: predicts attributes and identity embeddings, for metrics.
        perceptual: a second network of that kind, for losses; the evaluator measures and is never optimized against.
        steps: default number of steps of the hypernetwork.
        restyle: predicts changes of w, for the method "restyle-e4e" (or "restyle-psp").
        info: source, licence and notes, shown by `describe`.
        text: makes edits from text descriptions, `Inversion.edit(text=...)`: a `StyleClip`.
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
        generator: StyleGenerator | None = None,
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
        self.aligner = _aligner(aligner, model)

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
        inverter = cls.__new__(cls)
        model = read_model(folder, device=pick_device(device), dtype=dtype or torch.float32)
        origin = repr(os.fspath(name)) + (f", revision={revision!r}" if revision else "")
        inverter._model = replace(model, origin=origin)
        inverter.aligner = _aligner(aligner, inverter.model)
        return inverter

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
        """Uploads the model, and a card of what it records, to the Hub repository `org/name`; returns its URL.

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
        """Returns itself; its networks are compiled by `torch.compile(mode=mode)` when they are first called.

        This takes minutes: for many images of one size; needs a C++ compiler.
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
        """Plain values: domain, sizes, parts, methods, why others are missing, edits, source, licence, hashes."""
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
                or results of `align.prepare.prepare`, for which `align`, `face` and `landmarks` are not used.
            method: one of `methods`, several joined by "+" (`methods.registry` says how each begins), a Refinement
                object, or a list of names and objects; None is the first of `methods` that optimizes nothing.
            start: a name, as in start="e4e", or a function from crops [B,3,h,w] to codes [B,L,D], which replaces
                the start of the method.
            steps: of the last part of the method; a mapping sets them for parts by name, as in
                {"hyperstyle": 5, "pti": 100}. None is the default of each part.
            seed: of the noise in "optimize-w" and the samples in "pti"; None is the published one.
            align: "auto" aligns the face by landmarks, passed or detected, but takes a square image as a crop where its
                face is aligned already or none is detected (`align.decision.decide`), and records its choice in
                `Inversion.sources`; True aligns; False never does.
            face: which of several detected faces: the largest, the one nearest to the center, an index into the
                aligner's list, or "all": a batch of them, which `Inversion.paste_back` pastes back together.
            landmarks: [68,2] or [5,2] points in pixels of the upright photo; for a list of images, one for each.
            batch_size: images that go through the networks together; None is 8.
            on_error: "skip" leaves out images that fail and lists them in `Inversion.failures`.
            intermediates: keep the reconstructions before and after each step of a network.
            callback: called at every step with a `RefineStep`, or the step type of the method; those
                of methods that optimize have `step`, `steps`, `image` and `loss`.
            progress: show a progress bar over batches, with step and loss.

        Raises:
            ImageError: an image cannot be read. AlignmentError: it cannot be aligned.
            MethodError: an unknown method, or one whose weights the model lacks.
            ConfigError: wrong arguments.
            MissingDependencyError: a perceptual loss is needed, and there is neither that of the model nor LPIPS.

        Warns:
            MemoryWarning: a batch did not fit into the memory of an optimizing method and was split.
            QualityWarning: once, where crops (`align.prepare`) or reconstructions (`L2_WARN_THRESHOLD`,
                `START_L2_WARN_THRESHOLD`) look wrong; and for so many steps of a network that
                reconstructions get worse.
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
        chain = registry.resolve_method(
            self.model, method, start, steps=steps, seed=seed, keep_intermediates=intermediates
        )

        prepared: list[Prepared] = []
        failures: list[tuple[int, str]] = []
        for i, (source, source_points) in enumerate(zip(images, points, strict=True)):
            if isinstance(source, Prepared):
                prepared.append(source)
                continue
            try:
                prepared += prepare(
                    source, self.model.domain, aligner=self.aligner, align=align, face=face, landmarks=source_points
                )
            except HyperStyleError as error:
                if on_error == "raise":
                    raise
                failures.append((i, str(error)))
        if not prepared:
            raise ConfigError(
                f"none of the {len(images)} images could be used. The first failed with: {failures[0][1]}"
            )

        size = int(batch_size or DEFAULT_BATCH_SIZE)
        starts = range(0, len(prepared), size)
        if progress:
            from tqdm import tqdm

            starts = bar = tqdm(starts, desc="inverting", unit="batch")
            callback = _with_display(callback, bar.set_postfix_str)
        parts = []
        for first in starts:
            chunk = prepared[first : first + size]
            # Only from pinned memory do copies to a GPU run on while the next ones are asked for.
            crops = [p.crop.to(self.model.device, non_blocking=p.crop.is_pinned()) for p in chunk]
            batch = torch.stack(crops)
            with torch.no_grad():
                w = self.model.generator.broadcast(chain.start(batch.to(self.model.dtype))).contiguous()
            sources = tuple(p.source for p in chunk)
            part = Inversion(
                self.model, w, crop=batch, sources=sources, method=chain.start_name, start=chain.start_name
            )
            part = chain(batch, part, callback=callback)
            parts.append(part if part.stored_metrics else with_metrics(part))
        inversion = parts[0] if len(parts) == 1 else Inversion.cat(parts)  # a single part keeps its rendered image
        threshold = START_L2_WARN_THRESHOLD if not chain.parts or steps == 0 else L2_WARN_THRESHOLD
        if doubts := _quality_warnings(prepared, inversion.stored_metrics, threshold):
            more = f" And {len(doubts) - 3} more." if len(doubts) > 3 else ""
            warn(
                f"{len(doubts)} of {len(inversion)} image(s) may have come out wrong. {' '.join(doubts[:3])}{more} "
                "Look at the crop; landmarks=... or another face=... may give a better one.",
                QualityWarning,
            )
        return replace(inversion, failures=tuple(failures)) if failures else inversion

    @staticmethod
    def _landmarks(landmarks: Landmarks | Sequence[Landmarks | None] | None, count: int, many: bool) -> list[Any]:
        """The landmarks of each image, or None."""
        if landmarks is None:
            return [None] * count
        if not many:
            return [landmarks]
        points = list(cast("Sequence[Any]", landmarks))
        if len(points) != count:
            raise LandmarkError(f"{len(points)} sets of landmarks for {count} images: expected one for each, or None.")
        return points


def _aligner(detector: LandmarkDetector | None, model: Model) -> LandmarkDetector | None:
    """The detector passed, else the one for the model's domain, which reads its files when it is first called."""
    if detector is not None or model.domain.aligner != "face":
        return detector
    if model.aligner is None:
        return DlibDetector()
    detector_file, predictor_file = (model.aligner / name for name in ALIGNER)
    return DlibDetector(predictor_file, detector=detector_file)


def _with_display(callback: Callable[..., None] | None, show: Callable[[str], None]) -> Callable[[Any], None]:
    """A callback that shows each step as text and then calls the given callback."""

    def both(step: Any) -> None:
        show(registry.describe_step(step))
        if callback is not None:
            callback(step)

    return both


def _quality_warnings(
    prepared: Sequence[Prepared], quality: Mapping[str, tuple[float, ...]], threshold: float
) -> list[str]:
    """A sentence for each image whose crop looks wrong, or whose L2 against it is above the threshold or NaN."""
    errors = quality.get("l2", (0.0,) * len(prepared))
    sentences = []
    for image, error in zip(prepared, errors, strict=True):
        doubts = [image.doubt] if image.doubt else []
        if not error <= threshold:
            doubts.append(f"the reconstruction is far from its crop (L2 {error:.2g}, usually below {threshold:g})")
        if doubts:
            sentences.append(f"{image.source.name!r}: {' and '.join(doubts)}.")
    return sentences
