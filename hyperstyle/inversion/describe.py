"""Descriptions of models, edits and inversions: lines of text, and an image for notebooks."""

from __future__ import annotations

import io
from collections import UserDict
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import torch
from PIL import Image

from hyperstyle.align import LandmarkDetector
from hyperstyle.align.aligners import AutoDetector
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.edits import Edit
from hyperstyle.images import image_grid
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.model.parts import ALIGNER, Model

_COLUMNS = 6
_MOST = 24  # images of a batch that a notebook shows


class Edits(UserDict[str, Edit]):
    """The edits of a model by name, the very mapping that the model has; it lists them with their ranges."""

    def __init__(self, edits: Mapping[str, Edit]) -> None:
        self.data = edits  # type: ignore[assignment]  # not copied

    def __repr__(self) -> str:
        if not self.data:
            return "<no edits>"
        width = max(map(len, self.data))
        rows = [
            f"  {name:{width}}  {edit.info.low:g} to {edit.info.high:g}  {edit.info.unit}"
            for name, edit in self.data.items()
        ]
        return "\n".join([f"<{len(rows)} edit{'s' if len(rows) > 1 else ''}:", *rows]) + ">"


def _precision(device: torch.device, dtype: torch.dtype) -> str:
    """`float32 on cpu`."""
    return f"{str(dtype).removeprefix('torch.')} on {device}"


def described(
    model: Model, aligner: LandmarkDetector | None, methods: Sequence[str], missing: Mapping[str, str]
) -> dict[str, Any]:
    """Domain, sizes, parts, methods and why others are missing, edits, source, licence, hashes, as plain values.

    Entries of `Model.info` that are named like one of the others are left out.
    """
    description = {
        "domain": model.domain.name,
        "description": model.domain.description,
        "size": model.generator.config.size,
        "content_size": list(model.domain.content_size),
        "input_size": list(model.domain.input_size),
        "aligner": _aligner_in_words(model, aligner),
        "latent_width": model.generator.config.latent_width,
        "rows": model.generator.config.rows,
        "steps": model.steps,
        "tuned_layers": list(model.hypernetwork.config.layers) if model.hypernetwork else [],
        "parameters": {n: sum(p.numel() for p in m.parameters()) for n, m in model.networks.items()},
        "methods": list(methods),
        "missing_methods": dict(missing),
        "edits": {
            n: {"low": e.info.low, "high": e.info.high, "unit": e.info.unit, "source": e.info.source}
            for n, e in model.edits.items()
        },
    }
    return description | {name: value for name, value in model.info.items() if name not in description}


def _aligner_in_words(model: Model, aligner: LandmarkDetector | None) -> str | None:
    kind, folder = type(aligner).__name__, model.aligner
    if isinstance(aligner, DlibDetector) and folder is not None and aligner.predictor == folder / ALIGNER[1]:
        return f"{kind}, with the model's own {' and '.join(ALIGNER)}"
    if isinstance(aligner, MtcnnDetector) and aligner.weights is not None and aligner.weights is model.mtcnn:
        return f"{kind}, with the model's own mtcnn"
    if isinstance(aligner, AutoDetector):
        return f"{kind}: dlib, where its published predictor is on this machine, else MTCNN"
    return None if aligner is None else kind


def inversion_line(inversion: Any) -> str:
    """How many images of which size, what made them, of which model, whether edited, and where."""
    count, size = len(inversion), ""
    if (key := inversion.missing_model) is None:
        model = inversion.model
        domain, place = model.domain.name, _precision(model.device, model.dtype)
        height, width = model.domain.content_size
        size = f" of {width}x{height} px"
    else:
        domain, place = key.domain, "its model is not loaded here"
    edited = "" if inversion.unedited is None else ", edited" if inversion.mask is None else ", edited within a mask"
    images = f"{count} image{'s' if count > 1 else ''}{size}"
    return f"<Inversion of {images}, {inversion.method}, {domain}{edited}, {place}>"


def inversion_png(inversion: Any) -> bytes | None:
    """The image of an inversion, or `grid_of` a batch, as a PNG file; None where its model is not loaded."""
    if inversion.missing_model is not None:
        return None
    if len(inversion) == 1:
        return _as_png(inversion.image)
    shown = inversion[:_MOST] if len(inversion) > _MOST else inversion
    paths = [PurePath(source.name) for source in inversion.sources] or [PurePath()] * len(inversion)
    names = [path.name if path.suffix else "" for path in paths]  # else the name is a kind of object, as "Tensor"
    return _as_png(grid_of(shown.images, names))


def inverter_line(model: Model, aligner: LandmarkDetector | None, methods: Sequence[str]) -> str:
    """Domain, size, default method, batch size, edits, aligner and where it runs."""
    height, width = model.domain.content_size
    parts = [f"{width}x{height} px", _precision(model.device, model.dtype)]
    if methods:
        steps = f" ({model.steps} steps)" if methods[0].endswith("hyperstyle") else ""
        parts.append(f"method {methods[0]!r}{steps}")
    parts += [f"batches of {DEFAULT_BATCH_SIZE}", f"{len(model.edits)} edits"]
    parts += [] if aligner is None else [f"faces found by {type(aligner).__name__}"]
    return f"<HyperStyleInverter {model.domain.name!r}: {', '.join(parts)}>"


def grid_of(images: Sequence[Image.Image], names: Sequence[str]) -> Image.Image:
    """The images of a batch in rows, each under its number and name; of many the first ones, and how many more."""
    captions = [f"{i} {name}".rstrip() for i, name in enumerate(names[:_MOST])]
    if len(names) > _MOST:
        captions[-1] += f" (and {len(names) - _MOST} more)"
    starts = range(0, len(captions), _COLUMNS)
    cell = max(128, *(max(image.size) for image in images)) if len(images) <= _COLUMNS else 160
    parts = [image_grid([images[i : i + _COLUMNS]], labels=captions[i : i + _COLUMNS], cell=cell) for i in starts]
    page = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), parts[0].getpixel((0, 0)))
    top = 0
    for part in parts:
        page.paste(part, (0, top))
        top += part.height
    return page


def _as_png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    memory = io.BytesIO()
    image.save(memory, format="PNG")
    return memory.getvalue()
