"""Hostile files of every kind that the library reads: each a function that makes one at a path."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import socket
import struct
import tempfile
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

Maker = Callable[[Path], None]

# ---- things with a path that are no regular files ----


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _link(target: str) -> Maker:
    return lambda path: path.symlink_to(target)


def _sparse(size: int) -> Maker:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def _bytes(content: bytes | Callable[[], bytes]) -> Maker:
    return lambda path: void(path.write_bytes(content() if callable(content) else content))


def content(make: Maker) -> bytes:
    """What a maker writes."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def void(_: object) -> None:
    return None


ANY: dict[str, Maker] = {
    "fifo": _fifo,
    "socket": _socket,
    "dev_zero": _link("/dev/zero"),
    "dev_full": _link("/dev/full"),
    "dev_random": _link("/dev/urandom"),
    "dev_null": _link("/dev/null"),
    "proc_mem": _link("/proc/self/mem"),
    "folder": lambda path: path.mkdir(),
    "folder_full": lambda path: void([path.mkdir(), (path / "x").write_bytes(b"x")]),
    "dangling": _link("nothing-here"),
    "empty": _bytes(b""),
    "one_byte": _bytes(b"\0"),
    "sparse_1T": _sparse(10**12),
    "sparse_5G": _sparse(5 << 30),
    "junk": _bytes(random.Random(0).randbytes(4096)),
    "zeros": _bytes(bytes(4096)),
    "text": _bytes(b"hello\n" * 1000),
    "long_line": _bytes(b"a" * 1_000_000),
    "html": _bytes(b"<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>"),
    "lfs": _bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 1234\n"),
    "gzip": _bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zlib.compress(bytes(1000))),
    "zip_empty": _bytes(b"PK\x05\x06" + bytes(18)),
    "zip_head": _bytes(b"PK\x03\x04" + bytes(100)),
    "nul_text": _bytes(b"\0" * 10 + b"text"),
    "utf16": _bytes("hello".encode("utf-16")),
    "bad_utf8": _bytes(b"\xff\xfe\xfd{}"),
}

PATHS: dict[str, str] = {
    "loop": "loop",  # made as a link to itself
    "nul": "a\0b",
    "long_name": "n" * 300,
    "long_path": "/".join(["d" * 200] * 30),
    "nobody": "~nobody-here/x",
    "surrogate": "\udcff",
    "control": "a\x1b[31mb\nc",
    "spaces": "  ",
    "empty": "",
    "dot": ".",
    "root": "/",
    "missing": "missing",
    "below_file": "plain.txt/x",
    "url": "https://example.invalid/x",
    "dashes": "--",
    "glob": "[",
    "glob_deep": "**/" * 50 + "*",
    "percent": "%s%n%(x)s{0}{x!r}",
}


# ---- images ----


def image_bytes(format: str = "PNG", size: tuple[int, int] = (64, 64), mode: str = "RGB", **options: Any) -> bytes:
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def _png_of(width: int, height: int, color: int = 2, depth: int = 8, data: bytes = b"", extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _png_with(extra: bytes) -> bytes:
    return _png_of(8, 8, data=zlib.compress(bytes(200)), extra=extra)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


def images() -> dict[str, Maker]:
    made: dict[str, Maker] = {}
    whole = {
        "png": image_bytes("PNG"),
        "jpeg": image_bytes("JPEG"),
        "webp": image_bytes("WEBP"),
        "tiff": image_bytes("TIFF"),
        "gif": image_bytes("GIF", mode="P"),
        "bmp": image_bytes("BMP"),
        "ppm": image_bytes("PPM"),
        "jp2": image_bytes("JPEG2000"),
        "tga": image_bytes("TGA"),
        "sgi": image_bytes("SGI"),
        "pcx": image_bytes("PCX"),
        "ico": image_bytes("ICO"),
        "dds": image_bytes("DDS"),
    }
    chance = random.Random(1)
    for kind, content in whole.items():
        for part in (0.02, 0.1, 0.3, 0.6, 0.9, 0.99):
            made[f"{kind}_cut_{part}"] = _bytes(content[: int(len(content) * part)])
        for number in range(8):
            damaged = bytearray(content)
            for _ in range(1 + 3 * number):
                damaged[chance.randrange(min(len(damaged), 400 if number < 5 else 10**9))] = chance.randrange(256)
            made[f"{kind}_flip_{number}"] = _bytes(bytes(damaged))
        made[f"{kind}_trailing"] = _bytes(content + bytes(100_000))
    made |= {
        "png_1x1": _bytes(image_bytes(size=(1, 1))),
        "png_1xN": _bytes(image_bytes(size=(1, 20000))),
        "png_Nx1": _bytes(image_bytes(size=(20000, 1))),
        "png_2x2": _bytes(image_bytes(size=(2, 2))),
        "png_declared_30000": _bytes(_png_of(30000, 30000, data=zlib.compress(b""))),
        "png_declared_2G": _bytes(_png_of(2**31 - 1, 2**31 - 1, data=zlib.compress(b""))),
        "png_declared_0": _bytes(_png_of(0, 0, data=zlib.compress(b""))),
        "png_bomb_13000": _bytes(lambda: _png_of(13000, 13000, color=0, depth=1, data=_bomb(13000 * 1626))),
        "png_bomb_13376_rgb": _bytes(lambda: _png_of(13376, 13376, data=_bomb(13376 * (13376 * 3 + 1) + (1 << 20)))),
        "png_ztxt_bomb": _bytes(lambda: _png_with(_chunk(b"zTXt", b"a\0\0" + _bomb(200 << 20)))),
        "png_iccp_bomb": _bytes(lambda: _png_with(_chunk(b"iCCP", b"a\0\0" + _bomb(200 << 20)))),
        "png_iccp_junk": _bytes(_png_with(_chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 300)))),
        "png_many_text": _bytes(_png_with(b"".join(_chunk(b"tEXt", b"a\0b") for _ in range(50_000)))),
        "png_16bit": _bytes(_png_of(16, 16, color=0, depth=16, data=zlib.compress(bytes(16 * 33)))),
        "png_exif_junk": _bytes(_png_with(_chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff"))),
        "jpeg_exif_orientation_99": _bytes(_with_orientation(99)),
        "jpeg_exif_orientation_0": _bytes(_with_orientation(0)),
        "jpeg_cmyk": _bytes(image_bytes("JPEG", mode="CMYK")),
        "jpeg_gray": _bytes(image_bytes("JPEG", mode="L")),
        "tiff_float_nan": _bytes(_float_tiff(np.full((32, 32), np.nan, np.float32))),
        "tiff_float_inf": _bytes(_float_tiff(np.full((32, 32), np.inf, np.float32))),
        "tiff_float_huge": _bytes(_float_tiff(np.full((32, 32), 1e38, np.float32))),
        "tiff_loop": _bytes(_tiff_loop()),
        "gif_10000_frames": _bytes(_long_gif(10_000)),
        "gif_zero_size": _bytes(b"GIF89a" + bytes(7) + b";"),
        "webp_animated": _bytes(_animated("WEBP")),
        "apng": _bytes(_animated("PNG")),
        "eps": _bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/tmp/x) (w) file\n"),
        "svg": _bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "pdf": _bytes(b"%PDF-1.4\n"),
        "psd_head": _bytes(b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 30000, 30000, 8, 3) + bytes(12)),
        "ppm_huge": _bytes(b"P6 999999 999999 255\n"),
        "ppm_digits": _bytes(b"P6 " + b"9" * 5000 + b" 1 255\n"),
        "qoi_huge": _bytes(b"qoif" + struct.pack(">IIBB", 2**31, 2**31, 3, 0)),
        "bmp_negative": _bytes(b"BM" + bytes(12) + struct.pack("<IiiHH", 40, -5, -(2**31), 1, 24) + bytes(24)),
        "rgba_clear": _bytes(_clear()),
    }
    return made


def _clear() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(out, "PNG")
    return out.getvalue()


def _with_orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[274] = value
    return image_bytes("JPEG", exif=exif)


def _float_tiff(values: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "TIFF")
    return out.getvalue()


def _tiff_loop() -> bytes:
    content = bytearray(image_bytes("TIFF"))
    at = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, at)[0]
    struct.pack_into("<I", content, at + 2 + 12 * count, at)
    return bytes(content)


def _long_gif(frames: int) -> bytes:
    first = image_bytes("GIF", (4, 4), "P")
    start = first.index(b",")
    return first[:start] + first[start:-1] * frames + b";"


def _animated(format: str) -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), (i, 0, 0)) for i in range(5)]
    frames[0].save(out, format, save_all=True, append_images=frames[1:])
    return out.getvalue()


# ---- JSON ----

JSON_VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "minus": "-1",
    "zero": "0",
    "one": "1",
    "huge": str(10**12),
    "digits": "9" * 5000,
    "float": "0.5",
    "nan": "NaN",
    "inf": "Infinity",
    "1e400": "1e400",
    "text": '"x"',
    "long_text": '"' + "x" * 100_000 + '"',
    "control": '"\\u0000\\n\\u001b[31m"',
    "surrogate": '"\\ud800"',
    "dots": '"../../../etc/passwd"',
    "list": "[]",
    "list1": "[1]",
    "list_huge": f"[{10**12}]",
    "list_deep": "[" * 3000 + "]" * 3000,
    "table": "{}",
    "table_deep": '{"a":' * 3000 + "1" + "}" * 3000,
    "range": '"0-1000000000000"',
}


def json_files() -> dict[str, Maker]:
    made = {f"is_{name}": _bytes(text.encode()) for name, text in JSON_VALUES.items()}
    return made | {
        "deep_list": _bytes(b"[" * 200_000),
        "deep_table": _bytes(b'{"a":' * 200_000),
        "deep_closed": _bytes(b"[" * 100_000 + b"]" * 100_000),
        "bom": _bytes(b"\xef\xbb\xbf{}"),
        "utf16": _bytes("{}".encode("utf-16")),
        "cut": _bytes(b'{"format": 1, "dom'),
        "twice": _bytes(b'{"format":1,"format":2}'),
        "many_keys": _bytes(lambda: ("{" + ",".join(f'"k{i}":1' for i in range(300_000)) + "}").encode()),
        "large": _bytes(lambda: b"[" + b"1," * 20_000_000 + b"1]"),
    }


def mutations(content: Any) -> Iterator[tuple[str, str]]:
    """(name, JSON text) with every entry at any depth replaced by every hostile value, removed, or renamed."""
    for path in paths(content):
        for name, value in JSON_VALUES.items():
            yield f"{'.'.join(map(str, path))}={name}", _dump_with(content, path, value)
        yield f"{'.'.join(map(str, path))} removed", _dump_with(content, path, None)


def paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = (
        content.items() if isinstance(content, dict) else enumerate(content[:2]) if isinstance(content, list) else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


def _dump_with(content: Any, path: tuple[Any, ...], value: str | None) -> str:
    copy = json.loads(json.dumps(content))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
        return json.dumps(copy)
    place[path[-1]] = "@@HERE@@"
    return json.dumps(copy).replace('"@@HERE@@"', value, 1)


# ---- safetensors ----


def safetensors_bytes(header: str | Mapping[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def safetensors_files() -> dict[str, Maker]:
    data = bytes(16)

    def one(dtype: str = "F32", data: bytes = data, **more: Any) -> Maker:
        return _bytes(
            safetensors_bytes({"w": {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, 16]}, **more}, data)
        )

    dtypes = ("F4", "F8_E8M0", "F8_E4M3", "F6_E2M3", "C64", "BOOL", "I64", "U64", "X")
    made = {f"dtype_{name}": one(name) for name in dtypes}
    for name, text in JSON_VALUES.items():
        made[f"header_{name}"] = _bytes(safetensors_bytes(text))
        for key in ("shape", "data_offsets"):
            made[f"{key}_{name}"] = _bytes(safetensors_bytes(_header(key, text), data))
    return made | {
        "length_huge": _bytes(safetensors_bytes("{}", length=2**60)),
        "length_negative": _bytes(safetensors_bytes("{}", length=2**64 - 1)),
        "length_100M": _bytes(safetensors_bytes("{}", length=100_000_000)),
        "deep": _bytes(safetensors_bytes('{"a":' + "[" * 200_000)),
        "overlap": _bytes(
            safetensors_bytes(
                {n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in ("a", "b")}, bytes(16)
            )
        ),
        "many": _bytes(
            safetensors_bytes({f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)})
        ),
        "shape_long": _bytes(
            safetensors_bytes({"w": {"dtype": "U8", "shape": [1] * 10_000, "data_offsets": [0, 1]}}, b"\0")
        ),
        "metadata_list": one(__metadata__=[]),
        "metadata_number": one(__metadata__={"a": 1}),
        "valid_other": one(),
        "nan": one(data=struct.pack("<4f", *[float("nan")] * 4)),
        "name_odd": _bytes(safetensors_bytes({"\0\n\x1b": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}})),
    }


def _header(key: str, text: str) -> str:
    table = {"dtype": '"F32"', "shape": "[2,2]", "data_offsets": "[0,16]", key: text}
    return '{"w":{' + ",".join(f'"{name}":{value}' for name, value in table.items()) + "}}"


# ---- torch files ----


class _Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def torch_zip(data: bytes, records: Mapping[str, bytes] | None = None, name: str = "archive", **options: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", options.get("compression", zipfile.ZIP_STORED)) as file:
        file.writestr(f"{name}/data.pkl", data)
        file.writestr(f"{name}/version", b"3\n")
        for key, content in (records or {}).items():
            file.writestr(f"{name}/{key}", content)
    return out.getvalue()


def _nested(depth: int, opcode: bytes = b"\x8f") -> bytes:
    return b"\x80\x04" + b"]" * depth + b"a" * (depth - 1) + b"."


def _deep_tuple_key(depth: int) -> bytes:
    return b"\x80\x04}" + b"N" + b"\x85" * depth + b"K\x01s."


def _colliding(count: int) -> bytes:
    modulus = 2**61 - 1
    out = [b"\x80\x04}("]
    for number in range(1, count + 1):
        value = (number * modulus).to_bytes(12, "little")
        out += [b"\x8a\x0c", value, b"N"]
    return b"".join([*out, b"u."])


def _tensor_pickle(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 4) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return value.key if isinstance(value, _Storage) else None

    out = io.BytesIO()
    pickler = Pickler(out, protocol=2)
    storage = _Storage(("storage", torch.FloatStorage, "0", "cpu", count))
    rebuild = _Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())
    pickler.dump({"g_ema": OrderedDict(w=rebuild)})
    return out.getvalue()


class _Storage:
    def __init__(self, key: Any) -> None:
        self.key = key


def _saved(content: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def _odd_tensors() -> dict[str, Any]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = torch.randn(4, 4)
        tensors = {
            "conj": torch.randn(4, dtype=torch.complex64).conj(),
            "negative_bit": torch.randn(4, dtype=torch.complex64).conj().imag,
            "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            "quantized": torch.quantize_per_tensor(base, 0.1, 0, torch.qint8),
            "float8": base.to(torch.float8_e4m3fn),
            "meta": base.to("meta"),
            "mkldnn": base.to_mkldnn(),
            "sparse": base.to_sparse(),
            "csr": base.to_sparse_csr(),
            "huge_int": torch.full((4,), 2**62),
            "bool": base > 0,
            "complex": torch.randn(4, 4, dtype=torch.complex128),
            "empty": torch.zeros(0, 5),
            "scalar": torch.tensor(1.0),
            "expanded": torch.ones(1).expand(10**9),
            "transposed": torch.randn(3, 5).t(),
            "nan": torch.full((4, 4), float("nan")),
            "dims_64": torch.ones([1] * 64),
            "half": base.half(),
            "bfloat16": base.bfloat16(),
        }
    return tensors


def torch_files() -> dict[str, Maker]:
    made: dict[str, Maker] = {}
    for name, tensor in _odd_tensors().items():
        for place in ("g_ema", "state_dict"):
            key = "style.1.weight" if place == "g_ema" else "decoder.style.1.weight"
            try:
                content = _saved({place: {key: tensor}, "latent_avg": tensor})
            except Exception:
                continue
            made[f"{place}_{name}"] = _bytes(content)
    raw = {
        "system": pickle.dumps(_Call(os.system, "touch /tmp/executed-by-hyperstyle")),
        "eval": pickle.dumps(_Call(eval, "1+1")),
        "deep_list": _nested(200_000),
        "deep_key": _deep_tuple_key(200_000),
        "colliding": _colliding(150_000),
        "memo": b"\x80\x04" + b"]\x94" + b"h\x00a" * 200_000 + b".",
        "doubling": b"\x80\x04]" + b"".join(b"\x94](h%ch%ce" % (i, i) for i in range(60)) + b".",
        "long_int": b"\x80\x04\x8b" + struct.pack("<i", 10_000_000) + b"\xff" * 10_000_000 + b".",
        "string_length": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.",
        "protocol_9": b"\x80\x09N.",
        "stop_only": b".",
        "pop_empty": b"\x80\x040.",
        "none": pickle.dumps(None),
        "number": pickle.dumps(3),
        "text": pickle.dumps("x" * 100_000),
        "ordered": pickle.dumps({"state_dict": {i: None for i in range(100_000)}}),
        "opts_number": pickle.dumps({"state_dict": {}, "opts": 3}),
    }
    for name, data in raw.items():
        made[f"pickle_{name}"] = _bytes(data)
        made[f"zip_{name}"] = _bytes(torch_zip(data))
    tensors = {
        "stride_0": _tensor_pickle((10**5, 10**5), (0, 0)),
        "stride_0_small": _tensor_pickle((1000, 1000, 1000), (0, 0, 0)),
        "stride_negative": _tensor_pickle((4,), (-1,)),
        "offset_negative": _tensor_pickle((4,), (1,), -1),
        "offset_huge": _tensor_pickle((4,), (1,), 2**62),
        "size_huge": _tensor_pickle((2**62,), (1,)),
        "size_negative": _tensor_pickle((-4,), (1,)),
        "size_overflow": _tensor_pickle((2**40, 2**40), (1, 1)),
        "count_huge": _tensor_pickle((4,), (1,), count=2**62),
        "rank_mismatch": _tensor_pickle((4, 1), (1,)),
    }
    for name, data in tensors.items():
        made[f"tensor_{name}"] = _bytes(torch_zip(data, {"data/0": bytes(16)}))
    made["tensor_no_record"] = _bytes(torch_zip(tensors["stride_negative"]))
    made["zip_bomb_record"] = _zip_bomb("archive/data/0", tensors["size_huge"])
    made["zip_bomb_pickle"] = _zip_bomb("archive/data.pkl", None)
    made["zip_many"] = _bytes(torch_zip(pickle.dumps({}), {f"data/{i}": b"" for i in range(30_000)}))
    made["zip_twice"] = _twice
    whole = _saved({"g_ema": {"style.1.weight": torch.randn(512, 512)}})
    for part in (0.05, 0.5, 0.99):
        made[f"cut_{part}"] = _bytes(whole[: int(len(whole) * part)])
    chance = random.Random(2)
    for number in range(12):
        damaged = bytearray(whole)
        for _ in range(1 + 5 * number):
            at = chance.randrange(600) if number % 2 else len(damaged) - 1 - chance.randrange(600)
            damaged[at] = chance.randrange(256)
        made[f"flip_{number}"] = _bytes(bytes(damaged))
    legacy = io.BytesIO()
    torch.save({"g_ema": {"w": torch.ones(4)}}, legacy, _use_new_zipfile_serialization=False)
    for part in (0.3, 0.6, 0.95):
        made[f"legacy_cut_{part}"] = _bytes(legacy.getvalue()[: int(len(legacy.getvalue()) * part)])
    made["legacy"] = _bytes(legacy.getvalue())
    return made


def _zip_bomb(name: str, pickled: bytes | None) -> Maker:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            if pickled is not None:
                file.writestr("archive/data.pkl", pickled)
            with file.open(name, "w", force_zip64=True) as record:
                for _ in range(3000):
                    record.write(bytes(1 << 20))

    return make


def _twice(path: Path) -> None:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
        warnings.simplefilter("ignore")
        for content in (pickle.dumps({}), pickle.dumps({"g_ema": {}})):
            file.writestr("archive/data.pkl", content)


# ---- npy ----


def npy_files() -> dict[str, Maker]:
    def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> Maker:
        text = header.encode("latin1")
        return _bytes(b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data)

    def array(values: Any, **options: Any) -> Maker:
        out = io.BytesIO()
        np.save(out, values, **options)
        return _bytes(out.getvalue())

    return {
        "shape_huge": npy("{'descr':'<f4','fortran_order':False,'shape':(1000000000000,)}\n"),
        "shape_overflow": npy("{'descr':'<f4','fortran_order':False,'shape':(99999999999,99999999999)}\n"),
        "shape_negative": npy("{'descr':'<f4','fortran_order':False,'shape':(-1,)}\n"),
        "descr_odd": npy("{'descr':'zz','fortran_order':False,'shape':(1,)}\n"),
        "descr_list": npy("{'descr':[('a','<f4')],'fortran_order':False,'shape':(1,)}\n", bytes(4)),
        "header_code": npy("__import__('os').system('true')\n"),
        "header_deep": npy("(" * 20000 + "\n"),
        "header_junk": npy("\xff" * 50),
        "version_9": npy("{}", version=b"\x09\x00"),
        "object_system": array(np.array([_Call(os.system, "true")], dtype=object), allow_pickle=True),
        "object_none": array(np.array([None, None], dtype=object), allow_pickle=True),
        "strings": array(np.array(["a", "b"])),
        "bytes": array(np.array([b"a", b"b"])),
        "dates": array(np.array(["2020-01-01"], dtype="datetime64[D]")),
        "bool": array(np.ones((68, 2), bool)),
        "complex": array(np.ones((68, 2), complex)),
        "nan68": array(np.full((68, 2), np.nan)),
        "inf68": array(np.full((68, 2), np.inf)),
        "huge68": array(np.full((68, 2), 1e300)),
        "same68": array(np.zeros((68, 2))),
        "far68": array(np.random.default_rng(0).normal(1e6, 10, (68, 2))),
        "line68": array(np.stack([np.arange(68.0), np.zeros(68)], 1)),
        "int68": array(np.full((68, 2), 2**62)),
        "swapped68": array(np.random.default_rng(0).normal(size=(68, 2)).astype(">f8")),
        "fortran68": array(np.asfortranarray(np.random.default_rng(0).normal(30, 10, (68, 2)))),
        "shape67": array(np.zeros((67, 2))),
        "shape68x3": array(np.zeros((68, 3))),
        "scalar": array(np.float64(1)),
        "empty": array(np.zeros((0, 2))),
        "codes": array(np.zeros((18, 512), np.float32)),
        "five": array(np.random.default_rng(0).normal(30, 10, (5, 2))),
        "begins_like_zip": _bytes(b"PK\x03\x04" + bytes(200)),
        "npz": _npz,
    }


def _npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros((68, 2)))


# ---- configurations ----


def toml_files() -> dict[str, Maker]:
    values = {
        "null": '""', "minus": "-1", "zero": "0", "huge": str(10**30), "digits": "9" * 5000, "nan": "nan", "inf": "inf",
        "text": '"x"', "long": '"' + "x" * 100_000 + '"', "list": "[]", "list_deep": "[" * 3000 + "]" * 3000,
        "table": "{}", "date": "2020-01-01", "control": '"\\u0000\\u001b"', "true": "true",
    }  # fmt: skip
    made = {
        f"{key}_{name}": _bytes(f"{key} = {value}\n".encode())
        for key in ("steps", "batch", "model", "inputs", "out", "method", "device", "align", "nonsense")
        for name, value in values.items()
    }
    return made | {
        "deep_table": _bytes(("[" + ".".join(["a"] * 5000) + "]\n").encode()),
        "dotted": _bytes((".".join(["a"] * 5000) + " = 1\n").encode()),
        "twice": _bytes(b"steps = 1\nsteps = 2\n"),
        "surrogate": _bytes(b'model = "\\ud800"\n'),
    }


def yaml_files() -> dict[str, Maker]:
    aliases = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    return {
        "aliases": _bytes((aliases + "steps: *a8\n").encode()),
        "aliases_key": _bytes((aliases + "model: *a8\n").encode()),
        "recursive": _bytes(b"model: &a [*a]\n"),
        "deep": _bytes(b"[" * 20_000),
        "deep_closed": _bytes(b"model: " + b"[" * 3000 + b"]" * 3000),
        "python": _bytes(b"!!python/object/apply:os.system ['true']\n"),
        "digits": _bytes(b"steps: " + b"9" * 5000 + b"\n"),
        "date": _bytes(b"model: 2020-01-01\n"),
        "binary": _bytes(b"model: !!binary aGVsbG8=\n"),
        "keys": _bytes(b"1: 2\nnull: 3\n? [a]\n: 4\n"),
        "documents": _bytes(b"---\na: 1\n---\nb: 2\n"),
        "tab": _bytes(b"steps:\t\t- 1\n\t- 2"),
        "set": _bytes(b"inputs: !!set {a, b}\n"),
    }


def copy_model(source: Path, target: Path) -> Path:
    """A copy of a model folder whose files may be changed."""
    shutil.copytree(source, target)
    return target


def inversion_records(valid: Path) -> dict[str, Maker]:
    """Saved inversions of a model with one thing wrong in the metadata or the tensors."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    tensors = load_file(valid)
    with safe_open(valid, "pt") as file:
        metadata = dict(file.metadata() or {})
    made: dict[str, Maker] = {}

    def put(name: str, new_tensors: Mapping[str, torch.Tensor], new_metadata: Mapping[str, str]) -> None:
        made[name] = lambda path: save_file(dict(new_tensors), path, dict(new_metadata))

    for key, text in metadata.items():
        put(f"meta {key} removed", tensors, {k: v for k, v in metadata.items() if k != key})
        for name, value in JSON_VALUES.items():
            put(f"meta {key}={name}", tensors, {**metadata, key: value})
        try:
            content = json.loads(text)
        except ValueError:
            continue
        if isinstance(content, dict | list):
            for name, value in mutations(content):
                put(f"meta {key}: {name}", tensors, {**metadata, key: value})
    put("meta extra", tensors, {**metadata, "extra": "x"})
    put("meta none", tensors, {})
    for key, tensor in tensors.items():
        changes: dict[str, torch.Tensor] = {
            "batch": torch.cat([tensor, tensor]),
            "scalar": torch.tensor(1.0),
            "empty": torch.zeros(0),
            "rank": tensor[None].contiguous(),
            "flat": tensor.flatten().contiguous(),
            "half": tensor.half(),
            "double": tensor.double(),
            "int": torch.zeros(tensor.shape, dtype=torch.int64),
            "bool": torch.zeros(tensor.shape, dtype=torch.bool),
            "nan": torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor,
            "inf": torch.full_like(tensor, float("inf")) if tensor.is_floating_point() else tensor,
            "huge": torch.full_like(tensor, 1e30) if tensor.is_floating_point() else tensor,
            "less": tensor[..., :-1].contiguous() if tensor.ndim else tensor,
        }
        for name, changed in changes.items():
            put(f"tensor {key} {name}", {**tensors, key: changed}, metadata)
        put(f"tensor {key} removed", {k: v for k, v in tensors.items() if k != key}, metadata)
        put(f"tensor {key} renamed", {f"{k}x" if k == key else k: v for k, v in tensors.items()}, metadata)
    put("tensor extra", {**tensors, "other": torch.ones(3)}, metadata)
    put("many", {**tensors, **{f"offset.{i}": torch.ones(1) for i in range(5000)}}, metadata)
    return made
