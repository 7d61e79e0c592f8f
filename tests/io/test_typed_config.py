"""Typed configuration: values of JSON, TOML, YAML and flags become types, or the entry is named."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from hyperstyle.errors import ConfigError, MissingDependencyError
from hyperstyle.io.typed_config import config_from_dict, config_to_dict, convert_value, describe_type, read_tables


@dataclass(frozen=True)
class Inner:
    width: int
    rate: float = 0.5


@dataclass(frozen=True)
class Config:
    inner: Inner
    names: tuple[str, ...] = ()
    pair: tuple[int, int] = (1, 2)
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    more: Inner | None = None
    blocks: tuple[Inner, ...] = field(default_factory=tuple)
    count: int | None = None


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "config",
    [
        Config(Inner(3)),
        Config(Inner(3, 1.5), ("x", "y"), (3, 4), "b", True, Inner(1), (Inner(1), Inner(2))),
    ],
)
def test_a_config_survives_json(config: Config) -> None:
    values = json.loads(json.dumps(config_to_dict(config)))
    assert config_from_dict(Config, values, "here") == config


def test_whole_numbers_are_taken_for_fractions() -> None:
    read = config_from_dict(Inner, {"width": 3, "rate": 2}, "here")
    assert read == Inner(3, 2.0)
    assert isinstance(read.rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, r"here: unknown entry 'colour' for Config\. Known: inner, names"),
        ({"inner": None}, "here: inner"),
        ({"inner": {}}, "here: inner: entry 'width' of Inner is missing"),
        ({"inner": {"width": "3"}}, "here: inner: width is '3'"),
        ({"inner": {"width": True}}, "width is True"),
        ({"inner": {"width": 1.5}}, r"width is 1\.5"),
        ({"inner": {"width": 1, "rate": "fast"}}, "rate is 'fast'"),
        ({"names": "xy"}, "names is 'xy'"),
        ({"names": ["x", 1]}, "names is 1"),
        ({"pair": [1]}, r"pair is \[1\]"),
        ({"pair": [1, 2, 3]}, r"pair is \[1, 2, 3\]"),
        ({"kind": "c"}, "kind is 'c': expected one of 'a', 'b'"),
        ({"flag": 1}, "flag is 1"),
        ({"count": "3"}, "here: count is '3': expected a whole number or none"),
        ({"more": 7}, "more: expected an object for Inner, found int"),
        ({"blocks": [{"width": 1}, {}]}, "blocks: entry 'width'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_dict(Config, {"inner": {"width": 3}, **change}, "here")


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("1e-4", float, 1e-4),
        ("5_000", int, 5000),
        (5e3, int, 5000),
        ("none", int | None, None),
        ("a, b", tuple[str, ...], ("a", "b")),
        (False, Literal["yes", "no"], "no"),
        (Path("a"), str | None, "a"),
    ],
)
def test_what_people_type_is_understood_only_where_text_is_allowed(value: Any, hint: Any, expected: Any) -> None:
    assert convert_value(value, hint, "here", from_text=True) == expected
    if value != 5e3:  # a whole number, however it is written
        with pytest.raises(ConfigError, match=r"here is .*: expected"):
            convert_value(value, hint, "here")


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int | None, "a whole number or none"),
        (Literal["a", 2], "one of 'a', 2"),
        (tuple[str, ...], "a list of names"),
        (tuple[int, int], "a list of 2 whole numbers"),
        (dict[str, int], "a table"),
    ],
)
def test_a_type_is_described_in_words(hint: Any, text: str) -> None:
    assert describe_type(hint) == text
    with pytest.raises(ConfigError, match=f"^here is 1.5: expected {text}.$"):
        convert_value(1.5, hint, "here")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[optim\n", r"cannot read the configuration '.*a\.toml': "),
        ("a.yaml", "optim: [1\n", r"cannot read the configuration '.*a\.yaml': "),
        ("a.json", "{", r"cannot read the configuration '.*a\.json': "),
        ("a.yml", "- 1\n- 2\n", "holds list: expected named options"),
        ("a.yaml", "1: 2\n", "holds dict: expected named options"),
        ("a.txt", "", "is no configuration by its name"),
    ],
)
def test_a_file_that_is_none_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_tables(written(tmp_path / name, text))


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert read_tables(written(tmp_path / "a.yaml", "")) == {}
    assert read_tables(written(tmp_path / "a.toml", "")) == {}


def test_yaml_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingDependencyError, match=r"need PyYAML\. Run: pip install .*, or write TOML"):
        read_tables(written(tmp_path / "a.yaml", "a: 1\n"))


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    file = written(tmp_path / "a.yaml", "a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="cannot read"):
        read_tables(file)


# ---- hostile files ----


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.yaml", "a: &a [1, 2]\nb: *a\n", r"it has aliases \(\*name\), which are not read"),
        ("x.yaml", "b: " + "[" * 100_000, "nested too deep"),
        ("x.json", "[" * 100_000, "nested too deep"),
        ("x.toml", "b = " + "[" * 100_000, "nested too deep|Cannot|TOML"),
        ("x.json", '{"a": ' + "9" * 5000 + "}", "cannot read"),
    ],
)
def test_a_small_file_of_many_values_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_tables(written(tmp_path / name, text))


def test_a_value_is_cut_where_it_is_shown() -> None:
    for value in ("x" * 100_000, ["x" * 1000] * 1000, 10**5000, {"a": {"b": {"c": {"d": list(range(10_000))}}}}):
        with pytest.raises(ConfigError, match="width is") as raised:
            config_from_dict(Inner, {"width": value}, "here")
        assert len(str(raised.value)) < 1000


def test_values_of_a_table_are_converted() -> None:
    assert convert_value({"a": [1, 2]}, dict[str, tuple[float, ...]], "here") == {"a": (1.0, 2.0)}
    with pytest.raises(ConfigError, match="here: 'a' is 'x': expected a list of numbers"):
        convert_value({"a": "x"}, dict[str, tuple[float, ...]], "here")
