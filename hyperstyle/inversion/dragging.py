"""Points of an image dragged to other places (DragGAN: Pan et al., "Drag Your GAN", SIGGRAPH 2023).

Equations are those of the paper. The norms of Eq. 1 are means over channels, and that of the mask's term over the
whole map, so that λ does not depend on the size of the generator; the sum over the pixels around a point is a sum.
Feature maps are sampled linearly at points of the image: these are the values of maps that were resized to the image
first, without the memory for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.align.crop import quad_text
from hyperstyle.errors import ConfigError, EditWarning, InversionError, shown, warn
from hyperstyle.inversion.optimize import Loss, Schedule, StepCallback, check_integer, check_losses, optimize
from hyperstyle.inversion.pickling import Portable
from hyperstyle.inversion.state import InversionState
from hyperstyle.inversion.synthesis import baked, render
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.gradients import check_no_inference_weights, with_gradients

Moves = Sequence[tuple[tuple[float, float], tuple[float, float]]] | npt.NDArray[Any] | Tensor
"""((x, y), (x, y)) of each point: where it is and where it is to go, in pixel indices. Or an array [N,2,2] of these."""

MASK_WEIGHT = 50.0
"""λ of Eq. 1. DragGAN has 20, for sums of another size."""

_MAX_STEPS = 10_000
_SHORTEST = 1.0  # pixels that a point must have to go
_FEW = 5  # points; more are each in the way of the others


@dataclass(frozen=True)
class DragSettings:
    """Numbers of a drag; lengths are in pixels of the generator's image. `DragSettings.of` gives the default ones.

    Attributes:
        layer: whose feature maps are compared.
        rows: how many rows of the latent codes move, the first ones.
        radius: r1 of Eq. 1: features within this distance of a point are pulled along with it.
        tracking_radius: r2 of Eq. 2: how far from where it was, along x and y, a point is looked for after a step.
        steps: maximum number of steps.
        lr: learning rate (Adam).
        tolerance: the drag ends once all points are no farther than this from where they are to go, and twice this for
            more than five points, as published. It is less for a point that is to go less than a pixel farther.
        template: how much the features that are pulled along are those around the point at the start, from 0 to 1. The
            rest is those around the point as it is now, the only ones of Eq. 1, which let the point slide over the face
            a little at every step.
    """

    layer: str
    rows: int
    radius: float = 4.0
    tracking_radius: float = 8.0
    steps: int = 200
    lr: float = 0.01
    tolerance: float = 1.0
    template: float = 0.5

    @classmethod
    def of(cls, generator: StyleGenerator, *, steps: int | None = None, radius: float | None = None) -> DragSettings:
        """The settings for a generator; docs/drag.md has the measurement.

        The maps of a quarter of its size (those of 128 px for 512 px, as published), so that a value of the maps covers
        four pixels of the image whatever the size, and the radii are the same number of pixels. The first six rows.

        Args:
            generator: gives size and layers.
            steps: another number of steps; None is 200.
            radius: another radius; None is 4 px, one value of the maps.

        Raises:
            ConfigError: steps or radius that are no such numbers, or a layer that the generator lacks.
        """
        size, rows = generator.config.size, generator.config.rows
        settings = cls(f"b{size // 4}.conv1", min(rows, 6))
        if steps is not None:
            check_integer("steps of a drag", steps, most=_MAX_STEPS)
            settings = replace(settings, steps=int(steps))
        if radius is not None:
            if isinstance(radius, bool) or not isinstance(radius, int | float) or not 1 <= radius <= size / 4:
                raise ConfigError(f"radius={shown(radius)}: expected 1 to {size // 4} pixels, a quarter of the image.")
            settings = replace(settings, radius=float(radius))
        generator.layer(settings.layer)
        return settings


def find_points(inversion: Portable, moves: Moves, *, in_photo: bool = False) -> Tensor:
    """The points of a drag [N,2,2], each with where it is to go, checked, in pixel indices of the generator's image.

    Args:
        inversion: a single image.
        moves: see `Moves`.
        in_photo: they are pixels of the upright photo that the image was cut out of, else of the reconstruction.

    Raises:
        InversionError: a batch; features in place of a layer's output; or, for points of the photo, an image that was
            not cut out of one.
        ConfigError: no points, no pairs of finite numbers, a point outside of the image, or one that is to go less than
            a pixel of the reconstruction.
    """
    if (count := len(inversion)) != 1:
        raise InversionError(
            f"drag of a batch of {count}: take one image of it, inversion[0] or on the command line --face 0. Each has "
            "its own points."
        )
    features = inversion.overrides.features
    if features is not None and bool((features.maps.blend[:, 0] == 0).any()):
        raise InversionError(
            f"its features stand in place of the output of {features.maps.layer} and hide what the codes would move. "
            "Drag Inversion.initial, or invert the image by another method."
        )
    expected = "expected ((x, y), (x2, y2)) for each: where it is, and where it is to go, in pixels"
    try:
        values = moves.detach().cpu() if isinstance(moves, Tensor) else moves
        points = torch.as_tensor(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError, RuntimeError):
        points = torch.empty(0)  # words, None, or points of different lengths
    if points.ndim != 3 or points.shape[1:] != (2, 2) or not len(points) or not points.isfinite().all():
        raise ConfigError(f"points {shown(moves)} to drag: {expected}.")
    domain = inversion.model.domain
    height, width = domain.content_size
    place, given = f"reconstruction, which is {width} x {height} pixels", points
    if in_photo:
        placement = inversion.sources[0].placement if inversion.sources else None
        if placement is None:
            raise InversionError(
                "in_photo=True, and this image was not cut out of a photo: give points in pixels of the reconstruction."
            )
        place = f"part of the photo that the face was cut out of, with the corners {quad_text(placement.footprint)}"
        points = torch.from_numpy(placement.to_crop(points.reshape(-1, 2), (height, width))).reshape(-1, 2, 2)
    inside = (points >= -0.5) & (points <= torch.tensor([width, height]) - 0.5)
    lengths = (points[:, 1] - points[:, 0]).norm(dim=1)
    for i, (source, target) in enumerate(given.tolist()):
        subject = f"a point to drag from {_text(source)} to {_text(target)}"
        if not inside[i].all():
            raise ConfigError(f"{subject}: expected both within the {place}.")
        if lengths[i] < _SHORTEST:
            what = "which is where it is" if source == target else "less than a pixel of the reconstruction"
            raise ConfigError(f"{subject}, {what}: give another target, or leave it out.")
    return points + torch.tensor([0.0, domain.content_rows[0] if domain.content_rows else 0.0])


@with_gradients
def drag(
    model: Model,
    state: InversionState,
    points: Tensor,
    settings: DragSettings,
    *,
    mask: Tensor | None = None,
    callback: StepCallback | None = None,
) -> InversionState:
    """Moves the first rows of the latent codes until what is at the points is where it is to go.

    Every step pulls the features around each point by a pixel towards its target (motion supervision), and then looks
    for the features that the point had at the start near where it was (point tracking). Offsets, overrides and styles
    stay. A drag that does not arrive is an EditWarning, which says how far it came.

    Args:
        model: renders the images.
        state: of one image.
        points: [N,2,2] of `find_points`.
        settings: see `DragSettings`.
        mask: [1,1,H,W] in [0,1], of the content of the image: features stay where it is 0.
        callback: called at every step; its `Step` has `points` and `w`.

    Returns:
        The state with other `w`.

    Raises:
        ConfigError: the loss became NaN or infinite.
        MethodError: a generator that was built in inference mode.
    """
    check_no_inference_weights(model.generator)
    size, rows = model.generator.config.size, settings.rows
    generator, constant = baked(model, state)  # what does not change is computed once
    # In float32 or wider: small steps vanish in half precision.
    free = state.w[:, :rows].detach().to(torch.promote_types(state.w.dtype, torch.float32), copy=True).requires_grad_()
    sources, targets = points.to(free).unbind(1)  # [N,2]
    lengths = (targets - sources).norm(dim=1)
    limits = tolerances(lengths, settings.tolerance)

    def moved(state: InversionState) -> InversionState:
        return replace(state, w=torch.cat([free.to(state.w.dtype), state.w[:, rows:]], dim=1))

    def features() -> Tensor:
        """F of Eq. 1: the maps [1,C,r,r] of the codes as they are now."""
        maps = render(model, moved(constant), differentiable=True, generator=generator, until=settings.layer)
        return maps.to(free.dtype)

    with torch.no_grad():
        first = features()  # F_0
        original = sample(first, sources[:, None], size)  # f_i of Eq. 2, [N,1,C]
        fixed = None
        if mask is not None:
            area = _padded(model, mask.to(free))
            _warn_outside(area, points.to(free), size)
            fixed = 1 - F.adaptive_avg_pool2d(area, (first.shape[2], first.shape[3]))  # 1 - M
    disc = _grid(settings.radius, free)
    disc = disc[disc.norm(dim=1) <= settings.radius]  # Ω_1 around 0, [K,2]
    template = sample(first, sources[:, None] + disc, size)  # [N,K,C]
    now = sources

    def loss_at(step: int) -> Loss:
        nonlocal now
        maps = features()
        if step:
            now = track(maps.detach(), now, original, settings.tracking_radius, size)
        rest = targets - now
        distances = rest.norm(dim=1)
        # d_i of Eq. 1, a vector of length 1; shorter where less than a pixel is left, so that no point oscillates.
        ahead = rest / distances.clamp(min=1)[:, None]  # [N,2]
        around = now[:, None] + disc  # q_i, [N,K,2]
        # Eq. 1: F(q_i) is constant, so that the features at q_i + d_i become like those at q_i. Here they also become
        # like those that were there at the start.
        expected = sample(maps.detach(), around, size).lerp(template, settings.template)  # [N,K,C]
        loss = (expected - sample(maps, around + ahead[:, None], size)).abs().mean(2).sum()
        if fixed is not None:
            loss = loss + MASK_WEIGHT * ((maps - first) * fixed).abs().mean()
        losses = check_losses(loss[None], 1, step)
        current = moved(constant)
        image = partial(render, model, current, generator=generator)
        return Loss(losses, image, distances=(distances / limits).amax(0, True), shown={"points": now, "w": current.w})

    optimize([free], loss_at, Schedule(settings.steps, lambda step: settings.lr, threshold=1.0), callback)
    with torch.no_grad():
        if settings.steps and ((targets - now).norm(dim=1) > limits).any():
            now = track(features(), now, original, settings.tracking_radius, size)  # of the last step
        rest = (targets - now).norm(dim=1)
        if late := [f"{rest[i]:.1f} of {lengths[i]:.1f} px are left" for i in (rest > limits).nonzero().flatten()]:
            warn(
                f"{len(late)} of {len(rest)} points did not arrive in {settings.steps} steps: {'; '.join(late)}. Take "
                "more steps, or drag them less far.",
                EditWarning,
            )
        return moved(state)


def tolerances(lengths: Tensor, tolerance: float) -> Tensor:
    """How near to its target each point must come [N], that is to go so far [N]; see `DragSettings.tolerance`."""
    # Places that are searched lie a pixel apart: not below 0.75.
    return (lengths - _SHORTEST).clamp(0.75, tolerance if len(lengths) <= _FEW else 2 * tolerance)


def track(maps: Tensor, points: Tensor, original: Tensor, radius: float, size: int) -> Tensor:
    """Where the points [N,2] are now: of the places around them, those with the features nearest to `original` (Eq. 2).

    Args:
        maps: [1,C,r,r] the features of the image as it is now.
        points: where they were before.
        original: [N,1,C] their features at the start.
        radius: places are searched up to this far along x and y, a pixel apart.
        size: side of the image in pixels, in which points and radius are measured.
    """
    places = (points[:, None] + _grid(radius, points)).clamp(-0.5, size - 0.5)  # Ω_2, [N,K,2]
    nearest = (sample(maps, places, size) - original).abs().mean(2).argmin(1)  # [N]
    return places[torch.arange(len(points), device=points.device), nearest]


def sample(maps: Tensor, points: Tensor, size: int) -> Tensor:
    """The maps [1,C,r,r] at points [N,K,2], pixel indices of an image of this size: [N,K,C], interpolated linearly."""
    # -1 and 1 are the outer edges of the first and the last pixel, of maps of any resolution.
    grid = (2 * points + 1) / size - 1
    return F.grid_sample(maps, grid[None], padding_mode="border", align_corners=False)[0].permute(1, 2, 0)


def _padded(model: Model, mask: Tensor) -> Tensor:
    """The mask [1,1,size,size] of the generator's image, from one [1,1,H,W] of the content: what pads it stays."""
    first, end = model.domain.content_rows or (0, model.domain.size)
    return F.pad(mask, (0, 0, first, model.domain.size - end))


def _warn_outside(mask: Tensor, points: Tensor, size: int) -> None:
    """Warns (EditWarning) of points [N,2,2] that begin or end where the mask [1,1,size,size] lets nothing change."""
    for pair, values in zip(points.tolist(), sample(mask, points, size)[..., 0].tolist(), strict=True):
        if ends := [_text(point) for point, value in zip(pair, values, strict=True) if value == 0]:
            warn(
                f"a point to drag from {_text(pair[0])} to {_text(pair[1])}, and nothing may change at "
                f"{' and '.join(ends)}, outside of the mask. Make the mask wider, or take other points.",
                EditWarning,
            )


def _grid(radius: float, like: Tensor) -> Tensor:
    """Whole numbers (x, y) from -radius to radius, [K,2]."""
    line = torch.arange(-int(radius), int(radius) + 1).to(like)
    return torch.cartesian_prod(line, line)


def _text(point: Sequence[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in point)})"
