"""Comparison with the recordings: how it is judged, the table of all errors, and model folders made by `convert`.

Tolerances are those that come with the recordings: about 15 times the rounding of float32 and far below what any
mistake changes. With HYPERSTYLE_PARITY_TABLE=docs/parity.md the table of what was reached is written there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

import hyperstyle
from hyperstyle.convert import convert

if TYPE_CHECKING:
    from conftest import CheckpointMaker

# part of a name -> tolerance, and whether it is relative (to at least 0.01)
_RULES = (
    ("_index", 0.0, False),
    ("kept_layers", 0.0, False),
    ("_u8", 1.0, False),  # truncation to bytes may flip by one
    ("enlarged, of the largest", 3e-4, False),  # IDInvert: its instance normalization enlarges rounding
    ("fused, three passes", 1.5e-4, False),  # the same, with random weights, from 1.4 to 75 times as large
    ("passes, of the largest", 1.5e-5, False),  # ReStyle hands its rounding from pass to pass
    ("of the largest", 3e-6, False),
    ("delta_stats", 2e-5, True),
    ("full_stats", 1e-4, True),
    ("delta_", 1e-5, False),
    ("w_code", 1e-5, False),
    ("encoder_out", 1e-5, False),
    ("latents", 1e-5, False),
    ("_feats_", 1e-5, False),
    ("_loss", 1e-5, False),
    ("_improve", 1e-5, False),
    ("", 5e-5, False),  # images
)


@dataclass(frozen=True)
class Row:
    recording: str
    array: str
    error: float
    relative: bool
    allowed: float


class Parity:
    """Compares arrays with a recording and remembers every error."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def check(
        self,
        recording: str,
        array: str,
        actual: Tensor | npt.ArrayLike,
        expected: npt.ArrayLike,
        *,
        allowed: float | None = None,
    ) -> None:
        """Fails unless `actual` equals `expected` within `allowed`, or what the name of the array asks for."""
        values = actual.detach().cpu().numpy() if isinstance(actual, Tensor) else np.asarray(actual)
        recorded = np.asarray(expected)
        assert values.shape == recorded.shape, f"{recording}: {array} is {values.shape}, expected {recorded.shape}"
        relative = False
        if allowed is None:
            allowed, relative = next((t, r) for part, t, r in _RULES if part in array)
        allowed *= float(os.environ.get("HYPERSTYLE_PARITY_FACTOR", "1"))  # examples/gpu_check.py
        error = np.abs(values.astype(np.float64) - recorded.astype(np.float64))
        if relative:
            error = error / np.maximum(np.abs(recorded.astype(np.float64)), 1e-2)
        worst = float(error.max())
        self.rows.append(Row(recording, array, worst, relative, allowed))
        assert worst <= allowed, f"{recording}: {array} differs by {worst:.3g}, allowed {allowed:.0e}"

    def check_scaled(
        self, recording: str, array: str, actual: Tensor, expected: npt.NDArray[Any], note: str = "of the largest"
    ) -> None:
        """`check`, of both divided by the largest magnitude that is expected."""
        largest = float(np.abs(expected).max())
        self.check(recording, f"{array}, {note}", actual / largest, expected / largest)

    def covers(self, recording: str, golden: dict[str, Any]) -> None:
        """Fails unless every array of the recording but the input was compared."""
        seen = {row.array.partition(",")[0] for row in self.rows if row.recording == recording}
        assert not (missing := set(golden) - seen - {"input_u8", "input_crop"}), (
            f"{recording}: not compared: {sorted(missing)}"
        )

    def table(self) -> str:
        """The errors as a Markdown page."""
        lines = [_HEAD.format(torch=torch.__version__, machine=platform.machine(), threads=torch.get_num_threads())]
        for recording in dict.fromkeys(row.recording for row in self.rows):
            lines += [f"\n## {recording}\n", "| array | largest error | allowed |", "|---|---|---|"]
            for row in self.rows:
                if row.recording == recording:
                    kind = " relative" if row.relative else ""
                    lines.append(f"| {row.array} | {row.error:.2g}{kind} | {row.allowed:g} |")
        return "\n".join(lines) + "\n"


_HEAD = """# Parity with the original code

Every recorded array of the original implementation, and how far this library is from it: the largest absolute error
(relative where it says so, to at least 0.01) in float32 on a CPU. The recordings were made with seeded weights in the
official layouts, since trained ones cannot be shipped; the library read them through `hyperstyle.convert` and computed
the rest through its public interface. This page was written by

```
HYPERSTYLE_REFERENCE=FOLDER HYPERSTYLE_PARITY_TABLE=docs/parity.md pytest tests/parity -m "slow or not slow"
```

where FOLDER has the recordings, with PyTorch {torch} on {machine}, threads: {threads}. It takes 5 to 10
minutes on two cores; large files are deleted after use. Without `-m`, the quick part runs (faces, cars and NVIDIA's
generator), which is also a part of continuous integration. `tests/test_golden.py` pins small networks of every kind on
machines that lack the recordings.

Images are synthesized as on a CPU by default (`networks/cpu`). ReStyle feeds what it synthesized to its encoder again,
and with random weights each step amplifies earlier rounding errors by a factor of five: it is also compared in the
structure of the official code, the rows without "fused"."""


@pytest.fixture(scope="session")
def parity() -> Iterator[Parity]:
    """Compares with recordings; writes the table of errors where HYPERSTYLE_PARITY_TABLE names a file."""
    comparison = Parity()
    yield comparison
    if (place := os.environ.get("HYPERSTYLE_PARITY_TABLE")) and comparison.rows:
        Path(place).write_text(comparison.table(), encoding="utf-8")


Converted = Callable[..., AbstractContextManager[hyperstyle.HyperStyleInverter]]


@pytest.fixture
def converted(checkpoint_maker: CheckpointMaker, tmp_path: Path) -> Converted:
    """Draws official files, converts them, and loads the model folder; all files are gone at the end."""

    @contextmanager
    def make(
        source: str,
        encoder: str | None = None,
        *,
        family: str = "hyperstyle",
        dtype: torch.dtype | None = None,
        **opts: Any,
    ) -> Iterator[hyperstyle.HyperStyleInverter]:
        files = {"source": tmp_path / f"{source}.pt"}
        if family == "baselines":
            manifest = checkpoint_maker.manifest(family, source)
            checkpoint_maker.script("hyperinverter").make(manifest, 0, files["source"])
        else:
            checkpoint_maker.write(source, files["source"], **opts)
        if encoder is not None:
            files["encoder"] = checkpoint_maker.write(encoder, tmp_path / f"{encoder}.pt")
        folder = tmp_path / f"model_{source}"
        convert(out=folder, **files)
        for file in files.values():
            file.unlink()
        device = os.environ.get("HYPERSTYLE_PARITY_DEVICE", "cpu")  # examples/gpu_check.py
        yield hyperstyle.HyperStyleInverter.from_pretrained(folder, device=device, dtype=dtype)
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        folder.rmdir()

    return make
