"""Bounds of a pickle, checked by reading its opcodes before anything is built from them."""

from __future__ import annotations

import io
import pickletools
from typing import BinaryIO

__all__ = ["check_pickle"]

_DEEPEST_TUPLE = 50
_LARGE_INT = 1 << 64
_MOST_LARGE_INTS = 1000  # states of random generators have some
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_NESTING = frozenset(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"))
_MARK = -1


def check_pickle(file: BinaryIO) -> None:
    """Raises ValueError for the pickle that begins here if building it would take far more than its file has bytes.

    The position in the file stays. What is checked:

    - Objects are numbered to be named again, and the unpickler makes room for all up to the largest number at once.
    - The hash of a tuple is computed from those of its items by a recursive function in C, which a tuple nested deep
      enough crashes. Only tuples and frozen sets can be keys and hold others, so only their depth is followed.
    - Integers that leave the same remainder modulo 2**61 - 1 have the same hash, so that a dictionary of n of them
      takes n² steps. Only integers beyond 64 bits come in such numbers; other keys have random hashes.
    """
    start, size = file.tell(), file.seek(0, io.SEEK_END)
    file.seek(start)
    depths: list[int] = []  # of the tuples on the unpickler's stack; 0 for other objects
    memo: dict[int, int] = {}
    large = 0
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in _PUTS or name == "MEMOIZE":
            number = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if number > size:
                raise ValueError(f"an object with the number {number} in a file of {size} bytes")
            memo[number] = depths[-1] if depths else 0
            continue
        if name in _GETS:
            depths.append(memo.get(int(argument or 0), 0))
            continue
        if isinstance(argument, int) and abs(argument) > _LARGE_INT:
            large += 1
            if large > _MOST_LARGE_INTS:
                raise ValueError(f"more than {_MOST_LARGE_INTS:,} integers of more than 64 bits")
        items = _pop(depths, opcode)
        if name == "DUP" and items:
            depths += [items[0], items[0]]
            continue
        depth = 1 + max(items, default=0) if name in _NESTING else 0
        if depth > _DEEPEST_TUPLE:
            raise ValueError(f"tuples nested more than {_DEEPEST_TUPLE} deep")
        if pickletools.markobject in opcode.stack_after:
            depths.append(_MARK)
        else:
            depths += [depth] * len(opcode.stack_after)
    file.seek(start)


def _pop(depths: list[int], opcode: pickletools.OpcodeInfo) -> list[int]:
    """Takes what an opcode takes off the stack, and returns the depths of these objects."""
    takes = opcode.stack_before
    items: list[int] = []
    if pickletools.stackslice in takes:
        while depths and (item := depths.pop()) != _MARK:
            items.append(item)
        takes = takes[: takes.index(pickletools.markobject)]
    for _ in takes:
        if depths:
            items.append(depths.pop())
    return items
