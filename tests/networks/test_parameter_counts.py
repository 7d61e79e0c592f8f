"""How many parameters the published configurations have; built on the meta device, without memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig

MEDIUM_AND_FINE = [5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23, 24]
ALL = list(range(26))


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        (1024, {}, 332_664_896),  # the paper's 332M
        (1024, {"layers": MEDIUM_AND_FINE}, 327_007_808),
        (1024, {"layers": ALL}, 369_205_472),
        (512, {}, 325_188_672),
        (256, {}, 312_984_640),
        (1024, {"heads": "separable"}, 215_123_456),
        (1024, {"heads": "separable", "layers": MEDIUM_AND_FINE}, 209_466_368),
        (1024, {"heads": "separable", "layers": ALL}, 251_664_032),
        (512, {"heads": "separable"}, 207_296_960),
        (1024, {"heads": "plain"}, 1_415_720_000),
        (1024, {"heads": "plain", "layers": MEDIUM_AND_FINE}, 1_003_429_952),
        (1024, {"heads": "plain", "layers": ALL}, 1_452_260_576),
        (1024, {"per_tap": True}, 1_404_301_376),  # the paper's 1.40B
    ],
)
def test_published_variants_have_their_number_of_parameters(size: int, options: dict[str, Any], expected: int) -> None:
    with torch.device("meta"):
        assert Hypernetwork(HypernetworkConfig.official(size, **options)).parameter_count() == expected


def test_the_parts_add_up_to_the_published_ones() -> None:
    with torch.device("meta"):
        network = Hypernetwork(HypernetworkConfig.official(1024))

    def count(*names: str) -> int:
        return sum(p.numel() for n, p in network.named_parameters() if n.startswith(names))

    assert count("conv1", "bn1", "relu", "body") == 21_294_144
    assert count("shared_weight_hypernet") == 136_843_776
    blocks = {i: count(f"refinement_blocks.{i}.") for i in (0, 2, 12, 14, 15, 17, 18, 20, 21, 23, 24)}
    assert blocks == {
        0: 1_885_696,
        2: 1_885_696,
        12: 1_885_696,
        14: 70_190_080,
        15: 36_570_112,
        17: 19_760_128,
        18: 11_355_136,
        20: 7_152_640,
        21: 5_051_392,
        23: 4_000_768,
        24: 3_475_456,
    }
    buffers = sum(b.numel() for n, b in network.named_buffers() if "num_batches" not in n)
    assert 17_000 < buffers < 17_060 + 1
