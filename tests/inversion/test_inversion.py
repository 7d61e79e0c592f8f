"""The value that inverting returns: batches, edits, combinations, disk, the way back to the photo."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.align import paste_back
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.errors import ConfigError, EditError, InversionError, MissingFileError, WeightsError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import with_metrics
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.components import load_tensors, save_tensors
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.generator import Generator

FACE = [(28, 30), (52, 30), (40, 44), (31, 56), (49, 56)]  # eyes, nose, mouth corners in an 80 x 90 photo


@pytest.fixture(scope="module")
def batch(tiny_inverter: HyperStyleInverter) -> Inversion:
    """Three crops, inverted in two steps."""
    crops = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return tiny_inverter.invert(list(crops), align=False)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    noise = np.random.default_rng(4).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((80, 90), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def cut_out(tiny_inverter: HyperStyleInverter, photo: Image.Image) -> Inversion:
    """One face that was cut out of a photo."""
    return tiny_inverter.invert(photo, landmarks=FACE)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


# ---- a batch ----


def test_indexing_and_iterating_give_single_images(batch: Inversion) -> None:
    assert len(batch) == 3
    assert len(batch[1]) == 1
    assert torch.equal(batch[-1].w, batch.w[2:])
    assert torch.equal(batch[np.int64(1)].w, batch.w[1:2])  # type: ignore[index]
    assert torch.equal(batch[::2].w, batch.w[::2])
    assert len(list(batch)) == 3
    for i, single in enumerate(batch):
        same(single.tensor, batch.tensor[i : i + 1])
        assert single.sources == (batch.sources[i],)
        assert single.stored_metrics == {name: (values[i],) for name, values in batch.stored_metrics.items()}


@pytest.mark.parametrize("index", [3, -4])
def test_an_image_that_is_not_there_is_an_index_error(batch: Inversion, index: int) -> None:
    with pytest.raises(IndexError, match="inversion of 3"):
        batch[index]


def test_an_empty_slice_is_refused(batch: Inversion) -> None:
    with pytest.raises(InversionError, match="no image"):
        batch[3:]


def test_the_image_of_a_batch_is_refused_and_images_is_named(batch: Inversion) -> None:
    assert [image.size for image in batch.images] == [(32, 32)] * 3
    assert batch[0].image.tobytes() == batch[0].images[0].tobytes()
    with pytest.raises(InversionError, match=r"batch of 3: use \.images"):
        batch.image  # noqa: B018


def test_many_images_are_made_in_groups_and_are_the_same(batch: Inversion) -> None:
    many = batch.edit("age", list(np.linspace(-2, 2, 7)))
    assert many.tensor.shape == (21, 3, 32, 32)
    for i in (0, 8, 20):
        same(many.tensor[i : i + 1], many[i].tensor)


def test_offsets_are_made_from_the_codes_and_initial_has_none(batch: Inversion) -> None:
    assert set(batch.offsets) == {"b8.conv1", "b16.conv1", "b32.conv0"}
    assert batch.initial.offsets == {}
    assert torch.equal(batch.initial.w, batch.w)
    generator = batch.model.generator
    same(batch.initial.tensor, generator(batch.w))
    same(batch.tensor, generator(batch.w, batch.offsets))
    assert not torch.allclose(batch.tensor, batch.initial.tensor, atol=1e-3)


def test_initial_keeps_edits(batch: Inversion) -> None:
    edited = batch.edit("age", 2)
    assert torch.equal(edited.initial.w, edited.w)
    assert edited.initial.unedited is not None
    assert torch.equal(edited.initial.unedited.w, batch.w)
    assert edited.initial.unedited.offsets == {}


def test_an_inversion_says_what_it_is(batch: Inversion) -> None:
    assert repr(batch) == "<Inversion of 3 images of 32x32 px, hyperstyle, avatars, float32 on cpu>"
    edited = batch[0].edit("age", 1)
    assert repr(edited) == "<Inversion of 1 image of 32x32 px, hyperstyle, avatars, edited, float32 on cpu>"
    assert str(edited.edit("smile", [1, 2]).initial).startswith("<Inversion of 2 images of 32x32 px, w-encoder, ")


# ---- editing ----


def test_an_edit_moves_the_codes_and_keeps_the_offsets(batch: Inversion) -> None:
    edited = batch.edit("age", 2)
    direction = batch.model.edits["age"].direction  # type: ignore[attr-defined]
    torch.testing.assert_close(edited.w, batch.w + 2 * direction)
    assert edited.offset_codes is batch.offset_codes
    assert edited.unedited is batch
    assert not torch.allclose(edited.tensor, batch.tensor, atol=1e-3)


def test_edits_add_up_in_any_order(batch: Inversion) -> None:
    together = batch.edit(age=2, smile=-1)
    torch.testing.assert_close(together.w, batch.edit("smile", -1).edit("age", 2).w)
    torch.testing.assert_close(batch.edit("age", 1).edit("age", 1).w, batch.edit("age", 2).w)
    assert together.unedited is batch


def test_strength_zero_changes_nothing_at_all(batch: Inversion) -> None:
    assert torch.equal(batch.edit(age=0, smile=0).tensor, batch.tensor)


@pytest.mark.parametrize(
    "strengths",
    [[-1, 0, 2.5], (-1, 0, 2.5), np.array([-1, 0, 2.5], np.float32), torch.tensor([-1, 0, 2.5])],
    ids=["list", "tuple", "array", "tensor"],
)
def test_several_strengths_give_each_image_at_each_strength(batch: Inversion, strengths: Any) -> None:
    strip = batch.edit("age", strengths)
    assert len(strip) == 9
    expected = [batch[i].edit("age", s).w for i in range(3) for s in (-1, 0, 2.5)]
    torch.testing.assert_close(strip.w, torch.cat(expected))
    assert strip.unedited is not None
    assert torch.equal(strip.unedited.w, batch.w.repeat_interleave(3, 0))
    assert [s.name for s in strip.sources] == [s.name for s in batch.sources for _ in range(3)]
    again = strip.edit("smile", [0, 1])
    assert len(again) == 18
    assert again.unedited is not None
    assert torch.equal(again.unedited.w, batch.w.repeat_interleave(6, 0))


def test_an_object_of_ones_own_is_an_edit(batch: Inversion) -> None:
    class Towards:
        info = EditInfo("towards the mean", 0, 1)

        def __call__(self, w: Tensor, strength: Tensor) -> Tensor:
            return w.lerp(batch.model.generator.latent_avg, strength[:, None, None])

    halfway = batch.edit(Towards(), 0.5)
    torch.testing.assert_close(halfway.w, (batch.w + batch.model.generator.latent_avg) / 2)


def test_an_unknown_edit_is_refused_with_a_suggestion(batch: Inversion) -> None:
    with pytest.raises(EditError, match=r"'smle'.*Did you mean 'smile'\?"):
        batch.edit("smle", 1)
    with pytest.raises(EditError, match=r"'agee'"):
        batch.edit(agee=1)
    with pytest.raises(EditError, match="no edit was given"):
        batch.edit()


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), [1, float("nan")], [], "2", None, [[1], [1, 2]]])
def test_a_strength_that_is_not_a_finite_number_is_refused(batch: Inversion, strength: Any) -> None:
    with pytest.raises(EditError, match="'age': expected a finite number"):
        batch.edit("age", strength)


def test_an_edit_that_changes_the_shape_of_the_codes_is_refused(batch: Inversion) -> None:
    class Cuts:
        info = EditInfo("cuts")

        def __call__(self, w: Tensor, strength: Tensor) -> Tensor:
            return w[:, :2]

    with pytest.raises(EditError, match="'cuts' returned"):
        batch.edit(Cuts())
    with pytest.raises(EditError, match="another generator"):
        batch.edit(DirectionEdit(torch.zeros(17), EditInfo("wide")))


# ---- combining ----


def test_interpolation_ends_at_both_inversions(batch: Inversion) -> None:
    a, b = batch[0], batch[1]
    path = a.interpolate(b, 4)
    assert len(path) == 4
    assert torch.equal(path.w[:1], a.w)
    assert torch.equal(path.w[3:], b.w)
    same(path.tensor[:1], a.tensor)
    same(path.tensor[3:], b.tensor)
    third = {name: (2 * a.offsets[name] + b.offsets[name]) / 3 for name in a.offsets}
    for name, value in path[1].offsets.items():
        torch.testing.assert_close(value, third[name], atol=1e-5, rtol=1e-5)


def test_interpolation_moves_style_offsets_too(batch: Inversion) -> None:
    change = torch.randn(1, 16)
    a, b = replace(batch[0], style_offsets={"b8.conv0": change}), batch[1]
    path = a.interpolate(b, 3)
    torch.testing.assert_close(path.style_offsets["b8.conv0"], torch.cat([change, change / 2, change * 0]))
    same(path[0].tensor, a.tensor)
    same(path[2].tensor, b.tensor)


def test_interpolation_that_cannot_be_is_refused(batch: Inversion) -> None:
    with pytest.raises(InversionError, match="batch of 3"):
        batch.interpolate(batch[0])
    with pytest.raises(InversionError, match="at least 2"):
        batch[0].interpolate(batch[1], 1)


def test_absent_offsets_are_zero_offsets_on_the_way_from_one_image_to_another(batch: Inversion) -> None:
    a, b = batch[0], batch[1].initial
    there, back = a.interpolate(b, 5), b.interpolate(a, 5)
    same(there.tensor[:1], a.tensor)
    same(there.tensor[4:], b.tensor)
    for way, fraction in ((there[1], 0.75), (back[1], 0.25)):
        for name, offset in a.offsets.items():
            torch.testing.assert_close(way.offsets[name], fraction * offset)
    assert a.initial.interpolate(b, 2).offset_codes is None


def test_images_with_and_without_offsets_are_one_batch(
    batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    dense = {name: offset[..., :1, :1] for name, offset in batch[2].offsets.items() if name != "b8.conv1"}
    imported = replace(batch[2], offset_codes=OffsetCodes.of_dense(dense))
    parts = [batch[0].initial, batch[1:], imported, batch[0]]
    joined = Inversion.cat(parts)
    expected = torch.cat([part.tensor for part in parts])
    same(joined.tensor, expected)
    for i, single in enumerate(joined):
        same(single.tensor, expected[i : i + 1])
    joined.save(tmp_path / "joined.safetensors")
    assert torch.equal(Inversion.load(tmp_path / "joined.safetensors", tiny_inverter).tensor, joined.tensor)
    same(joined[0].mix(batch[1], ["b16.conv1"]).tensor, batch[0].initial.mix(batch[1], ["b16.conv1"]).tensor)
    same(batch[1].mix(joined[0], ["b16.conv1"]).tensor, batch[1].mix(batch[0].initial, ["b16.conv1"]).tensor)
    assert Inversion.cat([batch[0].initial, batch[1].initial]).offset_codes is None


def test_codes_without_which_nothing_stands_for_no_offset_are_refused(batch: Inversion) -> None:
    fewer = batch[0].mix(batch[1].initial, ["b16.conv1"])
    for combine in (lambda: Inversion.cat([batch[0], fewer]), lambda: batch[0].interpolate(fewer)):
        with pytest.raises(InversionError, match=r"3 here and 2 there: .* no code stands for no offset"):
            combine()


def test_mixing_takes_rows_and_offsets_of_the_layers_named(batch: Inversion) -> None:
    a, b = batch[0], batch[1]
    mixed = a.mix(b, ["b16.conv1", 8])  # 8 is b32.conv0
    rows = [4, 5]
    assert torch.equal(mixed.w[:, rows], b.w[:, rows])
    assert torch.equal(mixed.w[:, [0, 1, 2, 3, 6, 7]], a.w[:, [0, 1, 2, 3, 6, 7]])
    for name, whose in (("b8.conv1", a), ("b16.conv1", b), ("b32.conv0", b)):
        torch.testing.assert_close(mixed.offsets[name], whose.offsets[name])
    assert mixed.unedited is a
    everything = a.mix(b, [s.name for s in a.model.generator.layers])
    same(everything.tensor, b.tensor)
    assert torch.equal(a.mix(b, []).w, a.w)


def test_mixing_with_an_image_without_offsets_takes_these_away(batch: Inversion) -> None:
    a, b = batch[0], batch[1]
    assert set(a.mix(b.initial, ["b16.conv1"]).offsets) == {"b8.conv1", "b32.conv0"}
    assert set(a.initial.mix(b, ["b16.conv1"]).offsets) == {"b16.conv1"}


def test_mixing_that_cannot_be_is_refused(batch: Inversion) -> None:
    with pytest.raises(InversionError, match="batch of 3 with a batch of 1"):
        batch.mix(batch[0], [0])
    with pytest.raises(ConfigError, match="'b99'"):
        batch.mix(batch, ["b99"])


def other_generator(inversion: Inversion) -> Generator:
    torch.manual_seed(5)
    return Generator(inversion.model.generator.config).eval().requires_grad_(False)


def test_images_of_other_models_are_not_combined(batch: Inversion) -> None:
    foreign = batch[1].transfer(other_generator(batch))
    ways: list[Callable[[], Inversion]] = [lambda: batch[0].interpolate(foreign), lambda: batch[0].mix(foreign, [0])]
    for combine in ways:
        with pytest.raises(InversionError, match="different models"):
            combine()


def test_transfer_uses_codes_and_offsets_in_another_generator(batch: Inversion) -> None:
    other = other_generator(batch)
    moved = batch.transfer(other)
    same(moved.tensor, other(batch.w, batch.offsets))
    some = batch.transfer(other, layers=["b16.conv1"])
    same(some.tensor, other(batch.w, {"b16.conv1": batch.offsets["b16.conv1"]}))
    w = torch.randn(3, 16)
    same(batch.transfer(other, w=w).tensor, other(w, batch.offsets))
    same(moved.edit("age", 1).tensor, other(batch.edit("age", 1).w, batch.offsets))
    same(batch.transfer(batch.model.generator).tensor, batch.tensor)


def test_inversions_of_another_type_or_device_are_not_combined(batch: Inversion, tiny_model_dir: Path) -> None:
    fine = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu", dtype=torch.float64)
    other = fine.invert(torch.zeros(3, 32, 32), align=False)
    for combine in (lambda: Inversion.cat([batch, other]), lambda: batch[0].interpolate(other)):
        with pytest.raises(InversionError, match=r"is torch\.float32 on cpu, the other torch\.float64 on cpu: load"):
            combine()
    with pytest.raises(InversionError, match="the same layers and type"):
        other.transfer(other_generator(batch))


def test_a_batch_has_what_all_of_its_parts_have(batch: Inversion, tiny_inverter: HyperStyleInverter) -> None:
    assert batch.crop is not None
    with_intermediates = tiny_inverter.invert(list(batch.crop), align=False, intermediates=True)
    assert len(Inversion.cat([with_intermediates[0], with_intermediates[1:]]).intermediates) == 3
    joined = Inversion.cat([with_intermediates, batch[0], batch[0].interpolate(batch[1], 2)])
    assert (joined.intermediates, joined.sources, joined.crop) == ((), (), None)
    same(joined[5].tensor, batch[1].tensor)


def test_transfer_that_cannot_be_is_refused(batch: Inversion) -> None:
    wider = Generator(replace(batch.model.generator.config, channels=(16, 16, 16, 12)))
    with pytest.raises(InversionError, match="the same layers"):
        batch.transfer(wider)
    with pytest.raises(InversionError, match=r"expected \(3, 8, 16\)"):
        batch.transfer(other_generator(batch), w=torch.zeros(2, 8, 16))
    with pytest.raises(InversionError, match=r"given an Inversion: expected a generator, such as inverter\.model"):
        batch.transfer(batch)  # type: ignore[arg-type]


def test_refining_goes_on_from_where_it_stopped(batch: Inversion, tiny_inverter: HyperStyleInverter) -> None:
    assert batch.crop is not None
    five = tiny_inverter.invert(list(batch.crop), align=False, steps=5)
    more = batch.refine(3)
    assert torch.equal(more.tensor, five.tensor)
    assert more.stored_metrics == five.stored_metrics
    steps: list[int] = []
    batch.refine(callback=lambda step: steps.append(step.step))
    assert steps == [0, 1, 2]


# ---- figures ----


def test_metrics_compare_with_the_crop(batch: Inversion) -> None:
    assert batch.crop is not None
    assert set(batch.metrics()) == {"l2", "ms_ssim"}
    expected = (batch.tensor - batch.crop).square().mean((1, 2, 3))
    assert batch.metrics()["l2"] == pytest.approx(expected.tolist(), rel=1e-5)
    assert batch.metrics() == batch.stored_metrics
    assert batch.initial.metrics()["l2"] != batch.metrics()["l2"]


def test_without_crop_or_stored_metrics_there_are_no_metrics(batch: Inversion) -> None:
    with pytest.raises(InversionError, match="invert the image again"):
        replace(batch, crop=None, stored_metrics={}).metrics()
    with pytest.raises(InversionError, match="invert the image again"):
        with_metrics(replace(batch, crop=None))
    assert replace(batch, crop=None).metrics() == batch.stored_metrics


def test_the_metrics_of_an_image_are_not_those_of_its_edit(batch: Inversion) -> None:
    edited = batch.edit("age", 2)
    assert edited.metrics()["l2"] != batch.stored_metrics["l2"]
    assert edited.unedited is not None
    assert edited.unedited.stored_metrics == batch.stored_metrics
    with pytest.raises(InversionError, match="no metrics were stored"):
        replace(edited, crop=None).metrics()


# ---- disk ----


def test_a_saved_inversion_is_small_and_makes_the_same_image_bit_for_bit(
    batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    for name, inversion in {
        "plain": batch,
        "one": batch[1],
        "edited": batch.edit(age=1.5, smile=-1),
        "initial": batch.initial,
        "mixed": batch[0].mix(batch[1], [0, 6]),
        "path": batch[0].interpolate(batch[1], 3),
    }.items():
        path = tmp_path / f"{name}.safetensors"
        inversion.save(path)
        loaded = Inversion.load(path, tiny_inverter)
        assert torch.equal(loaded.tensor, inversion.tensor), name
        assert torch.equal(loaded.w, inversion.w)
        assert (loaded.method, loaded.stored_metrics) == (inversion.method, inversion.stored_metrics)
        assert [s.name for s in loaded.sources] == [s.name for s in inversion.sources]
        assert (loaded.unedited is None) == (inversion.unedited is None)
        if inversion.unedited is not None and loaded.unedited is not None:
            assert torch.equal(loaded.unedited.tensor, inversion.unedited.tensor), name
        # 16 numbers for w, 16 for each of 3 layers and the count, in 4 bytes; the rest is the record.
        assert path.stat().st_size < 4096 + len(inversion) * 2 * 4 * (16 + 8 * 16 + 1)


def test_an_edit_that_gives_the_codes_back_can_be_saved(
    batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    class Nothing:
        info = EditInfo("nothing")

        def __call__(self, w: Tensor, strength: Tensor) -> Tensor:
            return w

    batch.edit(Nothing()).save(tmp_path / "x.safetensors")
    assert torch.equal(Inversion.load(tmp_path / "x.safetensors", tiny_inverter).w, batch.w)


def test_codes_that_are_the_same_in_every_row_are_stored_once(batch: Inversion, tmp_path: Path) -> None:
    from safetensors import safe_open

    batch.save(tmp_path / "w.safetensors")
    batch[0].mix(batch[1], [0]).save(tmp_path / "rows.safetensors")
    for name, rows in (("w", 1), ("rows", 8)):
        with safe_open(tmp_path / f"{name}.safetensors", "pt") as file:
            assert file.get_tensor("w").shape[1] == rows


def test_style_offsets_survive_the_disk(batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter) -> None:
    styled = replace(batch[0], style_offsets={"b8.conv0": torch.randn(1, 16)})
    assert not torch.allclose(styled.tensor, batch[0].tensor, atol=1e-3)
    styled.save(tmp_path / "x.safetensors")
    assert torch.equal(Inversion.load(tmp_path / "x.safetensors", tiny_inverter).tensor, styled.tensor)


def test_a_loaded_inversion_keeps_its_figures_and_says_what_it_cannot_do(
    batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    batch.save(tmp_path / "x.safetensors")
    loaded = Inversion.load(tmp_path / "x.safetensors", tiny_inverter)
    assert loaded.metrics() == batch.stored_metrics
    with pytest.raises(InversionError, match="invert the image again"):
        loaded.refine()
    same(loaded.edit("age", 1).tensor, batch.edit("age", 1).tensor)


def test_a_file_of_another_model_is_refused(
    batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    moved = batch.transfer(other_generator(batch))
    moved.save(tmp_path / "x.safetensors")
    with pytest.raises(InversionError, match=r"with fingerprint \w{16}; this one is 'avatars', \w{16}"):
        Inversion.load(tmp_path / "x.safetensors", tiny_inverter)
    assert torch.equal(Inversion.load(tmp_path / "x.safetensors", moved).tensor, moved.tensor)


def test_files_that_are_no_inversions_are_refused(tmp_path: Path, tiny_inverter: HyperStyleInverter) -> None:
    from safetensors.torch import save_file

    with pytest.raises(MissingFileError, match="nowhere"):
        Inversion.load(tmp_path / "nowhere.safetensors", tiny_inverter)
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(WeightsError, match=r"junk\.safetensors"):
        Inversion.load(tmp_path / "junk.safetensors", tiny_inverter)
    save_file({"w": torch.zeros(1, 1, 16)}, tmp_path / "other.safetensors")
    with pytest.raises(InversionError, match="is not an inversion"):
        Inversion.load(tmp_path / "other.safetensors", tiny_inverter)
    for record in ("{", '{"rows": 8}'):
        metadata = {"format": "hyperstyle-inversion/2", "record": record}
        save_file({"w": torch.zeros(1, 1, 16)}, tmp_path / "damaged.safetensors", metadata)
        with pytest.raises(InversionError, match="is a damaged inversion"):
            Inversion.load(tmp_path / "damaged.safetensors", tiny_inverter)


def test_a_file_that_does_not_tell_the_start_is_read(
    batch: Inversion, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    replace(batch, start="e4e").save(tmp_path / "now.safetensors")
    assert Inversion.load(tmp_path / "now.safetensors", tiny_inverter).initial.method == "e4e"
    tensors, metadata = load_tensors(tmp_path / "now.safetensors")
    record = {name: value for name, value in json.loads(metadata["record"]).items() if name != "start"}
    save_tensors(tmp_path / "before.safetensors", tensors, {**metadata, "record": json.dumps(record)})
    assert Inversion.load(tmp_path / "before.safetensors", tiny_inverter).initial.method == "w-encoder"


# ---- back to the photo ----


def test_an_edit_of_strength_zero_changes_no_pixel_of_the_photo(cut_out: Inversion, photo: Image.Image) -> None:
    assert cut_out.edit("age", 0).paste_back().tobytes() == photo.tobytes()


def test_the_mode_of_pasting_can_be_chosen(cut_out: Inversion, photo: Image.Image) -> None:
    assert cut_out.paste_back(mode="difference").tobytes() == photo.tobytes()
    edited, placement = cut_out.edit("age", 3), cut_out.sources[0].placement
    assert placement is not None
    for options in ({}, {"feather": 0.3}, {"match_colors": False}):
        expected = paste_back(photo, edited.tensor, placement.footprint, mode="replace", **options)
        assert edited.paste_back(mode="replace", **options).tobytes() == expected.tobytes()
    assert edited.paste_back(mode="difference").tobytes() == edited.paste_back().tobytes()
    with pytest.raises(ConfigError, match="'swap'"):
        edited.paste_back(mode="swap")  # type: ignore[arg-type]


def test_an_edit_changes_the_face_and_nothing_around_it(cut_out: Inversion, photo: Image.Image) -> None:
    before, after = np.asarray(photo).astype(int), np.asarray(cut_out.edit("age", 3).paste_back()).astype(int)
    placement = cut_out.sources[0].placement
    assert placement is not None
    left, top = np.floor(placement.footprint.min(0)).astype(int)
    right, bottom = np.ceil(placement.footprint.max(0)).astype(int)
    changed = np.abs(after - before).max(2) > 0
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 50
    assert (rows.min() >= top - 1) and (rows.max() <= bottom + 1)  # noqa: PT018
    assert (columns.min() >= left - 1) and (columns.max() <= right + 1)  # noqa: PT018


def test_without_an_edit_the_reconstruction_replaces_the_face(cut_out: Inversion, photo: Image.Image) -> None:
    pasted = cut_out.paste_back()
    assert pasted.size == photo.size
    assert pasted.tobytes() != photo.tobytes()


def test_a_loaded_inversion_needs_the_photo_again(
    cut_out: Inversion, photo: Image.Image, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    edited = cut_out.edit("smile", 2)
    edited.save(tmp_path / "x.safetensors")
    loaded = Inversion.load(tmp_path / "x.safetensors", tiny_inverter)
    with pytest.raises(InversionError, match="pass it"):
        loaded.paste_back()
    photo.save(tmp_path / "photo.png")
    assert loaded.paste_back(tmp_path / "photo.png").tobytes() == edited.paste_back().tobytes()
    with pytest.raises(InversionError, match=r"\(40, 45\).*\(80, 90\)"):
        loaded.paste_back(photo.resize((40, 45)))


def test_pasting_back_what_was_not_cut_out_is_refused(batch: Inversion) -> None:
    with pytest.raises(InversionError, match="batch of 3"):
        batch.paste_back()
    with pytest.raises(InversionError, match="not cut out"):
        batch[0].paste_back()


def test_the_change_of_another_generator_is_added_to_the_photo(cut_out: Inversion, photo: Image.Image) -> None:
    unchanged = cut_out.transfer(cut_out.model.generator).paste_back()
    assert unchanged.tobytes() == photo.tobytes()
    assert cut_out.transfer(other_generator(cut_out)).paste_back().tobytes() != photo.tobytes()
