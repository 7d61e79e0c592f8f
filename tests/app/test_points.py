"""Points to drag, as text and as clicks."""

from __future__ import annotations

import numpy as np
import pytest

from hyperstyle.app import points
from hyperstyle.app.sessions import Session
from hyperstyle.errors import ConfigError


def test_two_clicks_are_a_move_and_the_text_says_so() -> None:
    text = ""
    for click in ((60, 80), (60, 70.5), (10, 20)):
        text = points.with_point(text, *click)
    assert text == "60,80:60,70.5 10,20"
    assert points.parse(text) == [((60, 80), (60, 70.5)), ((10, 20), None)]
    assert points.parse(" 1 , 2 : 3 , 4 ;5,6:7,8 ") == [((1, 2), (3, 4)), ((5, 6), (7, 8))]


@pytest.mark.parametrize("text", ["60", "60,80:", "a,b:c,d", "60,80:60,70,5", "-1,2:3,4", "nan,1:2,3"])
def test_text_that_is_no_move_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no move of a point"):
        points.parse(text)


@pytest.mark.parametrize("text", ["", "60,80", "60,80:60,70 10,20"])
def test_a_drag_needs_complete_moves(text: str) -> None:
    with pytest.raises(ConfigError, match="Click a point of the face"):
        points.pairs(points.parse(text))


def test_a_click_is_the_point_that_is_marked(session: Session) -> None:
    size = session.inversion.image.width
    x, y = points.from_shown((201, 305), size)
    assert (x, y) == (50.0, 76.0)  # four pixels of what is shown are one of the reconstruction
    plain = points.marked(session.inversion, ())
    marked = points.marked(session.inversion, [((x, y), None)])
    changed = np.argwhere(np.abs(np.asarray(plain, float) - np.asarray(marked, float)).sum(axis=2) > 30)
    assert np.abs(changed.mean(axis=0) - (305.5, 201.5)).max() < 1
    assert points.from_shown((0, 0), size) == (0, 0)
