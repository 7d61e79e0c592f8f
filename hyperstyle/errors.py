"""Every error this library raises on purpose, and its warnings.

    HyperStyleError
      ImageError              a picture cannot be read, or has a size or mode that cannot be used
      AlignmentError          a picture cannot be cropped the way the generator was trained on
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
    QualityWarning            a crop or a reconstruction looks wrong, or a clip is not whole (a UserWarning)
    MemoryWarning             a batch did not fit into memory and was split (a UserWarning)
    TrainingWarning           training leaves out what was published, for want of a file (a UserWarning)
    EditWarning               a strength far outside an edit's range, or an edit of another model (a UserWarning)

Each message says what was given, what was expected and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AlignmentError",
    "CheckpointError",
    "ConfigError",
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
]


class HyperStyleError(Exception):
    """Base of all errors raised by this library; catching it catches every one of them."""


class ImageError(HyperStyleError):
    """A picture cannot be read, or has a size, mode or type that cannot be used."""


class AlignmentError(HyperStyleError):
    """A picture cannot be cropped the way the generator was trained on."""


class NoFaceError(AlignmentError):
    """No face was found in the picture."""


class LandmarkError(AlignmentError):
    """Landmarks have a wrong count or shape, or lie outside the picture."""


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
    """A crop or a reconstruction looks wrong, or a clip lacks a part; what was asked for was done all the same."""


class MemoryWarning(UserWarning):
    """A batch was too large for the memory and was split; what was asked for was done all the same."""


class TrainingWarning(UserWarning):
    """Training leaves out something that was published, since what it needs was not given; it goes on all the same."""


class EditWarning(UserWarning):
    """An edit goes far beyond its range, or was made for another generator; it was applied all the same."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence that lists the known names and, where one is close to `name`, suggests it."""
    names = sorted(known)
    if not names:
        return "There are none."
    close = difflib.get_close_matches(name, names, n=1)
    listed = f"Available: {', '.join(names)}."
    return f"{listed} Did you mean {close[0]!r}?" if close else listed
