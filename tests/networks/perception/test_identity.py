"""Face recognition networks, MoCo, and the files that they are loaded from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import CheckpointError, ImageError, WeightsError
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception import similarity
from hyperstyle.networks.perception.similarity import (
    FaceNetwork,
    MocoNetwork,
    Similarity,
    load_arcface,
    load_curricular,
    load_moco,
)

if TYPE_CHECKING:
    from conftest import CheckpointMaker

TRUNK = TrunkConfig((8, 16), (2, 1), stem_kernel=3, stem_stride=1, first_stride=2)


def crop_network() -> FaceNetwork:
    return FaceNetwork(TRUNK, input_size=16, width=6)


def nearest_network() -> FaceNetwork:
    return FaceNetwork(TRUNK, squeeze=False, affine=False, prepare="nearest", input_size=16, width=6)


def settled(network: nn.Module) -> Any:
    """In evaluation mode, with statistics that are not those of a new network."""
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network.eval().requires_grad_(False)


def small_moco() -> MocoNetwork:
    return MocoNetwork((4, 8), (2, 1))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 256, 256) * 2 - 1


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "crop": crop_network,
    "nearest": nearest_network,
    "moco": small_moco,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_images_become_unit_vectors_each_by_itself(name: str, images: Tensor) -> None:
    network: Similarity = settled(NETWORKS[name]())
    vectors = network(images)
    assert vectors.shape == (2, 32 if name == "moco" else 6)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)
    for i in range(2):
        torch.testing.assert_close(network(images[i : i + 1]), vectors[i : i + 1], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(3, 256, 256), (1, 1, 256, 256)])
def test_what_is_no_batch_of_images_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"expected images \[B, 3, H, W\]"):
        NETWORKS[name]().eval()(torch.zeros(shape))


def test_the_identity_loss_sees_the_middle_of_a_256_px_image(images: Tensor) -> None:
    network = FaceNetwork(TRUNK, input_size=94)
    expected = F.avg_pool2d(images[:, :, 35:223, 32:220], 2)
    torch.testing.assert_close(network.prepared(images), expected)


@pytest.mark.parametrize("size", [(192, 256), (128, 128), (1024, 1024)])
def test_the_identity_loss_refuses_images_in_which_it_does_not_know_the_face(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=rf"{size[0]}x{size[1]} px.*expected 256x256.*Average larger ones"):
        crop_network()(torch.zeros(1, 3, *size))


def test_the_identity_figure_resizes_the_whole_image_by_nearest_neighbors(images: Tensor) -> None:
    assert torch.equal(nearest_network().prepared(images), images[:, :, ::16, ::16])
    assert nearest_network().prepared(images[:, :, :40, :100]).shape == (2, 3, 16, 16)


def test_moco_resizes_by_nearest_neighbors_whatever_the_aspect(images: Tensor) -> None:
    network = settled(small_moco())
    wide = images[:, :, :112, :224]
    assert torch.equal(network(wide), network(wide.repeat_interleave(2, 2)))
    assert not torch.equal(network(wide), network(wide.flip(3)))


def test_squeeze_and_the_last_normalization_are_options() -> None:
    crop, nearest = (set(build().state_dict()) for build in (crop_network, nearest_network))
    assert crop - nearest == {
        *(f"body.{i}.res_layer.5.fc{j}.weight" for i in range(3) for j in (1, 2)),
        "output_layer.4.weight",
        "output_layer.4.bias",
    }
    assert nearest < crop


# ---- files ----


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loaders build small networks."""
    monkeypatch.setattr(FaceNetwork, "arcface", crop_network)
    monkeypatch.setattr(FaceNetwork, "curricular", nearest_network)
    monkeypatch.setattr(similarity, "MocoNetwork", small_moco)


def written(state: Any, folder: Path) -> Path:
    torch.save(state, folder / "file.pt")
    return folder / "file.pt"


def moco_file(network: MocoNetwork) -> dict[str, Any]:
    """What a training of MoCo v2 leaves behind."""
    query = {f"module.encoder_q.{k}": v for k, v in network.state_dict().items()}
    others = {k.replace("encoder_q", "encoder_k"): v + 1 for k, v in query.items()}
    head = {"module.encoder_q.fc.0.weight": torch.ones(2, 2), "module.encoder_q.fc.2.bias": torch.ones(2)}
    tensors = {**others, **query, **head, "module.queue": torch.ones(2, 2)}
    return {"epoch": 800, "arch": "resnet50", "state_dict": tensors, "optimizer": {"state": {}}}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("name", "load"), [("crop", load_arcface), ("nearest", load_curricular)])
def test_a_face_network_comes_back_from_its_state_dict(
    name: str, load: Callable[[Path], FaceNetwork], images: Tensor, tmp_path: Path
) -> None:
    network = settled(NETWORKS[name]())
    loaded = load(written(network.state_dict(), tmp_path))
    assert torch.equal(loaded(images), network(images))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.usefixtures("small")
def test_moco_is_the_query_encoder_of_its_file(images: Tensor, tmp_path: Path) -> None:
    network = settled(small_moco())
    loaded = load_moco(written(moco_file(network), tmp_path))
    assert torch.equal(loaded(images), network(images))
    assert not loaded.training


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("load", "make"),
    [(load_arcface, lambda: crop_network().state_dict()), (load_moco, lambda: moco_file(small_moco()))],
)
def test_a_file_that_was_read_by_the_caller_too_keeps_its_tensors(
    load: Callable[[Path], Any], make: Callable[[], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make()
    tensors = state.get("state_dict", state)
    before = list(tensors)
    monkeypatch.setattr(similarity, "load_state", lambda path: state)
    load(tmp_path / "file.pt")
    assert list(tensors) == before


@pytest.mark.usefixtures("small")
def test_prefixes_of_training_are_taken_off(images: Tensor, tmp_path: Path) -> None:
    network = settled(crop_network())
    state = {f"module._orig_mod.{name}": tensor for name, tensor in network.state_dict().items()}
    assert torch.equal(load_arcface(written(state, tmp_path))(images), network(images))


@pytest.mark.usefixtures("small")
def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    state = crop_network().state_dict()
    with pytest.raises(WeightsError, match=r"file\.pt.* unexpected \(first 'body\.0\.res_layer\.5"):
        load_curricular(written(state, tmp_path))
    with pytest.raises(WeightsError, match="1 unexpected"):
        load_arcface(written({**state, "more": torch.zeros(1)}, tmp_path))
    with pytest.raises(WeightsError, match="'epoch' is an int: expected tensors only"):
        load_arcface(written({**state, "epoch": 3}, tmp_path))
    del state["output_layer.3.bias"]
    with pytest.raises(WeightsError, match=r"1 missing \('output_layer\.3\.bias'"):
        load_arcface(written(state, tmp_path))
    for other in (state, {"state_dict": state}, {"state_dict": 3}):
        with pytest.raises(WeightsError, match="expected the file of MoCo v2"):
            load_moco(written(other, tmp_path))


@pytest.mark.parametrize("load", [load_arcface, load_curricular, load_moco])
def test_what_is_no_file_of_tensors_is_refused(load: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "page.pt"
    path.write_text("<!DOCTYPE html><html></html>", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"page\.pt"):
        load(path)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("ir_se50", FaceNetwork.arcface),
        ("curricular_face", FaceNetwork.curricular),
        ("moco_v2_resnet50", MocoNetwork),
    ],
)
def test_they_have_the_tensors_of_the_published_files(
    checkpoint_maker: CheckpointMaker, name: str, make: Callable[[], nn.Module]
) -> None:
    rows = checkpoint_maker.manifest("hyperstyle", name)["tensors"]
    published = {row["key"].removeprefix("module.encoder_q."): tuple(row["shape"]) for row in rows}
    with torch.device("meta"):
        ours = {k: tuple(v.shape) for k, v in make().state_dict().items()}
    assert ours == {k: v for k, v in published.items() if not k.startswith("fc.")}
