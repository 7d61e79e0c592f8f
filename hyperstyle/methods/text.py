"""One image's codes or styles, optimized towards a text (StyleCLIP: Patashnik et al., ICCV 2021, Section 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.edits.clip import clip_loss
from hyperstyle.edits.text import TextImageEncoder
from hyperstyle.errors import ConfigError, MethodError, warn
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.state import InversionState
from hyperstyle.inversion.synthesis import lazy_offsets, render
from hyperstyle.methods.optimization import check_whole, finite, freeze_finished, ramped
from hyperstyle.model.parts import Model
from hyperstyle.moved import renamed_argument
from hyperstyle.networks.hypernetworks.codes import OffsetCodes
from hyperstyle.networks.perception.similarity import Similarity
from hyperstyle.runtime.gradients import check_no_inference_weights, with_gradients

__all__ = ["TextStep", "optimise_text", "optimize_text"]


@dataclass(frozen=True)
class TextStep:
    """What a callback of `optimize_text` sees at each step, before the codes or styles are changed.

    Attributes:
        step: how many changes there were before: 0 at first.
        steps: how many there will be at most.
        image: [B,3,H,W], the images so far, content rows applied.
        distances: [B] 1 - cosine between image and text, 0 to 2.
        losses: [B] of these images, all terms together.
    """

    step: int
    steps: int
    image: Tensor
    distances: Tensor
    losses: Tensor

    @property
    def loss(self) -> float:
        """The mean of `losses`."""
        return self.losses.mean().item()


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
    callback: Callable[[TextStep], None] | None = None,
) -> Inversion:
    """Finds the codes (W+) or styles (StyleSpace) near the inversion's whose image fits a text.

    Adam minimizes D(x, text) + l2 * |v - v0|^2 + identity * (1 - cos(R(x), R(x0))), the paper's Eq. 1, with x = G(v)
    the image, v0 and x0 those of the start and D one minus the cosine between what the encoder makes of image and
    text. The rate rises over the first 5 % of the steps and falls over the last 25 %. Offsets and noise stay, and so
    does all else that a method changed of the generator or that was edited before. The images of a batch are
    optimized side by side, each as it would be alone; take them one by one where memory is short.

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
            `networks.similarity.load_arcface`. None is the identity of the model's perceptual network. The evaluator
            takes no part: it could no longer measure the result.
        threshold: an image stays as it is as soon as D is no larger; None takes all steps.
        callback: called at every step, before anything is changed, and where it stops early.

    Returns:
        The edited inversion: other `w` or other `style_offsets`; `unedited` is what was there before the first edit.

    Raises:
        ConfigError: an empty text, an unknown space or layer, numbers that cannot be used, an encoder whose features
            do not fit or that lets no gradients through, or a loss that became NaN or infinite.
        MethodError: an identity term, no network for it, and no perceptual network in the model; or networks that were
            built in inference mode.
    """
    _check(text, space, steps, lr, l2, identity)
    model, w0 = inversion.model, inversion.w.detach()
    for network in model.networks.values():
        check_no_inference_weights(network)
    wide = torch.promote_types(w0.dtype, torch.float32)  # small steps vanish in half precision
    specs = [s for s in model.generator.layers if space == "w" or not s.torgb]
    if layers is not None:
        specs = [model.generator.layer(name) for name in layers]
    if not specs:
        raise ConfigError("layers=[]: expected at least one, or None for all.")
    rows = sorted({s.row for s in specs})
    chosen = torch.tensor(rows, device=w0.device)
    moves: dict[str, Tensor] = {}  # what is optimized, from zero: rows of the codes, or styles by layer
    if space == "w":
        moves["w"] = w0.new_zeros(len(w0), len(rows), w0.shape[2], dtype=wide)
    else:
        moves = {s.name: w0.new_zeros(len(w0), s.style_width, dtype=wide) for s in specs}
    variables = [move.requires_grad_() for move in moves.values()]

    def codes() -> Tensor:
        return w0.to(wide).index_add(1, chosen, moves["w"]).to(w0.dtype) if space == "w" else w0

    def style_offsets() -> dict[str, Tensor]:
        offsets = dict(inversion.style_offsets)
        if space == "styles":
            offsets |= {n: m.to(w0.dtype) + offsets[n] if n in offsets else m.to(w0.dtype) for n, m in moves.items()}
        return offsets

    frozen = _with_dense_offsets(inversion)

    def draw(w: Tensor, offsets: Mapping[str, Tensor]) -> Tensor:
        return render(model, replace(frozen, w=w, style_offsets=offsets), differentiable=True)

    with torch.no_grad():
        words = encoder.encode_text([text])
        first = draw(w0, inversion.style_offsets).to(wide) if identity else None
        alike = None if first is None else _identity_loss(model, similarity, first)
    optimizer = torch.optim.Adam(variables, lr=lr)
    done = torch.zeros(len(w0), dtype=torch.bool, device=w0.device)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = ramped(step, steps, lr)
        image = draw(codes(), style_offsets()).to(wide)
        shown = model.domain.content(image)
        distances = _text_distance(encoder.encode_image(shown), words).to(image)
        losses = distances + l2 * sum(move.square().flatten(1).sum(1) for move in variables)
        if alike is not None:
            losses = losses + identity * alike(image)
        losses = finite(losses, len(w0), step)
        if callback is not None:
            callback(TextStep(step, steps, shown.detach(), distances.detach(), losses.detach()))
        if threshold is not None:
            done = done | (distances.detach() <= threshold)
            if done.all():
                break
        optimizer.zero_grad()
        torch.autograd.backward(losses.sum(), inputs=variables)
        with freeze_finished(variables, done):
            optimizer.step()
    with torch.no_grad():
        w, styles = codes(), style_offsets()
    unedited = inversion.unedited or inversion
    return replace(inversion, w=w, style_offsets=styles, stored_metrics={}, unedited=unedited, intermediates=())


def _check(text: str, space: str, steps: int, lr: float, l2: float, identity: float) -> None:
    """Raises ConfigError for numbers and words that cannot be used."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"text={text!r}: expected what the image should show, in words.")
    if space not in ("w", "styles"):
        raise ConfigError(f"space={space!r}: expected 'w' or 'styles'.")
    check_whole("steps", steps)
    if not 0 < lr < math.inf or not 0 <= l2 < math.inf or not 0 <= identity < math.inf:
        raise ConfigError(
            f"lr={lr} with l2={l2}, identity={identity}: expected a positive lr and weights of 0 or more."
        )


def _with_dense_offsets(inversion: Inversion) -> InversionState:
    """Its state with offsets and residuals as dense tensors, which a loop in which they stay need not compute again."""
    state, model = inversion.state, inversion.model
    with torch.no_grad():
        offsets = dict(lazy_offsets(state.codes, model.hypernetwork))
        residuals = dict(lazy_offsets(state.overrides.residuals, model.hyperinverter))
    return replace(
        state,
        codes=OffsetCodes.of_dense(offsets) if offsets else None,
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
    first = network(model.domain.as_network_input(start))
    return lambda image: 1.0 - metrics.cosine(network(model.domain.as_network_input(image)), first)


def optimise_text(*arguments: Any, **options: Any) -> Inversion:
    """Deprecated: `optimize_text`."""
    warn("optimise_text is optimize_text now; the old name goes with version 0.3.", DeprecationWarning)
    return optimize_text(*arguments, **options)
