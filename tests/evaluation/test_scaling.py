"""How costs grow, on a small model."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from hyperstyle.errors import ConfigError
from hyperstyle.evaluation import scaling
from hyperstyle.evaluation.cases import Case, Implementation, Work
from hyperstyle.evaluation.loading import Spread
from hyperstyle.evaluation.plots import scaling_plot
from hyperstyle.evaluation.scaling import Cost, Scaling, measure_scaling
from hyperstyle.inverter import HyperStyleInverter


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size


def test_each_value_has_its_time_and_its_memory(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Implementation | None, Work]] = []

    def peak(case: Case, way: Implementation | None, work: Work, threads: int) -> int:
        calls.append((way, work))
        return 10 if way is None else 20 + work.images

    monkeypatch.setattr(scaling, "peak_in_subprocess", peak)
    values = {"steps": (0, 2), "batch": (2,), "edits": (3,)}
    threads = torch.get_num_threads()
    result = measure_scaling(
        Case(model=str(tiny_model_dir)), ["steps", "edits", "batch", "steps"], values=values, repeats=2, threads=1
    )
    assert torch.get_num_threads() == threads
    works = [Work(steps=0), Work(steps=2), Work(edits=3), Work(batch=2)]
    assert calls == [(None, works[0]), *(("fast", work) for work in works)]
    assert [(cost.over, cost.value) for cost in result.costs] == [
        ("steps", 0),
        ("steps", 2),
        ("edits", 3),
        ("batch", 2),
    ]
    assert [(cost.way, cost.peak, cost.built) for cost in result.costs] == [
        ("fast", 20 + work.images, 10) for work in works
    ]
    assert all(0 < cost.seconds.low <= cost.seconds.median <= cost.seconds.high for cost in result.costs)
    assert result.machine["threads"] == 1


def test_each_size_is_a_separate_model_and_is_built_once(
    tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []

    def build(self: Case) -> HyperStyleInverter:
        built.append(self.size)
        return tiny_inverter

    monkeypatch.setattr(Case, "build", build)
    values = {"size": (256, 512), "steps": (0, 1)}
    scaling = measure_scaling(Case(1024), ["size", "steps"], values=values, memory=False, repeats=1)
    assert built == [1024, 256, 512]
    assert [(cost.over, cost.value, cost.peak) for cost in scaling.costs] == [
        ("steps", 0, None),
        ("steps", 1, None),
        ("size", 256, None),
        ("size", 512, None),
    ]


def test_the_plain_path_is_measured_where_its_memory_suffices(
    tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "build", lambda self: tiny_inverter)
    monkeypatch.setattr(scaling, "prepared", lambda way, inverter, work: lambda: None)
    monkeypatch.setattr(scaling, "plain_fits", lambda parts, batch: batch < 2)
    result = measure_scaling(Case(), ["batch"], values={"batch": (1, 2)}, plain=True, memory=False, repeats=1)
    assert [(cost.value, cost.way) for cost in result.costs] == [(1, "fast"), (1, "plain"), (2, "fast")]


@pytest.mark.parametrize(
    ("case", "over", "options", "message"),
    [
        (Case(), ["hats"], {}, "costs over 'hats' are not measured: expected some of steps, batch, size, edits"),
        (Case(model="avatars"), ["size"], {}, "'avatars' has one size: measure it over steps, batch, edits"),
        (Case(), ["steps"], {"repeats": 0}, "0 repeats, None threads: expected 1 or more"),
        (Case(100), ["steps"], {}, "a model of 100 px"),
        (Case(), [], {}, "nothing to measure: expected"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_model_is_built(
    case: Case, over: list[str], options: dict[str, int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "build", lambda self: pytest.fail("built"))
    with pytest.raises(ConfigError, match=message):
        measure_scaling(case, over, **options)  # type: ignore[arg-type]


def test_the_plot_has_a_column_for_each_thing_varied_and_a_row_for_memory() -> None:
    seconds = Spread(1.0, 0.9, 1.2)

    def plot_size(*costs: Cost) -> tuple[int, int]:
        return size_of(scaling_plot(Scaling("random", 3, costs, {})))

    steps = [Cost("steps", n, way, seconds, seconds, None, None) for n in (0, 5) for way in ("fast", "plain")]
    edits = Cost("edits", 4, "fast", seconds, seconds, 1 << 30, 1 << 29)
    width, height = plot_size(*steps)
    assert plot_size(*steps, edits) == (2 * width, 2 * height)
