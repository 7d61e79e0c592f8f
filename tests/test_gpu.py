"""The same numbers on CUDA as on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods.hyperstyle import refine

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    """Without TF32, whose ten bits are no mistake but hide one."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(scope="module")
def on_cuda(tiny_model_dir: Path) -> HyperStyleInverter:
    return HyperStyleInverter.from_pretrained(tiny_model_dir, device="cuda")


def close(values: Tensor, expected: Tensor) -> None:
    assert values.device.type == "cuda"
    torch.testing.assert_close(values.cpu(), expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("modulation", ["weights", "activations"])
def test_the_generator_gives_the_same_images(
    on_cuda: HyperStyleInverter, tiny_inverter: HyperStyleInverter, modulation: str
) -> None:
    w = torch.randn(3, 8, 16)
    offsets = {"b8.conv1": 0.2 * torch.randn(3, 16, 16, 1, 1), "b32.conv0": 0.2 * torch.randn(3, 8, 16, 3, 3)}
    moved = {name: value.cuda() for name, value in offsets.items()}
    close(
        on_cuda.model.generator(w.cuda(), moved, modulation=modulation),
        tiny_inverter.model.generator(w, offsets, modulation=modulation),
    )


def test_the_mean_code_is_the_same(on_cuda: HyperStyleInverter, tiny_inverter: HyperStyleInverter) -> None:
    close(on_cuda.model.generator.mean_w(500), tiny_inverter.model.generator.mean_w(500))


def test_the_loop_gives_the_same_codes_and_images(
    on_cuda: HyperStyleInverter, tiny_inverter: HyperStyleInverter
) -> None:
    crop, w = torch.rand(2, 3, 32, 32) * 2 - 1, torch.randn(2, 8, 16)
    results = []
    for inverter in (on_cuda, tiny_inverter):
        model = inverter.model
        assert model.hypernetwork is not None
        results.append(
            refine(
                crop.to(model.device),
                w.to(model.device),
                model.generator,
                model.hypernetwork,
                model.domain.resize_to_input,
            )
        )
    (codes, image), (expected_codes, expected) = results
    assert codes is not None
    assert expected_codes is not None
    close(image, expected)
    for name in codes.sums:
        close(codes.sums[name], expected_codes.sums[name])


def test_an_inversion_made_on_one_device_is_read_on_the_other(
    on_cuda: HyperStyleInverter, tiny_inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    crops = list(torch.rand(2, 3, 32, 32) * 2 - 1)
    inversion = on_cuda.invert(crops, align=False).edit("age", 1)
    expected = tiny_inverter.invert(crops, align=False).edit("age", 1)
    close(inversion.tensor, expected.tensor)
    assert inversion.stored_metrics["l2"] == pytest.approx(expected.stored_metrics["l2"], abs=1e-4)
    assert inversion[0].image.size == (32, 32)
    inversion.save(tmp_path / "x.safetensors")
    loaded = Inversion.load(tmp_path / "x.safetensors", tiny_inverter)
    assert loaded.w.device.type == "cpu"
    torch.testing.assert_close(loaded.tensor, expected.tensor, atol=5e-5, rtol=1e-4)


def test_a_model_can_be_moved_and_moved_back(tiny_model_dir: Path, tiny_inverter: HyperStyleInverter) -> None:
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    crop = torch.rand(3, 32, 32) * 2 - 1
    expected = tiny_inverter.invert(crop, align=False).tensor
    close(inverter.to("cuda").invert(crop, align=False).tensor, expected)
    assert torch.equal(inverter.to("cpu").invert(crop, align=False).tensor, expected)
