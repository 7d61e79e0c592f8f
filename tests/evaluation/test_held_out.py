"""The held-out images that come with the library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import hyperstyle
from hyperstyle import ConfigError, HyperStyleInverter
from hyperstyle.evaluation import HELD_OUT, held_out_avatars
from hyperstyle.evaluation.held_out import attribute_deviations
from hyperstyle.images import to_pil


def test_crops_are_the_files_of_the_package_in_order() -> None:
    crops = held_out_avatars()
    assert crops.shape == (HELD_OUT, 3, 128, 128)
    folder = Path(hyperstyle.__file__).parent / "avatars" / "held_out"
    assert len(list(folder.iterdir())) == HELD_OUT
    last = hyperstyle.load_image(folder / f"{HELD_OUT - 1}.png")
    assert to_pil(crops[-1]).tobytes() == last.tobytes()
    assert torch.equal(held_out_avatars(2), crops[:2])


def test_crops_are_scaled_down_for_smaller_models() -> None:
    small = held_out_avatars(3, 32)
    assert small.shape == (3, 3, 32, 32)
    expected = torch.nn.functional.avg_pool2d(held_out_avatars(3), 4)
    torch.testing.assert_close(small, expected, atol=1.01 / 127.5, rtol=0)


def test_more_or_larger_crops_than_there_are_say_where_they_come_from() -> None:
    for count, size in ((HELD_OUT + 1, 128), (256, 128), (0, 128), (1, 256), (1, 8)):
        with pytest.raises(ConfigError, match=r"give a folder with --data: .*python -m examples\.avatars\.crops"):
            held_out_avatars(count, size)


def test_deviations_are_known_for_all_that_the_bundled_evaluator_reads() -> None:
    evaluator = HyperStyleInverter.from_pretrained("avatars", device="cpu").model.evaluator
    assert evaluator is not None
    known = attribute_deviations()
    assert set(evaluator.config.traits) <= set(known)
    assert (
        known
        == json.loads((Path(hyperstyle.__file__).parent / "avatars" / "attributes.json").read_text(encoding="utf-8"))[
            "population_std"
        ]
    )
