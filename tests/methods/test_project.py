"""The projector in W and W+: what it finds, what it leaves alone, and a recording of the published one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, ImageError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import without_metrics
from hyperstyle.inversion.optimize import Step
from hyperstyle.inversion.state import GeneratorOverrides
from hyperstyle.methods import projector
from hyperstyle.methods.projector import Projection, Projector, code_statistics, noise_regularizer
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

if TYPE_CHECKING:
    from conftest import CheckpointMaker

QUICK = Projection(steps=20, lr=0.05, noise_weight=1.0, samples=200)
PLUS = Projection(steps=20, lr=0.05, space="w+", noise_weight=1.0, samples=200)


def build() -> Generator:
    generator = Generator(GeneratorConfig(32, (12, 8, 8, 4), latent_width=16, mapping_layers=2)).double().eval()
    for name, parameter in generator.named_parameters():
        if "noise" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)  # zero at the start, and then nothing depends on them
    return generator.requires_grad_(False)


def distance(image: Tensor, target: Tensor) -> Tensor:
    return (image - target).square().sum((1, 2, 3))


class Projected(NamedTuple):
    """What a projector found, and the losses [B,S] of its steps."""

    w: Tensor
    noise: tuple[Tensor, ...] | None
    losses: Tensor


def project(
    target: Tensor,
    generator: Generator,
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: Projection,
    *,
    start: Tensor | None = None,
    maps: Sequence[Tensor] = (),
    offsets: dict[str, Tensor] | None = None,
    callback: Callable[[Step], None] | None = None,
) -> Projected:
    """Runs a projector on a bare generator, from the mean code if it gets no start."""
    height, width = target.shape[-2:]
    model = Model(generator, Domain("images", generator.config.size, (height, width)))
    codes = code_statistics(generator, settings.samples)[0].expand(len(target), -1) if start is None else start
    inversion = Inversion(
        model,
        generator.broadcast(codes).contiguous(),
        None if offsets is None else OffsetCodes.of_dense(offsets),
        overrides=GeneratorOverrides(noise=tuple(maps)),
    )
    losses: list[Tensor] = []

    def watch(step: Step) -> None:
        losses.append(step.losses)
        if callback is not None:
            callback(step)

    with without_metrics():
        found = Projector(settings, loss, l2=0.0)(target, inversion, callback=watch)
    return Projected(found.w, found.overrides.noise or None, torch.stack(losses, 1) if losses else target[:, 0, 0, :0])


def target_images(generator: Generator, count: int = 2) -> Tensor:
    image: Tensor = generator(generator.mapping(torch.randn(count, 16, dtype=torch.float64)))
    return image


@pytest.fixture(scope="module")
def parts() -> tuple[Generator, Tensor]:
    """A generator and two of its images. Tests leave it as it is."""
    torch.manual_seed(0)
    generator = build()
    return generator, target_images(generator)


@pytest.mark.parametrize("settings", [QUICK, PLUS])
def test_the_loss_of_every_image_falls(parts: tuple[Generator, Tensor], settings: Projection) -> None:
    generator, target = parts
    projected = project(target, generator, distance, settings)
    assert projected.losses.shape == (2, 20)
    assert (projected.losses[:, -1] < 0.7 * projected.losses[:, 0]).all()
    assert projected.noise is not None
    image = generator(projected.w, noise=projected.noise)
    assert (distance(image, target) < 0.7 * projected.losses[:, 0]).all()


@pytest.mark.parametrize("settings", [QUICK, PLUS])
def test_a_batch_equals_its_images_one_by_one(parts: tuple[Generator, Tensor], settings: Projection) -> None:
    generator, target = parts
    both = project(target, generator, distance, settings)
    assert both.noise is not None
    assert not torch.allclose(both.noise[-1][0], both.noise[-1][1], atol=1e-3)
    for i in range(2):
        alone = project(target[i : i + 1], generator, distance, settings)
        assert alone.noise is not None
        torch.testing.assert_close(both.w[i : i + 1], alone.w, atol=1e-7, rtol=0)
        torch.testing.assert_close(both.losses[i : i + 1], alone.losses, atol=1e-6, rtol=1e-6)
        for together, single in zip(both.noise, alone.noise, strict=True):
            torch.testing.assert_close(together[i : i + 1], single, atol=1e-7, rtol=0)


def test_a_code_in_w_is_one_row_and_a_code_in_w_plus_is_not(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    w = project(target, generator, distance, QUICK).w
    assert w.shape == (2, 8, 16)
    assert torch.equal(w, w[:, :1].expand_as(w))
    plus = project(target, generator, distance, PLUS).w
    assert plus.shape == (2, 8, 16)
    assert (plus - plus[:, :1]).abs().amax((0, 2))[1:].min() > 1e-3


def test_found_noise_has_mean_0_and_mean_square_1(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    projected = project(target, generator, distance, QUICK)
    assert projected.noise is not None
    assert [tuple(m.shape) for m in projected.noise] == [(2, 1, r, r) for r in (4, 8, 8, 16, 16, 32, 32)]
    for noise in projected.noise:
        torch.testing.assert_close(noise.mean((1, 2, 3)), torch.zeros(2).double(), atol=1e-12, rtol=0)
        torch.testing.assert_close(noise.square().mean((1, 2, 3)), torch.ones(2).double())


def test_without_optimized_noise_the_maps_of_the_generator_are_used(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    seen: list[Step] = []
    settings = Projection(steps=3, initial_noise=0.0, optimize_noise=False, samples=50)
    projected = project(target, generator, distance, settings, callback=seen.append)
    assert projected.noise is None
    torch.testing.assert_close(seen[2].image, generator(seen[2].w))


def test_the_first_image_is_that_of_the_mean_code_and_noise_of_a_twentieth_of_the_spread(
    parts: tuple[Generator, Tensor],
) -> None:
    generator, target = parts
    seen: list[Step] = []
    settings = Projection(steps=1, optimize_noise=False, samples=200, seed=7)
    project(target, generator, distance, settings, callback=seen.append)
    mean, spread = code_statistics(generator, 200)
    added = 0.05 * spread * torch.randn(1, 16, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(seen[0].image, generator((mean + added).expand(2, -1)))


def test_the_generator_its_flags_and_the_random_state_stay_as_they_were() -> None:
    generator = build()
    target = target_images(generator)
    generator.to_rgb1.requires_grad_(True)
    flags = [p.requires_grad for p in generator.parameters()]
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    random: Tensor = torch.random.get_rng_state()
    legacy: Any = np.random.get_state()

    def broken(image: Tensor, target: Tensor) -> Tensor:
        raise ZeroDivisionError

    project(target, generator, distance, QUICK)
    with pytest.raises(ZeroDivisionError):
        project(target, generator, broken, QUICK)
    assert flags == [p.requires_grad for p in generator.parameters()]
    assert all(p.grad is None for p in generator.parameters())
    assert all(torch.equal(value, state[name]) for name, value in generator.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random)
    now: Any = np.random.get_state()
    assert np.array_equal(now[1], legacy[1])


def test_the_seed_decides_what_chance_does(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts

    def projected(seed: int) -> Projected:
        return project(target, generator, distance, Projection(steps=3, samples=50, seed=seed))

    assert torch.equal(projected(1).w, projected(1).w)
    assert not torch.allclose(projected(1).w, projected(2).w, atol=1e-4)


def test_it_works_where_gradients_are_switched_off(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    with torch.no_grad():
        projected = project(target, generator, distance, QUICK)
    assert projected.losses[0, -1] < projected.losses[0, 0]
    assert not projected.w.requires_grad
    assert not projected.losses.requires_grad


def test_the_callback_sees_every_step_and_the_codes_before_it(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    seen: list[Step] = []
    projected = project(target, generator, distance, QUICK, callback=seen.append)
    assert [(s.step, s.steps) for s in seen] == [(i, 20) for i in range(20)]
    assert torch.equal(torch.stack([s.losses for s in seen], 1), projected.losses)
    assert torch.equal(distance(seen[7].image, target), seen[7].losses)
    assert torch.equal(seen[0].w, seen[1].w)  # the rate of the first step is 0
    assert not torch.equal(seen[1].w, seen[2].w)


def test_the_target_may_be_smaller_than_the_generators_image(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts

    def halved(image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image, 2)

    projected = project(halved(target), generator, distance, QUICK)
    assert (projected.losses[:, -1] < 0.7 * projected.losses[:, 0]).all()


# ---- where it begins ----


def test_it_begins_with_the_mean_code_or_the_given_one(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    none = Projection(steps=0, samples=200)
    mean = code_statistics(generator, 200)[0]
    assert torch.equal(project(target, generator, distance, none).w, mean.expand(2, 8, 16))
    start = torch.randn(2, 16, dtype=torch.float64)
    rows = start[:, None].expand(-1, 8, -1)
    assert torch.equal(project(target, generator, distance, none, start=start).w, rows)
    assert torch.equal(project(target, generator, distance, none, start=rows).w, rows)
    codes = torch.randn(2, 8, 16, dtype=torch.float64)
    before = codes.clone()
    moved = project(target, generator, distance, PLUS, start=codes)
    assert torch.equal(codes, before)
    assert not torch.equal(moved.w, codes)


def test_a_start_of_different_rows_is_refused_in_w(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    with pytest.raises(ConfigError, match=r"space='w\+'"):
        project(target, generator, distance, QUICK, start=torch.randn(2, 8, 16))


def test_statistics_are_those_of_sampled_codes() -> None:
    generator = build()
    mean, spread = code_statistics(generator, 4000)
    w = generator.mapping(torch.randn(20_000, 16, dtype=torch.float64))
    torch.testing.assert_close(mean, w.mean(0), atol=0.1, rtol=0)
    assert spread == pytest.approx(float(w.var(0, correction=0).sum().sqrt()), rel=0.03)


# ---- schedule and noise term ----


def test_the_rate_rises_from_0_stays_and_falls() -> None:
    settings = Projection(steps=100, lr=0.2)
    rates = [settings.lr_at(i) for i in range(100)]
    assert rates[0] == 0
    assert rates[1] == pytest.approx(0.04)
    assert rates[5:76] == pytest.approx([0.2] * 71)
    assert rates[95] == pytest.approx(0.2 * (0.5 - 0.5 * math.cos(math.pi * 0.2)))
    assert all(a > b for a, b in pairwise(rates[76:]))


def test_the_added_noise_fades_by_three_quarters_of_the_steps() -> None:
    settings = Projection(steps=100, initial_noise=0.08)
    assert settings.noise_at(0) == 0.08
    assert settings.noise_at(15) == pytest.approx(0.08 * 0.8**2)
    assert [settings.noise_at(i) for i in (75, 90, 99)] == [0, 0, 0]


def test_the_noise_term_is_the_squared_autocorrelation_at_each_size() -> None:
    maps = [torch.randn(2, 1, 4, 4), torch.randn(2, 1, 16, 16)]
    expected = torch.zeros(2)
    for i in range(2):
        small, large = maps[0][i, 0], maps[1][i, 0]
        half = large.reshape(8, 2, 8, 2).mean((1, 3))
        for noise in (small, large, half):
            n = len(noise)
            expected[i] += sum(float(noise[y, x] * noise[y, x - 1]) / n**2 for y in range(n) for x in range(n)) ** 2
            expected[i] += sum(float(noise[y, x] * noise[y - 1, x]) / n**2 for y in range(n) for x in range(n)) ** 2
    torch.testing.assert_close(noise_regularizer(maps), expected)


def test_a_large_weight_of_the_noise_term_keeps_patterns_out_of_the_maps(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    terms = []
    for weight in (0.0, 1e5):
        projected = project(target, generator, distance, Projection(steps=20, noise_weight=weight, samples=50))
        assert projected.noise is not None
        terms.append(noise_regularizer(projected.noise))
    assert (terms[1] < 0.5 * terms[0]).all()


# ---- what is refused ----


@pytest.mark.parametrize(
    "values",
    [
        {"steps": -1},
        {"lr": 0.0},
        {"lr": math.nan},
        {"lr": math.inf},
        {"samples": 0},
        {"samples": 1.5},
        {"space": "z"},
        {"rampup": 0.0},
        {"noise_ramp": 1.5},
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(values.values())))):
        Projection(**values)


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 32, 32), (2, 1, 32, 32)])
def test_a_target_of_another_shape_is_refused(parts: tuple[Generator, Tensor], shape: tuple[int, ...]) -> None:
    generator, target = parts
    model = Model(generator, Domain("images", 32, (32, 32)))
    with pytest.raises(ImageError, match=r"expected the same .*Crops have the input size"):
        Projector(QUICK, distance)(torch.zeros(shape), Inversion(model, torch.zeros(2, 8, 16, dtype=target.dtype)))


def test_a_loss_that_is_no_number_per_image_is_refused(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    with pytest.raises(ConfigError, match="one number per image"):
        project(target, generator, torch.nn.functional.mse_loss, QUICK)
    with pytest.raises(ConfigError, match=r"a loss of type float: expected one number per image"):
        project(target, generator, lambda image, target: 0.3, QUICK)  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match="NaN or infinite at step 0"):
        project(target, generator, lambda image, target: distance(image, target) * math.nan, QUICK)


def test_a_loss_through_which_no_gradient_flows_is_refused_at_the_first_step(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    seen: list[Step] = []
    with pytest.raises(ConfigError, match=r"no gradient flows from the loss .* torch\.no_grad"):
        project(target, generator, lambda image, to: distance(image.detach(), to), QUICK, callback=seen.append)
    assert not seen
    constant = torch.ones(2, dtype=target.dtype)
    with pytest.raises(ConfigError, match=r"no gradient flows .* torch\.inference_mode"), torch.inference_mode():
        project(target, generator, lambda image, to: constant, QUICK)


def test_a_target_with_a_value_that_is_not_finite_is_refused_before_the_first_step(
    parts: tuple[Generator, Tensor],
) -> None:
    generator, target = parts
    broken = target.clone()
    broken[1, 2, 3, 4] = math.inf
    seen: list[Step] = []
    with pytest.raises(ImageError, match="1 of the 6144 values"):
        project(broken, generator, distance, QUICK, callback=seen.append)
    assert not seen


@pytest.mark.parametrize("settings", [QUICK, PLUS])
def test_an_image_stops_as_soon_as_its_loss_is_small_enough_and_the_others_go_on(
    parts: tuple[Generator, Tensor], settings: Projection
) -> None:
    generator, target = parts
    losses = project(target, generator, distance, settings).losses
    first, second = losses[0, 12].item(), losses[1].min().item()
    assert first != second
    threshold = max(first, second) * 1.0001
    seen: list[Step] = []
    stopped = project(target, generator, distance, replace(settings, threshold=threshold), callback=seen.append)
    for i in range(2):
        small = (losses[i] <= threshold).nonzero()
        if len(small):
            code = seen[int(small[0])].w[i]
            assert torch.equal(stopped.w[i], code)
    assert seen[0].loss == pytest.approx(losses[:, 0].mean().item())
    enough = project(target, generator, distance, replace(settings, threshold=math.inf))
    assert enough.losses.shape == (2, 1)


def test_it_goes_on_from_noise_maps_and_renders_as_it_is_asked_to(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    projected = project(target, generator, distance, QUICK)
    assert projected.noise is not None
    calm = replace(QUICK, steps=1, initial_noise=0.0)
    offsets = {"b16.conv0": torch.full((2, 8, 8, 1, 1), 0.5, dtype=torch.float64)}
    seen: list[Step] = []
    project(
        target,
        generator,
        distance,
        calm,
        start=projected.w,
        maps=projected.noise,
        offsets=offsets,
        callback=seen.append,
    )
    torch.testing.assert_close(seen[0].image, generator(projected.w, offsets, noise=projected.noise))


def test_no_steps_change_no_noise_maps(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    none = replace(QUICK, steps=0)
    assert project(target, generator, distance, none).noise is None
    maps = [torch.randn(2, *noise_map.shape[1:]).double() for noise_map in generator.noises.buffers()]
    result = project(target, generator, distance, none, maps=maps).noise
    assert result is not None
    assert all(torch.equal(a, b) for a, b in zip(result, maps, strict=True))


def test_maps_to_begin_with_may_be_without_noise_and_of_one_image(parts: tuple[Generator, Tensor]) -> None:
    generator, target = parts
    silent = [torch.zeros_like(noise_map) for noise_map in generator.noises.buffers()]
    projected = project(target, generator, distance, QUICK, maps=silent)
    assert projected.noise is not None
    assert [len(noise) for noise in projected.noise] == [2] * 7
    assert all(noise.isfinite().all() for noise in projected.noise)
    assert (projected.losses[:, -1] < projected.losses[:, 0]).all()
    assert not any(noise_map.any() for noise_map in silent)


# ---- the published one ----


class _Enough(Exception):
    pass


@pytest.mark.reference
def test_the_first_steps_equal_the_recording_of_the_published_projectors(
    checkpoint_maker: CheckpointMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In float64: only the recording is rounded then, on every processor alike. Adam amplifies rounding.
    generator = checkpoint_maker.small_generator().double()
    with np.load(checkpoint_maker.reference / "baselines" / "golden" / "optimisation_small64_seed0.npz") as file:
        golden: dict[str, Any] = dict(file)
    target = torch.from_numpy(golden["target_uint8"])[None].double() / 127.5 - 1

    def features(image: Tensor, target: Tensor) -> Tensor:  # the recording's stand-in for VGG: the image in [0, 1]
        return distance(image / 2, target / 2)

    statistics = {samples: code_statistics(generator, samples) for samples in (600, 10_000)}
    monkeypatch.setattr(projector, "code_statistics", lambda _, samples: statistics[samples])
    for samples, (mean, spread) in statistics.items():
        torch.testing.assert_close(mean, torch.from_numpy(golden[f"w_avg_{samples}"]).double(), atol=2e-5, rtol=0)
        assert spread == pytest.approx(float(golden[f"w_std_{samples}"]), rel=1e-6)
    for name, settings, close in (
        ("sg2_w", Projection(steps=60, seed=0), 3),
        ("sg2_wplus", Projection(steps=8, lr=0.01, space="w+", seed=0), 1),
        ("pti_w", Projection(steps=8, lr=0.01, samples=600, seed=0), 8),
    ):
        assert [settings.lr_at(i) for i in range(settings.steps)] == pytest.approx(golden[f"{name}_lr"].tolist())

        start = torch.from_numpy(golden[f"w_avg_{settings.samples}"])[None].double()
        seen: list[Step] = []

        def watch(step: Step, seen: list[Step] = seen) -> None:
            seen.append(step)
            if step.step == 8:
                raise _Enough

        projected: Projected | None = None
        try:
            projected = project(target, generator, features, settings, start=start, callback=watch)
        except _Enough:
            assert settings.steps > 8
        codes = torch.cat([s.w for s in seen[1:]] + ([projected.w] if projected else []))
        expected = torch.from_numpy(golden[f"{name}_w_steps"][:8])
        error = (codes - expected).abs().amax((1, 2)) / expected.abs().max()
        assert error[:close].max() <= 1e-6, name
        assert error.max() <= 5e-5, name
        logged = [float(line.split("dist ")[1].split()[0]) for line in golden[f"{name}_log"][:8].tolist()]
        assert [float(s.losses) for s in seen[:8]] == pytest.approx(logged, rel=1e-4), name
        if projected is not None and projected.noise is not None:
            maps = torch.cat([m.flatten() for m in projected.noise])
            recorded = torch.from_numpy(golden[f"{name}_noise_final"]).double()
            torch.testing.assert_close(maps, recorded, atol=5e-4, rtol=0)
