"""What an edit is, what has a form on disk, and what edits described in words need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from hyperstyle.errors import EditError

Space = Literal["w", "styles"]

Self = TypeVar("Self", bound="StoredEdit")  # typing has it from Python 3.11 on


@dataclass(frozen=True)
class EditInfo:
    """What people should know about an edit.

    Attributes:
        name: what `Inversion.edit` and the command line call it.
        low, high: sensible strengths; beyond them images are no longer plausible.
        unit: what one unit of strength means.
        source: where it comes from.
        model: fingerprint of the generator it was made for (`Model.generator_fingerprint`), or "" where that is not
            known and cannot be compared.
        trait: what the evaluator calls the trait that it moves, upwards for strengths above 0; None where that is not
            known, and then the edit cannot be measured.
        space: what it moves: latent codes "w", or what the affine layers make of them, "styles" (StyleSpace).
        relative: whether strength 0 is no edit and twice the strength twice the edit; else it sets a coordinate.
        report: what was measured of it when it was fitted, as plain values; {} where nothing was.
    """

    name: str
    low: float = -3.0
    high: float = 3.0
    unit: str = "standard deviations of the trait"
    source: str = ""
    model: str = ""
    trait: str | None = None
    space: Space = "w"
    relative: bool = True
    report: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.space not in ("w", "styles"):
            raise EditError(f"edit {self.name!r}: space {self.space!r}; expected 'w' or 'styles'.")
        if not -math.inf < self.low < self.high < math.inf:
            raise EditError(
                f"edit {self.name!r}: a range of {self.low:g} to {self.high:g}; expected two finite numbers, low below "
                "high."
            )


@runtime_checkable
class Edit(Protocol):
    """Moves latent codes or styles. Any object with these two members can be passed to `Inversion.edit`."""

    @property
    def info(self) -> EditInfo:
        """What people should know about it; `info.space` says what it is called with."""
        ...

    def __call__(self, codes: Any, strength: Any) -> Any:
        """Codes and strengths -> edited codes; its arguments are not changed.

        Args:
            codes: space "w": latent codes [B,L,D] (or W codes [B,D], for edits that move all rows alike). Space
                "styles": layer name -> [B,I], all layers.
            strength: [B], or one number for all.

        Returns:
            The same shape. In space "styles" a layer that was not changed is the same object.
        """
        ...


@dataclass(frozen=True, eq=False)
class StoredEdit:
    """An edit with a form on disk, see `edits.store`: a dataclass with the field `info`.

    Its other fields are tensors and plain values, or it has `parts` and `from_parts` of its own.
    """

    kind: ClassVar[str]

    if TYPE_CHECKING:  # at run time these are a field and a method of each edit

        @property
        def info(self) -> EditInfo: ...

        def __call__(self, codes: Any, strength: Any) -> Any: ...

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its tensors by name, and its plain values as JSON knows them."""
        entries = {name: value for name, value in vars(self).items() if name != "info"}
        tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
        plain = {name: value for name, value in entries.items() if name not in tensors}
        return tensors, {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_parts(cls: type[Self], info: EditInfo, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> Self:
        """The edit that `parts` describes. Raises EditError where tensors and values do not fit together."""
        expected = {entry.name for entry in fields(cls) if entry.type == "Tensor"}
        plain = {entry.name for entry in fields(cls)} - expected - {"info"}
        if tensors.keys() != expected or values.keys() != plain:
            raise EditError(
                f"edit {info.name!r} holds {sorted(tensors)} and {sorted(values)}: expected the tensors "
                f"{sorted(expected)} and the values {sorted(plain)}."
            )
        return cls(info=info, **tensors, **values)  # type: ignore[call-arg]

    def with_info(self: Self, **changes: Any) -> Self:
        """The same edit with some fields of its info changed."""
        return replace(self, info=replace(self.info, **changes))  # type: ignore[call-arg]


@runtime_checkable
class TextImageEncoder(Protocol):
    """Texts and images in one space, as CLIP has it (Radford et al., ICML 2021)."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """N texts -> features [N,E]; they need not be of unit length."""
        ...

    def encode_image(self, images: Tensor) -> Tensor:
        """Images [B,3,h,w] in [-1,1], of any size -> features [B,E]; gradients flow."""
        ...


@runtime_checkable
class TextEdits(Protocol):
    """Makes an edit of two descriptions."""

    def __call__(self, target: str, *, neutral: str, beta: float) -> Edit:
        """The edit that leads from `neutral` to `target`; a higher `beta` moves fewer channels."""
        ...


def amounts(strength: Tensor | float, like: Tensor) -> Tensor:
    """Strengths as [B] of the type and on the device of codes [B,...].

    Raises:
        EditError: neither one number nor one for each image, or not finite.
    """
    values = torch.as_tensor(strength).to(like).flatten()
    if values.numel() not in (1, like.shape[0]) or not torch.isfinite(values).all():
        raise EditError(f"strength {strength!r} for {like.shape[0]} images: expected finite, one number or one each.")
    return values.expand(like.shape[0])
