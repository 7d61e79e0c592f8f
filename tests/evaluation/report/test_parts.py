"""Measures, tables, plots and images of the page, each tested separately."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperstyle import ConfigError, HyperStyleInverter, MethodError, metrics
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.evaluation import measures as measures_module
from hyperstyle.evaluation.engine import Job
from hyperstyle.evaluation.equal_effect import EffectCurve, EffectPoint
from hyperstyle.evaluation.measures import choose_measures
from hyperstyle.evaluation.plots import COLORS, effect_plots, over_time_plots
from hyperstyle.evaluation.report.galleries import uris
from hyperstyle.evaluation.report.tables import kept_identity_table, methods_table, paper_table, parameter_table
from hyperstyle.evaluation.tables import Column, Table, Value, to_csv, to_json, to_markdown, to_text
from hyperstyle.evaluation.trials import Trial


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
    def test_the_parameters_of_each_network_are_counted(self, tiny_inverter: HyperStyleInverter) -> None:
        counted = {row["part"]: row["parameters"] for row in parameter_table(tiny_inverter.model).rows}
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
        columns = methods_table([row], chosen).columns
        assert [column.key for column in columns][:4] == ["method", "l2", "l2_left_out", "perceptual"]

    def test_the_paper_has_rows_of_methods_that_it_names(self, full_inverter: HyperStyleInverter) -> None:
        jobs = [Job.of(Trial.of(name), full_inverter, 1) for name in ("hyperstyle", "w-encoder", "hyperstyle:1", "pti")]
        rows = {row["method"]: row for row in paper_table(jobs).rows}
        assert list(rows) == ["hyperstyle", "pti"]
        assert (rows["pti"]["l2"], rows["hyperstyle"]["seconds"]) == (0.015, 1.234)

    def test_identity_kept_is_the_mean_over_edits(self) -> None:
        table = kept_identity_table([curve("hyperstyle", 0.9), curve("hyperstyle", 0.8), curve("pti", 0.95)])
        assert [(row["method"], row["edits"]) for row in table.rows] == [("hyperstyle", 2), ("pti", 1)]
        assert [row["identity"] for row in table.rows] == pytest.approx([0.85, 0.95])

    TABLE = Table(
        (Column("method", "method"), Column("l2", "L2", ".2f", "low")),
        [{"method": "a|b", "l2": 1 / 3}, {"method": "c", "images": 2}],
    )

    def test_text_has_even_columns_and_markdown_a_row_a_line(self) -> None:
        assert to_text(self.TABLE) == "method    L2\na|b     0.33\nc          -"
        assert to_markdown(self.TABLE) == "| method | L2 |\n| :-- | --: |\n| a\\|b | 0.33 |\n| c | - |"
        assert json.loads(to_json(self.TABLE)) == self.TABLE.rows

    def test_a_csv_holds_every_number_in_full(self) -> None:
        table = Table(
            (Column("method", "method"), Column("l2", "L2", ".2f")),
            [{"method": "a,b", "l2": 1 / 3}, {"method": "c", "images": 2}],
        )
        rows = list(csv.reader(io.StringIO(to_csv(table))))
        assert rows == [["method", "l2", "images"], ["a,b", str(1 / 3), ""], ["c", "", "2"]]


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

    def test_a_method_over_time_is_a_dot_of_its_color_where_it_has_a_figure(self) -> None:
        rows: list[dict[str, Value]] = [
            {"method": "a", "seconds": 0.1, "l2": 0.5, "perceptual": 0.2},
            {"method": "b", "seconds": 1.0, "l2": 0.05, "perceptual": None},
            {"method": "c", "seconds": 10.0, "l2": 0.0},  # has no place on a logarithmic axis
        ]
        (plot,) = over_time_plots(rows)
        words = {element.text for element in ElementTree.fromstring(plot.replace("xlink:href", "href")).iter("text")}
        assert {"L2 over time", "L2", "seconds per image"} <= words
        assert [color in plot for color in COLORS[:3]] == [True, True, False]


def test_images_are_inside_the_page_and_small() -> None:
    links = uris(torch.rand(3, 600, 300) * 2 - 1, torch.zeros(3, 32, 32), torch.full((3, 8, 8), 5.0))
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert sum(map(len, links)) < 80_000


def test_the_best_value_of_a_column_is_marked_where_there_are_two() -> None:
    column = Column("l2", "L2", ".2f", "low")
    rows: list[dict[str, Value]] = [{"method": "a", "l2": 0.5}, {"method": "b", "l2": 0.25}, {"method": "c"}]
    table = Table((Column("method", "method"), column), rows)
    assert [table.is_best(row, column) for row in rows] == [False, True, False]
    assert not replace(table, rows=rows[:1]).is_best(rows[0], column)
    assert [table.is_words(heading) for heading in table.columns] == [True, False]
