"""Work that reports while it runs, and ends when nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

pytest.importorskip("gradio", reason='needs Gradio: pip install "hyperstyle-inversion[app]"')

from hyperstyle.app.answers import Work, in_background

Report = Callable[..., None]


def test_steps_come_as_they_are_reported_and_the_result_at_the_end() -> None:
    shown = threading.Event()

    def work(report: Report) -> str:
        report(1, "a")
        shown.wait(30)
        report(2, "b")
        return "result"

    answers = in_background(work, Work().begin("ann"))
    assert next(answers) == ("step", (1, "a"))
    shown.set()
    *_, last = answers
    assert last == ("done", "result")


def test_what_the_work_raises_is_raised() -> None:
    def work(report: Report) -> None:
        raise ValueError("no face")

    with pytest.raises(ValueError, match="no face"):
        list(in_background(work, Work().begin("ann")))


@pytest.mark.parametrize("how", ["ended", "new work", "closed"])
def test_the_next_report_ends_work_that_nobody_waits_for(how: str) -> None:
    visitors, goes_on, left = Work(), threading.Event(), threading.Event()

    def work(report: Report) -> None:
        try:
            for step in range(1000):
                report(step)
                goes_on.wait(30)
        finally:
            left.set()

    answers = in_background(work, visitors.begin("ann"))
    assert next(answers) == ("step", (0,))
    if how == "ended":
        visitors.end("ann")
    elif how == "new work":
        visitors.begin("ann")
    else:
        answers.close()  # type: ignore[attr-defined]
    goes_on.set()
    assert list(answers) == []
    assert left.wait(30)


def test_the_work_of_others_goes_on() -> None:
    visitors = Work()
    bob = visitors.begin("bob")
    visitors.begin("ann")
    visitors.end("ann")
    visitors.end("nobody")
    assert list(in_background(lambda report: 1, bob)) == [("done", 1)]
