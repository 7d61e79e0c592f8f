"""What threads do to each other: values made once, filters of warnings, and one inverter for all."""

from __future__ import annotations

import pickle
import re
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess

import pytest

from hyperstyle.runtime.threads import ignored_warnings, once_property

EIGHT_THREADS = """
import warnings
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import ImageOps

from hyperstyle import HyperStyleInverter, example_photo

inverter = HyperStyleInverter(device="cpu")
face = example_photo(1)
photos = [face.resize((160, 200)), ImageOps.mirror(face).resize((160, 200)), face.resize((240, 300))]


def work(photo):
    inversion = inverter.invert(photo, method="hyperstyle+offsets", steps={"hyperstyle": 1, "offsets": 1})
    edited = inversion.edit("smile", [1, 2])
    return inversion, edited, edited[0].paste_back()


def same(a, b):
    (a, edited_a, photo_a), (b, edited_b, photo_b) = a, b
    points = [one.sources[0].placement.landmarks.tolist() for one in (a, b)]
    tensors = [(a.w, b.w), (a.tensor, b.tensor), (edited_a.tensor, edited_b.tensor)]
    same_tensors = all(torch.equal(x, y) for x, y in tensors)
    same_metrics = a.stored_metrics == b.stored_metrics
    return points[0] == points[1] and same_tensors and same_metrics and photo_a.tobytes() == photo_b.tobytes()


alone = [work(photo) for photo in photos]
filters = list(warnings.filters)
with ThreadPoolExecutor(8) as pool:
    list(pool.map(inverter.aligner, photos * 4))  # mostly in dlib, which lets the other threads run
    together = list(pool.map(work, photos * 3))
print([same(found, alone[k % 3]) for k, found in enumerate(together)].count(True), warnings.filters == filters)
"""


class Slow:
    """Something whose `value` takes until it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()
        self.times = 0

    @once_property
    def value(self) -> object:
        """What was made."""
        self.times += 1
        self.began.set()
        assert self.go.wait(60)
        return object()


def test_a_value_that_threads_ask_for_at_once_is_made_once() -> None:
    thing = Slow()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(lambda: thing.value) for _ in range(8)]
        assert thing.began.wait(60)
        thing.go.set()
        values = {id(future.result()) for future in asked}
    assert (len(values), thing.times) == (1, 1)
    assert thing.value is asked[0].result()
    assert Slow.value.__doc__ == "What was made."


def test_who_waits_for_one_object_does_not_hold_up_another() -> None:
    slow, quick = Slow(), Slow()
    quick.go.set()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: slow.value)
        assert slow.began.wait(60)
        assert quick.value is quick.value
        assert not asked.done()
        slow.go.set()


def test_a_value_that_could_not_be_made_is_tried_again() -> None:
    class Failing:
        times = 0

        @once_property
        def value(self) -> int:
            self.times += 1
            if self.times == 1:
                raise OSError("not yet")
            return self.times

    thing = Failing()
    with pytest.raises(OSError, match="not yet"):
        thing.value  # noqa: B018
    assert (thing.value, thing.value) == (2, 2)


# ---- warnings ----


def warn_as(module: str) -> list[str]:
    """The warnings that come through when this module gives one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn_explicit("careful", UserWarning, "file.py", 1, module=module)
    return [str(warning.message) for warning in caught]


def test_only_the_warnings_of_the_module_are_ignored_and_only_within() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with ignored_warnings("PIL"):
            assert warn_as("PIL.Image") == []
            assert warn_as("somebody") == ["careful"]
        assert warn_as("PIL.Image") == ["careful"]
        with ignored_warnings():
            assert warn_as("somebody") == []


def test_threads_that_leave_in_the_order_in_which_they_came_leave_no_filter_behind() -> None:
    before = list(warnings.filters)
    first, second = ignored_warnings("PIL"), ignored_warnings("PIL")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert warn_as("PIL.Image") == []  # the second is still there
    second.__exit__(None, None, None)
    assert list(warnings.filters) == before


@pytest.mark.parametrize("users_first", [True, False])
def test_filters_that_a_user_sets_meanwhile_stay_and_go_as_they_say(users_first: bool) -> None:
    before = list(warnings.filters)
    users, ours = warnings.catch_warnings(), ignored_warnings("PIL")
    for context in (users, ours) if users_first else (ours, users):
        context.__enter__()
    warnings.filterwarnings("ignore", message="of the user")
    users_filter = ("ignore", re.compile("of the user", re.IGNORECASE))
    for context in (users, ours) if users_first else (ours, users):
        assert (users_filter in [entry[:2] for entry in warnings.filters]) or context is ours
        context.__exit__(None, None, None)
    assert list(warnings.filters) == before


# ---- one inverter ----


def test_eight_threads_with_one_inverter_get_what_one_gets_faces_included(
    run_python: Callable[..., CompletedProcess[str]],
) -> None:
    pytest.importorskip("dlib")
    result = run_python("-W", "ignore", "-c", EIGHT_THREADS)  # a crash would end this process too
    assert (result.returncode, result.stdout.strip()) == (0, "9 True"), result.stderr[-2000:]


def test_a_detector_that_is_copied_keeps_its_numbers_and_gets_a_lock_of_its_own() -> None:
    from hyperstyle.align.dlib_detector import DlibDetector

    detector = DlibDetector("points.dat", detector="faces.svm", longest=300, upsample=2, sideways=True)
    detector.__dict__["_loaded"] = threading.Lock()  # stands for dlib's objects, of which some cannot be pickled
    again = pickle.loads(pickle.dumps(detector))
    assert again._one_at_a_time is not detector._one_at_a_time
    private = ("_loaded", "_one_at_a_time")
    assert again.__dict__.keys() == detector.__dict__.keys() - {"_loaded"}
    for name in again.__dict__.keys() - set(private):
        assert getattr(again, name) == getattr(detector, name)
