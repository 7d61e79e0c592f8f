"""What belongs to a model besides the networks of its checkpoint: published edits, and MTCNN as its own aligner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from hyperstyle.convert.parts import PathLike
from hyperstyle.edits import StoredEdit, load_edit
from hyperstyle.errors import ConfigError
from hyperstyle.inversion.editing import adopt_edit
from hyperstyle.model.folder import add_to_folder, read_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.perception.mtcnn import load_mtcnn


def with_extras(model: Model, *, edits: Mapping[str, PathLike], mtcnn: PathLike | None) -> Model:
    """The model with edits from published files, which must be for its generator (`adopt_edit`), and with MTCNN.

    Args:
        model: the model; its own edits stay, those of the same names excepted.
        edits: name -> file that `edits.load_edit` reads.
        mtcnn: folder with MTCNN's weights, see `load_mtcnn`; None leaves the aligner as it is.

    Raises:
        EditError: a file holds no edit, or none for this generator.
        MissingFileError, CheckpointError, WeightsError: a file is not there or cannot be used.
        MissingDependencyError: for the files of the package mtcnn: lz4 is not installed.
        ConfigError: an aligner for a domain whose images are not aligned.
    """
    model = replace(model, edits={**model.edits, **_read_edits(model, edits)})
    if mtcnn is None:
        return model
    if model.domain.aligner != "face":
        raise ConfigError(f"MTCNN finds faces, and images of the domain {model.domain.name!r} are not aligned by them.")
    return model.with_parts(mtcnn=load_mtcnn(Path(mtcnn)))


def add_extras(folder: Path, *, edits: Mapping[str, PathLike], mtcnn: PathLike | None) -> list[str]:
    """Adds edits and an aligner to the model in a folder, all or nothing.

    Edits of a name that the model has already stay as they are, and so does an aligner of its own. The arguments are
    those of `with_extras`.

    Returns:
        What was added: names of edits, and "mtcnn"; [] if nothing was.

    Raises:
        HyperStyleError: what `model.folder.read_model` and `with_extras` raise.
        CheckpointError: the folder cannot be written.
    """
    model = read_model(folder, device=torch.device("cpu"), dtype=torch.float32)
    new = {name: file for name, file in edits.items() if name not in model.edits}
    has_aligner = model.aligner is not None or "mtcnn" in model.parts
    extended = with_extras(model, edits={}, mtcnn=None if has_aligner else mtcnn)
    networks = {name: network for name, network in extended.parts.items() if name not in model.parts}
    add_to_folder(folder, edits=_read_edits(model, new), networks=networks)
    return [*new, *networks]


def _read_edits(model: Model, files: Mapping[str, PathLike]) -> dict[str, StoredEdit]:
    """The edits in the files, by name, each tried on the model's generator. Raises as `with_extras` does."""
    width = model.generator.config.latent_width
    return {name: adopt_edit(model, load_edit(Path(file), name=name, width=width)) for name, file in files.items()}
