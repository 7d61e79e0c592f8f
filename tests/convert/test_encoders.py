"""W encoder, pSp, e4e and ReStyle files: their encoders, and the errors for files without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hyperstyle.convert.official import convert_encoder
from hyperstyle.convert.sniff import SniffedFile, sniff
from hyperstyle.errors import CheckpointError, WeightsError
from hyperstyle.networks.encoders.backbones import Backbone

if TYPE_CHECKING:
    from conftest import OfficialFiles

SIZE = (256, 256)


def source(files: OfficialFiles, content: dict[str, Any], name: str = "hs.pt") -> SniffedFile:
    return sniff(files.save(name, content))


@pytest.mark.parametrize("backbone", ["irse", "resnet"])
def test_a_w_encoder_gives_the_same_codes_around_the_mean_code_it_is_given(
    official: OfficialFiles, assert_same: Callable[..., None], backbone: Backbone
) -> None:
    path, encoder = official.w_encoder(backbone=backbone)
    converted = convert_encoder(sniff(path), official.config, SIZE, encoder.latent_avg)
    assert_same(converted.network, encoder)
    assert converted.consumed == len(encoder.state_dict()) - 1
    crop, mean = torch.rand(2, 3, *SIZE), torch.randn(16)
    other = convert_encoder(sniff(path), official.config, SIZE, mean).network
    assert torch.allclose(other(crop) - mean, encoder(crop) - encoder.latent_avg, atol=1e-6)


@pytest.mark.parametrize(
    "kind",
    ["ProgressiveBackboneEncoder", "ResNetProgressiveBackboneEncoder", "BackboneEncoder", "ResNetBackboneEncoder"],
)
def test_restyle_encoders_of_both_rules_and_both_trunks_come_through(
    official: OfficialFiles, assert_same: Callable[..., None], kind: str
) -> None:
    path, encoder = official.restyle(kind)
    converted = convert_encoder(sniff(path), official.config, SIZE, encoder.latent_avg)
    assert_same(converted.network, encoder)
    assert converted.consumed == len(encoder.state_dict()) - 1


def test_a_restyle_encoder_whose_rule_is_not_written_is_refused(official: OfficialFiles) -> None:
    path, encoder = official.restyle("SomeEncoder")
    with pytest.raises(CheckpointError, match="encoder_type 'SomeEncoder' in its 'opts': expected one of Progressive"):
        convert_encoder(sniff(path), official.config, SIZE, encoder.latent_avg)


def test_a_rule_that_is_a_list_is_refused(official: OfficialFiles) -> None:
    content = official.encoder_content(official.restyle()[1], ["BackboneEncoder"])  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"encoder_type \['BackboneEncoder'\] in its 'opts': expected one of Pro"):
        convert_encoder(source(official, content), official.config, SIZE, torch.zeros(16))


def test_a_mean_code_of_another_generator_is_refused(official: OfficialFiles) -> None:
    path, _ = official.w_encoder()
    with pytest.raises(WeightsError, match=r"'latent_avg' has the shape \(18, 16\): expected \(16,\) or \(8, 16\)"):
        convert_encoder(sniff(path), official.config, SIZE, torch.zeros(18, 16))


# ---- pSp and e4e ----


@pytest.mark.parametrize(("kind", "method"), [("GradualStyleEncoder", "psp"), ("Encoder4Editing", "e4e")])
@pytest.mark.parametrize("size", [SIZE, (192, 256)])
def test_psp_and_e4e_are_recognized_by_the_options_and_converted(
    official: OfficialFiles, assert_same: Callable[..., None], kind: str, method: str, size: tuple[int, int]
) -> None:
    path, encoder = official.pyramid(kind, input_size=size)
    assert sniff(path).kind == method
    converted = convert_encoder(sniff(path), official.config, size, encoder.latent_avg)
    assert_same(converted.network, encoder)
    assert converted.network.config.method == method
    assert converted.consumed == len(encoder.state_dict()) - 1
    crop = torch.rand(1, 3, *size)
    assert torch.equal(converted.network(crop), encoder(crop))


def test_a_resnet_trunk_is_recognized_by_the_tensors(official: OfficialFiles, assert_same: Callable[..., None]) -> None:
    path, encoder = official.pyramid("GradualStyleEncoder", backbone="resnet")
    converted = convert_encoder(sniff(path), official.config, SIZE, encoder.latent_avg)
    assert_same(converted.network, encoder)


@pytest.mark.parametrize("kind", [None, "WEncoder", ["Encoder4Editing"]])
def test_a_pyramid_encoder_whose_rule_is_not_written_is_refused(official: OfficialFiles, kind: Any) -> None:
    content = official.encoder_content(official.pyramid()[1], kind)
    message = (
        r"is a pSp or e4e encoder with encoder_type .* in its 'opts': expected one of GradualStyleEncoder, Encoder4"
    )
    with pytest.raises(CheckpointError, match=message):
        source(official, content)


@pytest.mark.parametrize("kind", ["GradualStyleEncoder", "Encoder4Editing"])
def test_a_restyle_file_that_is_called_psp_or_e4e_is_refused(official: OfficialFiles, kind: str) -> None:
    content = official.encoder_content(official.restyle()[1], kind)
    sniffed = source(official, content, "restyle.pt")
    assert sniffed.kind == "restyle"
    with pytest.raises(CheckpointError, match=rf"restyle\.pt is a ReStyle encoder with encoder_type '{kind}'"):
        convert_encoder(sniffed, official.config, SIZE, torch.zeros(16))
    with pytest.raises(WeightsError, match=r"tensors 16 missing \(first 'encoder\.latlayer1\.weight'"):
        convert_encoder(replace(sniffed, kind="psp"), official.config, SIZE, torch.zeros(16))


def test_a_pyramid_file_that_is_called_restyle_is_refused(official: OfficialFiles) -> None:
    content = official.encoder_content(official.pyramid()[1], "ProgressiveBackboneEncoder")
    with pytest.raises(CheckpointError, match="expected one of GradualStyleEncoder, Encoder4Editing"):
        source(official, content)


@pytest.mark.parametrize(("rows", "message"), [(7, "missing"), (9, "unexpected")])
def test_an_encoder_with_another_number_of_rows_is_refused(official: OfficialFiles, rows: int, message: str) -> None:
    path, _ = official.pyramid(rows=rows)
    with pytest.raises(WeightsError, match=rf"pyramid\.pt: tensors \d+ {message} \(first 'encoder\.styles\.[78]"):
        convert_encoder(sniff(path), official.config, SIZE, torch.zeros(16))


def test_a_map_block_that_is_too_short_is_refused(official: OfficialFiles) -> None:
    content = official.encoder_content(official.pyramid()[1], "Encoder4Editing")
    for part in ("weight", "bias"):
        del content["state_dict"][f"encoder.styles.7.convs.10.{part}"]
    with pytest.raises(WeightsError, match=r"2 missing \(first 'encoder\.styles\.7\.convs\.10\.weight'"):
        convert_encoder(source(official, content), official.config, SIZE, torch.zeros(16))


@pytest.mark.parametrize("channels", [1, 19])
def test_an_encoder_of_sketches_or_label_maps_is_refused_by_name(official: OfficialFiles, channels: int) -> None:
    content = official.encoder_content(official.pyramid()[1], "GradualStyleEncoder")
    content["state_dict"]["encoder.input_layer.0.weight"] = torch.zeros(4, channels, 3, 3)
    kind = r"hs\.pt is a pSp encoder of sketches or label maps instead of images in color"
    with pytest.raises(CheckpointError, match=rf"{kind} \(encoder_type 'GradualStyleEncoder'\), and is not converted"):
        source(official, content)
    with pytest.raises(CheckpointError, match=rf"{kind}, and is not converted"):
        source(official, {**content, "opts": {}})


def test_psp_without_a_pyramid_is_refused_by_name_and_psp_into_w_is_a_w_encoder(official: OfficialFiles) -> None:
    encoder = official.w_encoder()[1]
    content = official.encoder_content(encoder, "BackboneEncoderUsingLastLayerIntoW")
    content["latent_avg"] = content["latent_avg"][:1].clone()
    sniffed = source(official, content)
    assert sniffed.kind == "w-encoder"
    assert torch.equal(
        convert_encoder(sniffed, official.config, SIZE, sniffed.latent_avg).network.latent_avg, encoder.latent_avg
    )
    content["state_dict"]["encoder.output_layer_2.3.weight"] = torch.zeros(16, 12 * 49)
    with pytest.raises(CheckpointError, match=r"a pSp encoder without a feature pyramid \(encoder_type 'Backbone"):
        source(official, content)
