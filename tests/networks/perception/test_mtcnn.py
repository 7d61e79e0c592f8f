"""The three networks of MTCNN, and the files that they are loaded from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyperstyle.errors import CheckpointError, MissingFileError, WeightsError
from hyperstyle.networks.perception import mtcnn
from hyperstyle.networks.perception.mtcnn import (
    VARIABLE,
    Mtcnn,
    OutputNetwork,
    ProposalNetwork,
    RefinementNetwork,
    find_mtcnn,
    load_mtcnn,
)


def states(networks: Mtcnn) -> dict[str, dict[str, Any]]:
    """Weights of the three as arrays by name, as their files hold them."""
    return {
        name: {key: tensor.numpy() for key, tensor in network.state_dict().items()}
        for name, network in networks.named_children()
    }


def write(folder: Path, weights: dict[str, dict[str, Any]]) -> Path:
    for name, state in weights.items():
        np.save(folder / f"{name}.npy", state)  # type: ignore[arg-type]
    return folder


def test_what_was_saved_as_published_comes_back_equal_and_ready_to_use(tmp_path: Path) -> None:
    networks = Mtcnn()
    loaded = load_mtcnn(write(tmp_path, states(networks)))
    assert all(torch.equal(a, b) for a, b in zip(networks.parameters(), loaded.parameters(), strict=True))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not any(module.training for module in loaded.modules())


def test_the_first_network_looks_at_every_second_window_of_12_px_and_weighs_those_of_a_row() -> None:
    network = ProposalNetwork().eval()
    image = torch.randn(2, 3, 12, 20)
    probabilities, offsets = network(image)
    assert (probabilities.shape, offsets.shape) == ((2, 1, 5), (2, 4, 1, 5))
    torch.testing.assert_close(probabilities.sum(dim=2), torch.ones(2, 1))
    for i in range(5):
        torch.testing.assert_close(network(image[..., 2 * i : 2 * i + 12])[1][..., 0], offsets[..., i])


def test_the_other_networks_give_one_answer_for_each_window() -> None:
    probabilities, offsets = RefinementNetwork()(torch.randn(3, 3, 24, 24))
    assert (probabilities.shape, offsets.shape) == ((3,), (3, 4))
    probabilities, offsets, points = OutputNetwork()(torch.randn(3, 3, 48, 48))
    assert (probabilities.shape, offsets.shape, points.shape) == ((3,), (3, 4), (3, 5, 2))
    assert ((probabilities > 0) & (probabilities < 1)).all()


def test_no_windows_give_no_answers() -> None:
    assert RefinementNetwork()(torch.zeros(0, 3, 24, 24))[0].shape == (0,)
    assert OutputNetwork()(torch.zeros(0, 3, 48, 48))[2].shape == (0, 5, 2)


def test_the_last_network_gives_all_x_first_and_then_all_y() -> None:
    network = OutputNetwork()
    torch.nn.init.zeros_(network.conv6_3.weight)
    network.conv6_3.bias.data = torch.arange(10.0)
    points = network(torch.zeros(1, 3, 48, 48))[2]
    assert points.tolist() == [[[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]]


def test_a_folder_or_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere is no folder.*pnet\.npy, rnet\.npy and onet\.npy"):
        load_mtcnn(tmp_path / "nowhere")
    write(tmp_path, states(Mtcnn()))
    (tmp_path / "onet.npy").unlink()
    with pytest.raises(MissingFileError, match=r"onet\.npy is missing"):
        load_mtcnn(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv5_1.bias"), r"rnet\.npy: tensors 1 missing \(.*conv5_1\.bias"),
        (lambda state: state.update(extra=np.zeros(1, np.float32)), r"rnet\.npy: tensors 1 unexpected \(.*extra"),
        (
            lambda state: state.update({"conv5_1.bias": np.zeros(3, np.float32)}),
            r"wrong shape.*\(3,\), expected \(2,\)",
        ),
        (lambda state: state.update({"conv5_1.bias": np.full(2, np.nan)}), r"'conv5_1\.bias' holds NaN"),
        (lambda state: state.update({"conv5_1.bias": "text"}), r"'conv5_1\.bias' is str"),
    ],
)
def test_a_file_of_other_tensors_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    weights = states(Mtcnn())
    change(weights["rnet"])
    with pytest.raises(WeightsError, match=message):
        load_mtcnn(write(tmp_path, weights))


def test_files_of_one_another_are_refused(tmp_path: Path) -> None:
    weights = states(Mtcnn())
    with pytest.raises(WeightsError, match=r"pnet\.npy: tensors"):
        load_mtcnn(write(tmp_path, {"pnet": weights["onet"], "rnet": weights["rnet"], "onet": weights["pnet"]}))


def test_a_web_page_in_place_of_a_file_is_recognized(tmp_path: Path) -> None:
    write(tmp_path, states(Mtcnn()))
    (tmp_path / "pnet.npy").write_bytes(b"<!DOCTYPE html><html></html>")
    with pytest.raises(CheckpointError, match=r"pnet\.npy is a web page and no \.npy file"):
        load_mtcnn(tmp_path)


# ---- the weights of the package mtcnn ----


def write_packed(folder: Path, weights: dict[str, list[Any]]) -> Path:
    """The arrays of each network as the package has them."""
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("lz4")
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in weights.items():
        joblib.dump(arrays, folder / f"{name}.lz4")
    return folder


def as_tensorflow(networks: Mtcnn) -> dict[str, list[Any]]:
    """What TensorFlow's layers would hold, by their documented shapes: kernels [k,k,I,O], matrices [I,O]."""
    heads = {
        "pnet": ("conv4_2", "conv4_1"),  # box, then probability
        "rnet": ("conv5_2", "conv5_1"),
        "onet": ("conv6_2", "conv6_3", "conv6_1"),  # box, points, probability
    }
    packed = {}
    for name, network in networks.named_children():
        arrays: list[Any] = []
        side = None
        layers = [*network.features.named_children(), *((head, network.get_submodule(head)) for head in heads[name])]
        for _, layer in layers:
            if isinstance(layer, torch.nn.PReLU):
                weight = layer.weight.detach().numpy()
                arrays.append(weight if side is None else weight[None, None])
            elif isinstance(layer, torch.nn.Conv2d):
                arrays += [layer.weight.detach().numpy().transpose(2, 3, 1, 0), layer.bias.detach().numpy()]
                side = layer.out_channels
            elif isinstance(layer, torch.nn.Linear):
                weight = layer.weight.detach()
                if side is not None:  # [O,C,W,H] -> pixels column by column, all channels of a pixel together
                    edge = round((layer.in_features / side) ** 0.5)
                    weight = weight.unflatten(1, (side, edge, edge)).permute(0, 2, 3, 1).flatten(1)
                    side = None
                arrays += [weight.T.numpy(), layer.bias.detach().numpy()]
        packed[name] = arrays
    return packed


def test_the_packages_layout_becomes_that_of_the_networks(tmp_path: Path) -> None:
    networks = Mtcnn()
    for parameter in networks.parameters():
        torch.nn.init.normal_(parameter)
    loaded = load_mtcnn(write_packed(tmp_path, as_tensorflow(networks)))
    for (name, one), other in zip(networks.state_dict().items(), loaded.parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop(), r"rnet\.lz4 holds 15 arrays: expected 16"),
        (
            lambda arrays: arrays.insert(0, arrays.pop(1)),
            r"'features\.conv1\.weight' has shape \(28,\), expected \(3, 3",
        ),
        (lambda arrays: arrays.__setitem__(9, arrays[9].T), r"shape \(128, 576\), expected \(576, 128\)"),
        (lambda arrays: arrays.__setitem__(-1, arrays[-1] * np.nan), r"'conv5_1\.bias' holds NaN"),
        (lambda arrays: arrays.__setitem__(0, "text"), "something else than a list of arrays"),
    ],
)
def test_other_arrays_in_the_package_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    packed = as_tensorflow(Mtcnn())
    change(packed["rnet"])
    with pytest.raises(WeightsError, match=message):
        load_mtcnn(write_packed(tmp_path, packed))


def test_the_variable_comes_before_the_package_which_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "packed_mtcnn"
    folder = write_packed(package / "assets" / "weights", as_tensorflow(Mtcnn()))
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(mtcnn, "_PACKAGE", "packed_mtcnn")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert find_mtcnn() == folder
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert find_mtcnn() == tmp_path
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match="nowhere, named by HYPERSTYLE_MTCNN, is no folder"):
        find_mtcnn()


def test_without_weights_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for package in ("no_such_package", "old_mtcnn"):  # versions before 1.0 have no such files
        (tmp_path / "old_mtcnn").mkdir(exist_ok=True)
        (tmp_path / "old_mtcnn" / "__init__.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(mtcnn, "_PACKAGE", package)
        with pytest.raises(MissingFileError, match=r'pip install "hyperstyle-inversion\[mtcnn\]"'):
            find_mtcnn()


@pytest.mark.reference
def test_the_packages_weights_are_exactly_those_published(reference_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lz4")
    if importlib.util.find_spec("mtcnn") is None:
        pytest.skip("the package mtcnn is not installed")
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(mtcnn, "_PACKAGE", "mtcnn")
    packaged = load_mtcnn(find_mtcnn()).state_dict()
    published = load_mtcnn(reference_dir / "editing" / "weights" / "mtcnn").state_dict()
    assert packaged.keys() == published.keys()
    assert all(torch.equal(packaged[name], published[name]) for name in published)
    assert sum(tensor.numel() for tensor in packaged.values()) == 495_850


@pytest.mark.reference
def test_the_published_files_are_read_as_numpy_reads_them(reference_dir: Path) -> None:
    folder = reference_dir / "editing" / "weights" / "mtcnn"
    loaded = states(load_mtcnn(folder))
    for name, state in loaded.items():
        published = np.load(folder / f"{name}.npy", allow_pickle=True).item()
        assert set(state) == set(published)
        for key, array in published.items():
            np.testing.assert_array_equal(state[key], array)
