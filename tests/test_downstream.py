"""Another package that depends on this one: installed in the same environment, type-checked against it, and run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from hyperstyle import example_photo


@dataclass(frozen=True)
class Environment:
    """A scratch virtual environment that has the two packages of its own and borrows everything else."""

    python: Path
    packages: Path

    def run(self, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # which would come first
        return subprocess.run(
            [str(self.python), *args], capture_output=True, text=True, cwd=cwd, env=env, timeout=600, check=False
        )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Environment:
    """Built by the real build backend, from the source tree, without a network."""
    for module in ("pip", "hatchling"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"building packages needs {module}, which is not installed here")
    root = tmp_path_factory.mktemp("downstream") / "venv"
    venv.create(root, with_pip=False)
    scripts = root / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / ("python.exe" if sys.platform == "win32" else "python")
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(root), "platbase": str(root)}))
    # Searched after its own packages: a hyperstyle that is installed here cannot stand in for the new one.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    for source in (checkout, checkout / "tests" / "downstream"):
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
                *(
                    "--no-build-isolation",
                    "--disable-pip-version-check",
                    "--target",
                    str(packages),
                    str(source),
                ),
            ],
            check=True,
            timeout=600,
        )
    return Environment(python, packages)


@pytest.fixture(scope="module")
def check_types(environment: Environment, pytestconfig: pytest.Config) -> Callable[[Path], str]:
    """mypy --strict over a file or folder, as the owner of the other package would run it."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed here")
    pytest_cache = getattr(pytestconfig, "cache", None)  # pytest may run without its cache
    cache = pytest_cache.mkdir("downstream-mypy") if pytest_cache else environment.packages.parent / "mypy"
    config = environment.packages.parent / "mypy.ini"
    config.write_text("[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n")  # four fifths of the time

    def check(path: Path) -> str:
        result = subprocess.run(
            [
                *(sys.executable, "-m", "mypy", "--strict", "--config-file", str(config), "--no-error-summary"),
                *("--python-executable", str(environment.python), "--cache-dir", str(cache), str(path)),
            ],
            capture_output=True,
            text=True,
            cwd=environment.packages.parent,
            timeout=600,
            check=False,
        )
        return result.stdout + result.stderr

    return check


def test_the_installed_package_has_all_that_the_source_tree_has(environment: Environment, checkout: Path) -> None:
    def files(folder: Path) -> set[str]:
        return {
            str(file.relative_to(folder))
            for file in folder.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }

    assert files(environment.packages / "hyperstyle") == files(checkout / "hyperstyle")
    assert "py.typed" in files(environment.packages / "hyperstyle")


def test_the_other_package_passes_strict_type_checks(check_types: Callable[[Path], str], checkout: Path) -> None:
    assert check_types(checkout / "tests" / "downstream" / "portrait_tool") == ""


def test_a_misuse_is_found_by_the_type_checker(check_types: Callable[[Path], str], tmp_path: Path) -> None:
    # Without py.typed, or with a public name that is Any, all of these would pass.
    program = tmp_path / "misuse.py"
    program.write_text(
        "import hyperstyle\n"
        "inverter = hyperstyle.HyperStyleInverter.from_pretrained(3)\n"
        "inverter.invert('me.jpg').imagee\n"
        "hyperstyle.HyperStyleInvertre\n",
        encoding="utf-8",
    )
    errors = check_types(program)
    assert [line.split(":")[1] for line in errors.splitlines() if ": error:" in line] == ["2", "3", "4"], errors


def test_the_other_package_runs_on_the_installed_one(environment: Environment, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a_tiny.png")
    example_photo(3).save(tmp_path / "whole.png")
    result = environment.run("-W", "error", "-m", "portrait_tool", str(tmp_path), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert Path(answer["installed"]).is_relative_to(environment.packages)
    (metadata,) = environment.packages.glob("hyperstyle_inversion-*.dist-info")
    version = metadata.name.removeprefix("hyperstyle_inversion-").removesuffix(".dist-info")
    assert answer["results"] == {"hyperstyle": version, "a_tiny.png": "ImageError", "whole.png": "done"}
    assert (tmp_path / "whole.older.jpg").is_file()
