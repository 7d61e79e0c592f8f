"""Measures, tables, orderings, charts and the page, each on its own."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from hyperstyle import ConfigError, HyperStyleInverter, MethodError, metrics
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.evaluation.report import measures as measures_module
from hyperstyle.evaluation.report.effects import Effect
from hyperstyle.evaluation.report.gallery import gallery
from hyperstyle.evaluation.report.measures import choose_measures
from hyperstyle.evaluation.report.orderings import effect_verdict, orderings, summary
from hyperstyle.evaluation.report.page import Section, gallery_html, page, paragraph, table_html
from hyperstyle.evaluation.report.svg import Series, chart
from hyperstyle.evaluation.report.tables import (
    Column,
    Table,
    Value,
    ablation_table,
    method_row,
    methods_table,
    parameter_tables,
    to_csv,
)


class TestMeasures:
    def test_a_model_with_a_judge_is_measured_by_it(self, judged: HyperStyleInverter) -> None:
        model = judged.model
        assert model.evaluator is not None
        a, b = held_out_avatars(2, 32).split(1)
        found = choose_measures(model)(model, a, b)
        assert list(found) == ["l2", "perceptual", "ms_ssim", "ms_ssim_reference", "identity"]
        assert found["l2"] == pytest.approx(float(metrics.l2(a, b)))
        with torch.no_grad():
            assert found["perceptual"] == pytest.approx(float(metrics.perceptual(a, b, model.evaluator)))
        assert found["ms_ssim"] == pytest.approx(float(metrics.ms_ssim(a, b)))

    def test_lpips_is_measured_where_there_is_no_judge(
        self, tiny_inverter: HyperStyleInverter, judged: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stand_in(device: torch.device) -> object:
            return metrics.l1

        monkeypatch.setattr(measures_module, "_lpips", stand_in)
        assert [m.key for m in choose_measures(tiny_inverter.model).chosen][:2] == ["l2", "lpips"]
        assert "lpips" in [m.key for m in choose_measures(judged.model, lpips=True).chosen]
        assert "lpips" not in [m.key for m in choose_measures(tiny_inverter.model, lpips=False).chosen]

    def test_lpips_without_its_network_is_an_error_before_the_first_image(
        self, tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def offline(*, instead: str) -> object:
            raise MethodError(f"LPIPS needs the weights of AlexNet. {instead}")

        monkeypatch.setattr(measures_module, "load_lpips", offline)
        with pytest.raises(MethodError, match=r"AlexNet.*--lpips no"):
            choose_measures(tiny_inverter.model)

    def test_a_figure_that_is_no_number_is_left_open(self, judged: HyperStyleInverter) -> None:
        chosen = choose_measures(judged.model)
        picture = held_out_avatars(1, 32)
        assert chosen(judged.model, -picture, picture)["ms_ssim_reference"] is None  # a negative similarity: NaN

    def test_the_network_of_faces_and_its_detector_go_together(self, tiny_inverter: HyperStyleInverter) -> None:
        faces = replace(tiny_inverter.model.domain, similarity="arcface")
        model = replace(tiny_inverter.model, domain=faces)
        for given in ({"identity": Path("a.pth")}, {"mtcnn": Path("mtcnn")}):
            with pytest.raises(ConfigError, match="go together"):
                choose_measures(model, lpips=False, **given)


class TestTables:
    def test_the_published_forms_have_the_parameters_of_the_paper(self, tiny_inverter: HyperStyleInverter) -> None:
        parts, forms = parameter_tables(tiny_inverter.model)
        built = {(row["per_channel"], row["shared"]): row["built"] for row in forms.rows}
        assert built["yes", "yes"] == 332_664_896
        assert built["no", "yes"] == 1_404_301_376
        counted = {row["part"]: row["parameters"] for row in parts.rows}
        hypernetwork = tiny_inverter.model.hypernetwork
        assert hypernetwork is not None
        assert counted["hypernetwork"] == hypernetwork.parameter_count()

    def test_a_row_has_means_the_median_of_the_seconds_and_the_largest_memory(self, judged: HyperStyleInverter) -> None:
        chosen = choose_measures(judged.model)
        figures: dict[str, float | None] = {one.key: 0.5 for one in chosen.chosen}
        rows = [
            {"figures": {**figures, "l2": l2}, "seconds": s, "memory": m}
            for l2, s, m in ((0.1, 1.0, 2**20), (0.3, 9.0, 3 * 2**20), (None, 2.0, None))
        ]
        row = method_row("a", rows, chosen)
        assert row["l2"] == pytest.approx(0.2)
        assert (row["method"], row["images"], row["seconds"], row["memory"]) == ("a", 3, 2.0, 3.0)
        assert {key: value for key, value in row.items() if key.endswith("_left_out")} == {"l2_left_out": 1}
        columns = methods_table("t", "T", "", [row], chosen).columns
        assert [column.key for column in columns][:4] == ["method", "l2", "l2_left_out", "perceptual"]

    def test_switches_are_told_by_the_rows_that_there_are(self, judged: HyperStyleInverter) -> None:
        chosen = choose_measures(judged.model)

        def about(methods: list[str], named: list[str]) -> str:
            rows: list[dict[str, Value]] = [{"method": method} for method in methods]
            return ablation_table(rows, [judged] * len(rows), [1] * len(rows), chosen, named).about

        once, models = "hyperstyle:1 is this model stopped after one pass", "named with --ablation: shared, plain."
        assert once in about(["hyperstyle", "hyperstyle:1"], [])
        assert "--ablation" not in about(["hyperstyle", "hyperstyle:1"], [])
        assert models in about(["hyperstyle", "shared", "plain"], ["shared", "plain"])
        assert once not in about(["hyperstyle", "shared", "plain"], ["shared", "plain"])

    def test_a_csv_holds_every_number_in_full(self) -> None:
        table = Table(
            "t",
            "T",
            "",
            (Column("method", "method"), Column("l2", "L2", 2)),
            [{"method": "a,b", "l2": 1 / 3}, {"method": "c", "images": 2}],
        )
        found = list(csv.reader(io.StringIO(to_csv(table))))
        assert found == [["method", "l2", "images"], ["a,b", str(1 / 3), ""], ["c", "", "2"]]


class TestOrderings:
    ROWS: ClassVar[list[dict[str, Value]]] = [
        {"method": "hyperstyle", "l2": 0.004, "perceptual": 0.05, "identity": 0.95, "ms_ssim": 0.9, "seconds": 0.2},
        {"method": "w-encoder", "l2": 0.01, "perceptual": 0.1, "identity": 0.96, "ms_ssim": 0.8, "seconds": 0.03},
        {"method": "pti:3", "l2": 0.002, "perceptual": 0.01, "identity": 0.99, "ms_ssim": 0.95, "seconds": 50.0},
        {"method": "offsets", "l2": 0.001, "perceptual": 0.01, "identity": 1.0, "ms_ssim": 1.0, "seconds": 50.0},
    ]

    def test_pairs_stand_in_the_paper_s_order_and_are_judged(self) -> None:
        found = {(o.better, o.worse, o.figure): o.holds for o in orderings(self.ROWS)}
        assert found["hyperstyle", "w-encoder", "L2"]
        assert not found["hyperstyle", "w-encoder", "identity"]
        assert found["pti", "hyperstyle", "MS-SSIM"]
        assert found["w-encoder", "hyperstyle", "seconds"]
        assert found["hyperstyle", "w-encoder", "perceptual for LPIPS"]
        assert ("pti", "hyperstyle", "perceptual for LPIPS") not in found  # a tie in the paper
        assert not [pair for pair in found if "offsets" in pair[:2]]  # not in the paper

    def test_what_does_not_hold_is_named(self) -> None:
        text = summary(orderings([{**row, "images": 4} for row in self.ROWS]))
        assert text == (
            "On 4 image(s), 13 of 14 orderings of the paper are reproduced, but not: "
            "hyperstyle better than w-encoder by identity."
        )
        assert "no ordering" in summary([])

    def test_two_methods_are_compared_on_the_most_images_that_both_have(self) -> None:
        many = [{**row, "images": 40} for row in self.ROWS[:2]]
        few: list[dict[str, Value]] = [{**row, "l2": 0.5, "images": 2} for row in self.ROWS]
        found = orderings(many, few)
        assert {o.images for o in found if {o.better, o.worse} == {"hyperstyle", "w-encoder"}} == {40}
        assert {o.images for o in found if "pti" in (o.better, o.worse)} == {2}
        assert next(o.here for o in found if o.figure == "L2") == (0.004, 0.01)

    def test_edits_are_judged_against_encoders_only(self) -> None:
        def effect(method: str, mean: float) -> Effect:
            return Effect("age", "age", method, ((0.0, 1.0),), mean, (-1.0, 1.0), 2)

        text = effect_verdict([effect("hyperstyle", 0.9), effect("w-encoder", 0.8), effect("pti", 0.95)])
        assert "0.900 with HyperStyle and 0.800 with w-encoder; HyperStyle keeps more in 1 of 1 edits." in text
        assert text.count("The paper's order is reproduced.") == 1


class TestCharts:
    def test_lines_stay_inside_and_ticks_are_round(self) -> None:
        points = [(-1.3, 0.91), (0.0, 0.97), (1.7, 0.88)]
        drawn = ElementTree.fromstring(chart([Series("a <b>", 0, points)], title="t & u", x="x", y="y"))
        _, _, width, height = map(float, str(drawn.get("viewBox")).split())
        line = drawn.find(".//polyline")
        assert line is not None
        for pair in str(line.get("points")).split():
            x, y = map(float, pair.split(","))
            assert 0 < x < width
            assert 0 < y < height
        ticks = [text.text for text in drawn.iter("text")]
        assert {"-1", "0", "1", "0.9", "0.95"} <= set(ticks)
        assert "t & u" in ticks

    def test_logarithmic_axes_put_equal_ratios_at_equal_distances(self) -> None:
        text = chart([Series("a", 0, [(0.1, 1.0), (1.0, 10.0), (10.0, 100.0)])], title="", x="", y="", log=True)
        found = re.search(r'points="([^"]+)"', text)
        assert found is not None
        places = [tuple(map(float, pair.split(","))) for pair in found[1].split()]
        assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.2)
        assert places[0][1] - places[1][1] == pytest.approx(places[1][1] - places[2][1], abs=0.2)

    def test_equal_values_and_no_values_are_drawn_too(self) -> None:
        assert "<svg" in chart([Series("a", 0, [(1.0, 0.0), (1.0, 0.0)])], title="", x="", y="")
        assert chart([Series("a", 0, [])], title="", x="", y="") == ""


class TestPage:
    TABLE = Table(
        "t",
        "A < B",
        "",
        (Column("method", "method"), Column("l2", "L2", 2, "low"), Column("n", "n")),
        [{"method": "<i>", "l2": 0.5, "n": 12345}, {"method": "b", "l2": 0.25}],
    )

    def test_the_best_value_is_marked_and_words_are_escaped(self) -> None:
        text = table_html(self.TABLE, {(0, "n"): True})
        assert '<td class="best">0.25</td>' in text
        assert text.count("best") == 1
        assert "A &lt; B" in text
        assert '<td class="words">&lt;i&gt;</td>' in text
        assert '<td class="yes">12,345</td>' in text
        assert "<td>\N{EN DASH}</td>" in text

    def test_images_are_inside_the_page_and_small(self) -> None:
        made = gallery(["in", "out"], ["row"], [[torch.rand(3, 600, 300) * 2 - 1, torch.zeros(3, 32, 32)]], "cap")
        text = gallery_html(made)
        assert text.count('src="data:image/jpeg;base64,') == 2
        assert 'alt="row out"' in text
        assert len(text) < 80_000

    def test_the_page_links_to_its_sections(self) -> None:
        text = page("T", "lead", ["fact"], [Section("One", "one", [paragraph("words")])])
        assert '<a href="#one">One</a>' in text
        assert '<section id="one"><h2>One</h2><p>words</p></section>' in text


def test_tensors_outside_the_range_become_images() -> None:
    batch: Tensor = torch.full((3, 8, 8), 5.0)
    assert gallery(["a"], [""], [[batch]], "").rows[0][0].startswith("data:image/jpeg")
