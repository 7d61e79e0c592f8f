"""The pSp and e4e encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.pyramid import PyramidEncoder, PyramidEncoderConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig

if TYPE_CHECKING:
    from conftest import CheckpointMaker

SMALL = TrunkConfig((8, 16, 24), (2, 1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")


def build(**options: Any) -> PyramidEncoder:
    numbers = {"rows": 9, "latent_width": 12, "input_size": (32, 48), "trunk": SMALL, **options}
    return PyramidEncoder(PyramidEncoderConfig(**numbers)).eval().requires_grad_(False)


@pytest.fixture
def crops() -> Tensor:
    return torch.randn(3, 3, 32, 48)


@pytest.mark.parametrize("backbone", ["irse", "resnet"])
@pytest.mark.parametrize("progressive", [True, False])
def test_a_crop_becomes_a_code_of_its_own_for_every_row(crops: Tensor, backbone: str, progressive: bool) -> None:
    w = build(backbone=backbone, progressive=progressive)(crops)
    assert w.shape == (3, 9, 12)
    rows = [*w[0], *w[1]]
    assert all(not torch.allclose(a, b, atol=1e-4) for i, a in enumerate(rows) for b in rows[:i])


def test_rows_are_added_to_the_first_in_e4e_and_stand_by_themselves_in_psp(crops: Tensor) -> None:
    e4e, psp = build(), build(progressive=False)
    psp.load_state_dict(e4e.state_dict())
    assert (e4e.config.method, psp.config.method) == ("e4e", "psp")
    expected = psp(crops)
    expected[:, 1:] += expected[:, :1]
    assert torch.equal(e4e(crops), expected)


def test_the_mean_code_is_added_row_by_row(crops: Tensor) -> None:
    encoder = build()
    plain = encoder(crops)
    encoder.latent_avg.normal_()
    torch.testing.assert_close(encoder(crops), plain + encoder.latent_avg)


def test_the_maps_are_of_three_sizes_and_carry_what_the_coarser_ones_saw(crops: Tensor) -> None:
    encoder = build()
    coarse, middle, fine = encoder.maps(crops)
    assert [tuple(m.shape[2:]) for m in (coarse, middle, fine)] == [*encoder.config.map_sizes]
    assert encoder.config.map_sizes == ((4, 6), (8, 12), (16, 24))
    for lateral in (encoder.latlayer1, encoder.latlayer2):
        lateral.weight.zero_()
        lateral.bias.zero_()
    _, middle, fine = encoder.maps(crops)
    corners = (slice(None), slice(None), slice(None, None, 7), slice(None, None, 11))
    torch.testing.assert_close(middle[corners], coarse[:, :, ::3, ::5])  # corners are kept
    ramp = middle[:, :, 1] - (coarse[:, :, 0] * 4 + coarse[:, :, 1] * 3)[:, :, [0]] / 7  # row 1 of 8 lies at 3/7
    torch.testing.assert_close(ramp[:, :, 0], torch.zeros(3, 24), atol=1e-5, rtol=0)
    torch.testing.assert_close(fine[:, :, ::15, ::23], coarse[:, :, ::3, ::5])


@pytest.mark.parametrize(
    ("rows", "lateral"), [(range(3), None), (range(3, 7), "latlayer1"), (range(7, 9), "latlayer2")]
)
def test_rows_0_to_2_are_read_from_the_coarse_map_3_to_6_from_the_middle_one_and_the_rest_from_the_fine_one(
    crops: Tensor, rows: range, lateral: str | None
) -> None:
    encoder = build(progressive=False)
    before = encoder(crops)
    if lateral is None:
        encoder.latlayer1.bias.add_(1)
        encoder.latlayer2.bias.add_(1)
        assert torch.equal(encoder(crops)[:, rows], before[:, rows])
        return
    encoder.get_submodule(lateral).bias.add_(1)
    changed = (encoder(crops) != before).any(2).all(0)
    assert changed.nonzero().flatten().tolist() == list(range(rows[0], 9))


def test_the_maps_are_taken_after_the_last_block_of_a_stage() -> None:
    with torch.device("meta"):
        encoder = PyramidEncoder(PyramidEncoderConfig(18))
    assert encoder._ends == {3, 7, 21, 24}
    assert encoder.config.map_sizes == ((16, 16), (32, 32), (64, 64))
    assert PyramidEncoderConfig(16, input_size=(192, 256)).map_sizes == ((12, 16), (24, 32), (48, 64))
    assert PyramidEncoderConfig(18, trunk=TrunkConfig.resnet34()).map_sizes == ((16, 16), (32, 32), (64, 64))


def test_a_batch_equals_its_crops_one_by_one(crops: Tensor) -> None:
    encoder = build()
    batch = encoder(crops)
    for i in range(3):
        torch.testing.assert_close(encoder(crops[i : i + 1]), batch[i : i + 1], atol=2e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 3, 48, 32), (1, 6, 32, 48), (1, 3, 64, 64)])
def test_a_crop_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"e4e encoder given .*: expected \[B, 3, 32, 48\]"):
        build()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "expected 1 to 64 rows"),
        ({"latent_width": 0}, "expected 1 to 64 rows"),
        ({"input_size": (8, 16)}, "expected 1 to 64 rows"),
        ({"input_size": (64,)}, "expected 1 to 64 rows"),
        ({"trunk": TrunkConfig((8, 16), (1, 1), 3, 1, 2)}, r"widths \(8, 16\): expected three stages"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PyramidEncoderConfig(**{"rows": 6, **change})


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "size"), [("psp_faces_1024", 1024), ("e4e_faces_1024", 1024), ("e4e_church_256", 256)]
)
def test_it_has_the_tensors_of_the_published_files(checkpoint_maker: CheckpointMaker, name: str, size: int) -> None:
    rows = checkpoint_maker.manifest("baselines", name)["tensors"]
    published = {key.removeprefix("state_dict/"): tuple(shape) for key, shape, *_ in rows}
    published = {k.removeprefix("encoder."): v for k, v in published.items() if not k.startswith("decoder.")}
    with torch.device("meta"):
        encoder = PyramidEncoder(PyramidEncoderConfig(GeneratorConfig.official(size).rows))
    assert {k: tuple(v.shape) for k, v in encoder.state_dict().items()} == published
