"""Seconds and memory of loading, measured in separate processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hyperstyle.errors import ConfigError, ModelNotFoundError
from hyperstyle.evaluation import loading
from hyperstyle.evaluation.loading import measure_loading, run_in_subprocess, spread
from hyperstyle.io.components import load_tensors
from hyperstyle.io.files import peak_memory
from hyperstyle.io.hub import resolve


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_figure_is_there_and_they_fit_together(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    if not apart:  # three processes take ten seconds to start
        monkeypatch.setattr(loading, "run_in_subprocess", lambda function, *arguments: function(*arguments))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "me.png")
    torch.save({"a": torch.zeros(3)}, tmp_path / "official.pt")
    measured = measure_loading(
        tiny_model_dir, official=[tmp_path / "official.pt"], image=tmp_path / "me.png", steps=1, repeats=1
    )
    tensors = [load_tensors(file)[0] for file in tiny_model_dir.glob("*/model.safetensors")]
    values = sum(tensor.nbytes for part in tensors for tensor in part.values())
    assert values < measured["weights"] < values + 100_000  # and the headers
    assert (measured["model"], measured["steps"], measured["repeats"]) == (str(tiny_model_dir), 1, 1)
    assert measured["machine"]["dtype"] == "float32"
    assert measured["machine"]["torch"] == torch.__version__
    for key in ("seconds", "official_seconds", "official_mapped_seconds"):
        assert 0 < measured[key]["low"] <= measured[key]["median"] <= measured[key]["high"]
    if measured["imported"] is not None:
        low = [measured[key]["low"] for key in ("imported", "loaded", "inverted")]
        assert 50_000_000 < low[0] <= low[1] <= low[2]
        assert measured["share"] == measured["weights"] / measured["inverted"]["median"]


def test_what_goes_wrong_in_the_other_process_is_raised_here(tiny_model_dir: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no/such/model/here"):
        run_in_subprocess(resolve, "no/such/model/here")  # which loads no PyTorch there
    with pytest.raises(ConfigError, match="0 repeats: expected 1 or more"):
        measure_loading(tiny_model_dir, repeats=0)


def test_a_spread_is_median_smallest_and_largest() -> None:
    assert spread([3.0, 1.0, 10.0]) == {"median": 3.0, "low": 1.0, "high": 10.0}


@pytest.mark.skipif(peak_memory() is None, reason="this system does not tell")
def test_peak_memory_rises_with_what_is_used_and_never_falls(run_python: Any) -> None:
    code = """
from hyperstyle.io.files import peak_memory
from hyperstyle.io.hub import resolve
before = peak_memory()
used = b"x" * 300_000_000
during = peak_memory()
del used
print(during - before, peak_memory() - during)
"""
    result = run_python("-c", code)
    rise, fall = map(int, result.stdout.split())
    assert 250_000_000 < rise < 350_000_000
    assert abs(fall) < 10_000_000  # the system counts in portions
