"""Every example runs as it stands, from an empty folder, and leaves an image there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import RunPython

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_writes_an_image(example: Path, run_python: RunPython, tmp_path: Path) -> None:
    done = run_python("-W", "error", str(example), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = list(tmp_path.glob("*.png"))
    assert written
    with Image.open(written[0]) as image:
        low, high = image.convert("L").getextrema()
    assert high - low > 50  # something is on it
