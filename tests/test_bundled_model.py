"""What the bundled model promises: it refines, its edits do what they say, it is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle import HyperStyleInverter, Inversion, QualityWarning, example_photo
from hyperstyle.align import crop, ffhq_quad
from hyperstyle.align.prepare import prepare
from hyperstyle.domain import DOMAINS
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.io.hub import BUNDLED

SIZE = DOMAINS["avatars"].size


@pytest.fixture(scope="module")
def inverter() -> HyperStyleInverter:
    return HyperStyleInverter.from_pretrained("avatars", device="cpu")


@pytest.fixture(scope="module")
def inversion(inverter: HyperStyleInverter) -> Inversion:
    return inverter.invert(list(held_out_avatars(8, SIZE)), align=False)


def trait(inverter: HyperStyleInverter, name: str, images: Tensor) -> Tensor:
    evaluator = inverter.model.evaluator
    assert evaluator is not None
    with torch.no_grad():
        return evaluator(images)[:, evaluator.config.traits.index(name)]


def test_five_passes_lower_the_error_of_held_out_portraits(inversion: Inversion) -> None:
    before = torch.tensor(inversion.initial.metrics()["l2"])
    after = torch.tensor(inversion.metrics()["l2"])
    assert after.mean() <= 0.55 * before.mean()
    assert (after < before).float().mean() > 0.8


def test_refinement_brings_the_person_nearer(inversion: Inversion) -> None:
    before, after = inversion.initial.metrics(), inversion.metrics()
    assert sum(after["identity"]) > sum(before["identity"])
    assert sum(after["perceptual"]) < sum(before["perceptual"])


@pytest.mark.parametrize(
    ("edit", "read"),
    [("smile", "smile"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("age", "age"), ("pose", "yaw")))],
)
def test_an_edit_moves_its_trait_monotonically(
    edit: str, read: str, inverter: HyperStyleInverter, inversion: Inversion
) -> None:
    values = [trait(inverter, read, inversion.edit(edit, s).tensor).mean().item() for s in (-2, -1, 0, 1, 2)]
    assert values == sorted(values)
    assert values[-1] - values[0] > 0.25  # of the trait's range of 1


def test_the_quick_start_works_as_written(inverter: HyperStyleInverter) -> None:
    photo = example_photo(3)
    inversion = HyperStyleInverter().invert(photo)
    edited = inversion.edit("age", 2)
    assert edited.image.size == (SIZE, SIZE)
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


@pytest.fixture(scope="module")
def samples(inverter: HyperStyleInverter) -> tuple[Tensor, Tensor]:
    """Codes [N,D] of random z, and their images."""
    return sample(inverter, 24)


def sample(inverter: HyperStyleInverter, count: int) -> tuple[Tensor, Tensor]:
    generator = inverter.model.generator
    with torch.no_grad():
        z = torch.randn(count, generator.config.latent_width, generator=torch.Generator().manual_seed(3))
        w = generator.mapping(z)
        return w, torch.cat([generator(part) for part in w.split(16)])


@pytest.mark.slow
def test_w_carries_pose_and_expression(inverter: HyperStyleInverter) -> None:
    w, images = sample(inverter, 384)
    x = torch.cat([w, torch.ones(len(w), 1)], 1)
    train, test = slice(0, 320), slice(320, None)
    for name in ("yaw", "smile", "gaze", "age", "mouth_open"):
        y = torch.cat([trait(inverter, name, part) for part in images.split(64)])
        ridge = torch.linalg.solve(x[train].T @ x[train] + 0.1 * torch.eye(x.shape[1]), x[train].T @ y[train])
        residual = (x[test] @ ridge - y[test]).square().mean()
        assert 1 - residual / y[test].var() > 0.4, name


def test_random_codes_give_varied_images(samples: tuple[Tensor, Tensor]) -> None:
    _, images = samples
    assert images.std(0).mean() > 0.25  # of a range of 2; renders have about 0.4


def test_images_change_evenly_between_two_codes(inverter: HyperStyleInverter, samples: tuple[Tensor, Tensor]) -> None:
    w = samples[0]
    ticks = torch.linspace(0, 1, 17)[:, None]
    for a, b in zip(w[:3], w[3:6], strict=True):
        with torch.no_grad():
            images = inverter.model.generator((1 - ticks) * a + ticks * b)
        moved = (images[1:] - images[:-1]).square().mean((1, 2, 3)).sqrt()
        assert moved.max() < 2.0 * moved.mean()


@pytest.mark.parametrize("sign", [pytest.param(-1, marks=pytest.mark.slow), 1])
def test_extremes_of_edits_do_not_blow_out(sign: int, inverter: HyperStyleInverter, inversion: Inversion) -> None:
    def blown(images: Tensor) -> float:
        return (images.abs() > 1.1).float().mean().item()

    few = inversion[:4]
    for name, edit in inverter.edits.items():
        end = edit.info.high if sign > 0 else edit.info.low
        assert blown(few.edit(name, end).tensor) < blown(few.tensor) + 0.02, name


@pytest.mark.parametrize("number", range(5))
def test_a_face_in_a_square_photo_is_aligned_unless_it_is_in_place(
    inverter: HyperStyleInverter, portrait: Any, number: int
) -> None:
    """A square that is cut from a photo anyhow; then the aligned crop, as it is and tilted by 15 degrees."""
    pytest.importorskip("dlib")
    domain, aligner = inverter.model.domain, inverter.aligner
    photo, landmarks = portrait(number, (640, 800))
    (square,) = prepare(photo.crop((0, 80, 640, 720)), domain, aligner=aligner)
    assert square.source.placement is not None
    quad = ffhq_quad(landmarks - np.array([0, 80]))
    distances = np.hypot(*(square.source.placement.footprint - quad).T)
    assert distances.mean() < 0.05 * np.hypot(*(quad[1] - quad[0]))
    aligned = crop(photo, landmarks, 512, 512).image
    (in_place,) = prepare(aligned, domain, aligner=aligner)
    assert in_place.source.placement is None
    assert "its face is in place" in in_place.source.note
    (tilted,) = prepare(aligned.rotate(15, Image.Resampling.BICUBIC), domain, aligner=aligner)
    assert tilted.source.placement is not None
    assert square.unaligned == in_place.unaligned == tilted.unaligned == ""


def test_a_square_image_without_a_face_is_said_to_be_taken_as_a_crop(inverter: HyperStyleInverter) -> None:
    pytest.importorskip("dlib")
    ramp = torch.linspace(-1, 1, 96).expand(3, 96, 96)
    with pytest.warns(QualityWarning, match=r"^'Tensor': square and taken as an aligned crop, since no face was found"):
        inverter.invert(ramp, steps=0)
