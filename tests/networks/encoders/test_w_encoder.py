"""The W encoder and the trunks it stands on."""

from __future__ import annotations

import pytest
import torch

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig, TrunkNetwork
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig

SMALL = TrunkConfig((8, 16), (2, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")


def build(**options: object) -> WEncoder:
    config = WEncoderConfig(6, 12, (16, 24), SMALL, **options)  # type: ignore[arg-type]
    return WEncoder(config).eval().requires_grad_(False)


@pytest.mark.parametrize("pool", ["average", "flatten"])
def test_a_crop_becomes_one_code_for_all_rows(pool: str) -> None:
    w = build(pool=pool)(torch.randn(3, 3, 16, 24))
    assert w.shape == (3, 6, 12)
    assert torch.equal(w, w[:, :1].expand_as(w))
    assert not torch.allclose(w[0], w[1])


def test_the_mean_code_is_added_row_by_row() -> None:
    encoder, x = build(), torch.randn(2, 3, 16, 24)
    plain = encoder(x)
    encoder.latent_avg.normal_()
    torch.testing.assert_close(encoder(x), plain + encoder.latent_avg)


def test_flattening_sees_where_things_are_and_averaging_less_so() -> None:
    x = torch.randn(1, 3, 16, 24)
    assert build(pool="flatten").linear.weight.shape == (12, 16 * 4 * 6)
    assert build(pool="average").linear.weight.shape == (12, 16)
    encoder = build(pool="flatten")
    assert not torch.allclose(encoder(x), encoder(x.flip(3)), atol=1e-4)


def test_a_batch_equals_its_crops_one_by_one() -> None:
    encoder, x = build(), torch.randn(3, 3, 16, 24)
    batch = encoder(x)
    for i in range(3):
        torch.testing.assert_close(encoder(x[i : i + 1]), batch[i : i + 1], atol=2e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 24, 16), (1, 1, 16, 24), (1, 3, 32, 32)])
def test_a_crop_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected \[B, 3, 16, 24\]"):
        build()(torch.zeros(shape))


@pytest.mark.parametrize("change", [{"rows": 0}, {"latent_width": 0}, {"input_size": (8, 16)}, {"input_size": (64,)}])
def test_a_config_that_cannot_be_built_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 64 rows"):
        WEncoderConfig(**{"rows": 6, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("trunk", [TrunkConfig.resnet34(), TrunkConfig.irse50()])
def test_the_published_trunks_reduce_256_px_to_16(trunk: TrunkConfig) -> None:
    assert trunk.output_size(256, 256) == (16, 16)
    assert trunk.output_size(192, 256) == (12, 16)
    assert len(trunk.stages) == sum(trunk.blocks)
    assert [stride for _, _, stride in trunk.stages].count(2) == (3 if trunk.stem_stride == 2 else 4)


@pytest.mark.parametrize("backbone", ["resnet", "irse"])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("size", [(16, 16), (17, 23)])
def test_the_size_of_the_features_is_the_predicted_one(backbone: Backbone, norm: str, size: tuple[int, int]) -> None:
    config = TrunkConfig((8, 16, 24), (1, 2, 1), stem_kernel=5, stem_stride=2, first_stride=1, norm=norm)  # type: ignore[arg-type]
    features = TrunkNetwork(backbone, 6, config).eval().trunk_features(torch.randn(2, 6, *size))
    assert features.shape == (2, 24, *config.output_size(*size))


@pytest.mark.parametrize(
    ("widths", "blocks", "norm", "message"),
    [
        ((8, 16), (1,), "batch", "as many of each"),
        ((), (), "batch", "as many of each"),
        ((8, 0), (1, 1), "batch", "as many of each"),
        ((8, 12), (1, 1), "group", "multiples of 8"),
    ],
)
def test_a_trunk_that_cannot_be_built_is_refused(widths: object, blocks: object, norm: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrunkConfig(widths, blocks, stem_kernel=3, stem_stride=1, first_stride=2, norm=norm)  # type: ignore[arg-type]


def test_its_trunk_may_be_a_resnet_under_the_names_of_published_files() -> None:
    encoder, x = build(backbone="resnet"), torch.randn(2, 3, 16, 24)
    assert {name.partition(".")[0] for name in encoder.state_dict()} == {
        "conv1",
        "bn1",
        "relu",
        "body",
        "linear",
        "latent_avg",
    }
    features = encoder.body(encoder.relu(encoder.bn1(encoder.conv1(x))))
    assert torch.equal(encoder(x), encoder.linear(features.mean((2, 3)))[:, None] + encoder.latent_avg)
