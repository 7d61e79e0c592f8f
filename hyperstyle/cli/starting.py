"""Inputs and edits of `hyperstyle edit`, `animate` and `drag`: inversions or images, edits by name, file or text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hyperstyle.cli.arguments import ALIGN, EditRequest, InversionArguments, ModelArguments, parse_edit, parse_layers
from hyperstyle.cli.checks import a_mask, at_least, check_edits
from hyperstyle.cli.flags import flag, given_flags, positional, switch
from hyperstyle.cli.inputs import check_targets, is_inversion
from hyperstyle.domain import REGIONS
from hyperstyle.errors import ConfigError, EditError, MissingFileError, did_you_mean

if TYPE_CHECKING:
    from hyperstyle.inversion.inversion import Inversion
    from hyperstyle.inversion.strips import Sweep
    from hyperstyle.inverter import HyperStyleInverter

_NO_EDIT = "in this model, nor a file or folder of that name"
_CLIPS = "folders of frames and clips"


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
class StartingArguments(ModelArguments, InversionArguments):
    """Inversions or images to start from, where they change, and whether the face goes back into its photo."""

    mask: str | None = flag(
        check=a_mask,
        metavar="WHERE",
        help=f"limit the change to a region of the face ({', '.join(REGIONS)}), or to what is white in an image of the "
        "reconstruction's size",
    )
    paste_back: bool
    photo: Path | None = flag(help="the photo again, to paste an inversion (.safetensors) back into")
    out: Path | None
    overwrite: bool = switch("replace results that are there already, as a file that --out names always is")
    quiet: bool = switch("no progress bar, no figures, no line per image")

    def files_to_read(self, sources: list[Path]) -> list[Path]:
        """The inputs, the photo and the mask: files that no result may replace."""
        mask = None if self.mask in REGIONS or self.mask is None else Path(self.mask)
        return [file for file in (*sources, self.photo, mask) if file is not None]

    def check_files(self, sources: list[Path], out: Path | None = None) -> None:
        """Checks, before any work, that inputs, photo and output go together.

        Raises:
            ConfigError: `--photo` or flags of inverting that would have no effect, no photo to paste an inversion back
                into, or a result that `check_targets` refuses: only one that `--out` names replaces a file.
            MissingFileError: an input is not there.
        """
        if self.photo is not None and not self.paste_back:
            raise ConfigError("--photo is for --paste-back, which is missing. Add it, or leave --photo out.")
        inverted = all(is_inversion(source) for source in sources)
        if not inverted:
            self.check_face()
            if self.paste_back and self.align == "no":
                raise ConfigError(
                    "--paste-back with --align no, which takes images as they are: nothing is cut out that could be "
                    "put back. Leave out one or the other."
                )
        files = self.files_to_read(sources)
        if out is not None:
            check_targets(files, [out], what="the input", overwrite=self.overwrite or out == self.out)
        for file in files:
            if not file.exists():
                raise MissingFileError(f"there is no file {str(file)!r}. Check the name.")
        if not inverted:
            return
        if flags := given_flags(self, "method", "seed", "steps", "align", "aligner", "face", "landmarks", "sideways"):
            raise ConfigError(
                f"{', '.join(flags)}: for inverting an image, and {str(sources[0])!r} is inverted already. Leave out "
                "what is for that, or give the image."
            )
        if self.paste_back and self.photo is None:
            raise ConfigError(f"{str(sources[0])!r} does not hold the photo to paste back into: pass it with --photo.")

    def inverted(self, source: Path, inverter: HyperStyleInverter) -> Inversion:
        """The inversion in the file, or of the image."""
        from hyperstyle.inversion.inversion import Inversion

        if is_inversion(source):
            return Inversion.load(source, inverter)
        return inverter.invert(
            source,
            method=self.method,
            seed=self.seed,
            steps=self.steps,
            align=ALIGN[self.align],
            face=self.face,
            landmarks=self.landmarks_of(source),
        )


@dataclass(frozen=True, kw_only=True)
class EditingArguments(StartingArguments):
    """What `StartingArguments` has, and the edits."""

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
    beta: float | None = flag(check=at_least(0), help="with --text: channels of less relevance stay (default: 0.13)")
    layers: list[str | int] | None = flag(
        type=parse_layers,
        metavar="NAME,NAME",
        help="limit the edits to these layers, by name (b16.conv0) or official index",
    )
    other_model: bool = switch("take edits that were made for another generator")

    @property
    def ranges(self) -> list[str]:
        """The names of the edits that have a range of strengths."""
        return [edit.name for edit in (*self.edits, *self.texts) if edit.is_strip]

    @property
    def edit_options(self) -> dict[str, Any]:
        """`layers`, `mask` and `other_model` as `Inversion.edit` takes them."""
        return {"layers": self.layers, "mask": self.mask, "other_model": self.other_model}

    def check_edits(self) -> None:
        """Raises ConfigError for flags of edits that are missing, EditError for an edit that is not there."""
        if not self.edits and not self.texts and (flags := given_flags(self, "layers", "mask", "other_model")):
            raise ConfigError(f"{', '.join(flags)}: for --edit and --text, which are missing. Add one of these.")
        if not self.texts and (flags := given_flags(self, "neutral", "beta")):
            raise ConfigError(f"{', '.join(flags)}: for --text, which is missing. Add it, or leave them out.")
        # Unlike Path's, it is False for any name that cannot be.
        check_edits(self.model, [edit.name for edit in self.edits if not os.path.exists(edit.name)], _NO_EDIT)

    def sweeps(self, inverter: HyperStyleInverter) -> list[Sweep]:
        """The edits of `--edit`, then those of `--text`, each with its strength or strengths.

        Raises:
            EditError: no such edit, an edit for other codes, or a text for a model without statistics.
            ConfigError: a layer that the generator does not have.
        """
        from hyperstyle.edits import load_edit
        from hyperstyle.inversion.editing import text_edit

        model = inverter.model
        for layer in self.layers or ():
            model.generator.layer(layer)
        requested: list[Sweep] = []
        for name, strengths in ((edit.name, edit.strengths) for edit in self.edits):
            if name in inverter.edits:
                requested.append((name, strengths))
            elif os.path.exists(name):
                requested.append((load_edit(name, width=model.generator.config.latent_width), strengths))
            else:
                raise EditError(f"no edit named {name!r} {_NO_EDIT}. {did_you_mean(name, inverter.edits)}")
        texts = ((text_edit(model, text.name, self.neutral, self.beta), text.strengths) for text in self.texts)
        return [*requested, *texts]

    def edited(self, source: Path, inverter: HyperStyleInverter, sweeps: list[Sweep]) -> Inversion:
        """The inversion in the file, or of the image, after those of the edits that have one strength."""
        inversion = self.inverted(source, inverter)
        for edit, strengths in sweeps:
            if len(strengths) == 1:
                inversion = inversion.edit(edit, strengths[0], **self.edit_options)
        return inversion


@dataclass(frozen=True, kw_only=True)
class EditArguments(EditingArguments):
    """Edits inversions that `hyperstyle invert` wrote, or images (inverted first), each on its own, or every frame of
    a clip: a video file, or with --clip a folder. The result is the face, or with --paste-back the photo with the
    edited face in it. Of several inputs, one that fails does not stop the others.
    """

    inputs: list[str] = positional(
        nargs="+", metavar="INPUT", help="inversion (.safetensors), image, folder of images, or glob; or one clip"
    )
    edits: list[EditRequest] = edits_flag(
        "NAME=START:STOP:COUNT gives a strip, two of them a grid, the first from left to right"
    )
    paste_back: bool = switch("put the edited face back into its photo, at the photo's size")
    out: Path | None = flag(
        metavar="PATH",
        help="what to write: of one input a file (default: its name with _edited.png, in the current folder); of "
        "several, or a folder, the folder for NAME_edited.png of each, made where it is missing (default: edited)",
    )
    clip: bool = switch(
        "take the files of a folder as the frames of one clip: one face is followed through them, and they share "
        "weight offsets (without it they are separate images)",
        group=_CLIPS,
    )
    offsets: Literal["clip", "frame"] = flag(
        choices=("clip", "frame"),
        default="clip",
        group=_CLIPS,
        help="one set of weight offsets for the whole clip, or one for every frame",
    )
    smoothing: float = flag(
        default=3.0,
        check=at_least(0),
        metavar="FRAMES",
        group=_CLIPS,
        help="width of the filter over the landmarks; 0 only fills gaps",
    )
    rate: float | None = flag(
        metavar="FPS",
        group=_CLIPS,
        help="frames per second of an MP4, evenly spaced, without audio (default: as the clip is; folders: 25)",
    )
