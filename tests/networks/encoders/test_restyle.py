"""The ReStyle encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.pyramid import RestyleEncoder, RestyleEncoderConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig

if TYPE_CHECKING:
    from conftest import CheckpointMaker

SMALL = TrunkConfig((8, 16), (2, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")


def build(**options: Any) -> RestyleEncoder:
    config = RestyleEncoderConfig(**{"rows": 6, "latent_width": 12, "input_size": (16, 24), "trunk": SMALL, **options})
    return RestyleEncoder(config).eval().requires_grad_(False)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 3, 16, 24), torch.randn(3, 3, 16, 24)


@pytest.mark.parametrize("backbone", ["irse", "resnet"])
@pytest.mark.parametrize("progressive", [True, False])
def test_a_pair_of_images_becomes_a_change_for_every_row(
    pair: tuple[Tensor, Tensor], backbone: str, progressive: bool
) -> None:
    change = build(backbone=backbone, progressive=progressive)(*pair)
    assert change.shape == (3, 6, 12)
    rows = [*change[0], *change[1]]
    assert all(not torch.allclose(a, b, atol=1e-4) for i, a in enumerate(rows) for b in rows[:i])


def test_rows_are_added_to_the_first_or_stand_by_themselves(pair: tuple[Tensor, Tensor]) -> None:
    added, separate = build(), build(progressive=False)
    separate.load_state_dict(added.state_dict())
    expected = separate(*pair)
    expected[:, 1:] += expected[:, :1]
    assert torch.equal(added(*pair), expected)


def test_the_crop_comes_before_the_reconstruction(pair: tuple[Tensor, Tensor]) -> None:
    encoder = build()
    encoder.input_layer[0].weight[:, 3:] = 0  # what is left reads the crop alone
    crop, reconstruction = pair
    assert torch.equal(encoder(crop, reconstruction), encoder(crop, -reconstruction))
    assert not torch.allclose(encoder(crop, reconstruction), encoder(-crop, reconstruction), atol=1e-4)


def test_the_mean_code_is_kept_but_not_added(pair: tuple[Tensor, Tensor]) -> None:
    encoder = build()
    before = encoder(*pair)
    encoder.latent_avg.normal_()
    assert torch.equal(encoder(*pair), before)
    assert encoder.state_dict()["latent_avg"].shape == (6, 12)


def test_a_batch_equals_its_images_one_by_one(pair: tuple[Tensor, Tensor]) -> None:
    encoder = build()
    batch = encoder(*pair)
    for i in range(3):
        torch.testing.assert_close(encoder(*(x[i : i + 1] for x in pair)), batch[i : i + 1], atol=2e-5, rtol=0)


@pytest.mark.parametrize(("size", "halvings"), [((16, 16), 2), ((16, 40), 4), ((64, 64), 4)])
def test_the_map_blocks_halve_until_one_position_is_left(size: tuple[int, int], halvings: int) -> None:
    encoder = build(input_size=size)  # features are a quarter of it
    assert [name for name, _ in encoder.styles[0].named_children()] == ["convs", "linear"]
    assert len(encoder.styles[0].convs) == 2 * halvings
    assert encoder(torch.zeros(1, 3, *size), torch.zeros(1, 3, *size)).shape == (1, 6, 12)


@pytest.mark.parametrize("other", [(3, 3, 24, 16), (3, 1, 16, 24), (2, 3, 16, 24)])
def test_images_of_another_size_are_refused(pair: tuple[Tensor, Tensor], other: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"expected both \[B, 3, 16, 24\]"):
        build()(pair[0], torch.zeros(other))


@pytest.mark.parametrize("change", [{"rows": 0}, {"latent_width": 0}, {"input_size": (8, 16)}, {"input_size": (64,)}])
def test_a_config_that_cannot_be_built_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 64 rows"):
        RestyleEncoderConfig(**{"rows": 6, **change})


@pytest.mark.reference
@pytest.mark.parametrize(
    ("family", "name", "size", "options"),
    [
        ("hyperstyle", "restyle_e4e_1024", 1024, {}),
        ("baselines", "restyle_e4e_faces_1024", 1024, {}),
        ("baselines", "restyle_psp_faces_1024", 1024, {"progressive": False}),
        ("baselines", "restyle_e4e_church_256", 256, {"backbone": "resnet", "trunk": TrunkConfig.resnet34()}),
        ("baselines", "restyle_psp_cars_512", 512, {"backbone": "resnet", "trunk": TrunkConfig.resnet34()}),
    ],
)
def test_it_has_the_tensors_of_the_published_files(
    checkpoint_maker: CheckpointMaker, family: str, name: str, size: int, options: dict[str, Any]
) -> None:
    rows = checkpoint_maker.manifest(family, name)["tensors"]
    pairs = [(row["key"], row["shape"]) if isinstance(row, dict) else (row[0], row[1]) for row in rows]
    published = {k.removeprefix("state_dict/"): tuple(shape) for k, shape in pairs}
    published = {k.removeprefix("encoder."): v for k, v in published.items() if not k.startswith("decoder.")}
    with torch.device("meta"):
        encoder = RestyleEncoder(RestyleEncoderConfig(GeneratorConfig.official(size).rows, **options))
    assert {k: tuple(v.shape) for k, v in encoder.state_dict().items()} == published
