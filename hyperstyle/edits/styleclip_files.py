"""The files that StyleCLIP publishes for its global directions (Patashnik et al., ICCV 2021), and its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from hyperstyle.edits.stylespace import style_vectors
from hyperstyle.errors import CheckpointError, EditError, MissingDependencyError
from hyperstyle.io.pickle_reader import load_pickle
from hyperstyle.io.torch_files import load_numbers
from hyperstyle.networks.stylegan2.generator import LayerSpec

__all__ = ["default_templates", "read_deviations", "read_effects", "read_templates"]


def read_templates(path: str | Path) -> list[str]:
    """Sentences of a text file, one in a line; empty lines are left out. Raises CheckpointError."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as a text file of templates: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def default_templates() -> list[str]:
    """The sentences that StyleCLIP uses: CLIP's for ImageNet, but for the one about many things.

    Raises:
        MissingDependencyError: open_clip, which carries them, is not installed.
    """
    try:
        from open_clip import OPENAI_IMAGENET_TEMPLATES
    except ImportError as error:
        raise MissingDependencyError(
            "the default sentences around a description come with open_clip, which is not installed. Run: "
            "pip install \"hyperstyle-inversion[clip]\"; or pass StyleClip(..., templates=[...]), ['{}'] at the least."
        ) from error
    sentences = [str(template("{}")) for template in OPENAI_IMAGENET_TEMPLATES]
    return [sentence for sentence in sentences if " many " not in sentence]


def read_effects(path: str | Path, layers: Sequence[LayerSpec]) -> dict[str, Tensor]:
    """`fs3.npy`, also called `delta_i_c.npy`: [C,E] for the first convolutions -> layer name -> [I,E], float32.

    Args:
        path: the file.
        layers: those of the generator; the rows end with any of its convolutions, toRGB is not among them.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
        EditError: the rows end within a layer, or there are too many.
    """
    import numpy as np

    array = load_numbers(path)
    if array.dtype.kind != "f" or array.ndim != 2:
        raise CheckpointError(f"{path} holds no table of numbers [channels, features]. Expected fs3.npy (delta_i_c).")
    return _split(torch.from_numpy(np.ascontiguousarray(array, np.float32)), layers, str(path))


def read_deviations(path: str | Path, layers: Sequence[LayerSpec]) -> dict[str, Tensor]:
    """The deviations of `S_mean_std`: layer name -> [I], float32.

    Raises:
        CheckpointError: it cannot be read, would execute something, or holds something else.
        EditError: it is for another generator.
    """
    import numpy as np

    content = load_pickle(path)
    if isinstance(content, list | tuple) and len(content) == 2 and isinstance(content[1], list | tuple):
        vectors = content[1]
        if all(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in vectors):
            deviations = [torch.from_numpy(np.array(v, np.float32)).flatten() for v in vectors]
            return style_vectors(deviations, layers, str(path))
    raise CheckpointError(f"{path} holds no pair of means and deviations. Expected a file like S_mean_std.")


def _split(effects: Tensor, layers: Sequence[LayerSpec], where: str) -> dict[str, Tensor]:
    """Rows for the first convolutions, by layer name. Raises EditError where they end within a layer."""
    by_layer: dict[str, Tensor] = {}
    end = 0
    for spec in (spec for spec in layers if not spec.torgb):
        if end < len(effects):
            by_layer[spec.name] = effects[end : end + spec.style_width]
            end += spec.style_width
    if end != len(effects):
        total = sum(spec.style_width for spec in layers if not spec.torgb)
        raise EditError(
            f"{where} has {len(effects):,} rows, which do not end with a convolution of this generator; all of them "
            f"have {total:,} channels. It was made for another generator."
        )
    return by_layer
