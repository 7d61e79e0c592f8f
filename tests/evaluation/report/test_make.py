"""The whole report of a tiny model: what is written, what it says, and that an interrupted run goes on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyperstyle import ConfigError, HyperStyleInverter, MethodError
from hyperstyle.errors import HyperStyleError
from hyperstyle.evaluation.equal_effect import compare
from hyperstyle.evaluation.methods import Trial
from hyperstyle.evaluation.report import ReportOptions, make_report, study
from hyperstyle.evaluation.report.adaptation import tune_to
from hyperstyle.evaluation.report.effects import effects
from hyperstyle.evaluation.report.filters import comic
from hyperstyle.evaluation.report.pictures import TestPictures, drawn_pictures
from hyperstyle.inversion import Inversion

OPTIONS = ReportOptions(
    methods=tuple(map(Trial.of, ("hyperstyle", "w-encoder", "optimize-w+:2"))),
    optimised=2,
    points=3,
    edited=2,
    shown=2,
    adapt=1,
    title="Tiny & quick",
)
TABLES = ("table1_parts", "table1_forms", "table2", "table2_optimised", "table3", "out_of_domain")


class Balanced(HTMLParser):
    """Every element that is opened is closed; collects what the page refers to, and the pieces of it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.count: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        values = dict(attrs)
        self.links += [str(values[key]) for key in ("src", "href") if key in values]
        self.ids += [str(values["id"])] if "id" in values else []
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pictures(sensitive: HyperStyleInverter) -> TestPictures:
    return drawn_pictures(sensitive, 3)


@pytest.fixture(scope="module")
def report(sensitive: HyperStyleInverter, pictures: TestPictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole report, with an ablation of one pass less."""
    out = tmp_path_factory.mktemp("reports") / "tiny"
    other = {"few layers": _with_steps(sensitive, 1)}
    assert make_report(sensitive, pictures, out, OPTIONS, ablations=other) == out / "report.html"
    return out


def _with_steps(inverter: HyperStyleInverter, steps: int) -> HyperStyleInverter:
    model = inverter.model
    return HyperStyleInverter(model.generator, model.encoder, model.hypernetwork, domain=model.domain, steps=steps)


def test_the_page_is_one_whole_file_that_refers_to_nothing_outside_itself(report: Path) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in parser.links)
    assert {link[1:] for link in parser.links if link.startswith("#")} == set(parser.ids)
    assert "http" not in text.replace("http-equiv", "")
    assert "Tiny &amp; quick" in text
    assert parser.count["svg"] >= 2 + 2  # figures over time, an edit each
    assert parser.count["img"] > 60


def test_every_figure_is_in_json_and_csv_too(report: Path) -> None:
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert tuple(found["tables"]) == TABLES
    for name in TABLES:
        lines = (report / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 1 + len(found["tables"][name])
    methods = [row["method"] for row in found["tables"]["table2"]]
    assert methods == ["hyperstyle", "w-encoder"]
    assert [row["method"] for row in found["tables"]["table2_optimised"]] == [*methods, "optimize-w+:2"]
    assert [row["method"] for row in found["tables"]["table3"]] == ["hyperstyle", "hyperstyle:1", "few layers"]
    assert [row["passes"] for row in found["tables"]["table3"]] == [2, 1, 1]


def test_figures_are_those_of_inverting_by_hand(
    report: Path, sensitive: HyperStyleInverter, pictures: TestPictures
) -> None:
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    for row in found["tables"]["table2"]:
        inversions = [
            sensitive.invert(pictures.load(i), method=row["method"], align=False) for i in range(len(pictures))
        ]
        for key in ("l2", "perceptual", "identity"):
            mean = sum(one.metrics()[key][0] for one in inversions) / len(inversions)
            assert row[key] == pytest.approx(mean, abs=1e-5)
        assert (row["images"], row["seconds"] > 0) == (3, True)


def test_a_variant_of_one_pass_is_the_model_stopped_after_one(report: Path) -> None:
    _, once, ablation = json.loads((report / "report.json").read_text(encoding="utf-8"))["tables"]["table3"]
    assert ablation["l2"] == pytest.approx(once["l2"])


def test_effects_are_those_of_the_comparison_at_equal_effect(
    sensitive: HyperStyleInverter, pictures: TestPictures, report: Path
) -> None:
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))["effects"]["networks"]
    ways: dict[str, list[Inversion]] = {
        method: [sensitive.invert(pictures.load(i), method=method, align=False) for i in range(2)]
        for method in ("hyperstyle", "w-encoder")
    }
    expected = compare(sensitive.model, ways, ["age", "smile"], points=3)
    assert [(one["edit"], one["method"]) for one in found] == [(c.edit, c.method) for c in expected]
    assert any(len(curve.points) > 1 for curve in expected)
    for one, curve in zip(found, expected, strict=True):
        torch.testing.assert_close(
            torch.tensor(one["points"]), torch.tensor([(p.change, p.identity) for p in curve.points]), atol=1e-4, rtol=0
        )


def test_the_same_call_again_measures_nothing_again(
    report: Path, sensitive: HyperStyleInverter, pictures: TestPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (report / "rows.jsonl").read_bytes()
    tables = json.loads((report / "report.json").read_text(encoding="utf-8"))["tables"]

    def never(*_: object) -> Inversion:
        raise AssertionError("inverted again")

    monkeypatch.setattr(study, "invert_one", never)
    make_report(sensitive, pictures, report, OPTIONS, ablations={"few layers": _with_steps(sensitive, 1)})
    assert (report / "rows.jsonl").read_bytes() == before
    assert json.loads((report / "report.json").read_text(encoding="utf-8"))["tables"] == tables


def test_an_interrupted_run_goes_on_with_the_picture_it_was_at(
    sensitive: HyperStyleInverter, pictures: TestPictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, methods=(Trial("w-encoder"),), edits=("age",), adapt=0)
    real, done = study.invert_one, 0

    def interrupted(inverter: HyperStyleInverter, crop: Tensor, trial: Trial) -> Inversion:
        nonlocal done
        done += 1
        if done == 4:  # one that warms up, and two pictures
            raise KeyboardInterrupt
        return real(inverter, crop, trial)

    with monkeypatch.context() as patch:
        patch.setattr(study, "invert_one", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_report(sensitive, pictures, tmp_path, options)
    assert not (tmp_path / "report.html").exists()
    rows = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 2
    make_report(sensitive, pictures, tmp_path, options)
    after = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert after[: len(rows)] == rows
    assert [(json.loads(r)["method"], json.loads(r)["picture"]) for r in after[1:]] == [
        ("w-encoder", name) for name in pictures.names
    ]


def test_rows_of_another_model_are_not_mixed_in(
    report: Path, sensitive: HyperStyleInverter, tiny_inverter: HyperStyleInverter, pictures: TestPictures
) -> None:
    with pytest.raises(ConfigError, match="was begun with"):
        make_report(tiny_inverter, pictures, report, replace(OPTIONS, lpips=False, edits=None))


def test_a_model_of_an_encoder_alone_gets_a_report_of_what_it_has(
    sensitive: HyperStyleInverter, pictures: TestPictures, tmp_path: Path
) -> None:
    model = sensitive.model
    alone = HyperStyleInverter(model.generator, model.encoder, domain=model.domain)
    make_report(alone, pictures, tmp_path, ReportOptions(lpips=False, shown=1))
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(found["tables"]) == {"table1_parts", "table1_forms", "table2", "out_of_domain"}
    assert found["effects"] == {}


def test_a_model_without_networks_is_told_how_it_can_be_measured(
    sensitive: HyperStyleInverter, pictures: TestPictures, tmp_path: Path
) -> None:
    bare = HyperStyleInverter(sensitive.model.generator, domain=sensitive.model.domain)
    with pytest.raises(ConfigError, match=r"no network that inverts: .*--methods optimize-w\+:300 --optimised 4"):
        make_report(bare, pictures, tmp_path / "out", ReportOptions(lpips=False))


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"points": 1}, ConfigError, "points=1"),
        ({"optimised": -1}, ConfigError, "optimised=-1"),
        ({"optimised": 0}, ConfigError, "optimises each picture on its own"),
        ({"methods": (Trial("e4e"),)}, MethodError, "e4e"),
        ({"methods": (Trial("hyperstyle"), Trial("hyperstyle"))}, ConfigError, "each once"),
        ({"edits": ("beard",)}, HyperStyleError, "beard"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    changes: dict[str, object],
    error: type[Exception],
    match: str,
    sensitive: HyperStyleInverter,
    pictures: TestPictures,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=match):
        make_report(sensitive, pictures, tmp_path / "out", replace(OPTIONS, **changes))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_tuning_moves_the_generator_towards_the_look_and_leaves_the_model_alone(
    tiny_inverter: HyperStyleInverter,
) -> None:
    model = tiny_inverter.model
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}
    tuned = tune_to(model, comic, steps=8)
    w = model.generator.mapping(torch.randn(8, 16))
    with torch.no_grad():
        wanted = comic(model.generator(w))
        far, near = ((g(w) - wanted).square().mean() for g in (model.generator, tuned))
    assert near < 0.9 * far
    for name, value in model.generator.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, tuned.state_dict()[name]) or not name.startswith("style.")
    assert not any(p.requires_grad for p in tuned.parameters())


def test_effects_leave_out_changes_that_few_pictures_reach(sensitive: HyperStyleInverter) -> None:
    def row(reach: float) -> dict[str, object]:
        return {"edits": {"age": {"changes": [-reach, 0.0, reach], "identities": [0.8, 1.0, 0.9]}}}

    some = effects(sensitive.model, {"a": [row(1.0)] * 5, "b": [row(0.6)] * 4 + [row(0.1)]}, ["age"], points=3)
    assert [change for change, _ in some[0].points] == [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert some[0].points[4][1] == pytest.approx(0.95)
    assert some[1].points[4][1] == pytest.approx(1 - 0.1 * 0.5 / 0.6)
    assert some[0].reach == pytest.approx((-1.0, 1.0))
