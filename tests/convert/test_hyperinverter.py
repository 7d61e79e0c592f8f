"""HyperInverter files become the networks of its second phase, every tensor used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from hyperstyle.convert import convert
from hyperstyle.convert.official import convert_hyperinverter
from hyperstyle.convert.sniff import SniffedFile
from hyperstyle.errors import CheckpointError, ConfigError, WeightsError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig, layer_table

if TYPE_CHECKING:
    from conftest import CheckpointMaker, OfficialFiles

GENERATOR = GeneratorConfig(32, (8, 6, 10, 6), latent_width=12, mapping_layers=2)
ALL = tuple(spec.name for spec in layer_table(GENERATOR))
TRUNKS = {
    "irse": TrunkConfig((4, 6, 8, 12), (1, 1, 2, 1), stem_kernel=3, stem_stride=1, first_stride=2),
    "resnet": TrunkConfig((4, 6, 8, 12), (1, 2, 1, 1), stem_kernel=7, stem_stride=2, first_stride=1),
}
KIND: Any = "hyperinverter"


def build(
    backbone: Any = "irse", layers: tuple[str, ...] = ALL, side: int = 256, generator: GeneratorConfig = GENERATOR
) -> HyperInverter:
    config = HyperInverterConfig(generator, layers, (side, side), backbone, TRUNKS[backbone], hidden=5, channels=7)
    return HyperInverter(config).eval().requires_grad_(False)


def tensors(network: HyperInverter, **more: Tensor) -> dict[str, Tensor]:
    """As the official trainer saves them, with the other entries of such files."""
    state = {
        name if name.startswith("w_bar_encoder.") else f"hypernet.{name}": t for name, t in network.state_dict().items()
    }
    return {**state, "w_encoder.linear.weight": torch.zeros(2), "discriminator.b4.fc.bias": torch.zeros(2), **more}


def read(state: dict[str, Tensor], generator: GeneratorConfig = GENERATOR) -> Any:
    return convert_hyperinverter(SniffedFile(path=Path("hi.pt"), kind=KIND, tensors=state), generator)


@pytest.mark.parametrize("backbone", ["irse", "resnet"])
@pytest.mark.parametrize(("layers", "side"), [(ALL, 256), (("b8.conv0", "b32.torgb"), 128)])
def test_the_network_is_that_of_the_file(
    assert_same: Callable[[nn.Module, nn.Module], None], backbone: str, layers: tuple[str, ...], side: int
) -> None:
    network = build(backbone, layers, side)
    converted = read(tensors(network))
    assert_same(converted.network, network)
    assert converted.consumed == len(network.state_dict())
    assert [text.partition(" (")[0] for text in converted.unread] == ["its W encoder", "its discriminator"]
    assert read({k: t for k, t in tensors(network).items() if k.startswith(("hyper", "w_bar"))}).unread == ()


def test_tensors_that_lack_or_have_no_place_are_named() -> None:
    state = tensors(build(), **{"hypernet.weight_regressors.b8_conv0_weight.w3": torch.zeros(1)})
    del state["w_bar_encoder.latlayer1.bias"]
    expected = (
        r"1 missing \('w_bar_encoder\.latlayer1\.bias'\), 1 unexpected \('weight_regressors\.b8_conv0_weight\.w3'\)"
    )
    with pytest.raises(WeightsError, match=expected):
        read(state)


def test_a_file_for_another_generator_is_refused() -> None:
    smaller = GeneratorConfig(16, (8, 6, 10), latent_width=12, mapping_layers=2)
    with pytest.raises(WeightsError, match=r"'b32_conv0_weight', which a generator of 16 px does not have"):
        read(tensors(build()), smaller)
    wider = GeneratorConfig(32, (8, 8, 10, 6), latent_width=12, mapping_layers=2)
    with pytest.raises(WeightsError, match=r"shape"):
        read(tensors(build()), wider)


@pytest.mark.parametrize("name", ["b4_conv1_affine_weight", "b4_conv1_bias", "b4_const"])
def test_residuals_of_other_tensors_than_convolutions_are_refused(name: str) -> None:
    state = tensors(build(), **{f"hypernet.weight_regressors.{name}.w1": torch.zeros(1)})
    with pytest.raises(WeightsError, match=f"predicts '{name}': only .* weights of convolutions"):
        read(state)


def test_a_file_without_regressors_is_refused() -> None:
    state = {name: t for name, t in tensors(build()).items() if not name.startswith("hypernet.")}
    with pytest.raises(WeightsError, match="predicts nothing"):
        read(state)


# ---- through `convert` ----


@pytest.fixture
def file(official: OfficialFiles) -> tuple[Path, HyperInverter]:
    """A file for the generator of `official`."""
    network = build(layers=("b4.conv1", "b8.torgb", "b32.conv0"), generator=official.config)
    opts = {"dataset_type": "ffhq_encode", "encoder_type": "LayerWiseEncoder", "output_size": 32, "hidden_dim": 5}
    return official.save("hi.pt", {"opts": opts, "state_dict": tensors(network), "loss_dict": {}}), network


def test_the_three_files_become_a_model(
    official: OfficialFiles, file: tuple[Path, HyperInverter], tmp_path: Path, assert_same: Callable[..., None]
) -> None:
    encoder_path, encoder = official.w_encoder(with_decoder=False)
    done = convert(file[0], tmp_path / "m", encoder=encoder_path, generator=official.bare())
    model = HyperStyleInverter.from_pretrained(tmp_path / "m", device="cpu").model
    assert_same(model.hyperinverter, file[1])
    assert_same(model.generator, official.generator)
    assert model.encoder is not None
    # the generator's mean code, not the one of the encoder's file
    assert torch.equal(model.encoder.latent_avg, official.generator.latent_avg.expand(8, -1))
    encoder.latent_avg = model.encoder.latent_avg
    assert_same(model.encoder, encoder)
    assert (done.kind, done.domain.name, done.domain.size) == ("hyperinverter", "faces", 32)
    assert model.domain.sampling == "point"
    assert done.consumed["hyperinverter"] == len(file[1].state_dict())
    assert done.unread == {
        "hi.pt": (
            "loss_dict",
            "its W encoder (1 tensors; the encoder's own file is read, as by the official code)",
            "its discriminator (1 tensors)",
        ),
        "w_encoder.pt": ("latent_avg (the generator's is used, as by the official code)",),
    }
    assert done.source_sha256.keys() == {"hi.pt", "w_encoder.pt", "generator.pt"}


def test_without_its_generator_and_its_encoder_the_command_that_works_is_named_before_anything_is_written(
    official: OfficialFiles, file: tuple[Path, HyperInverter], tmp_path: Path
) -> None:
    encoder = official.w_encoder()[0]
    command = r"hyperstyle convert hi\.pt --encoder W_ENCODER\.pt --generator STYLEGAN2\.pkl --out FOLDER"
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "W encoder, generator"),
        ({"encoder": encoder}, "generator"),
        ({"generator": official.bare()}, "W encoder"),
    ]
    for options, missing in cases:
        with pytest.raises(CheckpointError, match=rf"Not given: {missing}\. Run: {command}"):
            convert(file[0], tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_it_cannot_stand_for_an_encoder_or_a_generator(
    official: OfficialFiles, file: tuple[Path, HyperInverter], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="is a HyperInverter checkpoint: expected a W encoder"):
        convert(official.bare(), tmp_path / "m", encoder=file[0], domain="faces")
    with pytest.raises(CheckpointError, match="is a HyperInverter checkpoint without a generator"):
        convert(official.bare(), tmp_path / "m", generator=file[0], domain="faces")


@pytest.mark.reference
@pytest.mark.parametrize(("name", "size", "backbone"), [("human_faces", 1024, "irse"), ("church", 256, "resnet")])
def test_the_numbers_of_the_published_files_are_read_off_their_tensors(
    checkpoint_maker: CheckpointMaker, name: str, size: int, backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = checkpoint_maker.manifest("hyperinverter", f"hyperinverter_{name}")["tensors"]
    shapes = {key.removeprefix("state_dict/"): torch.empty(shape, device="meta") for key, shape, *_ in rows}
    monkeypatch.setattr("hyperstyle.convert.official.fill", lambda empty, *_, **__: empty)
    converted = read(shapes, GeneratorConfig.official(size))
    assert converted.network.config == HyperInverterConfig.official(size, backbone=backbone)
    assert converted.network.state_dict().keys() == {
        key.removeprefix("hypernet.") for key in shapes if key.startswith(("hypernet.", "w_bar_encoder."))
    }
