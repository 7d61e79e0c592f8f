"""Pixel losses and batches of the recipe."""

from __future__ import annotations

import torch

from examples.avatars.recipe.data import batch_indices
from examples.avatars.recipe.loss import pyramid_l1, pyramid_mse


def test_pixel_losses_are_zero_for_equal_images_and_look_where_the_weight_is() -> None:
    image = torch.rand(1, 3, 32, 32)
    changed = image.clone()
    changed[..., :8, :8] += 0.5
    left = torch.full((1, 1, 32, 32), 0.5)
    left[..., :8, :8] = 2.0
    right = torch.full((1, 1, 32, 32), 0.5)
    right[..., 24:, 24:] = 2.0
    for loss in (pyramid_l1, pyramid_mse):
        assert loss(image, image) == 0
        assert loss(changed, image, left) > 2 * loss(changed, image, right) > 0


def test_batches_depend_on_seed_and_step_alone() -> None:
    assert torch.equal(batch_indices(100, 8, 3, 1), batch_indices(100, 8, 3, 1))
    assert not torch.equal(batch_indices(100, 8, 3, 1), batch_indices(100, 8, 4, 1))
    assert not torch.equal(batch_indices(100, 8, 3, 1), batch_indices(100, 8, 3, 2))
