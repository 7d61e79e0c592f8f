"""Published weights come to the right places of a trunk, all of them or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hyperstyle.errors import CheckpointError, ConfigError, HubError, WeightsError
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig, TrunkNetwork
from hyperstyle.networks.encoders.pyramid import (
    PyramidEncoder,
    PyramidEncoderConfig,
    RestyleEncoder,
    RestyleEncoderConfig,
)
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import GeneratorConfig
from hyperstyle.training.pretrained import load_trunk, trunk_file

if TYPE_CHECKING:
    from conftest import CheckpointMaker

GENERATOR = GeneratorConfig(16, (8, 8, 8), latent_width=16, mapping_layers=2)
RESNET = TrunkConfig((4, 8, 16), (2, 1, 3), stem_kernel=7, stem_stride=2, first_stride=1)
IRSE = TrunkConfig((4, 8, 16), (2, 1, 3), stem_kernel=3, stem_stride=1, first_stride=2)


class _ImageNet(nn.Module):
    """torchvision's layout of a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        trunk = TrunkNetwork("resnet", 3, RESNET)
        self.conv1, self.bn1 = trunk.conv1, trunk.bn1
        ends = [0, 2, 3, 6]
        for i in range(3):
            self.add_module(f"layer{i + 1}", nn.Sequential(*trunk.body[ends[i] : ends[i + 1]]))
        self.fc = nn.Linear(16, 10)


def published(backbone: Backbone) -> dict[str, Tensor]:
    """A file's tensors, each with other numbers."""
    if backbone == "resnet":
        network: nn.Module = _ImageNet()
    else:
        network = TrunkNetwork("irse", 3, IRSE)
        network.add_module("output_layer", nn.Sequential(nn.BatchNorm2d(16), nn.Dropout(), nn.Linear(16, 4)))
    state = network.state_dict()
    return {name: torch.rand_like(t) if t.is_floating_point() else t + 1000 for name, t in state.items()}


def written(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    path = tmp_path / "trunk.pth"
    torch.save(tensors, path)
    return path


def networks() -> dict[str, tuple[Backbone, nn.Module]]:
    return {
        "hypernetwork": (
            "resnet",
            Hypernetwork(HypernetworkConfig(GENERATOR, ("b8.conv1",), (32, 32), RESNET, "compact", 8)),
        ),
        "W encoder": ("irse", WEncoder(WEncoderConfig(6, 16, (32, 32), IRSE))),
        "W encoder of churches": ("resnet", WEncoder(WEncoderConfig(6, 16, (32, 32), RESNET, backbone="resnet"))),
        "e4e": ("irse", PyramidEncoder(PyramidEncoderConfig(6, 16, (32, 32), trunk=IRSE))),
        "ReStyle": ("irse", RestyleEncoder(RestyleEncoderConfig(6, 16, (32, 32), trunk=IRSE))),
        "HyperInverter": (
            "irse",
            HyperInverter(HyperInverterConfig(GENERATOR, ("b8.conv1",), (32, 32), trunk=IRSE, hidden=4, channels=8)),
        ),
    }


@pytest.mark.parametrize("name", networks())
def test_the_trunk_of_every_network_computes_what_the_file_does(tmp_path: Path, name: str) -> None:
    backbone, network = networks()[name]
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    tensors = published(backbone)
    loaded = load_trunk(network, written(tmp_path, tensors))
    used = [k for k in tensors if not k.endswith("num_batches_tracked") and not k.startswith(("fc.", "output_layer."))]
    assert len(loaded) == len(used)

    trunk = network.w_bar_encoder if isinstance(network, HyperInverter) else network
    x = torch.randn(2, 3, 32, 32)
    if backbone == "resnet":
        original = TrunkNetwork("resnet", 3, RESNET)
        original.relu = nn.PReLU(4)  # as in the network: the file has none
        reference = _ImageNet()
        reference.load_state_dict(tensors)
        original.conv1, original.bn1 = reference.conv1, reference.bn1
        original.body = nn.Sequential(*reference.layer1, *reference.layer2, *reference.layer3)
    else:
        original = TrunkNetwork("irse", 3, IRSE)
        original.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("output_layer.")})
    rebuilt = TrunkNetwork(backbone, 3, RESNET if backbone == "resnet" else IRSE)
    for part, place in rebuilt.named_children():
        state = getattr(trunk, part).state_dict()
        if part in ("conv1", "input_layer"):
            first = "weight" if part == "conv1" else "0.weight"
            state[first] = state[first][:, :3]
        place.load_state_dict(state)
    torch.testing.assert_close(rebuilt.eval().trunk_features(x), original.eval().trunk_features(x))

    # What is no part of the trunk, and what of it sees the reconstruction, is as it was.
    filled = {("w_bar_encoder." if trunk is not network else "") + key for key in loaded}
    for key, tensor in network.state_dict().items():
        if key not in filled:
            assert torch.equal(tensor, before[key]), key
        elif tensor.ndim == 4 and tensor.shape[1] == 6:
            assert torch.equal(tensor[:, 3:], before[key][:, 3:])


def test_files_without_counters_and_safetensors_are_read_too(tmp_path: Path) -> None:
    tensors = {k: v for k, v in published("resnet").items() if not k.endswith("num_batches_tracked")}
    (_, first), (_, other) = networks()["hypernetwork"], networks()["hypernetwork"]
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    assert set(load_trunk(first, path)) == set(load_trunk(other, written(tmp_path, tensors)))
    assert torch.equal(first.get_submodule("body.5.conv2").weight, tensors["layer3.2.conv2.weight"])
    named = {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()}  # of training on several GPUs
    (_, third) = networks()["hypernetwork"]
    load_trunk(third, written(tmp_path, named))
    assert torch.equal(third.get_submodule("body.5.conv2").weight, tensors["layer3.2.conv2.weight"])


@pytest.mark.parametrize("backbone", ["resnet", "irse"])
def test_a_file_that_fits_another_trunk_changes_nothing(tmp_path: Path, backbone: Backbone) -> None:
    right = published(backbone)
    first = next(iter(right))
    wrong = {
        "a tensor less": ({k: v for k, v in right.items() if k != first}, "1 missing"),
        "a tensor more": (right | {"body.77.weight": torch.zeros(1)}, "1 unexpected.*body.77"),
        "another shape": (right | {first: torch.zeros(4, 3, 1, 1)}, "1 of a wrong shape.*widths 4, 8, 16"),
        "not finite": (right | {first: torch.full_like(right[first], torch.nan)}, "nan|finite"),
        "the other trunk": (published("irse" if backbone == "resnet" else "resnet"), "missing"),
    }
    _, network = networks()["hypernetwork" if backbone == "resnet" else "W encoder"]
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    for name, (tensors, message) in wrong.items():
        with pytest.raises(WeightsError, match=message):
            load_trunk(network, written(tmp_path, tensors))
        assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items()), name


def test_what_is_no_state_dict_is_refused_by_name(tmp_path: Path) -> None:
    _, network = networks()["W encoder"]
    torch.save({"state_dict": published("irse")}, tmp_path / "wrapped.pth")
    with pytest.raises(WeightsError, match=r"wrapped\.pth: 'state_dict' is a dict"):
        load_trunk(network, tmp_path / "wrapped.pth")
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(CheckpointError, match="web page"):
        load_trunk(network, tmp_path / "page.pth")
    with pytest.raises(ConfigError, match="Linear has no trunk"):
        load_trunk(nn.Linear(2, 2), tmp_path / "wrapped.pth")


def test_a_name_is_a_file_on_disk_or_on_the_hub_or_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, {})
    asked = []

    def download(repo: str, name: str) -> str:
        asked.append((repo, name))
        if repo == "nobody/nothing":
            raise OSError("no route to host")
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert trunk_file(path) == path
    assert trunk_file("avatars") is None
    assert trunk_file("org/model") is None
    assert trunk_file("runs/encoder/model") is None
    assert trunk_file(tmp_path / "missing.pth") is None
    assert asked == []
    assert trunk_file("timm/resnet34.tv_in1k/model.safetensors") == path
    assert trunk_file("org/name/folder/trunk.pth") == path
    assert asked == [("timm/resnet34.tv_in1k", "model.safetensors"), ("org/name", "folder/trunk.pth")]
    with pytest.raises(HubError, match=r"nobody/nothing/x\.pth.*no route to host"):
        trunk_file("nobody/nothing/x.pth")


@pytest.mark.reference
@pytest.mark.parametrize(("file", "count"), [("resnet34", 180), ("ir_se50", 333)], ids=["resnet", "irse"])
def test_every_tensor_of_the_published_files_has_its_place(
    checkpoint_maker: CheckpointMaker, tmp_path: Path, file: str, count: int
) -> None:
    tensors = {
        row["key"]: torch.zeros(row["shape"], dtype=getattr(torch, row["dtype"]))
        for row in checkpoint_maker.manifest("hyperstyle", file)["tensors"]
    }
    trunk = (
        TrunkNetwork("resnet", 6, TrunkConfig.resnet34())
        if file == "resnet34"
        else TrunkNetwork("irse", 3, TrunkConfig.irse50())
    )
    loaded = load_trunk(trunk, written(tmp_path, tensors))
    assert len(loaded) == count
