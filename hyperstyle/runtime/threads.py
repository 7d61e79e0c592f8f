"""What lets threads share an object: values that are made once, and warnings that are ignored for all of them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

__all__ = ["ignored_warnings", "once_property"]

_Filter = tuple[str, None, type[Warning], "re.Pattern[str] | None", int]


if TYPE_CHECKING:
    from functools import cached_property as once_property  # which has the same types
else:

    class once_property:
        """A property that is computed when it is first asked for, once also where several threads ask at the same time.

        `functools.cached_property` computes it once in each thread that asks (from Python 3.12 on), or lets all objects
        of a class wait for each other (before). Here only those who ask for the same value of the same object wait. The
        value stands in the object's `__dict__`, under the property's name.
        """

        def __init__(self, compute: Callable[[Any], Any]) -> None:
            self._compute, self._name, self.__doc__ = compute, compute.__name__, compute.__doc__
            self._locks: WeakKeyDictionary[object, RLock] = WeakKeyDictionary()
            self._guard = Lock()

        def __get__(self, instance: Any, owner: type[object]) -> Any:
            if instance is None:
                return self
            with self._guard:
                lock = self._locks.setdefault(instance, RLock())
            with lock:
                if self._name not in instance.__dict__:
                    instance.__dict__[self._name] = self._compute(instance)
                return instance.__dict__[self._name]


_lock = Lock()
_users: Counter[_Filter] = Counter()
_lists: dict[_Filter, list[Any]] = {}


@contextmanager
def ignored_warnings(module: str = "") -> Iterator[None]:
    """Ignores warnings from modules whose names match this regular expression ("": all) in all threads; others stay.

    Filters belong to the process. `warnings.catch_warnings` puts back the list that it found: of two threads that leave
    in the order in which they came, the second leaves the filters of the first behind, for good. Here the first to come
    adds one filter, and the last to go takes that one away, whatever else was done to the list meanwhile.
    """
    entry: _Filter = ("ignore", None, Warning, re.compile(module) if module else None, 0)
    with _lock:
        if not _users[entry]:
            _lists[entry] = current = _filters()
            current.insert(0, entry)
        _users[entry] += 1
    try:
        yield
    finally:
        with _lock:
            _users[entry] -= 1
            if not _users[entry]:
                del _users[entry]
                # A `catch_warnings` elsewhere may have copied the list since, or put back the one from before.
                for filter_list in {id(filters): filters for filters in (_lists.pop(entry), _filters())}.values():
                    if entry in filter_list:
                        filter_list.remove(entry)


def _filters() -> list[Any]:
    """The list itself, which typing calls a sequence."""
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    return filters
