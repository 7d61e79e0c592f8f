"""Comparison of methods: each inverts through `invert`, on the same images, with its seconds, bytes and edits."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle import ConfigError, HyperStyleInverter, MethodError
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.evaluation.methods import MethodRow, Methods, all_trials, evaluate_methods
from hyperstyle.evaluation.plots import methods_plot
from hyperstyle.evaluation.trials import Trial

TRIALS = tuple(map(Trial.of, ("w-encoder", "hyperstyle", "hyperstyle+offsets:1", "hyperstyle+offsets:3", "offsets:2")))


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """Eight-bit values, which measuring leaves as they are."""
    return held_out_avatars(3, 32).add(1).mul(127.5).round().div(255).sub(0.5).div(0.5)


@pytest.fixture(scope="module")
def methods(sensitive: HyperStyleInverter, crops: Tensor, progress: list[tuple[str, int, int]]) -> Methods:
    return evaluate_methods(sensitive, crops, TRIALS, points=3, on_progress=lambda *now: progress.append(now))


def test_every_row_is_what_invert_gives_and_what_its_file_weighs(
    methods: Methods, sensitive: HyperStyleInverter, crops: Tensor, tmp_path: Path
) -> None:
    assert [row.row.method for row in methods.rows] == [str(trial) for trial in TRIALS]
    for row in methods.rows:
        inversions = [sensitive.invert(c, method=row.trial.method, steps=row.trial.steps, align=False) for c in crops]
        sizes = []
        for i, inversion in enumerate(inversions):
            inversion.save(tmp_path / f"{i}.safetensors")
            sizes.append((tmp_path / f"{i}.safetensors").stat().st_size)
        for name in ("l2", "perceptual", "identity"):
            mean = sum(inversion.metrics()[name][0] for inversion in inversions) / 3
            assert getattr(row.row, name) == pytest.approx(mean, abs=1e-5), (row.row.method, name)
        assert row.bytes == pytest.approx(sum(sizes) / 3)
        assert (row.row.images, row.row.timed) == (3, 3)
        torch.testing.assert_close(methods.shown[row.row.method], torch.cat([i.tensor for i in inversions]))


def test_editability_is_the_mean_over_the_edits_at_changes_that_all_methods_reach(methods: Methods) -> None:
    assert [(c.edit, c.method) for c in methods.curves] == [(e, str(t)) for e in ("age", "smile") for t in TRIALS]
    for edit in ("age", "smile"):
        points = [[(p.change, p.pictures) for p in c.points] for c in methods.curves if c.edit == edit]
        assert all(same == points[0] for same in points)
    for row in methods.rows:
        means = [curve.mean for curve in methods.curves if curve.method == row.row.method]
        finite_means = [mean for mean in means if mean is not None]
        assert finite_means  # the edits do something
        assert row.editability == pytest.approx(sum(finite_means) / len(finite_means))


def test_progress_counts_the_images_of_each_method(methods: Methods, progress: list[tuple[str, int, int]]) -> None:
    assert progress == [(str(trial), done, 3) for trial in TRIALS for done in (1, 2, 3)]


def test_the_evaluator_is_measured_with_and_never_differentiated(
    full_inverter: HyperStyleInverter, crops: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert full_inverter.model.evaluator is not None
    features = full_inverter.model.evaluator.features

    def only_without_gradients(x: Tensor) -> list[Tensor]:
        assert not torch.is_grad_enabled()
        return features(x)

    monkeypatch.setattr(full_inverter.model.evaluator, "features", only_without_gradients)
    trials = [Trial(name, 1) for name in ("optimize-w+", "hyperstyle+pti", "offsets", "offset-codes")]
    assert len(evaluate_methods(full_inverter, crops[:1], trials, points=2).rows) == 4


def test_without_an_evaluator_all_but_editability_is_measured(tiny_inverter: HyperStyleInverter, crops: Tensor) -> None:
    methods = evaluate_methods(tiny_inverter, crops[:1], [Trial("w-encoder"), Trial("hyperstyle")])
    assert [row.editability for row in methods.rows] == [None, None]
    assert [row.row.images for row in methods.rows] == [1, 1]
    assert methods.curves == ()


def test_all_methods_are_those_of_the_model_and_hybrids_at_several_steps(full_inverter: HyperStyleInverter) -> None:
    names = [str(trial) for trial in all_trials(full_inverter.model)]
    assert names[:5] == ["hyperstyle", "w-encoder", "optimize-w:300", "optimize-w+:300", "pti"]
    for hybrid in ("hyperstyle+offsets", "hyperstyle+offset-codes", "hyperstyle+pti", "w-encoder+offsets"):
        assert [name for name in names if name.startswith(f"{hybrid}:")] == [
            f"{hybrid}:{steps}" for steps in (10, 25, 50, 100)
        ]
    plain = all_trials(full_inverter.model.with_parts(hypernetwork=None))
    assert not [trial for trial in plain if "hyperstyle" in trial.method]


def test_a_trial_reads_as_it_is_written() -> None:
    for text, trial in (("pti", Trial("pti")), ("optimize-w+:300", Trial("optimize-w+", 300))):
        assert Trial.of(text) == trial
        assert str(trial) == text
    with pytest.raises(ConfigError, match=r"'pti:many': expected METHOD or METHOD:STEPS"):
        Trial.of("pti:many")


def test_what_cannot_be_measured_is_refused_before_anything_is(
    full_inverter: HyperStyleInverter, crops: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HyperStyleInverter, "invert", lambda *_, **__: pytest.fail("it has begun"))
    with pytest.raises(MethodError, match="Did you mean 'hyperstyle'"):
        evaluate_methods(full_inverter, crops, [Trial("w-encoder"), Trial("hyperstile")])
    with pytest.raises(MethodError, match="has no refinement steps"):
        evaluate_methods(full_inverter, crops, [Trial("w-encoder", 3)])
    with pytest.raises(MethodError, match="needs an e4e encoder"):
        evaluate_methods(full_inverter, crops, [Trial("e4e")])
    with pytest.raises(ConfigError, match="each once"):
        evaluate_methods(full_inverter, crops, [Trial("hyperstyle"), Trial("hyperstyle")])
    with pytest.raises(ConfigError, match="points=1"):
        evaluate_methods(full_inverter, crops, [Trial("hyperstyle")], points=1)


def test_the_plot_has_a_panel_for_the_error_and_one_for_editability(methods: Methods) -> None:
    with_editability = [replace(row, trial=Trial("pti")) if i == 1 else row for i, row in enumerate(methods.rows)]
    without_editability: list[MethodRow] = [replace(row, editability=None) for row in with_editability]
    sizes = []
    for rows in (with_editability, without_editability):
        with Image.open(io.BytesIO(methods_plot(replace(methods, rows=tuple(rows))))) as image:
            assert image.format == "PNG"
            sizes.append(image.size)
    assert sizes[0] == (2 * sizes[1][0], sizes[1][1])
