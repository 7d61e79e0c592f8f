from __future__ import annotations

import numpy as np
import pytest
import torch

from examples.avatars.renderer.photo import demo_photo
from hyperstyle.errors import ConfigError


def test_a_photo_has_the_size_asked_for_and_a_tilted_face() -> None:
    image, landmarks = demo_photo(size=(96, 120))
    assert image.size == (96, 120)
    assert image.mode == "RGB"
    assert landmarks.shape == (68, 2)
    assert landmarks.dtype == torch.float64
    assert landmarks.min() > 0
    assert (landmarks < torch.tensor([96.0, 120.0])).all()
    across = landmarks[42:48].mean(0) - landmarks[36:42].mean(0)
    assert abs(torch.atan2(across[1], across[0]).item()) > 0.08


def test_the_same_seed_gives_the_same_photo_and_another_seed_another() -> None:
    first, again, other = (np.asarray(demo_photo(seed, (64, 80))[0]) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("size", [(10, 800), (640, 9000)])
def test_an_impossible_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="photo"):
        demo_photo(size=size)
