"""Domains: what kind of image a model knows, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hyperstyle.errors import ConfigError, did_you_mean
from hyperstyle.moved import renamed_attribute

if TYPE_CHECKING:
    from torch import Tensor

REGIONS = ("mouth", "eyes", "brows", "nose", "face")
"""Parts of a face that a mask may be named after; `align.regions` makes their masks from landmarks."""


@renamed_attribute("to_input", "resize_to_input")
@renamed_attribute("seen", "as_network_input")
@dataclass(frozen=True)
class Domain:
    """What must be known about a kind of image besides the weights.

    Attributes:
        name: its name in files and messages.
        size: side of the generator's image in pixels.
        input_size: (height, width) of the images that encoder and hypernetwork take.
        content_rows: (first, end) rows of the generator's image that hold the content; the rest is padding (cars).
        aligner: "face" crops by facial landmarks (FFHQ's rule); "none" takes the whole image.
        similarity: the network that compares identities: "arcface", "moco" or "traits" (the bundled evaluator).
        description: one sentence for people.
        sampling: how images are resized to `input_size`: "average" over areas, or "point": resized to the generator's
            size first, then sampled bilinearly without antialiasing, as in the training of HyperInverter's encoders.

    Example:
        >>> Domain("plates", size=128, input_size=(96, 128), content_rows=(16, 112)).content_size
        (96, 128)
    """

    name: str
    size: int
    input_size: tuple[int, int]
    content_rows: tuple[int, int] | None = None
    aligner: Literal["face", "none"] = "none"
    similarity: Literal["arcface", "moco", "traits"] = "moco"
    description: str = ""
    sampling: Literal["average", "point"] = "average"

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", tuple(self.input_size))
        if len(self.input_size) != 2 or not all(1 <= side <= 4096 for side in (self.size, *self.input_size)):
            raise ConfigError(
                f"domain {self.name!r} with size={self.size}, input_size={self.input_size}: expected a side in pixels "
                "and (height, width), up to 4096 each."
            )
        if self.content_rows is not None:
            object.__setattr__(self, "content_rows", tuple(self.content_rows))
            first, end = self.content_rows
            if not 0 <= first < end <= self.size:
                raise ConfigError(
                    f"domain {self.name!r}: content rows {self.content_rows} do not lie in 0..{self.size}."
                )
        if self.aligner == "face" and self.content_rows is not None:
            raise ConfigError(f"domain {self.name!r}: face alignment gives square crops; content rows must be None.")

    @property
    def content_size(self) -> tuple[int, int]:
        """(height, width) of a reconstruction in pixels: cars 384 x 512."""
        first, end = self.content_rows or (0, self.size)
        return end - first, self.size

    @property
    def is_rendered(self) -> bool:
        """Whether these are rendered portraits like those of `hyperstyle/avatars`, identified by attributes."""
        return self.similarity == "traits"

    def content(self, image: Tensor) -> Tensor:
        """The content rows of a generator's image [B,3,size,size]."""
        if self.content_rows is None:
            return image
        first, end = self.content_rows
        return image[:, :, first:end]

    def resize_to_input(self, image: Tensor) -> Tensor:
        """A reconstruction [B,3,H,W] (content rows applied) -> [B,3,*input_size], resized as `sampling` says."""
        import torch.nn.functional as F

        if tuple(image.shape[2:]) == self.input_size:
            return image
        if self.sampling == "point":
            return F.interpolate(image, size=self.input_size, mode="bilinear", align_corners=False)
        return F.adaptive_avg_pool2d(image, self.input_size)

    def as_network_input(self, image: Tensor) -> Tensor:
        """A generator's image [B,3,size,size] -> the input of encoder and hypernetwork [B,3,*input_size]."""
        return self.resize_to_input(self.content(image))

    def at_size(self, size: int) -> Domain:
        """The same domain for a generator of another size."""
        if size == self.size:
            return self
        rows = None
        if self.content_rows is not None:
            first, end = self.content_rows
            rows = (first * size // self.size, end * size // self.size)
        return replace(self, size=size, content_rows=rows)


DOMAINS = {
    d.name: d
    for d in (
        Domain("faces", 1024, (256, 256), None, "face", "arcface", "Human faces, cropped as in FFHQ."),
        Domain("cars", 512, (192, 256), (64, 448), "none", "moco", "Cars, 4:3 images inside a square."),
        Domain("wild", 512, (256, 256), None, "none", "moco", "Wild animals' faces (AFHQ Wild)."),
        Domain("churches", 256, (256, 256), None, "none", "moco", "Churches and other buildings (LSUN)."),
        Domain("avatars", 128, (128, 128), None, "face", "traits", "Portraits rendered from known factors."),
    )
}


def domain_named(name: str) -> Domain:
    """The published domain of this name. Raises ConfigError where there is none."""
    if name not in DOMAINS:
        raise ConfigError(f"no domain {name!r}. {did_you_mean(name, DOMAINS)}")
    return DOMAINS[name]
