"""Model folders whose numbers ask for more than a model can be are refused before a network is built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.errors import ConfigError
from hyperstyle.inverter import HyperStyleInverter

HUGE = 10**12


@pytest.mark.parametrize(
    ("file", "keys", "value", "message"),
    [
        ("hyperstyle.json", ["steps"], HUGE, r"steps=1000000000000, which is not in 0\.\.1000"),
        ("hyperstyle.json", ["domain", "input_size"], [HUGE, 32], "up to 4096 each"),
        ("hyperstyle.json", ["domain", "size"], 10**30, "expected a number of at most 64 bits"),
        ("hyperstyle.json", ["sha256", "generator"], 1, "sha256: 'generator' is 1: expected text"),
        ("hyperstyle.json", ["edits"], ["\ud800"], "expected the names of folders"),
        ("hyperstyle.json", ["edits"], ["x" * 300], "expected the names of folders"),
        ("generator/config.json", ["mapping_layers"], HUGE, "generator/config.json: .*at most 64 layers"),
        ("generator/config.json", ["mapping_rate"], 0, "mapping_rate=0.0"),
        ("generator/config.json", ["size"], 2**40, "16 to 4096"),
        ("generator/config.json", ["channels"], [HUGE, 16, 16, 8], "no Generator can be built"),
        ("encoder/config.json", ["rows"], 3_000_000, "1 to 64 rows"),
        ("encoder/config.json", ["input_size"], [HUGE, HUGE], "16 to 4096 px"),
        ("encoder/config.json", ["trunk", "blocks"], [1, HUGE], "up to 256 blocks"),
        ("encoder/config.json", ["trunk", "first_stride"], 0, r"first_stride = \(3, 1, 0\): expected 1 to 64"),
        ("hypernetwork/config.json", ["code_width"], 0, "code_width=0"),
        ("hypernetwork/config.json", ["heads"], "x" * 100_000, r"heads is 'x{1,300}\.\.\.x"),
    ],
)
def test_a_number_out_of_range_is_named(
    file: str, keys: list[str], value: Any, message: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    path = tmp_path / "model" / file
    content = json.loads(path.read_text(encoding="utf-8"))
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as raised:
        HyperStyleInverter.from_pretrained(tmp_path / "model", device="cpu")
    assert len(str(raised.value)) < 2000
