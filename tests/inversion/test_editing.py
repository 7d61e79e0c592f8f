"""Edits of codes and of styles, limited to layers, made for this generator or another."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter, Inversion
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.errors import ConfigError, EditError, EditWarning
from hyperstyle.networks.stylegan2.generator import Generator


@dataclasses.dataclass
class RaiseChannel:
    """Adds strength to one channel of the style of a layer."""

    layer: str = "b4.conv1"
    channel: int = 3
    info: EditInfo = dataclasses.field(default_factory=lambda: EditInfo("channel", -10, 10, "raw", space="styles"))

    def __call__(self, styles: Mapping[str, Tensor], strength: Tensor) -> dict[str, Tensor]:
        changed = styles[self.layer].clone()
        changed[:, self.channel] += strength
        return {**styles, self.layer: changed}


@pytest.fixture
def two(tiny_inverter: HyperStyleInverter) -> Inversion:
    size = tiny_inverter.model.domain.input_size
    crops = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return tiny_inverter.invert(list(crops), align=False)


def test_an_edit_of_styles_moves_styles_and_no_codes(two: Inversion) -> None:
    edited = two.edit(RaiseChannel(), 2.5)
    assert torch.equal(edited.w, two.w)
    assert list(edited.style_offsets) == ["b4.conv1"]
    change = edited.style_offsets["b4.conv1"]
    assert change[:, 3].tolist() == pytest.approx([2.5, 2.5], abs=1e-5)
    assert float(change.abs().sum()) == pytest.approx(5.0, abs=1e-5)
    assert not torch.equal(edited.tensor, two.tensor)


def test_edits_of_styles_add_up_and_zero_is_no_edit(two: Inversion) -> None:
    twice = two.edit(RaiseChannel(), 1).edit("age", 1).edit(RaiseChannel(channel=1), 1).edit(RaiseChannel(), 1)
    change = twice.style_offsets["b4.conv1"][0]
    assert [round(float(change[i]), 4) for i in (1, 3)] == [1.0, 2.0]
    assert torch.equal(two.edit(RaiseChannel(), 0).tensor, two.tensor)


def test_an_edit_of_styles_survives_the_disk_with_what_was_before_it(
    two: Inversion, tiny_inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    edited = two.edit(RaiseChannel(), 2)
    edited.save(tmp_path / "edited.safetensors")
    loaded = Inversion.load(tmp_path / "edited.safetensors", tiny_inverter)
    assert torch.equal(loaded.tensor, edited.tensor)
    assert loaded.unedited is not None
    assert torch.equal(loaded.unedited.tensor, two.tensor)


def test_an_edit_can_be_limited_to_layers(two: Inversion) -> None:
    full, some = two.edit("age", 2), two.edit("age", 2, layers=["b8.conv1", "b8.torgb"])
    assert torch.equal(some.w[:, 2:4], full.w[:, 2:4])
    assert torch.equal(some.w[:, [0, 1, *range(4, some.w.shape[1])]], two.w[:, [0, 1, *range(4, some.w.shape[1])]])
    with pytest.raises(ConfigError, match="no layer 'b8\\.conv7'"):
        two.edit("age", 2, layers=["b8.conv7"])


def test_an_edit_limited_to_layers_that_it_does_not_move_changes_nothing_and_says_so(two: Inversion) -> None:
    first_row = DirectionEdit(torch.ones(two.w.shape[-1]), EditInfo("first"), (0, 1))
    for edit in (RaiseChannel(), first_row):
        with pytest.warns(EditWarning, match=r"moves other layers than b8\.conv1") as caught:
            still = two.edit(edit, 2, layers=["b8.conv1"])
        assert caught[0].filename == __file__
        assert torch.equal(still.tensor, two.tensor)
    two.edit(first_row, 0, layers=["b8.conv1"])  # strength 0 is no edit anywhere: no warning


@pytest.mark.parametrize("layers", [[], "b8.conv1"])
def test_layers_are_a_list_of_one_or_more(two: Inversion, layers: Any) -> None:
    with pytest.raises(ConfigError, match="expected a list of one or more"):
        two.edit("age", 2, layers=layers)


def test_an_edit_that_changes_what_it_is_given_leaves_the_inversion_as_it_was(two: Inversion) -> None:
    class InPlace(RaiseChannel):
        def __call__(self, styles: Any, strength: Tensor) -> Any:
            if self.info.space == "w":
                return styles.add_(strength[:, None, None])
            styles[self.layer][:, self.channel] += strength
            return styles

    in_place: Any = InPlace()
    everywhere: Any = InPlace(info=EditInfo("all"))
    before = two.w.clone()
    moved = two.edit(in_place, 2.5)
    assert list(moved.style_offsets) == ["b4.conv1"]
    assert torch.equal(moved.tensor, two.edit(RaiseChannel(), 2.5).tensor)
    assert torch.equal(two.edit(everywhere, 1).w, before + 1)
    assert torch.equal(two.w, before)


def test_an_edit_may_compute_in_double_precision(two: Inversion) -> None:
    class Exact:
        info = EditInfo("exact")

        def __call__(self, codes: Tensor, strength: Tensor) -> Tensor:
            return codes.double() + strength[:, None, None]

    edited = two.edit(Exact(), 1)
    assert edited.w.dtype == two.w.dtype
    assert torch.equal(edited.w, two.w + 1)


@pytest.mark.parametrize("space", ["w", "styles"])
def test_codes_that_are_not_finite_are_refused(two: Inversion, space: Any) -> None:
    class Wild:
        info = EditInfo("wild", space=space)

        def __call__(self, codes: Any, strength: Tensor) -> Any:
            return codes / 0 if space == "w" else {**codes, "b4.conv1": codes["b4.conv1"] / 0}

    with pytest.raises(EditError, match="'wild' made codes that are not finite"):
        two.edit(Wild(), 1)


def test_an_edit_of_another_generator_is_refused_or_warned_of(two: Inversion) -> None:
    width = two.w.shape[-1]
    foreign = DirectionEdit(torch.ones(width), EditInfo("age", model="0123456789abcdef"))
    with pytest.raises(EditError, match=r"made for the generator 0123456789abcdef.*other_model=True"):
        two.edit(foreign, 1)
    with pytest.warns(EditWarning, match="0123456789abcdef"):
        moved = two.edit(foreign, 1, other_model=True)
    assert torch.equal(moved.w, two.w + 1)
    matching = dataclasses.replace(foreign, info=EditInfo("age", model=two.model.generator_fingerprint))
    assert torch.equal(two.edit(matching, 1).w, moved.w)


def test_an_edit_of_the_parent_works_after_transfer(two: Inversion) -> None:
    torch.manual_seed(1)
    other = Generator(two.model.generator.config).eval()
    edit = DirectionEdit(torch.ones(two.w.shape[-1]), EditInfo("up", model=two.model.generator_fingerprint))
    there = two.transfer(other).edit(edit, 1)
    assert torch.equal(there.w, two.w + 1)
    childs = dataclasses.replace(edit, info=EditInfo("up", model=there.model.generator_fingerprint))
    with pytest.raises(EditError, match="made for the generator"):
        two.edit(childs, 1)


def test_a_strength_far_outside_the_range_is_warned_of(two: Inversion) -> None:
    edit = DirectionEdit(torch.ones(two.w.shape[-1]), EditInfo("up", -1.0, 3.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        two.edit(edit, [-3, 5])
    with pytest.warns(EditWarning, match=r"strength 5\.5 of edit 'up' is far outside its range, -1 to 3"):
        two.edit(edit, [0, 5.5])


class _Words:
    def __call__(self, target: str, *, neutral: str, beta: float) -> RaiseChannel:
        return RaiseChannel(channel=len(target) % 4, info=EditInfo(f"{neutral}>{target}@{beta}", space="styles"))


def test_a_text_becomes_an_edit_where_the_model_has_statistics(two: Inversion) -> None:
    with pytest.raises(EditError, match="hyperstyle fit styleclip"):
        two.edit(text="a face with a beard")
    model = dataclasses.replace(two.model, text=_Words())
    edited = dataclasses.replace(two, model=model).edit(text="abc", neutral="ab", strength=2, beta=0.2)
    assert float(edited.style_offsets["b4.conv1"][0, 3]) == pytest.approx(2, abs=1e-5)
    with pytest.raises(EditError, match="call edit\\(\\) once for each"):
        dataclasses.replace(two, model=model).edit("age", 1, text="abc")


def _gives(value: Any) -> Any:
    class Bad:
        info = EditInfo("bad", space="styles")

        def __call__(self, styles: Mapping[str, Tensor], strength: Tensor) -> Any:
            return value(styles)

    return Bad()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda s: next(iter(s.values())), "returned a tensor"),
        (lambda s: {"b4.conv1": s["b4.conv1"]}, "the styles of all layers"),
        (lambda s: {**s, "b4.conv1": s["b4.conv1"][:, :2]}, r"for the style of b4\.conv1"),
        (lambda s: {**s, "b4.conv1": None}, r"a NoneType for the style of b4\.conv1"),
    ],
)
def test_an_edit_that_returns_other_styles_is_refused(two: Inversion, value: Any, text: str) -> None:
    with pytest.raises(EditError, match=text):
        two.edit(_gives(value), 1)


def test_what_is_no_edit_is_refused(two: Inversion) -> None:
    with pytest.raises(EditError, match="is no edit"):
        two.edit(3.0, 1)  # type: ignore[arg-type]
    with pytest.raises(EditError, match="space 'z'"):
        EditInfo("bad", space="z")  # type: ignore[arg-type]


def test_an_edit_without_an_edit_info_is_refused(two: Inversion) -> None:
    class Named:
        info = "age"

        def __call__(self, codes: Tensor, strength: Tensor) -> Tensor:
            return codes

    with pytest.raises(EditError, match="an EditInfo as `info`"):
        two.edit(Named(), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, -2.0), (float("nan"), 1.0), (-float("inf"), 1.0)])
def test_a_range_is_two_finite_numbers(low: float, high: float) -> None:
    with pytest.raises(EditError, match="expected two finite numbers, low below high"):
        EditInfo("odd", low, high)
