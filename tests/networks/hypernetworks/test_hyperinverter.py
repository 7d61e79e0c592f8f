"""HyperInverter's networks: appearance features and the regressors of weight residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.hypernetworks.hyperinverter import (
    AppearanceEncoder,
    HyperInverter,
    HyperInverterConfig,
    appearance_row,
    resized,
)
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig, layer_table

if TYPE_CHECKING:
    from conftest import CheckpointMaker

SMALL = TrunkConfig((8, 8, 16), (1, 2, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
GENERATOR = GeneratorConfig(32, (8, 6, 10, 6), latent_width=12, mapping_layers=2)
ALL = tuple(spec.name for spec in layer_table(GENERATOR))


def build(**options: Any) -> HyperInverter:
    numbers = {"generator": GENERATOR, "layers": ALL, "input_size": (64, 64), "trunk": SMALL, "hidden": 5, **options}
    network = HyperInverter(HyperInverterConfig(**{"channels": 8, **numbers})).eval().requires_grad_(False)
    for name, tensor in network.named_parameters():
        if name.endswith((".b1", ".b2")):
            tensor.normal_()
    return network


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1


@pytest.mark.parametrize("backbone", ["irse", "resnet"])
def test_two_images_become_a_code_for_every_layer_and_these_residuals_of_its_weight(
    pair: tuple[Tensor, Tensor], backbone: str
) -> None:
    network = build(backbone=backbone)
    codes = network(*pair)
    assert {name: tuple(code.shape) for name, code in codes.sums.items()} == {name: (2, 5) for name in ALL}
    assert float(min(code.min() for code in codes.sums.values())) >= 0  # they come from a ReLU
    for spec in network.layers:
        residual = network.offsets(codes, [spec.name])[spec.name]
        assert residual.shape == (2, spec.channels_out, spec.channels_in, spec.kernel, spec.kernel)
    assert not torch.allclose(codes.sums["b16.conv1"][0], codes.sums["b16.conv1"][1])


def test_layers_are_predicted_from_rows_of_their_own() -> None:
    rows = [appearance_row(spec) for spec in layer_table(GeneratorConfig.official(1024))]
    assert rows[:11] == [0, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7]
    assert rows[-3:] == [16, 17, 17]
    assert [spec.row for spec in layer_table(GeneratorConfig.official(1024))][:6] == [0, 1, 1, 2, 3, 3]


def test_a_code_depends_on_its_row_alone(pair: tuple[Tensor, Tensor]) -> None:
    network = build()
    before = network(*pair)
    network.w_bar_encoder.styles[4].convs[0].bias.add_(1)
    after = network(*pair)
    changed = {name for name in ALL if not torch.equal(before.sums[name], after.sums[name])}
    assert changed == {"b16.conv0"}


def test_the_reconstruction_comes_first_and_features_are_normalized(pair: tuple[Tensor, Tensor]) -> None:
    network = build().double()
    crop, reconstruction = (image.double() for image in pair)
    regressor = network.weight_regressors["b4_conv1_weight"]
    stacked = torch.cat([network.appearance(reconstruction)[:, 0], network.appearance(crop)[:, 0]], 1)
    fused = F.relu(F.instance_norm(regressor.fusion[0](stacked)))
    expected = regressor.feature_extractor(fused).flatten(1)
    torch.testing.assert_close(network(crop, reconstruction).sums["b4.conv1"], expected, atol=1e-12, rtol=0)


def test_the_last_step_is_a_view_of_in_times_out_values_without_transposing() -> None:
    network = build()
    code = torch.randn(1, 5)
    actual = network.offsets(OffsetCodes({"b8.conv0": code}, {}, torch.ones(1, 1)))["b8.conv0"]
    regressor = network.weight_regressors["b8_conv0_weight"]
    rows = (code @ regressor.w1 + regressor.b1).view(8, 5)  # of 8 channels in, 6 channels out
    flat = (rows @ regressor.w2 + regressor.b2).flatten()
    torch.testing.assert_close(actual.flatten(), flat)
    assert actual.shape == (1, 6, 8, 3, 3)


def test_codes_interpolate_as_weights_do(pair: tuple[Tensor, Tensor]) -> None:
    network = build()
    codes = network(*pair)
    a, b = (codes.apply(lambda t, i=i: t[i : i + 1]) for i in (0, 1))
    mixed = network.offsets(a * 0.3 + b * 0.7)
    ends = network.offsets(a), network.offsets(b)
    for name in ALL:
        torch.testing.assert_close(mixed[name], 0.3 * ends[0][name] + 0.7 * ends[1][name], atol=1e-5, rtol=0)
    doubled = network.offsets(a + a)  # both biases count twice
    torch.testing.assert_close(doubled["b16.conv1"], 2 * ends[0]["b16.conv1"])


def test_images_of_any_size_are_seen_at_the_input_size_without_antialiasing() -> None:
    network = build()
    large = torch.rand(1, 3, 256, 256)
    small = resized(large, (64, 64))
    assert torch.equal(small[..., 0, 0], large[..., 1:3, 1:3].mean((2, 3)))  # of 16 pixels, the 4 in the middle
    actual, expected = network(large, large), network(small, small)
    assert all(torch.equal(actual.sums[name], expected.sums[name]) for name in ALL)


def test_a_batch_equals_its_images_one_by_one(pair: tuple[Tensor, Tensor]) -> None:
    network = build()
    batch = network(*pair)
    for i in range(2):
        single = network(*(x[i : i + 1] for x in pair))
        for name in ALL:
            torch.testing.assert_close(single.sums[name], batch.sums[name][i : i + 1], atol=2e-5, rtol=0)


def test_features_are_of_one_size_for_all_rows_and_of_half_the_trunks() -> None:
    encoder = AppearanceEncoder(9, "irse", SMALL).eval()
    assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 9, 16, 4, 4)
    assert [len(block.convs) // 2 for block in encoder.styles] == [1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert HyperInverterConfig.official(1024).map_side == 8


def test_an_untrained_one_hardly_changes_a_generator(pair: tuple[Tensor, Tensor]) -> None:
    wide = GeneratorConfig(32, (64, 64, 64, 64), latent_width=12, mapping_layers=2)
    config = HyperInverterConfig(wide, ("b8.conv0", "b16.conv1"), (64, 64), trunk=SMALL, hidden=16)
    network, generator = HyperInverter(config).eval(), Generator(wide).requires_grad_(False)
    with torch.no_grad():
        residuals = network.offsets(network(*pair))
    for name, residual in residuals.items():
        assert 0 < float(residual.std()) < 0.1 * float(generator.weight(name).std())


def test_codes_of_a_layer_that_it_does_not_change_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"layer 'b8\.conv0', which this HyperInverter does not change"):
        build(layers=("b4.conv1",)).offsets(OffsetCodes({"b8.conv0": torch.zeros(1, 5)}, {}, torch.ones(1, 1)))


def test_layers_without_a_code_are_left_out_and_dense_residuals_added() -> None:
    network = build()
    codes = OffsetCodes({"b8.conv1": torch.ones(1, 5)}, {}, torch.ones(1, 1))
    assert network.offsets(codes, ["b4.conv1", "b8.conv1"]).keys() == {"b8.conv1"}
    dense = OffsetCodes.of_dense({"b8.conv1": torch.full((1, 6, 6, 3, 3), 2.0)})
    both = network.offsets(codes + dense)["b8.conv1"]
    torch.testing.assert_close(both, network.offsets(codes)["b8.conv1"] + 2)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 1, 64, 64), (2, 3, 64, 32), (3, 64, 64)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected both square and as many of each"):
        build()(torch.zeros(2, 3, 64, 64), torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 0}, "expected positive numbers"),
        ({"channels": 0}, "expected positive numbers"),
        ({"trunk": TrunkConfig((8, 16), (1, 1), 3, 1, 2)}, "three stages or more"),
        ({"input_size": (64, 32)}, "expected a square"),
        ({"input_size": (96, 96)}, "2, 4, 8, ... positions"),
        ({"input_size": (16, 16)}, "2, 4, 8, ... positions"),
        ({"layers": ("b64.conv0",)}, r"no layer 'b64\.conv0'"),
        ({"layers": ()}, "at least one layer"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HyperInverterConfig(**{"generator": GENERATOR, "layers": ALL, "input_size": (64, 64), "trunk": SMALL, **change})


@pytest.mark.reference
@pytest.mark.parametrize(("name", "size", "backbone"), [("human_faces", 1024, "irse"), ("church", 256, "resnet")])
def test_it_has_the_tensors_of_the_published_files(
    checkpoint_maker: CheckpointMaker, name: str, size: int, backbone: Any
) -> None:
    rows = checkpoint_maker.manifest("hyperinverter", f"hyperinverter_{name}")["tensors"]
    published = {key.removeprefix("state_dict/"): tuple(shape) for key, shape, *_ in rows}
    published = {k.removeprefix("hypernet."): v for k, v in published.items() if k.startswith(("hypernet.", "w_bar"))}
    with torch.device("meta"):
        network = HyperInverter(HyperInverterConfig.official(size, backbone=backbone))
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == published
