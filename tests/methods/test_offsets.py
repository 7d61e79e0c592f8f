"""Offsets found by optimization: they lower the loss, each image by itself, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, ImageError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import without_metrics
from hyperstyle.inversion.optimize import Step
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.offsets import OffsetTuner
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

LAYERS = ("b16.conv0", "b16.torgb", "b32.conv1")
Parts = tuple[Tensor, Tensor, Generator]


def distance(image: Tensor, target: Tensor) -> Tensor:
    return (image - target).square().mean((1, 2, 3))


def nothing(image: Tensor, target: Tensor) -> Tensor:
    """A perceptual loss of 0: what is left is L2, which is `distance`."""
    return 0.0 * distance(image, target)


def optimize_offsets(
    target: Tensor,
    w: Tensor,
    generator: Generator,
    *,
    start: dict[str, Tensor] | None = None,
    callback: Callable[[Step], None] | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """Offsets of a bare generator that lower L2, added to those of the start."""
    model = Model(generator, Domain("images", generator.config.size, (target.shape[2], target.shape[3])))
    codes = None if start is None else OffsetCodes.of_dense(start)
    tuner = OffsetTuner(**{"layers": LAYERS, "loss": nothing, "lr": 0.02, **options})
    with without_metrics():
        offsets = tuner(target, Inversion(model, w, codes), callback=callback).offsets
    assert not any(value.requires_grad for value in offsets.values())
    return offsets


def zeros(generator: Generator, batch: int = 2) -> dict[str, Tensor]:
    specs = [generator.layer(name) for name in LAYERS]
    return {s.name: torch.zeros(batch, s.channels_out, s.channels_in, 1, 1).double() for s in specs}


@pytest.fixture
def parts() -> Parts:
    """Images that other weights draw, the codes, and the generator."""
    generator = Generator(GeneratorConfig(32, (12, 8, 8, 4), latent_width=16, mapping_layers=2)).double().eval()
    generator.requires_grad_(False)
    w = torch.randn(2, 8, 16, dtype=torch.float64)
    changed = {name: 0.3 * torch.randn_like(value) for name, value in zeros(generator).items()}
    return generator(w, changed), w, generator


def test_the_loss_falls_to_a_fraction_where_offsets_can_draw_the_target(parts: Parts) -> None:
    target, w, generator = parts
    seen: list[Step] = []
    offsets = optimize_offsets(*parts, steps=60, callback=seen.append)
    assert list(offsets) == list(LAYERS)
    assert {name: value.shape for name, value in offsets.items()} == {n: v.shape for n, v in zeros(generator).items()}
    assert torch.equal(seen[0].losses, distance(seen[0].image, target))
    torch.testing.assert_close(seen[0].image, generator(w))
    assert [(s.step, s.steps) for s in seen] == [(i, 60) for i in range(60)]
    assert (distance(generator(w, offsets), target) < 0.1 * seen[0].losses).all()


def test_a_batch_equals_its_images_one_by_one(parts: Parts) -> None:
    target, w, generator = parts
    both = optimize_offsets(target, w, generator, steps=15)
    for i in range(2):
        alone = optimize_offsets(target[i : i + 1], w[i : i + 1], generator, steps=15)
        for name, value in alone.items():
            assert value.abs().max() > 1e-3
            torch.testing.assert_close(both[name][i : i + 1], value, atol=1e-7, rtol=0)


def test_the_generator_and_the_random_state_stay_as_they_were(parts: Parts) -> None:
    generator = parts[2]
    generator.to_rgb1.requires_grad_(True)
    flags = [p.requires_grad for p in generator.parameters()]
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    random = torch.random.get_rng_state()
    with torch.no_grad():  # gradients are switched on where they are needed
        optimize_offsets(*parts, steps=2)
    assert flags == [p.requires_grad for p in generator.parameters()]
    assert all(p.grad is None for p in generator.parameters())
    assert all(torch.equal(value, state[name]) for name, value in generator.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)


def test_it_continues_from_a_start_and_leaves_the_start_alone(parts: Parts) -> None:
    target, w, generator = parts
    first = optimize_offsets(*parts, steps=10)
    copies = {name: value.clone() for name, value in first.items()}
    seen: list[Step] = []
    optimize_offsets(*parts, steps=10, start=first, callback=seen.append)
    torch.testing.assert_close(seen[0].losses, distance(generator(w, first), target))
    assert (seen[-1].losses < seen[0].losses).all()
    assert all(torch.equal(first[name], value) for name, value in copies.items())


def test_official_indexes_name_layers_too(parts: Parts) -> None:
    assert list(optimize_offsets(*parts, layers=(5, "b4.conv1"), steps=1)) == ["b4.conv1", "b16.conv0"]


def test_the_rate_rises_for_five_steps_and_falls_over_the_second_half(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    class Watched(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    optimize_offsets(*parts, steps=12, lr=0.6)
    assert rates == pytest.approx([0.12, 0.24, 0.36, 0.48, 0.6, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_the_target_may_be_smaller_than_the_generators_image(parts: Parts) -> None:
    target, w, generator = parts

    def halved(image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image, 2)

    offsets = optimize_offsets(halved(target), w, generator, steps=20)
    after, before = halved(generator(w, offsets)), halved(generator(w))
    assert (distance(after, halved(target)) < 0.5 * distance(before, halved(target))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["b8.conv2"]}, "no layer 'b8.conv2'"),
        ({"layers": ()}, "at least one layer"),
        ({"steps": -1}, "steps=-1"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"w": torch.zeros(3, 8, 16)}, r"2 crop\(s\) for 3 image"),
        ({"w": torch.zeros(2, 7, 16).double()}, r"expected \[B, 8, 16\]"),
        ({"loss": torch.nn.functional.mse_loss}, "one number per image"),
    ],
)
def test_what_cannot_work_is_refused(parts: Parts, options: dict[str, Any], message: str) -> None:
    target, w, generator = parts
    arguments: dict[str, Any] = {"w": w, "steps": 1} | options
    with pytest.raises(ConfigError, match=message):
        optimize_offsets(target, generator=generator, **arguments)


def test_a_target_of_another_size_is_refused(parts: Parts) -> None:
    target, w, generator = parts
    inversion = Inversion(Model(generator, Domain("images", 32, (32, 32))), w)
    with pytest.raises(ImageError, match="expected the same"):
        OffsetTuner(loss=nothing)(target[:, :, ::2, ::2], inversion)


def test_an_image_stops_as_soon_as_its_loss_is_small_enough_and_the_others_go_on(parts: Parts) -> None:
    seen: list[Step] = []
    optimize_offsets(*parts, steps=20, callback=seen.append)
    losses = torch.stack([s.losses for s in seen])  # [20,2]
    assert (losses[12] < losses[8]).all()
    first = int(losses[12].argmin())
    threshold = losses[12, first].item()
    stopped: list[Step] = []
    optimize_offsets(*parts, steps=20, threshold=threshold, callback=stopped.append)
    assert stopped[0].loss == pytest.approx(losses[0].mean().item())
    held = [s.losses[first].item() for s in stopped]
    near = next(i for i, value in enumerate(held) if value <= threshold)
    assert len(set(held[near:])) == 1
    assert len({s.losses[1 - first].item() for s in stopped[near:]}) == len(stopped) - near


# ---- as a refinement ----


@pytest.fixture(scope="module")
def predicted(able: HyperStyleInverter, crops: list[Tensor]) -> Inversion:
    return able.invert(crops, method="hyperstyle", align=False)


def test_dense_offsets_are_added_to_those_of_the_prediction(predicted: Inversion) -> None:
    assert predicted.crop is not None
    assert predicted.offset_codes is not None
    seen: list[Step] = []
    tuned = OffsetTuner(steps=10)(predicted.crop, predicted, callback=seen.append)
    assert (seen[-1].losses < seen[0].losses).all()
    torch.testing.assert_close(seen[0].image, predicted.tensor, atol=2e-5, rtol=0)
    codes = tuned.offset_codes
    assert codes is not None
    assert codes.sums.keys() == predicted.offset_codes.sums.keys()
    assert all(torch.equal(code, predicted.offset_codes.sums[name]) for name, code in codes.sums.items())
    assert set(codes.dense) == {"b8.conv1", "b16.conv1", "b32.conv0"}, "the layers of the hypernetwork"
    assert tuned.method == "hyperstyle+offsets"
    more = tuned.refine(5)
    assert more.method == "hyperstyle+offsets"
    assert sum(more.stored_metrics["l2"]) < sum(tuned.stored_metrics["l2"])


def test_without_a_hypernetwork_all_layers_but_torgb_may_change(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    begun = able.invert(crops, method="w-encoder", align=False)
    bare = replace(begun, model=begun.model.with_parts(hypernetwork=None))
    assert bare.crop is not None
    tuned = OffsetTuner(steps=1)(bare.crop, bare)
    assert list(tuned.offsets) == [s.name for s in bare.model.generator.layers if not s.torgb]
