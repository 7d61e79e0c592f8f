"""Files made by others: read, or refused, and never executed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from hyperstyle.errors import CheckpointError
from hyperstyle.foreign import load_state


class _WritesAFile:
    """Unpickling it without care would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({self.target!r}, 'w').close()",))


def test_tensors_and_plain_values_are_read(tmp_path: Path) -> None:
    state = {"weight": torch.randn(2, 3), "step": 5, "nested": {"names": ["a", "b"], "rate": 0.1}}
    torch.save(state, tmp_path / "good.pt")
    loaded = load_state(tmp_path / "good.pt")
    assert torch.equal(loaded["weight"], state["weight"])  # type: ignore[arg-type]
    assert loaded["nested"] == {"names": ["a", "b"], "rate": 0.1}


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_an_object_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path, plain_pickle: bool) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "trace"
    bad = {"weight": torch.zeros(1), "payload": _WritesAFile(trace)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(bad, protocol=2))
    else:
        torch.save(bad, path)
    with pytest.raises(CheckpointError, match=r"bad\.pt was not loaded"):
        load_state(path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if not plain_pickle else pickle.loads(path.read_bytes())
    assert trace.exists()  # it was a real one


def test_objects_of_other_classes_are_refused(tmp_path: Path) -> None:
    torch.save({"path": tmp_path}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match="was not loaded"):
        load_state(tmp_path / "odd.pt")


@pytest.mark.parametrize("content", [b"", b"just text\n", b"PK\x03\x04 cut off", b"\x80\x02}q\x00X"])
def test_what_is_no_such_file_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"junk\.pt") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(tmp_path / "nowhere.pt")


def test_a_file_without_a_dictionary_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_state(tmp_path / "list.pt")
