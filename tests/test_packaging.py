"""What an installation gets on which machine."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREBUILT = {
    ("linux", "x86_64"),
    ("linux", "aarch64"),
    ("darwin", "arm64"),
    ("win32", "AMD64"),
}  # where dlib-bin has wheels, for CPython 3.10 to 3.15


DATA = {"model", "photos", "held_out", "attributes.json"}


def test_the_wheel_has_the_data_of_the_bundled_model_and_not_what_made_them(checkout: Path) -> None:
    """tests/test_downstream.py shows that the wheel has what the folder `hyperstyle` has, no more and no less."""
    folder = checkout / "hyperstyle"
    assert {path.name for path in (folder / "avatars").iterdir() if path.name != "__pycache__"} == DATA
    assert list((folder / "avatars").rglob("*.py")) == []
    assert not {"recipes", "renderer", "studies"} & {path.name for path in folder.rglob("*") if path.is_dir()}
    photos = [path for name in ("photos", "held_out") for path in (folder / "avatars" / name).iterdir()]
    assert sum(path.stat().st_size for path in (folder / "avatars" / "attributes.json", *photos)) <= 2_500_000


@pytest.fixture(scope="module")
def requirements(checkout: Path) -> list[Requirement]:
    table = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    return [Requirement(text) for text in table["project"]["dependencies"]]


def test_every_machine_gets_exactly_one_dlib_and_the_prebuilt_one_where_there_is_one(
    requirements: list[Requirement],
) -> None:
    machines = itertools.product(
        ("linux", "darwin", "win32", "freebsd14"),
        ("x86_64", "aarch64", "arm64", "AMD64", "ARM64", "armv7l", "i686"),
        ("3.10", "3.13", "3.15", "3.16"),
        ("cpython", "pypy"),
    )
    for system, machine, python, implementation in machines:
        environment = {
            "sys_platform": system,
            "platform_machine": machine,
            "python_version": python,
            "implementation_name": implementation,
        }
        chosen = [
            requirement.name
            for requirement in requirements
            if requirement.name.startswith("dlib")
            and requirement.marker is not None
            and requirement.marker.evaluate(environment)
        ]
        prebuilt = (system, machine) in PREBUILT and python != "3.16" and implementation == "cpython"
        assert chosen == ["dlib-bin" if prebuilt else "dlib"], environment


def test_dependencies_have_a_lower_bound_and_no_upper_one(requirements: list[Requirement]) -> None:
    for requirement in requirements:
        assert [specifier.operator for specifier in requirement.specifier] == [">="], str(requirement)
