"""Inversions that HyperStyle's inference script wrote: `latents.npy` and `weight_deltas/` -> `Inversion`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hyperstyle.align.source import Provenance
from hyperstyle.errors import InversionError, did_you_mean
from hyperstyle.inversion.exports import DELTAS, LATENTS, official_stem
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.io.npy_objects import load_arrays, load_named_arrays
from hyperstyle.model.parts import HasModel, Model
from hyperstyle.networks.hypernetworks.codes import OffsetCodes


def official_names(path: str | Path) -> tuple[str, ...]:
    """File names of the images in a folder of the official layout, or in a `latents.npy`. Raises CheckpointError."""
    return tuple(load_named_arrays(_latents(Path(path))))


def load_official(path: str | Path, inverter: HasModel, *, names: Sequence[str] | None = None) -> Inversion:
    """Reads what HyperStyle's inference script wrote; nothing of the files is executed.

    The files do not say which model they were made with; only shapes are compared. The offsets stay dense, 94 MB for
    each image of 1024 px with the published layers.

    Args:
        path: the folder with `latents.npy` and `weight_deltas/`; or a `latents.npy` alone, for codes without offsets.
        inverter: holds the model.
        names: file names of the images to read, in this order; None reads all.

    Raises:
        MissingFileError: `latents.npy`, or the offsets of an image, are missing.
        CheckpointError, WeightsError: a file cannot be read, or holds anything but arrays of numbers.
        InversionError: an unknown name, no image, images that share a file of offsets, or codes or offsets for
            another generator.
    """
    path, model = Path(path), inverter.model
    file = _latents(path)
    latents = load_named_arrays(file)
    chosen = list(latents if names is None else names)
    if unknown := [name for name in chosen if name not in latents]:
        raise InversionError(f"no image {unknown[0]!r} in {file}. {did_you_mean(unknown[0], latents)}")
    if not chosen:
        raise InversionError(f"no image was read from {file}: it holds {len(latents)}.")
    expected = (model.generator.config.rows, model.generator.config.latent_width)
    for name in chosen:
        same = [other for other in latents if other != name and official_stem(other) == official_stem(name)]
        if same and os.path.isdir(path):
            raise InversionError(
                f"{file} has codes of {same[0]!r} and {name!r}, whose offsets share one file: it does not say whose "
                f"they are. Read the codes alone, from {file}."
            )
        if latents[name].shape != expected:
            raise InversionError(
                f"{file}: the codes of {name!r} have the shape {latents[name].shape}; this model's have {expected}. "
                "Use the model they were made with."
            )
    w = torch.stack([torch.tensor(latents[name]) for name in chosen]).to(model.device, model.dtype)
    codes = None
    if os.path.isdir(path):
        parts = [_offsets(path / DELTAS / f"{official_stem(name)}.npy", model) for name in chosen]
        if any(parts):
            single = OffsetCodes.none(w[:1])
            codes = OffsetCodes.cat([replace(single, dense=part) for part in parts])
    sources = tuple(Provenance(name, "imported") for name in chosen)
    return Inversion(model, w, codes, sources=sources, method="imported", start="imported")


def _latents(path: Path) -> Path:
    return path / LATENTS if os.path.isdir(path) else path


def _offsets(file: Path, model: Model) -> dict[str, Tensor]:
    """Layer name -> [1,O,I,k,k]."""
    arrays, layers = load_arrays(file), model.generator.layers
    if len(arrays) != len(layers):
        raise InversionError(
            f"{file} has offsets for {len(arrays)} layers; this model's generator has {len(layers)}. Use the model "
            "they were made with."
        )
    offsets = {}
    for spec, array in zip(layers, arrays, strict=True):
        if array is None:
            continue
        expected = (spec.channels_out, spec.channels_in, spec.kernel, spec.kernel)
        if array.shape != expected:
            raise InversionError(
                f"{file}: the offsets of layer {spec.index} have the shape {array.shape}; this model's {spec.name} has "
                f"{expected}. Use the model they were made with."
            )
        offsets[spec.name] = torch.tensor(array).to(model.device, model.dtype)[None]
    return offsets
