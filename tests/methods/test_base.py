"""What the optimizing refinements share: losses, differentiable images, batches that do not fit."""

from __future__ import annotations

import copy
import math
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.errors import ConfigError, ImageError, MemoryWarning, MethodError, MissingDependencyError
from hyperstyle.inversion.inversion import Inversion, Refinement
from hyperstyle.inversion.synthesis import render
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.methods import losses
from hyperstyle.methods.losses import lpips_loss, perceptual_loss
from hyperstyle.methods.offsets import OffsetCodeTuner, OffsetTuner
from hyperstyle.methods.projector import Projection, Projector
from hyperstyle.methods.pti import PivotalTuner, PivotalTuning


@pytest.fixture(autouse=True)
def _lpips_is_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here fetches anything: the package is replaced wherever it would be used."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def l1(image: Tensor, target: Tensor) -> Tensor:
    return (image - target).abs().mean((1, 2, 3))


TUNERS: dict[str, Callable[..., Refinement]] = {
    "optimize-w": lambda **options: Projector(Projection(steps=2, samples=50), **options),
    "pti": lambda **options: PivotalTuner(PivotalTuning(steps=2), **options),
    "offsets": lambda **options: OffsetTuner(steps=2, **options),
    "offset-codes": lambda **options: OffsetCodeTuner(steps=2, **options),
}


@pytest.fixture(params=list(TUNERS))
def tuner(request: pytest.FixtureRequest) -> Callable[..., Refinement]:
    return TUNERS[request.param]


@pytest.fixture(scope="module")
def begun(able: HyperStyleInverter, crops: list[Tensor]) -> Inversion:
    return able.invert([*crops, crops[0].flip(2)], method="hyperstyle", align=False)


def crop_of(inversion: Inversion) -> Tensor:
    assert inversion.crop is not None
    return inversion.crop


# ---- bad input ----


def test_a_crop_that_is_not_finite_is_refused_before_the_first_step(
    tuner: Callable[..., Refinement], begun: Inversion
) -> None:
    broken = crop_of(begun).clone()
    broken[1, 0, 3, 3] = math.nan
    seen: list[object] = []
    with pytest.raises(ImageError, match="1 of the 9216 values"):
        tuner()(broken, begun, callback=seen.append)
    assert not seen


def test_negative_steps_are_refused(tuner: Callable[..., Refinement], begun: Inversion) -> None:
    with pytest.raises(ConfigError, match="-1"):
        tuner()(crop_of(begun), begun, steps=-1)


def test_half_precision_is_refused(tuner: Callable[..., Refinement], begun: Inversion) -> None:
    rough = replace(begun.model, generator=copy.deepcopy(begun.model.generator).to(torch.bfloat16))
    with pytest.raises(ConfigError, match=r"bfloat16.*dtype=None"):
        tuner(loss=l1)(crop_of(begun), replace(begun, model=rough))


# ---- losses ----


def test_any_loss_can_be_passed_in(tuner: Callable[..., Refinement], begun: Inversion) -> None:
    sizes: list[int] = []

    def loss(image: Tensor, target: Tensor) -> Tensor:
        sizes.append(len(image))
        return l1(image, target)

    blind = replace(begun, model=begun.model.with_parts(perceptual=None))
    refined = tuner(loss=loss)(crop_of(begun), blind, steps=3)
    assert sum(sizes) == 9
    assert refined.stored_metrics["l2"] != begun.stored_metrics["l2"]


def test_the_loss_is_the_perceptual_network_and_never_the_evaluator(begun: Inversion) -> None:
    network = begun.model.perceptual
    assert network is not None
    a, b = crop_of(begun)[:2], crop_of(begun)[1:]
    assert torch.equal(perceptual_loss(begun.model)(a, b), metrics.perceptual(a, b, network))
    judged = begun.model.with_parts(perceptual=None, evaluator=network)
    called: list[torch.device] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "lpips_loss", lambda device: called.append(device) or l1)
        assert perceptual_loss(judged) is l1
    assert called == [torch.device("cpu")]


class Lpips(torch.nn.Module):
    """Has the form of lpips.LPIPS."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        warnings.warn("an argument is deprecated", UserWarning, stacklevel=2)
        self.scale = torch.nn.Parameter(torch.tensor({"alex": 2.0}[net]))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.scale * (a - b).abs().mean((1, 2, 3), keepdim=True)


def test_lpips_is_one_number_for_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Lpips))
    a = torch.zeros(3, 3, 8, 8, requires_grad=True)
    distances = lpips_loss(torch.device("cpu"))(a, torch.ones(3, 3, 8, 8))
    assert distances.tolist() == [2.0, 2.0, 2.0]
    distances.sum().backward()
    assert a.grad is not None


def test_without_lpips_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingDependencyError, match=r"pip install lpips torchvision.*loss="):
        lpips_loss(torch.device("cpu"))


def test_without_a_network_the_error_says_where_the_weights_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=refuse))
    with pytest.raises(MethodError, match=r"no route to host.*alexnet-owt-7be5be79\.pth into .*checkpoints.*loss="):
        lpips_loss(torch.device("cpu"))


def test_offline_nothing_is_asked_for_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(**options: Any) -> None:
        raise AssertionError("it would have been fetched")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=fetch))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MethodError, match=r"HF_HUB_OFFLINE is set.*alexnet-owt-7be5be79\.pth"):
        lpips_loss(torch.device("cpu"))


# ---- images ----


@pytest.mark.parametrize("method", ["hyperstyle", "hyperinverter", "optimize-w", "e4e+pti", "w-encoder+offsets"])
def test_the_differentiable_image_is_that_of_the_inversion(
    able: HyperStyleInverter, crops: list[Tensor], method: str
) -> None:
    steps = 1 if method == "hyperinverter" else 2
    inversion = able.invert(crops, method=method, steps=steps, align=False).edit("age", 0.5)
    names = {"b8.conv1": torch.full((2, 16), 0.1)}
    inversion = replace(inversion, style_offsets=names)
    torch.testing.assert_close(
        render(inversion.model, inversion.state, differentiable=True), inversion.tensor, atol=2e-5, rtol=0
    )


def test_gradients_flow_to_codes(begun: Inversion) -> None:
    w = begun.w.clone().requires_grad_()
    render(begun.model, replace(begun.state, w=w), differentiable=True).square().sum().backward()
    assert w.grad is not None
    assert (w.grad.flatten(1).abs().sum(1) > 0).all()


# ---- memory ----


def starved(most: int, error: type[RuntimeError] = torch.cuda.OutOfMemoryError) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss for which more than `most` images at once are too many."""

    def loss(image: Tensor, target: Tensor) -> Tensor:
        if len(image) > most:
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return l1(image, target)

    return loss


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("name", ["optimize-w", "offsets", "offset-codes"])
def test_a_batch_that_does_not_fit_is_split_with_a_note(name: str, begun: Inversion, error: type[RuntimeError]) -> None:
    with pytest.warns(MemoryWarning, match=rf"of method '{name}' did not fit") as noted:
        refined = TUNERS[name](loss=starved(1, error))(crop_of(begun), begun, steps=3)
    splits = [str(note.message).partition("start again as ")[2].partition(".")[0] for note in noted]
    assert splits == ["1 and 2", "1 and 1"]
    # Not with the whole batch, which is rounded otherwise: Adam makes steps of that.
    for i in range(3):
        alone = TUNERS[name](loss=l1)(crop_of(begun)[i : i + 1], begun[i], steps=3)
        torch.testing.assert_close(refined[i].tensor, alone.tensor, atol=2e-5, rtol=0)
        assert refined.stored_metrics["l2"][i] == pytest.approx(alone.stored_metrics["l2"][0], abs=1e-5)


def test_one_image_that_does_not_fit_is_an_error_of_ours(tuner: Callable[..., Refinement], begun: Inversion) -> None:
    with pytest.raises(MethodError, match="ran out of memory with a single image on cpu"):
        tuner(loss=starved(0))(crop_of(begun)[:1], begun[0])


def test_other_errors_stay_what_they_are(begun: Inversion) -> None:
    def broken(image: Tensor, target: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        OffsetTuner(loss=broken)(crop_of(begun), begun)


def test_crops_of_other_images_are_refused(tuner: Callable[..., Refinement], begun: Inversion) -> None:
    with pytest.raises(ConfigError, match=rf"1 crop\(s\) for {len(begun)} image\(s\)"):
        tuner()(crop_of(begun)[:1], begun)
