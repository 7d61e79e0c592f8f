"""`convert`: from files to a model folder, written completely or not at all."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hyperstyle.model.folder as model_folder
from hyperstyle.convert import convert
from hyperstyle.domain import Domain
from hyperstyle.errors import CheckpointError, ConfigError, MethodError, WeightsError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.registry import by_networks

if TYPE_CHECKING:
    from conftest import OfficialFiles

# Many of these models are a generator alone, of which `convert` warns.
pytestmark = pytest.mark.filterwarnings("ignore::hyperstyle.errors.ConversionWarning")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(folder: Path) -> HyperStyleInverter:
    return HyperStyleInverter.from_pretrained(folder, device="cpu")


# ---- what comes out ----


def test_hyperstyle_and_its_encoder_become_a_model_with_the_same_networks(
    official: OfficialFiles, tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    (path, network), (encoder_path, encoder) = official.hyperstyle(), official.w_encoder()
    lines: list[str] = []
    done = convert(path, tmp_path / "m", encoder=encoder_path, licence="MIT", origin="me", on_progress=lines.append)
    model = load(tmp_path / "m").model
    assert_same(model.generator, official.generator)
    assert_same(model.hypernetwork, network)
    assert (model.domain.name, model.domain.size, model.steps) == ("faces", 32, 3)
    # HyperStyle's mean code, not the one of the encoder's file
    assert torch.equal(model.encoder.latent_avg, official.generator.latent_avg.expand(8, -1))
    assert not torch.equal(model.encoder.latent_avg, encoder.latent_avg)
    encoder.latent_avg = model.encoder.latent_avg
    assert_same(model.encoder, encoder)

    parts = ("generator", "hypernetwork", "encoder")
    assert done.consumed == {name: len(getattr(model, name).state_dict()) - (name == "encoder") for name in parts}
    assert (done.kind, done.aliases, done.computed) == ("hyperstyle", 20, ())
    assert done.unread == {
        "hyperstyle.pt": ("global_step",),
        "w_encoder.pt": (
            "its generator (69 tensors)",
            "latent_avg (the HyperStyle checkpoint's is used, as by the official code)",
        ),
    }
    assert done.source_sha256 == {"hyperstyle.pt": digest(path), "w_encoder.pt": digest(encoder_path)}
    assert done.sha256 == {name: digest(tmp_path / "m" / name / "model.safetensors") for name in parts}
    assert lines[0].startswith("hyperstyle.pt: HyperStyle checkpoint, ")

    shown = load(tmp_path / "m").describe()
    assert shown["source"] == "hyperstyle.pt (HyperStyle checkpoint), w_encoder.pt (W encoder)"
    assert shown["source_sha256"] == done.source_sha256
    assert (shown["licence"], shown["origin"], shown["computed"]) == ("MIT", "me", [])
    assert shown["converted_by"].startswith("hyperstyle ")
    assert sorted(entry.name for entry in (tmp_path / "m").iterdir()) == sorted([*parts, "hyperstyle.json"])
    assert not list(tmp_path.rglob(".*"))


def test_inverting_with_the_converted_model_is_inverting_with_its_parts(
    official: OfficialFiles, tmp_path: Path
) -> None:
    (path, network), (encoder_path, encoder) = official.hyperstyle(), official.w_encoder()
    convert(path, tmp_path / "m", encoder=encoder_path)
    encoder.latent_avg = official.generator.latent_avg.expand(8, -1).clone()
    domain = load(tmp_path / "m").model.domain
    parts = HyperStyleInverter(official.generator, encoder, network, domain=domain, steps=3)
    crop = torch.rand(3, 256, 256) * 2 - 1
    from_file, from_parts = (inverter.invert(crop, align=False) for inverter in (load(tmp_path / "m"), parts))
    assert torch.equal(from_file.w, from_parts.w)
    assert torch.equal(from_file.tensor, from_parts.tensor)


def test_an_encoder_alone_keeps_its_own_mean_code(
    official: OfficialFiles, tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    path, encoder = official.w_encoder()
    done = convert(path, tmp_path / "m")
    model = load(tmp_path / "m").model
    assert_same(model.encoder, encoder)
    assert torch.equal(model.generator.latent_avg, encoder.latent_avg[0])
    assert (done.kind, done.unread, model.hypernetwork) == ("w-encoder", {}, None)


def test_a_restyle_file_becomes_a_model_of_that_method(
    official: OfficialFiles, tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    path, encoder = official.restyle()
    convert(path, tmp_path / "m")
    inverter = load(tmp_path / "m")
    assert_same(inverter.model.restyle, encoder)
    assert by_networks(inverter.model) == ("restyle-e4e",)


@pytest.mark.parametrize(("kind", "name"), [("GradualStyleEncoder", "psp"), ("Encoder4Editing", "e4e")])
def test_a_psp_or_e4e_file_becomes_a_model_with_its_own_generator(
    official: OfficialFiles, tmp_path: Path, assert_same: Callable[..., None], kind: str, name: str
) -> None:
    path, encoder = official.pyramid(kind, f"{name}.pt")
    done = convert(path, tmp_path / "m")
    model = load(tmp_path / "m").model
    assert_same(getattr(model, name), encoder)
    assert list(model.networks) == ["generator", name]
    assert done.kind == name
    assert done.consumed[name] == len(encoder.state_dict()) - 1
    assert done.computed == ("the generator's mean code is the mean of the 8 rows of latent_avg",)
    torch.testing.assert_close(model.generator.latent_avg, encoder.latent_avg.mean(0))


def test_psp_and_e4e_together_with_a_hyperstyle_file_keep_their_own_mean_codes(
    official: OfficialFiles, tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    (psp_path, psp), (e4e_path, e4e) = official.pyramid("GradualStyleEncoder", "psp.pt"), official.pyramid(name="e.pt")
    done = convert(official.hyperstyle()[0], tmp_path / "m", encoder=[psp_path, official.w_encoder()[0], e4e_path])
    model = load(tmp_path / "m").model
    assert_same(model.psp, psp)
    assert_same(model.e4e, e4e)
    assert torch.equal(model.generator.latent_avg, official.generator.latent_avg)
    assert model.encoder is not None
    assert done.unread["e.pt"] == ("its generator (69 tensors)",)
    with pytest.raises(ConfigError, match=r"e\.pt is a second e4e encoder: a model has one"):
        convert(official.hyperstyle()[0], tmp_path / "n", encoder=[e4e_path, e4e_path])


@pytest.mark.parametrize("starts", [True, False])
def test_psp_that_was_trained_without_a_mean_code_adds_none(
    official: OfficialFiles, tmp_path: Path, starts: bool
) -> None:
    _, encoder = official.pyramid("GradualStyleEncoder")
    content = official.encoder_content(encoder, "GradualStyleEncoder")
    content["opts"]["start_from_latent_avg"] = starts
    convert(official.save("psp.pt", content), tmp_path / "m")
    assert torch.equal(load(tmp_path / "m").model.psp.latent_avg, encoder.latent_avg * starts)


def test_old_options_without_sizes_are_enough(
    official: OfficialFiles, tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    _, encoder = official.pyramid()
    content = official.encoder_content(encoder, "Encoder4Editing")
    del content["opts"]["output_size"]
    convert(official.save("e4e.pt", content), tmp_path / "m")
    assert_same(load(tmp_path / "m").model.e4e, encoder)


def test_cars_have_a_wider_input_and_content_rows(
    official: OfficialFiles, tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    _, encoder = official.pyramid(input_size=(192, 256))
    content = official.encoder_content(encoder, "Encoder4Editing")
    content["opts"]["dataset_type"] = "cars_encode"
    convert(official.save("e4e.pt", content), tmp_path / "m")
    model = load(tmp_path / "m").model
    assert_same(model.e4e, encoder)
    assert (model.domain.name, model.domain.content_rows) == ("cars", (4, 28))


@pytest.mark.parametrize("named", ["stylegan_size", "output_size"])
@pytest.mark.parametrize("with_decoder", [True, False])
def test_psp_or_e4e_for_another_generator_is_refused_in_one_sentence(
    official: OfficialFiles, official_at: Callable[..., OfficialFiles], tmp_path: Path, named: str, with_decoder: bool
) -> None:
    other = official_at(size=64)
    content = other.encoder_content(other.pyramid()[1], "Encoder4Editing", with_decoder=with_decoder)
    content["opts"][named] = content["opts"].pop("output_size")
    with pytest.raises(
        WeightsError, match=r"e4e\.pt was made for a generator of 64 px with latent codes of 16, and that"
    ):
        convert(official.hyperstyle()[0], tmp_path / "m", encoder=official.save("e4e.pt", content))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("part", ["psp", "e4e"])
def test_one_kind_of_encoder_in_the_folder_of_the_other_is_refused(
    official: OfficialFiles, tmp_path: Path, part: str
) -> None:
    convert(official.pyramid("Encoder4Editing" if part == "e4e" else "GradualStyleEncoder")[0], tmp_path / "m")
    other = {"psp": "e4e", "e4e": "psp"}[part]
    (tmp_path / "m" / part).rename(tmp_path / "m" / other)
    top = json.loads((tmp_path / "m" / "hyperstyle.json").read_text())
    top["sha256"][other] = top["sha256"].pop(part)
    (tmp_path / "m" / "hyperstyle.json").write_text(json.dumps(top))
    with pytest.raises(ConfigError, match=f"parts do not fit together: the encoder of {part} as that of {other}"):
        load(tmp_path / "m")


def test_all_three_files_make_one_model(official: OfficialFiles, tmp_path: Path) -> None:
    restyle_path, restyle = official.restyle()
    done = convert(official.hyperstyle()[0], tmp_path / "m", encoder=[official.w_encoder()[0], restyle_path])
    inverter = load(tmp_path / "m")
    assert by_networks(inverter.model) == ("hyperstyle", "w-encoder", "restyle-e4e")
    assert torch.equal(inverter.model.restyle.latent_avg, restyle.latent_avg)
    assert done.unread["restyle.pt"] == ("its generator (69 tensors)",)


def test_a_bare_generator_becomes_a_model_that_says_where_an_encoder_comes_from(
    official: OfficialFiles, tmp_path: Path
) -> None:
    state, _ = official.decoder()
    done = convert(official.save("toonify.pt", {"g_ema": state}), tmp_path / "m", domain="faces")
    assert done.computed == ("the mean code, from 100,000 samples: toonify.pt has none",)
    inverter = load(tmp_path / "m")
    assert inverter.describe()["computed"] == list(done.computed)
    with pytest.raises(MethodError, match=r"no encoder to start from.*hyperstyle convert .* --encoder"):
        inverter.invert(torch.zeros(3, 256, 256), align=False)


def test_a_bare_generator_with_an_encoder_starts_from_the_encoders_mean_code(
    official: OfficialFiles, tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    path, encoder = official.w_encoder(with_decoder=False)
    convert(official.bare(), tmp_path / "m", encoder=path)
    assert_same(load(tmp_path / "m").model.encoder, encoder)


def test_a_fine_tuned_generator_takes_the_place_of_the_one_in_the_file(
    official: OfficialFiles, official_at: Callable[..., OfficialFiles], tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    tuned = official_at()
    done = convert(official.hyperstyle()[0], tmp_path / "m", generator=tuned.bare("tuned.pt"))
    model = load(tmp_path / "m").model
    assert_same(model.generator, tuned.generator)
    assert model.hypernetwork is not None
    assert done.unread["hyperstyle.pt"] == ("global_step", "its generator (70 tensors)")
    assert list(done.source_sha256) == ["hyperstyle.pt", "tuned.pt"]


def test_files_of_the_same_name_are_distinguished_by_their_folders(official: OfficialFiles, tmp_path: Path) -> None:
    paths = []
    for folder, path in (("hyper", official.hyperstyle()[0]), ("encoder", official.w_encoder()[0])):
        (tmp_path / folder).mkdir()
        paths.append(path.rename(tmp_path / folder / "best_model.pt"))
    done = convert(paths[0], tmp_path / "m", encoder=paths[1])
    assert list(done.source_sha256) == ["hyper/best_model.pt", "encoder/best_model.pt"]


# ---- domains ----


@pytest.mark.parametrize(
    ("data", "domain", "expected"),
    [
        ("cars_hypernet", None, ("cars", 32, (192, 256), (4, 28))),
        ("cars_hypernet", "wild", ("wild", 32, (256, 256), None)),
        ("plates", Domain("plates", 32, (128, 256), (8, 24)), ("plates", 32, (128, 256), (8, 24))),
    ],
)
def test_the_domain_is_what_is_given_else_what_the_file_tells(
    official: OfficialFiles, tmp_path: Path, data: str, domain: Any, expected: tuple[Any, ...]
) -> None:
    content = official.hyperstyle_content(official.hypernetwork(input_size=expected[2]), dataset_type=data)
    convert(official.save("hs.pt", content), tmp_path / "m", domain=domain, steps=1)
    model = load(tmp_path / "m").model
    converted = model.domain
    assert (converted.name, converted.size, converted.input_size, converted.content_rows) == expected
    assert model.hypernetwork.config.input_size == expected[2]
    assert model.steps == 1


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (None, r"generator\.pt does not say what kind of images it is for: name it with --domain \(avatars, cars,"),
        ("facs", "no domain 'facs'.*Did you mean 'faces'"),
        (Domain("plates", 64, (64, 64)), "generator of 32 px, domain of 64 px"),
    ],
)
def test_a_domain_that_is_missing_unknown_or_of_another_size_is_refused(
    official: OfficialFiles, tmp_path: Path, domain: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(official.bare(), tmp_path / "m", domain=domain)
    assert not (tmp_path / "m").exists()


# ---- parts that do not fit ----


@pytest.mark.parametrize("with_decoder", [True, False])
@pytest.mark.parametrize(("numbers", "text"), [({"size": 64}, "64 px .* of 16,"), ({"latent_width": 12}, "of 12,")])
def test_an_encoder_for_another_generator_is_refused_in_one_sentence(
    official: OfficialFiles,
    official_at: Callable[..., OfficialFiles],
    tmp_path: Path,
    numbers: dict[str, int],
    text: str,
    with_decoder: bool,
) -> None:
    path, _ = official_at(**numbers).w_encoder("other.pt", with_decoder=with_decoder)
    message = rf"other\.pt was made for a generator of {text} and that of .*hyperstyle\.pt has 32 px and codes of 16\."
    with pytest.raises(WeightsError, match=message if "size" in numbers else message.replace("of of", "of .* of")):
        convert(official.hyperstyle()[0], tmp_path / "m", encoder=path)


def test_a_generator_of_another_architecture_is_refused_in_one_sentence(
    official: OfficialFiles, official_at: Callable[..., OfficialFiles], tmp_path: Path
) -> None:
    for numbers, text in (({"size": 64}, "64 px, channels 16, 16, 16, 8, 6, "), ({"latent_width": 12}, "codes of 12")):
        path = official_at(**numbers).bare("tuned.pt")
        with pytest.raises(WeightsError, match=rf"tuned\.pt is a generator of .*{text}.*; that of .*has 32 px"):
            convert(official.hyperstyle()[0], tmp_path / "m", generator=path)


def test_what_is_no_encoder_and_a_second_one_are_refused(official: OfficialFiles, tmp_path: Path) -> None:
    path = official.hyperstyle()[0]
    with pytest.raises(ConfigError, match=r"generator\.pt is a StyleGAN2 generator: expected a W encoder, or a pSp"):
        convert(path, tmp_path / "m", encoder=official.bare())
    encoder = official.w_encoder()[0]
    with pytest.raises(ConfigError, match=r"w_encoder\.pt is a second W encoder"):
        convert(path, tmp_path / "m", encoder=[encoder, encoder])


def test_names_without_numbers_in_an_encoder_s_generator_and_a_weight_without_axes_are_refused(
    official: OfficialFiles, tmp_path: Path
) -> None:
    content = official.encoder_content(official.w_encoder()[1], "WEncoder")
    content["state_dict"] |= {"decoder.convs.weight": torch.zeros(1), "decoder.convs.x.y": torch.zeros(1)}
    convert(official.hyperstyle()[0], tmp_path / "m", encoder=official.save("odd.pt", content))
    for (_, encoder), kind, name in (
        (official.w_encoder(), "WEncoder", "encoder.linear.weight"),
        (official.restyle(), "BackboneEncoder", "encoder.styles.0.linear.weight"),
    ):
        content = official.encoder_content(encoder, kind)
        content["state_dict"][name] = torch.tensor(1.0)
        with pytest.raises(WeightsError, match=r"odd\.pt was made for a generator of 32 px with latent codes of 1,"):
            convert(official.bare(), tmp_path / "n", encoder=official.save("odd.pt", content))


# ---- files that cannot be used ----


class _WritesAFile:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({self.target!r}, 'w').close()",))


def _cut_off(path: Path, trace: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20_000])


def _page(path: Path, trace: Path) -> None:
    path.write_text("<!DOCTYPE html>\n<title>Quota exceeded</title>", encoding="utf-8")


def _empty(path: Path, trace: Path) -> None:
    path.write_bytes(b"")


def _executes(path: Path, trace: Path) -> None:
    path.write_bytes(pickle.dumps({"G_ema": _WritesAFile(trace)}, protocol=3))


def _executes_within(path: Path, trace: Path) -> None:
    torch.save({"g_ema": {"style.1.weight": torch.zeros(1)}, "opts": _WritesAFile(trace)}, path)


EXECUTES = r"was not loaded, and nothing of it was executed: it asks for (builtins\.|__builtin__\.)?eval, which"
PAGE = "is a web page and no PyTorch file: the server answered with a page"


@pytest.mark.parametrize(
    ("place", "spoil", "message"),
    [
        ("source", _cut_off, r"is a damaged PyTorch file, or one cut off: .*\. Fetch or make it again\.$"),
        ("source", _page, PAGE),
        ("encoder", _page, PAGE),
        ("generator", _page, PAGE),
        ("source", _empty, "is empty"),
        ("source", _executes, EXECUTES),
        ("generator", _executes, EXECUTES),
        ("source", _executes_within, EXECUTES),
        ("encoder", _executes_within, EXECUTES),
    ],
)
def test_a_file_that_is_damaged_or_something_else_is_refused_in_one_line(
    official: OfficialFiles, tmp_path: Path, place: str, spoil: Callable[[Path, Path], None], message: str
) -> None:
    bad, trace = official.bare("bad.pt"), tmp_path / "trace"
    spoil(bad, trace)
    files = {"source": official.bare(), place: bad}
    with pytest.raises(CheckpointError, match=rf"bad\.pt {message}") as caught:
        convert(files.pop("source"), tmp_path / "m", domain="faces", **files)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    assert not (tmp_path / "m").exists()
    if spoil in (_executes, _executes_within):  # they were real ones
        torch.load(bad, weights_only=False) if spoil is _executes_within else pickle.loads(bad.read_bytes())
        assert trace.exists()


def test_weights_with_nan_are_refused_when_the_model_is_loaded(official: OfficialFiles, tmp_path: Path) -> None:
    convert(official.bare(), tmp_path / "m", domain="faces")
    path = tmp_path / "m" / "generator" / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors["conv1.conv.weight"][0, 0, 0, 0, 0] = float("nan")
    save_file(tensors, path)
    top = json.loads((tmp_path / "m" / "hyperstyle.json").read_text())
    top["sha256"]["generator"] = digest(path)
    (tmp_path / "m" / "hyperstyle.json").write_text(json.dumps(top))
    with pytest.raises(WeightsError, match=r"model\.safetensors: 'conv1\.conv\.weight' holds NaN or infinite values"):
        load(tmp_path / "m")


# ---- the folder ----


def test_what_is_in_the_way_is_left_alone(official: OfficialFiles, tmp_path: Path) -> None:
    path = official.bare()
    full, empty, file = tmp_path / "full", tmp_path / "empty", tmp_path / "file"
    full.mkdir()
    empty.mkdir()
    (full / "thesis.txt").write_text("x")
    file.write_text("x")
    for overwrite in (False, True):
        with pytest.raises(CheckpointError, match=r"full is not empty and no model \('thesis\.txt' is in it\)"):
            convert(path, full, domain="faces", overwrite=overwrite)
        with pytest.raises(CheckpointError, match="is a file: choose another folder"):
            convert(path, file, domain="faces", overwrite=overwrite)
    assert (full / "thesis.txt").read_text() == file.read_text() == "x"
    convert(path, empty, domain="faces")
    assert load(empty).model.generator.config == official.config


def test_a_model_is_replaced_only_when_asked_and_only_if_nothing_else_is_lost(
    official: OfficialFiles, official_at: Callable[..., OfficialFiles], tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    convert(official.w_encoder()[0], folder)
    other = official_at(size=64).bare()
    with pytest.raises(CheckpointError, match=r"holds a model already: .*--force"):
        convert(other, folder, domain="faces")
    (folder / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"also holds 'notes\.txt', which would be lost"):
        convert(other, folder, domain="faces", overwrite=True)
    (folder / "notes.txt").unlink()
    convert(other, folder, domain="faces", overwrite=True)
    model = load(folder).model
    assert (model.generator.config.size, model.encoder) == (64, None)
    assert not (folder / "encoder").exists()
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), OSError(28, "No space left on device")])
@pytest.mark.parametrize("there_before", [True, False])
def test_an_interrupted_conversion_leaves_nothing_and_an_old_model_as_it_was(
    official: OfficialFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, there_before: bool
) -> None:
    folder = tmp_path / "m"
    if there_before:
        convert(official.w_encoder()[0], folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write = model_folder.write_json

    def interrupted(*args: Any, **kwargs: Any) -> None:
        write(*args, **kwargs)
        raise error

    monkeypatch.setattr(model_folder, "write_json", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit, CheckpointError), match=r"^$|^143$|No space left") as caught:
        convert(official.bare(), folder, domain="faces", overwrite=there_before)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert isinstance(caught.value, CheckpointError) == isinstance(error, OSError)
    assert folder.exists() == there_before
    assert not list(tmp_path.rglob(".*"))


def test_an_old_model_stays_where_the_new_one_cannot_take_its_place(
    official: OfficialFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "m"
    convert(official.w_encoder()[0], folder)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name.startswith(".tmp-"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(CheckpointError, match="Permission denied"):
        convert(official.bare(), folder, domain="faces", overwrite=True)
    assert load(folder).model.encoder is not None
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    "place",
    ["generator/g.pt", "generator/more/model.safetensors", "edits/smile/g.pt", "edits/list.txt", "aligner/g.pt"],
)
def test_a_file_anywhere_in_the_old_model_keeps_it_from_being_replaced(
    official: OfficialFiles, tmp_path: Path, place: str
) -> None:
    folder, path = tmp_path / "m", official.bare()
    convert(path, folder, domain="faces")
    inside = folder / place
    inside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, inside)
    with pytest.raises(CheckpointError, match=rf"also holds '{place.removesuffix('model.safetensors')}', which would"):
        convert(path, folder, domain="faces", overwrite=True)
    assert inside.exists()


def test_a_model_with_edits_and_an_aligner_is_replaced(official: OfficialFiles, tmp_path: Path) -> None:
    folder, path = tmp_path / "m", official.bare()
    convert(path, folder, domain="faces")
    for name in ("aligner/detector.svm", "aligner/predictor.dat", "edits/a smile/config.json", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    convert(path, folder, domain="faces", overwrite=True)
    assert sorted(entry.name for entry in folder.iterdir()) == ["generator", "hyperstyle.json"]


@pytest.mark.parametrize("part", ["source", "encoder", "generator"])
def test_a_file_that_is_read_may_not_lie_in_the_folder_to_write(
    official: OfficialFiles, tmp_path: Path, part: str
) -> None:
    folder = tmp_path / "m"
    files: dict[str, Path] = {"source": official.hyperstyle()[0]}
    convert(files["source"], folder)
    inside = folder / "generator" / "model.safetensors"  # a name that a model has
    shutil.copy({**files, "encoder": official.w_encoder()[0], "generator": official.bare()}[part], inside)
    (tmp_path / "link").symlink_to(folder)
    files[part] = inside
    with pytest.raises(ConfigError, match=r"model\.safetensors lies in .*link, the folder to write, and would be lost"):
        convert(files.pop("source"), tmp_path / "link", overwrite=True, **files)
    assert inside.exists()


def test_a_folder_that_cannot_be_looked_into_is_named(
    official: OfficialFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = tmp_path / "m", official.bare()
    convert(path, folder, domain="faces")
    look = Path.iterdir

    def refused(self: Path) -> Any:
        if self.name == "generator":
            raise PermissionError(13, "Permission denied")
        return look(self)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(CheckpointError, match=r"Cannot look into the folder .*m: Permission denied\. Choose a place"):
        convert(path, folder, domain="faces", overwrite=True)
    assert load(folder).model.generator.config == official.config


def test_a_place_that_cannot_be_written_to_is_refused_even_where_nothing_may_be_looked_up(
    official: OfficialFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists

    def refused(self: Path, **kwargs: Any) -> bool:
        if self.name == "m":
            raise PermissionError(13, "Permission denied")
        return exists(self, **kwargs)

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(CheckpointError, match=r"Cannot write the folder .*m': Permission denied"):
        convert(official.bare(), tmp_path / "m", domain="faces")
    assert not list(tmp_path.rglob(".*"))
