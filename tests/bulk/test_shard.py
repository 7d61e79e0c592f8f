"""`invert_shard` and `load_shards`: what a shard holds, and that it comes back as it was."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hyperstyle.bulk import Item, RowSettings, invert_shard, load_shards
from hyperstyle.bulk.marker import find_damage
from hyperstyle.errors import CheckpointError, ConfigError, HyperStyleError, InversionError
from hyperstyle.images import example_photo, save_image
from hyperstyle.inversion.file import split
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.pickling import record_of
from hyperstyle.inverter import HyperStyleInverter

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

AS_CROPS = RowSettings(align="no", batch=4)


def images(photos: Path, count: int = 6) -> list[Path]:
    return sorted(photos.rglob("*.png"))[:count]


def tensors(inversion: Inversion) -> dict[str, torch.Tensor]:
    return split(record_of(inversion))[0]


def assert_same(inversion: Inversion, other: Inversion) -> None:
    first, second = tensors(inversion), tensors(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first)
    assert inversion.w.shape == other.w.shape
    assert inversion.image.tobytes() == other.image.tobytes()
    assert inversion.stored_metrics == other.stored_metrics
    assert (inversion.method, inversion.start) == (other.method, other.start)


def test_rows_come_back_as_the_inversions_that_were_written(
    photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    files = images(photos)
    marker = invert_shard(files, tmp_path / "00000.parquet", tiny_inverter, AS_CROPS)
    assert (marker.rows, marker.failed, marker.model) == (6, 0, tiny_inverter.model.fingerprint)
    assert json.loads((tmp_path / "00000.json").read_text())["sha256"] == marker.sha256
    rows = list(load_shards(tmp_path, tiny_inverter))
    assert [row.id for row in rows] == [str(file) for file in files]
    before = [i for k in (0, 4) for i in tiny_inverter.invert(files[k : k + 4][: 6 - k], align=False)]
    for row, inversion in zip(rows, before, strict=True):
        assert row.error is None
        assert row.inversion is not None
        assert_same(row.inversion, inversion)
        assert (row.values["width"], row.values["height"]) == (32, 32)


def test_the_place_of_a_face_and_real_sizes_come_back(tmp_path: Path) -> None:
    inverter = HyperStyleInverter(device="cpu")
    for number in range(2):
        save_image(example_photo(number), tmp_path / f"{number}.png")
    files = [tmp_path / f"{number}.png" for number in range(2)]
    settings = RowSettings(crops="webp", reconstructions="jpeg")
    marker = invert_shard(
        files, tmp_path / "00000.parquet", inverter, replace(settings, crops=None, reconstructions=None)
    )
    assert marker.bytes / marker.rows < 15_000  # two rows and the footer
    invert_shard(files, tmp_path / "00001.parquet", inverter, settings)
    before = inverter.invert(files)
    for row, inversion in zip(load_shards(tmp_path / "00001.parquet", inverter), before, strict=True):
        assert row.inversion is not None
        assert_same(row.inversion, inversion)
        place, original = row.inversion.sources[0].placement, inversion.sources[0].placement
        assert place is not None
        assert original is not None
        assert np.array_equal(place.footprint, original.footprint)
        assert np.array_equal(place.landmarks, original.landmarks)
        photo = files[int(Path(row.id).stem)]
        assert (
            row.inversion.edit("age", 2).paste_back(photo).tobytes() == inversion.edit("age", 2).paste_back().tobytes()
        )
        for column, kind in (("crop", "WEBP"), ("reconstruction", "JPEG")):
            with Image.open(io.BytesIO(row.values[column])) as image:
                assert (image.format, image.size) == (kind, (128, 128))


@pytest.mark.parametrize("method", ["optimize-w+offsets", "w-encoder"])
def test_every_kind_of_state_comes_back(
    photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("hyperstyle.methods.losses.lpips_loss", lambda device: l1)
    steps = {"optimize-w": 2, "offsets": 1} if "+" in method else None
    settings = RowSettings(method=method, steps=steps, seed=3, align="no", batch=2)
    invert_shard(images(photos, 2), tmp_path / "0.parquet", tiny_inverter, settings)
    before = tiny_inverter.invert(images(photos, 2), method=method, steps=steps, seed=3, align=False)
    for row, inversion in zip(load_shards(tmp_path, tiny_inverter), before, strict=True):
        assert row.inversion is not None
        assert_same(row.inversion, inversion)
        assert row.values["seed"] == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_come_back_too(photos: Path, tmp_path: Path, tiny_model_dir: Path, dtype: torch.dtype) -> None:
    inverter = HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu", dtype=dtype)
    invert_shard(images(photos, 2), tmp_path / "0.parquet", inverter, AS_CROPS)
    before = inverter.invert(images(photos, 2), align=False)
    for row, inversion in zip(load_shards(tmp_path, inverter), before, strict=True):
        assert row.inversion is not None
        assert_same(row.inversion, inversion)


def test_an_image_that_fails_keeps_its_row(photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter) -> None:
    good = images(photos, 3)
    bad = tmp_path / "bad.png"
    bad.write_bytes(good[0].read_bytes()[:100])
    tall = tmp_path / "tall.png"
    Image.new("RGB", (32, 48)).save(tall)
    inputs = [good[0], bad, good[1], tmp_path / "gone.png", tall, good[2]]
    settings = replace(AS_CROPS, align="auto")
    marker = invert_shard(inputs, tmp_path / "0.parquet", replaced(tiny_inverter), settings)
    assert (marker.rows, marker.failed) == (6, 3)
    assert marker.failures == {"AlignmentError": 1, "ImageError": 2}
    rows = list(load_shards(tmp_path, tiny_inverter))
    assert [row.id for row in rows] == [str(file) for file in inputs]
    assert [row.error is None for row in rows] == [True, False, True, False, False, True]
    assert [row.inversion is None for row in rows] == [row.error is not None for row in rows]
    assert "cut off" in str(rows[1].error)
    assert "gone.png" in str(rows[3].error)
    assert rows[4].values["error_kind"] == "AlignmentError"
    assert "no aligner" in rows[0].values["doubt"]


def l1(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (image - target).abs().mean((1, 2, 3))


def replaced(inverter: HyperStyleInverter) -> HyperStyleInverter:
    """An inverter of the same model that finds no faces."""
    model = inverter.model
    networks = {"encoder": model.encoder, "hypernetwork": model.hypernetwork}
    return HyperStyleInverter(model.generator, domain=model.domain, steps=model.steps, aligner="none", **networks)


def test_the_same_call_writes_the_same_bytes(photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter) -> None:
    contents = []
    for threads in (1, 3):
        invert_shard(images(photos, 10), tmp_path / "0.parquet", tiny_inverter, AS_CROPS, threads=threads)
        contents.append((tmp_path / "0.parquet").read_bytes())
    assert contents[0] == contents[1]


def test_several_row_groups_hold_all_rows_in_order(
    photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hyperstyle.bulk.shard._ROW_GROUP", 4)
    files = images(photos, 10)
    batches: list[int] = []
    invert_shard(files, tmp_path / "0.parquet", tiny_inverter, AS_CROPS, on_batch=batches.append)
    assert batches == [4, 4, 2]
    assert parquet.ParquetFile(tmp_path / "0.parquet").metadata.num_row_groups == 3
    assert [row.id for row in load_shards(tmp_path)] == [str(file) for file in files]


def test_large_rows_make_small_row_groups(
    photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = RowSettings(align="no", batch=2, crops="webp", method="w-encoder")
    files = images(photos, 6)
    invert_shard(files, tmp_path / "0.parquet", tiny_inverter, settings)
    (first, *_) = load_shards(tmp_path)
    size = first.values["w"].nbytes + len(first.values["crop"])
    monkeypatch.setattr("hyperstyle.bulk.shard._ROW_GROUP_BYTES", 3 * size)  # two rows are less, four are more
    invert_shard(files, tmp_path / "0.parquet", tiny_inverter, settings)
    assert parquet.ParquetFile(tmp_path / "0.parquet").metadata.num_row_groups == 2
    assert [row.id for row in load_shards(tmp_path)] == [str(file) for file in files]


def test_values_are_plain_and_numbers_are_arrays(
    photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    invert_shard(images(photos, 2), tmp_path / "0.parquet", tiny_inverter, AS_CROPS)
    row = next(load_shards(tmp_path))
    assert row.values["w"].dtype == row.values["codes"][0]["values"].dtype == np.float32
    assert row.values["quad"] is None
    assert isinstance(row.values["quality"][0][1], float)
    row = next(load_shards(tmp_path, columns=["id", "w"]))
    assert row.values.keys() == {"id", "w"}
    with pytest.raises(ConfigError, match="'error' was not read"):
        _ = row.error
    with pytest.raises(ConfigError, match="has no column 'ids'"):
        next(load_shards(tmp_path, columns=["ids"]))
    with pytest.raises(ConfigError, match="expected a list of names"):
        next(load_shards(tmp_path, columns="id"))


def test_a_shard_that_is_interrupted_leaves_nothing(
    photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert_shard(images(photos), tmp_path / "0.parquet", tiny_inverter, AS_CROPS, on_batch=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("inputs", "name", "message"),
    [
        ([], "0.parquet", "no images"),
        (["a.png", "b.png", "a.png"], "0.parquet", "'a.png' comes twice"),
        (["a.png"], "0.arrow", "ends in .parquet"),
        ("a.png", "0.parquet", "inputs='a.png': expected a list"),
        ([3], "0.parquet", "inputs with an int"),
    ],
)
def test_what_is_no_shard_is_refused(
    tmp_path: Path, tiny_inverter: HyperStyleInverter, inputs: Any, name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        invert_shard(inputs, tmp_path / name, tiny_inverter)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="face='all'"):
        RowSettings(face="all")
    with pytest.raises(ConfigError, match="batch of 0"):
        RowSettings(batch=0)
    with pytest.raises(ConfigError, match="align=True with shards: expected one of 'auto', 'yes', 'no'"):
        RowSettings(align=True)  # type: ignore[arg-type]  # as `HyperStyleInverter.invert` takes it
    with pytest.raises(ConfigError, match="crops='png'"):
        RowSettings(crops="png")  # type: ignore[arg-type]


def test_shards_of_another_model_are_refused(photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter) -> None:
    invert_shard(images(photos, 1), tmp_path / "0.parquet", tiny_inverter, AS_CROPS)
    with pytest.raises(InversionError, match="Load the one it was made with"):
        next(load_shards(tmp_path, HyperStyleInverter(device="cpu")))


def test_damage_is_found_and_said(photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter) -> None:
    shard = tmp_path / "0.parquet"
    invert_shard(images(photos, 2), shard, tiny_inverter, AS_CROPS)
    content = shard.read_bytes()
    assert find_damage(shard, deep=True) is None
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    shard.write_bytes(changed)
    assert find_damage(shard) is None
    assert "SHA-256 differs" in str(find_damage(shard, deep=True))
    for damaged in (content[: len(content) // 2], b"", b"PAR1 and more"):
        shard.write_bytes(damaged)
        assert "its JSON file says" in str(find_damage(shard))
        with pytest.raises(CheckpointError, match=r"0\.parquet is damaged or cut off"):
            list(load_shards(tmp_path, tiny_inverter))
    shard.unlink()
    assert "cannot be read" in str(find_damage(shard))
    (tmp_path / "0.json").write_text("{")
    assert "not valid JSON" in str(find_damage(shard))
    with pytest.raises(ConfigError, match="no shard in"):
        list(load_shards(photos))


def test_other_parquet_files_are_no_shards(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": ["a"]}), tmp_path / "0.parquet")
    with pytest.raises(CheckpointError, match="is no shard of inversions"):
        list(load_shards(tmp_path / "0.parquet"))


def test_rows_that_do_not_fit_the_model_are_refused(
    photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    invert_shard(images(photos, 1), tmp_path / "0.parquet", tiny_inverter, AS_CROPS)
    table = parquet.read_table(tmp_path / "0.parquet")
    rows = table.to_pylist()
    for change in (
        {"w": [0.0] * 15},
        {"w": [math.nan] * 16},
        {"codes": []},
        {"quad": [1.0, 2.0]},
        {"method": None},
    ):
        parquet.write_table(pa.Table.from_pylist([{**rows[0], **change}], table.schema), tmp_path / "1.parquet")
        if change == {"codes": []}:
            assert next(load_shards(tmp_path / "1.parquet", tiny_inverter)).inversion is not None  # codes alone
            continue
        with pytest.raises(HyperStyleError, match="damaged"):
            next(load_shards(tmp_path / "1.parquet", tiny_inverter))


def test_items_of_archives_keep_their_place(photos: Path, tmp_path: Path, tiny_inverter: HyperStyleInverter) -> None:
    content = images(photos, 1)[0].read_bytes()
    (tmp_path / "all.bin").write_bytes(b"xx" + content + b"yy")
    item = Item("one", str(tmp_path / "all.bin"), member="a/b.png", offset=2, size=len(content))
    invert_shard([item], tmp_path / "0.parquet", tiny_inverter, AS_CROPS)
    (row,) = load_shards(tmp_path, tiny_inverter)
    assert (row.id, row.values["source"], row.error) == ("one", f"{tmp_path / 'all.bin'}#a/b.png", None)
