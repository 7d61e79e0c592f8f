"""Measures, tables, orderings, plots, galleries and the page, each tested separately."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from hyperstyle import ConfigError, HyperStyleInverter, MethodError, metrics
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.evaluation import measures as measures_module
from hyperstyle.evaluation.engine import Job, Trial
from hyperstyle.evaluation.equal_effect import EffectCurve, EffectPoint
from hyperstyle.evaluation.measures import choose_measures
from hyperstyle.evaluation.plots import effect_plots, over_time_plots
from hyperstyle.evaluation.report.galleries import gallery
from hyperstyle.evaluation.report.orderings import agreements, kept_identity_table, orderings, pair_table
from hyperstyle.evaluation.report.tables import ablation_table, methods_table, parameter_tables
from hyperstyle.evaluation.tables import Column, Table, Value, to_csv, to_json, to_markdown, to_text


class TestMeasures:
    def test_a_model_with_an_evaluator_is_measured_by_it(self, full_inverter: HyperStyleInverter) -> None:
        model = full_inverter.model
        assert model.evaluator is not None
        a, b = held_out_avatars(2, 32).split(1)
        figures = choose_measures(model)(model, a, b)
        assert list(figures) == ["l2", "perceptual", "ms_ssim", "ms_ssim_reference", "identity"]
        assert figures["l2"] == pytest.approx(float(metrics.l2(a, b)))
        with torch.no_grad():
            assert figures["perceptual"] == pytest.approx(float(metrics.perceptual(a, b, model.evaluator)))
        assert figures["ms_ssim"] == pytest.approx(float(metrics.ms_ssim(a, b)))

    def test_lpips_is_measured_where_there_is_no_evaluator(
        self, tiny_inverter: HyperStyleInverter, full_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stand_in(device: torch.device) -> object:
            return metrics.l1

        monkeypatch.setattr(measures_module, "lpips_distance", stand_in)
        assert [m.key for m in choose_measures(tiny_inverter.model).chosen][:2] == ["l2", "lpips"]
        assert "lpips" in [m.key for m in choose_measures(full_inverter.model, lpips=True).chosen]
        assert "lpips" not in [m.key for m in choose_measures(tiny_inverter.model, lpips=False).chosen]

    def test_lpips_without_its_network_is_an_error_before_the_first_image(
        self, tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def offline(net: str, *, instead: str) -> object:
            raise MethodError(f"LPIPS needs the weights of AlexNet. {instead}")

        monkeypatch.setattr(measures_module, "load_lpips", offline)
        with pytest.raises(MethodError, match=r"AlexNet.*--lpips no"):
            choose_measures(tiny_inverter.model)

    def test_a_figure_that_is_no_number_is_left_open(self, full_inverter: HyperStyleInverter) -> None:
        chosen = choose_measures(full_inverter.model)
        image = held_out_avatars(1, 32)
        assert chosen(full_inverter.model, -image, image)["ms_ssim_reference"] is None  # a negative similarity: NaN

    def test_the_network_of_faces_and_its_detector_go_together(self, tiny_inverter: HyperStyleInverter) -> None:
        faces = replace(tiny_inverter.model.domain, similarity="arcface")
        model = replace(tiny_inverter.model, domain=faces)
        for files in ({"identity": Path("a.pth")}, {"mtcnn": Path("mtcnn")}):
            with pytest.raises(ConfigError, match="go together"):
                choose_measures(model, lpips=False, **files)


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

    def test_a_row_has_means_the_median_of_the_seconds_and_the_largest_memory(
        self, full_inverter: HyperStyleInverter
    ) -> None:
        chosen = choose_measures(full_inverter.model)
        figures: dict[str, float | None] = {measure.key: 0.5 for measure in chosen.chosen}
        rows = [
            {"figures": {**figures, "l2": l2}, "seconds": s, "memory": m}
            for l2, s, m in ((0.1, 1.0, 2**20), (0.3, 9.0, 3 * 2**20), (None, 2.0, None))
        ]
        row = chosen.row("a", rows)
        assert row["l2"] == pytest.approx(0.2)
        assert (row["method"], row["images"], row["seconds"], row["memory"]) == ("a", 3, 2.0, 3.0)
        assert {key: value for key, value in row.items() if key.endswith("_left_out")} == {"l2_left_out": 1}
        columns = methods_table("t", "T", "", [row], chosen).columns
        assert [column.key for column in columns][:4] == ["method", "l2", "l2_left_out", "perceptual"]

    def test_the_table_of_switches_says_what_its_rows_are(self, full_inverter: HyperStyleInverter) -> None:
        chosen = choose_measures(full_inverter.model)

        def table(methods: list[str], named: list[str]) -> Table:
            rows: list[dict[str, Value]] = [{"method": method} for method in methods]
            jobs = [Job.of(Trial.of(method), full_inverter, 1) for method in methods]
            return ablation_table(rows, jobs, chosen, named)

        once, models = "hyperstyle:1 is this model stopped after one step", "named with --ablation: shared, plain."
        assert once in table(["hyperstyle", "hyperstyle:1"], []).about
        assert "--ablation" not in table(["hyperstyle", "hyperstyle:1"], []).about
        assert models in table(["hyperstyle", "shared", "plain"], ["shared", "plain"]).about
        assert once not in table(["hyperstyle", "shared", "plain"], ["shared", "plain"]).about
        assert [row["passes"] for row in table(["hyperstyle", "hyperstyle:1"], []).rows] == [
            full_inverter.model.steps,
            1,
        ]

    TABLE = Table(
        "t",
        "T",
        "",
        (Column("method", "method"), Column("l2", "L2", ".2f", "low")),
        [{"method": "a|b", "l2": 1 / 3}, {"method": "c", "images": 2}],
    )

    def test_text_has_even_columns_and_markdown_a_row_a_line(self) -> None:
        assert to_text(self.TABLE) == "method    L2\na|b     0.33\nc          -"
        assert to_markdown(self.TABLE) == "| method | L2 |\n| :-- | --: |\n| a\\|b | 0.33 |\n| c | - |"
        assert json.loads(to_json(self.TABLE)) == self.TABLE.rows

    def test_a_csv_holds_every_number_in_full(self) -> None:
        table = Table(
            "t",
            "T",
            "",
            (Column("method", "method"), Column("l2", "L2", ".2f")),
            [{"method": "a,b", "l2": 1 / 3}, {"method": "c", "images": 2}],
        )
        rows = list(csv.reader(io.StringIO(to_csv(table))))
        assert rows == [["method", "l2", "images"], ["a,b", str(1 / 3), ""], ["c", "", "2"]]


class TestOrderings:
    ROWS: ClassVar[list[dict[str, Value]]] = [
        {"method": "hyperstyle", "l2": 0.004, "perceptual": 0.05, "identity": 0.95, "ms_ssim": 0.9, "seconds": 0.2},
        {"method": "w-encoder", "l2": 0.01, "perceptual": 0.1, "identity": 0.96, "ms_ssim": 0.8, "seconds": 0.03},
        {"method": "pti:3", "l2": 0.002, "perceptual": 0.01, "identity": 0.99, "ms_ssim": 0.95, "seconds": 50.0},
        {"method": "offsets", "l2": 0.001, "perceptual": 0.01, "identity": 1.0, "ms_ssim": 1.0, "seconds": 50.0},
    ]

    def test_pairs_are_in_the_order_of_the_paper_and_are_compared(self) -> None:
        holds = {(o.better, o.worse, o.figure): o.holds for o in orderings(self.ROWS)}
        assert holds["hyperstyle", "w-encoder", "L2"]
        assert not holds["hyperstyle", "w-encoder", "identity"]
        assert holds["pti", "hyperstyle", "MS-SSIM"]
        assert holds["w-encoder", "hyperstyle", "seconds"]
        assert holds["hyperstyle", "w-encoder", "perceptual for LPIPS"]
        assert ("pti", "hyperstyle", "perceptual for LPIPS") not in holds  # a tie in the paper
        assert not [pair for pair in holds if "offsets" in pair[:2]]  # not in the paper

    def test_what_does_not_hold_is_named(self) -> None:
        (agreement,) = agreements(orderings([{**row, "images": 4} for row in self.ROWS]))
        assert (agreement.images, agreement.held, agreement.total) == (4, 13, 14)
        assert [(o.better, o.worse, o.figure) for o in agreement.failed] == [("hyperstyle", "w-encoder", "identity")]
        assert agreements([]) == []

    def test_figures_of_a_pair_stand_in_the_order_of_its_names(self) -> None:
        table = pair_table(orderings(self.ROWS[:2]))
        (row,) = table.rows
        assert row["pair"] == "hyperstyle and w-encoder"
        assert row["seconds"] == "0.2, 0.03 (1.234, 0.106)"
        assert {figure for (_, figure), holds in table.marks.items() if not holds} == {"identity"}
        assert "w-encoder stands for e4e" in table.about

    def test_two_methods_are_compared_on_the_most_images_that_both_have(self) -> None:
        many = [{**row, "images": 40} for row in self.ROWS[:2]]
        few: list[dict[str, Value]] = [{**row, "l2": 0.5, "images": 2} for row in self.ROWS]
        compared = orderings(many, few)
        assert {o.images for o in compared if {o.better, o.worse} == {"hyperstyle", "w-encoder"}} == {40}
        assert {o.images for o in compared if "pti" in (o.better, o.worse)} == {2}
        assert next(o.here for o in compared if o.figure == "L2") == (0.004, 0.01)

    def test_edits_are_compared_with_encoders_only(self) -> None:
        table = kept_identity_table([curve("hyperstyle", 0.9), curve("w-encoder", 0.8), curve("pti", 0.95)])
        assert [(row["method"], row["other"], row["won"]) for row in table.rows] == [
            ("w-encoder", 0.8, "1 of 1"),
            ("pti", 0.95, "0 of 1"),
        ]
        assert {row["hyperstyle"] for row in table.rows} == {0.9}
        assert table.marks == {(0, "won"): True}
        assert kept_identity_table([curve("hyperstyle", 0.9)]).rows == []


def curve(method: str, mean: float) -> EffectCurve:
    """One edit, whose identity falls from 1 to the mean."""
    points = EffectPoint(0.0, 1.0, 2), EffectPoint(0.5, mean, 2)
    return EffectCurve("age", "age of <b> & c", method, points, mean, (0.0, 1.0), ((0.0, 0.5),) * 2, ((1.0, mean),) * 2)


class TestPlots:
    def test_a_plot_of_an_edit_is_one_element_with_its_words_as_text(self) -> None:
        (plot,) = effect_plots([curve("hyperstyle", 0.9), curve("w-encoder", 0.8)])
        assert plot.startswith("<svg ")
        assert "http" not in plot
        words = [element.text for element in ElementTree.fromstring(plot.replace("xlink:href", "href")).iter("text")]
        assert {"age", "identity", "measured change of age of <b> & c"} <= set(words)

    def test_a_method_over_time_is_a_named_dot_where_it_has_a_figure(self) -> None:
        rows: list[dict[str, Value]] = [
            {"method": "a", "seconds": 0.1, "l2": 0.5, "perceptual": 0.2},
            {"method": "b", "seconds": 1.0, "l2": 0.05, "perceptual": None},
            {"method": "c", "seconds": 10.0, "l2": 0.0},  # has no place on a logarithmic axis
        ]
        (plot,) = over_time_plots(rows)
        words = {element.text for element in ElementTree.fromstring(plot.replace("xlink:href", "href")).iter("text")}
        assert {"L2 over time", "a", "b"} <= words
        assert "c" not in words


class TestGalleries:
    def test_images_are_inside_the_page_and_small(self) -> None:
        image_grid = gallery(["in", "out"], [[torch.rand(3, 600, 300) * 2 - 1, torch.zeros(3, 32, 32)]], ["row"])
        assert all(uri.startswith("data:image/jpeg;base64,") for row in image_grid.rows for uri in row)
        assert sum(len(uri) for row in image_grid.rows for uri in row) < 80_000

    def test_tensors_outside_the_range_become_images(self) -> None:
        image: Tensor = torch.full((3, 8, 8), 5.0)
        assert gallery(["a"], [[image]]).rows[0][0].startswith("data:image/jpeg")


def test_the_best_value_of_a_column_is_marked_where_there_are_two() -> None:
    column = Column("l2", "L2", ".2f", "low")
    rows: list[dict[str, Value]] = [{"method": "a", "l2": 0.5}, {"method": "b", "l2": 0.25}, {"method": "c"}]
    table = Table("t", "", "", (Column("method", "method"), column), rows)
    assert [table.is_best(row, column) for row in rows] == [False, True, False]
    assert not replace(table, rows=rows[:1]).is_best(rows[0], column)
    assert [table.is_words(heading) for heading in table.columns] == [True, False]
