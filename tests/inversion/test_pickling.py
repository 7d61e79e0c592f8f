"""Inversions that are copied, pickled and sent to other processes: what travels, and how they find their model."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from PIL import Image

from hyperstyle.errors import InversionError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.parts import Model

FACE = [(28, 30), (52, 30), (40, 44), (31, 56), (49, 56)]

POOL = """
import json, multiprocessing, sys
import torch
from PIL import Image
from hyperstyle import HyperStyleInverter, InversionError

kept = []  # an inverter, once one was loaded


def bytes_of(inversion):
    return inversion.tensor.numpy().tobytes()


def without_model(inversion):
    found = {"repr": repr(inversion), "w": inversion.w.tolist(), "count": len(inversion)}
    found["metrics"] = inversion.stored_metrics
    try:
        inversion.images
    except InversionError as error:
        return {**found, "error": str(error)}


def attached(inversion, folder):
    inverter = HyperStyleInverter.from_pretrained(folder, device="cpu")
    return bytes_of(inversion.attach(inverter))


def found(inversion, folder):
    kept.append(HyperStyleInverter.from_pretrained(folder, device="cpu"))
    return bytes_of(inversion), inversion.model is kept[0].model


def inverted(image):
    return kept[0].invert(image)


if __name__ == "__main__":
    folder = sys.argv[1]
    inverter = HyperStyleInverter.from_pretrained(folder, device="cpu")
    image = Image.radial_gradient("L").convert("RGB").resize((64, 64))
    inversion = inverter.invert(image).edit("age", [1, 2])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        lacking = pool.apply(without_model, (inversion,))
        pixels = pool.apply(attached, (inversion, folder))
        more = pool.apply(found, (inversion, folder))
        back = pool.apply(inverted, (image,))
    print(json.dumps({
        "repr": lacking["repr"],
        "error": lacking["error"],
        "same w": lacking["w"] == inversion.w.tolist() and lacking["count"] == 2,
        "same figures": lacking["metrics"] == inversion.stored_metrics,
        "attached": pixels == bytes_of(inversion),
        "found": more == (bytes_of(inversion), True),
        "back": back.model is inverter.model and torch.equal(back.tensor, inverter.invert(image).tensor),
    }))
"""


@pytest.fixture(scope="module")
def batch(tiny_inverter: HyperStyleInverter) -> Inversion:
    """Two crops, inverted in two steps."""
    crops = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return tiny_inverter.invert(list(crops), align=False, intermediates=True)


def lonely(folder: Path) -> Inversion:
    """An inversion that alone keeps its model, which no other test has. (The value of a fixture would live on.)"""
    inverter = HyperStyleInverter.from_pretrained(folder, device="cpu")
    generator = inverter.model.generator.with_parameters({"conv1.conv.modulation.bias": torch.ones(16) * 2})
    changed_inverter = HyperStyleInverter(
        generator, inverter.model.encoder, inverter.model.hypernetwork, domain=inverter.model.domain, steps=2
    )
    return changed_inverter.invert(Image.radial_gradient("L"), align=False)


def round_trip(inversion: Inversion) -> Inversion:
    again: Inversion = pickle.loads(pickle.dumps(inversion))
    return again


def test_a_pickle_is_the_state_and_finds_the_very_model_again(
    batch: Inversion, tiny_model_dir: Path, tiny_inverter: HyperStyleInverter
) -> None:
    twin = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")  # the same weights, made later
    edited = batch.edit("age", [1, 2])
    for inversion in (
        batch,
        batch[0],
        edited,
        batch[0].interpolate(batch[1], 3),
        replace(batch, failures=((3, "no"),)),
    ):
        again = round_trip(inversion)
        assert again.model is tiny_inverter.model is not twin.model
        assert torch.equal(again.tensor, inversion.tensor)
        assert (again.method, again.start, again.stored_metrics) == (
            inversion.method,
            inversion.start,
            inversion.stored_metrics,
        )
        assert ([s.name for s in again.sources], again.failures) == (
            [s.name for s in inversion.sources],
            inversion.failures,
        )
        assert len(pickle.dumps(inversion)) < 8192  # of which the weights would be 200 kB
    before = round_trip(edited).unedited
    assert before is not None
    assert before.model is tiny_inverter.model
    assert edited.unedited is not None
    assert torch.equal(before.tensor, edited.unedited.tensor)


def test_a_pickle_of_the_bundled_model_has_some_kilobytes(run_python: Callable[..., CompletedProcess[str]]) -> None:
    code = """
import pickle, torch
from hyperstyle import HyperStyleInverter
inversion = HyperStyleInverter(device="cpu").invert(torch.zeros(3, 128, 128), align=False, steps=1)
print(len(pickle.dumps(inversion)))
"""
    result = run_python("-W", "ignore", "-c", code)
    assert 1000 < int(result.stdout) < 50_000


def test_what_a_pickle_leaves_out_is_asked_for(tiny_inverter: HyperStyleInverter, batch: Inversion) -> None:
    again = round_trip(batch)
    assert again.metrics() == batch.stored_metrics
    with pytest.raises(InversionError, match="invert the image again"):
        again.refine()
    photo = Image.radial_gradient("L").convert("RGB").resize((80, 90))
    cut_out = tiny_inverter.invert(photo, landmarks=FACE)
    pasted = round_trip(cut_out.edit("age", 1)).paste_back(photo)
    assert pasted.tobytes() == cut_out.edit("age", 1).paste_back().tobytes()
    with pytest.raises(InversionError, match=r"pass it, as in paste_back\('me.jpg'\)"):
        round_trip(cut_out).paste_back()


def test_a_deep_copy_has_tensors_of_its_own_and_the_same_model(batch: Inversion) -> None:
    edited = batch.edit("age", 1)
    again = copy.deepcopy(edited)
    assert again.model is edited.model
    assert again.refinement is edited.refinement
    assert torch.equal(again.tensor, edited.tensor)
    assert again.crop is not None
    assert edited.crop is not None
    assert again.unedited is not None
    assert again.unedited.offset_codes is not None
    assert again.offset_codes is again.unedited.offset_codes  # shared as in the original
    assert edited.offset_codes is not None
    pairs = [(again.w, edited.w), (again.crop, edited.crop), (again.tensor, edited.tensor)]
    pairs += list(zip(again.offset_codes.tensors, edited.offset_codes.tensors, strict=True))
    for a, b in pairs:
        assert a.data_ptr() != b.data_ptr()
        assert torch.equal(a, b)
    assert torch.equal(again.refine(1).w, edited.refine(1).w)
    assert len(copy.deepcopy(batch).intermediates) == 3


def test_a_shallow_copy_keeps_everything(batch: Inversion) -> None:
    again = copy.copy(batch)
    assert again is not batch
    assert (again.crop is batch.crop, again.w is batch.w, again.intermediates) == (True, True, batch.intermediates)


def test_a_model_lives_no_longer_for_being_found(tiny_model_dir: Path) -> None:
    inversion = lonely(tiny_model_dir)
    model: weakref.ref[Model] = weakref.ref(inversion.model)
    again = round_trip(inversion)
    assert again.model is model()
    del inversion, again
    gc.collect()
    assert model() is None


def test_without_its_model_an_inversion_says_what_to_do_and_is_attached(
    tiny_model_dir: Path, tiny_inverter: HyperStyleInverter
) -> None:
    inversion = lonely(tiny_model_dir)
    pickled, w, pixels, model = pickle.dumps(inversion), inversion.w, inversion.tensor, inversion.model
    parts, domain, fingerprint = (model.generator, model.encoder, model.hypernetwork), model.domain, model.fingerprint
    del inversion, model
    gc.collect()
    again: Inversion = pickle.loads(pickled)
    assert torch.equal(again.w, w)
    assert "its model is not loaded here" in repr(again)
    assert again._repr_png_() is None
    for use in (lambda: again.image, lambda: again.edit("age", 1), lambda: again[0], lambda: again.model):
        with pytest.raises(InversionError, match=rf"model is not loaded.*{fingerprint}.*attach\(inverter\)"):
            use()
    assert not hasattr(again, "nothing")
    twice: Inversion = copy.deepcopy(pickle.loads(pickle.dumps(again)))
    with pytest.raises(InversionError, match=rf"made with a 'avatars' model with fingerprint {fingerprint}"):
        again.attach(tiny_inverter)
    same = HyperStyleInverter(*parts, domain=domain, steps=2)
    attached = again.attach(same)
    assert attached.model is same.model
    assert torch.equal(attached.tensor, pixels)
    assert torch.equal(twice.tensor, pixels)  # it looked again, and found the one that is loaded now
    assert twice.model is same.model


def test_what_was_transferred_travels_with_both_its_models(batch: Inversion) -> None:
    generator = batch.model.generator
    other = generator.with_parameters({n: p.detach() * 1.05 for n, p in generator.named_parameters()})
    moved = batch.transfer(other)
    again = round_trip(moved)
    assert again.model is moved.model
    assert torch.equal(again.tensor, moved.tensor)
    assert again.unedited is not None
    assert again.unedited.model is batch.model
    assert torch.equal(again.unedited.tensor, batch.tensor)


def test_an_inverter_is_pickled_with_its_weights(batch: Inversion, tiny_inverter: HyperStyleInverter) -> None:
    again: HyperStyleInverter
    again, inversion = pickle.loads(pickle.dumps((tiny_inverter, batch)))
    assert again.model is not tiny_inverter.model
    assert again.model.fingerprint == tiny_inverter.model.fingerprint
    assert inversion.model is tiny_inverter.model  # the original is here
    crop = Image.radial_gradient("L").resize((32, 32))
    assert torch.equal(again.invert(crop, align=False).tensor, tiny_inverter.invert(crop, align=False).tensor)
    assert copy.deepcopy(tiny_inverter).model.token != tiny_inverter.model.token


def test_a_pool_of_processes_that_are_spawned_sends_inversions_both_ways(
    tiny_model_dir: Path, tmp_path: Path, run_python: Callable[..., CompletedProcess[str]]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(POOL, encoding="utf-8")
    result = run_python("-W", "ignore", str(script), str(tiny_model_dir))
    assert result.returncode == 0, result.stderr[-2000:]
    report = json.loads(result.stdout)
    assert f"from_pretrained({str(tiny_model_dir)!r})" in report.pop("error")
    assert report.pop("repr") == "<Inversion of 2 images, hyperstyle, avatars, edited, its model is not loaded here>"
    assert report == dict.fromkeys(["same w", "same figures", "attached", "found", "back"], True)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("rows", 3, r"2 image\(s\) of 3 rows"),
        ("quality", {"l2": [1.0]}, "'quality: l2' has 1 values for 2 images"),
        ("tuned", [0, 7], r"the numbers of tuned parameters do not lie in 0\.\.1"),
    ],
)
def test_a_pickle_is_checked_against_the_model_as_a_file_is(
    batch: Inversion, entry: str, value: object, message: str
) -> None:
    state = batch.__getstate__()
    state["meta"] = {**state["meta"], entry: value}
    again = object.__new__(Inversion)
    with pytest.raises(InversionError, match=f"unpickled is a damaged inversion: {message}"):
        again.__setstate__(state)


def test_what_was_unpickled_without_its_model_is_checked_when_that_is_found(tiny_model_dir: Path) -> None:
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    inversion = lonely(tiny_model_dir)
    state = inversion.__getstate__()
    state["meta"] = {**state["meta"], "quality": {"l2": [0.5, 0.5]}}
    model = inversion.model
    del inversion, model
    gc.collect()
    damaged = object.__new__(Inversion)
    damaged.__setstate__(state)
    with pytest.raises(InversionError, match="its model is not loaded"):
        damaged.model  # noqa: B018
    damaged.__dict__["_key"] = inverter.model.key  # as if it had been made with this model
    with pytest.raises(InversionError, match="unpickled is a damaged inversion: 'quality: l2' has 2 values"):
        damaged.attach(inverter)
    with pytest.raises(InversionError, match="unpickled is a damaged inversion: 'quality: l2' has 2 values"):
        damaged.images  # noqa: B018
