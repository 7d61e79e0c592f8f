"""The family of a file is recognized by its tensors, and unsupported files are refused by name."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hyperstyle.convert.sniff import describe_kind, sniff
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.io import opening

if TYPE_CHECKING:
    from conftest import OfficialFiles

ONE = torch.zeros(1)
STEM = torch.zeros(4, 3, 3, 3)


def test_every_family_is_recognized_with_its_tensors_mean_code_and_options(official: OfficialFiles) -> None:
    files = {
        "hyperstyle": official.hyperstyle()[0],
        "w-encoder": official.w_encoder()[0],
        "psp": official.pyramid("GradualStyleEncoder", "psp.pt")[0],
        "e4e": official.pyramid("Encoder4Editing", "e4e.pt")[0],
        "restyle": official.restyle()[0],
        "generator": official.bare(),
    }
    for kind, path in files.items():
        sniffed = sniff(path)
        assert sniffed.kind == kind
        assert sniffed.has_generator
        assert sniffed.latent_avg is not None
        content = torch.load(path, weights_only=True)
        assert list(sniffed.tensors) == list(content["g_ema" if kind == "generator" else "state_dict"])
        assert sniffed.opts == content.get("opts", {})
    assert sniff(files["hyperstyle"]).unread == ("global_step",)
    assert not sniff(official.w_encoder(with_decoder=False)[0]).has_generator


@pytest.mark.parametrize("kind", ["ResNetProgressiveBackboneEncoder", "BackboneEncoder", "ResNetBackboneEncoder"])
def test_restyle_encoders_of_every_published_kind_are_recognized(official: OfficialFiles, kind: str) -> None:
    assert sniff(official.restyle(kind)[0]).kind == "restyle"


def test_a_generator_is_read_alone_or_together_with_the_state_of_training(official: OfficialFiles) -> None:
    state, mean = official.decoder()
    bare = sniff(official.save("bare.pt", state))
    assert (bare.kind, bare.latent_avg) == ("generator", None)
    assert torch.equal(sniff(official.save("all.pt", {**state, "latent_avg": mean})).latent_avg, mean)
    training = {"g": state, "d": {"w": ONE}, "g_optim": {"state": {0: {"step": ONE}}}, "args": argparse.Namespace(a=1)}
    assert sniff(official.bare("training.pt", **training)).unread == ("args", "d", "g", "g_optim")


def test_the_prefix_of_several_gpus_is_taken_off(official: OfficialFiles) -> None:
    state, _ = official.decoder()
    path = official.save("parallel.pt", {"g_ema": {f"module.{name}": tensor for name, tensor in state.items()}})
    assert list(sniff(path).tensors) == list(state)


def test_options_may_be_a_namespace(official: OfficialFiles) -> None:
    content = official.hyperstyle_content(official.hypernetwork())
    plain = dict(content["opts"])
    path = official.save("hs.pt", {**content, "opts": argparse.Namespace(**plain)})
    assert sniff(path).opts == plain


def test_a_pickle_is_taken_for_nvidias(tmp_path: Path) -> None:
    (tmp_path / "network.pkl").write_bytes(b"\x80\x03}.")
    assert sniff(tmp_path / "network.pkl").kind == "nvidia"


@pytest.mark.parametrize(
    ("tensors", "opts", "message"),
    [
        ({"encoder.linear.weight": ONE, "encoder.conv1.weight": ONE}, {}, "an encoder of another family"),
        ({"encoder.other.weight": ONE}, {}, "an encoder of another family"),
        ({"synthesis.b4.const": ONE}, {}, "in NVIDIA's names"),
        ({"synthesis.input.freqs": ONE, "synthesis.b4.conv1.weight": ONE}, {}, "a StyleGAN3 generator"),
        ({"synthesis.input.freqs": ONE, "mapping.embed_proj.weight": ONE}, {}, "a StyleGAN-XL generator"),
        ({"layers.0.blocks.0.attn.0.weight": ONE, "style.1.weight": ONE}, {}, "a StyleSwin generator"),
        ({"generator.progression.0.conv1.weight": ONE}, {}, "a StyleGAN generator of the first version"),
        ({"convs.0.0.weight": ONE, "final_conv.0.weight": ONE}, {}, "a discriminator, which makes no images"),
        ({"b4.fc.weight": ONE, "b4.conv.weight": ONE}, {}, "a discriminator, which makes no images"),
        (
            {"layer1.weight": ONE, "layer2.weight": ONE, "a": ONE, "b": ONE},
            {},
            r"is nothing that is converted: it holds 4 tensors, called 'layer1.weight', 'layer2.weight', 'a', \.\.\.",
        ),
    ],
)
def test_what_is_not_converted_is_refused_by_name_and_with_what_is(
    official: OfficialFiles, tensors: dict[str, Any], opts: dict[str, Any], message: str
) -> None:
    path = official.save("odd.pt", {"state_dict": tensors, "opts": opts})
    with pytest.raises(CheckpointError, match=rf"odd\.pt .*{message}.*Converted are: HyperStyle, HyperInverter"):
        sniff(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds nothing: expected tensors under"),
        ({"epoch": 3, "net": {"w": ONE}}, "holds 'epoch', 'net': expected tensors under 'state_dict' or 'g_ema'"),
        ({"d": {"w": ONE}}, "holds 'd': .* Its 'd' is a discriminator, which makes no images"),
        ({"g": {"w": ONE}, "d": {"w": ONE}}, "has only 'g', the generator in training.*--use g"),
        ({"g_ema": {}}, "holds nothing under 'g_ema'"),
        ({"g_ema": {"w": ONE, "n": 3}}, "holds 'n' of type int under 'g_ema': expected tensors by name"),
        ({"g_ema": {"w": ONE}, "latent_avg": "far"}, "'latent_avg' is of type str: expected a tensor"),
        ({"g_ema": {"w": ONE}, "latent_avg": [[1.0], [1.0, 2.0]]}, "'latent_avg' is of type list: expected a tensor"),
    ],
)
def test_weights_that_are_not_where_they_are_expected_are_described(
    official: OfficialFiles, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"strange\.pt:? {message}"):
        sniff(official.save("strange.pt", content))


@pytest.mark.parametrize(
    ("kind", "words"),
    [("e4e", "an e4e encoder"), ("idinvert-encoder", "an encoder of IDInvert"), ("psp", "a pSp encoder")],
)
def test_families_are_spoken_of_with_their_articles(kind: str, words: str) -> None:
    assert describe_kind(kind) == words


def test_a_tensor_that_belongs_to_no_part_is_named(official: OfficialFiles) -> None:
    content = official.hyperstyle_content(official.hypernetwork())
    content["state_dict"] |= {"face_pool.weight": ONE}
    with pytest.raises(WeightsError, match=r"1 of \d+ tensors have no place in a HyperStyle .*'face_pool\.weight'"):
        sniff(official.save("more.pt", content))


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize("name", ["latent_avg", "to_rgb1.bias", "convs.0.conv.blur.kernel"])
def test_tensors_that_are_sparse_or_without_numbers_are_named(official: OfficialFiles, name: str) -> None:
    for change, message in ((torch.Tensor.to_sparse, "is sparse"), (lambda t: t.to("meta"), "has no numbers")):
        state, mean = official.decoder()
        content = {**state, "latent_avg": mean}
        content[name] = change(content[name])
        with pytest.raises(WeightsError, match=rf"odd\.pt: '{name}' {message} .*: expected a dense tensor"):
            sniff(official.save("odd.pt", content))


def test_a_file_behind_a_closed_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(opening, "os", SimpleNamespace(stat=refused, fspath=os.fspath))
    with pytest.raises(CheckpointError, match=r"g\.pt cannot be read: Permission denied"):
        sniff(tmp_path / "g.pt")


def test_a_folder_is_no_file_to_convert(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder: give the file"):
        sniff(tmp_path)
