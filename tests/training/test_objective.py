"""The objective is the weighted sum that was asked for, and what it lacks is said before the first step."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hyperstyle import metrics
from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.errors import ConfigError, MethodError, MissingDependencyError, TrainingWarning, WeightsError
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig
from hyperstyle.networks.perception.similarity import FaceNetwork, MocoNetwork
from hyperstyle.training import objective as module
from hyperstyle.training.objective import Objective, delta_loss, resolve_weights, w_mean_loss
from hyperstyle.training.options import LossOptions

SMALL = Domain("plates", 64, (32, 32))
AVATARS = Domain("avatars", 32, (32, 32), aligner="face", similarity="traits")
TRUNK = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2)


@pytest.fixture(autouse=True)
def _lpips_is_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here fetches anything: the package is replaced wherever it would be used."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


class Lpips(nn.Module):
    """Has the form of lpips.LPIPS; like AlexNet it cannot see small images."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        warnings.warn("an argument is deprecated", UserWarning, stacklevel=2)
        self.conv = nn.Conv2d(3, {"alex": 4, "vgg": 6}[net], 11)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (self.conv(a) - self.conv(b)).square().mean((1, 2, 3), keepdim=True)


@pytest.fixture
def lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Lpips))


def traits() -> AttributeNetwork:
    return AttributeNetwork(AttributeNetworkConfig(("yaw",), TRUNK, input_size=16, embedding_width=8))


def image_pair(height: int = 32, width: int = 32) -> tuple[Tensor, Tensor]:
    return torch.rand(3, 3, height, width) * 2 - 1, torch.rand(3, 3, height, width) * 2 - 1


@pytest.mark.usefixtures("lpips")
def test_the_total_is_the_weighted_sum_of_the_means_and_has_their_gradient() -> None:
    network = traits().eval()
    options = LossOptions(l2=2.0, lpips=0.8, identity=0.5, perceptual=0.25)
    objective = Objective(options, AVATARS, perceptual=network)
    image, target = image_pair()
    image.requires_grad_(True)
    total, parts = objective(image, target)
    expected = {
        "l2": metrics.l2(image, target),
        "lpips": objective.terms["lpips"].network(image, target),
        "identity": 1 - metrics.identity(image, target, network),
        "perceptual": metrics.perceptual(image, target, network),
    }
    assert parts == pytest.approx({name: value.mean().item() for name, value in expected.items()}, rel=1e-5)
    assert all(parts.values())
    sum_of_all = sum(objective.weights[name] * value.mean() for name, value in expected.items())
    (gradient,), (expected_gradient,) = torch.autograd.grad(total, image), torch.autograd.grad(sum_of_all, image)
    torch.testing.assert_close(gradient, expected_gradient)
    assert objective.weights == {"l2": 2.0, "lpips": 0.8, "identity": 0.5, "perceptual": 0.25}


@pytest.mark.usefixtures("lpips")
def test_no_network_of_it_is_trained() -> None:
    objective = Objective(LossOptions(perceptual=1.0), AVATARS, perceptual=traits().train())
    assert not any(parameter.requires_grad for parameter in objective.terms.parameters())
    assert not any(part.training for part in objective.terms.modules())
    image, target = image_pair()
    assert objective(image, target)[1]["lpips"] > 0
    assert objective(target, target)[1] == pytest.approx(dict.fromkeys(objective.weights, 0), abs=1e-6)


def test_terms_without_weight_need_nothing() -> None:
    image, target = image_pair(24, 40)
    total, parts = Objective(LossOptions(lpips=0, identity=0), Domain("x", 40, (24, 40)))(image, target)
    assert parts == {"l2": total.item()}


def test_files_of_arcface_and_moco_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    face = FaceNetwork(TRUNK, width=8).eval()
    moco = MocoNetwork((2, 4), (1, 1)).eval()
    read = []
    monkeypatch.setattr(module, "load_arcface", lambda path: read.append(path) or face)
    monkeypatch.setattr(module, "load_moco", lambda path: read.append(path) or moco)
    image, target = image_pair(256, 256)
    options = LossOptions(lpips=0, identity_weights="face.pth")
    _, parts = Objective(options, DOMAINS["faces"])(image, target)
    assert parts["identity"] == pytest.approx((1 - metrics.cosine(face(image), face(target))).mean().item())
    image, target = image_pair(192, 256)
    options = LossOptions(lpips=0, identity=0, moco=0.5, moco_weights="moco.pth")
    total, parts = Objective(options, DOMAINS["cars"])(image, target)
    assert parts["moco"] == pytest.approx((1 - metrics.cosine(moco(image), moco(target))).mean().item())
    assert total.item() == pytest.approx(parts["l2"] + 0.5 * parts["moco"])
    assert read == ["face.pth", "moco.pth"]


# ---- what is missing ----


def test_without_any_weight_nothing_can_be_trained() -> None:
    with pytest.raises(ConfigError, match="all weights of the losses l2, lpips"):
        Objective(LossOptions(l2=0, lpips=0, identity=0), SMALL)


def test_without_the_package_lpips_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingDependencyError, match=r"pip install lpips torchvision.*--loss\.lpips 0"):
        Objective(LossOptions(identity=0), SMALL)


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_without_the_trunk_of_lpips_it_says_where_its_file_belongs(monkeypatch: pytest.MonkeyPatch, net: Any) -> None:
    def refuse(**options: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=refuse))
    with pytest.raises(MethodError, match=rf"no route to host.*{net}.*\.pth into .*checkpoints.*--loss\.lpips 0"):
        Objective(LossOptions(identity=0, lpips_net=net), SMALL)


@pytest.mark.parametrize("error", [EOFError(), RuntimeError("not a zip")])
def test_a_damaged_trunk_of_lpips_is_to_be_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def refuse(**options: Any) -> None:
        raise error

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=refuse))
    with pytest.raises(MethodError, match=r"alexnet-owt-7be5be79\.pth is damaged \(.+\)\. Delete it"):
        Objective(LossOptions(identity=0), SMALL)


def test_what_compares_people_or_things_is_left_out_with_a_warning_where_its_file_is_not_given() -> None:
    for domain, missing in ((DOMAINS["faces"], "identity"), (DOMAINS["cars"], "moco"), (AVATARS, "identity")):
        with pytest.warns(TrainingWarning, match=rf"without the loss {missing}, .*--loss\.{missing}_weights FILE"):
            assert Objective(LossOptions(lpips=0), domain).weights == {"l2": 1.0}
    with pytest.warns(TrainingWarning, match="without the loss moco"):  # an attribute network that knows no cars
        Objective(LossOptions(lpips=0), DOMAINS["cars"], perceptual=traits())
    assert Objective(LossOptions(lpips=0, identity=0), DOMAINS["faces"]).weights == {"l2": 1.0}  # and no warning


@pytest.mark.parametrize(
    ("options", "domain", "weights"),
    [
        ({"identity_weights": "a"}, "faces", (0.1, 0)),
        ({"moco_weights": "a"}, "cars", (0, 0.5)),
        ({"moco_weights": "a", "identity": 0.0}, "cars", (0, 0.5)),
        ({"identity_weights": "a", "identity": 0.3}, "cars", (0.3, 0)),
        ({"moco_weights": "a", "moco": 0.2}, "faces", (0, 0.2)),
        ({"identity_weights": "a", "identity": 0.0}, "faces", (0, 0)),
    ],
)
def test_weights_that_are_not_given_are_the_published_ones_of_the_domain(
    options: dict[str, Any], domain: str, weights: tuple[float, float]
) -> None:
    resolved = resolve_weights(LossOptions(**options), DOMAINS[domain], None)
    assert (resolved.identity, resolved.moco) == weights


def test_the_file_of_the_network_for_other_images_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"identity_weights is given, but .*'cars' are compared by moco"):
        resolve_weights(LossOptions(identity_weights="a"), DOMAINS["cars"], None)


def test_files_are_looked_for_before_lpips_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperstyle.training.objective.load_lpips", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=r"--loss\.identity_weights FILE"):
        Objective(LossOptions(identity=0.1), DOMAINS["faces"])


def test_without_the_file_of_a_network_it_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--loss\.identity_weights FILE.*--loss\.identity 0\.$"):
        Objective(LossOptions(lpips=0, identity=0.1), DOMAINS["faces"])
    with pytest.raises(ConfigError, match=r"--loss\.identity 0, with --loss\.moco 0\.5 --loss\.moco_weights FILE"):
        Objective(LossOptions(lpips=0, identity=0.1), DOMAINS["cars"])
    with pytest.raises(ConfigError, match=r"--loss\.moco_weights FILE.*--loss\.moco 0"):
        Objective(LossOptions(lpips=0, identity=0, moco=0.5), DOMAINS["cars"])
    with pytest.raises(ConfigError, match=r"perceptual network.*--loss\.lpips 0\.8"):
        Objective(LossOptions(lpips=0, identity=0, perceptual=1.0), SMALL)
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth"):
        Objective(LossOptions(lpips=0, identity_weights=str(tmp_path / "other.pth")), DOMAINS["faces"])


@pytest.mark.usefixtures("lpips")
def test_images_that_a_network_cannot_use_are_refused_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"lpips cannot compare images of 8x8 px.*Kernel.*--loss\.lpips 0"):
        Objective(LossOptions(identity=0), Domain("stamps", 8, (8, 8)))
    monkeypatch.setattr(module, "load_arcface", lambda path: FaceNetwork(TRUNK).eval())
    with pytest.raises(ConfigError, match=r"identity cannot compare images of 32x32.*expected 256x256"):
        Objective(LossOptions(lpips=0, identity=0.1, identity_weights="face.pth"), SMALL)


# ---- losses of latent codes ----


def test_delta_loss_adds_the_mean_lengths_of_the_rows_up_to_a_stage() -> None:
    w = torch.zeros(2, 4, 3)
    w[:, 1, 0], w[:, 3, 2] = 3.0, torch.tensor([4.0, 6.0])
    w = w + torch.randn(2, 1, 3)  # the first row itself costs nothing
    assert [round(delta_loss(w, stage).item(), 5) for stage in (0, 1, 2, 3)] == [0, 3, 3, 8]


def test_delta_loss_has_a_gradient_where_rows_are_still_equal() -> None:
    w = torch.zeros(2, 4, 3, requires_grad=True)
    delta_loss(w, 3).backward()
    assert w.grad is not None
    assert w.grad.isfinite().all()


def test_w_mean_loss_is_the_mean_length_over_all_rows() -> None:
    mean = torch.randn(3)
    w = mean.repeat(2, 4, 1)
    w[0, 0, 0] += 3
    w[0, 1, 2] += 4
    assert w_mean_loss(w, mean).item() == pytest.approx(5 / 2, rel=1e-5)
    assert w_mean_loss(w, mean.repeat(4, 1)).item() == pytest.approx(5 / 2, rel=1e-5)
