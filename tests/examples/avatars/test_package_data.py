"""The data of the package are what their command renders."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import hyperstyle
from examples.avatars.crops import main as render_crops
from examples.avatars.crops import rendered_crops
from examples.avatars.package_data import CROPS, PEOPLE, population_std, shipped_crops, shipped_photo
from examples.avatars.renderer.photo import demo_photo
from hyperstyle.evaluation import HELD_OUT
from hyperstyle.evaluation.held_out import attribute_deviations
from hyperstyle.images import EXAMPLES, load_image

FOLDER = Path(hyperstyle.__file__).parent / "avatars"

# Strict: these tests fail, and ask for this mark to be taken off, once the package has what is rendered now.
first_model = pytest.mark.xfail(
    strict=True, reason="the renderer is that of the second bundled model, the package still has the first and its data"
)


@first_model
def test_rendering_again_gives_the_crops_that_are_shipped() -> None:
    assert (len(PEOPLE), CROPS) == (EXAMPLES, HELD_OUT)
    few = rendered_crops(2)  # in batches of another size, which may round differently
    for number, crop in enumerate(few):
        assert_alike(crop, load_image(FOLDER / "held_out" / f"{number:02d}.png"))


@first_model
@pytest.mark.slow
def test_rendering_all_again_gives_the_very_pixels() -> None:
    for number in range(EXAMPLES):
        assert shipped_photo(number).tobytes() == hyperstyle.example_photo(number).tobytes()
    for number, crop in enumerate(shipped_crops()):
        assert crop.tobytes() == load_image(FOLDER / "held_out" / f"{number:02d}.png").tobytes()


@first_model
def test_the_deviations_are_those_of_the_population() -> None:
    deviations = population_std()
    assert list(deviations) == list(attribute_deviations())
    for name, value in attribute_deviations().items():
        assert deviations[name] == pytest.approx(value, rel=1e-6)
    assert deviations["age"] == pytest.approx(12**-0.5, rel=0.02)  # evenly between 0 and 1
    assert deviations["glasses"] == pytest.approx((0.28 * 0.72) ** 0.5, rel=0.02)


def test_the_landmarks_that_the_tests_have_are_those_of_the_renderer(checkout: Path) -> None:
    landmarks = np.load(checkout / "tests" / "golden" / "example_landmarks.npy")
    assert landmarks.shape == (len(PEOPLE), 68, 2)
    small = demo_photo(PEOPLE[2], (160, 200))[1].numpy()
    np.testing.assert_allclose((small + 0.5) * 4 - 0.5, landmarks[2], atol=1e-2)


def test_crops_are_written_into_a_folder_as_many_as_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render_crops(["--out", str(tmp_path / "crops"), "--count", "3", "--size", "32"])
    files = sorted((tmp_path / "crops").iterdir())
    assert [file.name for file in files] == ["00000.png", "00001.png", "00002.png"]
    for file, crop in zip(files, islice(rendered_crops(3, 32), 3), strict=True):
        assert load_image(file).tobytes() == crop.tobytes()
    with pytest.raises(SystemExit, match="2"):
        render_crops(["--out", str(tmp_path / "none"), "--count", "0"])
    assert "Ask for at least 1" in capsys.readouterr().err


def assert_alike(generated: object, shipped: object) -> None:
    """The same but for roundings: at most one level, in one of a thousand values."""
    change = np.abs(np.asarray(generated, dtype=int) - np.asarray(shipped, dtype=int))
    assert change.max() <= 1
    assert (change > 0).mean() < 1e-3
