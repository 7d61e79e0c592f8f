"""Every error this library raises on purpose, and its warnings::

    HyperStyleError
      ImageError              an image cannot be read, or has a size or mode that cannot be used
      AlignmentError          an image cannot be cropped the way the generator was trained on
        NoFaceError           no face was found
        LandmarkError         landmarks of a wrong count, shape or position
      ConfigError             a value, a configuration or a combination of parts that cannot work
      CheckpointError         a model folder or file cannot be used
        MissingFileError      a file of the folder is not there
        WeightsError          tensors are missing, unexpected, of a wrong shape or not finite
        ModelNotFoundError    no bundled model, folder or Hub repository has this name
      HubError                a file cannot be fetched from the Hub, or a model not be put there
      EditError               an edit is unknown, malformed or made for another model
      InversionError          an inversion is asked for something it does not carry
      MethodError             an inversion method is unknown, or the model lacks its weights
      MissingDependencyError  an optional package is not installed (also an ImportError)
    QualityWarning            an input, a crop or a result looks wrong, becomes worse or lacks a part (a UserWarning)
    MemoryWarning             a batch did not fit into memory and was split (a UserWarning)
    TrainingWarning           training leaves out images, or what was published, for want of a file (a UserWarning)
    ConversionWarning         a converted model cannot do what it might, for want of a file (a UserWarning)
    EditWarning               an edit far outside its range or of another model, or a drag cut short (a UserWarning)

Each message says what was given, what was expected and what to do.
"""

from __future__ import annotations

import difflib
import re
import reprlib
import sys
import warnings
from collections.abc import Iterable
from types import FrameType

__all__ = [
    "AlignmentError",
    "CheckpointError",
    "ConfigError",
    "ConversionWarning",
    "EditError",
    "EditWarning",
    "HubError",
    "HyperStyleError",
    "ImageError",
    "InversionError",
    "LandmarkError",
    "MemoryWarning",
    "MethodError",
    "MissingDependencyError",
    "MissingFileError",
    "ModelNotFoundError",
    "NoFaceError",
    "QualityWarning",
    "TrainingWarning",
    "WeightsError",
    "did_you_mean",
    "shorten",
    "shown",
    "warn",
]


_LONGEST_WORD, _LONGEST_TEXT = 400, 3000  # characters
_LONG_WORD = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")


class _Repr(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python writes no integers of more than 4,300 digits."""
        return super().repr_int(x, level) if x.bit_length() < 2000 else f"an integer of {x.bit_length():,} bits"


_REPR = _Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 300
_REPR.maxlevel, _REPR.maxdict, _REPR.maxlist, _REPR.maxtuple = 3, 6, 6, 6


class HyperStyleError(Exception):
    """Base of all errors raised by this library; catching it catches every one of them.

    Messages name what was given, which may be a file's content: long words and texts in them are cut (`shorten`).
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(shorten(message))


class ImageError(HyperStyleError):
    """An image cannot be read, or has a size, mode or type that cannot be used."""


class AlignmentError(HyperStyleError):
    """An image cannot be cropped the way the generator was trained on."""


class NoFaceError(AlignmentError):
    """No face was found in the image."""


class LandmarkError(AlignmentError):
    """Landmarks have a wrong count or shape, or lie outside the image."""


class ConfigError(HyperStyleError):
    """A value, a configuration or a combination of parts that cannot work."""


class CheckpointError(HyperStyleError):
    """A model folder or file cannot be used."""


class MissingFileError(CheckpointError):
    """A file that a model folder must have is not there."""


class WeightsError(CheckpointError):
    """Tensors of a file are missing, unexpected, of a wrong shape or not finite."""


class ModelNotFoundError(CheckpointError):
    """No bundled model, local folder or Hub repository has the given name."""


class HubError(HyperStyleError):
    """A file cannot be fetched from the Hugging Face Hub, or a model cannot be put there."""


class EditError(HyperStyleError):
    """An edit is unknown, malformed or made for another model."""


class InversionError(HyperStyleError):
    """An inversion is asked for something it does not carry."""


class MethodError(HyperStyleError):
    """An inversion method is unknown, or the model lacks its weights."""


class MissingDependencyError(HyperStyleError, ImportError):
    """An optional package is not installed."""


class QualityWarning(UserWarning):
    """An input, a crop or a result looks wrong, becomes worse or lacks a part; it was done all the same."""


class MemoryWarning(UserWarning):
    """A batch was too large for the memory and was split; what was asked for was done all the same."""


class TrainingWarning(UserWarning):
    """Training leaves out images that cannot be read, or what was published and lacks a file; it goes on."""


class ConversionWarning(UserWarning):
    """A model was converted without a part that its methods need; what was given was converted all the same."""


class EditWarning(UserWarning):
    """An edit goes far beyond its range, was made for another generator, or stops short; it was applied anyway."""


def warn(message: str, category: type[Warning]) -> None:
    """Warns at the line outside of this package that called into it, however deep inside the warning is issued."""
    inside = (__package__, "torch", "contextlib")  # the last two: frames that @torch.no_grad() adds
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in inside:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level - (frame is None))


def with_article(kind: type) -> str:
    """The name of a class with its article: "a str", "an Inversion"."""
    return f"{'an' if kind.__name__[0].lower() in 'aeiou' else 'a'} {kind.__name__}"


def shorten(text: str) -> str:
    """The text with each long word cut in its middle, and the whole text if it is long still."""
    text = _LONG_WORD.sub(lambda match: _cut(match[0], _LONGEST_WORD), text)
    return _cut(text, _LONGEST_TEXT)


def _cut(text: str, length: int) -> str:
    """The text's beginning and end where it has more than `length` characters."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}...({len(text):,} characters)...{text[-length // 4 :]}"


def shown(value: object) -> str:
    """A value for a message: its `repr`, cut where it is long or deep, however large the value is."""
    return _cut(_REPR.repr(value), _LONGEST_WORD)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that lists the known names and suggests the one closest to `name`, if any is close."""
    names = sorted(known)
    if not names:
        return "There are none."
    close = difflib.get_close_matches(name, names, n=1)
    listed = f"Available: {', '.join(names)}."
    return f"{listed} Did you mean {close[0]!r}?" if close else listed
