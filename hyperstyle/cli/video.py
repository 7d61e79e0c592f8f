"""`hyperstyle edit` on a folder of frames or a clip."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from hyperstyle.cli.arguments import load_inverter, writable_folder
from hyperstyle.cli.checks import a_folder
from hyperstyle.cli.flags import given_flags
from hyperstyle.cli.inputs import check_targets, report_left_out
from hyperstyle.cli.progress import progress_bar
from hyperstyle.cli.starting import EditArguments
from hyperstyle.errors import ConfigError, EditError, LandmarkError
from hyperstyle.io.file_kind import check_suffix

if TYPE_CHECKING:
    from hyperstyle.images.clips.read import Clip
    from hyperstyle.images.frames import FrameFolder
    from hyperstyle.inverter import HyperStyleInverter
    from hyperstyle.video import Progress, Track

_RATE = 25  # frames per second of an MP4 from a folder


def run_video(source: Path, args: EditArguments) -> int:
    """Edits the frames of `source` and writes them to `args.out`: an MP4 where the name says so, else a folder.

    Without `--out`: NAME_edited.mp4 for a clip, the folder NAME_edited for a folder, in the current folder.
    """
    from hyperstyle.images import Listing
    from hyperstyle.images.clips.read import Clip
    from hyperstyle.images.clips.write import write_clip
    from hyperstyle.images.frames import FrameFolder, open_frames, write_folder

    if args.photo is not None:
        raise ConfigError(f"--photo is for one inversion; {str(source)!r} holds frames of its own. Leave it out.")
    if flags := given_flags(args, "texts", "layers", "mask", "other_model", "method", "seed"):
        raise ConfigError(f"{', '.join(flags)}: not for folders of frames and clips, which take --edit NAME=VALUE.")
    args.check_face()
    if args.paste_back and args.align == "no":
        raise ConfigError("--paste-back with --align no, which takes frames as they are. Leave out one or the other.")
    if args.ranges:
        name = args.ranges[0]
        raise ConfigError(f"--edit {name} has a range; frames take one value, as in {name}=2.")
    if args.face == "all":
        raise ConfigError("--face all: one face of a clip is followed. Choose largest, center or its number.")
    if args.landmarks is not None:
        a_folder("--landmarks", args.landmarks)
    frames = open_frames(source)
    out = args.out or Path(f"{source.stem}_edited" + ("" if isinstance(frames, FrameFolder) else ".mp4"))
    overwrite = args.overwrite or args.out is not None or not _is_mp4(out)  # for folders see `check_folder`
    check_targets([source], [out], what="the input", overwrite=overwrite)
    _check_out(out, frames, args)
    writable_folder(out.parent)
    inverter = load_inverter(args)
    has_faces = inverter.model.domain.aligner == "face"
    if args.paste_back and not has_faces:
        raise ConfigError(f"--paste-back is for faces, and the model {args.model!r} takes whole images. Leave it out.")
    edits = _edits(args, inverter)
    if not has_faces and (args.landmarks is not None or args.align == "yes"):
        raise ConfigError(
            f"--landmarks and --align yes are for faces, and the model {args.model!r} takes whole images. Leave them "
            "out."
        )
    from hyperstyle.video import edit_frames

    aligned = args.align != "no" and has_faces
    with progress_bar(args.quiet, unit="frame") as show:
        track = _track(args, inverter, frames, show) if aligned else None
        edited = edit_frames(
            inverter,
            frames,
            edits,
            offsets=args.offsets,
            paste_back=args.paste_back,
            landmarks=track,
            align=aligned,
            steps=cast("int | None", args.steps),  # steps of parts are passed on as they are
            on_progress=show,
        )
        if not _is_mp4(out):
            write_folder(edited, out, _names(frames))
        elif isinstance(frames, Clip) and args.rate is None:
            write_clip(edited, out, like=frames)
        else:
            write_clip(edited, out, args.rate or _RATE)
    if not args.quiet:
        print(out)
    return report_left_out(Listing(frames.files, frames.left_out)) if isinstance(frames, FrameFolder) else 0


def _is_mp4(out: Path) -> bool:
    return out.suffix.lower() == ".mp4"


def _edits(args: EditArguments, inverter: HyperStyleInverter) -> dict[str, float]:
    """Name -> strength; an edit that is named twice has the sum. Raises EditError or ConfigError."""
    from hyperstyle.inversion.editing import find_edit

    edits: dict[str, float] = {}
    for edit in args.edits:
        if edit.name not in inverter.edits and Path(edit.name).exists():
            raise EditError(
                f"{edit.name!r} is a file: frames take edits of the model by name. Put it into the model first: "
                "hyperstyle edits add FILE --model DIR --name NAME."
            )
        find_edit(inverter.model, edit.name)
        edits[edit.name] = edits.get(edit.name, 0.0) + edit.strengths[0]
    return edits


def _check_out(out: Path, frames: FrameFolder | Clip, args: EditArguments) -> None:
    """Raises ConfigError where the frames cannot be written there; warns where the audio is lost."""
    from hyperstyle.images.clips.read import Clip
    from hyperstyle.images.clips.write import check_clip
    from hyperstyle.images.frames import FrameFolder, check_folder

    if _is_mp4(out):
        check_clip(out, _RATE if args.rate is None else args.rate)
        if isinstance(frames, Clip) and frames.audio and args.rate is not None:
            print("--rate gives the frames other times, so the audio is left out", file=sys.stderr)
        return
    advice = "Clips are written as .mp4, and frames into a folder: give a name that ends in .mp4, or has no suffix."
    check_suffix(out, advice=advice, error=ConfigError)
    if args.rate is not None:
        raise ConfigError(f"--rate is of MP4 files, and {str(out)!r} is a folder. Leave it out, or name an .mp4.")
    check_folder(out)
    stems = Counter(file.stem for file in frames.files) if isinstance(frames, FrameFolder) else {}
    for name, times in stems.items():
        if times > 1:
            raise ConfigError(f"two frames are named {name!r}: suffixes do not count, so rename one of them.")


def _track(args: EditArguments, inverter: HyperStyleInverter, frames: FrameFolder | Clip, show: Progress) -> Track:
    """The smoothed landmarks of every frame: those of the folder `--landmarks`, or detected. Prints how steady."""
    from hyperstyle.align.smoothing import quad_jitter
    from hyperstyle.io.torch_files import load_points
    from hyperstyle.video import steady_track, track_face

    track: Track
    if args.landmarks is None:
        face = cast("Literal['largest', 'center'] | int", args.face)  # "all" is refused there
        track = track_face(inverter, frames, face=face, on_progress=show)
    else:
        files = [args.landmarks / f"{name}.npy" for _, name in zip(frames, _names(frames), strict=False)]
        track = [load_points(file) if file.exists() else None for file in files]
        if all(points is None for points in track):
            raise LandmarkError(
                f"the folder {str(args.landmarks)!r} has landmarks for none of {len(track)} frames: expected files "
                f"named like the frames, such as {next(_names(frames))}.npy."
            )
    smoothed = steady_track(frames, track, width=args.smoothing, paste_back=args.paste_back)
    missed, left = (sum(points is None for points in each) for each in (track, smoothed))
    if not args.quiet:
        line = f"{len(track)} frames, {missed} without a face"
        if left:
            line += f", {left} of which stay as they are"
        try:
            line += f"; the crop shakes by {quad_jitter(track):.2f} px, smoothed {quad_jitter(smoothed):.2f} px"
        except ConfigError:
            line += "; too few in a row to say how much the crop shakes"
        print(line, file=sys.stderr)
    return smoothed


def _names(frames: FrameFolder | Clip) -> Iterator[str]:
    """The names of the frames: those of their files, or numbers."""
    from hyperstyle.images.frames import FrameFolder

    if isinstance(frames, FrameFolder):
        return (file.stem for file in frames.files)
    return (f"{number:06d}" for number in itertools.count())
