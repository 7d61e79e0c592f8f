"""Edits applied to the codes and styles of a model: finding the edit, checking that it fits, moving the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hyperstyle.edits import Edit, EditInfo, StoredEdit
from hyperstyle.errors import ConfigError, EditError, EditWarning, did_you_mean, shown, warn, with_article
from hyperstyle.inversion.state import InversionState
from hyperstyle.inversion.synthesis import styles_of
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.config import LayerSpec

Strength = float | Sequence[float] | Tensor


def list_edits(
    model: Model,
    edit: str | Edit | None,
    strength: Strength,
    text: str | None,
    neutral: str | None,
    beta: float | None,
    named: Mapping[str, Strength],
) -> list[tuple[Edit, Strength]]:
    """The edits that the arguments of `Inversion.edit` ask for, each with its strength.

    Args:
        model: has the edits by name, and the statistics for texts.
        edit, strength, text, neutral, beta: as of `Inversion.edit`.
        named: name of an edit -> its strength, from keywords such as `edit(age=2)`.

    Returns:
        The edit or the text first, then those of `named`, in the order in which they are to be applied.

    Raises:
        EditError: no edit at all, an unknown name, an edit and a text with the single `strength`, or what `text_edit`
            refuses.
    """
    pairs: list[tuple[str | Edit, Strength]] = [] if edit is None else [(edit, strength)]
    if text is not None or neutral is not None or beta is not None:
        pairs.append((text_edit(model, text, neutral, beta), strength))
    pairs += named.items()
    if not pairs:
        raise EditError('no edit was given. Name one, as in edit("age", 2) or edit(age=2).')
    if edit is not None and text is not None:
        raise EditError("one strength for an edit and a text: call edit() once for each.")
    return [(find_edit(model, name), value) for name, value in pairs]


def find_edit(model: Model, edit: str | Edit) -> Edit:
    """The edit of this name, or the edit itself. Raises EditError for an unknown name or something else."""
    if isinstance(edit, str):
        if edit not in model.edits:
            raise EditError(f"no edit named {edit!r} in this model. {did_you_mean(edit, model.edits)}")
        return model.edits[edit]
    if not isinstance(edit, Edit) or not isinstance(edit.info, EditInfo):
        raise EditError(
            f"{edit!r} is no edit: expected a name, or an object with an EditInfo as `info` that can be called."
        )
    return edit


def adopt_edit(model: Model, edit: StoredEdit, *, other_model: bool = False) -> StoredEdit:
    """The edit, tried on the model's mean code. One that records no generator records that of the model from now on.

    Published files do not say which generator they are for: that it is this one, the caller knows.

    Args:
        model: the model that gets the edit.
        edit: as `edits.load_edit` reads it.
        other_model: take an edit that was made for another generator.

    Raises:
        EditError: it was made for another generator, or does not fit this one.
    """
    check_model(model, edit, other_model=other_model)
    if not edit.info.model:
        edit = edit.with_info(model=model.generator_fingerprint)
    codes = model.generator.latent_avg.expand(1, model.generator.config.rows, -1)  # [1,L,D]
    apply_edit(model, edit, InversionState(codes), torch.tensor([edit.info.high]))  # raises where it does not fit
    return edit


def text_edit(model: Model, text: str | None, neutral: str | None = None, beta: float | None = None) -> Edit:
    """StyleCLIP's global direction from a neutral description to another (Patashnik et al., ICCV 2021, Section 6).

    Args:
        model: has the statistics of its style channels, `model.text`.
        text: what images should look like.
        neutral: what they look like now; None is "a face".
        beta: channels whose relevance to the text, 0 to 1, is less are not changed; None is 0.13.

    Raises:
        EditError: the model has no statistics for texts, or there is no description.
    """
    if text is None:
        raise EditError("neutral and beta belong to an edit in words: pass text= as well, or leave them out.")
    if model.text is None:
        raise EditError(
            f"edit(text={text!r}): this model has no statistics of its channels to find words by. Make them with "
            "`hyperstyle fit styleclip`, or pass the published ones: HyperStyleInverter(..., text=StyleClip(...))."
        )
    return model.text(text, neutral="a face" if neutral is None else neutral, beta=0.13 if beta is None else beta)


def check_strengths(edit: Edit, strength: Strength) -> list[float]:
    """One strength or several as a list, checked.

    Warns (EditWarning) of one far outside the edit's range: more than twice as far from its middle as its ends are.

    Raises:
        EditError: not finite, or no numbers.
    """
    info = edit.info
    try:
        values = torch.as_tensor(strength, dtype=torch.float64).flatten()
    except (TypeError, ValueError, RuntimeError):
        values = torch.empty(0)  # words, None, or rows of different lengths
    if not values.numel() or not torch.isfinite(values).all():
        raise EditError(f"strength {strength!r} of edit {info.name!r}: expected a finite number, or several.")
    strengths: list[float] = values.tolist()
    worst = max(strengths, key=lambda s: abs(s - (info.low + info.high) / 2))
    if abs(worst - (info.low + info.high) / 2) > info.high - info.low:
        warn(
            f"strength {worst:g} of edit {info.name!r} is far outside its range, {info.low:g} to {info.high:g}: expect "
            "images that fall apart.",
            EditWarning,
        )
    return strengths


def check_model(model: Model, edit: Edit, *, other_model: bool) -> None:
    """Compares the generator that an edit was made for with this one, where both are known.

    Models whose weights are not in float32 are not compared: their fingerprints are others.

    Raises:
        EditError: it is another one; with `other_model` that is an EditWarning instead.
    """
    made_for = edit.info.model
    if not made_for or made_for in model.ancestors or model.dtype != torch.float32:
        return
    if made_for == model.generator_fingerprint:
        return
    text = (
        f"edit {edit.info.name!r} was made for the generator {shown(made_for)[1:-1]}, and this one is "
        f"{model.generator_fingerprint}: what it does here is not known."
    )
    if not other_model:
        raise EditError(f"{text} Fit it for this generator, or apply it all the same with other_model=True.")
    warn(text, EditWarning)


def apply_edit(
    model: Model, edit: Edit, state: InversionState, strengths: Tensor, layers: Sequence[str | int] | None = None
) -> InversionState:
    """Moves the latent codes, or for an edit of styles the style offsets.

    Args:
        model: whose codes these are.
        edit: see `Edit`; its `info.space` says which of both it moves.
        state: of B images.
        strengths: [B], one for each image.
        layers: limits an edit of styles to these layers, one of codes to the rows of w that feed them (and so may feed
            other layers, too); None is all.

    Returns:
        The state with `w` and style offsets after the edit, and those of the guide of its features. An edit that moves
        none of the layers is an EditWarning.

    Raises:
        EditError: the edit does not fit the codes, or returns something of another shape or that is not finite.
        ConfigError: no layers, or one that is not there.
    """
    specs = None if layers is None else find_layers(model, layers)
    edited = _moved(model, edit, state, strengths, specs)
    features = state.overrides.features
    if features is None or features.guide is None:
        return edited
    # The edit itself, not the change of w: some edits depend on the code that they move (GANSpace, mappers).
    guide = features.guide
    moved = _moved(
        model, edit, InversionState(guide.w, style_offsets=guide.style_offsets), strengths, specs, warns=False
    )
    guide = replace(guide, w=moved.w, style_offsets=moved.style_offsets)
    return replace(edited, overrides=replace(edited.overrides, features=replace(features, guide=guide)))


def _moved(
    model: Model,
    edit: Edit,
    state: InversionState,
    strengths: Tensor,
    specs: Sequence[LayerSpec] | None,
    *,
    warns: bool = True,
) -> InversionState:
    """`apply_edit` without the guide of the features; warns of an edit that moves none of the layers, or does not."""
    w = state.w
    with torch.no_grad():  # the edit gets copies: an edit of the user may change them
        if edit.info.space == "w":
            moved = edit(w.clone(), strengths)
            if not isinstance(moved, Tensor) or moved.shape != w.shape:
                raise EditError(f"edit {edit.info.name!r} returned {_kind(moved)} for codes {tuple(w.shape)}.")
            moved = _finite(edit, moved.to(w))
            if specs is not None:
                rows = sorted({spec.row for spec in specs})  # two layers may share a row of w
                edited, moved = moved, w.clone()
                moved[:, rows] = edited[:, rows]
                if warns and torch.equal(moved, w) and not torch.equal(edited, w):
                    _warn_of_nothing(edit, specs)
            return replace(state, w=moved)
        before = styles_of(model, state)  # layer -> [B,S]
        copies = {name: style.clone() for name, style in before.items()}
        after = edit(dict(copies), strengths)
    if not isinstance(after, Mapping) or after.keys() != before.keys():
        raise EditError(f"edit {edit.info.name!r} returned {_kind(after)}: expected the styles of all layers by name.")
    # An edit may return new tensors or write into the copies that it got.
    moving = [name for name in before if after[name] is not copies[name] or not torch.equal(copies[name], before[name])]
    names = moving if specs is None else [name for name in moving if name in {spec.name for spec in specs}]
    if warns and moving and not names and specs is not None:
        _warn_of_nothing(edit, specs)
    offsets = dict(state.style_offsets)
    for name in names:
        style = after[name]
        if not isinstance(style, Tensor) or style.shape != before[name].shape:
            raise EditError(
                f"edit {edit.info.name!r} returned {_kind(style)} for the style of {name}, which is "
                f"{tuple(before[name].shape)}."
            )
        # The styles `before` contain the offsets so far: what the edit adds to the styles is added to these.
        change = _finite(edit, style.to(before[name])) - before[name]  # [B,S]
        offsets[name] = offsets[name] + change if name in offsets else change
    return replace(state, style_offsets=offsets)


def find_layers(model: Model, layers: Sequence[str | int]) -> list[LayerSpec]:
    """The layers of these names or indexes. Raises ConfigError for none, or one that is not there."""
    if isinstance(layers, str) or not layers:
        raise ConfigError(f'layers={layers!r}: expected a list of one or more, ["b8.conv0"], or None for all.')
    return [model.generator.layer(layer) for layer in layers]


def _finite(edit: Edit, codes: Tensor) -> Tensor:
    if not torch.isfinite(codes).all():
        raise EditError(f"edit {edit.info.name!r} made codes that are not finite. Give a smaller strength.")
    return codes


def _warn_of_nothing(edit: Edit, layers: Sequence[LayerSpec]) -> None:
    names = ", ".join(spec.name for spec in layers)
    warn(
        f"edit {edit.info.name!r} moves other layers than {names}: limited to these it changes nothing.",
        EditWarning,
    )


def _kind(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else with_article(type(value))
