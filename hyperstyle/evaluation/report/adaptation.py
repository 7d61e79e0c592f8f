"""A generator tuned to another look, to which inversions move with their offsets (paper, Section 4.4, Figure 7)."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from hyperstyle.errors import MethodError
from hyperstyle.evaluation.report.filters import Filter
from hyperstyle.metrics import l1, l2
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import with_gradients

__all__ = ["tune_to"]

_BATCH, _RATE = 4, 4e-3


@with_gradients
def tune_to(
    model: Model, look: Filter, *, steps: int = 32, on_step: Callable[[int], None] | None = None
) -> StyleGenerator:
    """The model's generator, tuned until it draws what the filter makes of its images; the mapping stays.

    Args:
        model: whose generator; it is copied.
        look: the filter.
        steps: of Adam, four images each.
        on_step: called with how many are done.

    Raises:
        MethodError: a generator that takes no offsets.
    """
    generator = model.generator
    if not generator.takes_offsets:
        raise MethodError("the generator of IDInvert takes no offsets to transfer. Leave the tuning out: --adapt 0.")
    tuned = copy.deepcopy(generator)
    weights = [p.requires_grad_() for name, p in tuned.named_parameters() if not name.startswith("style.")]
    optimizer = torch.optim.Adam(weights, lr=_RATE)
    random = torch.Generator().manual_seed(0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = _RATE * min(1.0, 2 * (1 - step / steps))
        with torch.no_grad():
            z = torch.randn(_BATCH, generator.config.latent_width, generator=random).to(generator.latent_avg)
            w = generator.latent_avg.lerp(generator.mapping(z), 0.9)
            target = look(generator(w, modulation="activations"))
        image = tuned(w, modulation="activations")
        loss = (l1(image, target) + l2(image, target)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if on_step is not None:
            on_step(step + 1)
    return tuned.requires_grad_(False)
