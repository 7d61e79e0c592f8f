"""The whole report of a tiny model: its files, its contents, and that an interrupted run continues."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle import ConfigError, HyperStyleInverter, MethodError, metrics
from hyperstyle.errors import HyperStyleError
from hyperstyle.evaluation import engine
from hyperstyle.evaluation.equal_effect import effect_curves, measure_effects
from hyperstyle.evaluation.images import EvaluationImages, digest, held_out_images
from hyperstyle.evaluation.report import ReportOptions, make_report
from hyperstyle.evaluation.report.tables import not_measured
from hyperstyle.evaluation.trials import Trial
from hyperstyle.inversion.inversion import Inversion

OPTIONS = ReportOptions(
    methods=tuple(map(Trial.of, ("hyperstyle", "w-encoder", "optimize-w+:2"))),
    optimized=2,
    points=3,
    edited=2,
    shown=2,
    title="Tiny & quick",
)
TABLES = ("table1_parts", "table2", "table2_optimised", "table2_paper", "table3", "out_of_domain")


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
        self.ids += [str(values["id"])] if tag == "section" else []
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def images(sensitive: HyperStyleInverter) -> EvaluationImages:
    return held_out_images(sensitive, 3)


@pytest.fixture(scope="module")
def report(sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole report, with an ablation of one step less, and two photos."""
    out = tmp_path_factory.mktemp("reports") / "tiny"
    other, photos = {"one-step": _with_steps(sensitive, 1)}, _photos(images)
    assert make_report(sensitive, images, out, OPTIONS, ablations=other, photos=photos) == out / "report.html"
    return out


def _evaluation_images(crops: Sequence[Tensor], names: Sequence[str]) -> EvaluationImages:
    """Crops with names, as images to evaluate."""
    return EvaluationImages("given", tuple(names), lambda i: crops[i], tuple(map(digest, crops)))


def _photos(images: EvaluationImages) -> EvaluationImages:
    return _evaluation_images([images.load(0).flip(2), images.load(1).flip(1)], ["a.png", "b.png"])


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _results(out: Path) -> Any:
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


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
    assert parser.count["svg"] == 2 + 2 * 2  # figures over time; of networks and of all methods two edits each
    assert parser.count["img"] == 2 * 4 + 2 * 2 * 6 + 9 + 2 * 5  # reconstructions, edits, interpolation, photos


def test_every_figure_is_in_json_and_csv_too(report: Path) -> None:
    results = json.loads((report / "report.json").read_text(encoding="utf-8"))
    assert tuple(results["tables"]) == TABLES
    for name in TABLES:
        rows = _csv(report / f"{name}.csv")
        values = [{key: value for key, value in row.items() if value} for row in rows]
        assert values == [{k: str(v) for k, v in row.items() if v is not None} for row in results["tables"][name]]
    points = [(o["edit"], o["method"], *p) for group in results["effects"].values() for o in group for p in o["points"]]
    plotted = [(r["edit"], r["method"], float(r["change"]), float(r["identity"])) for r in _csv(report / "figure6.csv")]
    assert (plotted, len(plotted) > 4) == (points, True)
    means = [(o["edit"], o["method"], o["mean"], *o["reach"]) for group in results["effects"].values() for o in group]
    assert means == [
        (r["edit"], r["method"], float(r["identity"]) if r["identity"] else None, float(r["low"]), float(r["high"]))
        for r in _csv(report / "figure6_means.csv")
    ]
    methods = [row["method"] for row in results["tables"]["table2"]]
    assert methods == ["hyperstyle", "w-encoder"]
    assert [row["method"] for row in results["tables"]["table2_optimised"]] == [*methods, "optimize-w+:2"]
    assert [row["method"] for row in results["tables"]["table3"]] == ["hyperstyle", "one-step"]
    assert [row["passes"] for row in results["tables"]["table3"]] == [2, 1]
    assert [row["method"] for row in results["tables"]["table2_paper"]] == ["hyperstyle", "optimize-w+"]


def test_figures_are_those_of_inverting_by_hand(
    report: Path, sensitive: HyperStyleInverter, images: EvaluationImages
) -> None:
    results = json.loads((report / "report.json").read_text(encoding="utf-8"))
    for row in results["tables"]["table2"]:
        inversions = [sensitive.invert(images.load(i), method=row["method"], align=False) for i in range(len(images))]
        for key in ("l2", "perceptual", "identity"):
            mean = sum(inversion.metrics()[key][0] for inversion in inversions) / len(inversions)
            assert row[key] == pytest.approx(mean, abs=1e-5)
        assert (row["images"], row["seconds"] > 0) == (3, True)


def test_a_variant_of_one_step_is_the_model_stopped_after_one(
    report: Path, sensitive: HyperStyleInverter, images: EvaluationImages
) -> None:
    _, variant = _results(report)["tables"]["table3"]
    inversions = [sensitive.invert(images.load(i), steps=1, align=False) for i in range(len(images))]
    mean = sum(inversion.metrics()["l2"][0] for inversion in inversions) / len(inversions)
    assert variant["l2"] == pytest.approx(mean, abs=1e-5)


def test_photos_out_of_the_domain_are_measured_before_and_after_refinement(
    report: Path, sensitive: HyperStyleInverter, images: EvaluationImages
) -> None:
    photos = _photos(images)
    for i, row in enumerate(_results(report)["tables"]["out_of_domain"]):
        refined = sensitive.invert(photos.load(i), align=False)
        assert row["kind"] == photos.names[i]
        for when, inversion in {"before": refined.initial, "after": refined}.items():
            target = photos.load(i)[None]
            image = sensitive.model.domain.resize_to_input(inversion.tensor)
            assert row[f"l2_{when}"] == pytest.approx(float(metrics.l2(image, target)), abs=1e-5)


def test_effects_are_those_of_the_comparison_at_equal_effect(
    sensitive: HyperStyleInverter, images: EvaluationImages, report: Path
) -> None:
    curves = json.loads((report / "report.json").read_text(encoding="utf-8"))["effects"]["networks"]
    edits = ("age", "smile")
    rows = {
        method: [
            {"edits": measure_effects(sensitive.invert(images.load(i), method=method, align=False), edits, points=3)}
            for i in range(2)
        ]
        for method in ("hyperstyle", "w-encoder")
    }
    expected = effect_curves(sensitive.model, rows, edits, points=3)
    assert [(entry["edit"], entry["method"]) for entry in curves] == [(c.edit, c.method) for c in expected]
    assert any(len(curve.points) > 1 for curve in expected)
    for entry, curve in zip(curves, expected, strict=True):
        torch.testing.assert_close(
            torch.tensor(entry["points"]),
            torch.tensor([(p.change, p.identity) for p in curve.points]),
            atol=1e-4,
            rtol=0,
        )


def test_the_same_call_again_measures_nothing_again(
    report: Path, sensitive: HyperStyleInverter, images: EvaluationImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (report / "rows.jsonl").read_bytes()
    tables = json.loads((report / "report.json").read_text(encoding="utf-8"))["tables"]

    def never(*_: object, **__: object) -> Inversion:
        raise AssertionError("inverted again")

    monkeypatch.setattr(engine, "invert_one", never)
    ablations = {"one-step": _with_steps(sensitive, 1)}
    make_report(sensitive, images, report, OPTIONS, ablations=ablations, photos=_photos(images))
    assert (report / "rows.jsonl").read_bytes() == before
    assert json.loads((report / "report.json").read_text(encoding="utf-8"))["tables"] == tables


def test_an_interrupted_run_goes_on_with_the_image_it_was_at(
    sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, methods=(Trial("w-encoder"),), edits=("age",))
    real, done = engine.invert_one, 0

    def interrupted(*args: Any, **kwargs: Any) -> Inversion:
        nonlocal done
        done += 1
        if done == 4:  # one that warms up, and two images
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "invert_one", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_report(sensitive, images, tmp_path, options)
    assert not (tmp_path / "report.html").exists()
    rows = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 2
    make_report(sensitive, images, tmp_path, options)
    after = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert after[: len(rows)] == rows
    names = [(json.loads(row)["method"], json.loads(row)["picture"]) for row in after[1:]]
    assert names == [("w-encoder", name) for name in images.names]


def test_other_images_of_the_same_names_are_measured_anew(
    sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path
) -> None:
    options = replace(OPTIONS, methods=(Trial("w-encoder"),), edits=("age",))
    first, second = (_evaluation_images([images.load(i), images.load(i).flip(2)], ["a", "b"]) for i in range(2))
    reports = []
    for image_set in (first, second, first):
        make_report(sensitive, image_set, tmp_path, options)
        reports.append(_results(tmp_path))
    for figures in (
        [[report["tables"]["table2"][0][key] for key in ("l2", "perceptual", "identity")] for report in reports],
        [[effect["mean"] for effect in report["effects"]["networks"]] for report in reports],
    ):
        assert figures[0] == figures[2] != figures[1]


def test_an_image_that_comes_before_the_others_does_not_take_their_reconstructions(
    sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path
) -> None:
    options = replace(OPTIONS, methods=(Trial("w-encoder"),), edited=0)
    make_report(sensitive, _evaluation_images([images.load(0)], ["b"]), tmp_path, options)
    (known,) = (tmp_path / "reconstructions" / "w-encoder").iterdir()
    content = known.read_bytes()
    make_report(sensitive, _evaluation_images([images.load(1), images.load(0)], ["a", "b"]), tmp_path, options)
    assert known.read_bytes() == content
    assert len(list(known.parent.iterdir())) == 2


def test_an_ablation_of_other_steps_is_measured_anew(
    sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path
) -> None:
    options = replace(OPTIONS, methods=(Trial("w-encoder"),), edited=0, shown=1)
    figures = []
    for steps in (1, 2):
        make_report(sensitive, images, tmp_path, options, ablations={"other": _with_steps(sensitive, steps)})
        figures.append(_results(tmp_path)["tables"]["table3"][-1]["l2"])
    assert figures[0] != pytest.approx(figures[1], rel=1e-6)


def test_what_is_left_out_and_what_is_taken_as_a_crop_is_reported_for_photos_too(
    sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path
) -> None:
    photos = replace(
        _evaluation_images([images.load(0)], ["a"]), failures=(("b", "broken"),), without_face=(("a", "no face"),)
    )
    options = replace(OPTIONS, methods=(Trial("w-encoder"),), edited=0, shown=1)
    make_report(sensitive, images, tmp_path, options, photos=photos)
    assert _results(tmp_path)["photos"] == {
        "source": "given",
        "count": 1,
        "failures": [["b", "broken"]],
        "taken_as_crops": [["a", "no face"]],
    }
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 file(s) of given left out. b: broken" in text
    assert "1 file(s) of given taken as crops. a: no face" in text


def test_rows_of_another_model_are_not_mixed_in(
    report: Path, sensitive: HyperStyleInverter, tiny_inverter: HyperStyleInverter, images: EvaluationImages
) -> None:
    with pytest.raises(ConfigError, match="was begun with"):
        make_report(tiny_inverter, images, report, replace(OPTIONS, lpips=False, edits=None))


def test_a_model_of_an_encoder_alone_gets_a_report_of_what_it_has(
    sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path
) -> None:
    model = sensitive.model
    alone = HyperStyleInverter(model.generator, model.encoder, domain=model.domain)
    make_report(alone, images, tmp_path, ReportOptions(lpips=False, shown=1))
    results = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(results["tables"]) == {"table1_parts", "table2"}
    assert results["effects"] == {}
    lacking = {entry["what"]: f"{entry['because']}; {entry['change']}" for entry in results["not_measured"]}
    assert lacking == {
        "LPIPS": "--lpips no was given; --lpips yes",
        "identity": "the model has no evaluator, and no network of identity was named; --identity FILE",
        "FID and KID": "they were not asked for; --fid FILE.pth",
        "W+ optimization and PTI (Table 2b)": "the model has no perceptual network for them; "
        "--optimized N, with LPIPS in its place",
        "identity over edits (Figure 6)": "the model has no evaluator that reads traits and identity; "
        "an evaluator in the model folder",
        "HyperStyle": "the model has no hypernetwork; hyperstyle train hyperstyle",
        "other forms of the model (Table 3)": "none were named; --ablation NAME=MODEL",
        "photos out of the domain (Figure 8)": "none were named; --photos FOLDER",
    }
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f'<td class="words">{what}</td>' in text for what in lacking)
    assert not (tmp_path / "figure6.csv").exists()


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({}, ["LPIPS", "FID and KID", "other forms", "photos"]),
        ({"lpips": True}, ["FID and KID", "other forms", "photos"]),
        ({"methods": None, "optimized": 0, "fid": True}, ["LPIPS", "W+ optimization", "other forms", "photos"]),
        ({"edited": 0}, ["LPIPS", "FID and KID", "identity over edits", "other forms", "photos"]),
    ],
)
def test_a_model_with_all_parts_lacks_what_was_not_asked_for(
    sensitive: HyperStyleInverter, changes: dict[str, Any], lines: list[str]
) -> None:
    options = replace(OPTIONS, **changes)
    optimized = options.optimized or 0
    missing = not_measured(
        sensitive, options, images=3, optimized=optimized, edits=("age", "smile"), ablations=False, photos=False
    )
    named = [str(row["what"]) for row in missing.rows]
    assert [what.startswith(line) for what, line in zip(named, lines, strict=True)] == [True] * len(lines)


def test_edits_that_the_evaluator_does_not_read_are_named(sensitive: HyperStyleInverter) -> None:
    options = replace(OPTIONS, lpips=True, fid=True)
    table = not_measured(sensitive, options, images=1, optimized=2, edits=("age",), ablations=True, photos=True)
    row = table.rows[1]
    assert (row["what"], row["because"]) == ("identity over edits (Figure 6)", "the evaluator reads no trait of smile")


def test_without_matplotlib_the_report_is_complete_but_for_its_plots_and_says_so_once(
    sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    options = replace(OPTIONS, methods=(Trial("hyperstyle"), Trial("w-encoder")), edits=("age",), shown=1)
    text = make_report(sensitive, images, tmp_path, options).read_text(encoding="utf-8")
    assert "<svg" not in text
    assert text.count("matplotlib is not installed") == 1
    assert "Quality over time" not in text
    assert _csv(tmp_path / "figure6.csv")


def test_a_model_without_networks_gets_a_message_how_it_can_be_measured(
    sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path
) -> None:
    bare = HyperStyleInverter(sensitive.model.generator, domain=sensitive.model.domain)
    with pytest.raises(ConfigError, match=r"no network that inverts: .*--methods optimize-w\+:300 --optimized 4"):
        make_report(bare, images, tmp_path / "out", ReportOptions(lpips=False))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../../escaped", "expected a name of letters"),
        (".hidden", "expected a name of letters"),
        ("", "expected a name of letters"),
        ("few layers", "expected a name of letters"),
        ("hyperstyle-1", "in the folder of 'hyperstyle:1'"),
        ("W-Encoder", "in the folder of 'w-encoder'"),
    ],
)
def test_names_of_ablations_that_make_no_separate_folder_are_refused_before_anything_is_written(
    name: str, match: str, sensitive: HyperStyleInverter, images: EvaluationImages, tmp_path: Path
) -> None:
    options = replace(OPTIONS, methods=(Trial("hyperstyle"), Trial("w-encoder"), Trial("hyperstyle", 1)))
    with pytest.raises(ConfigError, match=match):
        make_report(sensitive, images, tmp_path / "out", options, ablations={name: _with_steps(sensitive, 1)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"points": 1}, ConfigError, "points=1"),
        ({"optimized": -1}, ConfigError, "optimized=-1"),
        ({"optimized": 0}, ConfigError, "optimizes each image on its own"),
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
    images: EvaluationImages,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=match):
        make_report(sensitive, images, tmp_path / "out", replace(OPTIONS, **changes))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
