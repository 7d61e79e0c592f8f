"""Warnings of the library reach the page of the visitor who caused them, and no other."""

from __future__ import annotations

import threading
import warnings

import pytest

from hyperstyle.app.notices import collected_warnings
from hyperstyle.errors import EditWarning, QualityWarning, warn


@pytest.fixture(autouse=True)
def _warnings_are_shown() -> None:
    warnings.simplefilter("always", QualityWarning)  # pytest restores the filters


def test_each_message_is_collected_once() -> None:
    with collected_warnings() as messages:
        warn("blurred", QualityWarning)
        warn("far", EditWarning)
        warn("far", EditWarning)
    assert messages == ["blurred", "far"]


def test_threads_collect_their_own() -> None:
    both = threading.Barrier(2)
    collected: dict[int, list[str]] = {}

    def work(number: int) -> None:
        with collected_warnings() as messages:
            both.wait()
            warn(f"of {number}", QualityWarning)
            both.wait()
        collected[number] = messages

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collected == {0: ["of 0"], 1: ["of 1"]}


def test_other_warnings_are_shown_as_ever() -> None:
    with collected_warnings() as messages, pytest.warns(UserWarning, match="other"):
        warnings.warn("other", UserWarning, stacklevel=1)
    assert messages == []
