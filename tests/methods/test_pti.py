"""Pivotal tuning: what moves, when it stops, what the locality term holds, and a recording of the published one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, ImageError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import without_metrics
from hyperstyle.inversion.optimize import Step
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods import losses
from hyperstyle.methods.pti import PivotalTuner, PivotalTuning, neighbor
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

if TYPE_CHECKING:
    from conftest import CheckpointMaker

Parts = tuple[Tensor, Tensor, Generator]
QUICK = PivotalTuning(steps=12, lr=3e-3, threshold=-1.0)
LOCAL = replace(QUICK, locality=True, locality_radius=2.0)


def distance(image: Tensor, target: Tensor) -> Tensor:
    return (image - target).abs().mean((1, 2, 3))


@pytest.fixture
def parts() -> Parts:
    """A target, a pivot and a generator that does not draw the one at the other."""
    generator = Generator(GeneratorConfig(32, (12, 8, 8, 4), latent_width=16, mapping_layers=2)).eval()
    for name, parameter in generator.named_parameters():
        if "noise" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)  # zero at the start, and then nothing depends on them
    w = generator.broadcast(generator.mapping(torch.randn(1, 16))).detach()
    return torch.rand(1, 3, 32, 32) * 2 - 1, w, generator.requires_grad_(False)


def tune(
    target: Tensor,
    w: Tensor,
    generator: Generator,
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: PivotalTuning,
    callback: Callable[[Step], Any] | None = None,
) -> Generator:
    """Tunes a bare generator to an image at a pivot; returns it with the tuned parameters."""
    model = Model(generator, Domain("images", generator.config.size, (target.shape[2], target.shape[3])))
    with without_metrics():
        found = PivotalTuner(settings, loss)(target, Inversion(model, w), callback=callback)
    assert not any(value.requires_grad for value in found.overrides.tuned[0].values())
    return generator.with_parameters(found.overrides.tuned[0])


def run(parts: Parts, settings: PivotalTuning) -> tuple[list[Step], Generator]:
    seen: list[Step] = []
    tuned = tune(*parts, distance, settings, callback=seen.append)
    return seen, tuned


def test_the_copy_draws_the_target_better_at_the_same_pivot(parts: Parts) -> None:
    target, w, generator = parts
    seen, tuned = run(parts, QUICK)
    torch.testing.assert_close(seen[0].image, generator(w), atol=2e-5, rtol=0)
    assert seen[-1].loss < 0.8 * seen[0].loss
    assert distance(tuned(w), target) < 0.8 * distance(generator(w), target)


def test_synthesis_moves_and_mapping_noise_and_mean_code_stay(parts: Parts) -> None:
    generator = parts[2]
    _, tuned = run(parts, QUICK)
    before = generator.state_dict()
    for name, value in tuned.state_dict().items():
        stays = name.split(".")[0] in ("style", "noises", "latent_avg") or name.endswith(".kernel")
        assert torch.equal(value, before[name]) == stays, name


def test_the_given_generator_stays_as_it_was_and_the_copy_is_frozen(parts: Parts) -> None:
    generator = parts[2]
    generator.to_rgb1.requires_grad_(True)
    flags = [p.requires_grad for p in generator.parameters()]
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    random: Tensor = torch.random.get_rng_state()
    legacy: Any = np.random.get_state()
    _, tuned = run(parts, LOCAL)
    assert flags == [p.requires_grad for p in generator.parameters()]
    assert all(p.grad is None for p in generator.parameters())
    assert all(torch.equal(value, state[name]) for name, value in generator.state_dict().items())
    assert not tuned.training
    assert torch.equal(torch.random.get_rng_state(), random)
    now: Any = np.random.get_state()
    assert np.array_equal(now[1], legacy[1])


def test_it_works_where_gradients_are_switched_off(parts: Parts) -> None:
    with torch.no_grad():
        seen, _ = run(parts, QUICK)
    assert seen[-1].loss < seen[0].loss


def test_it_stops_before_the_step_in_which_the_perceptual_part_is_small_enough(parts: Parts) -> None:
    seen, _ = run(parts, QUICK)
    assert len(seen) == 12
    stopped, tuned = run(parts, replace(QUICK, threshold=seen[4].perceptual))
    assert [s.step for s in stopped] == [0, 1, 2, 3, 4]
    _, expected = run(parts, replace(QUICK, steps=4))
    state = expected.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in tuned.state_dict().items())


def test_a_reconstruction_that_is_good_enough_leaves_the_weights_as_they_are(parts: Parts) -> None:
    seen, tuned = run(parts, replace(QUICK, threshold=100.0))
    assert [(s.step, s.steps) for s in seen] == [(0, 12)]
    state = parts[2].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in tuned.state_dict().items())


def test_what_the_callback_returns_ends_nothing(parts: Parts) -> None:
    calls: list[int] = []

    def stop(step: Step) -> Any:
        calls.append(step.step)
        return True

    tune(*parts, distance, QUICK, callback=stop)
    assert calls == list(range(12))


def test_the_target_may_be_smaller_than_the_generators_image(parts: Parts) -> None:
    target, w, generator = parts

    def halved(image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image, 2)

    seen, _ = run((halved(target), w, generator), QUICK)
    assert seen[-1].loss < seen[0].loss


# ---- locality ----


def test_the_locality_term_is_added_at_its_interval_and_is_0_while_nothing_has_moved(parts: Parts) -> None:
    seen, _ = run(parts, replace(LOCAL, locality_interval=3))
    extra = [s.loss - s.l2 - s.perceptual for s in seen]
    assert extra[0] == pytest.approx(0, abs=1e-6)
    assert all(value > 1e-4 for value in (extra[3], extra[6], extra[9]))
    assert [extra[i] for i in (1, 2, 4, 5, 7)] == pytest.approx([0] * 5, abs=1e-6)


def test_the_locality_term_holds_the_images_of_neighbors(parts: Parts) -> None:
    _, w, generator = parts
    changes = []
    for settings in (QUICK, replace(LOCAL, locality_weight=20.0)):
        _, tuned = run(parts, settings)
        code = neighbor(w, torch.randn(1, 16, generator=torch.Generator().manual_seed(5)), generator, LOCAL)
        changes.append(float(distance(tuned(code, noise="none"), generator(code, noise="none"))))
    assert changes[1] < 0.7 * changes[0]


def test_neighbors_lie_at_the_radius_towards_truncated_samples(parts: Parts) -> None:
    _, w, generator = parts
    generator.latent_avg.normal_()
    z = torch.randn(1, 16)
    sampled = generator.latent_avg + 0.5 * (generator.mapping(z) - generator.latent_avg)
    for radius in (2.0, 30.0):
        moved = neighbor(w, z, generator, PivotalTuning(locality_radius=radius)) - w
        assert float(moved.norm()) == pytest.approx(radius, rel=1e-5)
        towards = generator.broadcast(sampled) - w
        assert float((moved * towards).sum()) == pytest.approx(radius * float(towards.norm()), rel=1e-5)


# ---- what is refused ----


def test_shapes_that_do_not_fit_are_refused(parts: Parts) -> None:
    target, w, generator = parts
    inversion = Inversion(Model(generator, Domain("images", 32, (32, 32))), w)
    with pytest.raises(ImageError, match="expected the same"):
        PivotalTuner(QUICK, distance)(target[:, :, :16, :16], inversion)
    with pytest.raises(ConfigError, match=r"expected \[B, 8, 16\]"):
        tune(target, w[:, :7], generator, distance, QUICK)
    with pytest.raises(ConfigError, match="one number per image"):
        tune(target, w, generator, torch.nn.functional.l1_loss, QUICK)


@pytest.mark.parametrize(
    "values",
    [
        {"steps": -1},
        {"lr": -0.5},
        {"lr": math.nan},
        {"lr": math.inf},
        {"locality_interval": 0},
        {"locality_interval": 1.5},
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(values.values())))):
        PivotalTuning(**values)


# ---- the published one ----


@pytest.mark.reference
@pytest.mark.parametrize("kind", ["pti_", "pti_reg_"])
def test_three_steps_equal_the_recording_of_the_published_tuning(checkpoint_maker: CheckpointMaker, kind: str) -> None:
    folder = checkpoint_maker.reference / "baselines"
    with np.load(folder / "golden" / "optimisation_small64_seed0.npz") as file:
        golden: dict[str, Any] = dict(file)
    table = json.loads((folder / "nvidia_to_rosinality.json").read_text(encoding="utf-8"))["generator_1024"]
    ours = {row["nvidia"]: row["rosinality"] for row in table}
    # In float64: only the recording is rounded then, on every processor alike. Adam amplifies rounding.
    generator = checkpoint_maker.small_generator().double()
    tensors = checkpoint_maker.script("hyperinverter").build(
        checkpoint_maker.manifest("baselines", "lpips_alex_random"), 0
    )
    network = _stand_in_for_lpips(tensors).double()

    def lpips(image: Tensor, target: Tensor) -> Tensor:
        distances: Tensor = network(image, target).flatten()
        return distances

    target = torch.from_numpy(golden["target_uint8"])[None].double() / 127.5 - 1
    w = torch.from_numpy(golden["pti_pivot"]).double()
    before_tuning = torch.from_numpy(golden["pti_image_before"]).double()
    torch.testing.assert_close(generator(w)[0], before_tuning, atol=1e-5, rtol=0)
    assert float(lpips(target, generator(w))) == pytest.approx(float(golden["lpips_check"]), rel=1e-5)
    near = neighbor(w, torch.from_numpy(golden["pti_morph_z"]).double(), generator, PivotalTuning())
    torch.testing.assert_close(near, torch.from_numpy(golden["pti_morph_w"]).double(), atol=1e-5, rtol=0)

    seen: list[Step] = []
    settings = PivotalTuning(steps=3, threshold=-1.0, locality=kind == "pti_reg_")
    tuned = tune(target, w, generator, lpips, settings, callback=seen.append)
    for step, expected in zip(seen, golden[f"{kind}losses"].tolist(), strict=True):
        assert [step.loss, step.l2, step.perceptual] == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(tuned(w)[0], torch.from_numpy(golden[f"{kind}image"]).double(), atol=5e-5, rtol=0)
    after, before = tuned.state_dict(), generator.state_dict()
    names = golden["pti_param_names"].tolist()
    for row, name in enumerate(names):
        moved, norm = golden[f"{kind}param_stats"][row]
        change = float((after[ours[name]] - before[ours[name]]).norm())
        assert change == pytest.approx(moved, rel=1e-3, abs=1e-7), name
        first = after[ours[name]].flatten()[:16].numpy()
        assert np.abs(first - golden[f"{kind}param_first16"][row][: len(first)]).max() <= 1e-5 * max(1.0, norm), name


def _stand_in_for_lpips(tensors: dict[str, Tensor]) -> torch.nn.Module:
    """LPIPS with an AlexNet of random weights, as in the recording."""
    import lpips

    network: torch.nn.Module = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    state = network.state_dict()
    for key in state:
        if key.startswith("net."):
            state[key] = tensors["features." + key.split(".", 2)[2]]
        elif key.startswith("lin"):
            state[key] = tensors[key.replace("lins.", "lin")]
    network.load_state_dict(state)
    return network.requires_grad_(False)


# ---- as a refinement ----


@pytest.fixture(scope="module")
def predicted(able: HyperStyleInverter, crops: list[Tensor]) -> Inversion:
    return able.invert(crops, method="hyperstyle", align=False)


def crop_of(inversion: Inversion) -> Tensor:
    assert inversion.crop is not None
    return inversion.crop


def test_every_image_gets_parameters_of_its_own_beneath_its_offsets(predicted: Inversion) -> None:
    seen: list[Step] = []
    inversion = PivotalTuner(QUICK)(crop_of(predicted), predicted, callback=seen.append)
    torch.testing.assert_close(seen[0].image, predicted.tensor[:1], atol=2e-5, rtol=0)
    assert [s.step for s in seen] == [*range(12), *range(12)], "one image after the other"
    assert seen[11].loss < seen[0].loss
    assert seen[23].loss < seen[12].loss
    assert inversion.offset_codes is not None
    assert predicted.offset_codes is not None
    assert all(torch.equal(c, predicted.offset_codes.sums[n]) for n, c in inversion.offset_codes.sums.items())
    assert len(inversion.overrides.tuned) == 2
    first, second = inversion.overrides.tuned
    assert not torch.equal(first["conv1.conv.weight"], second["conv1.conv.weight"])
    assert not any(name.startswith("style.") for name in first), "only what moved"
    assert not any(value.requires_grad for value in first.values())
    generator = predicted.model.generator.with_parameters(first)
    tuned_with_offsets = generator(predicted.w[:1], inversion[0].offsets)  # W_tuned * (1 + Δ)
    torch.testing.assert_close(tuned_with_offsets, inversion.tensor[:1], atol=2e-5, rtol=0)


def test_alone_it_begins_at_a_pivot_in_w_without_its_noise(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    inversion = able.invert(crops[0], method="pti", steps={"optimize-w": 5, "pti": 4}, align=False)
    assert inversion.overrides.noise == ()
    assert torch.equal(inversion.w[:, :1].expand_as(inversion.w), inversion.w)
    tuned = able.model.generator.with_parameters(inversion.overrides.tuned[0])
    torch.testing.assert_close(tuned(inversion.w), inversion.tensor, atol=2e-5, rtol=0)


def test_more_steps_go_on_with_the_tuned_parameters(predicted: Inversion) -> None:
    tuner = PivotalTuner(QUICK)
    first = tuner(crop_of(predicted), predicted)
    seen: list[Step] = []
    second = first.refine(3, callback=seen.append)
    torch.testing.assert_close(seen[0].image, first.tensor[:1], atol=2e-5, rtol=0)
    assert second.method == first.method == "hyperstyle+pti"
    assert sum(second.stored_metrics["l2"]) < sum(first.stored_metrics["l2"])


def test_the_published_early_stop_is_for_lpips_alone(predicted: Inversion, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps_of(tuner: PivotalTuner, inversion: Inversion = predicted[0]) -> int:
        seen: list[Step] = []
        tuner(crop_of(inversion), inversion, callback=seen.append)
        return len(seen)

    def near(image: Tensor, target: Tensor) -> Tensor:
        return 0.05 + 0 * distance(image, target)

    assert steps_of(PivotalTuner(PivotalTuning(steps=3), loss=near)) == 3
    assert steps_of(PivotalTuner(PivotalTuning(steps=3, threshold=0.06), loss=near)) == 1
    monkeypatch.setattr(losses, "lpips_loss", lambda device: near)
    blind = replace(predicted[0], model=predicted.model.with_parts(perceptual=None))
    assert steps_of(PivotalTuner(PivotalTuning(steps=3)), blind) == 1


def test_what_is_near_enough_at_once_keeps_the_models_parameters(predicted: Inversion) -> None:
    inversion = PivotalTuner(PivotalTuning(threshold=100.0))(crop_of(predicted), predicted)
    assert inversion.overrides.tuned == ({}, {})
    torch.testing.assert_close(inversion.tensor, predicted.tensor, atol=2e-5, rtol=0)
    moved = PivotalTuner(QUICK)(crop_of(predicted), predicted)
    assert len(Inversion.cat([inversion, moved])) == 4


def test_crops_and_images_of_different_numbers_are_refused(predicted: Inversion) -> None:
    with pytest.raises(ConfigError, match=r"2 crop\(s\) for 1 image\(s\)"):
        PivotalTuner(QUICK)(crop_of(predicted), predicted[0])


def test_locality_compares_generators_with_the_same_offsets(predicted: Inversion) -> None:
    seen: list[Step] = []
    PivotalTuner(LOCAL, loss=distance)(crop_of(predicted)[:1], predicted[0], steps=3, callback=seen.append)
    extra = [s.loss - s.l2 - s.perceptual for s in seen]
    assert extra[0] == pytest.approx(0, abs=1e-6)
    assert extra[2] > 1e-5
