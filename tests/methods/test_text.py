"""Codes and styles optimized towards a text: the rule, what moves and what stays, when it stops, what is refused."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle import HyperStyleInverter, Inversion
from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.optimize import Step, ramped
from hyperstyle.inversion.state import GeneratorOverrides
from hyperstyle.methods.text import optimize_text
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config

if TYPE_CHECKING:
    from conftest import Portrait


class Stand:
    """Images and texts in one space of 12 values: a coarse view of the image, and a direction for each text."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        seeds = [torch.Generator().manual_seed(sum(text.encode())) for text in texts]
        return torch.stack([7.0 * torch.randn(12, generator=seed) for seed in seeds])

    def encode_image(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, 2).flatten(1)


TEXT = "a face with a beard"


def distances(images: Tensor, text: str = TEXT) -> Tensor:
    """1 - cosine [B], without what is tested."""
    return 1 - F.normalize(Stand().encode_image(images)) @ F.normalize(Stand().encode_text([text]).to(images))[0]


def mean_color(image: Tensor) -> Tensor:
    """A similarity network of three values."""
    return F.normalize(image.mean((2, 3)))


@pytest.fixture(scope="module")
def two(tiny_inverter: HyperStyleInverter) -> Inversion:
    size = tiny_inverter.model.domain.input_size
    crops = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return tiny_inverter.invert(list(crops), align=False)


@pytest.fixture(scope="module")
def exact(two: Inversion) -> Inversion:
    """The same in double precision: the first steps of Adam blow roundings up."""
    bare = two.model.with_parts(hypernetwork=None)
    model = dataclasses.replace(bare, generator=copy.deepcopy(bare.generator).double())
    codes = OffsetCodes.of_dense({name: offset.double() for name, offset in two.offsets.items()})
    return dataclasses.replace(two, model=model, w=two.w.double(), offset_codes=codes)


def run(two: Inversion, **options: Any) -> tuple[list[Step], Inversion]:
    seen: list[Step] = []
    edited = optimize_text(two, TEXT, Stand(), callback=seen.append, **{"steps": 15, "l2": 1e-4, **options})
    return seen, edited


@pytest.mark.parametrize("space", ["w", "styles"])
def test_every_image_comes_nearer_to_the_text_and_offsets_stay(two: Inversion, space: str) -> None:
    seen, edited = run(two, space=space)
    assert [step.step for step in seen] == list(range(15))
    torch.testing.assert_close(seen[0].distances, distances(two.tensor), atol=1e-5, rtol=0)
    assert seen[-1].loss < seen[0].loss == pytest.approx(float(distances(two.tensor).mean()), abs=1e-5)
    assert (distances(edited.tensor) < distances(two.tensor) - 0.1).all()
    assert edited.offset_codes is two.offset_codes
    assert edited.unedited is two
    assert not edited.stored_metrics
    if space == "w":
        assert not edited.style_offsets
        assert (edited.w != two.w).any(-1).all()
        assert (edited.w - edited.w[:, :1]).abs().amax((0, 2))[1:].min() > 1e-3  # rows move by themselves
    else:
        assert torch.equal(edited.w, two.w)
        assert list(edited.style_offsets) == [s.name for s in two.model.generator.layers if not s.torgb]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("space", ["w", "styles"])
def test_it_is_the_same_where_no_gradients_are_recorded(two: Inversion, space: str, mode: type[torch.no_grad]) -> None:
    options = {"steps": 2, "space": space, "identity": 0.3, "similarity": mean_color}
    with mode():
        _, edited = run(two.edit("age", 1), **options)
    _, expected = run(two.edit("age", 1), **options)
    assert torch.equal(edited.tensor, expected.tensor)
    _, further = run(edited, **options)  # outside
    assert further.tensor.isfinite().all()


def test_the_rule_is_adam_on_the_loss_of_the_paper(exact: Inversion) -> None:
    steps, l2, identity = 30, 0.05, 0.3
    options = {"l2": l2, "identity": identity, "similarity": mean_color}
    edited = optimize_text(exact, TEXT, Stand(), steps=steps, lr=0.2, **options)  # type: ignore[arg-type]
    generator, offsets = exact.model.generator, exact.offsets
    first = mean_color(generator(exact.w, offsets))
    w = exact.w.clone().requires_grad_()
    adam = torch.optim.Adam([w])
    for step in range(steps):
        t = step / steps
        fall = min(1.0, (1 - math.cos(math.pi * min(1.0, (1 - t) / 0.25))) / 2)
        adam.param_groups[0]["lr"] = 0.2 * fall * min(1.0, t / 0.05)
        image = generator(w, offsets)
        loss = distances(image).sum() + l2 * (w - exact.w).square().sum()
        loss = loss + identity * (1 - (mean_color(image) * first).sum(1)).sum()
        adam.zero_grad()
        torch.autograd.backward(loss, inputs=[w])
        adam.step()
    assert (w - exact.w).abs().max() > 0.05
    torch.testing.assert_close(edited.w, w.detach(), atol=1e-6, rtol=0)


@pytest.mark.reference
@pytest.mark.parametrize(("steps", "name"), [(300, "opt_lr"), (40, "opt_lr40")])
def test_the_learning_rate_is_the_published_one(reference_dir: Path, steps: int, name: str) -> None:
    with np.load(reference_dir / "editing" / "golden" / "styleclip_other.npz") as file:
        assert [ramped(step, steps, 0.1) for step in range(steps)] == pytest.approx(file[name].tolist(), abs=4e-6)


@pytest.mark.parametrize("space", ["w", "styles"])
def test_a_batch_equals_its_images_one_by_one(exact: Inversion, space: str) -> None:
    _, both = run(exact, space=space, steps=8)
    for i in range(2):
        _, alone = run(exact[i], space=space, steps=8)
        torch.testing.assert_close(both[i].w, alone.w, atol=1e-6, rtol=0)
        torch.testing.assert_close(both[i].tensor, alone.tensor, atol=1e-5, rtol=0)


def test_a_larger_weight_keeps_codes_nearer_to_the_start(two: Inversion) -> None:
    far, near = ((run(two, l2=l2)[1].w - two.w).square().sum((1, 2)) for l2 in (0.0, 1.0))
    assert (near < 0.5 * far).all()


def test_an_identity_term_keeps_what_its_network_sees(two: Inversion) -> None:
    def alike(inversion: Inversion) -> Tensor:
        return (mean_color(inversion.tensor) * mean_color(two.tensor)).sum(1)

    _, free = run(two)
    _, held = run(two, identity=5.0, similarity=mean_color)
    assert (alike(held) > alike(free)).all()


def test_the_identity_of_the_perceptual_network_is_used_and_the_evaluator_is_not(two: Inversion) -> None:
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    network = AttributeNetwork(AttributeNetworkConfig(("age",), trunk, 32, 8)).eval().requires_grad_(False)
    judged = dataclasses.replace(two, model=two.model.with_parts(evaluator=network))
    with pytest.raises(MethodError, match="its evaluator only measures"):
        run(judged, identity=0.1)
    able = dataclasses.replace(two, model=two.model.with_parts(perceptual=network))
    seen, _ = run(able, identity=0.1, steps=6)
    torch.testing.assert_close(seen[0].losses, seen[0].distances, atol=1e-5, rtol=0)
    assert (seen[5].losses > seen[5].distances).all()


@pytest.mark.parametrize("space", ["w", "styles"])
def test_it_starts_from_what_was_edited_and_further_edits_add_up(two: Inversion, space: str) -> None:
    start = run(two, space="styles", steps=4)[1].edit("age", 1)
    seen, edited = run(start, space=space, steps=4)
    torch.testing.assert_close(seen[0].image, start.tensor, atol=2e-5, rtol=0)
    assert edited.unedited is two
    after = edited.edit("smile", 2)
    torch.testing.assert_close(after.w - edited.w, start.edit("smile", 2).w - start.w, atol=1e-5, rtol=0)
    assert all(torch.equal(after.style_offsets[name], change) for name, change in edited.style_offsets.items())


def test_residuals_tuned_parameters_and_noise_of_a_method_stay(two: Inversion) -> None:
    generator = two.model.generator
    names = generator.parameters_of("b16.conv1")
    conv, strength = (next(n for n in names if n.endswith(end)) for end in ("conv.weight", "noise.weight"))
    weight = dict(generator.named_parameters())[conv]
    tuned = ({conv: 1.5 * weight, strength: torch.ones(1)}, {conv: 0.5 * weight, strength: torch.ones(1)})
    residual = torch.randn(2, *generator.weight("b8.conv1").shape)
    noise = tuple(torch.randn(2, *m.shape[1:]) for m in generator.noises.buffers())
    changes = GeneratorOverrides(OffsetCodes.of_dense({"b8.conv1": residual}), tuned, noise)
    changed = dataclasses.replace(two, overrides=changes)
    seen, edited = run(changed)
    torch.testing.assert_close(seen[0].image, changed.tensor, atol=1e-4, rtol=0)
    assert not torch.allclose(seen[0].image, two.tensor, atol=1e-2)
    assert edited.overrides is changes
    assert (distances(edited.tensor) < distances(changed.tensor) - 0.05).all()


@pytest.mark.parametrize("space", ["w", "styles"])
def test_the_result_survives_the_disk(
    two: Inversion, tiny_inverter: HyperStyleInverter, tmp_path: Path, space: str
) -> None:
    _, edited = run(two, space=space, steps=4)
    edited.save(tmp_path / "bearded.safetensors")
    loaded = Inversion.load(tmp_path / "bearded.safetensors", tiny_inverter)
    assert torch.equal(loaded.tensor, edited.tensor)
    assert loaded.unedited is not None
    assert torch.equal(loaded.unedited.tensor, two.tensor)


def test_the_result_goes_back_into_its_photo(tiny_inverter: HyperStyleInverter, portrait: Portrait) -> None:
    photo, points = portrait(3, (160, 200))
    inversion = tiny_inverter.invert(photo, landmarks=points)
    pasted = run(inversion)[1].paste_back()
    assert pasted.size == photo.size
    assert np.abs(np.asarray(pasted, dtype=float) - np.asarray(photo, dtype=float)).max() > 10


def test_it_can_be_limited_to_layers(two: Inversion) -> None:
    names = ["b8.conv0", "b8.torgb"]
    rows = [two.model.generator.layer(name).row for name in names]
    moved = (run(two, layers=names)[1].w != two.w).any(-1).all(0)
    assert moved.nonzero().flatten().tolist() == rows
    assert list(run(two, layers=names, space="styles")[1].style_offsets) == names
    with pytest.raises(ConfigError, match=r"no layer 'b8\.conv7'"):
        run(two, layers=["b8.conv7"])
    with pytest.raises(ConfigError, match="one or more"):
        run(two, layers=[])


def test_an_image_that_is_near_enough_stays_while_the_other_goes_on(exact: Inversion) -> None:
    seen, plain = run(exact)
    near, far = sorted(range(2), key=lambda i: float(seen[6].distances[i]))
    threshold = float(seen[6].distances[near]) + 1e-4
    assert seen[6].distances[far] > threshold
    watched, edited = run(exact, threshold=threshold)
    alone_seen, alone = run(exact[near], threshold=threshold)
    assert len(alone_seen) == 7
    assert torch.equal(watched[7].distances[near], watched[6].distances[near])
    torch.testing.assert_close(edited[near].w, alone.w, atol=1e-6, rtol=0)
    assert not torch.allclose(edited[near].w, plain[near].w, atol=1e-3)
    stopped, same = run(exact, threshold=2.0)
    assert len(stopped) == 1
    assert torch.equal(same.w, exact.w)


def test_no_steps_change_nothing(two: Inversion) -> None:
    seen, edited = run(two, steps=0)
    assert not seen
    assert torch.equal(edited.tensor, two.tensor)


def test_small_steps_add_up_in_half_precision(tiny_model_dir: Path) -> None:
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu", dtype=torch.bfloat16)
    start = inverter.invert(torch.zeros(3, 32, 32), align=False)
    _, edited = run(start, lr=0.02, steps=20)
    assert edited.w.dtype == torch.bfloat16
    assert (edited.w - start.w).abs().float().max() > 0.1
    assert distances(edited.tensor) < distances(start.tensor)


class _Deaf(Stand):
    def encode_image(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return super().encode_image(images)


class _Mad(Stand):
    def encode_image(self, images: Tensor) -> Tensor:
        return super().encode_image(images) * math.nan


class _Narrow(Stand):
    def encode_image(self, images: Tensor) -> Tensor:
        return super().encode_image(images)[:, :5]


@pytest.mark.parametrize(
    ("encoder", "text"),
    [
        (_Deaf(), "no gradient"),
        (_Mad(), "NaN or infinite at step 0"),
        (_Narrow(), r"\(1, 12\) of one text and \(2, 5\)"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_refused(two: Inversion, encoder: Stand, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        optimize_text(two, TEXT, encoder, steps=2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"text": " "}, "in words"),
        ({"text": 3}, "in words"),
        ({"space": "z"}, "expected 'w' or 'styles'"),
        ({"steps": -1}, r"steps=-1: expected a whole number"),
        ({"steps": 2.5}, r"steps=2\.5: expected a whole number"),
        ({"steps": True}, r"steps=True: expected a whole number"),
        ({"lr": math.inf}, "a positive lr"),
        ({"lr": 0.0}, "a positive lr"),
        ({"lr": math.nan}, "a positive lr"),
        ({"l2": -1.0}, "weights of 0 or more"),
    ],
)
def test_numbers_and_words_that_cannot_be_used_are_refused(two: Inversion, options: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        optimize_text(two, encoder=Stand(), **{"text": TEXT, **options})


def test_styles_of_a_stylegan_are_optimized_too(two: Inversion) -> None:
    config = StyleGan1Config(32, channels=(8, 8, 8, 8), latent_width=16, mapping_layers=1)
    generator = StyleGan1(config).eval().requires_grad_(False)
    model = dataclasses.replace(two.model, generator=generator, parts={})
    start = Inversion(model, generator.mapping(torch.randn(1, 16)))
    seen, edited = run(start, space="styles", lr=0.01)
    assert edited.style_offsets["b4.const"].shape == (1, 16)
    assert float(distances(edited.tensor)) < float(seen[0].distances)
