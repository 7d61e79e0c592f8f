"""Names and chains of methods: what they begin with, how steps and seeds reach their parts, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, MethodError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods import registry
from hyperstyle.methods.base import Method, Remedy, StartingPoint
from hyperstyle.methods.idinvert import DomainGuidedRefinement
from hyperstyle.methods.names import NAMES
from hyperstyle.methods.offsets import OffsetTuner
from hyperstyle.methods.projector import PIVOT, W_PLUS, Projection, Projector, code_statistics
from hyperstyle.methods.pti import PivotalTuner, PivotalTuning
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder, IdInvertEncoderConfig
from hyperstyle.networks.perception.vgg import Vgg16, Vgg16Config
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config


def lacking(able: HyperStyleInverter, **parts: Any) -> HyperStyleInverter:
    """The same model with some parts changed."""
    reduced = HyperStyleInverter.__new__(HyperStyleInverter)
    reduced._model = able.model.with_parts(**parts)
    reduced.aligner = able.aligner
    return reduced


def parts_of(able: HyperStyleInverter, method: registry.MethodLike | None, start: str | None = None) -> list[str]:
    return [name for name, _, _ in registry.resolve_method(able.model, method, start).parts]


def test_the_names_that_need_no_torch_are_those_of_the_methods() -> None:
    assert tuple(registry.METHODS) == NAMES


@pytest.mark.parametrize(
    ("method", "begins", "parts"),
    [
        (None, "w-encoder", ["hyperstyle"]),
        ("w-encoder", "w-encoder", []),
        ("e4e", "e4e", []),
        ("restyle-e4e", "mean", ["restyle-e4e"]),
        ("optimize-w", "mean", ["optimize-w"]),
        ("optimize-w+", "mean", ["optimize-w+"]),
        ("optimize-w+pti", "mean", ["optimize-w", "pti"]),
        ("optimize-w++pti", "mean", ["optimize-w+", "pti"]),
        ("pti", "mean", ["optimize-w", "pti"]),
        ("offsets", "w-encoder", ["offsets"]),
        ("offset-codes", "w-encoder", ["hyperstyle", "offset-codes"]),
        ("e4e+offset-codes", "e4e", ["offset-codes"]),
        ("e4e+hyperstyle+pti", "e4e", ["hyperstyle", "pti"]),
        ("restyle-e4e+hyperstyle", "mean", ["restyle-e4e", "hyperstyle"]),
        (["psp", OffsetTuner()], "psp", ["OffsetTuner"]),
    ],
)
def test_a_name_stands_for_a_start_and_refinements(
    able: HyperStyleInverter, method: Any, begins: str, parts: list[str]
) -> None:
    way = registry.resolve_method(able.model, method)
    assert way.start_name == begins
    assert [name for name, _, _ in way.parts] == parts


def test_optimizing_methods_have_the_published_numbers(able: HyperStyleInverter) -> None:
    chains = {name: registry.resolve_method(able.model, name).parts for name in ("optimize-w", "optimize-w+", "pti")}
    assert chains["optimize-w"][0][1] == Projector(Projection())
    assert chains["optimize-w+"][0][1] == Projector(W_PLUS)
    assert [part[1] for part in chains["pti"]] == [Projector(PIVOT, keep_noise=False), PivotalTuner()]
    assert (PIVOT.steps, PIVOT.lr, PIVOT.samples, PIVOT.space) == (450, 0.01, 600, "w")
    assert (PivotalTuning().steps, PivotalTuning().lr) == (350, 3e-4)


def test_a_search_without_an_encoder_begins_at_the_mean_of_the_samples(
    able: HyperStyleInverter, crops: list[Tensor]
) -> None:
    blind = lacking(able, encoder=None, e4e=None, psp=None)
    w = blind.invert(crops, method="optimize-w", steps=0, align=False).w
    assert torch.equal(w[0, 0], code_statistics(able.model.generator, 10_000)[0])


def test_a_start_may_have_a_name(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    by_start = able.invert(crops, method="hyperstyle", start="e4e", steps=1, align=False)
    by_chain = able.invert(crops, method="e4e+hyperstyle", steps=1, align=False)
    assert torch.equal(by_start.tensor, by_chain.tensor)
    assert by_start.method == by_chain.method == "e4e+hyperstyle"
    assert parts_of(able, None, "psp") == ["hyperstyle"]
    assert parts_of(able, "pti", "e4e") == ["pti"], "no pivot is searched where a start is given"
    assert by_chain.refine(1).method == "e4e+hyperstyle", "more of the same"
    plain = lacking(able, hypernetwork=None, hyperinverter=None)
    assert plain.invert(crops, start="psp", align=False).method == "psp"


def test_steps_are_those_of_the_last_part_or_of_parts_by_name(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    def steps(value: registry.Steps | None) -> list[int | None]:
        return [number for _, _, number in registry.resolve_method(able.model, "hyperstyle+pti", steps=value).parts]

    assert steps(None) == [None, None]
    assert steps(7) == [None, 7]
    assert steps({"hyperstyle": 3}) == [3, None]
    assert steps({"pti": 4, "hyperstyle": 3}) == [3, 4]
    with pytest.raises(MethodError, match=r"steps of 'tpi'.*Did you mean 'pti'"):
        steps({"tpi": 4})
    seen: list[int] = []
    able.invert(
        crops[0],
        method="hyperstyle+pti",
        steps={"hyperstyle": 1, "pti": 3},
        align=False,
        callback=lambda step: seen.append(step.steps),
    )
    assert seen == [1, 1, 3, 3, 3]


def test_a_seed_reaches_what_draws_chance(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    def w(seed: int | None) -> Tensor:
        return able.invert(crops[0], method="optimize-w", steps=3, seed=seed, align=False).w

    assert torch.equal(w(4), w(4))
    assert not torch.equal(w(4), w(5))
    assert torch.equal(w(None), w(Projection().seed))
    (_, pivot, _), (_, tuner, _) = registry.resolve_method(able.model, "pti", seed=11).parts
    assert isinstance(pivot, Projector)
    assert isinstance(tuner, PivotalTuner)
    assert (pivot.settings.seed, tuner.settings.seed) == (11, 11)


def test_the_bar_and_the_callback_see_the_current_loss(
    able: HyperStyleInverter, crops: list[Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    losses: list[float] = []
    able.invert(
        crops[0],
        method="offsets",
        steps=6,
        align=False,
        progress=True,
        callback=lambda step: losses.append(step.loss),
    )
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    assert f"5/6 loss {losses[-1]:.4f}" in capsys.readouterr().err


# ---- what a model can do ----


def test_a_model_can_do_what_its_parts_allow(able: HyperStyleInverter) -> None:
    assert set(able.methods) == set(registry.METHODS) - {"restyle-psp", "idinvert", "sfe", "sfe-inverter"}
    assert registry.by_networks(able.model) == ("hyperstyle", "hyperinverter", "w-encoder", "e4e", "psp", "restyle-e4e")
    bare = able.model.with_parts(encoder=None, hypernetwork=None, hyperinverter=None)
    always = {"optimize-w", "optimize-w+", "pti"}
    assert set(registry.available(bare)) == {"e4e", "psp", "restyle-e4e", "e4e+offsets", "e4e+features", *always}


@pytest.mark.parametrize(
    ("lacks", "before"),
    [((), "e4e"), (("e4e",), "psp"), (("e4e", "psp"), "restyle-e4e")],
)
def test_what_is_listed_without_a_w_encoder_begins_with_what_is_there(
    able: HyperStyleInverter, crops: list[Tensor], lacks: tuple[str, ...], before: str
) -> None:
    model = lacking(able, encoder=None, **dict.fromkeys(lacks))
    assert model.methods[:2] == (f"{before}+hyperstyle", f"{before}+hyperinverter")
    assert {f"{before}+offsets", f"{before}+offset-codes"} < set(model.methods)
    for method in model.methods:
        steps = {name: 1 for name, _, _ in registry.resolve_method(model.model, method).parts}
        assert model.invert(crops[0], method=method, steps=steps, align=False).method == method
    assert model.invert(crops[0], align=False).method == f"{before}+hyperstyle", "the best there is"
    assert lacking(model, hypernetwork=None).invert(crops[0], align=False).method == f"{before}+hyperinverter"
    blind = lacking(able, encoder=None, e4e=None, psp=None, restyle=None)
    assert set(blind.methods) == {"optimize-w", "optimize-w+", "pti"}
    with pytest.raises(MethodError, match="no encoder to start from"):
        blind.invert(crops[0], align=False)


@pytest.mark.parametrize(
    ("method", "parts", "message"),
    [
        ("hyperstyle", {"hypernetwork": None}, r"needs a hypernetwork.*hyperstyle convert HYPERSTYLE\.pt --encoder"),
        ("e4e+offset-codes", {"hypernetwork": None}, "'offset-codes' needs a hypernetwork"),
        (
            "hyperinverter",
            {"hyperinverter": None},
            r"needs a HyperInverter.*HYPERINVERTER\.pt .*--generator.*hyperstyle train hyperinverter",
        ),
        ("e4e", {"e4e": None}, r"needs an e4e encoder.*--encoder E4E\.pt --out FOLDER"),
        ("psp+pti", {"psp": None}, r"needs a pSp encoder.*--encoder PSP\.pt --out FOLDER"),
        ("restyle-psp", {}, r"needs a ReStyle encoder of that kind.*--encoder RESTYLE\.pt"),
        ("idinvert", {}, r"needs the encoder of IDInvert.*--vgg VGG16\.pth"),
        ("hyperstyle", {"encoder": None}, r"no encoder to start from.*W_ENCODER\.pt.*one of 'e4e', 'psp'"),
    ],
)
def test_a_method_whose_weights_are_not_there_says_how_to_get_them(
    able: HyperStyleInverter, crops: list[Tensor], method: str, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(MethodError, match=message):
        lacking(able, **parts).invert(crops, method=method, align=False)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("hyperstyle+pit", r"no method 'pit'.*Did you mean 'pti'"),
        ("hyperstyle+", r"no method 'hyperstyle\+'"),
        ("hyperstyle+e4e", "'e4e' is a start and stands behind"),
        ([OffsetTuner(), "psp"], "'psp' is a start and stands behind"),
    ],
)
def test_chains_that_cannot_be_are_refused(able: HyperStyleInverter, method: Any, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        registry.resolve_method(able.model, method)


def test_steps_of_a_start_are_refused(able: HyperStyleInverter) -> None:
    with pytest.raises(MethodError, match="'e4e' has no refinement steps; steps=2"):
        registry.resolve_method(able.model, "e4e", steps=2)


@pytest.mark.parametrize("steps", [-1, 1.5, 2.0, "3", [1], float("nan"), True, 10**30])
def test_steps_that_are_no_whole_numbers_are_refused_before_anything_is_done(
    able: HyperStyleInverter, steps: Any
) -> None:
    for method in ("hyperstyle", "restyle-e4e", "pti", "offsets", "offset-codes"):
        with pytest.raises(ConfigError, match=r"steps.*expected a whole number, 0 to 1000000"):
            registry.resolve_method(able.model, method, steps=steps)
    with pytest.raises(ConfigError, match=r"steps of 'pti'.*expected a whole number"):
        registry.resolve_method(able.model, "hyperstyle+pti", steps={"hyperstyle": 1, "pti": steps})


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "x"])
def test_a_seed_that_numpy_does_not_take_is_refused(able: HyperStyleInverter, seed: Any) -> None:
    for method in ("optimize-w", "pti", "hyperstyle"):
        with pytest.raises(ConfigError, match=r"seed=.*0 to 4294967295"):
            registry.resolve_method(able.model, method, seed=seed)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda crops: None, "start gave something of type NoneType"),
        (lambda crops: torch.zeros(1, 16), r"codes of shape \(1, 16\).*\(2, 8, 16\) or \(2, 16\)"),
        (lambda crops: torch.zeros(len(crops), 1, 16), r"codes of shape \(2, 1, 16\)"),
        (lambda crops: torch.full((len(crops), 16), float("nan")), "finite codes"),
    ],
)
def test_a_start_of_ones_own_is_checked(
    able: HyperStyleInverter, crops: list[Tensor], start: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        able.invert(crops, start=start, align=False)


def test_a_start_of_ones_own_may_work_on_the_crops_in_place(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    def start(crops: Tensor) -> Tensor:
        return torch.zeros_like(crops.mul_(0.5).mean((1, 2, 3))[:, None].expand(-1, 16))

    inversion = able.invert(crops, method="offsets", steps=0, start=start, align=False)
    expected = able.invert(crops, method="w-encoder", align=False)
    assert inversion.crop is not None
    assert expected.crop is not None
    assert torch.equal(inversion.crop, expected.crop)


@pytest.mark.parametrize("method", ["w-encoder", "e4e+hyperstyle", ["psp", "offsets"]])
def test_a_start_of_ones_own_with_the_name_of_another_is_refused(able: HyperStyleInverter, method: Any) -> None:
    with pytest.raises(
        MethodError, match=r"start=.* and '(?:w-encoder|e4e|psp)', which is a start too: give one of them"
    ):
        registry.resolve_method(able.model, method, start=lambda crops: torch.zeros(len(crops), 16))


def test_an_inversion_keeps_its_codes_whatever_becomes_of_those_of_the_start(
    able: HyperStyleInverter, crops: list[Tensor]
) -> None:
    codes = torch.ones(2, 8, 16, requires_grad=True)
    inversion = able.invert(crops, method="offsets", steps=0, start=lambda crops: codes, align=False)
    assert not inversion.w.requires_grad
    with torch.no_grad():
        codes.zero_()
    assert (inversion.w == 1).all()


def test_codes_of_a_start_may_be_of_one_row_and_of_another_type(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    codes = [
        able.invert(crops, start=lambda crops, kind=kind: torch.ones(len(crops), 16, dtype=kind), align=False).tensor
        for kind in (torch.float32, torch.float64, torch.int64)
    ]
    assert torch.equal(codes[0], codes[1])
    assert torch.equal(codes[0], codes[2])


@pytest.mark.parametrize("method", [5, OffsetTuner, [None], b"pti"])
def test_a_method_that_is_neither_a_name_nor_can_be_called_is_refused(able: HyperStyleInverter, method: Any) -> None:
    with pytest.raises(MethodError, match="expected a name, an object that can be called"):
        registry.resolve_method(able.model, [method])
    with pytest.raises(MethodError, match="expected a name, or a function"):
        registry.resolve_method(able.model, start=[method])


@pytest.mark.parametrize("result", [lambda inversion: None, lambda inversion: inversion[0]])
def test_a_method_that_returns_something_else_is_named(
    able: HyperStyleInverter, crops: list[Tensor], result: Callable[[Inversion], Any]
) -> None:
    def odd(crop: Tensor, inversion: Inversion, **_: Any) -> Any:
        return result(inversion)

    with pytest.raises(MethodError, match=r"'function' returned .*expected an Inversion of 2"):
        able.invert(crops, method=odd, align=False)


@pytest.mark.parametrize(
    ("change", "kind"), [(lambda w: w[:, 0], r"\[2, 16\], torch\.float32"), (torch.Tensor.double, "torch.float64")]
)
def test_a_method_that_returns_codes_of_another_kind_is_named(
    able: HyperStyleInverter, crops: list[Tensor], change: Callable[[Tensor], Tensor], kind: str
) -> None:
    def odd(crop: Tensor, inversion: Inversion, **_: Any) -> Inversion:
        return replace(inversion, w=change(inversion.w))

    with pytest.raises(
        MethodError, match=rf"'function' returned codes .*{kind}.*expected \[2, 8, 16\], torch\.float32"
    ):
        able.invert(crops, method=odd, align=False)


# ---- a method with a name ----


TINY = Method(
    "mean-w",
    needs={"psp": "pSp encoder"},
    start=StartingPoint("mean-w", lambda model: lambda crops: model.generator.latent_avg.expand(len(crops), -1)),
    refinement=lambda options: Darker(0.5),
    optimizes=True,
    remedy=Remedy("a pSp encoder", "hyperstyle convert FILE --encoder PSP.pt --out FOLDER"),
)


def test_a_method_is_one_value_in_the_list_of_methods(
    able: HyperStyleInverter, crops: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.METHODS, TINY.name, TINY)
    assert "mean-w" in able.methods
    inversion = able.invert(crops, method="mean-w+hyperstyle", steps=1, align=False)
    assert inversion.method == "mean-w+hyperstyle"
    assert torch.equal(inversion.w, able.model.generator.latent_avg.expand_as(inversion.w) * 0.5)
    bare = lacking(able, psp=None)
    assert bare.describe()["missing_methods"]["mean-w"] == "the model has no pSp encoder"
    with pytest.raises(MethodError, match=r"'mean-w' needs a pSp encoder.*--encoder PSP\.pt"):
        bare.invert(crops, method="e4e+mean-w", align=False)


# ---- a method of one's own ----


@dataclass(frozen=True)
class Darker:
    """Adds to the codes what makes images darker, as far as its author found."""

    amount: float

    def __call__(
        self,
        crop: Tensor,
        inversion: Inversion,
        *,
        steps: int | None = None,
        callback: Callable[..., None] | None = None,
    ) -> Inversion:
        return replace(inversion, w=inversion.w * self.amount, method="darker")


def test_an_object_is_a_method_alone_and_in_a_chain(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    plain = able.invert(crops, method="w-encoder", align=False)
    alone = able.invert(crops, method=Darker(0.5), align=False)
    assert torch.equal(alone.w, plain.w * 0.5)
    assert alone.method == "darker"
    chained = able.invert(crops, method=["hyperstyle", Darker(0.5)], align=False)
    assert torch.equal(chained.w, alone.w)
    assert chained.offset_codes is not None
    assert chained.stored_metrics["l2"] == pytest.approx(chained.metrics()["l2"]), (
        "not the figures of the part before it"
    )
    between = able.invert(crops, method=["e4e", Darker(0.5), "pti"], steps=1, align=False)
    assert between.method == "darker+pti"
    assert between.overrides.tuned
    inversion = able.invert(crops, method=["e4e", PivotalTuner(PivotalTuning(lr=1e-3))], steps=1, align=False)
    assert inversion.method == "e4e+pti"


# ---- the start that was used ----


@pytest.mark.parametrize(
    ("method", "start"),
    [
        ("hyperstyle", "w-encoder"),
        ("e4e+hyperstyle", "e4e"),
        ("psp+offsets", "psp"),
        ("e4e", "e4e"),
        ("restyle-e4e+hyperstyle", "restyle-e4e"),
        ("restyle-e4e+offsets", "restyle-e4e"),
        ("optimize-w++pti", "optimize-w+"),
        ("pti", "optimize-w"),
        ("hyperinverter+optimize-w", "hyperinverter+optimize-w"),
        (["psp", Darker(0.5), "offsets"], "darker"),
    ],
)
def test_without_its_offsets_an_inversion_is_called_what_made_its_codes(
    able: HyperStyleInverter, crops: list[Tensor], tmp_path: Path, method: Any, start: str
) -> None:
    steps = {name: 2 for name, _, _ in registry.resolve_method(able.model, method).parts}
    steps |= {"hyperinverter": 1} if "hyperinverter" in steps else {}
    two = able.invert(crops, method=method, steps=steps, align=False)
    assert two.initial.method == start
    edited = two.edit("age", 1)
    assert edited.initial.unedited is not None
    edited.save(tmp_path / "it.safetensors")
    loaded = Inversion.load(tmp_path / "it.safetensors", able)
    ways = [two[0].interpolate(two[1], 2), Inversion.cat([two[1], two[0]]), two[0].mix(two[1], [3]), edited, loaded]
    assert [way.initial.method for way in ways] == [start] * 5
    assert edited.initial.unedited.method == start
    again = two.initial.refine(1) if two.refinement is not None and method != "hyperinverter" else two
    assert again.initial.method == start


def test_a_start_of_ones_own_has_no_name(able: HyperStyleInverter, crops: list[Tensor]) -> None:
    inversion = able.invert(crops, start=lambda crops: torch.zeros(len(crops), 16), steps=1, align=False)
    assert (inversion.method, inversion.initial.method) == ("hyperstyle", "start")


# ---- the generator of IDInvert ----


def test_idinvert_is_what_its_own_model_does(crops: list[Tensor]) -> None:
    encoder = IdInvertEncoder(IdInvertEncoderConfig(rows=6, latent_width=12, input_size=(32, 32), widths=(4, 8)))
    generator = StyleGan1(StyleGan1Config(16, channels=(8, 6, 4), latent_width=12, mapping_layers=2))
    vgg = Vgg16(Vgg16Config(widths=(4, 8), convs=(1, 1)))
    for part in (generator, encoder, vgg):
        part.eval().requires_grad_(False)
    inverter = HyperStyleInverter.__new__(HyperStyleInverter)
    inverter._model = Model(generator, Domain("objects", 16, (32, 32)), {"idinvert": encoder, "vgg16": vgg})
    inverter.aligner = None
    assert inverter.methods == ("idinvert",)
    inversion = inverter.invert(crops, steps=2, align=False)
    assert inversion.method == "idinvert"
    assert inversion.refinement == DomainGuidedRefinement()
    assert inversion.initial.method == "idinvert"
    tuned = inverter.invert(
        crops, method=["idinvert", PivotalTuner(loss=l1)], steps={"idinvert": 2, "PivotalTuner": 60}, align=False
    )
    assert tuned.method == "idinvert+pti"
    assert sum(tuned.stored_metrics["l2"]) < sum(inversion.stored_metrics["l2"])


def l1(image: Tensor, target: Tensor) -> Tensor:
    return (image - target).abs().mean((1, 2, 3))
