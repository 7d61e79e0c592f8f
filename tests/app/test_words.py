"""The texts of the page."""

from __future__ import annotations

import pytest

from hyperstyle.app import words
from hyperstyle.app.sessions import Session
from hyperstyle.edits import EditInfo
from hyperstyle.errors import ConfigError, NoFaceError
from hyperstyle.inverter import HyperStyleInverter


def test_every_edit_is_in_one_group_and_the_most_used_come_first(bundled: HyperStyleInverter) -> None:
    groups = words.grouped(bundled.edits)
    assert next(iter(groups.items())) == ("Most used", ["age", "pose", "smile"])
    assert sorted(name for names in groups.values() for name in names) == sorted(bundled.edits)
    assert words.grouped({"qqq": bundled.edits["age"]}) == {"More": ["qqq"]}
    labels = [words.label(name) for name in bundled.edits]
    assert len(set(labels)) == len(labels)


def test_units_are_short() -> None:
    assert words.unit(EditInfo("x", unit="population standard deviations of age")) == "standard deviations"
    assert words.unit(EditInfo("x", unit="steps")) == "steps"


def test_a_unit_is_said_once_where_all_edits_share_it(bundled: HyperStyleInverter) -> None:
    assert words.shared_unit(bundled.edits) == "standard deviations"
    assert words.shared_unit({}) == ""


def test_the_quality_is_said_in_words_and_figures(session: Session) -> None:
    assert words.quality(session.inversion).startswith("The rebuilt face is very close to the original; likeness 9")
    assert len(words.figures(session.inversion)) == 4


def test_errors_are_said_without_python() -> None:
    assert "landmarks" not in words.error_text(NoFaceError("no face. Or pass landmarks=..."))
    assert words.error_text(ConfigError("as it is")) == "as it is"
    assert (
        words.readable("the file '/tmp/x/1.png' of /tmp/x/1.png", "/tmp/x/1.png", "me.png")
        == "the file 'me.png' of me.png"
    )


def test_what_visitors_name_is_no_html() -> None:
    for text in (words.notes(["<b>"]), words.done("<b>", ["<b>"]), words.progress("<b>", 1, 2)):
        assert "<b>" not in text


@pytest.mark.parametrize(("text", "number"), [(None, None), ("", None), (" 12 ", 12), ("0", 0)])
def test_steps_are_a_number_or_nothing(text: str | None, number: int | None) -> None:
    assert words.count(text) == number
    with pytest.raises(ConfigError, match=r"'1\.5' steps: expected a number"):
        words.count("1.5")
