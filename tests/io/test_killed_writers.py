"""Whoever kills a writer, and whenever: a reader finds the old content or the new one, and the next writer goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import RunPython

pytestmark = pytest.mark.skipif(not hasattr(sys, "addaudithook") or sys.platform == "win32", reason="processes fork")


@pytest.fixture(scope="module")
def outcomes(run_python: RunPython, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What readers found after writers were killed at every step, by writer."""
    script = Path(__file__).with_name("kill_at_every_step.py")
    result = run_python("-W", "ignore", str(script), str(tiny_model_dir), str(tmp_path_factory.mktemp("killed")))
    assert result.returncode == 0, result.stderr
    counts: dict[str, Any] = json.loads(result.stdout)
    return counts


@pytest.mark.parametrize("writer", ["save_pretrained", "convert", "new", "edit", "inversion", "checkpoint"])
def test_a_reader_finds_the_old_or_the_new_and_the_next_writer_leaves_nothing_else(
    outcomes: dict[str, Any], writer: str
) -> None:
    counts = dict(outcomes[writer])
    assert counts.pop("litter") == []
    assert counts.pop("steps") >= 5
    assert counts.pop("new at last") >= 1
    assert set(counts) == {"old", "new"}
