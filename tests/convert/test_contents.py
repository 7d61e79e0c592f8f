"""Weights are found inside every structure that training and saving put around them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hyperstyle.convert import convert, read_generator
from hyperstyle.convert.contents import read_contents
from hyperstyle.convert.sniff import sniff
from hyperstyle.errors import CheckpointError, ConfigError, ConversionWarning, WeightsError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.torch_files import plain_names

if TYPE_CHECKING:
    from conftest import OfficialFiles

Same = Callable[..., None]
PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.")


# ---- names ----


def test_marks_of_compiling_and_parallel_training_are_taken_off_at_any_depth() -> None:
    for name in ("_orig_mod.a.b", "module._orig_mod.a.b", "a._orig_mod.b", "_orig_mod.module.a.module.b", "a.b"):
        assert plain_names({name: 1}, "f.pt") == {"a.b": 1}
    assert plain_names({"modules.0.submodule.weight": 1, 3: 2}, "f.pt") == {"modules.0.submodule.weight": 1, 3: 2}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_generator_is_read_with_each_prefix(official: OfficialFiles, assert_same: Same, prefix: str) -> None:
    state, mean = official.decoder()
    named = {prefix + name: tensor for name, tensor in state.items()}
    for content in ({"g_ema": named, "latent_avg": mean}, {**named, prefix + "latent_avg": mean}):
        assert_same(read_generator(official.save("g.pt", content)), official.generator)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_family_is_read_with_each_prefix_around_the_whole_and_within(
    official: OfficialFiles, tmp_path: Path, assert_same: Same, prefix: str
) -> None:
    (_, hyper), (_, w) = official.hyperstyle(), official.w_encoder()
    contents = {"hs": official.hyperstyle_content(hyper), "w": official.encoder_content(w, "WEncoder")}
    kinds = {"e4e": official.pyramid()[1], "restyle": official.restyle()[1]}
    contents["e4e"] = official.encoder_content(kinds["e4e"], "Encoder4Editing")
    contents["restyle"] = official.encoder_content(kinds["restyle"], "ProgressiveBackboneEncoder")

    def within(name: str) -> str:  # decoder.convs.0... -> decoder.module.convs.0...
        first, _, rest = name.partition(".")
        return f"{first}.{prefix}{rest}"

    for place, rename in (("around", lambda name: prefix + name), ("within", within)):
        paths = {}
        for name, content in contents.items():
            tensors = {rename(key): tensor for key, tensor in content["state_dict"].items()}
            paths[name] = official.save(f"{place}_{name}.pt", {**content, "state_dict": tensors})
        convert(paths["hs"], tmp_path / place, encoder=[paths["w"], paths["e4e"], paths["restyle"]])
        model = HyperStyleInverter.from_pretrained(tmp_path / place, device="cpu").model
        assert_same(model.generator, official.generator)
        assert_same(model.hypernetwork, hyper)
        assert_same(model.e4e, kinds["e4e"])
        assert_same(model.restyle, kinds["restyle"])
        assert model.encoder is not None


def test_two_tensors_of_one_name_are_refused(official: OfficialFiles) -> None:
    state, _ = official.decoder()
    path = official.save("two.pt", {"g_ema": {**state, "module.to_rgb1.bias": state["to_rgb1.bias"]}})
    with pytest.raises(WeightsError, match=r"two\.pt: 'to_rgb1\.bias' and 'module\.to_rgb1\.bias' are one name"):
        sniff(path)


def test_the_average_of_pytorch_is_read_without_its_counter(official: OfficialFiles, assert_same: Same) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(official.generator)
    path = official.save("swa.pt", averaged.state_dict())
    assert_same(read_generator(path), official.generator)
    assert sniff(path).unread == ("n_averaged",)


@pytest.mark.parametrize("wrapper", ["model.", "net.", "model._orig_mod.", "generator.", "model.generator.module."])
def test_a_state_dict_of_a_training_framework_is_read(official: OfficialFiles, assert_same: Same, wrapper: str) -> None:
    state, mean = official.decoder()
    content = {
        "epoch": 3,
        "state_dict": {wrapper + name: tensor for name, tensor in state.items()},
        "latent_avg": mean,
    }
    assert_same(read_generator(official.save("lightning.pt", content)), official.generator)


def test_the_averaged_generator_is_taken_from_among_other_networks(official: OfficialFiles, assert_same: Same) -> None:
    state, mean = official.decoder()
    tensors = {f"generator.{name}": tensor + 1 for name, tensor in state.items()}
    tensors |= {f"generator_ema.{name}": tensor for name, tensor in state.items()}
    tensors |= {"discriminator.convs.0.0.weight": torch.zeros(1), "discriminator.final.bias": torch.zeros(1)}
    path = official.save("gan.ckpt", {"state_dict": tensors, "latent_avg": mean})
    assert_same(read_generator(path), official.generator)
    assert sniff(path).unread == ("discriminator (2 tensors)", f"generator ({len(state)} tensors)")


def test_several_generators_without_an_average_are_refused(official: OfficialFiles) -> None:
    state, _ = official.decoder()
    tensors = {f"{name}.{key}": tensor for name in ("generator_a", "generator_b") for key, tensor in state.items()}
    with pytest.raises(CheckpointError, match=r"several generators \('generator_a', 'generator_b'\)"):
        sniff(official.save("two.pt", {"state_dict": tensors}))


# ---- the generator in training ----


def training(official: OfficialFiles, *, averaged: bool) -> Path:
    state, mean = official.decoder()
    newest = {name: tensor.clone() if name.endswith(".kernel") else tensor + 1 for name, tensor in state.items()}
    content = {"g": newest, "d": {"w": mean}, "g_optim": {}, "latent_avg": mean}
    return official.save("550000.pt", {**content, "g_ema": state} if averaged else content)


def test_a_file_with_only_g_is_refused_with_the_way_on(official: OfficialFiles) -> None:
    path = training(official, averaged=False)
    with pytest.raises(CheckpointError, match=r"550000\.pt has only 'g', .* no 'g_ema'.*--use g \(in Python use='g'\)"):
        read_generator(path)
    with pytest.raises(CheckpointError, match="has only 'g'"):
        read_generator(path, use="g_ema")


@pytest.mark.parametrize("averaged", [True, False])
def test_the_generator_in_training_is_read_on_request_and_noted(
    official: OfficialFiles, tmp_path: Path, averaged: bool
) -> None:
    path = training(official, averaged=averaged)
    bias = official.generator.to_rgb1.bias
    assert torch.equal(read_generator(path, use="g").to_rgb1.bias, bias + 1)
    if averaged:
        assert torch.equal(read_generator(path).to_rgb1.bias, bias)
    encoder = official.w_encoder(with_decoder=False)[0]
    done = convert(path, tmp_path / "m", domain="faces", encoder=encoder, use="g")
    note = "the generator of 550000.pt is 'g', the one in training, not the averaged 'g_ema': its images are worse"
    assert done.notes == (note,)
    assert HyperStyleInverter.from_pretrained(tmp_path / "m", device="cpu").describe()["notes"] == [note]


def test_g_may_be_the_one_that_takes_the_place_of_another(official: OfficialFiles, tmp_path: Path) -> None:
    tuned = training(official, averaged=False)
    done = convert(official.hyperstyle()[0], tmp_path / "m", encoder=official.w_encoder()[0], generator=tuned, use="g")
    assert len(done.notes) == 1
    model = HyperStyleInverter.from_pretrained(tmp_path / "m", device="cpu").model
    assert torch.equal(model.generator.to_rgb1.bias, official.generator.to_rgb1.bias + 1)


def test_g_is_not_asked_of_what_has_none(official: OfficialFiles, tmp_path: Path) -> None:
    for path in (official.bare(), official.hyperstyle()[0]):
        with pytest.raises(CheckpointError, match=rf"{path.name} has no generator under 'g'"):
            read_generator(path, use="g")
    (tmp_path / "n.pkl").write_bytes(b"\x80\x03}.")
    with pytest.raises(CheckpointError, match=r"n\.pkl is a pickle, of which only 'G_ema' is read"):
        read_generator(tmp_path / "n.pkl", use="g")
    with pytest.raises(ConfigError, match="use='G': expected 'g_ema'"):
        read_generator(official.bare(), use="G")  # type: ignore[arg-type]


# ---- mean codes ----


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "form",
    [
        lambda mean: mean.numpy(),
        lambda mean: mean.numpy()[None],
        lambda mean: mean.numpy().astype(">f8"),
        lambda mean: np.asfortranarray(mean.expand(8, -1).numpy()),
        lambda mean: mean.expand(1, 8, -1).clone(),
        lambda mean: mean.double(),
        lambda mean: mean.tolist(),
        lambda mean: [mean.tolist()] * 8,
        lambda mean: tuple(mean.numpy()),
        lambda mean: torch.nn.Parameter(mean),
    ],
)
def test_a_mean_code_is_read_in_every_form(
    official: OfficialFiles, assert_same: Same, form: Callable[[torch.Tensor], Any], zipped: bool
) -> None:
    state, mean = official.decoder()
    torch.save(
        {"g_ema": state, "latent_avg": form(mean)},
        official.folder / "g.pt",
        _use_new_zipfile_serialization=zipped,
    )
    assert_same(read_generator(official.folder / "g.pt"), official.generator)


def test_a_mean_code_in_half_precision_becomes_float32(official: OfficialFiles) -> None:
    state, mean = official.decoder()
    for half in (mean.half(), mean.half().numpy()):
        converted = read_generator(official.save("g.pt", {"g_ema": state, "latent_avg": half}))
        assert torch.equal(converted.latent_avg, mean.half().float())


def test_weights_may_be_arrays(official: OfficialFiles, assert_same: Same) -> None:
    state, mean = official.decoder()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    assert_same(read_generator(official.save("g.pt", {"g_ema": arrays, "latent_avg": mean})), official.generator)


# ---- safetensors ----


@pytest.mark.parametrize("prefix", ["", "g_ema.", "module.", "g_ema._orig_mod."])
def test_a_safetensors_file_is_read(official: OfficialFiles, assert_same: Same, prefix: str) -> None:
    state, mean = official.decoder()
    path = official.folder / "g.safetensors"
    save_file({prefix + name: tensor.contiguous() for name, tensor in state.items()} | {"latent_avg": mean}, path)
    assert_same(read_generator(path), official.generator)
    assert sniff(path).unread == ()


def test_the_mean_code_may_stand_below_the_prefix_and_be_missing(official: OfficialFiles, assert_same: Same) -> None:
    state = dict(official.generator.state_dict())
    path = official.folder / "g.safetensors"
    save_file({f"g_ema.{name}": tensor for name, tensor in state.items()}, path, metadata={"format": "pt"})
    assert_same(read_generator(path), official.generator)
    del state["latent_avg"]
    save_file({f"g_ema.{name}": tensor for name, tensor in state.items()}, path)
    assert torch.equal(read_generator(path).latent_avg, official.generator.mean_w(100_000))


def test_a_safetensors_file_with_both_generators_follows_use(official: OfficialFiles) -> None:
    state, _ = official.decoder()
    newest = {name: tensor.clone() if name.endswith(".kernel") else tensor + 1 for name, tensor in state.items()}
    named = {f"g.{name}": tensor for name, tensor in newest.items()}
    path, bias = official.folder / "both.safetensors", official.generator.to_rgb1.bias
    save_file(named | {f"g_ema.{name}": tensor for name, tensor in state.items()}, path)
    assert torch.equal(read_generator(path).to_rgb1.bias, bias)
    assert torch.equal(read_generator(path, use="g").to_rgb1.bias, bias + 1)
    assert len(read_contents(path, "g").notes) == 1
    save_file(named, path)
    with pytest.raises(CheckpointError, match="has only 'g'"):
        read_generator(path)


def test_an_encoder_in_safetensors_tells_its_kind_by_its_metadata(
    official: OfficialFiles, tmp_path: Path, assert_same: Same
) -> None:
    _, encoder = official.pyramid()
    content = official.encoder_content(encoder, "Encoder4Editing")
    path = tmp_path / "e4e.safetensors"
    tensors = {**content["state_dict"], "latent_avg": content["latent_avg"]}
    save_file(tensors, path, metadata={"encoder_type": "Encoder4Editing", "dataset_type": "ffhq_encode"})
    convert(path, tmp_path / "m")
    model = HyperStyleInverter.from_pretrained(tmp_path / "m", device="cpu").model
    assert_same(model.e4e, encoder)
    assert model.domain.name == "faces"
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"e4e\.safetensors is a pSp or e4e encoder with encoder_type None"):
        sniff(path)


def test_a_damaged_safetensors_file_is_refused(official: OfficialFiles) -> None:
    path = official.folder / "g.safetensors"
    save_file(dict(official.generator.state_dict()), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"g\.safetensors is not a readable safetensors file"):
        read_generator(path)


# ---- what a model without an encoder cannot do ----


def test_a_model_without_an_encoder_is_warned_of_and_noted(official: OfficialFiles, tmp_path: Path) -> None:
    for name, path, domain in (("g", official.bare(), "faces"), ("hs", official.hyperstyle()[0], None)):
        with pytest.warns(ConversionWarning, match=r"no encoder to start from an image: only optimize-w") as caught:
            done = convert(path, tmp_path / name, domain=domain)
        assert len(caught) == 1
        (note,) = done.notes
        assert "optimize-w+, pti work" in note
        assert "hyperstyle" in note
        assert "--encoder" in note
        info = json.loads((tmp_path / name / "hyperstyle.json").read_text())["info"]
        assert info["notes"] == [note]


def test_a_model_with_an_encoder_of_any_kind_is_not_warned_of(official: OfficialFiles, tmp_path: Path) -> None:
    for number, path in enumerate((official.pyramid()[0], official.restyle()[0], official.w_encoder()[0])):
        assert convert(path, tmp_path / str(number)).notes == ()
