"""Masks of edits: the image they give, and what becomes of them in everything that is done with an inversion."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.align.regions import region_mask
from hyperstyle.domain import REGIONS
from hyperstyle.errors import (
    AlignmentError,
    ConfigError,
    EditWarning,
    ImageError,
    InversionError,
    LandmarkError,
    NoFaceError,
)
from hyperstyle.inversion import masks
from hyperstyle.inversion.exports import baked_generator
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.strips import grid, strip
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.components import load_tensors, save_tensors
from hyperstyle.model.parts import Model

if TYPE_CHECKING:
    from conftest import Portrait


@dataclass
class HasModel:
    model: Model


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


# ---- what else is done with an inversion ----


def test_images_with_and_without_a_mask_are_joined(batch: Inversion) -> None:
    masked, whole, plain = batch[0].edit("age", 2, mask=LEFT), batch[1].edit("age", 2), batch[2]
    joined = Inversion.cat([masked, whole, plain])
    assert len(joined) == 3
    for one, each in zip(joined, (masked, whole, plain), strict=True):
        assert torch.equal(one.tensor, each.tensor)
    further = joined.edit("smile", 1, mask=TOP)
    assert torch.equal(further[2].tensor, plain.edit("smile", 1, mask=TOP).tensor), "it was not edited before"
    assert torch.equal(further[1].tensor, whole.edit("smile", 1).tensor)
    assert Inversion.cat([whole, plain]).mask is None


def test_masks_are_interpolated_and_both_ends_stay(batch: Inversion) -> None:
    masked, other, plain = batch[0].edit("age", 2, mask=LEFT), batch[1].edit("age", 2, mask=TOP), batch[2]
    line = masked.interpolate(other, 3)
    assert line.mask is not None
    assert masked.mask is not None
    assert other.mask is not None
    torch.testing.assert_close(line.mask[1:2], (masked.mask + other.mask) / 2, atol=1 / 255, rtol=0)
    for one, each in ((line[0], masked), (line[2], other)):
        torch.testing.assert_close(one.tensor, each.tensor, atol=1e-5, rtol=0)
    for a, b in ((masked, plain), (plain, masked), (masked, other.edit("smile", 1)), (batch[0], masked)):
        ends = a.interpolate(b, 2)
        torch.testing.assert_close(ends.tensor, torch.cat([a.tensor, b.tensor]), atol=1e-5, rtol=0)
    toward = batch[0].interpolate(masked, 3)
    assert torch.equal(toward[1].tensor[..., 16:], batch[0].tensor[..., 16:]), "outside of the mask nothing moves"
    torch.testing.assert_close(toward[1].tensor[..., :16], batch[0].edit("age", 1).tensor[..., :16], atol=1e-5, rtol=0)


def test_mixing_and_another_generator_concern_the_whole_image(batch: Inversion) -> None:
    masked = batch.edit("age", 2, mask=LEFT)
    whole = batch.edit("age", 2)
    assert torch.equal(masked.mix(masked, [0]).tensor, whole.tensor)
    assert torch.equal(masked.transfer(batch.model.generator).tensor, whole.tensor)
    assert masked.mix(masked, [0]).mask is None


def test_the_start_and_further_steps_stay_within_the_mask(batch: Inversion) -> None:
    masked = batch.edit("age", 2, mask=LEFT)
    initial = masked.initial.tensor
    assert torch.equal(initial[..., :16], batch.edit("age", 2).initial.tensor[..., :16])
    assert torch.equal(initial[..., 16:], batch.initial.tensor[..., 16:])
    refined, whole = masked.refine(1), batch.edit("age", 2).refine(1)
    torch.testing.assert_close(refined.tensor[..., :16], whole.tensor[..., :16], atol=2e-5, rtol=0)
    assert torch.equal(refined.tensor[..., 16:], batch.tensor[..., 16:])
    assert refined.stored_metrics["l2"] == refined.metrics()["l2"] != whole.stored_metrics["l2"]


def test_strips_and_grids_are_limited_too(batch: Inversion) -> None:
    one = batch[0]
    shown = strip(one, "age", [0, 2], mask=LEFT, cell=32)
    assert shown.tobytes() != strip(one, "age", [0, 2], cell=32).tobytes()
    limited = one.edit("age", [0, 2], mask=LEFT)
    pixels = np.asarray(shown)
    for image in limited.images:
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (32, 32, 3))[:, :, 0]
        assert (windows == np.asarray(image)).all(axis=(-3, -2, -1)).any(), "it is in the strip"
    sweeps = (("age", [0, 2]), ("smile", [0, 1]))
    assert grid(one, *sweeps, mask=LEFT).tobytes() != grid(one, *sweeps).tobytes()


@pytest.mark.parametrize("form", ["generator", "official", "offsets"])
def test_no_other_program_could_read_a_mask(batch: Inversion, form: str, tmp_path: Path) -> None:
    masked = batch[0].edit("age", 2, mask=LEFT)
    with pytest.raises(InversionError, match=r"edits have a mask, which no form but save\(\) can hold"):
        masked.export(tmp_path / "x", form)  # type: ignore[arg-type]
    with pytest.raises(InversionError, match="have a mask"):
        baked_generator(masked)
    assert not list(tmp_path.iterdir())


def test_it_is_said_that_an_edit_has_a_mask(batch: Inversion) -> None:
    assert ", edited within a mask," in repr(batch.edit("age", 2, mask=LEFT))
    assert ", edited, " in repr(batch.edit("age", 2))


def test_a_model_of_half_precision_keeps_masks_exactly(batch: Inversion) -> None:
    model = replace(batch.model, generator=copy.deepcopy(batch.model.generator).bfloat16())
    half = replace(batch, model=model, w=batch.w.bfloat16(), offset_codes=None).edit("age", 2, mask=soft())
    assert half.mask is not None
    assert half.mask.dtype == torch.float32
    assert half.tensor.dtype == torch.float32
    again = pickle.loads(pickle.dumps(half)).attach(HasModel(model))
    assert torch.equal(again.mask, half.mask)
    outside = half.mask[0, 0] == 0
    assert torch.equal(again.tensor[..., outside], replace(half, mask=None).unedited.tensor[..., outside])  # type: ignore[union-attr]


def test_in_inference_mode_a_mask_is_like_any_other(batch: Inversion) -> None:
    with torch.inference_mode():
        masked = batch.edit("age", 2, mask=soft())
    assert masked.mask is not None
    assert not masked.mask.is_inference()
    assert torch.equal(masked.tensor, batch.edit("age", 2, mask=soft()).tensor)


def test_a_mask_of_an_inversion_that_is_not_edited_limits_nothing(
    batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    odd = replace(batch, mask=torch.zeros(3, 1, 32, 32))
    assert torch.equal(odd.tensor, batch.tensor)
    odd.save(tmp_path / "x.safetensors")
    assert Inversion.load(tmp_path / "x.safetensors", tiny_inverter).mask is None


def test_a_file_keeps_a_byte_for_each_pixel_and_damages_are_named(
    batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    path = tmp_path / "x.safetensors"
    batch.edit("age", 2, mask=soft()).save(path)
    tensors, metadata = load_tensors(path)
    assert tensors["mask"].dtype == torch.uint8
    record = json.loads(metadata["record"])
    unedited = {**record, "unedited": {**record["unedited"], "tensors": [*record["unedited"]["tensors"], "mask"]}}
    for values, text, message in (
        (
            {"mask": tensors["mask"].float()},
            record,
            r"'mask' is torch.float32 .* expected bytes of the shape \(3, 1, 32",
        ),
        ({"mask": tensors["mask"][..., 1:]}, record, r"of shape \(3, 1, 32, 31\): expected bytes"),
        ({"mask": tensors["mask"][1:]}, record, r"of shape \(2, 1, 32, 32\): expected bytes"),
        (None, {**record, "unedited": None}, "a mask limits edits: expected the state before the first one"),
        ({}, unedited, "a mask limits edits"),
    ):
        content = {name: value.contiguous() for name, value in {**tensors, **(values or {})}.items()}
        if values is None:
            content = {name: value for name, value in content.items() if not name.startswith("unedited/")}
        save_tensors(path, content, {**metadata, "record": json.dumps(text)})
        with pytest.raises(InversionError, match=f"is a damaged inversion: .*{message}"):
            Inversion.load(path, tiny_inverter)


# ---- regions ----


@pytest.fixture(scope="module")
def face(tiny_inverter: HyperStyleInverter, portrait: Portrait) -> Inversion:
    """A face that was cut out by 68 landmarks."""
    photo, points = portrait(1, (160, 200))
    return tiny_inverter.invert(photo, landmarks=points)


def finder(
    *faces: npt.NDArray[np.float64],
) -> Callable[[object], Callable[[Image.Image], list[npt.NDArray[np.float64]]]]:
    """In place of `aligner_of`: finds these faces, in images of 32 px."""

    def find(image: Image.Image) -> list[npt.NDArray[np.float64]]:
        assert image.size == (32, 32)
        return list(faces)

    return lambda model: find


def test_a_region_is_where_the_landmarks_of_the_photo_are(face: Inversion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "aligner_of", lambda model: pytest.fail("landmarks are known"))
    place = face.sources[0].placement
    assert place is not None
    for region in REGIONS:
        made = masks.make_mask(face, region)
        expected = region_mask(region, place.to_crop(place.landmarks, (32, 32)), (32, 32))
        torch.testing.assert_close(made[0, 0], torch.from_numpy(expected), atol=0.5 / 255 + 1e-6, rtol=0)
        assert torch.equal(made.mul(255).round().div(255), made), "what a byte holds"
    limited = face.edit("age", 2, mask="mouth")
    assert limited.mask is not None
    outside = limited.mask[0, 0] == 0
    assert 0.5 < outside.float().mean() < 1
    assert torch.equal(limited.tensor[..., outside], face.tensor[..., outside])


def test_without_landmarks_the_aligner_looks_at_the_unedited_image(
    batch: Inversion, face: Inversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    place = face.sources[0].placement
    assert place is not None
    large = place.to_crop(place.landmarks, (32, 32))

    def find(image: Image.Image) -> list[npt.NDArray[np.float64]]:
        seen.append(image.tobytes())
        return [large * 0.5, large]

    monkeypatch.setattr(masks, "aligner_of", lambda model: find)
    both = Inversion.cat([replace(face, crop=None), replace(batch[:2], crop=None, sources=())])
    made = masks.make_mask(batch.edit("age", 2)[:2], "nose")
    assert seen == [image.tobytes() for image in batch[:2].images]
    assert torch.equal(made, masks.make_mask(face, "nose").expand(2, -1, -1, -1)), "the larger face"
    assert len(masks.make_mask(both, "nose")) == 3


@pytest.mark.parametrize(
    ("aligner", "error", "message"),
    [
        (lambda model: None, AlignmentError, "the model has no aligner"),
        (
            finder(),
            NoFaceError,
            "mask='eyes': no face was found in the reconstruction of image 0. Give the mask as an im",
        ),
        (finder(np.zeros((5, 2))), LandmarkError, "regions need 68 landmarks, and the model's aligner finds 5. Pass"),
        (finder(np.zeros((68, 2)) - 99), ImageError, "The mask of image 0 is empty"),
    ],
)
def test_a_region_that_cannot_be_found_is_refused(
    batch: Inversion,
    aligner: Callable[[object], object],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(masks, "aligner_of", aligner)
    with pytest.raises(error, match=message):
        batch.edit("age", 2, mask="eyes")


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ("mouht", ConfigError, "Did you mean 'mouth'"),
        (np.zeros((32, 32)), ImageError, "The mask of image 0 is empty"),
        (np.ones((16, 32)), ImageError, "The mask is 32 x 16 px and the reconstruction 32 x 32 px"),
        (np.full((32, 32), np.nan), ImageError, "NaN"),
        (torch.full((32, 32), 1.5), ImageError, "values from 1.5 to 1.5"),
    ],
)
def test_what_is_no_mask_is_refused_by_edits_and_pasting(
    batch: Inversion, face: Inversion, mask: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        batch.edit("age", 2, mask=mask)
    with pytest.raises(error, match=message.replace(" of image 0", "")):
        face.paste_back(mask=mask)


# ---- back to the photo ----

FACE = np.array([[-0.125, -0.0875], [0.125, -0.0875], [0, 0.05], [-0.1, 0.1625], [0.1, 0.1625]])  # of a side of 1


def untouched(inversion: Inversion, mask: Tensor, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """[H,W]: the photo's pixels around which all four pixels of the mask [H,W] are 0, or which lie outside of it."""
    place = inversion.sources[0].placement
    assert place is not None
    y, x = np.mgrid[: size[1], : size[0]]
    points = place.to_crop(np.stack([x.ravel(), y.ravel()], axis=-1), (32, 32))
    outside = ((points < -0.5 - 1e-6) | (points > 31.5 + 1e-6)).any(axis=1)
    corners = [np.clip(f(points), 0, 31).astype(int).T for f in (np.floor, np.ceil)]
    values = [mask[row[1], column[0]].numpy() for row in corners for column in corners]
    found: npt.NDArray[np.bool_] = (outside | (np.max(values, axis=0) == 0)).reshape(y.shape)
    return found


@pytest.mark.parametrize("kind", ["photo.jpg", "photo.png"])
@pytest.mark.parametrize("side", [110, 24])
@pytest.mark.parametrize("mode", ["difference", "replace"])
def test_outside_of_the_mask_the_photo_keeps_its_pixels_bit_for_bit(
    kind: str, side: int, mode: Literal["difference", "replace"], tiny_inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    levels = np.random.default_rng(4).integers(0, 256, (180, 200, 3), dtype=np.uint8)
    photo = Image.fromarray(levels)
    if kind.endswith("png"):
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(tmp_path / kind)
    turn = np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
    inversion = tiny_inverter.invert(tmp_path / kind, landmarks=side * FACE @ turn + [100, 90])
    with Image.open(tmp_path / kind) as opened:
        before = np.asarray(opened)
    masked, whole = inversion.edit("age", 3, mask=LEFT), inversion.edit("age", 3)
    given = torch.from_numpy(LEFT)
    both = torch.from_numpy(np.minimum(LEFT, TOP))
    for pasted, mask in (
        (masked.paste_back(mode=mode), given),
        (whole.paste_back(mode=mode, mask=LEFT), given),
        (masked.paste_back(mode=mode, mask=TOP), both),
    ):
        after = np.asarray(pasted)
        assert pasted.mode == ("RGBA" if kind.endswith("png") else "RGB")
        stays = untouched(inversion, mask, photo.size)
        changed = (before != after).any(axis=-1)
        assert not changed[stays].any()
        assert changed[~stays].mean() > 0.3
        assert (np.asarray(whole.paste_back(mode=mode)) != after).any()
    assert np.array_equal(np.asarray(masked.paste_back(mode=mode)), np.asarray(whole.paste_back(mode=mode, mask=LEFT)))


def test_strips_of_photos_are_limited_too(face: Inversion) -> None:
    shown = strip(face, "age", [2], mask="mouth", paste_back=True, cell=200)
    expected = face.edit("age", 2, mask="mouth").paste_back()
    pixels = np.lib.stride_tricks.sliding_window_view(np.asarray(shown), (200, 160, 3))[:, :, 0]
    assert (pixels == np.asarray(expected)).all(axis=(-3, -2, -1)).any()
    assert expected.tobytes() != face.edit("age", 2).paste_back().tobytes()


def test_a_region_outside_of_the_image_is_said_to_be_there(face: Inversion, monkeypatch: pytest.MonkeyPatch) -> None:
    far = [np.full((68, 2), 900.0) + np.random.default_rng(0).normal(0, 5, (68, 2))]
    monkeypatch.setattr(masks, "_landmarks", lambda inversion, region: far)
    with pytest.raises(ImageError, match="The region 'mouth' lies outside of the reconstruction"):
        face.edit("smile", 1, mask="mouth")
