"""Edits from files: our own folders, and the direction files that others publish, of which nothing is executed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperstyle.edits.catalog import ganspace_names
from hyperstyle.edits.direction import rows_from
from hyperstyle.edits.ganspace import Components, exported_edit
from hyperstyle.edits.interfacegan import direction_edit
from hyperstyle.edits.mapper import load_mapper
from hyperstyle.edits.protocol import StoredEdit
from hyperstyle.edits.store import load_folder
from hyperstyle.errors import EditError, MissingFileError, did_you_mean, with_article
from hyperstyle.io.file_kind import file_kind, refusal
from hyperstyle.io.pickle_reader import load_pickle
from hyperstyle.io.torch_files import as_tensor, load_content, load_npz, load_numbers

_ARRAYS = ("mean", "comp", "std", "lat_mean", "lat_comp", "lat_stdev")  # what is read of a .npz
_MAPPER = re.compile(r"(_orig_mod\.|module\.)*mapper\.")
_UNNAMED = ("direction", "boundary", "edit_direction", "latent_direction", "w")  # keys that say nothing of the edit


def load_edit(
    path: str | Path,
    *,
    name: str | None = None,
    component: int | None = None,
    rows: tuple[int, int] | None = None,
    relative: bool = False,
    invert: bool = False,
    halved: bool = False,
    width: int = 512,
    low: float | None = None,
    high: float | None = None,
    unit: str | None = None,
    model: str = "",
) -> StoredEdit:
    """The edit in a folder of this library or in a published file; the content decides what the file is.

    - A folder gives the edit as it was saved.
    - InterFaceGAN's `.pt` or `.npy` of [1,D], [D], [L,D], [1,L,D] or [1,L*D] gives a `DirectionEdit`.
    - A dictionary of such directions, `.pt` or `.pkl`, gives the `DirectionEdit` of `name`, or the only one.
    - GANSpace components, `.pt`, `.npz` or `.pkl`, give a `GanspaceEdit`; with `relative` a `DirectionEdit`.
    - An edit that GANSpace's tool exported, `.pkl`, gives a `DirectionEdit`.
    - A latent mapper of StyleCLIP, `.pt`, gives a `MapperEdit`.

    Args:
        path: the folder or file.
        name: what to call it. For GANSpace components without `component`: a published name, "cube". For a dictionary
            of several directions: which one.
        component: of GANSpace components, which one, from 0 on.
        rows: (first, end) rows of the code that it moves; None is all, or what a published name says.
        relative: for GANSpace components, add deviations instead of setting the coordinate.
        invert: for GANSpace components, see `GanspaceEdit`.
        halved: for directions, add half of it, as PTI and HyperInverter do.
        width: of the codes, D.
        low, high: sensible strengths; None takes the common ones for the kind of edit.
        unit: what one unit of strength means; None takes the description for the kind of edit.
        model: fingerprint of the generator it was made for; published files do not contain it.

    Raises:
        MissingFileError: there is no such folder or file.
        EditError: the file is no edit, is for another width, or an option does not go with it.
        CheckpointError: it cannot be read, is damaged, or asks for anything but numbers (it is then not executed).
    """
    path = Path(path)
    described = {"name": name, "low": low, "high": high, "unit": unit, "model": model or None}
    described = {key: value for key, value in described.items() if value is not None}
    options = {"component": component is not None, "relative": relative, "invert": invert, "halved": halved}
    options["rows"] = rows is not None

    def allow(what: str, *allowed: str) -> None:
        if wrong := [option for option, is_given in options.items() if is_given and option not in allowed]:
            raise EditError(f"{path} is {what}, and {', '.join(wrong)} does not go with that. Leave it out.")

    if os.path.isdir(path):  # unlike Path's, it is False for any name that cannot be
        allow("a saved edit")
        return load_folder(path).with_info(**described)
    content, key = _direction(_content(path), name, width, path)
    rows = rows_from(rows, name or path.name)
    edit: StoredEdit
    if isinstance(content, Tensor):
        allow("a direction", "halved", "rows")
        edit = direction_edit(
            content,
            name=name or (path.stem.removesuffix("_boundary") if key in (None, *_UNNAMED) else key),
            width=width,
            where=str(path) if key is None else f"{path}: {key!r}",
            source=f"InterFaceGAN, {path.name}",
            rows=rows,
            halved=halved,
        )
    elif _is_mapper(content):
        allow("a latent mapper")
        edit = load_mapper(path)
    elif isinstance(content, Mapping) and "edit_start" in content:
        allow("an edit of one component")
        edit = exported_edit(content, where=path.name, name=name)
        _check_width(edit.direction, width, path)
    elif isinstance(content, Mapping) and {"comp", "lat_comp"} & content.keys():
        allow("a set of components", "component", "relative", "invert", "rows")
        components = Components.of(content, str(path))
        _check_width(components.mean, width, path)
        edit = _component_edit(components, path.name, name, component, rows, relative=relative, invert=invert)
    else:
        raise EditError(f"{path} holds no edit: {_describe_content(content)}")
    return edit.with_info(**described)


def _content(path: Path) -> Any:
    """What the file holds; a lone array as a tensor."""
    if not os.path.exists(path):
        raise MissingFileError(f"{path} is not a folder, nor a file: expected one of an edit. Check the name.")
    kind = file_kind(path)
    if kind == "safetensors":
        raise EditError(f"{path} is a part of an edit: pass the folder that holds it and config.json.")
    if path.suffix.lower() == ".npz":
        return load_npz(path, _ARRAYS)
    if kind in ("PyTorch", "old PyTorch"):
        return load_content(path, mmap=True)  # of a mapper's checkpoint only the keys are looked at here
    if kind == "pickle":
        return load_pickle(path)
    if path.suffix.lower() == ".npy":
        array = load_numbers(path)
        if array.dtype.kind != "f":
            raise EditError(f"{path} holds numbers of type {array.dtype}: expected floating-point numbers.")
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
    raise refusal(path, kind, "file of an edit (a folder, .pt, .npy, .npz or .pkl)")


def _direction(content: Any, name: str | None, width: int, path: Path) -> tuple[Any, str | None]:
    """The direction in a dictionary of directions, and its name there; other content as it is, arrays as tensors.

    Raises:
        EditError: there are several, and `name` is none of them.
    """
    if isinstance(content, Mapping):
        if _is_mapper(content) or {"edit_start", *_ARRAYS} & content.keys():
            return content, None
        tensors = {str(key): tensor for key, value in content.items() if (tensor := as_tensor(value)) is not None}
        fit = {k: t for k, t in tensors.items() if t.ndim and t.shape[-1] % width == 0 and t.is_floating_point()}
        directions = fit or {key: tensor for key, tensor in tensors.items() if tensor.ndim}
        odd = [k for k in tensors if k not in fit and not isinstance(content.get(k), list | tuple)]
        if not directions or (odd and len(tensors) > 1):  # the weights of a network, say
            return content, None
        key = name if name in directions or len(directions) > 1 else next(iter(directions))
        if key is None or key not in directions:
            asked = f"{name!r} is none of them" if name else "none was named"
            raise EditError(
                f"{path} holds {len(directions)} directions, and {asked}: name one, as in load_edit(..., name=...), or "
                "put it into a model folder, `hyperstyle edits add FILE --name NAME`. "
                f"{did_you_mean(name or '', directions)}"
            )
        return directions[key], key
    tensor = None if isinstance(content, list | tuple) else as_tensor(content)
    return (content if tensor is None else tensor), None


def _is_mapper(content: object) -> bool:
    state = content.get("state_dict") if isinstance(content, dict) else None
    return isinstance(state, dict) and any(_MAPPER.match(str(key)) for key in state)


def _component_edit(
    components: Components,
    file: str,
    name: str | None,
    component: int | None,
    rows: tuple[int, int] | None,
    *,
    relative: bool,
    invert: bool,
) -> StoredEdit:
    """The edit along one component: by number, or by the name of a published edit."""
    known, reach = ganspace_names(file), 3.0
    if component is None:
        if name not in known:
            asked = f"{name!r} is no published name for it" if name else "say which one"
            raise EditError(
                f"{file} holds {len(components.std)} components: {asked}. Give component= (and rows=), or one of the "
                "published names; on the command line: hyperstyle edits add FILE --component K --rows FIRST:END. "
                f"{did_you_mean(name or '', known)}"
            )
        entry = known[name]
        component, rows, reach = entry.component, rows or entry.rows, entry.reach
        invert = invert or (entry.invert and not relative)
    else:
        for published, entry in known.items():
            if (entry.component, entry.rows, entry.invert) == (component, rows, invert):
                name, reach = name or published, entry.reach
                break
    moved = "all rows" if rows is None else f"rows {rows[0]} to {rows[1] - 1}"
    return components.edit(
        component,
        name=name or f"component_{component}",
        rows=rows,
        relative=relative,
        invert=invert,
        low=-reach,
        high=reach,
        source=f"GANSpace, {file}: component {component}, {moved}",
    )


def _check_width(axis: Tensor, width: int, path: Path) -> None:
    if axis.shape != (width,):
        raise EditError(
            f"{path} is for codes of width {len(axis)}, not {width}: it was made for another generator. For codes of "
            "that width give width=."
        )


def _describe_content(content: object) -> str:
    if isinstance(content, (list, tuple)) and len(content) == 2 and all(isinstance(part, list) for part in content):
        return "two lists, as StyleCLIP's S_mean_std; load it with `StyleClip.from_files`."
    if isinstance(content, Mapping):
        names = ", ".join(map(str, list(content)[:5])) or "none of the entries of GANSpace components"
        return (
            f"found {names}; expected mean, comp and std, or lat_mean, lat_comp and lat_stdev of GANSpace, or "
            "directions by name."
        )
    return f"found {with_article(type(content))}; expected a direction, GANSpace components or a latent mapper."
