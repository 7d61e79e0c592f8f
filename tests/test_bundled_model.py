"""What the bundled model promises: it refines, its edits do what they say, it is small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter, Inversion
from hyperstyle.avatars.factors import sample_factors
from hyperstyle.avatars.photo import demo_photo
from hyperstyle.avatars.render import render
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.hub import BUNDLED


@pytest.fixture(scope="module")
def inverter() -> HyperStyleInverter:
    return HyperStyleInverter.from_pretrained("avatars", device="cpu")


@pytest.fixture(scope="module")
def inversion(inverter: HyperStyleInverter) -> Inversion:
    return inverter.invert(list(held_out_avatars(32, 64)), align=False, batch_size=32)


def trait(inverter: HyperStyleInverter, name: str, images: Tensor) -> Tensor:
    judge = inverter.model.judge
    assert judge is not None
    with torch.no_grad():
        return judge(images)[:, judge.config.traits.index(name)]


def test_five_passes_lower_the_error_of_held_out_portraits(inversion: Inversion) -> None:
    before = torch.tensor(inversion.initial.metrics()["l2"])
    after = torch.tensor(inversion.metrics()["l2"])
    assert after.mean() <= 0.85 * before.mean()
    assert (after < before).float().mean() > 0.8


def test_refinement_brings_the_person_nearer(inversion: Inversion) -> None:
    before, after = inversion.initial.metrics(), inversion.metrics()
    assert sum(after["identity"]) > sum(before["identity"])
    assert sum(after["perceptual"]) < sum(before["perceptual"])


@pytest.mark.parametrize(("edit", "read"), [("age", "age"), ("smile", "smile"), ("pose", "yaw")])
def test_an_edit_moves_its_trait_monotonically(
    edit: str, read: str, inverter: HyperStyleInverter, inversion: Inversion
) -> None:
    values = [trait(inverter, read, inversion.edit(edit, s).tensor).mean().item() for s in (-2, -1, 0, 1, 2)]
    assert values == sorted(values)
    assert values[-1] - values[0] > 0.25  # of the trait's range of 1


def test_the_judge_reads_traits_it_never_saw(inverter: HyperStyleInverter) -> None:
    drawn = sample_factors(64, seed=900_002)
    images = render(drawn, 64).images
    for name in ("yaw", "smile", "age", "glasses"):
        correlation = torch.corrcoef(torch.stack([trait(inverter, name, images), drawn[name]]))[0, 1]
        assert correlation > 0.7, name


def test_the_quick_start_works_as_written(inverter: HyperStyleInverter) -> None:
    photo, points = demo_photo(3, (320, 400))
    inversion = HyperStyleInverter().invert(photo, landmarks=points.numpy())
    edited = inversion.edit("age", 2)
    assert edited.image.size == (64, 64)
    assert edited.paste_back().size == photo.size


def test_the_weights_are_small_and_licensed(inverter: HyperStyleInverter) -> None:
    size = sum(path.stat().st_size for path in Path(BUNDLED["avatars"]).rglob("*") if path.is_file())
    assert size < 25_000_000
    assert inverter.describe()["licence"] == "MIT"


def test_an_inversion_on_disk_is_tens_of_kilobytes_and_exact(
    inverter: HyperStyleInverter, inversion: Inversion, tmp_path: Path
) -> None:
    single = inversion[3]
    single.save(tmp_path / "one.safetensors")
    assert (tmp_path / "one.safetensors").stat().st_size < 50_000
    assert torch.equal(Inversion.load(tmp_path / "one.safetensors", inverter).tensor, single.tensor)
