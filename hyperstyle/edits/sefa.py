"""Directions out of the weights alone: closed-form factorization (SeFa; Shen & Zhou, CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hyperstyle.edits.direction import DirectionEdit
from hyperstyle.edits.protocol import EditInfo
from hyperstyle.edits.sampling import leading_eigenvectors
from hyperstyle.errors import EditError
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import LayerSpec

_FAR = 1024.0  # distance from the origin at which weights are measured: there the bias causes less rounding


def closed_form(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The directions of W that change the styles of some layers most.

    They are the eigenvectors of A Aᵀ, where the columns of A are the weights of the affine layers, one for each channel
    of the styles, scaled to unit length. The largest entry of each direction is positive.

    Args:
        weights: [I,D] of the affine layers; a factor in front of one changes nothing.

    Returns:
        Eigenvalues [D], largest first, and unit directions [D,D], a row each, float64.

    Raises:
        EditError: no weights, of different widths, or a channel that no code moves.
    """
    shapes = [tuple(weight.shape) for weight in weights]
    if not weights or any(weight.ndim != 2 or weight.shape[1] != weights[0].shape[-1] for weight in weights):
        raise EditError(f"weights of shapes {shapes}: expected one or more [I, D] of the same D.")
    columns = torch.cat([weight.detach().double().cpu() for weight in weights])  # Aᵀ
    lengths = columns.norm(dim=1, keepdim=True)
    if not torch.isfinite(lengths).all() or not (lengths > 0).all():
        raise EditError("weights with a channel that is all zeros or not finite: these layers have no directions.")
    columns = columns / lengths  # of unit length, so that no channel counts more than another
    # max over |n| = 1 of |Aᵀ n|² is an eigenvalue problem: A Aᵀ n = λ n, [D,D].
    return leading_eigenvectors(columns.T @ columns)


def sefa(
    generator: StyleGenerator,
    layers: Sequence[str | int] | None = None,
    *,
    count: int = 10,
    model: str = "",
) -> list[DirectionEdit]:
    """The edits that change the styles of these layers most, strongest first, named `sefa_0`, `sefa_1`, ...

    They move the rows of W+ that feed the layers (a toRGB layer that shares a row is moved too), and one unit of
    strength is a distance of 1 in W.

    Args:
        generator: any; no samples are needed.
        layers: by name or official index; None is all but the toRGB layers.
        count: how many edits.
        model: fingerprint of the generator, see `EditInfo`.

    Raises:
        ConfigError: a layer that is not there.
        EditError: no layers, or a count that is below 1 or above the width of W.
    """
    specs = [s for s in generator.layers if not s.torgb] if layers is None else [generator.layer(n) for n in layers]
    specs = sorted(set(specs), key=lambda spec: spec.index)
    width = generator.config.latent_width
    if not 1 <= count <= width:
        raise EditError(f"{count} directions of {width} numbers: expected 1 to {width}.")
    values, vectors = closed_form(_weights(generator, specs))
    names, touched = [spec.name for spec in specs], sorted({spec.row for spec in specs})
    first, end = touched[0], touched[-1] + 1
    edits = []
    for i in range(count):
        info = EditInfo(
            f"sefa_{i}",
            low=-5.0,
            high=5.0,
            unit="distance in W",
            source=f"SeFa on {names[0] if len(names) == 1 else f'{names[0]} to {names[-1]}'}",
            model=model,
            report={"layers": names, "eigenvalue": float(values[i])},
        )
        direction = vectors[i].float()
        if len(touched) == end - first:
            edits.append(DirectionEdit(direction, info, (first, end)))
        else:
            moves = torch.zeros(generator.config.rows, width)
            moves[touched] = direction
            edits.append(DirectionEdit(moves, info))
    return edits


@torch.no_grad()
def _weights(generator: StyleGenerator, specs: Sequence[LayerSpec]) -> list[Tensor]:
    """What the affine layers multiply codes by, [I,D] each, up to a common factor: `Generator.styles` is affine."""
    width, like = generator.config.latent_width, generator.latent_avg
    axes = _FAR * torch.eye(width, device=like.device, dtype=like.dtype)
    far, origin = generator.styles(axes), generator.styles(torch.zeros_like(axes[:1]))
    return [(far[spec.name] - origin[spec.name]).T for spec in specs]
