"""Inversions and generators in the file formats of others."""

from __future__ import annotations

import copy
from pathlib import Path, PureWindowsPath
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperstyle.align.source import Provenance
from hyperstyle.errors import ConfigError, InversionError
from hyperstyle.inversion.pickling import Portable
from hyperstyle.inversion.synthesis import baked, dense_offsets
from hyperstyle.io.components import save_tensors, save_torch
from hyperstyle.io.file_kind import check_export
from hyperstyle.io.files import make_folder
from hyperstyle.io.npy_objects import load_named_arrays, save_arrays, save_named_arrays
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import Generator, LayerSpec

LATENTS = "latents.npy"
DELTAS = "weight_deltas"
_PORT_MAPPING_RATE = 0.01  # the learning-rate multiplier of its mapping network is no number of the file


def export(inversion: Portable, path: str | Path, form: Literal["generator", "official", "offsets"]) -> None:
    """Writes an inversion for other programs.

    Args:
        inversion: a single image; other than as a generator also a batch.
        path: a file; for "official" a folder.
        form: "generator" is its `baked_generator` as `save_generator` writes it, with the codes [L,D] under "w";
            "official" the files that HyperStyle's inference script writes, see below; "offsets" a safetensors file of
            "w" [B,L,D] and the dense offsets by layer name, [B,O,I,k,k] or, where all taps are equal, [B,O,I,1,1].

    The official form is a folder of `latents.npy`, a dictionary of codes [L,D] by file name, and
    `weight_deltas/NAME.npy`, a row of [O,I,k,k] or None in the official order of layers: 94 MB for each image of
    1024 px with the published layers. NAME is the image's file name up to the first dot; images that came from no
    file are "picture_1", ... Other images of the folder stay; those of the same name are replaced. `latents.npy` is
    written last.

    Raises:
        ConfigError: another form.
        InversionError: a batch as a generator; StyleSpace edits or a mask, which no form can hold; other changes than
            relative offsets, which a generator alone can hold; images of the same NAME; a folder of another generator.
        CheckpointError: the folder cannot be made, or its `latents.npy` cannot be read.
        HyperStyleError: a file cannot be written, or its name is that of an image or another kind of file.
    """
    check_export(path, form)
    _check_exportable(inversion)
    if form != "generator" and inversion.overrides:
        raise InversionError(
            f"its method changed weights, parameters or noise maps besides relative offsets, which the form {form!r} "
            "cannot hold. Export it as form='generator', or keep its .safetensors file."
        )
    if form == "generator":
        save_generator(baked_generator(inversion), path, w=inversion.w[0])
    elif form == "official":
        _save_official(inversion, Path(path))
    elif form == "offsets":
        network = inversion.model.hypernetwork
        tensors = {"w": inversion.w.contiguous(), **dense_offsets(inversion.offset_codes, network)}
        save_tensors(Path(path), tensors, {"format": "hyperstyle-offsets/1"})
    else:
        raise ConfigError(f"form={form!r}: expected 'generator', 'official' or 'offsets'.")


def save_generator(generator: StyleGenerator, path: str | Path, *, w: Tensor | None = None) -> None:
    """Writes a generator as the common PyTorch port does: a `.pt` file {"g_ema": tensors by name, "latent_avg": [D]}.

    HyperStyle's code and `hyperstyle.convert.read_generator` read it. Float32, on the CPU, atomic.

    Args:
        generator: its tensors have the names of that port already.
        path: the file.
        w: codes [L,D] to keep beside it under "w", which readers of generators pass over.

    Raises:
        ConfigError: a StyleGAN, which that port has no names for.
        HyperStyleError: the file cannot be written, or its name is that of an image or another kind of file.
    """
    check_export(path, "generator")
    if not isinstance(generator, Generator):
        raise ConfigError("a StyleGAN cannot be written as a StyleGAN2. Save the inversion or its model instead.")
    # Copies: saving a part of a larger storage would save all of it.
    state = {k: v.detach().to("cpu", torch.float32, copy=True) for k, v in generator.state_dict().items()}
    for name in state:
        if name.startswith("style."):
            state[name] *= generator.config.mapping_rate / _PORT_MAPPING_RATE
    content: dict[str, object] = {"latent_avg": state.pop("latent_avg"), "g_ema": state}
    if w is not None:
        content["w"] = w.detach().to("cpu", torch.float32, copy=True)
    save_torch(path, content)


def baked_generator(inversion: Portable) -> StyleGenerator:
    """A generator of its own for a single image: its offsets are multiplied into the weights, W * (1 + Δ) (Eq. 5).

    Residuals, tuned parameters and noise maps of other methods are in it too.

    `baked_generator(inversion)(inversion.w)` is the generator's whole image; `Domain.content` gives the rows that
    `Inversion.tensor` has.

    Raises:
        InversionError: a batch; StyleSpace edits or a mask, which are no change of weights.
    """
    if (count := len(inversion)) != 1:
        raise InversionError(f"a generator of a batch of {count}: each image has its own, index the batch.")
    _check_exportable(inversion)
    generator = copy.deepcopy(baked(inversion.model, inversion.state)[0])
    stored_maps = list(generator.noises.buffers())
    with torch.no_grad():
        for stored, noise in zip(stored_maps, inversion.overrides.noise or stored_maps, strict=True):
            stored.copy_(noise)
    return generator


def official_stem(name: str) -> str:
    """What HyperStyle's scripts call the offsets of an image: its file name up to the first dot."""
    return PureWindowsPath(name).name.split(".", 1)[0]  # knows both kinds of slashes


def _check_exportable(inversion: Portable) -> None:
    if inversion.style_offsets:
        raise InversionError(
            f"it has StyleSpace edits (of {', '.join(inversion.style_offsets)}), which no form but save() can hold. "
            "Export it without them."
        )
    if inversion.mask is not None:
        raise InversionError(
            "its edits have a mask, which no form but save() can hold. Edit it without one, or keep its file."
        )


def _save_official(inversion: Portable, folder: Path) -> None:
    latents = load_named_arrays(folder / LATENTS) if (folder / LATENTS).exists() else {}
    sources = inversion.sources or (Provenance(""),) * len(inversion)
    names = [_file_name(source.name, i) for i, source in enumerate(sources)]
    for i, name in enumerate(names):
        stem = official_stem(name).casefold()
        taken_names = [*names[:i], *(existing for existing in latents if existing != name)]
        if same := [existing for existing in taken_names if official_stem(existing).casefold() == stem]:
            raise InversionError(
                f"the offsets of {same[0]!r} and {name!r} would both be in {official_stem(name) + '.npy'!r} of "
                f"{str(folder / DELTAS)!r}: names count up to the first dot. Rename an image, or use another folder."
            )
    codes = inversion.w.detach().to("cpu", torch.float32).numpy()
    if latents and (shape := next(iter(latents.values())).shape) != codes.shape[1:]:
        raise InversionError(
            f"{folder / LATENTS} holds codes of shape {shape}, these have {codes.shape[1:]}: they belong to another "
            "generator. Use another folder."
        )
    make_folder(folder / DELTAS)
    for i, name in enumerate(names):  # the dense offsets of one image at a time
        single = inversion.state.take(slice(i, i + 1))
        offsets = dense_offsets(single.offset_codes, inversion.model.hypernetwork)
        rows = [_taps(offsets[s.name], s) if s.name in offsets else None for s in inversion.model.generator.layers]
        save_arrays(folder / DELTAS / f"{official_stem(name)}.npy", rows)
    save_named_arrays(folder / LATENTS, {**latents, **dict(zip(names, codes, strict=True))})


def _taps(offset: Tensor, layer: LayerSpec) -> npt.NDArray[np.float32]:
    """Δ of one image as [O,I,k,k]; taps that are equal share their memory until the file is written."""
    shape = (1, layer.channels_out, layer.channels_in, layer.kernel, layer.kernel)
    array: npt.NDArray[np.float32] = offset.detach().to("cpu", torch.float32).expand(shape)[0].numpy()
    return array


def _file_name(source: str, i: int) -> str:
    """The file name of a path; "picture_N" for what came from no file."""
    name = PureWindowsPath(source).name
    return name if official_stem(name) and (name != source or "." in name) else f"picture_{i + 1}"
