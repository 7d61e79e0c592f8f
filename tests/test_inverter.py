"""The facade: what it takes, how it aligns, which methods it knows, and models on disk."""

from __future__ import annotations

import copy
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.errors import (
    CheckpointError,
    ConfigError,
    EditError,
    HyperStyleError,
    ImageError,
    MethodError,
    MissingFileError,
    ModelNotFoundError,
    WeightsError,
)
from hyperstyle.images import ImageSource, to_tensor
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter, pick_device
from hyperstyle.io.components import load_tensors, save_tensors
from hyperstyle.io.files import sha256
from hyperstyle.networks import cpu
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

TRUNK = TrunkConfig((8,), (1,), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")


@pytest.fixture(scope="module")
def square() -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


def composed(inverter: HyperStyleInverter, **changes: Any) -> HyperStyleInverter:
    """The same parts, some of them changed."""
    m = inverter.model
    parts = {"generator": m.generator, "encoder": m.encoder, "hypernetwork": m.hypernetwork, "domain": m.domain}
    return HyperStyleInverter(**{**parts, "edits": m.edits, "steps": m.steps, **changes})


# ---- images in ----


def test_every_kind_of_image_gives_the_same_result(
    tiny_inverter: HyperStyleInverter, square: Image.Image, tmp_path: Path
) -> None:
    square.save(tmp_path / "x.png")
    tensor = to_tensor(square)
    expected = tiny_inverter.invert(square).tensor
    sources: list[ImageSource] = [str(tmp_path / "x.png"), tmp_path / "x.png", np.asarray(square), tensor, tensor[None]]
    content = (tmp_path / "x.png").read_bytes()
    sources += [content, bytearray(content), memoryview(content), io.BytesIO(content)]
    for source in sources:
        assert torch.equal(tiny_inverter.invert(source).tensor, expected)
    with (tmp_path / "x.png").open("rb") as file:
        same(tiny_inverter.invert([file, content]).tensor, expected.repeat(2, 1, 1, 1))


def test_a_list_is_a_batch_of_what_each_image_gives(
    tiny_inverter: HyperStyleInverter, square: Image.Image, tmp_path: Path
) -> None:
    square.rotate(90).save(tmp_path / "x.png")
    sources: list[ImageSource] = [square, tmp_path / "x.png", np.asarray(square)[::-1].copy()]
    batch = tiny_inverter.invert(sources)
    assert len(batch) == 3
    assert [s.name for s in batch.sources] == ["Image", str(tmp_path / "x.png"), "ndarray"]
    for i, source in enumerate(sources):
        single = tiny_inverter.invert(source)
        same(batch.tensor[i : i + 1], single.tensor)
        same(batch[i].w, single.w)
        for name, values in single.stored_metrics.items():
            assert batch.stored_metrics[name][i] == pytest.approx(values[0], abs=1e-4)
    assert len(tiny_inverter.invert((square,))) == 1


def test_the_batch_size_is_only_a_matter_of_memory(tiny_inverter: HyperStyleInverter) -> None:
    crops = list(torch.rand(5, 3, 32, 32) * 2 - 1)
    batch = tiny_inverter.invert(crops, align=False, intermediates=True)
    for size in (1, 2):
        parts = tiny_inverter.invert(crops, align=False, batch_size=size, intermediates=True)
        same(parts.tensor, batch.tensor)
        assert len(parts.intermediates) == len(batch.intermediates) == 3
        for a, b in zip(parts.intermediates, batch.intermediates, strict=True):
            same(a, b)
        assert len(parts.sources) == 5
        assert parts.stored_metrics["l2"] == pytest.approx(batch.stored_metrics["l2"], abs=1e-4)


def test_the_same_call_gives_the_same_bytes(tiny_inverter: HyperStyleInverter, square: Image.Image) -> None:
    first, second = (tiny_inverter.invert([square, square.rotate(90)]) for _ in range(2))
    assert torch.equal(first.tensor, second.tensor)
    assert first.stored_metrics == second.stored_metrics


def test_a_bad_image_stops_everything_or_is_left_out(
    tiny_inverter: HyperStyleInverter, square: Image.Image, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    sources: list[ImageSource] = [tmp_path / "nowhere.png", square, tmp_path / "text.png", square.rotate(90)]
    with pytest.raises(ImageError, match="nowhere"):
        tiny_inverter.invert(sources)
    inversion = tiny_inverter.invert(sources, on_error="skip")
    assert len(inversion) == 2
    assert [(i, "nowhere" in text, "text.png" in text) for i, text in inversion.failures] == [
        (0, True, False),
        (2, False, True),
    ]
    same(inversion.tensor, tiny_inverter.invert([sources[1], sources[3]]).tensor)
    with pytest.raises(ConfigError, match=r"none of the 1 images.*nowhere"):
        tiny_inverter.invert(sources[:1], on_error="skip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, r"batch_size=2\.5"),
        ({"align": "maybe"}, "align='maybe'"),
        ({"steps": -1}, "steps=-1"),
    ],
)
def test_wrong_arguments_are_refused(
    tiny_inverter: HyperStyleInverter, square: Image.Image, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_inverter.invert(square, **options)


def test_an_empty_list_is_refused(tiny_inverter: HyperStyleInverter) -> None:
    with pytest.raises(ConfigError, match="empty list"):
        tiny_inverter.invert([])


# ---- methods ----


def test_the_methods_are_those_that_the_parts_allow(tiny_inverter: HyperStyleInverter) -> None:
    always = ("optimize-w", "optimize-w+", "pti")
    assert tiny_inverter.methods == ("hyperstyle", "w-encoder", *always, "offsets", "features", "offset-codes")
    assert composed(tiny_inverter, hypernetwork=None).methods == ("w-encoder", *always, "offsets", "features")
    assert composed(tiny_inverter, encoder=None, hypernetwork=None).methods == always


def test_the_default_method_is_the_best_there_is(tiny_inverter: HyperStyleInverter, square: Image.Image) -> None:
    inversion = tiny_inverter.invert(square)
    assert inversion.method == "hyperstyle"
    assert inversion.offset_codes is not None
    assert inversion.offset_codes.count.tolist() == [2]
    plain = tiny_inverter.invert(square, method="w-encoder")
    assert plain.method == "w-encoder"
    assert plain.offset_codes is None
    assert torch.equal(plain.tensor, inversion.initial.tensor)
    assert torch.equal(tiny_inverter.invert(square, steps=0).tensor, plain.tensor)
    assert torch.equal(composed(tiny_inverter, hypernetwork=None).invert(square).tensor, plain.tensor)


def test_steps_callback_and_progress_reach_the_refinement(
    tiny_inverter: HyperStyleInverter, square: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, int]] = []
    inversion = tiny_inverter.invert(
        square,
        steps=3,
        intermediates=True,
        progress=True,
        callback=lambda step: seen.append((step.step, step.steps)),
    )
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert len(inversion.intermediates) == 4
    assert "inverting" in capsys.readouterr().err


def test_methods_that_cannot_be_are_refused(tiny_inverter: HyperStyleInverter, square: Image.Image) -> None:
    with pytest.raises(MethodError, match=r"'hyperstile'.*Did you mean 'hyperstyle'"):
        tiny_inverter.invert(square, method="hyperstile")
    with pytest.raises(MethodError, match="no refinement steps"):
        tiny_inverter.invert(square, method="w-encoder", steps=2)
    with pytest.raises(MethodError, match="needs a hypernetwork"):
        composed(tiny_inverter, hypernetwork=None).invert(square, method="hyperstyle")
    with pytest.raises(MethodError, match="no encoder to start from"):
        composed(tiny_inverter, encoder=None).invert(square)


def test_a_start_of_ones_own_replaces_the_encoder(tiny_inverter: HyperStyleInverter, square: Image.Image) -> None:
    mean = tiny_inverter.model.generator.mean_w(100)
    bare = composed(tiny_inverter, encoder=None)
    inversion = bare.invert([square, square], start=lambda x: mean.expand(len(x), -1))
    assert torch.equal(inversion.w, mean.expand(2, 8, -1))
    assert inversion.offset_codes is not None
    with pytest.raises(ConfigError, match="latent codes of shape"):
        bare.invert(square, start=lambda x: torch.zeros(len(x), 7, 16))


def test_a_refinement_of_ones_own_follows_any_start(tiny_inverter: HyperStyleInverter) -> None:
    def halve(
        crop: Tensor, inversion: Inversion, *, steps: int | None = None, callback: Callable[..., None] | None = None
    ) -> Inversion:
        return replace(inversion, w=inversion.w / 2 ** (steps or 1), method="halve", refinement=halve)

    crops = list(torch.rand(3, 3, 32, 32) * 2 - 1)
    start = tiny_inverter.invert(crops, method="w-encoder", align=False)
    halved = tiny_inverter.invert(crops, method=halve, align=False, batch_size=2)
    same(halved.w, start.w / 2)
    assert halved.method == "halve"
    assert halved.stored_metrics["l2"] == pytest.approx(halved.metrics()["l2"], abs=1e-5)  # not those of the start
    same(halved.refine(2).w, start.w / 8)


# ---- compositions ----


def other(kind: str) -> Any:
    """A part that does not go with the tiny model."""
    config = GeneratorConfig(32, (16, 16, 16, 16), latent_width=16, mapping_layers=2)
    if kind == "hypernetwork of another generator":
        return Hypernetwork(HypernetworkConfig(config, ("b8.conv1",), (32, 32), TRUNK, "compact", 16))
    if kind == "generator":
        return Generator(config)
    rows, size = (6, 32) if kind == "encoder for other rows" else (8, 16)
    return WEncoder(WEncoderConfig(rows, 16, (size, size), TRUNK))


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("encoder", "encoder for other rows", r"encoder for \[6, 16\] codes, generator with \[8, 16\]"),
        ("encoder", "encoder for smaller crops", r"encoder for \(16, 16\) px"),
        ("hypernetwork", "hypernetwork of another generator", r"channels \(16, 16, 16, 16\)"),
        ("generator", "generator", r"hypernetwork for a generator of 32 px"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    tiny_inverter: HyperStyleInverter, name: str, part: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        composed(tiny_inverter, **{name: other(part)})


def test_a_model_lists_its_networks_and_changes_them(tiny_inverter: HyperStyleInverter) -> None:
    model = tiny_inverter.model
    assert list(model.networks) == ["generator", "encoder", "hypernetwork"]
    bare = model.with_parts(encoder=None)
    assert list(bare.parts) == ["hypernetwork"]
    assert bare.encoder is None
    assert bare.hypernetwork is model.hypernetwork
    again = bare.with_parts(encoder=model.encoder)
    assert list(again.parts.items()) == list(model.parts.items())  # in the order of the table
    assert copy.deepcopy(model).parts.keys() == model.parts.keys()
    evaluator = AttributeNetwork(AttributeNetworkConfig(("age",), TRUNK, 32, 8))
    for name in ("judge", "evaluator"):
        assert composed(tiny_inverter, parts={name: evaluator}).model.evaluator is evaluator
        assert model.with_parts(**{name: evaluator}).parts["judge"] is evaluator
    assert replace(model, parts={"evaluator": evaluator}).with_parts(evaluator=None).parts == {}


def test_parts_of_unknown_names_and_other_classes_are_refused(tiny_inverter: HyperStyleInverter) -> None:
    encoder = tiny_inverter.model.encoder
    with pytest.raises(ConfigError, match=r"no part 'e4'.*Did you mean 'e4e'"):
        composed(tiny_inverter, parts={"e4": encoder})
    with pytest.raises(ConfigError, match="part 'e4e' is a WEncoder: expected a PyramidEncoder"):
        composed(tiny_inverter, parts={"e4e": encoder})
    with pytest.raises(ConfigError, match="no part 'generator'"):
        composed(tiny_inverter, parts={"generator": tiny_inverter.model.generator})


def test_other_compositions_that_cannot_be_are_refused(tiny_inverter: HyperStyleInverter) -> None:
    with pytest.raises(ConfigError, match="domain of 64 px"):
        composed(tiny_inverter, domain=Domain("mine", 64, (32, 32)))
    with pytest.raises(ConfigError, match="needs a domain"):
        HyperStyleInverter(tiny_inverter.model.generator)
    with pytest.raises(ConfigError, match="without a generator"):
        HyperStyleInverter(domain=tiny_inverter.model.domain)
    with pytest.raises(ConfigError, match="steps=-1"):
        composed(tiny_inverter, steps=-1)


def test_a_composition_is_in_evaluation_mode_so_that_batches_do_not_matter() -> None:
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2)  # batch normalization
    generator = Generator(GeneratorConfig(16, (8, 8, 8), latent_width=16, mapping_layers=2))
    encoder = WEncoder(WEncoderConfig(6, 16, (16, 16), trunk))
    assert encoder.training
    inverter = HyperStyleInverter(generator, encoder, domain=Domain("mine", 16, (16, 16)))
    crops = list(torch.rand(3, 3, 16, 16) * 2 - 1)
    same(inverter.invert(crops).tensor[:1], inverter.invert(crops[0]).tensor)


def test_describe_tells_what_there_is(tiny_inverter: HyperStyleInverter) -> None:
    facts = tiny_inverter.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["domain"] == "avatars"
    assert facts["size"] == 32
    assert facts["edits"]["age"]["unit"] == "years"
    assert set(facts["parameters"]) == {"generator", "encoder", "hypernetwork"}
    assert facts["licence"] == "MIT"
    assert set(facts["sha256"]) == {"generator", "encoder", "hypernetwork"}
    assert list(tiny_inverter.edits) == ["age", "smile"]


# ---- models on disk ----


@pytest.fixture
def folder(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))


def load(folder: Path) -> HyperStyleInverter:
    return HyperStyleInverter.from_pretrained(folder, device="cpu")


def rewrite(folder: Path, component: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Changes tensors of a component and its hash with them."""
    path = folder / component / "model.safetensors"
    tensors, _ = load_tensors(path)
    change(tensors)
    save_tensors(path, tensors)
    top = json.loads((folder / "hyperstyle.json").read_text(encoding="utf-8"))
    top["sha256"][component] = sha256(path)
    (folder / "hyperstyle.json").write_text(json.dumps(top), encoding="utf-8")


def test_saving_and_loading_gives_the_same_bytes(
    tiny_inverter: HyperStyleInverter, square: Image.Image, tmp_path: Path
) -> None:
    tiny_inverter.save_pretrained(tmp_path / "a")
    again = load(tmp_path / "a")
    assert torch.equal(again.invert(square).edit("age", 1).tensor, tiny_inverter.invert(square).edit("age", 1).tensor)
    assert again.describe() == tiny_inverter.describe()
    assert again.model.fingerprint == tiny_inverter.model.fingerprint
    again.save_pretrained(tmp_path / "b")
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 1 + 2 * 5
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_half_precision_on_disk_is_float32_in_memory_and_half_the_size(
    tiny_inverter: HyperStyleInverter, square: Image.Image, tmp_path: Path
) -> None:
    tiny_inverter.save_pretrained(tmp_path / "half", dtype=torch.float16)
    half = load(tmp_path / "half")
    assert half.model.dtype == torch.float32
    torch.testing.assert_close(half.invert(square).tensor, tiny_inverter.invert(square).tensor, atol=0.05, rtol=0.05)
    weights = tmp_path / "half" / "generator" / "model.safetensors"
    assert weights.stat().st_size < 0.8 * sum(p.numel() * 4 for p in half.model.generator.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_run_from_end_to_end(
    tiny_model_dir: Path, tiny_inverter: HyperStyleInverter, square: Image.Image, dtype: torch.dtype
) -> None:
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu", dtype=dtype)
    assert inverter.model.dtype == dtype
    inversion = inverter.invert(square)
    assert inversion.w.dtype == dtype
    assert inversion.tensor.dtype == torch.float32
    atol = 1e-4 if dtype == torch.float64 else 0.5
    torch.testing.assert_close(inversion.tensor, tiny_inverter.invert(square).tensor, atol=atol, rtol=0)
    assert inversion.edit("age", 1).image.size == (32, 32)
    assert set(inversion.stored_metrics) == {"l2", "ms_ssim"}


def test_a_second_model_in_the_same_folder_replaces_the_first(
    tiny_inverter: HyperStyleInverter, square: Image.Image, folder: Path
) -> None:
    older = DirectionEdit(torch.randn(16), EditInfo("age"))
    composed(tiny_inverter, hypernetwork=None, edits={"older": older}).save_pretrained(folder)
    loaded = load(folder)
    assert list(loaded.edits) == ["older"]
    assert "hyperstyle" not in loaded.methods
    loaded.invert(square).edit("older", 1)


def test_a_model_is_saved_over_its_own_files_and_works_on_and_what_else_is_there_stays(
    square: Image.Image, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign_files = {
        "README.md": "mine",
        ".git/HEAD": "ref",
        "generator/notes.txt": "mine",
        "edits/own/config.json": "{}",
    }
    for name, text in foreign_files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    inverter = load(Path())
    before = inverter.invert(square).tensor
    composed(inverter, steps=1).save_pretrained(".")
    assert torch.equal(inverter.invert(square).tensor, before)
    assert load(Path()).model.steps == load(folder).model.steps == 1
    assert {name: (folder / name).read_text(encoding="utf-8") for name in foreign_files} == foreign_files
    assert [path.name for path in folder.glob(".*")] == [".git"]


def test_a_save_that_was_killed_half_way_is_completed_by_whoever_reads_the_model(
    tiny_inverter: HyperStyleInverter, folder: Path
) -> None:
    composed(tiny_inverter, hypernetwork=None, steps=1).save_pretrained(folder.with_name("new"))
    shutil.move(folder.with_name("new"), folder / ".replacing")
    (folder / "generator" / "model.safetensors").unlink()  # as it was moved away
    shutil.move(folder / ".replacing" / "generator" / "model.safetensors", folder / "generator")
    assert load(folder).model.steps == 1
    assert "hypernetwork" not in load(folder).model.networks
    assert not list(folder.glob(".*"))


def test_a_folder_that_does_not_name_its_edits_has_those_that_are_there(folder: Path) -> None:
    top = json.loads((folder / "hyperstyle.json").read_text(encoding="utf-8"))
    del top["edits"]
    (folder / "hyperstyle.json").write_text(json.dumps(top), encoding="utf-8")
    assert list(load(folder).edits) == ["age", "smile"]


def test_a_model_that_cannot_be_written_is_reported(tiny_inverter: HyperStyleInverter, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(HyperStyleError, match="taken"):
        tiny_inverter.save_pretrained(tmp_path / "taken")

    class Mine:
        info = EditInfo("mine")

        def __call__(self, w: Tensor, strength: Tensor) -> Tensor:
            return w

    with pytest.raises(CheckpointError, match="'mine' is a Mine"):
        composed(tiny_inverter, edits={"mine": Mine()}).save_pretrained(tmp_path / "new")
    named = {"../up": DirectionEdit(torch.zeros(16), EditInfo("up"))}
    with pytest.raises(CheckpointError, match="no name of a folder"):
        composed(tiny_inverter, edits=named).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_name_that_is_no_model_is_refused() -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean 'avatars'"):
        HyperStyleInverter.from_pretrained("avatar")


@pytest.mark.parametrize(
    "file", ["hyperstyle.json", "generator/config.json", "hypernetwork/model.safetensors", "edits/age/config.json"]
)
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(MissingFileError) as caught:
        load(folder)
    assert str(folder / file) in str(caught.value)


def test_a_missing_edit_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "edits" / "age")
    with pytest.raises(MissingFileError, match="age"):
        load(folder)


def test_tensors_that_do_not_fit_are_counted_and_named(folder: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["conv1.conv.weight"] = torch.zeros(1, 16, 16, 3, 4)
        tensors["extra"] = torch.zeros(1)
        del tensors["to_rgb1.bias"]

    rewrite(folder, "generator", change)
    with pytest.raises(WeightsError) as caught:
        load(folder)
    text = str(caught.value)
    assert "1 missing ('to_rgb1.bias')" in text
    assert "1 unexpected ('extra')" in text
    assert "'conv1.conv.weight'): (1, 16, 16, 3, 4), expected (1, 16, 16, 3, 3)" in text
    assert str(folder / "generator" / "model.safetensors") in text


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    rewrite(folder, "encoder", lambda tensors: tensors["linear.weight"][0].fill_(float("nan")))
    with pytest.raises(WeightsError, match=r"'linear.weight' holds NaN"):
        load(folder)


def test_a_changed_file_is_noticed(folder: Path) -> None:
    path = folder / "hypernetwork" / "model.safetensors"
    tensors, _ = load_tensors(path)
    save_tensors(path, {name: value * 1.01 for name, value in tensors.items()})
    with pytest.raises(WeightsError, match=r"sha256 \w{12}\.\.\., hyperstyle\.json says"):
        load(folder)


def test_a_file_that_was_cut_off_is_refused(folder: Path) -> None:
    path = folder / "generator" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2, "colour": 1}, "format 2"),
        ({"colour": 1}, r"unknown entry 'colour' .*\. Known: format, domain, steps, sha256, edits, info\."),
        ({"steps": "many"}, "steps is 'many'"),
        ({"sha256": []}, "sha256 is "),
        ({"sha256": {}}, "names no generator"),
        ({"sha256": {"critic": "0"}}, "'critic'"),
        ({"edits": ["../age"]}, "'edits'"),
        ({"domain": {"name": "mine"}}, "'size'"),
        ({"domain": {"name": "mine", "size": 32, "input_size": [32]}}, "input_size"),
        ({"domain": {"name": "mine", "size": 64, "input_size": [32, 32]}}, "do not fit together"),
    ],
)
def test_a_malformed_hyperstyle_json_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    top = json.loads((folder / "hyperstyle.json").read_text(encoding="utf-8"))
    (folder / "hyperstyle.json").write_text(json.dumps({**top, **change}), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load(folder)


@pytest.mark.parametrize("width", [10**12, 10**30])
def test_a_generator_too_wide_for_any_machine_is_refused(folder: Path, width: int) -> None:
    path = folder / "generator" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "latent_width": width}), "utf-8")
    with pytest.raises(
        ConfigError, match=r"config\.json: (no Generator can be built with these numbers|latent_width is 10)"
    ):
        load(folder)


def test_an_edit_made_for_other_codes_is_refused_when_it_is_used(
    tiny_inverter: HyperStyleInverter, square: Image.Image
) -> None:
    wide = composed(tiny_inverter, edits={"wide": DirectionEdit(torch.zeros(512), EditInfo("wide"))})
    with pytest.raises(EditError, match="another generator"):
        wide.invert(square).edit("wide", 1)


# ---- devices ----


def test_devices_are_chosen_or_refused(tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="no CUDA device"):
        pick_device("cuda")
    with pytest.raises(ConfigError, match="'toaster'"):
        pick_device("toaster")
    with pytest.raises(ConfigError, match="models run on 'cpu', 'cuda' and 'mps'"):
        pick_device("meta")
    assert tiny_inverter.to("cpu") is tiny_inverter


def test_moving_a_model_moves_every_part_and_leaves_older_inversions_as_they_are(
    tiny_model_dir: Path, square: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    inverter = load(tiny_model_dir)
    older = inverter.invert(square)
    monkeypatch.setattr("hyperstyle.inverter.pick_device", torch.device)
    assert inverter.to("meta") is inverter
    tensors = [t for network in inverter.model.networks.values() for t in network.state_dict().values()]
    assert {t.device.type for t in tensors} == {"meta"}
    assert older.model.device.type == "cpu"
    assert torch.equal(replace(older).tensor, older.tensor)
    model = older.model
    assert HyperStyleInverter(model.generator, domain=model.domain).to("cpu").model.generator is model.generator


def test_what_was_rendered_last_in_inverting_is_the_image(
    tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    synthesize = cpu.synthesize

    def counted(*args: Any, **options: Any) -> Tensor:
        calls.append(1)
        return synthesize(*args, **options)

    monkeypatch.setattr(cpu, "synthesize", counted)
    inversion = tiny_inverter.invert(torch.rand(3, 32, 32) * 2 - 1, align=False, steps=3)
    assert len(calls) == 4
    image = inversion.tensor
    assert len(calls) == 4
    monkeypatch.undo()
    assert torch.equal(image, replace(inversion).tensor)


def test_it_is_made_on_a_device_with_parts_and_without(tiny_inverter: HyperStyleInverter) -> None:
    assert HyperStyleInverter(device="cpu").model.device == torch.device("cpu")
    model = copy.deepcopy(tiny_inverter.model)  # parts are moved in place
    inverter = HyperStyleInverter(model.generator, model.encoder, domain=model.domain, device="auto")
    assert inverter.model.device == pick_device("auto")
    for parts in ({}, {"generator": model.generator, "domain": model.domain}):
        with pytest.raises(ConfigError, match="device 'warp' is not known to PyTorch"):
            HyperStyleInverter(**parts, device="warp")
    with pytest.raises(ConfigError, match="parts were given without a generator"):
        HyperStyleInverter(domain=model.domain, device="cpu")


def test_a_model_says_where_it_was_loaded_from(tiny_inverter: HyperStyleInverter, tiny_model_dir: Path) -> None:
    assert tiny_inverter.model.origin == repr(str(tiny_model_dir))
    assert HyperStyleInverter(tiny_inverter.model.generator, domain=tiny_inverter.model.domain).model.origin == ""


def test_an_image_without_a_path_is_called_by_its_place_in_the_list(tiny_inverter: HyperStyleInverter) -> None:
    good, bad = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3))
    with pytest.raises(ImageError, match=r"^image 2 of 3: The given array is float64"):
        tiny_inverter.invert([good, bad, good], align=False)
    failures = tiny_inverter.invert([good, bad], align=False, on_error="skip").failures
    assert [(place, text.startswith("image 2 of 2: ")) for place, text in failures] == [(1, True)]
    with pytest.raises(ImageError, match=r"^The given array is float64"):
        tiny_inverter.invert(bad, align=False)
