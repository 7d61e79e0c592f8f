"""An avatar that turns its head."""

from __future__ import annotations

import numpy as np
import pytest

from examples.avatars.renderer.clip import turning_head
from hyperstyle.errors import ConfigError

SIZE = (96, 80)


def test_the_head_turns_and_its_landmarks_turn_with_it() -> None:
    frames, truth = zip(*((frame, points.numpy()) for frame, points in turning_head(14, size=SIZE)), strict=True)
    nose = np.stack([points[30] - points[[0, 16]].mean(axis=0) for points in truth])[:, 0]
    assert nose.max() > 2
    assert nose.min() < -2
    assert {frame.size for frame in frames} == {SIZE}
    np.testing.assert_allclose(truth[0], truth[-1], atol=1e-3)


@pytest.mark.parametrize(("count", "size"), [(1, SIZE), (9, (32, 80))])
def test_a_clip_that_cannot_be_rendered_is_refused(count: int, size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="Expected 2 frames"):
        next(turning_head(count, size=size))
