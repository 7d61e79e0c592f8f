"""HyperStyle files: their hypernetworks, and the errors for files without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hyperstyle.convert import official as official_files
from hyperstyle.convert.sniff import SniffedFile, sniff
from hyperstyle.errors import CheckpointError, WeightsError

if TYPE_CHECKING:
    from conftest import OfficialFiles

SIZE = (256, 256)


def source(files: OfficialFiles, content: dict[str, Any], name: str = "hs.pt") -> SniffedFile:
    return sniff(files.save(name, content))


# ---- hypernetworks ----


@pytest.mark.parametrize("heads", ["shared", "separable"])
@pytest.mark.parametrize("layers", ["0,2,3,5,6,8,9,11,12,14,15,17,18,20,21,23,24", "5,6,8,9", ""])
@pytest.mark.parametrize("with_opts", [True, False])
def test_heads_and_tuned_layers_are_those_of_the_options_or_of_the_tensors(
    official: OfficialFiles, assert_same: Callable[..., None], heads: str, layers: str, with_opts: bool
) -> None:
    network = official.hypernetwork(layers, heads)
    content = official.hyperstyle_content(network, layers)
    if not with_opts:
        del content["opts"]
    converted = official_files.convert_hypernetwork(source(official, content), official.config, SIZE)
    assert_same(converted.network, network)
    assert converted.consumed == len(network.state_dict())
    assert converted.consumed + converted.aliases == sum(name.startswith("hypernet.") for name in content["state_dict"])
    assert converted.aliases == 4 * sum(hasattr(head, "linear") for head in network.refinement_blocks.values()) > 0
    crop, image = torch.rand(2, 1, 3, *SIZE)
    converted_offsets, expected_offsets = (n.offsets(n(crop, image)) for n in (converted.network, network))
    assert list(converted_offsets) == list(expected_offsets)
    assert all(torch.equal(converted_offsets[name], expected_offsets[name]) for name in expected_offsets)


def test_the_input_may_be_of_another_shape(official: OfficialFiles, assert_same: Callable[..., None]) -> None:
    network = official.hypernetwork(input_size=(192, 256))
    content = official.hyperstyle_content(network)
    converted = official_files.convert_hypernetwork(source(official, content), official.config, (192, 256))
    assert_same(converted.network, network)


def test_shared_tensors_that_were_stored_apart_are_still_the_same(official: OfficialFiles) -> None:
    content = official.hyperstyle_content(official.hypernetwork())
    content["state_dict"] = {name: tensor.clone() for name, tensor in content["state_dict"].items()}
    assert official_files.convert_hypernetwork(source(official, content), official.config, SIZE).aliases == 5 * 4


@pytest.mark.parametrize("change", [lambda t: t + 1e-6, lambda t: t[:1], lambda t: t.double()])
def test_a_block_with_a_different_copy_of_a_shared_tensor_is_refused(
    official: OfficialFiles, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    content = official.hyperstyle_content(official.hypernetwork())
    name = "hypernet.refinement_blocks.3.hypernet.b1"
    content["state_dict"][name] = change(content["state_dict"][name])
    with pytest.raises(WeightsError, match=r"'hypernet\.refinement_blocks\.3\.hypernet\.b1' is not equal to 'hypernet"):
        official_files.convert_hypernetwork(source(official, content), official.config, SIZE)


def test_shared_tensors_that_no_layer_uses_are_left_out_and_named(
    official: OfficialFiles, assert_same: Callable[..., None]
) -> None:
    network = official.hypernetwork("8,9")  # 16 -> 8 and 8 -> 8 channels
    content = official.hyperstyle_content(network, "8,9")
    shared = official.hypernetwork("0").shared_weight_hypernet
    content["state_dict"] |= {f"hypernet.shared_weight_hypernet.{n}": t for n, t in shared.state_dict().items()}
    converted = official_files.convert_hypernetwork(source(official, content), official.config, SIZE)
    assert_same(converted.network, network)
    assert converted.unread == tuple(f"hypernet.shared_weight_hypernet.{name}" for name in ("w1", "b1", "w2", "b2"))


@pytest.mark.parametrize(
    ("opts", "error", "message"),
    [
        ({"encoder_type": "HyperNet"}, CheckpointError, r"encoder_type is 'HyperNet': expected one of SharedWeights"),
        ({"encoder_type": ["HyperNet"]}, CheckpointError, r"encoder_type is \['HyperNet'\]: expected one of SharedW"),
        ({"layers_to_tune": "5;6"}, CheckpointError, "layers_to_tune is '5;6': expected numbers with commas"),
        ({"layers_to_tune": "11,12"}, CheckpointError, "layers_to_tune names no layer of a generator of 32 px"),
        (
            {"layers_to_tune": "0,2,3,5,6,8"},
            WeightsError,
            r"tensors 8 unexpected \(first 'hypernet.refinement_blocks.9.convs.0.weight'",
        ),
        (
            {"layers_to_tune": "0,1,2,3,5,6,8,9"},
            WeightsError,
            r"tensors 10 missing \(first 'hypernet.refinement_blocks.1.convs.0.weight'",
        ),
        (
            {"encoder_type": "SharedWeightsHyperNetResNetSeparable"},
            WeightsError,
            r"tensors 20 missing \(first 'hypernet.refinement_blocks.8.convs.6.weight'.* 4 unexpected",
        ),
    ],
)
def test_options_that_the_tensors_contradict_are_refused(
    official: OfficialFiles, opts: dict[str, Any], error: type[Exception], message: str
) -> None:
    content = official.hyperstyle_content(official.hypernetwork(), **opts)
    with pytest.raises(error, match=rf"hs\.pt: {message}"):
        official_files.convert_hypernetwork(source(official, content), official.config, SIZE)


def test_a_block_without_a_number_is_named_where_no_options_tell_the_layers(official: OfficialFiles) -> None:
    content = official.hyperstyle_content(official.hypernetwork())
    del content["opts"]
    content["state_dict"]["hypernet.refinement_blocks.x.y"] = torch.zeros(1)
    with pytest.raises(WeightsError, match=r"tensors 1 unexpected \('hypernet\.refinement_blocks\.x\.y'\)"):
        official_files.convert_hypernetwork(source(official, content), official.config, SIZE)


def test_a_key_too_many_and_a_key_too_few_are_counted_and_named(official: OfficialFiles) -> None:
    content = official.hyperstyle_content(official.hypernetwork())
    content["state_dict"]["hypernet.body.9.conv1.weight"] = torch.zeros(1)
    del content["state_dict"]["hypernet.bn1.num_batches_tracked"]
    expected = r"1 missing \('hypernet.bn1.num_batches_tracked'\), 1 unexpected \('hypernet.body.9.conv1.weight'\)"
    with pytest.raises(WeightsError, match=expected):
        official_files.convert_hypernetwork(source(official, content), official.config, SIZE)


# ---- what the options tell ----


@pytest.mark.parametrize(
    ("data", "domain"),
    [
        ("ffhq_hypernet", "faces"),
        ("FFHQ_encode", "faces"),
        ("cars_hypernet", "cars"),
        ("afhq_wild_hypernet", "wild"),
        ("church_encode", "churches"),
        ("plates_encode", None),
        (None, None),
    ],
)
def test_the_domain_follows_from_the_data_set(official: OfficialFiles, data: str | None, domain: str | None) -> None:
    content = official.hyperstyle_content(official.hypernetwork(), dataset_type=data)
    assert official_files.domain_name(source(official, content)) == domain


@pytest.mark.parametrize(("written", "steps"), [(7, 7), (0, None), (True, None), ("5", None)])
def test_the_steps_are_those_of_the_options_where_they_make_sense(
    official: OfficialFiles, written: object, steps: int | None
) -> None:
    content = official.hyperstyle_content(official.hypernetwork(), n_iters_per_batch=written)
    assert official_files.steps_of(source(official, content)) == steps
