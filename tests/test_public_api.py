"""The names users import, and the ways to start the program."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import hyperstyle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(checkout: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def test_the_public_names_are_sorted_and_each_stands_once() -> None:
    assert hyperstyle.__all__ == sorted(set(hyperstyle.__all__))


@pytest.mark.parametrize("name", hyperstyle.__all__)
def test_each_public_name_resolves_to_the_object_in_its_home(name: str) -> None:
    value = getattr(hyperstyle, name)
    if name == "__version__":
        assert isinstance(value, str)
        return
    home = importlib.import_module(hyperstyle._HOME_OF[name])
    assert value is getattr(home, name)
    assert value.__doc__, f"{name} is public and has no docstring"


def test_type_checkers_see_the_same_names_as_the_interpreter() -> None:
    tree = ast.parse(Path(hyperstyle.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == hyperstyle._HOME_OF
    assert sorted([*imported, "__version__"]) == hyperstyle.__all__


def test_every_error_class_is_public() -> None:
    from hyperstyle import errors

    assert {name for name in errors.__all__ if name[0].isupper()} <= set(hyperstyle.__all__)


def test_dir_lists_the_public_names_before_they_are_loaded(run_python: Run) -> None:
    result = run_python("-c", "import hyperstyle as h; print(set(h.__all__) - set(dir(h)), 'Inversion' in vars(h))")
    assert result.stdout.split() == ["set()", "False"]


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Inversoin'.*Did you mean 'Inversion'\?"):
        hyperstyle.Inversoin  # type: ignore[attr-defined] # noqa: B018


def test_the_version_is_the_one_in_pyproject(project: dict[str, Any]) -> None:
    try:
        installed = metadata.version(project["name"])
    except metadata.PackageNotFoundError:
        assert hyperstyle.__version__ == "0+unknown"
    else:
        assert hyperstyle.__version__ == installed == project["version"]


def test_the_citation_names_the_same_version(project: dict[str, Any], checkout: Path) -> None:
    lines = (checkout / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {project['version']}" in lines


def test_every_console_script_names_a_function(project: dict[str, Any]) -> None:
    assert "hyperstyle" in project["scripts"]
    for target in project["scripts"].values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_version_is_printed_without_loading_torch(run_python: Run) -> None:
    result = run_python("-X", "importtime", "-m", "hyperstyle", "--version")
    imported = {
        line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")
    }
    assert result.returncode == 0
    assert result.stdout == f"hyperstyle {hyperstyle.__version__}\n"
    assert "hyperstyle.cli" in imported
    assert not {"torch", "numpy", "PIL"} & imported


def test_the_package_says_that_it_is_typed() -> None:
    assert Path(hyperstyle.__file__).with_name("py.typed").is_file()
