"""`load_edit`: the edit that each published file gives, and the errors for all other files."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from hyperstyle.edits import DirectionEdit, EditInfo, load_edit, save_edit
from hyperstyle.edits.catalog import GANSPACE
from hyperstyle.edits.ganspace import GanspaceEdit
from hyperstyle.edits.interfacegan import conditional, direction_edit, to_boundary
from hyperstyle.errors import CheckpointError, EditError, HyperStyleError, MissingFileError, WeightsError

ROW = torch.nn.functional.normalize(torch.arange(1.0, 9.0), dim=0)


class WritesAFile:
    """Unsafe unpickling would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({self.target!r}, 'w').close()",))


def components(width: int = 8, count: int = 60) -> dict[str, torch.Tensor]:
    comp = torch.nn.functional.normalize(torch.randn(count, 1, width), dim=-1)
    return {"mean": torch.randn(1, width), "comp": comp, "std": torch.rand(count) + 0.5}


# ---- directions ----


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("suffix", [".pt", ".npy"])
def test_a_direction_is_added_to_every_row(tmp_path: Path, suffix: str, rows: int) -> None:
    path = tmp_path / f"age_boundary{suffix}"
    if suffix == ".pt":
        torch.save(ROW.expand(1, rows, 8), path)
    else:
        np.save(path, ROW.repeat(1, rows).numpy().astype(">f8"))
    edit, w = load_edit(path, width=8), torch.randn(2, 6, 8)
    torch.testing.assert_close(edit(w, torch.tensor([1.0, -2.0])), w + torch.tensor([1.0, -2.0])[:, None, None] * ROW)
    assert (edit.info.name, edit.info.low, edit.info.high, edit.info.unit) == ("age", -5.0, 5.0, "distance in W")
    assert path.name in edit.info.source


def test_a_boundary_of_w_plus_has_a_direction_for_each_row(tmp_path: Path) -> None:
    direction = torch.nn.functional.normalize(torch.randn(1, 32))
    np.save(tmp_path / "Smiling_boundary.npy", direction.numpy())
    edit, w = load_edit(tmp_path / "Smiling_boundary.npy", width=8), torch.randn(2, 4, 8)
    torch.testing.assert_close(edit(w, 3.0), w + 3 * direction.reshape(4, 8))
    assert edit.info.high == 10.0  # 5 in W for each of four rows is twice as far in all
    with pytest.raises(EditError, match="another generator"):
        edit(torch.randn(2, 6, 8), 3.0)


def test_options_name_limit_halve_and_describe_a_direction(tmp_path: Path) -> None:
    torch.save(ROW[None], tmp_path / "age.pt")
    edit = load_edit(
        tmp_path / "age.pt", name="older", rows=(1, 3), halved=True, width=8, low=-1, high=2, unit="years", model="0123"
    )
    assert (edit.info.name, edit.info.low, edit.info.high, edit.info.unit) == ("older", -1, 2, "years")
    assert edit.info.model == "0123"
    moved = edit(torch.zeros(1, 4, 8), 4.0)[0]
    torch.testing.assert_close(moved[1:3], (2 * ROW).expand(2, 8))
    assert not moved[[0, 3]].any()


# ---- dictionaries of directions ----


def save(path: Path, content: dict[str, Any]) -> Path:
    if path.suffix == ".pt":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in content.items()}))
    return path


@pytest.mark.parametrize("form", [lambda t: t, lambda t: t[None], lambda t: t.numpy(), lambda t: t.tolist()])
@pytest.mark.parametrize("key", ["direction", "boundary", "age"])
def test_a_dictionary_with_one_direction_is_that_one(tmp_path: Path, key: str, form: Any) -> None:
    path = save(tmp_path / "age_boundary.pt", {key: form(ROW), "layers": [0, 7], "rank": 3, "text": "older"})
    edit, w = load_edit(path, width=8), torch.randn(1, 6, 8)
    torch.testing.assert_close(edit(w, 2.0), w + 2 * ROW)
    assert edit.info.name == "age"
    assert load_edit(path, name="older", width=8).info.name == "older"


@pytest.mark.parametrize("suffix", [".pt", ".pkl"])
def test_one_of_several_directions_is_chosen_by_its_name(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"all{suffix}", {"age": ROW, "smile": ROW.flip(0), "pose": ROW.expand(6, 8).clone()})
    edit, w = load_edit(path, name="smile", width=8), torch.randn(1, 6, 8)
    torch.testing.assert_close(edit(w, 1.0), w + ROW.flip(0))
    assert edit.info.name == "smile"
    for name, message in ((None, "none was named"), ("smlie", "'smlie' is none of them")):
        with pytest.raises(EditError, match=rf"all{suffix} holds 3 directions, and {message}.*age, pose, smile"):
            load_edit(path, name=name, width=8)
    with pytest.raises(EditError, match="component does not go with"):
        load_edit(path, name="smile", component=1, width=8)


def test_a_direction_in_a_dictionary_is_checked_as_any_other(tmp_path: Path) -> None:
    for content, message in (
        ({"age": torch.ones(12)}, r"d\.pt: 'age' holds numbers of shape \(12,\): expected a direction"),
        ({"age": torch.zeros(8)}, r"d\.pt: 'age' holds no direction"),
        ({"age": torch.full((8,), math.nan)}, r"d\.pt: 'age' holds no direction"),
    ):
        with pytest.raises(EditError, match=message):
            load_edit(save(tmp_path / "d.pt", content), width=8)


# ---- GANSpace ----


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".pkl"])
def test_components_are_read_from_every_form(tmp_path: Path, suffix: str) -> None:
    values, path = components(), tmp_path / f"our_pca{suffix}"
    long = {f"lat_{name.replace('std', 'stdev')}": value.numpy() for name, value in values.items()}
    if suffix == ".pt":
        torch.save(values, path)
    elif suffix == ".npz":
        np.savez_compressed(path, act_comp=np.zeros((3, 8)), **long)
    else:
        path.write_bytes(pickle.dumps(long))
    edit, w = load_edit(path, component=16, rows=(3, 6), width=8), torch.randn(2, 8, 8)
    axis, std = values["comp"][16, 0], values["std"][16]
    coordinates = ((w[:, 0] - values["mean"]) * axis).sum(1) / std
    expected = w.clone()
    expected[:, 3:6] += ((2.5 - coordinates) * std)[:, None, None] * axis
    torch.testing.assert_close(edit(w, 2.5), expected)
    assert not edit.info.relative


def test_a_published_name_stands_for_component_and_rows(tmp_path: Path) -> None:
    torch.save(components(), tmp_path / "cars_pca.pt")
    edit = load_edit(tmp_path / "cars_pca.pt", name="cube", width=8)
    assert isinstance(edit, GanspaceEdit)
    assert (edit.info.name, edit.rows, edit.info.low, edit.info.high) == ("cube", (3, 6), -25.0, 25.0)
    same = load_edit(tmp_path / "cars_pca.pt", component=16, rows=(3, 6), width=8)
    assert same.info == edit.info
    w = torch.randn(1, 8, 8)
    assert torch.equal(same(w, 25.0), edit(w, 25.0))
    flip = load_edit(tmp_path / "cars_pca.pt", name="flip", width=8)
    assert isinstance(flip, GanspaceEdit)
    assert flip.invert


def test_a_component_without_a_published_name_gets_a_plain_one(tmp_path: Path) -> None:
    torch.save(components(), tmp_path / "cars_pca.pt")
    info = load_edit(tmp_path / "cars_pca.pt", component=2, width=8).info
    assert (info.name, info.low, info.high) == ("component_2", -3.0, 3.0)
    assert load_edit(tmp_path / "cars_pca.pt", name="wider", component=2, width=8).info.name == "wider"


def test_the_relative_form_of_a_published_name(tmp_path: Path) -> None:
    values = components()
    torch.save(values, tmp_path / "cars_pca.pt")
    for name in ("cube", "flip"):
        edit, w = load_edit(tmp_path / "cars_pca.pt", name=name, relative=True, width=8), torch.randn(1, 8, 8)
        entry = GANSPACE["cars"][name]
        assert torch.equal(edit(w, 0.0), w)
        expected = w.clone()
        step = values["std"][entry.component] * values["comp"][entry.component, 0]
        expected[:, slice(*entry.rows)] += 2 * step
        torch.testing.assert_close(edit(w, 2.0), expected)


def test_which_component_must_be_said_and_be_there(tmp_path: Path) -> None:
    torch.save(components(), tmp_path / "cars_pca.pt")
    for options, message in (
        ({}, "holds 60 components: say which one.*cube"),
        ({"name": "cub"}, "'cub' is no published name.*Did you mean 'cube'"),
        ({"name": "lipstick"}, "'lipstick' is no published name"),  # one of faces
        ({"component": 60}, "component 60: there are 60"),
        ({"component": 2, "rows": (3, 3)}, "first < end"),
        ({"component": 2, "rows": "3:6"}, "two whole numbers"),
        ({"component": 2, "width": 512}, "width 8, not 512"),
        ({"component": 2, "halved": True}, "halved does not go"),
    ):
        with pytest.raises(EditError, match=message):
            load_edit(tmp_path / "cars_pca.pt", **{"width": 8, **options})  # type: ignore[arg-type]


# ---- others ----


def test_a_saved_edit_may_be_described_anew_and_not_altered(tmp_path: Path) -> None:
    save_edit(DirectionEdit(torch.randn(8), EditInfo("age", model="0123")), tmp_path / "age")
    info = load_edit(tmp_path / "age", name="older", high=2).info
    assert (info.name, info.low, info.high, info.model) == ("older", -3.0, 2, "0123")
    with pytest.raises(EditError, match="component, rows does not go"):
        load_edit(tmp_path / "age", component=1, rows=(0, 2))
    for low, high in ((2, 1), (math.nan, 1)):
        with pytest.raises(EditError, match="low below high"):
            load_edit(tmp_path / "age", low=low, high=high)


def test_a_mapper_is_a_mapper(tmp_path: Path) -> None:
    shapes = {"weight": (8, 8), "bias": (8,)}
    state = {
        f"mapper.mapping.mapping.{i}.{kind}": torch.randn(shape) for i in range(1, 5) for kind, shape in shapes.items()
    }
    torch.save({"state_dict": state, "opts": {}}, tmp_path / "angry.pt")
    edit = load_edit(tmp_path / "angry.pt", name="cross", high=0.5)
    assert (type(edit).__name__, edit.info.name, edit.info.high) == ("MapperEdit", "cross", 0.5)
    with pytest.raises(EditError, match="a latent mapper, and component does not go"):
        load_edit(tmp_path / "angry.pt", component=1)


def test_options_that_a_direction_has_no_use_for_are_refused(tmp_path: Path) -> None:
    torch.save(ROW[None], tmp_path / "age.pt")
    for options in ({"component": 0}, {"relative": True}, {"invert": True}):
        with pytest.raises(EditError, match="is a direction, and"):
            load_edit(tmp_path / "age.pt", width=8, **options)  # type: ignore[arg-type]


def _numpy_file(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def _pytorch_file(values: Any) -> bytes:
    file = io.BytesIO()
    torch.save(values, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("wide.npy", _numpy_file(np.ones((1, 12))), r"\[1, L\*8\]"),
        ("codes.npy", _numpy_file(np.ones((68, 18, 8), np.float32)), r"shape \(68, 18, 8\)"),
        ("fs3.npy", _numpy_file(np.ones((5376, 8), np.float32)), "StyleClip"),
        ("whole.npy", _numpy_file(np.ones((1, 8), np.int64)), "type int64"),
        ("cut.npy", _numpy_file(np.ones((1, 8)))[:-9], "damaged"),
        ("text.npy", b"0.1 0.2", "begins with"),
        ("stats", pickle.dumps([[np.ones(3)], [np.ones(3)]]), "S_mean_std"),
        ("stats.pt", _pytorch_file({"mean": torch.ones(1, 8), "std": torch.ones(3)}), "found mean, std; expected mean"),
        ("net.pt", _pytorch_file({"b": torch.ones(8), "w": torch.ones(8, 8, 3, 3)}), "found b, w; expected mean"),
        ("other.pkl", pickle.dumps({"a": 1, "b": 2}), "found a, b; expected mean"),
        ("number.pkl", pickle.dumps(3), "found an int"),
        ("cut.pkl", pickle.dumps({"a": np.ones(9)})[:-9], "damaged"),
        ("list.pt", _pytorch_file([torch.ones(8)]), "found a list"),
        ("half.pt", _pytorch_file({"comp": torch.ones(3, 8), "std": torch.ones(3)}), "has no 'mean'"),
        ("cut.pt", _pytorch_file(torch.ones(8))[:-50], "cut off"),
        ("some.npz", b"PK\x03\x04 and no more", "damaged"),
        ("page.pt", b"<!DOCTYPE html>", "web page"),
        ("empty.pt", b"", "is empty"),
        ("notes.txt", b"age: 0.1", "begins with"),
        ("model.safetensors", (2).to_bytes(8, "little") + b"{}", "pass the folder"),
    ],
)
def test_every_other_file_is_refused_by_what_it_is(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HyperStyleError, match=message) as caught:
        load_edit(tmp_path / name, width=8)
    assert name in str(caught.value)


def test_a_file_that_is_not_there_is_missed(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        load_edit(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".npy", ".npz"])
def test_a_file_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path, suffix: str) -> None:
    path, trace = tmp_path / f"age{suffix}", tmp_path / "trace"
    bad = {"lat_mean": torch.zeros(1, 8), "lat_comp": WritesAFile(trace), "lat_stdev": torch.ones(1)}
    if suffix == ".pt":
        torch.save(bad, path)
    elif suffix == ".pkl":
        path.write_bytes(pickle.dumps(bad, protocol=2))
    elif suffix == ".npy":
        np.save(path, np.array([bad["lat_comp"]], dtype=object))
    else:
        np.savez(path, lat_comp=np.array([bad["lat_comp"]], dtype=object))
    with pytest.raises(CheckpointError, match="not loaded, and nothing of it was executed"):
        load_edit(path, component=0, width=8)
    assert not trace.exists()
    _load_carelessly(path)
    assert trace.exists()  # it was a real one


def _load_carelessly(path: Path) -> None:
    if path.suffix == ".pt":
        torch.load(path, weights_only=False)
    elif path.suffix == ".npz":
        np.load(path, allow_pickle=True)["lat_comp"]
    else:
        np.load(path, allow_pickle=True)


# ---- the published files and their recordings ----


@pytest.fixture(scope="module")
def editing_dir(reference_dir: Path) -> Path:
    return reference_dir / "editing"


def _draw(folder: Path) -> tuple[ModuleType, int]:
    """The module of deterministic arrays, and the seed base."""
    spec = importlib.util.spec_from_file_location("detrand", folder / "detrand.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, json.loads((folder / "golden" / "set.json").read_text(encoding="utf-8"))["seed_base"]


def _recorded(folder: Path, name: str) -> dict[str, torch.Tensor]:
    with np.load(folder / "golden" / f"{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files}


def _assert_close(actual: torch.Tensor, expected: torch.Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["age", "smile", "pose"])
def test_published_directions_give_the_recorded_codes(editing_dir: Path, name: str) -> None:
    draw, base = _draw(editing_dir)
    golden = _recorded(editing_dir, "hyperstyle_edits")
    w_plus = torch.from_numpy(0.6 * draw.normal(base, 2, 18, 512)).float()
    w = torch.from_numpy(0.6 * draw.normal(base + 1, 2, 512)).float()
    edit = load_edit(editing_dir / "directions" / "interfacegan" / f"{name}.pt")
    edited = torch.stack([edit(w_plus, strength) for strength in (-5, -2, 4)], 1)
    _assert_close(edited, golden[f"ifg_{name}_wplus_range"], 1e-6)
    _assert_close(edit(w_plus, 3), golden[f"ifg_{name}_wplus_f3"], 1e-6)
    on_w = torch.stack([edit(w, strength) for strength in range(-3, 4)], 1)  # `pose` too: its rows are all the same
    if name != "pose":
        _assert_close(on_w, golden[f"ifg_{name}_w_range"], 1e-6)
    _assert_close(on_w[:, 3], w, 0)


@pytest.mark.reference
def test_every_published_direction_and_boundary_is_read(editing_dir: Path) -> None:
    for path in sorted((editing_dir / "directions" / "interfacegan").iterdir()):
        edit = load_edit(path)
        assert isinstance(edit, DirectionEdit)
        assert edit.direction.shape == (512,)
        assert (edit.info.unit, edit.info.high) == ("distance in W", 5.0)
    for path in sorted((editing_dir / "directions" / "wplus_boundary").iterdir()):
        edit, w = load_edit(path), torch.zeros(1, 18, 512)
        assert edit(w, 2.0).flatten().tolist() == pytest.approx((2 * np.load(path)[0]).tolist(), abs=1e-7)


@pytest.mark.reference
def test_the_cars_edits_equal_the_recording(editing_dir: Path) -> None:
    golden = _recorded(editing_dir, "hyperstyle_edits")
    code = golden["cars_latent"]
    w = golden["cars_w"].expand(16, 512)
    for i, name in enumerate(("pose_1", "pose_2", "cube", "color", "grass")):
        edit = load_edit(editing_dir / "directions" / "ganspace" / "cars_pca.pt", name=name)
        entry = GANSPACE["cars"][name]
        edited = edit(code[None], entry.strength)[0]
        _assert_close(edited, golden["cars_edited"][i + 1], 1e-6)
        _assert_close((edited - code)[entry.rows[0]], golden[f"cars_delta_{i}"][0], 1e-6)
        _assert_close((edit(w[None], entry.strength)[0] - w)[entry.rows[0]], golden[f"cars_w_delta_{i}"][0], 1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("domain", ["ffhq", "church"])
def test_ganspace_edits_equal_the_recording(editing_dir: Path, domain: str) -> None:
    golden = _recorded(editing_dir, "ganspace_sefa")
    latents = golden[f"{domain}_latents"]
    facts = json.loads((editing_dir / "golden" / "ganspace_sefa.json").read_text(encoding="utf-8"))
    for name, (component, first, end, strength) in facts[domain].items():
        path = editing_dir / "directions" / "ganspace" / f"{domain}_pca.pt"
        edited = load_edit(path, component=component, rows=(first, end))(latents, strength)
        for image in (0, 1):
            _assert_close(edited[image, first:end], golden[f"{domain}_{name}_{image}"], 4e-6)
        outside = [row for row in range(latents.shape[1]) if not first <= row < end]
        assert torch.equal(edited[:, outside], latents[:, outside])


@pytest.mark.reference
def test_the_catalog_says_what_the_published_lists_say(editing_dir: Path) -> None:
    lists = json.loads((editing_dir / "edits_catalog.json").read_text(encoding="utf-8"))["ganspace"]
    for domain, listed in (
        ("cars", "cars (hyperstyle, e4e, StyleFeatureEditor)"),
        ("faces", "faces (hyperinverter, StyleFeatureEditor)"),
        ("churches", "churches (hyperinverter)"),
    ):
        for name, values in lists[listed].items():
            entry = GANSPACE[domain][name]
            assert [entry.component, *entry.rows, entry.strength] == values
            assert entry.reach >= abs(entry.strength)
    for values in lists["ganspace teaser notebook (absolute coordinate)"]:
        if values["domain"] == "ffhq":
            entry = GANSPACE["faces"][values["name"]]
            component = entry.component, *entry.rows
            assert component == (values["component"], values["start"], values["end"])


@pytest.mark.reference
def test_the_published_export_of_ganspace_is_read(editing_dir: Path) -> None:
    path = editing_dir / "directions" / "ganspace" / "named_light_direction_ffhq.pkl"
    edit, w = load_edit(path), torch.zeros(1, 18, 512)
    moved = edit(w, 1.0)[0]
    assert edit.info.name == "Light direction"
    assert moved.any(1).nonzero().flatten().tolist() == [8]
    assert moved.norm() == pytest.approx(1.0335, abs=1e-3)  # its deviation


@pytest.mark.reference
def test_conditional_boundaries_and_distances_equal_the_recording(editing_dir: Path) -> None:
    draw, base = _draw(editing_dir)
    golden = _recorded(editing_dir, "fitting")
    names = ("age", "eyeglasses", "gender", "pose", "smile")
    edits = {
        name: load_edit(editing_dir / "directions" / "interfacegan" / f"stylegan1_ffhq_{name}_w_boundary.npy")
        for name in names
    }
    age, *conditions = (edit.direction for edit in edits.values() if isinstance(edit, DirectionEdit))
    for n in (1, 2, 3):
        _assert_close(conditional(age, *conditions[:n]), golden[f"project_{n}"][0], 1e-8)
    w = torch.from_numpy(0.6 * draw.normal(base + 90, 1, 512)).float().double()
    w_plus = torch.from_numpy(0.6 * draw.normal(base + 91, 1, 18, 512)).float().double()
    distances = torch.linspace(-3, 3, 5, dtype=torch.float64)
    _assert_close(to_boundary(w.expand(5, 512), conditions[3], distances), golden["lerp_w"], 1e-8)
    _assert_close(edits["smile"](w_plus.expand(5, 18, 512), distances), golden["lerp_wp"], 1e-8)


def test_tensors_without_plain_numbers_are_no_directions(tmp_path: Path) -> None:
    torch.save(torch.ones(8, device="meta"), tmp_path / "age.pt")
    with pytest.raises(WeightsError, match="has no numbers"):
        load_edit(tmp_path / "age.pt", width=8)
    with pytest.raises(EditError, match="expected a plain one"):
        direction_edit(torch.ones(8).to_sparse(), name="age", width=8)


def test_a_width_below_one_and_a_name_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    torch.save(ROW, tmp_path / "age.pt")
    with pytest.raises(EditError, match="width=0"):
        load_edit(tmp_path / "age.pt", width=0)
    with pytest.raises(MissingFileError, match="Check the name"):
        load_edit("x" * 5000)


def test_rows_may_be_numbers_of_numpy(tmp_path: Path) -> None:
    torch.save(ROW, tmp_path / "age.pt")
    edit = load_edit(tmp_path / "age.pt", width=8, rows=(np.int64(1), np.int64(3)))  # type: ignore[arg-type]
    assert edit(torch.zeros(1, 4, 8), 1.0).any(2)[0].tolist() == [False, True, True, False]
    assert json.dumps(edit.parts()[1]) == '{"rows": [1, 3]}'
    with pytest.raises(EditError, match="two whole numbers"):
        load_edit(tmp_path / "age.pt", width=8, rows=(True, 3))
