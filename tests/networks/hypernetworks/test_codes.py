"""Arithmetic of offset codes."""

from __future__ import annotations

import pytest
import torch

from hyperstyle.errors import InversionError
from hyperstyle.networks.hypernetworks.codes import OffsetCodes


def codes(batch: int = 2, passes: int = 1, *, terms: bool = True, layers: tuple[str, ...] = ("a", "b")) -> OffsetCodes:
    """Random codes: affine layers `layers`, and layer "s" with one code per pass."""
    return OffsetCodes(
        {name: torch.randn(batch, 4) for name in layers},
        {"s": torch.randn(batch, passes, 3)} if terms else {},
        torch.ones(batch, passes) if terms else torch.full((batch, 1), float(passes)),
    )


def test_a_sum_adds_affine_codes_and_collects_the_others() -> None:
    x, y = codes(passes=2), codes(passes=1)
    added = x + y
    assert torch.equal(added.sums["a"], x.sums["a"] + y.sums["a"])
    assert torch.equal(added.terms["s"], torch.cat([x.terms["s"], y.terms["s"]], 1))
    assert added.weights.shape == (2, 3)
    assert added.count.tolist() == [3, 3]
    plain = codes(passes=2, terms=False) + codes(passes=3, terms=False)
    assert plain.weights.tolist() == [[5], [5]]


def test_a_multiple_scales_weights_and_affine_codes_but_not_the_others() -> None:
    x = codes(passes=2)
    half = x * 0.5
    assert torch.equal(half.sums["b"], x.sums["b"] / 2)
    assert torch.equal(half.terms["s"], x.terms["s"])
    assert half.count.tolist() == [1, 1]


def test_batches_of_different_numbers_of_passes_are_joined_with_weight_zero() -> None:
    x, y = codes(batch=1, passes=3), codes(batch=2, passes=1)
    joined = OffsetCodes.cat([x, y])
    assert len(joined) == 3
    assert joined.weights.tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert torch.equal(joined.terms["s"][:1], x.terms["s"])
    assert torch.equal(joined.terms["s"][1:, :1], y.terms["s"])
    assert not joined.terms["s"][1:, 1:].any()
    assert torch.equal(joined.sums["a"], torch.cat([x.sums["a"], y.sums["a"]]))


def test_only_keeps_the_layers_that_are_named() -> None:
    x = codes(passes=2)
    assert x.only(["a"]).layers == ("a",)
    assert x.only(["s", "b"]).layers == ("b", "s")
    assert torch.equal(x.only(["a"]).count, x.count)


def test_codes_of_another_number_of_passes_cannot_be_mixed() -> None:
    with pytest.raises(InversionError, match="different number of steps"):
        OffsetCodes.mixed(codes(passes=2), codes(passes=3), ["b"])


def test_mixing_takes_named_layers_as_the_other_side_has_them_also_where_it_has_none() -> None:
    x, y = codes(passes=2), codes(passes=2)
    mixed = OffsetCodes.mixed(x, y, ["b"])
    assert mixed is not None
    assert torch.equal(mixed.sums["b"], y.sums["b"])
    assert torch.equal(mixed.sums["a"], x.sums["a"])
    assert torch.equal(mixed.terms["s"], x.terms["s"])
    without = OffsetCodes.mixed(x, None, ["b", "s"])
    assert without is not None
    assert without.layers == ("a",)
    only_right = OffsetCodes.mixed(None, y, ["b", "unknown to both"])
    assert only_right is not None
    assert only_right.layers == ("b",)
    assert OffsetCodes.mixed(None, None, ["b"]) is None
    assert OffsetCodes.mixed(x, None, ["a", "b", "s"]) is None


def test_apply_reaches_every_tensor() -> None:
    x = codes(passes=2)
    doubled = x.apply(lambda t: t.double())
    assert {t.dtype for t in (*doubled.sums.values(), *doubled.terms.values(), doubled.weights)} == {torch.float64}
    first = x.apply(lambda t: t[:1])
    assert len(first) == 1
    assert torch.equal(first.terms["s"], x.terms["s"][:1])


def test_codes_of_different_layers_are_not_joined_or_added() -> None:
    x, y = codes(layers=("a", "b")), codes(layers=("a", "c"))
    with pytest.raises(InversionError, match="no code stands for no offset"):
        x + y
    with pytest.raises(InversionError, match="no code stands for no offset"):
        OffsetCodes.cat([x, codes(terms=False)])


def dense(*layers: str, batch: int = 2) -> OffsetCodes:
    return OffsetCodes.of_dense({name: torch.randn(batch, 3, 4, 1, 1) for name in layers})


def test_dense_offsets_are_added_scaled_chosen_and_joined_without_codes() -> None:
    x, y = dense("a", "b"), dense("b", "c")
    assert (len(x), x.layers, x.coded, x.count.tolist()) == (2, ("a", "b"), (), [0, 0])
    added = x + y * 0.5
    assert added.layers == ("a", "b", "c")
    assert torch.equal(added.dense["b"], x.dense["b"] + y.dense["b"] / 2)
    assert torch.equal(added.dense["a"], x.dense["a"])
    assert x.only(["b"]).layers == ("b",)
    assert torch.equal(x.apply(lambda t: t[:1]).dense["a"], x.dense["a"][:1])
    assert torch.equal(OffsetCodes.cat([x, x]).dense["a"], torch.cat([x.dense["a"]] * 2))


def test_what_only_some_images_of_a_batch_have_is_zero_in_the_others() -> None:
    x, y, none = dense("a", "b"), dense("b", "c", batch=1), OffsetCodes.none(torch.zeros(3, 8, 4))
    large = OffsetCodes.of_dense({"b": torch.randn(1, 3, 4, 3, 3)})
    joined = OffsetCodes.cat([x, none, y, large])
    assert joined.layers == ("a", "b", "c")
    assert torch.equal(joined.dense["a"][:2], x.dense["a"])
    assert not joined.dense["a"][2:].any()
    assert torch.equal(joined.dense["b"][5:6], y.dense["b"].expand(1, 3, 4, 3, 3))
    assert torch.equal(joined.dense["b"][6:], large.dense["b"])
    coded = codes(passes=2)
    for parts, places in (([coded, none, x], slice(0, 2)), ([none, x, coded], slice(5, 7))):
        both = OffsetCodes.cat(parts)
        assert both.coded == coded.coded
        assert len(both) == 7
        assert torch.equal(both.weights[places], coded.weights)
        assert torch.equal(both.terms["s"][places], coded.terms["s"])
        assert both.weights.sum() == coded.weights.sum()
        assert both.sums["a"].abs().sum() == coded.sums["a"].abs().sum()
    assert (none + coded).weights.tolist() == (coded + none).weights.tolist() == coded.weights.tolist()


def test_codes_that_are_zero_take_part_in_no_mixing() -> None:
    x, zero = codes(passes=3), codes(passes=2) * 0.0
    mixed = OffsetCodes.mixed(x, zero, ["b", "s"])
    assert mixed is not None
    assert mixed.layers == ("a",)
    assert OffsetCodes.mixed(zero, zero, ["b"]) is None
    other = OffsetCodes.mixed(zero, x, ["b"])
    assert other is not None
    assert other.layers == ("b",)
    assert torch.equal(other.weights, x.weights)


def test_codes_are_compared_by_identity_as_tensors_cannot_be() -> None:
    x = codes()
    assert x in (codes(), x)
    assert len({x, codes(), x}) == 2


@pytest.mark.parametrize("terms", [True, False])
def test_codes_and_dense_offsets_are_held_together(terms: bool) -> None:
    x, y = codes(passes=2, terms=terms), dense("b", "z")
    for both in (x + y, y + x):
        assert set(both.layers) == {*x.layers, "z"}
        assert both.coded == x.coded
        assert torch.equal(both.count, x.count)
        assert torch.equal(both.sums["a"], x.sums["a"])
        assert torch.equal(both.dense["b"], y.dense["b"])
    more = (x + y) + x
    assert more.count.tolist() == [4, 4]
    assert torch.equal(more.dense["z"], y.dense["z"])


def test_layers_are_exchanged_between_codes_and_dense_offsets() -> None:
    x, y = codes(passes=2), dense("b", "z")
    updated = OffsetCodes.mixed(x, y, ["b", "z"])
    assert updated is not None
    assert set(updated.coded) == {"a", "s"}
    assert set(updated.dense) == {"b", "z"}
    back = OffsetCodes.mixed(updated, x, ["b"])
    assert back is not None
    assert set(back.coded) == {"a", "b", "s"}
    assert set(back.dense) == {"z"}
    onto_dense = OffsetCodes.mixed(y, x, ["b"])
    assert onto_dense is not None
    assert onto_dense.coded == ("b",)
    assert torch.equal(onto_dense.count, x.count)


def test_what_is_made_of_codes_and_what_is_dense_adds_up() -> None:
    y = dense("b", "z")
    offsets = {"a": torch.ones(2, 3, 4, 3, 3), "b": torch.ones(2, 3, 4, 3, 3)}
    total = y.expanded(offsets)
    assert list(total) == ["a", "b", "z"]
    assert torch.equal(total["b"], 1 + y.dense["b"].expand(2, 3, 4, 3, 3))
    assert torch.equal(offsets["b"], torch.ones(2, 3, 4, 3, 3))


def test_offsets_that_all_images_share_stay_whole_where_images_are_selected() -> None:
    large, small = torch.randn(1, 3, 4, 3, 3), torch.randn(3, 4, 1, 1)
    shared = OffsetCodes({}, {}, torch.zeros(2, 1), {"a": large, "b": small, "c": torch.randn(2, 3, 4, 1, 1)})
    for chosen in (slice(1, 2), [1], [1, 0, 0]):
        selected = shared.select(chosen)
        assert selected.dense["a"] is large
        assert selected.dense["b"] is small
        assert torch.equal(selected.dense["c"], shared.dense["c"][chosen])
    assert OffsetCodes.of_dense({"a": large}).select([0, 0]).dense["a"].shape == (2, 3, 4, 3, 3)
