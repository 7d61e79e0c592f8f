"""The discriminator of codes, its pool of earlier ones, and its penalty."""

from __future__ import annotations

import torch

from hyperstyle.training.adversarial import (
    LatentDiscriminator,
    LatentPool,
    discriminator_loss,
    generator_loss,
    r1_penalty,
)


def test_it_has_the_published_shape_and_judges_each_row_by_itself() -> None:
    network = LatentDiscriminator(512)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    hidden = {f"mlp.{i}.weight": (512, 512) for i in (0, 2, 4)} | {f"mlp.{i}.bias": (512,) for i in (0, 2, 4)}
    assert shapes == hidden | {"mlp.6.weight": (1, 512), "mlp.6.bias": (1,)}
    w = torch.randn(2, 3, 512)
    torch.testing.assert_close(network(w)[1, 2], network(w[1, 2]))


def test_it_learns_to_tell_codes_apart_and_an_encoder_to_deceive_it() -> None:
    network, pool = LatentDiscriminator(8), LatentPool(8)
    codes = torch.nn.Parameter(torch.full((4, 3, 8), 2.0))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(100):
        optimizer.zero_grad()
        loss = 2 * discriminator_loss(network(torch.randn(16, 8)), network(pool(codes)))
        if step % 4 == 0:
            loss = loss + r1_penalty(network, torch.randn(16, 8), gamma=0.1, every=4)
        loss.backward()
        optimizer.step()
    assert discriminator_loss(network(torch.randn(64, 8)), network(codes)).item() < 0.2
    assert codes.grad is None  # the discriminator's step leaves the encoder alone
    mover, before = torch.optim.Adam([codes], 0.1), generator_loss(network(codes)).item()
    for _ in range(30):
        mover.zero_grad()
        generator_loss(network(codes)).backward()
        mover.step()
    assert generator_loss(network(codes)).item() < before / 10


def test_a_pool_fills_first_and_then_gives_one_of_two_codes_from_before() -> None:
    pool = LatentPool(1, size=50)
    for start in range(0, 50, 10):
        codes = torch.arange(start, start + 10.0)[:, None]
        assert torch.equal(pool(codes), codes)
    codes = torch.arange(100.0, 1100)[:, None]
    got = pool(codes)
    earlier = (got != codes).flatten()
    assert 0.4 < earlier.float().mean() < 0.6
    assert (got[earlier] < codes[earlier]).all()
    everything = torch.cat([got, pool.codes]).flatten().sort().values
    assert torch.equal(everything, torch.cat([torch.arange(50.0), torch.arange(100.0, 1100)]))  # nothing gets lost


def test_a_pool_takes_a_row_at_random_of_every_code_and_no_gradient() -> None:
    w = (torch.arange(3.0)[None, :, None] + 10 * torch.arange(200.0)[:, None, None]).requires_grad_(True)
    got = LatentPool(1, size=300)(w)
    assert got.shape == (200, 1)
    assert not got.requires_grad
    rows = got.flatten() - 10 * torch.arange(200.0)
    assert sorted(set(rows.tolist())) == [0, 1, 2]


def test_a_pool_goes_on_from_a_checkpoint_as_it_would_have() -> None:
    pool, again = LatentPool(2, size=8), LatentPool(2, size=8)
    pool(torch.randn(6, 2))
    again.load_state_dict(pool.state_dict())
    codes = torch.randn(40, 2)
    torch.manual_seed(7)
    expected = pool(codes)
    torch.manual_seed(7)
    assert torch.equal(again(codes), expected)
    assert torch.equal(again.codes, pool.codes)
