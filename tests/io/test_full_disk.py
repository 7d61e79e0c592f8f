"""A disk that is full: every writer says so, in an error of the library, and leaves what was there and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import RunPython

CODE = """
import json, os, resource, signal, sys
from pathlib import Path
import numpy, torch
from hyperstyle.io.components import save_component, save_tensors, save_torch, write_json
from hyperstyle.edits import DirectionEdit, EditInfo, save_edit
from hyperstyle.errors import HyperStyleError
from hyperstyle.evaluation.journal import Journal
from hyperstyle.io.files import write_bytes, write_text
from hyperstyle.io.npy_objects import save_arrays, save_named_arrays, save_npz
from hyperstyle.inverter import HyperStyleInverter

folder = Path(sys.argv[1])
inverter = HyperStyleInverter.from_pretrained(sys.argv[2], device="cpu")
inversion = inverter.invert(torch.rand(3, 32, 32), align=False)
large = torch.rand(100, 100)
array = {"a": large.numpy()}
edit = DirectionEdit(torch.rand(16), EditInfo("up", report={"text": "x" * 9000}))
journal = Journal(folder / "journal", {})
writers = {
    "text": lambda path: write_text(path, "x" * 9000),
    "bytes": lambda path: write_bytes(path, bytes(9000)),
    "json": lambda path: write_json(path, {"a": ["x"] * 9000}),
    "safetensors": lambda path: save_tensors(path, {"a": large}),
    "torch": lambda path: save_torch(path, {"a": large}),
    "npz": lambda path: save_npz(path, array),
    "npy, a row": lambda path: save_arrays(path, [large.numpy()]),
    "npy, by name": lambda path: save_named_arrays(path, array),
    "inversion": lambda path: inversion.save(path),
    "export": lambda path: inversion.export(path),
    "model": lambda path: inverter.save_pretrained(path.with_name("model")),
    "component": lambda path: save_component(torch.nn.Linear(99, 99), EditInfo("up"), path.with_name("model")),
    "edit": lambda path: save_edit(edit, path.with_name("model")),
    "journal": lambda path: journal.add({"method": "m", "picture": "p", "text": "x" * 9000}),
}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (512, 4096))
said = {}
for name, write in writers.items():
    try:
        write(folder / "old")
        said[name] = "nothing"
    except HyperStyleError as error:
        said[name] = str(error)
sizes = range(100, 4096, 500)
for size in sizes:  # wherever PyTorch's writer is when the disk is full
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, 4096))
    try:
        save_torch(folder / "old", {"a": large[:9]})
        said[f"torch, {size}"] = "nothing"
    except HyperStyleError as error:
        said[f"torch, {size}"] = str(error)
print(json.dumps(said))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_every_writer_says_so_and_leaves_what_was_there(
    run_python: RunPython, tiny_model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("mine")
    result = run_python("-W", "ignore", "-c", CODE, str(tmp_path), str(tiny_model_dir))
    assert result.returncode == 0, result.stderr
    messages: dict[str, str] = json.loads(result.stdout)
    assert len(messages) == 14 + 8
    for writer, message in messages.items():
        assert message.startswith("Cannot write"), (writer, message)
        assert "File too large" in message or "No space left" in message, (writer, message)
    assert (tmp_path / "old").read_text() == "old"
    assert (tmp_path / "journal").read_text() == "{}\n"
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "journal",
        "model",
        "model/mine",
        "old",
    ]
