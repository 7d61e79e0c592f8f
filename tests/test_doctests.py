"""The examples in docstrings run. That of HyperStyleInverter needs the bundled model; the README has its like."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "hyperstyle.networks.stylegan2.generator",
        "hyperstyle.networks.encoders.w_encoder",
        "hyperstyle.networks.encoders.idinvert",
        "hyperstyle.networks.stylegan1",
        "hyperstyle.networks.perception.vgg",
        "hyperstyle.domain",
    ],
)
def test_the_examples_of_a_module_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
