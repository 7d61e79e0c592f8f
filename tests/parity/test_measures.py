"""MS-SSIM, L2, identity, MoCo, LPIPS and the way photos are prepared, against a recording of the original code."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.images import load_image, resize, to_tensor
from hyperstyle.networks.perception.similarity import FaceNetwork, MocoNetwork

pytestmark = pytest.mark.reference

CLOSE = 1e-6  # of figures; the recording itself was met to 1e-7 by code that sums in the same order


class Recording:
    """What was recorded, and the images that it was made with: x, a distortion y of it, and another z, two each."""

    def __init__(self, reference: Path) -> None:
        self.folder = reference / "editing"
        self.draw = _module(self.folder / "detrand.py")
        self.base: int = json.loads((self.folder / "golden" / "set.json").read_text())["seed_base"]
        self.figures: dict[str, Any] = json.loads((self.folder / "golden" / "metrics.json").read_text())
        with np.load(self.folder / "golden" / "metrics.npz") as file:
            self.arrays = {name: torch.from_numpy(file[name]) for name in file}
        pairs = [self.pair(400), self.pair(410)]
        self.x, self.y = (torch.cat(images) for images in zip(*pairs, strict=True))
        self.z = torch.from_numpy(np.concatenate([self.draw.image(self.base + place) for place in (430, 440)]))

    def pair(self, place: int, **options: float) -> tuple[Tensor, Tensor]:
        """An image and a distortion of it, [1,3,256,256]."""
        first, second = self.draw.pair(self.base + place, **options)
        return torch.from_numpy(first), torch.from_numpy(second)

    def normal(self, place: int, *shape: int) -> Tensor:
        """float64."""
        return torch.from_numpy(self.draw.normal(self.base + place, *shape))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recording(reference_dir: Path) -> Recording:
    return Recording(reference_dir)


def close(value: float | None) -> Any:
    """Equal to the recorded figure; null is NaN."""
    return pytest.approx(math.nan if value is None else value, abs=CLOSE, rel=0, nan_ok=True)


@pytest.mark.parametrize("name", ["default", "heavy_noise", "shifted", "flat"])
def test_ms_ssim_and_l2_equal_the_recording_in_both_directions(recording: Recording, name: str) -> None:
    golden = recording.figures[name]
    x, y = recording.pair(golden["seed_offset"], **golden["pair_kwargs"])
    assert metrics.ms_ssim_reference(x, y).item() == close(golden["msssim_xy"])
    assert metrics.ms_ssim_reference(y, x).item() == close(golden["msssim_yx"])
    assert metrics.ms_ssim_reference(x, x).item() == close(golden["msssim_self"])
    assert metrics.l2(x, y).item() == close(golden["l2"])


def test_ms_ssim_of_a_batch_is_that_of_its_images(recording: Recording) -> None:
    # The original averages over a batch before it multiplies the scales; its published figures are of single images.
    actual = metrics.ms_ssim_reference(recording.x, recording.y)
    assert actual.mean().item() == close(recording.figures["batched"]["mean_of_single"])
    x, y = recording.x[:1], recording.y[:1]
    assert metrics.ms_ssim_reference(x, -x).item() == close(recording.figures["negative"]["msssim"])
    halves = metrics.ms_ssim_reference((x + 1) / 2, (y + 1) / 2)
    assert halves.item() == close(recording.figures["range01"]["msssim"])


@pytest.mark.parametrize("name", ["car", "face_frontal", "face_tilted", "portrait_small"])
def test_photos_are_prepared_as_recorded(recording: Recording, name: str) -> None:
    image = to_tensor(resize(load_image(recording.folder / "photos" / f"{name}.jpg"), (256, 256)))
    torch.testing.assert_close(image[:, ::16, ::16], recording.arrays[f"prep_{name}"], atol=1e-6, rtol=0)
    golden = recording.figures["photo_prep"][f"{name}.jpg"]
    assert image.mean().item() == pytest.approx(golden["mean"], abs=1e-5)
    assert image.std(correction=0).item() == pytest.approx(golden["std"], abs=1e-5)


def assert_similar(recording: Recording, name: str, target: Tensor, actual: Tensor, before: Tensor) -> None:
    """Loss and improvement from the vectors of target x, reconstruction y and input z, and every cosine."""
    golden = recording.figures[name]
    alike, improved = metrics.cosine(actual, target), metrics.cosine(actual, target) - metrics.cosine(target, before)
    assert (1 - alike).mean().item() == close(golden["loss"])
    assert improved.mean().item() == close(golden["sim_improvement"])
    for i, entry in enumerate(golden["logs"]):
        assert alike[i].item() == close(entry["diff_target"])
        assert metrics.cosine(actual, before)[i].item() == close(entry["diff_input"])
        assert metrics.cosine(target, before)[i].item() == close(entry["diff_views"])


def test_the_identity_loss_cuts_the_face_out_as_recorded(recording: Recording) -> None:
    with torch.device("meta"):
        network = FaceNetwork.arcface()  # only what it does before its layers
    prepared = network.prepared(recording.z)
    torch.testing.assert_close(prepared[:, :, ::4, ::4], recording.arrays["id_prep_112"], atol=1e-6, rtol=0)
    torch.testing.assert_close(prepared[:, :, 50], recording.arrays["id_prep_112_row50"], atol=1e-6, rtol=0)
    stand_in = (recording.normal(500, 32, 588) / math.sqrt(588)).float()

    def vectors(image: Tensor) -> Tensor:
        return F.normalize(F.adaptive_avg_pool2d(network.prepared(image), 14).flatten(1) @ stand_in.T)

    assert_similar(recording, "id_loss", *map(vectors, (recording.x, recording.y, recording.z)))


@pytest.mark.slow  # many weights to draw
def test_the_identity_network_equals_the_recording(recording: Recording) -> None:
    network = FaceNetwork.arcface().eval().requires_grad_(False)
    state = network.state_dict()
    order = json.loads((recording.folder / "golden" / "key_order.json").read_text())["irse50"]
    assert (
        sum(parameter.numel() for parameter in network.parameters()) == recording.figures["id_loss_irse50"]["n_params"]
    )
    for number, name, shape, is_parameter in order:
        assert list(state[name].shape) == shape
        if is_parameter:
            _fill(recording, state[name], name, 2000 + number)
    vectors = [network(image) for image in (recording.x, recording.y, recording.z)]
    torch.testing.assert_close(vectors[1], recording.arrays["irse50_feats"], atol=2e-6, rtol=0)
    assert_similar(recording, "id_loss_irse50", *vectors)


@pytest.mark.slow  # many weights to draw
def test_moco_equals_the_recording_for_one_image_too(recording: Recording) -> None:
    network = MocoNetwork().eval().requires_grad_(False)
    parameters = dict(network.named_parameters())
    for number, (name, tensor) in enumerate(network.state_dict().items()):
        if name in parameters:
            _fill(recording, tensor, name, 4000 + number)
    vectors = [network(image) for image in (recording.x, recording.y, recording.z)]
    torch.testing.assert_close(vectors[1], recording.arrays["moco_feats"], atol=2e-6, rtol=0)
    assert_similar(recording, "moco_loss", *vectors)
    torch.testing.assert_close(network(recording.y[:1]), vectors[1][:1], atol=2e-6, rtol=0)  # where the original fails


def _fill(recording: Recording, tensor: Tensor, name: str, place: int) -> None:
    """Seeded values of a sensible size, as the recording's `fill_` gives them."""
    values = recording.normal(place, *tensor.shape)
    if tensor.ndim >= 2:
        values = values / math.sqrt(tensor.numel() / len(tensor))
    elif name.endswith("weight"):
        values = (1 + 0.1 * values).clamp(0.5, 1.5)
    else:
        values = 0.1 * values
    tensor.copy_(values)


@pytest.mark.parametrize("trunk", ["alex", "squeeze", pytest.param("vgg", marks=pytest.mark.slow)])
def test_lpips_as_optimization_is_given_it_has_the_recorded_distances(recording: Recording, trunk: str) -> None:
    import lpips

    network: Any = lpips.LPIPS(pretrained=False, net=trunk, pnet_rand=True, verbose=False).eval()
    with torch.no_grad():
        for number, parameter in enumerate(network.net.parameters()):
            values = recording.normal(5000 + number, *parameter.shape)
            fan = math.sqrt(parameter.numel() / len(parameter))
            parameter.copy_(values * 1.4 / fan if parameter.ndim > 1 else 0.1 * values)
        for number in range(network.L):
            weight = getattr(network, f"lin{number}").model[1].weight
            weight.copy_(recording.normal(5900 + number, *weight.shape).abs() / weight.shape[1])
        distances = network(recording.x, recording.y).flatten()
        apart = network(recording.x, recording.z).mean()
    golden = recording.figures[f"lpips_{trunk}"]
    assert distances.tolist() == pytest.approx(golden["reference_single"], rel=5e-6)
    assert distances.mean().item() == pytest.approx(golden["reference_batch_of_two"], rel=5e-6)
    assert apart.item() == pytest.approx(golden["reference_XZ"], rel=5e-6)
