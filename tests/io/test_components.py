"""Component folders: configs and weights."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hyperstyle.errors import CheckpointError, ConfigError, HyperStyleError, MissingFileError, WeightsError
from hyperstyle.io.components import (
    check_tensors,
    load_component,
    load_tensors,
    read_json,
    save_component,
    save_tensors,
    write_json,
)
from hyperstyle.io.files import make_folder, sha256

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


def test_json_files_are_objects_or_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1, None]})
    assert read_json(tmp_path / "x.json") == {"a": [1, None]}
    with pytest.raises(MissingFileError, match="is missing"):
        read_json(tmp_path / "nowhere.json")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_json(tmp_path)
    for content, message in (
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "is no JSON file"),
        (b"[1]", "holds a list"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON: Exceeds the limit"),
    ):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(HyperStyleError, match=message):
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


TYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int64", "int32", "int16")
TYPES += ("int8", "uint64", "uint32", "uint16", "uint8", "bool")


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 5), (16,)])
@pytest.mark.parametrize("name", TYPES)
def test_every_type_and_shape_is_read_by_the_reference_reader(
    name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    dtype = getattr(torch, name)
    value = (torch.randn(shape) * 3).abs().to(dtype)
    save_tensors(tmp_path / "x.safetensors", {"before": torch.ones(3, dtype=torch.uint8), "x": value})
    for read in (load_file(tmp_path / "x.safetensors"), load_tensors(tmp_path / "x.safetensors")[0]):
        assert (read["x"].dtype, read["x"].shape) == (dtype, value.shape)
        assert as_bytes(read["x"]) == as_bytes(value)
        assert read["before"].tolist() == [1, 1, 1]


def as_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])  # the first: from safetensors 0.7 on
def test_a_type_that_not_all_versions_of_the_format_have_is_named_and_nothing_is_written(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    with pytest.raises(WeightsError, match=rf"'z' is {dtype}, which not all safetensors files have"):
        save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(2), "z": torch.zeros(2, dtype=dtype)})
    assert list(tmp_path.iterdir()) == []


def test_strided_and_shared_tensors_are_written_in_full(tmp_path: Path) -> None:
    base = torch.arange(24.0).view(2, 3, 4)
    tensors = {
        "whole": base,
        "transposed": base.transpose(0, 2),
        "stepped": base[:, ::2, 1:3],
        "last": base[-1],
        "expanded": base[:1].expand(5, 3, 4),
        'names: ä "quoted"': base.to(torch.bool),
    }
    save_tensors(tmp_path / "x.safetensors", tensors)
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(read[name], value), name


def test_large_tensors_begin_at_lines_of_memory_and_all_at_their_elements(tmp_path: Path) -> None:
    tensors = {
        "a": torch.ones(3, dtype=torch.bool),
        "b": torch.ones(16),
        "c": torch.ones(5),
        "d": torch.ones(128, dtype=torch.float16),
        "e": torch.tensor(1),
        "f": torch.ones(7, dtype=torch.float16),
        "g": torch.ones(64, 64),
        "h": torch.ones(64, dtype=torch.uint8),
    }
    save_tensors(tmp_path / "x.safetensors", tensors, {"a note of any length": "x" * 77})
    content = (tmp_path / "x.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    assert start % 64 == 0
    header = json.loads(content[8:start])
    assert [k for k in header if k != "__metadata__"] == ["g", "b", "d", "h", "e", "c", "f", "a"]
    end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, stop = entry["data_offsets"]
        assert begin == end  # no gaps: readers refuse them
        assert begin % (64 if name in "gbdh" else tensors[name].element_size()) == 0
        end = stop
    assert start + end == len(content)
    for name, value in load_tensors(tmp_path / "x.safetensors")[0].items():
        assert value.data_ptr() % 64 == 0 or name not in "gbdh"


def test_equal_tensors_give_equal_bytes_in_whatever_order(tmp_path: Path) -> None:
    tensors = {name: torch.full((n,), float(n)) for n, name in enumerate("dacb", 1)}
    save_tensors(tmp_path / "x", tensors, {"one": "1", "two": "2"})
    save_tensors(tmp_path / "y", dict(reversed(tensors.items())), {"two": "2", "one": "1"})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    class Broken(dict[str, torch.Tensor]):
        asked = 0

        def __getitem__(self, name: str) -> torch.Tensor:
            self.asked += name == "b"
            if self.asked == 2:  # the first time for the header
                raise OSError(28, "No space left on device")
            return super().__getitem__(name)

    save_tensors(tmp_path / "x", {"a": torch.ones(16)})
    before = (tmp_path / "x").read_bytes()
    broken = Broken(a=torch.zeros(64), b=torch.zeros(16))
    with pytest.raises(HyperStyleError, match="No space left on device"):
        save_tensors(tmp_path / "x", broken)
    assert (tmp_path / "x").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_what_is_changed_in_a_loaded_tensor_stays_out_of_the_file(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"a": torch.ones(5000)})
    before = sha256(tmp_path / "x")
    first, _ = load_tensors(tmp_path / "x")
    first["a"][:] = 7
    second, _ = load_tensors(tmp_path / "x")
    assert second["a"].eq(1).all()
    save_tensors(tmp_path / "x", first)  # also where the file that is replaced is still in use
    assert second["a"].eq(1).all()
    assert load_tensors(tmp_path / "x")[0]["a"].eq(7).all()
    assert sha256(tmp_path / "x") != before


@pytest.mark.parametrize("shift", range(0, 64, 4))
def test_a_component_computes_the_same_wherever_its_tensors_lie_in_the_file(shift: int, tmp_path: Path) -> None:
    config = Config(Inner(33))
    net = Net(config).eval()
    save_component(net, config, tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    moved = content[8:start] + b" " * shift
    (tmp_path / "model.safetensors").write_bytes(len(moved).to_bytes(8, "little") + moved + content[start:])
    loaded = load_component(Net, Config, tmp_path, device=CPU)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, net.state_dict()[name])
        assert value.data_ptr() % 64 == 0
    x = torch.randn(5, 33)
    assert torch.equal(loaded.linear(x), net.linear(x))


MEMORY = """
import os
import sys
from dataclasses import dataclass
from pathlib import Path
import torch
from torch import nn
from hyperstyle.io.components import load_component, save_component

@dataclass(frozen=True)
class Config:
    width: int

class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        for name, share in zip("abcde", (4, 1, 1, 1, 1)):
            self.register_buffer(name, torch.ones(share, config.width))

def memory(name):
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) // 1000

def measure(what):
    if what != "load":
        net = Net(config)  # 200 MB
        before = memory("VmHWM")
        save_component(net, config, folder, dtype=getattr(torch, what))
        print(memory("VmHWM") - before, flush=True)
    else:
        torch.ones(1)
        before = memory("RssAnon")
        net = load_component(Net, Config, folder, device=torch.device("cpu"))
        grown, peak = memory("RssAnon") - before, memory("VmHWM") - memory("VmRSS")
        print(grown, peak, float(net.a.sum() + net.e.sum()), flush=True)

folder = Path(sys.argv[1])
config = Config(25_000_000 // 4)
for what in ("float16", "float32", "load"):
    if not (child := os.fork()):  # its peak is its own
        measure(what)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system does not tell the memory of a process")
def test_neither_saving_nor_loading_holds_the_tensors_twice(tmp_path: Path, run_python: Any) -> None:
    # A copy of all would take 200 MB, of all in half precision 100 MB, magnitudes of the largest tensor 100 MB.
    result = run_python("-c", MEMORY, str(tmp_path))
    assert result.stderr == ""
    *peaks, total = [float(word) for word in result.stdout.split()]  # of saving twice, of loading what stays and more
    assert len(peaks) == 4
    assert max(peaks) < 75
    assert total == pytest.approx(5 * 25_000_000 / 4)


@pytest.mark.parametrize("bad", [torch.zeros(2, 3).to_sparse(), torch.zeros(2, 3, device="meta")])
def test_a_tensor_without_dense_numbers_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(WeightsError, match=r"file: 'x\.y' .*: expected a dense tensor"):
        check_tensors({"y": torch.zeros(2, 3)}, {"y": bad}, Path("file"), prefix="x.")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("place", [0, (1 << 20) + 5, -1])
def test_a_number_that_is_not_finite_is_found_anywhere(bad: float, dtype: torch.dtype, place: int) -> None:
    values = torch.full(((2 << 20) + 9,), torch.finfo(dtype).max, dtype=dtype)
    good = {"x": values, "empty": torch.zeros(0), "number": torch.tensor(3)}
    check_tensors(good, good, Path("file"))
    values[place] = bad
    with pytest.raises(WeightsError, match="file: 'x' holds NaN or infinite values"):
        check_tensors(good, good, Path("file"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"x\.safetensors is empty\. Fetch it again\."),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", r"x\.safetensors is a web page and no safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"x\.safetensors is a Git LFS pointer"),
        (b"\x08\0\0\0\0\0\0\0{}", r"x\.safetensors is not a readable safetensors file: .*\. Fetch or write it again"),
        (b"just some text, for a while", r"x\.safetensors is not a readable safetensors file"),
    ],
)
def test_a_file_of_another_kind_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_tensors(tmp_path / "x.safetensors")


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x.safetensors", {"a": torch.ones(100)})
    content = (tmp_path / "x.safetensors").read_bytes()
    for length in (4, 30, len(content) - 400, len(content) - 1):
        (tmp_path / "x.safetensors").write_bytes(content[:length])
        with pytest.raises(WeightsError, match="is not a readable safetensors file"):
            load_tensors(tmp_path / "x.safetensors")


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
    with pytest.raises(WeightsError, match=r"1 of a wrong shape \('linear.weight'\): \(2, 3\), expected \(2, 4\)"):
        load_component(Net, Config, tmp_path, device=CPU)


@pytest.mark.parametrize("width", [-1, 10**19])
def test_a_component_of_impossible_size_is_refused(tmp_path: Path, width: int) -> None:
    config = Config(Inner(3))
    save_component(Net(config), config, tmp_path)
    write_json(tmp_path / "config.json", {**read_json(tmp_path / "config.json"), "inner": {"width": width}})
    with pytest.raises(ConfigError, match=r"config\.json: no Net can be built with these numbers: .*[^.]\.$"):
        load_component(Net, Config, tmp_path, device=CPU)


def test_a_folder_is_made_or_the_reason_is_given(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    left = tmp_path / "a" / ".tmp-0123456789ab"
    left.touch()
    make_folder(left.parent)
    assert left.exists()  # the first file that is written into the folder sweeps it
    write_json(left.parent / "config.json", {})
    assert not left.exists()
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match="Cannot make the folder"):
            make_folder(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
def test_a_file_whose_name_is_not_utf8_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    save_tensors(folder / "a.safetensors", {"a": torch.arange(3.0)}, {"b": "c"})
    tensors, metadata = load_tensors(folder / "a.safetensors")
    assert tensors["a"].tolist() == [0, 1, 2]
    assert metadata == {"b": "c"}
