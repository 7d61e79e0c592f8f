"""The record and the tensors of a saved inversion are checked whole, against the model, before anything is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.align.source import Placement, Provenance
from hyperstyle.errors import InversionError, WeightsError
from hyperstyle.inversion.file import read_origin
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.state import GeneratorOverrides
from hyperstyle.io.components import load_tensors, save_tensors
from hyperstyle.networks.hypernetworks.codes import OffsetCodes

if TYPE_CHECKING:
    from hyperstyle.inverter import HyperStyleInverter

Saved = tuple[dict[str, Tensor], dict[str, Any]]


@pytest.fixture(scope="module")
def saved(tiny_inverter: HyperStyleInverter, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Tensors and record of two edited images that have everything a state can have."""
    inversion = tiny_inverter.invert([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)], align=False)
    generator = tiny_inverter.model.generator
    quad = np.array([[0, 0], [0, 90], [90, 90], [90, 0]], float)
    placements = [Placement(quad + i, np.ones((68, 2)), (128, 128)) for i in range(2)]
    changed = replace(
        inversion,
        style_offsets={"b8.conv0": torch.ones(2, 16)},
        sources=tuple(Provenance(f"{i}.png", placement=place, photo_number=0) for i, place in enumerate(placements)),
        overrides=GeneratorOverrides(
            OffsetCodes.of_dense({"b16.conv0": torch.full((1, 16, 1, 3, 3), 0.1).expand(2, -1, -1, -1, -1)}),
            ({"conv1.conv.weight": generator.weight(0)[None] + 1}, {}),
            tuple(noise.expand(2, -1, -1, -1) for noise in generator.noises.buffers()),
        ),
    )
    edited = replace(changed.edit("age", 1), stored_metrics={"l2": (0.5, float("nan"))})
    path = tmp_path_factory.mktemp("saved") / "x.safetensors"
    edited.save(path, origin={"bytes": 1})
    loaded = Inversion.load(path, tiny_inverter)
    assert torch.equal(loaded.tensor, edited.tensor)
    assert loaded.unedited is not None
    assert torch.equal(loaded.unedited.tensor, changed.tensor)
    assert read_origin(path) == {"bytes": 1}
    tensors, metadata = load_tensors(path)
    return tensors, json.loads(metadata["record"])


def load(path: Path, tensors: dict[str, Tensor], record: object, inverter: HyperStyleInverter) -> Inversion:
    text = record if isinstance(record, str) else json.dumps(record)
    save_tensors(path / "y.safetensors", tensors, {"format": "hyperstyle-inversion/2", "record": text})
    return Inversion.load(path / "y.safetensors", inverter)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quality": None}, "quality is None: expected a table"),
        ({"quality": {"l2": [1]}}, "'quality: l2' has 1 values for 2 images"),
        ({"quality": {"tuned": [1, "x"]}}, "'tuned' is 'x': expected a number"),
        ({"rows": 3_000_000}, r"2 image\(s\) of 3000000 rows"),
        ({"tuned": [0, 10**12]}, r"tuned parameters do not lie in 0\.\.1"),
        ({"tuned": [0]}, "'tuned' has 1 values for 2 images"),
        ({"unedited": {"tensors": ["x"] * 3, "tuned": []}}, "before the first edit are not those"),
        ({"sources": [], "placements": [None]}, "1 placements of 0 sources"),
        ({"sources": [{"name": 1, "note": ""}]}, "sources: name is 1: expected text"),
        ({"placements": [{"footprint": [[0, 0]], "landmarks": [], "source_size": [1, 1]}] * 2}, "needs 4 corners"),
        ({"method": "x" * 100_000, "start": 3}, "start is 3"),
        ({"x" * 100_000: 1}, r"unknown entry 'xxx.{1,500}\.\.\.xx.* for InversionRecord"),
    ],
)
def test_an_entry_of_the_record_that_cannot_be_is_named(
    change: dict[str, Any], message: str, saved: Saved, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    with pytest.raises(InversionError, match=rf"y\.safetensors is a damaged inversion: .*{message}") as raised:
        load(tmp_path, saved[0], {**saved[1], **change}, tiny_inverter)
    assert len(str(raised.value)) < 2000


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, '{"rows": ' + "9" * 5000 + "}"])
def test_a_text_that_is_no_record_is_refused(
    text: str, saved: Saved, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    with pytest.raises(InversionError, match="is a damaged inversion: the record"):
        load(tmp_path, saved[0], text, tiny_inverter)
    with pytest.raises(WeightsError, match="is a damaged inversion: the record"):
        read_origin(tmp_path / "y.safetensors")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("w", lambda t: t[:, :, :-1], r"expected floating-point numbers of the shape \(2, 8, 16\)|\(2, 1, 16\)"),
        ("w", lambda t: t[0, 0, 0], r"0 image\(s\)"),
        ("w", lambda t: t * float("nan"), "holds NaN"),
        ("w", Tensor.long, "int64"),
        ("codes/sum/b8.conv1", lambda t: t[None], r"\(1, 2, 16\): expected .* \(2, 16\)"),
        ("codes/sum/b8.conv1", lambda t: t[:1], r"\(1, 16\): expected .* \(2, 16\)"),
        ("codes/weights", lambda t: t[0], r"expected .* \(2, 1\)"),
        ("residuals/dense/b16.conv0", lambda t: t.expand(2, 16, 16, 3, 3)[:, :5], r"\(2, 16, 16, 3, 3\)"),
        ("style/b8.conv0", lambda t: t[:, :-1], r"\(2, 16\)"),
        ("tuned/0/conv1.conv.weight", lambda t: t[0], r"\(1, 16, 16, 3, 3\)"),
        ("noise/2", lambda t: t[:, :, :-1], r"expected .* \(2, 1, 8, 8\)"),
    ],
)
def test_a_tensor_that_the_model_cannot_use_is_named(
    name: str,
    change: Callable[[Tensor], Tensor],
    message: str,
    saved: Saved,
    tmp_path: Path,
    tiny_inverter: HyperStyleInverter,
) -> None:
    with pytest.raises(InversionError, match=rf"is a damaged inversion: .*{message}"):
        load(tmp_path, {**saved[0], name: change(saved[0][name]).contiguous()}, saved[1], tiny_inverter)


def test_tensors_that_are_missing_or_unknown_are_refused(
    saved: Saved, tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    tensors, record = saved
    for name in ("w", "codes/weights", "noise/0"):
        with pytest.raises(InversionError, match="is a damaged inversion"):
            load(tmp_path, {key: value for key, value in tensors.items() if key != name}, record, tiny_inverter)
    for name in ("other", "codes/sum/b4.conv1", "codes/term/b8.conv1", "residuals/sum/b8.conv1", "tuned/5/input.input"):
        with pytest.raises(InversionError, match=f"the tensor '{name}' is unknown"):
            load(tmp_path, {**tensors, name: torch.ones(2, 16)}, record, tiny_inverter)
