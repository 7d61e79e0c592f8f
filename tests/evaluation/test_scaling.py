"""How costs grow, on a small model."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation import scaling
from hyperstyle.evaluation.cases import Case, Implementation, Workload
from hyperstyle.evaluation.journal import Record
from hyperstyle.evaluation.plots import scaling_plot
from hyperstyle.evaluation.scaling import measure_scaling
from hyperstyle.inverter import HyperStyleInverter


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size


def test_each_value_has_its_time_and_its_memory(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Implementation | None, Workload]] = []

    def peak(case: Case, way: Implementation | None, work: Workload) -> int:
        calls.append((way, work))
        return 10 if way is None else 20 + work.images

    monkeypatch.setattr(scaling, "peak_in_subprocess", peak)
    monkeypatch.setattr(scaling, "OVER", {"steps": (0, 2), "batch": (2,), "edits": (3,)})
    threads = torch.get_num_threads()
    report = measure_scaling(Case(model=str(tiny_model_dir), repeat=2, threads=1), ["steps", "edits", "batch", "steps"])
    assert torch.get_num_threads() == threads
    works = [Workload(steps=0), Workload(steps=2), Workload(edits=3), Workload(batch=2)]
    assert calls == [(None, Workload()), *(("fast", work) for work in works)]
    costs = report["costs"]
    assert [(cost["over"], cost["value"]) for cost in costs] == [("steps", 0), ("steps", 2), ("edits", 3), ("batch", 2)]
    assert [(cost["way"], cost["peak"], cost["built"]) for cost in costs] == [
        ("fast", 20 + work.images, 10) for work in works
    ]
    seconds = [cost["seconds"] for cost in costs]
    assert all(0 < figures["low"] <= figures["median"] <= figures["high"] for figures in seconds)
    assert report["machine"]["threads"] == 1


def test_each_size_is_a_separate_model_and_is_built_once(
    tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []

    def build(self: Case) -> HyperStyleInverter:
        built.append(self.size)
        return tiny_inverter

    monkeypatch.setattr(Case, "build", build)
    monkeypatch.setattr(scaling, "OVER", {"size": (256, 1024), "steps": (0, 1)})
    report = measure_scaling(Case(1024, repeat=1), ["size", "steps"], memory=False)
    assert sorted(built) == [256, 1024]
    assert [(cost["over"], cost["value"], cost["peak"]) for cost in report["costs"]] == [
        ("size", 256, None),
        ("size", 1024, None),
        ("steps", 0, None),
        ("steps", 1, None),
    ]


def test_the_plain_path_is_measured_where_its_memory_suffices(
    tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "build", lambda self: tiny_inverter)
    monkeypatch.setattr(scaling, "build_run", lambda way, inverter, work: lambda: None)
    monkeypatch.setattr(scaling, "plain_fits", lambda parts, batch: batch < 2)
    monkeypatch.setattr(scaling, "OVER", {"batch": (1, 2)})
    report = measure_scaling(Case(repeat=1), ["batch"], plain=True, memory=False)
    assert [(cost["value"], cost["way"]) for cost in report["costs"]] == [(1, "fast"), (1, "plain"), (2, "fast")]


@pytest.mark.parametrize(
    ("case", "over", "message"),
    [
        (Case(), ["hats"], "costs over 'hats' are not measured: expected some of steps, batch, size, edits"),
        (Case(model="avatars"), ["size"], "'avatars' has one size: measure it over steps, batch, edits"),
        (Case(repeat=0), ["steps"], "0 repeats, None threads: expected 1 or more"),
        (Case(100), ["steps"], "a model of 100 px"),
        (Case(), [], "nothing to measure: expected"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_model_is_built(
    case: Case, over: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "build", lambda self: pytest.fail("built"))
    with pytest.raises(ConfigError, match=message):
        measure_scaling(case, over)


def test_the_plot_has_a_column_for_each_thing_varied_and_a_row_for_memory() -> None:
    def cost(over: str, value: int, way: str, peak: int | None = None) -> Record:
        seconds = {"median": 1.0, "low": 0.9, "high": 1.2}
        return {"over": over, "value": value, "way": way, "seconds": seconds, "cpu": seconds, "peak": peak}

    steps = [cost("steps", n, way) for n in (0, 5) for way in ("fast", "plain")]
    width, height = size_of(scaling_plot(steps))
    assert size_of(scaling_plot([*steps, cost("edits", 4, "fast", 1 << 30)])) == (2 * width, 2 * height)
