"""The figures of paste-back, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.avatars.studies.pasting import evaluate_pasting, main, pasting_text, seam_contrast
from hyperstyle.errors import ConfigError, EditError
from hyperstyle.inverter import HyperStyleInverter

pytestmark = pytest.mark.filterwarnings("ignore::hyperstyle.errors.QualityWarning")  # of random weights

QUAD = [[19.5, 29.5], [19.5, 69.5], [59.5, 69.5], [59.5, 29.5]]  # pixels 20..59 and 30..69


def test_an_unchanged_photo_has_no_contrast_and_a_square_of_another_color_has_its_own() -> None:
    photo = Image.new("RGB", (100, 90), (50, 60, 70))
    pasted = photo.copy()
    assert seam_contrast(photo, pasted, QUAD) == (0, 0)
    pasted.paste((53, 66, 70), (20, 30, 60, 70))
    assert seam_contrast(photo, pasted, QUAD) == pytest.approx((3, 3))


def test_fine_structure_counts_at_the_border_and_not_in_the_colors() -> None:
    photo = Image.new("RGB", (100, 90), (50, 50, 50))
    y, x = np.mgrid[:40, :40]
    pasted = photo.copy()
    pasted.paste(Image.fromarray(np.where((x + y) % 2, 40, 60).astype(np.uint8)).convert("RGB"), (20, 30))
    step, band = seam_contrast(photo, pasted, QUAD)
    assert step == pytest.approx(10)
    assert band < 1


def test_only_pixels_in_the_quad_change_and_blending_takes_the_contrast_away(tiny_inverter: HyperStyleInverter) -> None:
    progress: list[tuple[str, int, int]] = []
    report = evaluate_pasting(tiny_inverter, count=2, size=96, on_progress=lambda *event: progress.append(event))
    assert (report.changed, report.outside) == (0, 0)
    assert report.inside > 1, "random weights do not draw the face"
    hard, matched, feathered, both = (report.seams[i] for i in range(4))
    assert feathered.step < 0.1 * hard.step
    assert matched.band < hard.band
    assert both.band < feathered.band
    assert progress[-1][1:] == (2, 2)
    assert "mode difference: 0" in pasting_text(report)
    assert [ghost.way for ghost in report.ghosts] == [
        "the photo as it was",
        "replace",
        "difference, ghosts left",
        "difference",
    ]
    as_it_was, replaced = report.ghosts[:2]
    assert as_it_was.changed > 12, "only pixels that the drawing changes by as much count"
    assert 0 < as_it_was.face < replaced.face, "random weights do not draw the face"


def test_the_command_prints_the_figures_and_writes_them(
    tiny_model_dir: Path, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_model_dir), "--device", "cpu"]
    assert main([*model, "--count", "1", "--size", "96", "--json", "found.json", "--quiet"]) == 0
    assert "1 photos of 96 px" in capsys.readouterr().out
    assert json.loads(Path("found.json").read_text(encoding="utf-8"))["changed"] == 0


def test_what_cannot_be_measured_is_refused(tiny_inverter: HyperStyleInverter) -> None:
    with pytest.raises(EditError, match="no edit named 'beard'"):
        evaluate_pasting(tiny_inverter, count=1, size=96, edit="beard")
    with pytest.raises(ConfigError, match="Ask for at least 1"):
        evaluate_pasting(tiny_inverter, count=0)
