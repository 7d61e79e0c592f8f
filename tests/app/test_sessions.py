"""Sessions are bounded in number and bytes, and know nothing of each other."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from PIL import Image

from hyperstyle.app.sessions import Session, Sessions
from hyperstyle.errors import InversionError


def of(pixels: int, name: str = "me.jpg") -> Session:
    return Session(name, Image.new("RGB", (pixels, 1)))


def test_each_key_has_its_own_session() -> None:
    sessions = Sessions()
    first, second = of(1), of(1)
    sessions.put("a", first)
    sessions.put("b", second)
    assert (sessions.get("a"), sessions.get("b")) == (first, second)


def test_the_least_recently_used_goes_first() -> None:
    sessions = Sessions(max_count=2)
    sessions.put("a", of(1))
    sessions.put("b", of(1))
    sessions.get("a")
    sessions.put("c", of(1))
    assert sessions.get("a").photo is not None
    with pytest.raises(InversionError, match=r"let it go\. Load one"):
        sessions.get("b")


def test_memory_is_bounded_and_the_newest_stays_however_large() -> None:
    sessions = Sessions(max_bytes=1000)
    for key in "abc":
        sessions.put(key, of(100))  # 400 bytes each
    assert len(sessions) == 2
    assert sessions.nbytes == 800
    sessions.put("d", of(5000))
    assert len(sessions) == 1
    sessions.put("e", of(1))
    assert len(sessions) == 1


def test_a_session_that_is_put_again_is_counted_once() -> None:
    sessions = Sessions()
    sessions.put("a", of(100))
    sessions.put("a", of(50))
    assert (len(sessions), sessions.nbytes) == (1, 200)
    sessions.drop("a")
    sessions.drop("a")
    assert (len(sessions), sessions.nbytes) == (0, 0)


def test_nothing_to_edit_says_what_to_do() -> None:
    with pytest.raises(InversionError, match="load a photo or an inversion file first"):
        _ = of(1).inversion


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("me.jpg", "me"),
        ("a b/ü:1.png", "ü_1"),
        ("../../x.png", "x"),
        ("", "photo"),
        ("....", "photo"),
        ("x" * 300, "x" * 80),
        ("写真" * 100, "写真" * 13),
        ("\udcff.png", "photo"),
    ],
)
def test_the_name_of_a_download_is_safe(name: str, stem: str) -> None:
    assert Session(name).stem == stem


def test_an_inversion_counts_its_tensors_once(session: Session) -> None:
    alone = session.nbytes
    assert alone > session.faces[0].crop.numel() * 4
    assert replace(session, history=session.history * 3).nbytes == alone


def test_threads_that_come_at_once_leave_it_bounded() -> None:
    sessions = Sessions(max_count=4)

    def work(number: int) -> None:
        for i in range(200):
            sessions.put(f"{number}-{i % 7}", of(1))
            sessions.drop(f"{number}-{(i + 3) % 7}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sessions) <= 4
