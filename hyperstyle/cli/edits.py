"""`hyperstyle edits`: the edits of a model; `hyperstyle edits add`: one more, from a file or folder."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

from hyperstyle.cli.arguments import ModelArguments, load_inverter
from hyperstyle.cli.flags import add_command, flag, positional, switch
from hyperstyle.errors import ConfigError, EditError, MissingFileError

if TYPE_CHECKING:
    from hyperstyle.edits import Edit
    from hyperstyle.model.parts import Model

_FILE = "hyperstyle.json"
_READING = ("component", "rows", "relative", "invert", "halved", "low", "high", "unit")  # arguments of `load_edit`


def _rows(text: str) -> tuple[int, int]:
    """Reads `3:6`. Raises argparse.ArgumentTypeError for anything else."""
    first, colon, end = text.partition(":")
    if not colon or not (first.isdecimal() and end.isdecimal()) or int(first) >= int(end):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of rows: expected FIRST:END like 3:6")
    return int(first), int(end)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditsArguments(ModelArguments):
    """Lists the edits of a model: space, range, unit, source, and which generator they were made for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddArguments:
    """Puts an edit into a model folder: a folder that `hyperstyle fit` wrote, or a published file of InterFaceGAN
    (.pt, .npy; of several directions in one file the one called NAME), GANSpace (.pt, .npz, .pkl) or a StyleCLIP
    mapper (.pt). Nothing of the file is executed. Published files do not tell which generator they are for: that it is
    this one, you must know, and it is noted so.
    """

    file: Path = positional(metavar="FILE", help="the file, or the folder of a saved edit")
    model: str = flag(  # after the action, or as that of `EditsArguments` before it
        default=argparse.SUPPRESS, metavar="DIR", help="folder of a model of your own, or an installed model"
    )
    name: str = flag(required=True, help="what the edit is called; for GANSpace files a published name, cube")
    component: int | None = flag(help="of GANSpace components, which one, from 0 on")
    rows: tuple[int, int] | None = flag(
        type=_rows, metavar="FIRST:END", help="rows of the code that it moves, END not included"
    )
    relative: bool = switch("GANSpace: add deviations, do not set the coordinate")
    invert: bool = switch("GANSpace: go to the other side of the mean")
    halved: bool = switch("add half of the direction, as PTI and HyperInverter do")
    low: float | None = flag(help="sensible strengths begin here")
    high: float | None = flag(help="sensible strengths end here")
    unit: str | None = flag(help="what one unit of strength means")
    other_model: bool = switch("take an edit that was made for another generator")


def run(args: EditsArguments) -> int:
    """Prints the edits of the model."""
    model = load_inverter(args).model
    print("\n".join(_lines(name, edit, model) for name, edit in sorted(model.edits.items())) or "none")
    return 0


def _add(args: AddArguments) -> int:
    """Reads the edit, tries it on the model, and writes it into the folder."""
    folder = _own_folder(Path(args.model))
    if not re.fullmatch(r"\w[\w .+-]*", args.name):
        raise ConfigError(
            f"--name {args.name!r}: expected a name for a folder, of letters, digits, spaces and _ . + -."
        )
    import torch

    from hyperstyle.edits import load_edit
    from hyperstyle.inversion.editing import adopt_edit
    from hyperstyle.model.folder import add_to_folder, read_model

    model = read_model(folder, device=torch.device("cpu"), dtype=torch.float32)
    if args.name in model.edits:
        raise EditError(f"{folder} has an edit named {args.name!r} already. Choose another --name.")
    options = {name: getattr(args, name) for name in _READING}
    edit = load_edit(args.file, name=args.name, width=model.generator.config.latent_width, **options)
    edit = adopt_edit(model, edit, other_model=args.other_model)
    add_to_folder(folder, edits={args.name: edit}, networks={})
    print(_lines(args.name, edit, model))
    return 0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    help = "list a model's edits, or add a published or fitted one"
    parser = add_command(subparsers, "edits", EditsArguments, run, help=help)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    add_command(actions, "add", AddArguments, _add, help="put an edit into a model folder")


def _own_folder(folder: Path) -> Path:
    """The folder of a model that is the user's own, or an installed one of this name.

    Raises:
        ConfigError: it is the bundled model. MissingFileError: it holds no model.
    """
    from hyperstyle.io import installed
    from hyperstyle.io.files import finish_replacing
    from hyperstyle.io.hub import BUNDLED

    if str(folder) in BUNDLED or folder.resolve() in {bundled.resolve() for bundled in BUNDLED.values()}:
        raise ConfigError(
            f"--model {str(folder)!r} is the bundled model, which stays as it is. Save a copy of it with "
            "`HyperStyleInverter().save_pretrained(DIR)` and add the edit there."
        )
    if not folder.is_dir() and (installed_folder := installed.find(str(folder))) is not None:
        return installed_folder
    finish_replacing(folder)
    if not (folder / _FILE).is_file():
        raise MissingFileError(f"--model {str(folder)!r} is no folder of a model: it has no {_FILE}.")
    return folder


def _lines(name: str, edit: Edit, model: Model) -> str:
    """Some lines about one edit."""
    info = edit.info
    made_for = f"another generator ({info.model})"
    if not info.model:
        made_for = "not known"
    elif info.model == model.generator_fingerprint:
        made_for = f"this generator ({info.model})"
    elif info.model in model.ancestors:
        made_for = f"its ancestor ({info.model})"
    moves = _rows_or_layers(edit)
    lines = {
        "space": "w" if info.space == "w" else "styles (StyleSpace)",
        "range": f"{info.low:g} to {info.high:g} {info.unit}",
        **({"moves": moves} if moves else {}),
        "strength": "relative: 0 is no edit" if info.relative else "absolute: sets a coordinate",
        "source": info.source or "-",
        "made for": made_for,
    }
    return "\n".join([name, *(f"  {what:<8}  {value}" for what, value in lines.items())])


def _rows_or_layers(edit: Edit) -> str:
    """Which rows of the code or layers it moves; "" for other edits."""
    from hyperstyle.edits import DirectionEdit, GanspaceEdit, StyleEdit

    if isinstance(edit, StyleEdit):
        return f"styles of {', '.join(edit.changes) or 'no layer'}"
    if isinstance(edit, DirectionEdit | GanspaceEdit):
        return "all rows" if edit.rows is None else f"rows {edit.rows[0]} to {edit.rows[1] - 1}"
    return ""
