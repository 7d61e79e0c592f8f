"""GANSpace (Härkönen et al., NeurIPS 2020): edits along principal axes of W."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from hyperstyle.edits.direction import DirectionEdit, add_to_rows, check_codes, rows_from
from hyperstyle.edits.protocol import EditInfo, StoredEdit, amounts
from hyperstyle.errors import EditError, with_article
from hyperstyle.io.torch_files import as_tensor

_UNIT = "standard deviations along the component"
_LONG_NAMES = {"mean": "lat_mean", "comp": "lat_comp", "std": "lat_stdev"}  # as GANSpace itself writes them


@dataclass(frozen=True, eq=False)
class GanspaceEdit(StoredEdit):
    """Sets the coordinate of a code along a component to `strength` standard deviations.

    Absolute, as in e4e and all that follow it: delta = (strength - here) * std * axis is added to every row of `rows`,
    where here = <row 0 of the code - mean, axis> / std. Applied twice it is the same as once, and 0 is the mean.

    Attributes:
        axis: [D], the component, of unit length.
        mean: [D], mean of W.
        std: deviation of W along the axis.
        info: name, range, unit, source.
        rows: (first, end) rows that are moved; None moves all.
        invert: the sign of the target is changed for codes above the mean, so that they move to the other side of it.
    """

    axis: Tensor
    mean: Tensor
    std: float
    info: EditInfo
    rows: tuple[int, int] | None = None
    invert: bool = False

    kind: ClassVar[str] = "ganspace"

    def __post_init__(self) -> None:
        if self.axis.ndim != 1 or self.mean.shape != self.axis.shape:
            raise EditError(
                f"edit {self.info.name!r}: axis {tuple(self.axis.shape)} and mean {tuple(self.mean.shape)}; expected "
                "[D] both."
            )
        std_fits = isinstance(self.std, (int, float)) and 0 < self.std < math.inf
        if not std_fits or not torch.isfinite(torch.stack((self.axis, self.mean))).all():
            raise EditError(f"edit {self.info.name!r}: expected finite numbers and a deviation above 0.")
        if not isinstance(self.invert, bool):
            raise EditError(f"edit {self.info.name!r}: invert {self.invert!r}; expected true or false.")
        object.__setattr__(self, "rows", rows_from(self.rows, self.info.name))

    def __call__(self, codes: Tensor, strength: Tensor | float) -> Tensor:
        """Codes whose coordinate is the strength.

        Args:
            codes: [B,L,D]; or [B,D], where all rows are moved.
            strength: [B] or a number, in standard deviations from the mean.

        Raises:
            EditError: the edit is for another width or number of rows.
        """
        check_codes(codes, self.axis, self.rows, self.info.name)
        axis, target = self.axis.to(codes), amounts(strength, codes)
        first = codes if codes.ndim == 2 else codes[:, 0]  # [B,D]
        here = ((first - self.mean.to(codes)) * axis).sum(1) / self.std  # [B]
        if self.invert:
            target = torch.where(here > 0, -target, target)
        delta = ((target - here) * self.std)[:, None] * axis  # [B,D]
        return add_to_rows(codes, delta if codes.ndim == 2 else delta[:, None], self.rows)


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of W.

    Attributes:
        mean: [D], mean of W.
        comp: [K,D], axes of unit length, the one with the largest deviation first.
        std: [K], deviation of W along each.
    """

    mean: Tensor
    comp: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        shapes = [tuple(tensor.shape) for tensor in (self.mean, self.comp, self.std)]
        if self.comp.ndim != 2 or shapes[0] != shapes[1][1:] or shapes[2] != shapes[1][:1]:
            raise EditError(f"mean, comp and std of shapes {shapes}: expected [D], [K, D] and [K].")

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "components") -> Components:
        """From `mean`, `comp` and `std`, or GANSpace's own `lat_mean`, `lat_comp` and `lat_stdev`.

        Args:
            values: tensors or arrays: mean [1,D] or [D], comp [K,1,D] or [K,D], std [K].
            where: the name of the file, for errors.

        Raises:
            EditError: something is missing or has another shape.
        """
        names = _LONG_NAMES if "lat_comp" in values else {name: name for name in _LONG_NAMES}
        if missing := [name for name in names.values() if name not in values]:
            raise EditError(f"{where} has no {missing[0]!r}: expected {', '.join(names.values())}.")
        mean, comp, std = (_numbers(values[name], name, where) for name in names.values())
        if comp.ndim == 3 and comp.shape[1] == 1:
            comp = comp[:, 0]
        try:
            return cls(mean.flatten().clone(), comp.clone(memory_format=torch.contiguous_format), std.flatten().clone())
        except EditError as error:
            raise EditError(f"{where}: {error}") from error

    def edit(
        self,
        component: int,
        *,
        name: str,
        rows: tuple[int, int] | None = None,
        relative: bool = False,
        invert: bool = False,
        low: float = -3.0,
        high: float = 3.0,
        source: str = "",
    ) -> GanspaceEdit | DirectionEdit:
        """The edit along one component.

        Args:
            component: which, from 0 on.
            name, low, high, source: for its info.
            rows: (first, end) rows that are moved; None moves all.
            relative: add strength * std * axis, as GANSpace's own notebooks mostly do: a `DirectionEdit`.
            invert: see `GanspaceEdit`.

        Raises:
            EditError: there is no such component, its deviation is 0, or both `relative` and `invert`.
        """
        if not isinstance(component, Integral) or not 0 <= component < len(self.std):
            raise EditError(f"component {component!r}: there are {len(self.std)}, expected 0 to {len(self.std) - 1}.")
        if relative and invert:
            raise EditError(f"edit {name!r}: invert sets a coordinate, relative adds to it. Choose one of the two.")
        axis, std = self.comp[int(component)], float(self.std[int(component)])
        if not 0 < std < math.inf:
            raise EditError(f"edit {name!r}: component {component} has a deviation of {std:g}; expected one above 0.")
        if relative:
            return DirectionEdit(std * axis, EditInfo(name, low, high, _UNIT, source), rows)
        info = EditInfo(name, low, high, f"{_UNIT}, from the mean", source, relative=False)
        return GanspaceEdit(axis, self.mean, std, info, rows, invert)


def _numbers(value: object, name: str, where: str) -> Tensor:
    """A plain tensor of float32. Raises EditError for what cannot be one."""
    tensor = as_tensor(value)
    if tensor is None or tensor.is_complex() or tensor.layout != torch.strided or tensor.is_meta:
        raise EditError(f"{where}: {name!r} holds {with_article(type(value))}; expected an array or tensor of numbers.")
    return tensor.detach().float()


def exported_edit(values: Mapping[str, Any], *, where: str, name: str | None = None) -> DirectionEdit:
    """An edit that GANSpace's interactive tool exported: w + strength * std * axis on its rows.

    Args:
        values: its `lat_comp` [1,D], `lat_stdev`, `edit_start`, `edit_end` (exclusive), `sigma_range` and so on.
        where: the name of the file, for errors and the source.
        name: what to call the edit; None takes the name in the file.

    Raises:
        EditError: an edit of Z or of activations, or something is missing or malformed.
    """
    space, kind = values.get("latent_space"), values.get("edit_type")
    if space != "W" or kind != "latent":
        raise EditError(f"{where} is an edit of type {kind!r} in the space {space!r}; only 'latent' ones in 'W' fit.")
    try:
        axis = _numbers(values["lat_comp"], "lat_comp", where).flatten()
        std, reach = float(values["lat_stdev"]), abs(float(values["sigma_range"]))
        rows = rows_from([values["edit_start"], values["edit_end"]], where)
        exported_name = str(values["name"])
    except (KeyError, TypeError, ValueError) as error:
        raise EditError(f"{where} is no whole export of GANSpace: {error!r}.") from error
    source = f"GANSpace, {where}: component {values.get('component_index')} of {values.get('model_name')}"
    return DirectionEdit(std * axis, EditInfo(name or exported_name, -reach, reach, _UNIT, source), rows)
