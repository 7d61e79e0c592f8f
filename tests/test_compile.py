"""Compiled networks give the same inversions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from hyperstyle.inverter import HyperStyleInverter


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of PyTorch's compiler
def test_a_compiled_inverter_inverts_and_edits_the_same(tiny_model_dir: Path) -> None:
    plain, compiled = (HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu") for _ in range(2))
    assert compiled.compile() is compiled
    image = torch.rand(3, 32, 32) * 2 - 1
    counters.clear()
    inversion, expected = (inverter.invert(image, align=False) for inverter in (compiled, plain))
    assert counters["frames"]["ok"] >= 2  # it did compile
    torch.testing.assert_close(inversion.tensor, expected.tensor, rtol=0, atol=1e-4)
    torch.testing.assert_close(inversion.edit("age", 1).tensor, expected.edit("age", 1).tensor, rtol=0, atol=1e-4)
    assert compiled.model.fingerprint == plain.model.fingerprint
