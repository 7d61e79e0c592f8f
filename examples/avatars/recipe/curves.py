"""The learning curves of a run as one image, from the logs of its stages."""

from __future__ import annotations

import io
import json
from pathlib import Path

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import LOG, Sets
from hyperstyle.errors import MissingDependencyError, MissingFileError
from hyperstyle.io.files import write_bytes

__all__ = ["draw_curves"]

_PANELS = {  # stage -> (title, held-out figures to draw)
    "generator": ("generator: L2, clean", ("test_l2",)),
    "encoder": ("W encoder: L2", ("clean_l2", "detailed_l2")),
    "hypernetwork": ("hypernetwork: L2 / W encoder's", ("ratio_1", "ratio_2", "ratio_3", "ratio_5", "ratio_10")),
    "perceptual": ("perceptual network", ("identity_auc", "r2_yaw", "r2_smile", "r2_age")),
    "judge": ("judge", ("identity_auc", "r2_yaw", "r2_smile", "r2_age")),
}


def draw_curves(recipe: Recipe, data: Sets, run: Path) -> None:
    """Writes `run/curves.png`; needs matplotlib.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        MissingFileError: a stage has no log yet.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            'learning curves need matplotlib, which is not installed. Run: pip install "hyperstyle-inversion[plots]".'
        ) from error
    figure = Figure(figsize=(4 * len(_PANELS), 3.2), layout="constrained")
    for i, (stage, (title, keys)) in enumerate(_PANELS.items()):
        axes = figure.add_subplot(1, len(_PANELS), i + 1)
        sizes = recipe.generator.resolutions[2:] if stage == "generator" else (None,)
        for size in sizes:
            rows = _rows(run / stage / (str(size) if size else "") / "log.jsonl")
            for key in keys:
                points = [(row["step"], row[key]) for row in rows if key in row]
                label = f"{size} px" if size else key
                axes.plot([p[0] for p in points], [p[1] for p in points], marker=".", label=label)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    write_bytes(run / "curves.png", buffer.getvalue())
    LOG.info("curves drawn in %s", run / "curves.png")


def _rows(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        raise MissingFileError(f"no log {path}: run the stages first, or name this run's folder.")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
