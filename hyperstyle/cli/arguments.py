"""Arguments that several commands share: groups of flags, the values behind them, and their checks."""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hyperstyle.cli.checks import a_device, a_method, a_model, a_number_of_steps, a_seed, there
from hyperstyle.cli.flags import add_arguments, flag, given_flags, switch
from hyperstyle.errors import ConfigError
from hyperstyle.io.file_kind import check_suffix
from hyperstyle.io.files import missing_folders
from hyperstyle.io.temporary import sweep
from hyperstyle.methods.names import NAMES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hyperstyle.align.decision import Face
    from hyperstyle.inverter import HyperStyleInverter

ALIGN: dict[str, Literal["auto"] | bool] = {"auto": "auto", "yes": True, "no": False}

made_folders: list[Path] = []
"""What `writable_folder` made; `main` removes those that are empty at the end."""

_MAX_STRENGTHS = 99
_ENDINGS = {"JSON": ".json", "NumPy": ".npz", "image": ".png"}


# ---- values behind flags ----


@dataclass(frozen=True)
class EditRequest:
    """One `--edit`: a name and its strength, or the strengths of a strip."""

    name: str
    strengths: tuple[float, ...]

    @property
    def is_strip(self) -> bool:
        """Whether it has a range of strengths."""
        return len(self.strengths) > 1


def parse_edit(text: str) -> EditRequest:
    """Reads `age=2` or `smile=-2:2:5` (START:STOP:COUNT, both ends included); the name may contain "=".

    Raises:
        argparse.ArgumentTypeError: the text is neither, a number is not finite, or COUNT is not in 2 to 99.
    """
    name, _, value = text.rpartition("=")
    name = name.strip()
    first, *rest = value.split(":")
    try:
        start = float(first)
        stop, count = (float(rest[0]), int(rest[1])) if rest else (start, 1)
        if not name or len(rest) > 2 or not math.isfinite(start) or not math.isfinite(stop):
            raise ValueError
    except (ValueError, IndexError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an edit: expected NAME=STRENGTH like age=2, "
            "or NAME=START:STOP:COUNT like smile=-2:2:5 for a strip"
        ) from None
    if not rest:
        return EditRequest(name, (start,))
    if not 2 <= count <= _MAX_STRENGTHS:
        raise argparse.ArgumentTypeError(f"{text!r} asks for {count} images: COUNT is 2 to {_MAX_STRENGTHS}")
    # Written so that both ends come out exactly as typed.
    return EditRequest(name, tuple(start * (1 - i / (count - 1)) + stop * (i / (count - 1)) for i in range(count)))


def _face(text: str) -> Face:
    """Reads `largest`, `center`, `all` or a number from 0 on.

    Raises:
        argparse.ArgumentTypeError: the text is none of these.
    """
    if text in ("largest", "center", "all"):
        return cast("Face", text)
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no face: expected largest, center, all, or a number from 0 on")


def _steps(text: str) -> int | dict[str, int]:
    """Reads `100`, or `hyperstyle=5,pti=100`: the name of a part may hold a "+" or "-"."""
    if text.isdecimal():
        return int(text)
    pairs = [part.strip().rpartition("=") for part in text.split(",")]
    if not all(name and number.isdecimal() for name, _, number in pairs):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of steps: expected 0, 1, 2, ..., or those of parts, hyperstyle=5,pti=100"
        )
    return {name: int(number) for name, _, number in pairs}


def parse_layers(text: str) -> list[str | int]:
    """Reads names and official indexes of layers, `b16.conv0,9`.

    Raises:
        argparse.ArgumentTypeError: an item of the comma-separated list is empty.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of layers: expected names or numbers, b16.conv0,9")
    return [int(name) if name.isdecimal() else name for name in names]


# ---- groups of flags ----


@dataclass(frozen=True, kw_only=True)
class ModelArguments:
    """The model and its device."""

    model: str = flag(
        default="avatars",
        check=a_model,
        metavar="NAME",
        help="name of a bundled or installed model (hyperstyle models lists them), a folder, or a Hugging Face "
        "repository (default: avatars, which is bundled)",
    )
    device: str = flag(
        default="auto", check=a_device, help="auto, cpu, cuda, cuda:1, mps (default: auto, the fastest one there is)"
    )


@dataclass(frozen=True, kw_only=True)
class DetectorArguments:
    """What finds the faces of a photo, and which of them is taken."""

    aligner: str = flag(
        default="auto",
        metavar="NAME",
        help="what finds faces: auto (the model's own, else dlib or MTCNN, if their files are on this machine), dlib "
        "(downloads its file), dlib:FILE, mtcnn, mtcnn:FOLDER or none (default: auto)",
    )

    face: Face = flag(
        type=_face,
        default="largest",
        metavar="WHICH",
        help="of several faces: largest, center, all, or 0, 1, 2, ... as they are found",
    )
    sideways: bool = switch(
        "search photos in which no face is found, or no sure one, turned by 90, 180 and 270 degrees too, which takes "
        "four times as long"
    )


@dataclass(frozen=True, kw_only=True)
class FaceArguments(DetectorArguments):
    """The same, or the landmarks of the face."""

    landmarks: Path | None = flag(
        check=there, help="68 or 5 points of the face as .npy; or a folder with NAME.npy for each image"
    )

    def check_face(self, images: int = 1, what: str = "images") -> None:
        """Refuses flags that choose or find a face where none is looked for, and landmarks of one for several images.

        Args:
            images: how many there are.
            what: their name in the message.

        Raises:
            ConfigError: `--aligner`, `--face` or `--sideways` with `--landmarks`; one of these four with `--align no`;
                `--face` or `--sideways` with `--aligner none`; a single file of landmarks for several images.
        """
        flags: list[str] = []
        reason = ""
        if isinstance(self, InversionArguments) and self.align == "no":
            flags = given_flags(self, "aligner", "face", "sideways", "landmarks")
            reason = "--align no, which takes images as they are"
        elif self.landmarks is not None:
            flags = given_flags(self, "aligner", "face", "sideways")
            reason = "--landmarks, which says where the face is, so that none is looked for"
        elif self.aligner == "none":
            flags = given_flags(self, "face", "sideways")
            reason = "--aligner none, which looks for no face"
        if flags:
            raise ConfigError(f"{', '.join(flags)} with {reason}. Leave out one or the other.")
        if images > 1 and self.landmarks is not None and not self.landmarks.is_dir():
            raise ConfigError(f"--landmarks {str(self.landmarks)!r} is one file for {images} {what}: give a folder.")

    def landmarks_file(self, image: Path) -> Path | None:
        """The landmark file of this image: what `--landmarks` names, or STEM.npy in it if it is a folder.

        The file need not exist. None without the flag.
        """
        if self.landmarks is not None and self.landmarks.is_dir():
            return self.landmarks / f"{image.stem}.npy"
        return self.landmarks

    def landmarks_of(self, image: Path) -> npt.NDArray[np.float64] | None:
        """The landmarks of this image in pixels, [68,2] or [5,2], read from `landmarks_file`; None without the flag.

        Raises:
            LandmarkError: there is no such file, or it holds something else.
        """
        from hyperstyle.io.torch_files import load_points

        file = self.landmarks_file(image)
        return None if file is None else load_points(file)


@dataclass(frozen=True, kw_only=True)
class MethodArguments:
    """How an image is inverted."""

    method: str | None = flag(
        check=a_method,
        metavar="NAME",
        help=f'how to invert: {", ".join(NAMES)}, or several joined by "+", as in hyperstyle+pti (default: the best '
        "that the model's networks can do)",
    )
    seed: int | None = flag(check=a_seed, help="random seed of methods that optimize (default: the published one)")
    steps: int | dict[str, int] | None = flag(
        type=_steps,
        check=a_number_of_steps,
        metavar="N",
        help="steps of the method's last part, or of its parts by name, hyperstyle=5,pti=100; 0 stops before it "
        "(default: each part's own number)",
    )
    align: str = flag(
        choices=tuple(ALIGN),
        default="auto",
        help="crop the face first: auto decides by the image, no takes it as it is",
    )


@dataclass(frozen=True, kw_only=True)
class InversionArguments(MethodArguments, FaceArguments):
    """How an image is inverted by every command that starts from one."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--model` and `--device` to the parser of a command that declares its flags one by one."""
    add_arguments(parser, ModelArguments)


# ---- what the flags name ----


def load_inverter(args: ModelArguments | argparse.Namespace) -> HyperStyleInverter:
    """An inverter with the model that `--model` names, on `--device`.

    Its aligner is that of `--aligner` and `--sideways`, for commands that look for faces and have them.

    Raises:
        ConfigError: an unknown `--aligner`, or `--sideways` for a model of other images than faces.
        HyperStyleError: what `HyperStyleInverter.from_pretrained` raises.
    """
    from hyperstyle.align.aligners import find_aligner
    from hyperstyle.inverter import HyperStyleInverter

    inverter = HyperStyleInverter.from_pretrained(args.model, device=args.device, aligner=vars(args).get("aligner"))
    if vars(args).get("sideways"):
        inverter.aligner = find_aligner(None, inverter.aligner, sideways=True)
    return inverter


def writable_folder(folder: Path) -> Path:
    """Makes `folder` where it is missing and checks, before minutes of work, that files can be written there.

    Temporary files that earlier, killed processes left in it are removed. If the command writes nothing, `main` removes
    what was made.

    Returns:
        The folder.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    made_folders.extend(missing_folders(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"cannot write into the folder {str(folder)!r}: {error.strerror}. Choose another one with --out."
        ) from error
    sweep(folder)
    return folder


def check_output_files(args: Any, **kinds: str) -> None:
    """Checks, before minutes of work, that these files can be written.

    Args:
        args: the arguments of the command. The option `NAME` is its attribute `NAME`, a path or None.
        kinds: name of an option -> kind of its file: "PNG", for names that must end in .png, or "JSON", "NumPy" or
            "image", for names that must not end in the suffix of another kind, see `check_suffix`.

    Raises:
        ConfigError: the folder of a file does not exist or cannot be written to, the path is a folder, its suffix is
            wrong, or two options name the same file.
    """
    paths: dict[str, Path] = {name: path for name in kinds if (path := vars(args).get(name)) is not None}
    flags: dict[Path, str] = {}
    for name, path in paths.items():
        flag = f"--{name.replace('_', '-')}"
        if (other := flags.setdefault(path.resolve(), flag)) != flag:
            raise ConfigError(f"{other} and {flag} both name {str(path)!r}: expected two files.")
    for name, path in paths.items():
        kind = kinds[name]
        folder = path.resolve().parent
        if not folder.is_dir():
            raise ConfigError(f"the folder of {str(path)!r} does not exist. Make it, or choose another file.")
        if path.is_dir():
            raise ConfigError(f"{str(path)!r} is a folder: expected the name of a file.")
        if kind == "PNG" and path.suffix.lower() != ".png":
            raise ConfigError(f"{str(path)!r} cannot be written: expected a name that ends in .png.")
        if kind != "PNG":
            check_suffix(path, kind, advice=f"Give it a name that ends in {_ENDINGS[kind]}.", error=ConfigError)
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ConfigError(f"cannot write into the folder of {str(path)!r}: {error.strerror}.") from error
