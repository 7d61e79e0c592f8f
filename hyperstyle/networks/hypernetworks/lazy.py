"""Dense offsets that are computed layer by layer on access, so that not all of them are in memory at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.hypernetworks.codes import OffsetCodes

__all__ = ["Expander", "LazyOffsets", "of_image"]


class Expander(Protocol):
    """A network that expands codes: `Hypernetwork` to offsets, `HyperInverter` to residuals."""

    def offsets(self, codes: OffsetCodes, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Layer name -> dense tensors of these layers, or of all."""
        ...


@dataclass(frozen=True, eq=False)
class LazyOffsets(Mapping[str, Tensor]):
    """The offsets `hypernetwork.offsets(codes)`, computed layer by layer on access and not cached.

    The published layers of a 1024 px model have 86 MB of dense offsets for each image; the largest has 9 MB.

    Attributes:
        hypernetwork: computes the offsets.
        codes: one row for each image.
    """

    hypernetwork: Expander
    codes: OffsetCodes

    def __getitem__(self, layer: str) -> Tensor:
        return self.hypernetwork.offsets(self.codes, [layer])[layer]

    def __contains__(self, layer: object) -> bool:
        return layer in self.codes.layers  # the default of Mapping would compute the offset

    def __iter__(self) -> Iterator[str]:
        return iter(self.codes.layers)

    def __len__(self) -> int:
        return len(self.codes.layers)

    def select(self, i: int) -> LazyOffsets:
        """The offsets of one image, of shapes [1,...]."""
        return LazyOffsets(self.hypernetwork, self.codes.select(slice(i, i + 1)))


def of_image(offsets: Mapping[str, Tensor], i: int, batch: int) -> Mapping[str, Tensor]:
    """The offsets of one image, [1,O,I,k,k], from those that broadcast to [B,O,I,k,k]; nothing is computed or copied.

    Raises:
        ConfigError: codes of another number of images.
    """
    if isinstance(offsets, LazyOffsets):
        if len(offsets.codes) not in (1, batch):
            raise ConfigError(f"offset codes of {len(offsets.codes)} images for {batch}: expected 1 or {batch}.")
        return offsets if len(offsets.codes) == 1 else offsets.select(i)
    return {name: t[i : i + 1] if t.ndim == 5 and len(t) == batch else t for name, t in offsets.items()}
