"""Work on several items together, and on each alone where that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hyperstyle.errors import HyperStyleError

Item = TypeVar("Item")


def together_or_alone(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], None],
    on_error: Callable[[Item, HyperStyleError], None],
) -> None:
    """Works on all items together; where this fails, on each alone, so that only the items at fault fail.

    Args:
        items: may be empty.
        work: may raise HyperStyleError, or be out of the memory of the GPU.
        on_error: is called for an item that fails alone with a HyperStyleError.

    Raises:
        torch.cuda.OutOfMemoryError: there is not enough memory for one item alone.
    """
    from torch.cuda import OutOfMemoryError

    groups = [items] if items else []
    while groups:  # not within `except`, where the error would hold the memory of what failed
        group = groups.pop()
        try:
            work(group)
        except (HyperStyleError, OutOfMemoryError) as error:
            if len(group) > 1:
                groups = [[item] for item in reversed(group)]
            elif isinstance(error, HyperStyleError):
                on_error(group[0], error)
            else:
                raise
