"""Component folders: configs and weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from hyperstyle.checkpoint import (
    config_from_dict,
    config_to_dict,
    load_component,
    load_tensors,
    make_folder,
    read_json,
    save_component,
    save_tensors,
    sha256,
    write_json,
)
from hyperstyle.errors import CheckpointError, ConfigError, HyperStyleError, MissingFileError, WeightsError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Inner:
    width: int
    rate: float = 0.5


@dataclass(frozen=True)
class Config:
    inner: Inner
    names: tuple[str, ...] = ()
    pair: tuple[int, int] = (1, 2)
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    more: Inner | None = None
    blocks: tuple[Inner, ...] = field(default_factory=tuple)


class Net(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.linear = nn.Linear(config.inner.width, 2)
        self.norm = nn.BatchNorm1d(2)


@pytest.mark.parametrize(
    "config",
    [
        Config(Inner(3)),
        Config(Inner(3, 1.5), ("x", "y"), (3, 4), "b", True, Inner(1), (Inner(1), Inner(2))),
    ],
)
def test_a_config_survives_json(config: Config) -> None:
    values = json.loads(json.dumps(config_to_dict(config)))
    assert config_from_dict(Config, values, "here") == config


def test_whole_numbers_are_taken_for_fractions() -> None:
    read = config_from_dict(Inner, {"width": 3, "rate": 2}, "here")
    assert read == Inner(3, 2.0)
    assert isinstance(read.rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, r"here: unknown entry 'colour' for Config\. Known: inner, names"),
        ({"inner": None}, "here: inner"),
        ({"inner": {}}, "here: inner: entry 'width' of Inner is missing"),
        ({"inner": {"width": "3"}}, "here: inner: width is '3'"),
        ({"inner": {"width": True}}, "width is True"),
        ({"inner": {"width": 1.5}}, r"width is 1\.5"),
        ({"inner": {"width": 1, "rate": "fast"}}, "rate is 'fast'"),
        ({"names": "xy"}, "names is 'xy'"),
        ({"names": ["x", 1]}, "names is 1"),
        ({"pair": [1]}, r"pair is \[1\]"),
        ({"pair": [1, 2, 3]}, r"pair is \[1, 2, 3\]"),
        ({"kind": "c"}, "kind is 'c': expected one of 'a', 'b'"),
        ({"flag": 1}, "flag is 1"),
        ({"more": 7}, "more: expected an object for Inner, found int"),
        ({"blocks": [{"width": 1}, {}]}, "blocks: entry 'width'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(Config, {"inner": {"width": 3}, **change}, "here")


def test_json_files_are_objects_or_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1, None]})
    assert read_json(tmp_path / "x.json") == {"a": [1, None]}
    with pytest.raises(MissingFileError, match="is missing"):
        read_json(tmp_path / "nowhere.json")
    with pytest.raises(MissingFileError, match="cannot be read"):
        read_json(tmp_path)
    for content, message in ((b"{", "not valid JSON"), (b"\xff\xfe{}", "not valid JSON"), (b"[1]", "holds a list")):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            read_json(tmp_path / "x.json")


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(2, 3).T, "b": torch.arange(3), "c": torch.zeros(1).expand(4)}
    save_tensors(tmp_path / "x.safetensors", tensors, {"note": "text"})
    loaded, metadata = load_tensors(tmp_path / "x.safetensors")
    assert metadata == {"note": "text"}
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())
    with pytest.raises(MissingFileError, match="nowhere"):
        load_tensors(tmp_path / "nowhere.safetensors")
    with pytest.raises(HyperStyleError, match="no_such_folder"):
        save_tensors(tmp_path / "no_such_folder" / "x.safetensors", tensors)


def test_a_component_comes_back_in_evaluation_mode_and_without_gradients(tmp_path: Path) -> None:
    config = Config(Inner(3))
    net = Net(config)
    net.norm.running_mean.normal_()  # type: ignore[union-attr]
    save_component(net, config, tmp_path / "deep" / "net")
    loaded = load_component(Net, Config, tmp_path / "deep" / "net", device=CPU)
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_precision_on_disk_and_in_memory_are_chosen_apart(tmp_path: Path) -> None:
    config = Config(Inner(3))
    save_component(Net(config), config, tmp_path, dtype=torch.float16)
    stored, _ = load_tensors(tmp_path / "model.safetensors")
    assert stored["linear.weight"].dtype == torch.float16
    assert stored["norm.num_batches_tracked"].dtype == torch.int64
    loaded = load_component(Net, Config, tmp_path, device=CPU, dtype=torch.float64)
    assert loaded.linear.weight.dtype == torch.float64
    assert loaded.norm.num_batches_tracked.dtype == torch.int64  # type: ignore[union-attr]


def test_a_component_of_another_kind_is_refused(tmp_path: Path) -> None:
    config = Config(Inner(3))
    save_component(Net(config), config, tmp_path)
    values = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {**values, "type": "Other"})
    with pytest.raises(ConfigError, match="describes a 'Other': expected 'Net'"):
        load_component(Net, Config, tmp_path, device=CPU)
    write_json(tmp_path / "config.json", {**values, "inner": {"width": 4}})
    with pytest.raises(
        WeightsError, match=r"1 of a wrong shape \(first 'linear.weight': \(2, 3\), expected \(2, 4\)\)"
    ):
        load_component(Net, Config, tmp_path, device=CPU)


def test_a_folder_is_made_or_the_reason_is_given(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match="Cannot make the folder"):
            make_folder(path)
