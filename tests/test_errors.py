"""The exception tree and the messages that suggest a name."""

from __future__ import annotations

import inspect

import pytest

from hyperstyle import errors
from hyperstyle.errors import HyperStyleError, did_you_mean, with_article
from hyperstyle.inversion.inversion import Inversion

WARNINGS = {"QualityWarning", "EditWarning", "MemoryWarning", "ConversionWarning", "TrainingWarning"}


def diagram_parents() -> dict[str, str]:
    """class name -> parent, as the indentation of the module docstring shows it."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []  # the branch that the current line hangs on
    for line in inspect.cleandoc(str(errors.__doc__)).splitlines():
        indent = len(line) - len(line.lstrip())
        if indent == 0:
            continue
        while path and path[-1][0] >= indent:
            path.pop()
        name = line.split()[0]
        parents[name] = path[-1][1] if path else "Exception"
        path.append((indent, name))
    return parents


def classes() -> dict[str, type[BaseException]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__ and not name.startswith("_")
    }


def errors_alone() -> dict[str, type[BaseException]]:
    return {name: value for name, value in classes().items() if not name.endswith("Warning")}


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    written = diagram_parents()
    for name in WARNINGS:
        assert written.pop(name) == "Exception"  # that it has no parent among the errors
    assert written == {name: value.__bases__[0].__name__ for name, value in errors_alone().items()}


def test_every_error_is_exported_explained_and_caught_by_the_base() -> None:
    for name, value in classes().items():
        assert name in errors.__all__
        assert value.__doc__
    assert all(issubclass(value, HyperStyleError) for value in errors_alone().values())


def test_the_warnings_are_shown_and_can_be_turned_off_by_their_classes() -> None:
    assert set(classes()) - set(errors_alone()) == WARNINGS
    assert all(issubclass(classes()[name], UserWarning) for name in WARNINGS)


def test_a_missing_optional_package_is_an_import_error_too() -> None:
    assert issubclass(errors.MissingDependencyError, ImportError)


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("aeg", ["smile", "age"], "Available: age, smile. Did you mean 'age'?"),
        ("zzz", ["smile", "age"], "Available: age, smile."),
        ("age", [], "There are none."),
    ],
)
def test_a_misspelt_name_gets_the_known_ones_and_a_guess(name: str, known: list[str], sentence: str) -> None:
    assert did_you_mean(name, known) == sentence


@pytest.mark.parametrize(("kind", "text"), [(int, "an int"), (str, "a str"), (Inversion, "an Inversion")])
def test_a_class_is_named_with_its_article(kind: type, text: str) -> None:
    assert with_article(kind) == text
