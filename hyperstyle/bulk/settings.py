"""What decides the rows of a shard, apart from its images."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

from hyperstyle.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from hyperstyle.align.decision import Align
    from hyperstyle.inverter import HyperStyleInverter

ImageKind = Literal["jpeg", "webp"]

_WORDS = {
    "align": ("auto", "yes", "no"),  # words, not True and False, since a job's file holds them
    "crops": (None, *get_args(ImageKind)),
    "reconstructions": (None, *get_args(ImageKind)),
}


@dataclass(frozen=True, kw_only=True)
class RowSettings:
    """How an inverter inverts the images of a shard, and which images are stored with the rows.

    Attributes:
        method, steps, seed: as in `HyperStyleInverter.invert`.
        align: "auto", "yes" or "no", for "auto", True and False there.
        face: "largest", "center" or the number of a face; a row has one face.
        batch: images that go through the networks together: the first `batch` of a shard, and so on. How results are
            rounded depends on it.
        crops, reconstructions: the format in which a row holds the crop that was inverted, and its reconstruction; None
            to leave them out.

    Raises:
        ConfigError: a batch below 1, every face, or a word that is none of those above.
    """

    method: str | None = None
    steps: int | dict[str, int] | None = None
    seed: int | None = None
    align: str = "auto"
    face: str | int = "largest"
    batch: int = 8
    crops: ImageKind | None = None
    reconstructions: ImageKind | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"a batch of {self.batch}: expected 1 or more images.")
        for name, words in _WORDS.items():
            if (word := getattr(self, name)) not in words:
                expected = ", ".join(map(repr, words))
                raise ConfigError(f"{name}={word!r} with shards: expected one of {expected}.")
        if self.face == "all":
            raise ConfigError(
                "face='all' with shards, whose rows have one face each. Choose 'largest', 'center' or a number, or use "
                "hyperstyle invert."
            )

    @property
    def align_mode(self) -> Align:
        """`align` as the library takes it."""
        return "auto" if self.align == "auto" else self.align == "yes"


@dataclass(frozen=True, kw_only=True)
class JobSettings(RowSettings):
    """The same with the model and the detector of faces, so that any process can load the inverter.

    Attributes:
        model: a name as `HyperStyleInverter.from_pretrained` takes it; an absolute path for a folder.
        aligner: a name as `align.aligners.find_aligner` takes it.
        sideways: also search photos that are turned.
    """

    model: str = "avatars"
    aligner: str = "auto"
    sideways: bool = False

    def load_inverter(self, device: str) -> HyperStyleInverter:
        """The inverter, on a device. Raises what `HyperStyleInverter.from_pretrained` and `find_aligner` raise."""
        from hyperstyle.align.aligners import find_aligner
        from hyperstyle.inverter import HyperStyleInverter

        inverter = HyperStyleInverter.from_pretrained(self.model, device=device, aligner=self.aligner)
        if self.sideways:
            inverter.aligner = find_aligner(None, inverter.aligner, sideways=True)
        return inverter


def need(package: str, extra: str, purpose: str) -> ModuleType:
    """Imports an optional package.

    Raises:
        MissingDependencyError: it is not installed; the message says what it is for and how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise MissingDependencyError(
            f'{purpose} needs {name}, which is not installed. Run: pip install "hyperstyle-inversion[{extra}]".'
        ) from error
