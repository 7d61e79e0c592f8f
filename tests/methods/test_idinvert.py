"""Domain-guided optimization, and inversions in the StyleGAN that it was published with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.errors import ConfigError, ImageError, InversionError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import without_metrics
from hyperstyle.inversion.optimize import Step
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.idinvert import DomainGuided, DomainGuidedRefinement
from hyperstyle.model.folder import check_parts, write_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder, IdInvertEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.perception.vgg import Vgg16, Vgg16Config
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

Run = Callable[..., Tensor]
QUICK = DomainGuidedRefinement(DomainGuided(steps=2))


@pytest.fixture
def model() -> Model:
    """Of 16 px with six rows of 12, all of whose tensors matter, and an edit of all rows."""
    encoder = IdInvertEncoderConfig(rows=6, latent_width=12, input_size=(16, 16), widths=(4, 8))
    parts = (
        StyleGan1(StyleGan1Config(16, channels=(8, 6, 4), latent_width=12, mapping_layers=2)),
        IdInvertEncoder(encoder),
        Vgg16(Vgg16Config(widths=(4, 8), convs=(1, 1))),
    )
    for part in parts:
        for parameter in part.eval().requires_grad_(False).parameters():
            parameter += torch.randn_like(parameter) * 0.1
    generator, encoder, vgg = parts
    domain = Domain("faces", 16, (16, 16), None, "face")
    edits = {"age": DirectionEdit(torch.randn(12), EditInfo("age", -3.0, 3.0))}
    return Model(generator, domain, {"idinvert": encoder, "vgg16": vgg}, edits=edits)


@pytest.fixture
def crops() -> Tensor:
    return torch.rand(2, 3, 16, 16) * 2 - 1


@pytest.fixture
def run(model: Model) -> Run:
    """The codes that the optimization finds with the networks of the model."""

    def optimize(crops: Tensor, settings: DomainGuided, callback: Callable[[Step], None] | None = None) -> Tensor:
        start = Inversion(model, model.idinvert(crops))
        with without_metrics():
            return DomainGuidedRefinement(settings)(crops, start, callback=callback).w

    return optimize


@pytest.fixture
def exact(model: Model, crops: Tensor) -> Tensor:
    """The crops, and the networks of the model, in float64: Adam makes steps of the rounding of small gradients."""
    for part in model.networks.values():
        part.double()
    return crops.double()


@pytest.fixture
def inverter(model: Model, tmp_path: Path) -> HyperStyleInverter:
    """The model, written and read again."""
    write_model(model, tmp_path / "idinvert")
    return HyperStyleInverter.from_pretrained(tmp_path / "idinvert", device="cpu")


def inverted(inverter: HyperStyleInverter, crops: Tensor | Image.Image, **options: object) -> Inversion:
    images = list(crops) if isinstance(crops, Tensor) else crops
    options = {"method": QUICK, "start": inverter.model.idinvert, "align": False, **options}
    return inverter.invert(images, **options)


# ---- the optimization ----


def test_it_follows_adam_on_the_published_loss(model: Model, exact: Tensor, run: Run) -> None:
    w = model.idinvert(exact).requires_grad_()
    optimizer = torch.optim.Adam([w], lr=0.01)
    target_features = model.vgg16(exact)
    for _ in range(3):
        image = model.generator(w)
        pixel = (exact - image).square().mean((1, 2, 3))
        feature = (target_features - model.vgg16(image)).square().mean((1, 2, 3))
        code = (w - model.idinvert(image)).square().mean((1, 2))
        optimizer.zero_grad()
        (pixel + 5e-5 * feature + 2 * code).sum().backward()
        optimizer.step()
    torch.testing.assert_close(run(exact, DomainGuided(steps=3)), w.detach())


def test_it_is_the_same_where_no_gradients_are_recorded(inverter: HyperStyleInverter, crops: Tensor) -> None:
    expected = inverted(inverter, crops)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            inversion = inverted(inverter, crops)
        assert torch.equal(inversion.tensor, expected.tensor)
        assert torch.equal(inversion.refine(1).tensor, expected.refine(1).tensor)


def test_the_callback_sees_the_three_parts_of_a_loss_that_falls(crops: Tensor, run: Run) -> None:
    seen: list[Step] = []
    run(crops, DomainGuided(steps=15), callback=seen.append)
    assert [(step.step, step.steps) for step in seen] == [(i, 15) for i in range(15)]
    for step in seen:
        torch.testing.assert_close(step.losses, step.pixel + 5e-5 * step.feature + 2.0 * step.code)
        assert step.loss == pytest.approx(step.losses.mean().item())
        assert step.image.shape == crops.shape
    assert (seen[-1].losses < 0.9 * seen[0].losses).all()
    assert not torch.equal(seen[0].w, seen[1].w)


def test_images_of_a_batch_are_optimized_as_each_would_be_alone(exact: Tensor, run: Run) -> None:
    together = run(exact, DomainGuided(steps=3))
    alone = torch.cat([run(crop[None], DomainGuided(steps=3)) for crop in exact])
    torch.testing.assert_close(together, alone, atol=1e-7, rtol=0)


def test_a_heavy_code_term_keeps_codes_where_the_encoder_puts_their_images(
    model: Model, crops: Tensor, run: Run
) -> None:
    def distance(weight: float) -> float:
        w = run(crops, DomainGuided(steps=40, code_weight=weight))
        return (w - model.idinvert(model.generator(w))).square().mean().item()

    assert distance(100.0) < 0.5 * distance(0.0)


def test_without_steps_the_codes_stay_and_no_network_changes(model: Model, crops: Tensor, run: Run) -> None:
    before = {name: tensor.clone() for name, tensor in model.generator.state_dict().items()}
    assert torch.equal(run(crops, DomainGuided(steps=0)), model.idinvert(crops))
    run(crops, DomainGuided(steps=2))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.generator.state_dict().items())
    assert model.idinvert.norm.num_batches_tracked == 0


def test_wrong_numbers_are_refused(model: Model, crops: Tensor) -> None:
    with pytest.raises(ConfigError, match="steps=-1"):
        DomainGuided(steps=-1)
    with pytest.raises(ConfigError, match="lr=0"):
        DomainGuided(lr=0)
    with pytest.raises(ConfigError, match=r"2 crop\(s\) for 1 image\(s\)"):
        QUICK(crops, Inversion(model, model.idinvert(crops[:1])))


# ---- as a method ----


def test_an_inversion_has_rows_of_its_own_and_its_images_come_from_the_stylegan(
    inverter: HyperStyleInverter, crops: Tensor
) -> None:
    inversion = inverted(inverter, crops)
    assert isinstance(inverter.model.generator, StyleGan1)
    assert inversion.w.shape == (2, 6, 12)
    assert not torch.allclose(inversion.w[:, 0], inversion.w[:, 1], atol=1e-3)
    torch.testing.assert_close(inversion.tensor, inverter.model.generator(inversion.w))
    further = inversion.refine(1)
    assert not torch.equal(further.w, inversion.w)
    start = inverted(inverter, crops, steps=0)
    assert torch.equal(start.w, inverter.model.idinvert(start.crop))
    assert inversion.stored_metrics["l2"][0] != start.stored_metrics["l2"][0]


def test_it_is_the_method_of_a_model_that_has_its_parts(inverter: HyperStyleInverter, crops: Tensor) -> None:
    named, by_hand = inverter.invert(list(crops), align=False, steps=2), inverted(inverter, crops)
    assert named.method == "idinvert"
    assert torch.equal(named.w, by_hand.w)


def test_edits_move_every_row(inverter: HyperStyleInverter, crops: Tensor) -> None:
    inversion = inverted(inverter, crops)
    edited = inversion.edit("age", 2.0)
    direction = inverter.edits["age"].direction
    torch.testing.assert_close(edited.w, inversion.w + 2 * direction)
    assert not torch.allclose(edited.tensor, inversion.tensor, atol=1e-4)
    some = inversion.edit("age", 2.0, layers=["b8.conv0"])
    moved = (some.w - inversion.w).abs().sum((0, 2)) > 0
    assert moved.tolist() == [False, False, True, False, False, False]


def test_inversions_are_interpolated_and_mixed_by_layers(inverter: HyperStyleInverter, crops: Tensor) -> None:
    a, b = inverted(inverter, crops)
    between = a.interpolate(b, 3)
    torch.testing.assert_close(between.w[1:2], (a.w + b.w) / 2)
    torch.testing.assert_close(between.tensor[2:], b.tensor, atol=1e-5, rtol=0)
    mixed = a.mix(b, ["b4.const", "b16.conv1"])
    assert torch.equal(mixed.w[:, [0, 5]], b.w[:, [0, 5]])
    assert torch.equal(mixed.w[:, 1:5], a.w[:, 1:5])


def test_style_offsets_on_one_side_fade_to_nothing(inverter: HyperStyleInverter, crops: Tensor) -> None:
    a, b = inverted(inverter, crops)
    changed = replace(a, style_offsets={"b8.conv0": torch.ones(1, 12)})
    assert not torch.allclose(changed.tensor, a.tensor, atol=1e-4)
    between = changed.interpolate(b, 3)
    torch.testing.assert_close(between.style_offsets["b8.conv0"][:, 0], torch.tensor([1.0, 0.5, 0.0]))
    torch.testing.assert_close(between.tensor[2:], b.tensor, atol=1e-5, rtol=0)


def test_saved_ones_are_the_same_when_loaded(inverter: HyperStyleInverter, crops: Tensor, tmp_path: Path) -> None:
    inversion = inverted(inverter, crops).edit("age", 1.0)
    inversion.save(tmp_path / "two.safetensors")
    loaded = Inversion.load(tmp_path / "two.safetensors", inverter)
    assert torch.equal(loaded.w, inversion.w)
    assert torch.equal(loaded.tensor, inversion.tensor)
    assert loaded.method == inversion.method


def test_a_face_is_put_back_into_its_photo(inverter: HyperStyleInverter) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    eyes_and_mouth = np.array([[30.0, 25], [50, 25], [40, 35], [33, 45], [47, 45]])
    inversion = inverted(inverter, photo, landmarks=eyes_and_mouth, align=True)
    assert inversion.edit("age", 0.0).paste_back().tobytes() == photo.tobytes()
    assert inversion.edit("age", 3.0).paste_back().tobytes() != photo.tobytes()


def test_what_it_lacks_or_cannot_refine_is_said(inverter: HyperStyleInverter, crops: Tensor) -> None:
    inversion = inverted(inverter, crops, steps=0)
    for part, words in (("idinvert", "no encoder of IDInvert"), ("vgg16", "no VGG16")):
        bare = replace(inversion, model=inverter.model.with_parts(**{part: None}))
        with pytest.raises(MethodError, match=rf"{words}.*--encoder ENCODER\.pth --vgg VGG16\.pth"):
            QUICK(crops, bare)
    refinement = DomainGuidedRefinement(DomainGuided(steps=1), features=torch.nn.Identity())
    assert refinement(crops, replace(inversion, model=inverter.model.with_parts(vgg16=None))).w.shape == (2, 6, 12)
    with pytest.raises(MethodError, match=r"start from Inversion\.initial"):
        QUICK(crops, replace(inversion, style_offsets={"b8.conv0": torch.ones(2, 12)}))
    with pytest.raises(ImageError, match="not finite"):
        QUICK(crops.where(crops < 0.9, torch.nan), inversion)


def test_methods_for_a_stylegan2_are_refused_with_the_reason(inverter: HyperStyleInverter, crops: Tensor) -> None:
    lost = inverter.describe()["missing_methods"]
    for name in ("optimize-w", "optimize-w+", "pti", "offsets"):
        assert "StyleGAN of the first version" in lost[name]
        with pytest.raises(MethodError, match=f"method '{name.replace('+', '.')}' cannot be used: {lost[name]}"):
            inverter.invert(list(crops), method=name, align=False)


def test_a_stylegan_is_not_written_as_a_stylegan2(inverter: HyperStyleInverter, crops: Tensor, tmp_path: Path) -> None:
    inversion = inverted(inverter, crops[:1])
    with pytest.raises(ConfigError, match="cannot be written as a StyleGAN2"):
        inversion.export(tmp_path / "generator.pt")
    assert not list(tmp_path.glob("generator*"))


def test_networks_of_stylegan2s_do_not_fit(model: Model) -> None:
    numbers = {"size": 16, "channels": (8, 6, 4), "latent_width": 12, "mapping_layers": 2}
    config = GeneratorConfig(**numbers)
    with pytest.raises(ConfigError, match="hypernetwork for a generator"):
        check_parts(model.with_parts(hypernetwork=Hypernetwork(HypernetworkConfig(config, (2,), (16, 16)))))
    narrow = IdInvertEncoderConfig(rows=4, latent_width=12, input_size=(16, 16), widths=(4, 8))
    with pytest.raises(ConfigError, match=r"IDInvert encoder for \[4, 12\] codes"):
        check_parts(model.with_parts(idinvert=IdInvertEncoder(narrow)))
    with pytest.raises(ConfigError, match="IDInvert encoder with a StyleGAN2"):
        check_parts(replace(model, generator=Generator(config)))
    inversion = Inversion(model, torch.randn(1, 6, 12))
    with pytest.raises(InversionError, match="offsets need the same layers"):
        inversion.transfer(Generator(config))
