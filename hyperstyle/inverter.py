"""HyperStyleInverter: align, start, refine, and hand back an Inversion."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hyperstyle.align import LandmarkDetector
from hyperstyle.align.aligners import check_aligner, find_aligner
from hyperstyle.align.decision import Align, Face
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.align.prepare import Images, Landmarks, Prepared, prepare_all
from hyperstyle.align.source import Provenance
from hyperstyle.domain import Domain
from hyperstyle.edits import Edit
from hyperstyle.edits.protocol import TextEdits
from hyperstyle.errors import ConfigError, QualityWarning, warn
from hyperstyle.inversion import describe
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.io import hub
from hyperstyle.io.files import write_text
from hyperstyle.io.opening import read_json
from hyperstyle.methods import registry
from hyperstyle.model.card import model_card
from hyperstyle.model.folder import aligner_of, check_parts, load_model, write_model
from hyperstyle.model.parts import Model
from hyperstyle.moved import PART_ARGUMENTS, gathered_arguments
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.device import pick_device
from hyperstyle.runtime.gradients import outside_inference_mode

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
        aligner: finds landmarks in photos, for domains whose crops are aligned by them: a function, or a name as
            `align.aligners.find_aligner` takes it. None and "auto" are the model's own where it has one, else dlib or
            MTCNN, if their files are on this machine when it is first used (`AutoDetector`); "dlib" downloads its file.
        edits: edits by name.
        steps: default number of steps of the hypernetwork.
        text: makes edits from text descriptions, `Inversion.edit(text=...)`: a `StyleClip`.
        info: source, licence and notes, shown by `describe`.
        device: "auto", "cpu", "cuda", ...: where the parts are moved to, in place; None leaves them where they are, and
            is "auto" for the bundled model.
        parts: further networks by the names of their components: the encoders "psp" and "e4e", which predict codes in
            W+; "restyle", which predicts changes of w; "hyperinverter", which predicts residual weights;
            "sfe_inverter" and "feature_editor" of StyleFeatureEditor; "idinvert" and "vgg16", encoder and features of
            IDInvert for a `StyleGan1`; "judge", which `Model.evaluator` reads: it predicts attributes and identity
            embeddings for metrics, and is never optimized against; "perceptual", a second network of that kind for
            losses; "mtcnn", which finds faces.

    Raises:
        ConfigError: parts that do not fit together, some parts without the others, an unknown aligner, or a device that
            is not there.

    Example:
        >>> inverter = HyperStyleInverter()
        >>> inversion = inverter.invert("me.jpg")
        >>> inversion.edit("age", 2).image.save("older.png")
    """

    @outside_inference_mode
    @gathered_arguments("parts", PART_ARGUMENTS)
    def __init__(
        self,
        generator: StyleGenerator | None = None,
        encoder: WEncoder | None = None,
        hypernetwork: Hypernetwork | None = None,
        *,
        domain: Domain | None = None,
        aligner: LandmarkDetector | str | None = None,
        edits: Mapping[str, Edit] | None = None,
        steps: int = 5,
        text: TextEdits | None = None,
        info: Mapping[str, Any] | None = None,
        device: str | torch.device | None = None,
        parts: Mapping[str, nn.Module | None] | None = None,
    ) -> None:
        check_aligner(aligner)
        if generator is None:
            if any(part is not None for part in (encoder, hypernetwork, domain, edits, text, info, parts)):
                raise ConfigError("parts were given without a generator. Pass one, or nothing for the bundled model.")
            self._model = load_model("avatars", device="auto" if device is None else device)
        elif domain is None:
            raise ConfigError("a composition needs a domain, as in domain=hyperstyle.Domain('mine', size=256, ...).")
        else:
            bare = Model(generator, domain, {}, edits or {}, steps, info or {}, text=text)
            self._model = bare.with_parts(encoder=encoder, hypernetwork=hypernetwork).with_parts(**(parts or {}))
            check_parts(self._model)
            chosen = None if device is None else pick_device(device)
            for network in self._model.networks.values():
                network.eval()  # else batch statistics would let one image of a batch change another
                if chosen is not None:
                    network.to(chosen)
        self.aligner = find_aligner(aligner, aligner_of(self._model))

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
        aligner: LandmarkDetector | str | None = None,
    ) -> HyperStyleInverter:
        """Loads a model.

        Args:
            name: the bundled "avatars", a model folder, a model that `hyperstyle fetch` installed ("faces"), or a Hub
                repository "org/name".
            device: "auto", "cpu", "cuda", ...
            dtype: of the weights; None is float32, always.
            revision, cache_dir, local_files_only: for the Hub.
            aligner: see the class.

        Raises:
            ModelNotFoundError: no such model. CheckpointError, ConfigError: its folder cannot be used.
            ConfigError: an unknown aligner.
        """
        check_aligner(aligner)
        inverter = cls.__new__(cls)
        inverter._model = load_model(
            name, device=device, dtype=dtype, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only
        )
        inverter.aligner = find_aligner(aligner, aligner_of(inverter._model))
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
        """Moves to a device; returns itself.

        Inversions made before keep their networks and go on working where they are; the inverter continues with copies
        on the new device. What was compiled has to be compiled again.
        """
        target = torch.empty(0, device=pick_device(device)).device  # with its index: "cuda" is "cuda:0"
        if any(p.device != target for network in self.model.networks.values() for p in network.parameters()):
            before, self._model = self.model, self.model.copied_to(target)
            if isinstance(self.aligner, MtcnnDetector) and self.aligner.weights is before.mtcnn is not None:
                self.aligner = replace(self.aligner, weights=self.model.mtcnn)
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
        return describe.described(self.model, self.aligner, self.methods, registry.missing_methods(self.model))

    def __repr__(self) -> str:
        return describe.inverter_line(self.model, self.aligner, self.methods)

    # ---- inverting ----

    @outside_inference_mode
    def invert(
        self,
        image: Images,
        *,
        method: registry.MethodLike | None = None,
        start: registry.Start | str | None = None,
        steps: registry.Steps | None = None,
        seed: int | None = None,
        align: Align = "auto",
        face: Face = "largest",
        landmarks: Landmarks | None = None,
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
                face is aligned already or, with a warning, where none is detected (`align.decision.decide`), and
                records its choice in `Inversion.sources`; True aligns; False takes every image as an aligned crop.
            face: which of several detected faces: the largest, the one nearest to the center, an index into the
                aligner's list, or "all": a batch of them, which `Inversion.paste_back` pastes back together.
            landmarks: [68,2] or [5,2] points in pixels of the upright photo; for a list of images, one for each.
            batch_size: images that go through the networks together; None is 8.
            on_error: "skip" leaves out images that fail and lists them in `Inversion.failures`.
            intermediates: keep the reconstructions before and after each step of a network.
            callback: called at every step with a `Step` (`inversion.optimize`): `step`, `steps`, `image` and, where a
                method optimizes, `loss`.
            progress: show a progress bar over batches, with step and loss.

        Raises:
            ImageError: an image cannot be read. AlignmentError: it cannot be aligned.
            MethodError: an unknown method, or one whose weights the model lacks.
            ConfigError: wrong arguments.
            MissingDependencyError: a perceptual loss is needed, and there is neither that of the model nor LPIPS.

        Warns:
            MemoryWarning: a batch did not fit into the memory of an optimizing method and was split.
            QualityWarning: before inverting, of square images that are taken as crops with no face seen in them; once,
                where crops (`align.prepare`) or reconstructions (`L2_WARN_THRESHOLD`, `START_L2_WARN_THRESHOLD`) look
                wrong; and for so many steps of a network that they get worse.
        """
        if batch_size is not None and (not isinstance(batch_size, Integral) or batch_size < 1):
            raise ConfigError(f"batch_size={batch_size}: expected a whole number, 1 or more.")
        model = self.model
        chain = registry.resolve_method(model, method, start, steps=steps, seed=seed, keep_intermediates=intermediates)
        prepared, failures = prepare_all(
            image, model.domain, aligner=self.aligner, align=align, face=face, landmarks=landmarks, on_error=on_error
        )
        batches, on_step = _batches(prepared, batch_size, callback, progress)
        parts = []
        for batch in batches:
            crop = _stack(batch, model.device)
            initial = self._start(chain, crop, tuple(image.source for image in batch))
            refined = chain(crop, initial, callback=on_step)
            parts.append(refined if refined.stored_metrics else with_metrics(refined))
        inversion = parts[0] if len(parts) == 1 else Inversion.cat(parts)  # one part keeps its image
        threshold = START_L2_WARN_THRESHOLD if not chain.parts or steps == 0 else L2_WARN_THRESHOLD
        _warn_of_quality(prepared, inversion.stored_metrics.get("l2", ()), threshold)
        return replace(inversion, failures=failures) if failures else inversion

    def _start(self, chain: registry.MethodChain, crop: Tensor, sources: tuple[Provenance, ...]) -> Inversion:
        """The inversion of crops [B,3,h,w] with the codes of the method's start, before any refinement."""
        with torch.no_grad():
            codes = chain.start(crop.to(self.model.dtype))  # [B,D] or [B,L,D]
            w = self.model.generator.broadcast(codes).contiguous()  # [B,L,D]
        return Inversion(self.model, w, crop=crop, sources=sources, method=chain.start_name, start=chain.start_name)


def _stack(batch: Sequence[Prepared], device: torch.device) -> Tensor:
    """The crops [B,3,h,w] of a batch on a device."""
    # Only from pinned memory do copies to a GPU run on while the next ones are requested.
    return torch.stack([image.crop.to(device, non_blocking=image.crop.is_pinned()) for image in batch])


def _batches(
    prepared: list[Prepared], batch_size: int | None, callback: Callable[..., None] | None, progress: bool
) -> tuple[Iterable[list[Prepared]], Callable[..., None] | None]:
    """The images in batches, and the callback; with progress, both update a bar that shows each step as text."""
    size = int(batch_size or DEFAULT_BATCH_SIZE)
    batches = [prepared[first : first + size] for first in range(0, len(prepared), size)]
    if not progress:
        return batches, callback
    from tqdm import tqdm

    bar = tqdm(batches, desc="inverting", unit="batch")

    def show_step(step: Any) -> None:
        bar.set_postfix_str(registry.describe_step(step))
        if callback is not None:
            callback(step)

    return bar, show_step


def _warn_of_quality(prepared: Sequence[Prepared], l2: Sequence[float], threshold: float) -> None:
    """Warns once of images whose crop looks wrong, or whose L2 against it is above the threshold or NaN."""
    sentences = []
    for image, error in zip(prepared, l2 or [0.0] * len(prepared), strict=True):
        doubts = [image.doubt] if image.doubt else []
        if not error <= threshold:
            doubts.append(f"the reconstruction is far from its crop (L2 {error:.2g}, usually below {threshold:g})")
        if doubts:
            sentences.append(f"{image.source.name!r}: {' and '.join(doubts)}.")
    if sentences:
        more = f" And {len(sentences) - 3} more." if len(sentences) > 3 else ""
        warn(
            f"{len(sentences)} of {len(prepared)} image(s) may have come out wrong. {' '.join(sentences[:3])}{more} "
            "Look at the crop; landmarks=... or another face=... may give a better one.",
            QualityWarning,
        )
