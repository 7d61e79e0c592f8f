"""Small files that ask for much: refused before anything is built, unpacked or copied."""

from __future__ import annotations

import io
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.edits.clip import _is_torchscript
from hyperstyle.errors import CheckpointError, HyperStyleError, ImageError, LandmarkError, WeightsError
from hyperstyle.fitting.scores import load_scores
from hyperstyle.images import load_image
from hyperstyle.io import limits
from hyperstyle.io.limits import check_pickle
from hyperstyle.io.npy_objects import load_named_arrays
from hyperstyle.io.pickle_reader import PickledObject, load_pickle
from hyperstyle.io.torch_files import as_tensor, load_content, load_npz, load_numbers, load_points
from hyperstyle.training.image_sources import find_entries

# ---- pickles ----

OLD_PYTORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + pickle.dumps(1001, 2) + pickle.dumps({}, 2)


def collisions(count: int = 2000) -> bytes:
    """A dictionary of integers that all have the hash 0."""
    keys = (b"\x8a\x0c" + (number * (2**61 - 1)).to_bytes(12, "little") + b"N" for number in range(8, 8 + count))
    return b"\x80\x02}(" + b"".join(keys) + b"u."


CALL = b"cbuiltins\ntuple\n"
HOSTILE = {
    "nested more than 1,000 deep": b"\x80\x02}N" + b"\x85" * 200_000 + b"K\x01s.",
    "tuples nested more": b"\x80\x02N" + (b"q\x000" + CALL + b"]h\x00a\x85R") * 5000 + b".",  # tuple([tuple([...])])
    "integers of more than 64 bits": collisions(),
    "10,000 tuples": pickle.dumps({(n, n): None for n in range(10_001)}, 2),
    "with the number": b"\x80\x02]r\xff\xff\xff\x0b.",
    "bytes made from a file": b"\x80\x02](" + b"N" * 100_000 + b"eq\x00" + (CALL + b"h\x00\x85R0") * 2000 + b".",
}


def torch_zip(data: bytes, **records: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"data.pkl": data, "version": b"3\n", **records}.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def object_npy(data: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def storage(data: bytes) -> bytes:
    """NVIDIA's pickles hold storages as files of PyTorch."""
    return b"\x80\x02ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(data)) + data + b"\x85R."


CONTAINERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[Path], Any]]] = {
    "pt": (torch_zip, load_content),
    "mapped pt": (torch_zip, lambda path: load_content(path, mmap=True)),
    "old pt": (lambda data: OLD_PYTORCH + data, load_content),
    "keys of an old pt": (lambda data: OLD_PYTORCH + pickle.dumps({}, 2) + data, load_content),
    "pickle": (bytes, load_pickle),
    "storage": (lambda data: storage(torch_zip(data)), load_pickle),
    "old storage": (lambda data: storage(OLD_PYTORCH + data), load_pickle),
    "npy": (object_npy, load_named_arrays),
}


@pytest.mark.parametrize("message", HOSTILE)
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_pickle_that_would_crash_or_fill_the_machine_is_refused_in_every_container(
    tmp_path: Path, container: str, message: str
) -> None:
    wrap, load = CONTAINERS[container]
    (tmp_path / "file").write_bytes(wrap(HOSTILE[message]))
    with pytest.raises(CheckpointError, match=rf"is a damaged .*{message}"):
        load(tmp_path / "file")


@pytest.mark.parametrize("protocol", range(6))
def test_what_others_pickle_is_let_through_and_the_place_behind_it_is_returned(protocol: int) -> None:
    nested: Any = None
    for _ in range(100):
        nested = [{"next": (nested,)}]
    for value in (
        [1, 2.5, "text", b"bytes", None, True, {3, 4}, frozenset({5, (6, 7)})],
        {(1, 2): "key", 2**40: 3, "rng": [2**100] * 900},
        {"state": {n: (np.float32(n), n) for n in range(1000)}, "betas": [(0.9, 0.999)] * 100},
        {n: str(n) for n in range(100_000)},
        np.zeros(1000),
        nested,
    ):
        file = io.BytesIO(b"before" + (data := pickle.dumps(value, protocol)) + b"after")
        file.seek(6)
        assert check_pickle(file) == 6 + len(data)
        assert file.tell() == 6


# ---- NVIDIA's modules ----


def test_many_modules_are_listed_in_a_moment_and_a_deep_chain_is_refused() -> None:
    many = PickledObject("G", "", {"_modules": {f"m{n}": PickledObject("L", "", {}) for n in range(30_000)}})
    start = time.perf_counter()
    assert len(many.modules()) == 30_001
    assert time.perf_counter() - start < 2
    chain = PickledObject("L", "", {})
    for _ in range(20_000):
        chain = PickledObject("G", "", {"_modules": {"m": chain}})
    with pytest.raises(WeightsError, match="G: its modules are nested too deep"):
        chain.modules()


# ---- zip files ----


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file may expand to 1 MiB in place of 64, so that the files of these tests are made in a moment."""
    monkeypatch.setattr(limits, "_FREE", 1 << 20)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.usefixtures("little_room")
def test_records_that_unpack_to_far_more_than_the_file_are_not_unpacked(tmp_path: Path) -> None:
    bomb = bytes(4 << 20)
    (tmp_path / "record.pt").write_bytes(torch_zip(pickle.dumps({}, 2), **{"data/0": bomb}))
    (tmp_path / "pickle.pt").write_bytes(torch_zip(pickle.dumps({}, 2) + bomb))
    for name in ("record.pt", "pickle.pt"):
        with pytest.raises(CheckpointError, match=r"damaged PyTorch file.* 4,194,\d+ bytes packed into"):
            load_content(tmp_path / name)
    np.savez_compressed(tmp_path / "a.npz", codes=np.zeros(1 << 20, np.float32))
    with pytest.raises(CheckpointError, match=r"damaged \.npz file.* bytes packed into"):
        load_npz(tmp_path / "a.npz", ["codes"])
    with pytest.raises(HyperStyleError, match="bytes packed into"):
        load_scores(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "b.npz", codes=np.zeros(1000, np.float32))
    assert load_npz(tmp_path / "b.npz")["codes"].shape == (1000,)


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize("is_honest", [True, False])
def test_an_image_in_a_zip_file_that_unpacks_to_far_more_is_refused(tmp_path: Path, is_honest: bool) -> None:
    png = io.BytesIO()
    load_image(np.zeros((16, 16, 3), np.uint8)).save(png, "PNG")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.png", png.getvalue())
        archive.writestr("big.png", png.getvalue() + bytes(4 << 20))
    size = struct.pack("<I", len(png.getvalue()) + (4 << 20))
    content = file.getvalue() if is_honest else file.getvalue().replace(size, struct.pack("<I", 1000))
    (tmp_path / "images.zip").write_bytes(content)
    big, good = find_entries(tmp_path / "images.zip").images
    assert good.read().size == (16, 16)
    with pytest.raises(ImageError, match=r"images\.zip/big\.png.* " + ("bytes packed" if is_honest else "cannot be")):
        big.read()


def test_a_zip_file_with_a_damaged_directory_is_refused_and_is_no_program(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("\u00e9.png", b"x")  # marked as UTF-8
    content = file.getvalue().replace("\u00e9".encode(), b"\xff\xff")
    for name in ("images.zip", "ViT-B-32.pt"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=r"Cannot read the archive '.*images\.zip'"):
        find_entries(tmp_path / "images.zip")
    with pytest.raises(CheckpointError, match=r"ViT-B-32\.pt is a damaged PyTorch file"):
        load_content(tmp_path / "ViT-B-32.pt")
    assert not _is_torchscript(tmp_path / "ViT-B-32.pt")


# ---- arrays ----


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr':'<f4','fortran_order':False,'shape':(1000000000000,)}", r"shape \(1000000000000,\) in a file"),
        ("{'descr':'<f4','fortran_order':False,'shape':(99999999999,99999999999)}", "in a file of"),
        ("{'descr':'<f4','fortran_order':False,'shape':(-1,)}", r"shape \(-1,\) in a file"),
        ("{'descr':'|V2000000000','fortran_order':False,'shape':(1000,)}", "in a file of"),
        ("(" * 20_000, "damaged"),
        ("(" * 9_000, "damaged"),
        ("-" * 9_000 + "1", "damaged"),
        ("\xff" * 50, "damaged"),
        ("", "damaged"),
    ],
)
def test_an_array_is_compared_with_its_file_before_there_is_memory_for_it(
    tmp_path: Path, header: str, message: str
) -> None:
    text = header.encode("latin1") + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(100)
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(CheckpointError, match=message):
        load_numbers(tmp_path / "a.npy")
    with pytest.raises(CheckpointError, match=message):
        load_npz(tmp_path / "a.npz", ["a"])
    with pytest.raises(LandmarkError, match=r"'.*a\.npy' cannot be read as a \.npy file"):
        load_points(tmp_path / "a.npy")


def test_landmarks_that_begin_like_a_zip_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"PK\x03\x04" + bytes(200))
    with pytest.raises(LandmarkError, match=r"cannot be read as a \.npy file of numbers"):
        load_points(tmp_path / "a.npy")


def test_what_a_file_says_in_place_of_a_name_is_cut(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02c" + b"x" * 100_000 + b"\ny\n.")
    with pytest.raises(WeightsError, match=r"it asks for x+\.\.\.") as refused:
        load_pickle(tmp_path / "a.pkl")
    assert len(str(refused.value)) < 1000


def test_a_list_that_holds_itself_many_times_is_no_tensor() -> None:
    value: list[Any] = [1.0]
    for _ in range(30):
        value = [value, value]
    assert as_tensor(value) is None
    value[:] = [value] * 1000
    assert as_tensor(value) is None
    row = [1.0] * 512
    assert as_tensor([row] * 18) is not None


# ---- tensors ----


ODD: dict[str, Callable[[], Tensor]] = {
    "is nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "is sparse (torch.sparse_coo)": lambda: torch.eye(16).to_sparse(),
    "is sparse (torch.sparse_csr)": lambda: torch.eye(16).to_sparse_csr(),
    "is packed (torch._mkldnn)": lambda: torch.eye(16).to_mkldnn(),
    "has no numbers (it is on the meta device)": lambda: torch.zeros(3, 16, 16, device="meta"),
    "holds numbers of type torch.qint8": lambda: torch.quantize_per_tensor(torch.eye(16), 0.1, 0, torch.qint8),
    "has no numbers (shape [0, 1099511627776])": lambda: torch.zeros(0, 2**40),
    "is a negated or conjugated view of another tensor": lambda: torch.zeros(3, 16, 16, dtype=torch.cfloat).conj().imag,
}
ignore_notices = pytest.mark.filterwarnings(
    "ignore:.*(prototype|beta state|Sparse|sparse|quantized|[Qq]uant|deprecated)", "ignore:Validating sparse tensor"
)


@ignore_notices
@pytest.mark.parametrize("predicate", ODD)
def test_an_odd_tensor_is_named_wherever_it_lies_and_is_no_image(tmp_path: Path, predicate: str) -> None:
    tensor = ODD[predicate]()
    with pytest.raises(ImageError) as refused:
        load_image(tensor)
    assert str(refused.value).startswith(f"The given tensor {predicate}. Expected a float tensor [3, H, W]")
    if tensor.layout == torch._mkldnn:  # which torch.load does not read
        return
    torch.save({"g_ema": {"style.1.weight": torch.ones(2)}, "more": [{"odd": tensor}]}, tmp_path / "a.pt")
    with pytest.raises(WeightsError) as unread:
        load_content(tmp_path / "a.pt")
    assert str(unread.value).startswith(f"{tmp_path / 'a.pt'}: 'odd' {predicate}: expected a dense tensor.")


def test_an_image_of_float8_is_read() -> None:
    tensor = torch.rand(3, 16, 16).sub(0.5).to(torch.float8_e4m3fn)
    assert load_image(tensor) == load_image(tensor.float())


def test_an_expanded_tensor_is_no_image_of_many_pixels() -> None:
    with pytest.raises(ImageError, match=r"100000 x 100000 = 10,000,000,000 pixels; expected at most"):
        load_image(torch.zeros(1).expand(3, 100_000, 100_000))


def test_tensors_that_repeat_what_is_stored_are_read_as_long_as_they_are_small(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    one, many = torch.ones(1), torch.rand(1 << 18)
    small = {
        "expanded": one.expand(1 << 20),
        "all": many,
        "shared": many,
        "part": many[:5],
        "turned": many.view(2, -1).t(),
    }
    torch.save(small, path)
    loaded = load_content(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in small.items())
    too_much: tuple[dict[str, Any], ...] = (
        {"w": one.expand(10**9)},
        {f"w{n}": one.expand(1 << 20) for n in range(20)},
        {f"w{n}": many for n in range(100)},
        {f"w{n}": array for array in (np.zeros(1 << 17),) for n in range(100)},
        {"all": torch.rand(5 << 20), "w": one.expand(20 << 20)},
    )
    for content in too_much:
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"a\.pt holds tensors of [\d,]+ bytes that repeat the [\d,]+ bytes"):
            load_content(path)
    path.write_bytes(pickle.dumps({f"w{n}": many for n in range(100)}))
    with pytest.raises(WeightsError, match="bytes that repeat"):
        load_pickle(path)
