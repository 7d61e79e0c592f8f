"""Masks of edits: the image they give, and what becomes of them in everything that is done with an inversion."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.errors import (
    EditWarning,
)
from hyperstyle.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

LEFT = np.repeat(np.repeat([[255, 0]], 16, axis=1), 32, axis=0).astype(np.uint8)
TOP = np.ascontiguousarray(LEFT.T)


def soft() -> Tensor:
    """[32,32] from 0 to 1, left to right."""
    return torch.linspace(0, 1, 32).expand(32, 32)


@pytest.fixture(scope="module")
def batch(tiny_inverter: HyperStyleInverter) -> Inversion:
    """Three crops, inverted in two steps."""
    crops = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return tiny_inverter.invert(list(crops), align=False)


def test_the_image_is_the_edited_one_within_the_mask_and_the_unedited_one_outside(batch: Inversion) -> None:
    whole, limited = batch.edit("age", 2), batch.edit("age", 2, mask=LEFT)
    assert torch.equal(limited.tensor[..., :16], whole.tensor[..., :16])
    assert torch.equal(limited.tensor[..., 16:], batch.tensor[..., 16:])
    assert not torch.equal(whole.tensor[..., 16:], batch.tensor[..., 16:])
    faded = batch.edit("age", 2, mask=soft())
    assert faded.mask is not None
    expected = faded.mask * whole.tensor + (1 - faded.mask) * batch.tensor
    torch.testing.assert_close(faded.tensor, expected, atol=1e-6, rtol=0)
    assert torch.equal(limited.unmasked(), whole.tensor)


def test_masks_of_several_edits_are_united(batch: Inversion) -> None:
    both = batch.edit("age", 2, mask=LEFT).edit("smile", 1, mask=TOP)
    assert both.mask is not None
    assert torch.equal(both.mask[1, 0] * 255, torch.from_numpy(np.maximum(LEFT, TOP)).float())
    whole = batch.edit(age=2, smile=1)
    assert torch.equal(both.tensor[..., :16, :], whole.tensor[..., :16, :])
    assert torch.equal(both.tensor[..., :16], whole.tensor[..., :16])
    assert torch.equal(both.tensor[..., 16:, 16:], batch.tensor[..., 16:, 16:])
    assert torch.equal(batch.edit(age=2, smile=1, mask=LEFT).tensor[..., 16:], batch.tensor[..., 16:])


def test_an_edit_without_a_mask_is_of_the_whole_image(batch: Inversion) -> None:
    whole = batch.edit(age=2, smile=1)
    assert torch.equal(batch.edit("age", 2, mask=LEFT).edit("smile", 1).tensor, whole.tensor)
    with pytest.warns(EditWarning, match="earlier edit changed the whole image, so that this mask limits nothing"):
        after = batch.edit("age", 2).edit("smile", 1, mask=LEFT)
    assert after.mask is None
    assert torch.equal(after.tensor, whole.tensor)


def test_every_strength_has_the_mask_of_its_image(batch: Inversion) -> None:
    each = torch.zeros(3, 1, 32, 32)
    for i in range(3):
        each[i, :, i] = 1
    several = batch.edit("age", [0, 1, 2], mask=each)
    assert torch.equal(several.mask, each.repeat_interleave(3, dim=0))
    assert torch.equal(several[5].tensor, batch[1].edit("age", 2, mask=each[1, 0]).tensor)


@pytest.mark.parametrize(
    "travel",
    [
        lambda inversion, path, inverter: (inversion.save(path), Inversion.load(path, inverter))[1],
        lambda inversion, path, inverter: pickle.loads(pickle.dumps(inversion)),
        lambda inversion, path, inverter: pickle.loads(pickle.dumps(inversion)).attach(inverter),
        lambda inversion, path, inverter: copy.deepcopy(inversion),
        lambda inversion, path, inverter: Inversion.cat(list(inversion)),
    ],
    ids=["file", "pickle", "attach", "copy", "iterate and join"],
)
def test_a_mask_travels_without_loss(
    batch: Inversion,
    tmp_path: Path,
    tiny_inverter: HyperStyleInverter,
    travel: Callable[[Inversion, Path, HyperStyleInverter], Inversion],
) -> None:
    edited = batch.edit("age", 2, mask=soft())
    again = travel(edited, tmp_path / "x.safetensors", tiny_inverter)
    assert edited.mask is not None
    assert again.mask is not None
    assert torch.equal(again.mask, edited.mask)
    assert torch.equal(again.tensor, edited.tensor)
    assert torch.equal(again.edit("smile", 1, mask=LEFT).tensor, edited.edit("smile", 1, mask=LEFT).tensor)
