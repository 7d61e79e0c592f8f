"""The loop of ReStyle, as a refinement, and as a method of models that carry its encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, MethodError, QualityWarning
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.restyle import RestyleRefinement
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.pyramid import RestyleEncoder, RestyleEncoderConfig

TRUNK = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")


def encoder(model: Model, **options: Any) -> RestyleEncoder:
    """One that fits the model, with a mean code whose rows differ."""
    rows, size = model.generator.config.rows, model.domain.input_size
    network = RestyleEncoder(RestyleEncoderConfig(**{"rows": rows, "latent_width": 16, "input_size": size, **options}))
    network.latent_avg.normal_()
    return network.eval().requires_grad_(False)


def carrying(inverter: HyperStyleInverter, **changes: Any) -> HyperStyleInverter:
    """The parts of the model and a ReStyle encoder, some of them changed."""
    m = inverter.model
    options = {"domain": m.domain, "edits": m.edits, "steps": m.steps, "parts": {"restyle": encoder(m, trunk=TRUNK)}}
    networks = {"generator": m.generator, "encoder": m.encoder, "hypernetwork": m.hypernetwork}
    return HyperStyleInverter(**{**networks, **options, **changes})


@pytest.fixture
def inverter(tiny_inverter: HyperStyleInverter) -> HyperStyleInverter:
    return carrying(tiny_inverter)


@pytest.fixture
def crops() -> list[Tensor]:
    return list(torch.rand(2, 3, 32, 32) * 2 - 1)


def run(
    model: Model,
    crops: Sequence[Tensor],
    w: Tensor | None = None,
    steps: int | None = None,
    callback: Callable[[Step], None] | None = None,
) -> Inversion:
    """Refines codes, from the mean code of the encoder if it gets none."""
    assert model.restyle is not None
    start = model.restyle.latent_avg.expand(len(crops), -1, -1) if w is None else w
    return RestyleRefinement()(torch.stack(list(crops)), Inversion(model, start), steps=steps, callback=callback)


def test_codes_are_the_mean_and_what_each_step_predicts(inverter: HyperStyleInverter, crops: list[Tensor]) -> None:
    model, crop = inverter.model, torch.stack(crops)
    assert model.restyle is not None
    codes = model.restyle.latent_avg.expand(2, -1, -1)
    for _ in range(3):
        codes = codes + model.restyle(crop, model.domain.as_network_input(model.generator(codes)))
    inversion = run(model, crops, steps=3)
    torch.testing.assert_close(inversion.w, codes, atol=2e-5, rtol=0)
    torch.testing.assert_close(inversion.tensor, model.generator(codes), atol=2e-5, rtol=0)
    assert not torch.allclose(codes[0], codes[1], atol=1e-4)


def test_the_callback_sees_the_average_image_and_every_step(inverter: HyperStyleInverter, crops: list[Tensor]) -> None:
    seen: list[Step] = []
    inversion = run(inverter.model, crops, steps=2, callback=seen.append)
    assert [(s.step, s.steps) for s in seen] == [(0, 2), (1, 2), (2, 2)]
    assert inverter.model.restyle is not None
    average = inverter.model.generator(inverter.model.restyle.latent_avg[None]).expand(2, -1, -1, -1)
    torch.testing.assert_close(seen[0].image, average, atol=2e-5, rtol=0)
    assert seen[-1].w is inversion.w
    assert torch.equal(seen[-1].image, inversion.tensor)


def test_five_steps_are_the_default(inverter: HyperStyleInverter, crops: list[Tensor]) -> None:
    default = run(inverter.model, crops).w
    assert torch.equal(default, run(inverter.model, crops, steps=5).w)
    assert not torch.allclose(default, run(inverter.model, crops, steps=4).w, atol=1e-4)


def test_two_and_three_steps_are_five_steps_exactly(inverter: HyperStyleInverter, crops: list[Tensor]) -> None:
    two = run(inverter.model, crops, steps=2).w
    assert torch.equal(run(inverter.model, crops, two, steps=3).w, run(inverter.model, crops, steps=5).w)


def test_content_rows_are_what_the_encoder_sees(inverter: HyperStyleInverter) -> None:
    plates = replace(inverter.model, domain=Domain("plates", 32, (16, 32), (8, 24)))
    flat = encoder(plates, trunk=TRUNK)
    crop = torch.rand(1, 3, 16, 32) * 2 - 1
    w = run(plates.with_parts(restyle=flat), list(crop), steps=1).w
    expected = flat.latent_avg + flat(crop, plates.generator(flat.latent_avg[None])[:, :, 8:24])
    torch.testing.assert_close(w, expected, atol=2e-5, rtol=0)


# ---- as a method ----


def test_a_model_with_its_encoder_inverts_by_it(inverter: HyperStyleInverter, crops: list[Tensor]) -> None:
    assert inverter.methods[:3] == ("hyperstyle", "w-encoder", "restyle-e4e")
    inversion = inverter.invert(crops, method="restyle-e4e", align=False)
    assert inversion.method == "restyle-e4e"
    assert inversion.offset_codes is None
    assert inversion.crop is not None  # the crops, through bytes
    assert inverter.model.restyle is not None
    w = run(inverter.model, inversion.crop.unbind(0)).w
    torch.testing.assert_close(inversion.w, w, atol=2e-5, rtol=0)  # the crops lie otherwise in memory
    assert not torch.allclose(inversion.w[:, 0], inversion.w[:, 1], atol=1e-4)
    assert inversion.stored_metrics == inversion.metrics()
    assert torch.equal(inversion.tensor, replace(inversion).tensor)
    assert torch.equal(inversion.edit("age", 0.0).w, inversion.w)


def test_its_steps_intermediates_and_start_can_be_chosen(inverter: HyperStyleInverter, crops: list[Tensor]) -> None:
    def invert(**options: Any) -> Inversion:
        return inverter.invert(crops, method="restyle-e4e", align=False, **options)

    assert inverter.model.restyle is not None
    mean = inverter.model.restyle.latent_avg
    assert torch.equal(invert(steps=0).w, mean.expand(2, -1, -1))
    seen: list[int] = []
    two = invert(steps=2, intermediates=True, callback=lambda step: seen.append(step.step))
    assert seen == [0, 1, 2]
    assert len(two.intermediates) == 3
    assert torch.equal(two.intermediates[-1], two.tensor)
    assert torch.equal(two.refine(3).w, invert().w)
    assert torch.equal(invert(steps=0, start=lambda x: mean.expand(len(x), -1, -1) + 1).w, mean.expand(2, -1, -1) + 1)


def test_a_model_without_other_encoders_uses_it_by_default(
    inverter: HyperStyleInverter, tiny_inverter: HyperStyleInverter, crops: list[Tensor]
) -> None:
    alone = carrying(tiny_inverter, encoder=None, hypernetwork=None)
    always = ("restyle-e4e", "optimize-w", "optimize-w+", "pti")
    assert alone.methods == (*always, "restyle-e4e+offsets", "restyle-e4e+features")
    assert alone.invert(crops, align=False).method == "restyle-e4e"
    assert inverter.invert(crops, align=False).method == "hyperstyle"
    with pytest.raises(MethodError, match=r"no encoder to start from.*hyperstyle convert FILE --encoder W_ENCODER"):
        alone.invert(crops, method="w-encoder", align=False)


def test_the_name_says_which_kind_of_encoder_it_is(tiny_inverter: HyperStyleInverter, crops: list[Tensor]) -> None:
    independent = carrying(
        tiny_inverter, parts={"restyle": encoder(tiny_inverter.model, trunk=TRUNK, progressive=False)}
    )
    assert "restyle-psp" in independent.methods
    assert "restyle-e4e" not in independent.methods
    assert independent.invert(crops, method="restyle-psp", align=False, steps=1).method == "restyle-psp"
    for model, name in ((independent, "restyle-e4e"), (tiny_inverter, "restyle-e4e"), (tiny_inverter, "restyle-psp")):
        message = f"'{name}' needs a ReStyle encoder of that kind.*Available: .*hyperstyle.*--encoder RESTYLE"
        with pytest.raises(MethodError, match=message):
            model.invert(crops, method=name, align=False)


def test_what_it_cannot_refine_is_refused(inverter: HyperStyleInverter, crops: list[Tensor]) -> None:
    inversion = inverter.invert(crops, align=False, steps=1)
    assert inversion.crop is not None
    with pytest.raises(MethodError, match=r"start from Inversion\.initial"):
        RestyleRefinement()(inversion.crop, inversion)
    assert RestyleRefinement()(inversion.crop, inversion.initial, steps=1).method == "restyle-e4e"
    with pytest.raises(ConfigError, match="steps=-1"):
        RestyleRefinement()(inversion.crop, inversion.initial, steps=-1)
    bare = replace(inversion.initial, model=inversion.model.with_parts(restyle=None))
    with pytest.raises(MethodError, match="no ReStyle encoder"):
        RestyleRefinement()(inversion.crop, bare)


# ---- on disk ----


def test_a_model_folder_carries_it(inverter: HyperStyleInverter, crops: list[Tensor], tmp_path: Path) -> None:
    inverter.save_pretrained(tmp_path)
    assert (tmp_path / "restyle" / "config.json").is_file()
    loaded = HyperStyleInverter.from_pretrained(tmp_path, device="cpu")
    assert loaded.model.restyle is not None
    assert inverter.model.restyle is not None
    assert loaded.model.restyle.config == inverter.model.restyle.config
    inversion, expected = (x.invert(crops, method="restyle-e4e", align=False, steps=2) for x in (loaded, inverter))
    assert torch.equal(inversion.w, expected.w)
    inversion.save(tmp_path / "me.safetensors")
    reloaded = Inversion.load(tmp_path / "me.safetensors", loaded)
    assert torch.equal(reloaded.w, inversion.w)
    assert reloaded.method == "restyle-e4e"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 6}, r"ReStyle encoder for \[6, 16\] codes, generator with \[8, 16\]"),
        ({"latent_width": 8}, r"ReStyle encoder for \[8, 8\] codes"),
        ({"input_size": (16, 32)}, r"ReStyle encoder for \(16, 32\) px, domain \(32, 32\)"),
    ],
)
def test_one_of_another_generator_is_refused(
    tiny_inverter: HyperStyleInverter, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        carrying(tiny_inverter, parts={"restyle": encoder(tiny_inverter.model, trunk=TRUNK, **change)})


def test_twice_as_many_steps_as_trained_are_warned_of_further_ones_included(
    inverter: HyperStyleInverter, crops: list[Tensor]
) -> None:
    nine = inverter.invert(crops[0], method="restyle-e4e", steps=9, align=False)
    with pytest.warns(
        QualityWarning, match=r"10 steps of 'restyle-e4e'.* trained with 5.*restyle-e4e\+offsets"
    ) as caught:
        nine.refine(1)
    assert caught[0].filename == __file__
    with pytest.warns(QualityWarning, match="10 steps"):
        inverter.invert(crops[0], method="restyle-e4e", steps=10, align=False)
