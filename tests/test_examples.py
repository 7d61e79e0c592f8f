"""Every example runs as it stands, from an empty folder, and leaves an image there."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
APART = ("figures.py", "gpu_check.py")  # they take arguments: tests/examples
EXAMPLES = [path for path in sorted((ROOT / "examples").glob("[!_]*.py")) if path.name not in APART]
SLOW = ("domain_adaptation.py",)


@pytest.mark.filterwarnings("error")  # those that other tests ignore, too
@pytest.mark.parametrize(
    "example",
    [pytest.param(path, marks=pytest.mark.slow) if path.name in SLOW else path for path in EXAMPLES],
    ids=lambda path: path.name,
)
def test_an_example_runs_and_writes_an_image(example: Path, in_tmp_path: Path) -> None:
    runpy.run_path(str(example), run_name="__main__")
    written = list(in_tmp_path.glob("*.png"))
    assert written
    with Image.open(written[0]) as image:
        low, high = image.convert("L").getextrema()
    assert high - low > 50  # something is on it
