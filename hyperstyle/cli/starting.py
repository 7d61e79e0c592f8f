"""Inputs and edits of `hyperstyle edit` and `hyperstyle animate`: inversions or images, edits by name, file or text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperstyle.cli.arguments import (
    ALIGN,
    EditRequest,
    InversionArguments,
    ModelArguments,
    check_face_arguments,
    check_landmarks,
    landmarks_of,
    parse_edit,
    parse_layers,
)
from hyperstyle.cli.flags import flag, given_flags, switch
from hyperstyle.cli.inputs import check_no_overwrite, is_clip_file, is_inversion
from hyperstyle.errors import ConfigError, EditError, MissingFileError, did_you_mean

if TYPE_CHECKING:
    from hyperstyle.inversion.inversion import Inversion
    from hyperstyle.inversion.strips import Sweep
    from hyperstyle.inverter import HyperStyleInverter

__all__ = ["EditingArguments", "check_edits", "check_files", "check_several", "edits_flag", "start", "sweeps"]


def edits_flag(ranges: str) -> Any:
    """The flag `--edit`; `ranges` says in its help what a range gives."""
    return flag(
        "--edit",
        action="append",
        default=[],
        type=parse_edit,
        metavar="NAME=VALUE",
        help=f"may be repeated; NAME may be the file or folder of an edit; {ranges}",
    )


@dataclass(frozen=True, kw_only=True)
class EditingArguments(ModelArguments, InversionArguments):
    """The edits, what they are applied to, and whether the face goes back into its photo."""

    edits: list[EditRequest]
    texts: list[EditRequest] = flag(
        "--text",
        action="append",
        default=[],
        type=parse_edit,
        metavar="TEXT=VALUE",
        help='what the image should look like, "a smiling face=4"; the model needs StyleCLIP statistics',
    )
    neutral: str | None = flag(metavar="TEXT", help='what it looks like now (default: "a face")')
    beta: float | None = flag(help="with --text: channels of less relevance stay (default: 0.13)")
    layers: list[str | int] | None = flag(
        type=parse_layers,
        metavar="NAME,NAME",
        help="limit the edits to these layers, by name (b16.conv0) or official index",
    )
    other_model: bool = switch("take edits that were made for another generator")
    paste_back: bool
    photo: Path | None = flag(metavar="FILE", help="the photo again, to paste an inversion (.safetensors) back into")

    @property
    def ranges(self) -> list[str]:
        """The names of the edits that have a range of strengths."""
        return [edit.name for edit in (*self.edits, *self.texts) if edit.is_strip]

    @property
    def edit_options(self) -> dict[str, Any]:
        """`layers` and `other_model` as `Inversion.edit` takes them."""
        return {"layers": self.layers, "other_model": self.other_model}


def check_edits(args: EditingArguments) -> None:
    """Raises ConfigError for `--neutral` or `--beta` without `--text`."""
    if not args.texts and (flags := given_flags(args, "neutral", "beta")):
        raise ConfigError(f"{', '.join(flags)}: for --text, which is missing. Add it, or leave them out.")


def sweeps(args: EditingArguments, inverter: HyperStyleInverter) -> list[Sweep]:
    """The edits of `--edit`, then those of `--text`, each with its strength or strengths.

    Raises:
        EditError: no such edit, an edit for other codes, or a text for a model without statistics.
        ConfigError: a layer that the generator does not have.
    """
    from hyperstyle.edits import load_edit
    from hyperstyle.inversion.editing import text_edit

    for layer in args.layers or ():
        inverter.model.generator.layer(layer)
    requested: list[Sweep] = []
    for request in args.edits:
        if request.name in inverter.edits:
            requested.append((request.name, request.strengths))
        elif os.path.exists(request.name):  # unlike Path's, it is False for any name that cannot be
            width = inverter.model.generator.config.latent_width
            requested.append((load_edit(request.name, width=width), request.strengths))
        else:
            raise EditError(
                f"no edit named {request.name!r} in this model, nor a file or folder of that name. "
                f"{did_you_mean(request.name, inverter.edits)}"
            )
    for request in args.texts:
        edit = text_edit(inverter.model, request.name, args.neutral, args.beta)
        requested.append((edit, request.strengths))
    return requested


def check_files(args: EditingArguments, sources: list[Path], out: Path | None = None) -> None:
    """Checks, before any work, that inputs, photo and output go together.

    Raises:
        ConfigError: `--photo` or flags of inverting that would have no effect, no photo to paste an inversion back
            into, or a result that would replace an input.
        MissingFileError: an input is not there.
    """
    if args.photo is not None and not args.paste_back:
        raise ConfigError("--photo is for --paste-back, which is missing. Add it, or leave --photo out.")
    inverted = all(is_inversion(source) for source in sources)
    if not inverted:
        check_face_arguments(args)
        if args.paste_back and args.align == "no":
            raise ConfigError(
                "--paste-back with --align no, which takes images as they are: nothing is cut out that could be put "
                "back. Leave out one or the other."
            )
    files = [file for file in (*sources, args.photo) if file is not None]
    if out is not None:
        check_no_overwrite(files, [out], "the input")
    for file in files:
        if not file.exists():
            raise MissingFileError(f"there is no file {str(file)!r}. Check the name.")
    if not inverted:
        return
    if flags := given_flags(args, "steps", "align", "face", "landmarks", "sideways"):
        raise ConfigError(
            f"{', '.join(flags)}: for inverting an image, and {str(sources[0])!r} is inverted already. Leave out what "
            "is for that, or give the image."
        )
    if args.paste_back and args.photo is None:
        raise ConfigError(f"{str(sources[0])!r} does not hold the photo to paste back into: pass it with --photo.")


def check_several(args: EditingArguments, sources: list[Path]) -> None:
    """`check_files` for several inputs, and that no flag is for a single input.

    Raises:
        ConfigError: a clip among them, a flag for a single input, or one that would have no effect.
    """
    if clips := [source for source in sources if is_clip_file(source)]:
        raise ConfigError(f"{str(clips[0])!r} is a clip, and there are other inputs: edit clips one at a time.")
    inversions = [source for source in sources if is_inversion(source)]
    if args.photo is not None:
        raise ConfigError(f"--photo is for one inversion, and there are {len(sources)} inputs. Edit it alone.")
    if args.paste_back and inversions:
        raise ConfigError(
            f"{str(inversions[0])!r} does not hold the photo to paste back into: edit it alone, with --photo."
        )
    check_landmarks(args, len(sources) - len(inversions))
    check_files(args, sources)


def start(source: Path, inverter: HyperStyleInverter, args: EditingArguments) -> Inversion:
    """The inversion in the file, or of the image."""
    from hyperstyle.inversion.inversion import Inversion

    if is_inversion(source):
        return Inversion.load(source, inverter)
    points = landmarks_of(source, args.landmarks)
    return inverter.invert(source, steps=args.steps, align=ALIGN[args.align], face=args.face, landmarks=points)
