"""One image's codes or styles, optimized towards a text (StyleCLIP: Patashnik et al., ICCV 2021, Section 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.edits.clip import clip_loss
from hyperstyle.edits.protocol import TextImageEncoder
from hyperstyle.errors import ConfigError, MethodError, warn
from hyperstyle.inversion.editing import find_layers
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Loss, Schedule, StepCallback, check_integer, check_losses, optimize, ramped
from hyperstyle.inversion.state import InversionState
from hyperstyle.inversion.synthesis import dense_offsets, render
from hyperstyle.model.parts import Model
from hyperstyle.moved import renamed_argument
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.perception.similarity import Similarity
from hyperstyle.runtime.gradients import check_no_inference_weights, with_gradients


@with_gradients
@renamed_argument("rate", "lr")
def optimize_text(
    inversion: Inversion,
    text: str,
    encoder: TextImageEncoder,
    *,
    space: Literal["w", "styles"] = "w",
    layers: Sequence[str | int] | None = None,
    steps: int = 300,
    lr: float = 0.1,
    l2: float = 0.008,
    identity: float = 0.0,
    similarity: Similarity | None = None,
    threshold: float | None = None,
    callback: StepCallback | None = None,
) -> Inversion:
    """Finds the codes (W+) or styles (StyleSpace) near the inversion's whose image fits a text.

    Adam minimizes D(x, text) + l2 * ‖v - v0‖² + identity * (1 - cos(R(x), R(x0))), the paper's Eq. 1, with x = G(v)
    the image, v0 and x0 those of the start and D one minus the cosine between the encoder's features of image and
    text. The learning rate rises over the first 5 % of the steps and falls over the last 25 %. Offsets, overrides and
    earlier edits stay. The images of a batch are optimized side by side, each as it would be alone; take them one by
    one where memory is short.

    Args:
        inversion: where it starts.
        text: what the image should show.
        encoder: gradients must flow through its `encode_image`.
        space: "w" moves every row of the codes by itself, "styles" the input channels of the convolutions.
        layers: limits it to these; in W to the rows that feed them. None is all, in StyleSpace all but toRGB.
        steps: how many; 0 changes nothing.
        lr: the highest learning rate.
        l2: weight of the squared distance from the start, a sum over all values.
        identity: weight of the identity term; the authors use 0.005 with faces.
        similarity: the network of that term, on images of the domain's input size: for faces
            `networks.perception.similarity.load_arcface`. None is the identity of the model's perceptual network. The
            evaluator takes no part: it could no longer measure the result.
        threshold: an image stays as it is as soon as D is no larger; None takes all steps.
        callback: called at every step, before anything is changed, and where it stops early; its `Step` has `distances`
            and an image with content rows applied.

    Returns:
        The edited inversion: other `w` or other `style_offsets`; `unedited` is what was there before the first edit.

    Raises:
        ConfigError: an empty text, an unknown space or layer, numbers that cannot be used, an encoder whose features
            do not fit or that lets no gradients through, or a loss that became NaN or infinite.
        MethodError: an identity term, no network for it, and no perceptual network in the model; or networks that were
            built in inference mode.
    """
    _check(text, space, steps, lr, l2, identity)
    model = inversion.model
    for network in model.networks.values():
        check_no_inference_weights(network)
    moves = _Moves.from_zero(inversion, space, layers)
    constant = _with_dense_offsets(inversion)  # what the loop does not change
    with torch.no_grad():
        words = encoder.encode_text([text])  # [1,E]
        identity_loss = None
        if identity:
            first = render(model, constant, differentiable=True).to(moves.dtype)  # x0, [B,3,size,size]
            identity_loss = _identity_loss(model, similarity, first)

    def loss_at(step: int) -> Loss:
        image = render(model, moves.applied_to(constant), differentiable=True).to(moves.dtype)
        content = model.domain.content(image)  # [B,3,H,W], without padding
        distances = _text_distance(encoder.encode_image(content), words).to(image)  # [B]
        # Eq. 1: the distance from the text, from the start, and, where it is asked for, from the identity.
        losses = distances + l2 * moves.squared_length()
        if identity_loss is not None:
            losses = losses + identity * identity_loss(image)
        losses = check_losses(losses, len(inversion), step)
        return Loss(losses, content, distances=distances, shown={"distances": distances})

    schedule = Schedule(steps, lambda step: ramped(step, steps, lr), threshold=threshold)
    optimize(list(moves.values.values()), loss_at, schedule, callback)
    with torch.no_grad():
        state = moves.applied_to(inversion.state)
    return inversion.edited_to(state)


@dataclass(frozen=True)
class _Moves:
    """What is optimized: how far rows of the codes (W+), or styles (StyleSpace), are from where they were.

    Attributes:
        values: {"w": [B,R,D]} of R rows, or layer name -> [B,I]; leaves that need gradients.
        rows: [R] the rows of the codes that move; None in StyleSpace.
        dtype: of the values, float32 or wider: small steps vanish in half precision.
    """

    values: dict[str, Tensor]
    rows: Tensor | None
    dtype: torch.dtype

    @classmethod
    def from_zero(cls, inversion: Inversion, space: str, layers: Sequence[str | int] | None) -> _Moves:
        """Of these layers; None is all, in StyleSpace all but toRGB. Raises ConfigError for none or an unknown one."""
        w, generator = inversion.w, inversion.model.generator
        specs = [spec for spec in generator.layers if space == "w" or not spec.torgb]
        if layers is not None:
            specs = find_layers(inversion.model, layers)
        dtype = torch.promote_types(w.dtype, torch.float32)
        if space == "w":
            # A toRGB layer shares its row with the next convolution: every row once.
            rows = torch.tensor(sorted({spec.row for spec in specs}), device=w.device)
            values = {"w": w.new_zeros(len(w), len(rows), w.shape[2], dtype=dtype)}
        else:
            rows = None
            values = {spec.name: w.new_zeros(len(w), spec.style_width, dtype=dtype) for spec in specs}  # [B,I]
        return cls({name: value.requires_grad_() for name, value in values.items()}, rows, dtype)

    def applied_to(self, state: InversionState) -> InversionState:
        """The state with its codes, or the offsets of its styles, moved."""
        if self.rows is not None:
            # Added in the wider type: the sum is rounded to the type of the codes once, not at every step.
            w = state.w.detach()
            return replace(state, w=w.to(self.dtype).index_add(1, self.rows, self.values["w"]).to(w.dtype))
        offsets = dict(state.style_offsets)
        for name, move in self.values.items():
            move = move.to(state.w.dtype)
            offsets[name] = move + offsets[name] if name in offsets else move
        return replace(state, style_offsets=offsets)

    def squared_length(self) -> Tensor:
        """[B] the sum of squares over all values of an image."""
        lengths = [value.square().flatten(1).sum(1) for value in self.values.values()]  # [B] of each
        return sum(lengths[1:], lengths[0])


def _check(text: str, space: str, steps: int, lr: float, l2: float, identity: float) -> None:
    """Raises ConfigError for numbers and words that cannot be used."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"text={text!r}: expected what the image should show, in words.")
    if space not in ("w", "styles"):
        raise ConfigError(f"space={space!r}: expected 'w' or 'styles'.")
    check_integer("steps", steps)
    if not 0 < lr < math.inf or not 0 <= l2 < math.inf or not 0 <= identity < math.inf:
        raise ConfigError(
            f"lr={lr} with l2={l2}, identity={identity}: expected a positive lr and weights of 0 or more."
        )


def _with_dense_offsets(inversion: Inversion) -> InversionState:
    """Its state with offsets and residuals as dense tensors, which a loop in which they stay need not compute again."""
    state, model = inversion.state, inversion.model
    offsets = dense_offsets(state.offset_codes, model.hypernetwork)
    residuals = dense_offsets(state.overrides.residuals, model.hyperinverter)
    return replace(
        state,
        offset_codes=OffsetCodes.of_dense(offsets) if offsets else None,
        overrides=replace(state.overrides, residuals=OffsetCodes.of_dense(residuals) if residuals else None),
    )


def _text_distance(images: Tensor, words: Tensor) -> Tensor:
    """One minus the cosine [B] between features [B,E] and [1,E]. Raises ConfigError where they do not fit."""
    if words.ndim != 2 or len(words) != 1 or images.ndim != 2 or images.shape[1] != words.shape[1]:
        raise ConfigError(
            f"the encoder made features {tuple(words.shape)} of one text and {tuple(images.shape)} of the images: "
            "expected [1, E] and [B, E]."
        )
    if not images.requires_grad:
        raise ConfigError(
            "no gradient reaches the images through the encoder: encode_image must not run under torch.no_grad()."
        )
    return clip_loss(images, words)


def _identity_loss(model: Model, similarity: Similarity | None, start: Tensor) -> Callable[[Tensor], Tensor]:
    """Generator's images [B,3,size,size] -> 1 - cosine [B] with the identity of those at the start."""
    network: Callable[[Tensor], Tensor]
    if similarity is not None:
        network = similarity
    elif model.perceptual is not None:
        network = model.perceptual.embedding
    else:
        raise MethodError(
            "an identity term, but this model has no perceptual network (its evaluator only measures): pass "
            "similarity=, such as load_arcface(path), or identity=0."
        )
    first = network(model.domain.as_network_input(start))  # R(x0), [B,E], unit vectors
    return lambda image: 1.0 - metrics.cosine(network(model.domain.as_network_input(image)), first)


def optimise_text(*arguments: Any, **options: Any) -> Inversion:
    """Deprecated: `optimize_text`."""
    warn("optimise_text is optimize_text now; the old name goes with version 0.3.", DeprecationWarning)
    return optimize_text(*arguments, **options)
