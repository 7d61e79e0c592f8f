"""Work that is shared through markers and locks: each piece once, whoever fails, ends or is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

import hyperstyle
from hyperstyle.errors import ConfigError
from hyperstyle.io.claims import Claims, stamp
from hyperstyle.io.files import sweep, write_text

HOLDER = (
    "import sys, pathlib; from hyperstyle.io.claims import Claims\n"
    "claims = Claims(); print(claims.claim(pathlib.Path(sys.argv[1])), flush=True); sys.stdin.read()"
)


def test_a_piece_is_busy_while_another_has_it_and_done_once_its_marker_is_there(tmp_path: Path) -> None:
    marker = tmp_path / "one.safetensors"
    with Claims() as first, Claims() as second:
        assert first.claim(marker) == "claimed"
        assert second.claim(marker) == first.claim(marker) == "busy"
        marker.write_text("done", encoding="utf-8")
        first.release(marker)
        assert second.claim(marker) == first.claim(marker) == "done"
    assert [file.name for file in tmp_path.iterdir()] == [marker.name], "no lock is left"


def test_a_piece_that_was_given_back_undone_is_free(tmp_path: Path) -> None:
    marker = tmp_path / "one"
    with Claims() as first, Claims() as second:
        assert first.claim(marker) == "claimed"
        first.release(marker)
        assert second.claim(marker) == "claimed"
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_left_is_given_back_at_the_end_whatever_ended_it(tmp_path: Path) -> None:
    markers = [tmp_path / name for name in ("a", "b", "a" * 255)]

    def work() -> None:
        with Claims() as first:
            assert [first.claim(marker) for marker in markers] == ["claimed"] * 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(tmp_path.iterdir()) == []
    assert Claims().claim(markers[0]) == "claimed"


def test_an_outdated_marker_does_not_count_but_the_one_that_replaces_it_does(tmp_path: Path) -> None:
    marker = tmp_path / "one"
    write_text(marker, "old")
    old = stamp(marker)
    with Claims() as first, Claims() as second:
        assert first.claim(marker) == "done"
        assert first.claim(marker, outdated=old) == "claimed"
        assert second.claim(marker, outdated=old) == "busy"
        write_text(marker, "new")
        first.release(marker)
        assert second.claim(marker, outdated=old) == "done", "not a second time"


@pytest.mark.skipif(sys.platform == "win32", reason="files of killed processes are removed by POSIX locks")
def test_what_a_killed_process_had_in_hand_is_free_and_its_lock_is_swept(tmp_path: Path) -> None:
    marker = tmp_path / "one"
    env = os.environ | {"PYTHONPATH": str(Path(hyperstyle.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(marker)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        with Claims() as first:
            sweep(tmp_path)
            assert first.claim(marker) == "busy", "a sweep leaves the locks of the living alone"
            process.kill()
            process.wait()
            assert first.claim(marker) == "claimed"
            first.release(marker)
    (tmp_path / f".tmp-{'0' * 12}.lock").touch()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", [False, True])
def test_many_at_once_do_each_piece_once_and_never_two_the_same(tmp_path: Path, fails: bool) -> None:
    # Those that fail give their piece back without a marker: it is done again, but not at the same time.
    markers = [tmp_path / f"{number:02}" for number in range(25)]
    done: Counter[Path] = Counter()
    in_hand: set[Path] = set()
    together, guard = [], threading.Lock()

    def work() -> None:
        with Claims() as claims:
            for index, marker in enumerate(markers * 8 if fails else markers):
                if index % 10 == 0:
                    sweep(tmp_path)  # as a run that starts while the others run does
                if claims.claim(marker) != "claimed":
                    continue
                with guard:
                    together.extend({marker} & in_hand)
                    in_hand.add(marker)
                done[marker] += 1
                if not fails:
                    write_text(marker, "done")
                with guard:
                    in_hand.remove(marker)
                claims.release(marker)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == []
    assert set(done) == set(markers)
    if not fails:
        # a lock that is tried while a sweep looks at it counts as busy: `hyperstyle invert` asks again at the end
        assert set(done.values()) == {1}
        assert sorted(tmp_path.iterdir()) == markers


def test_a_folder_in_which_no_lock_can_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot make a lock in the folder .*file'"):
        Claims().claim(tmp_path / "file" / "one")
