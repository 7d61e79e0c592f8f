"""Finds the images of a shard whose reading ends the process, by reading each in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hyperstyle.bulk.child import Child, Lines, Send
from hyperstyle.bulk.items import Item, Reader
from hyperstyle.bulk.settings import JobSettings
from hyperstyle.errors import HyperStyleError
from hyperstyle.io.typed_config import config_from_dict, config_to_dict

_DEATHS = 2  # of processes, by the same image, before it counts: the first may have been ended from outside


def find_crashes(items: Sequence[Item], settings: JobSettings) -> dict[str, str]:
    """The images whose reading or aligning ends a process: id -> a sentence that says so.

    Nothing else about the images is decided, so the rows of all others stay as they are without it.

    Raises:
        HyperStyleError: the model cannot be loaded.
    """
    crashes: dict[str, str] = {}
    place = deaths = loads = 0
    while place < len(items):
        task = {"items": [list(item) for item in items[place:]], "settings": config_to_dict(settings)}
        child = Child("hyperstyle.bulk.probe:read_each", task)
        begun: int | None = None  # of those sent, the image that it reads
        try:
            while (answer := child.receive()) is not None:
                if "error" in answer:
                    raise HyperStyleError(answer["error"])
                begun = answer["begun"]
        finally:
            code = child.end()
        if begun is None:
            loads += 1
            if loads >= _DEATHS:
                raise HyperStyleError(
                    f"a process that only loads the model ends with exit code {code}: try that alone."
                )
            continue
        if place + begun == len(items):
            break
        if begun > 0:
            place, deaths = place + begun, 0
        deaths += 1
        if deaths < _DEATHS:
            continue
        why = f"signal {-code}" if code < 0 else f"exit code {code}"
        crashes[items[place].id] = (
            f"reading this image ended the process ({why}), also in one of its own. Convert it, or remove it."
        )
        place, deaths = place + 1, 0
    return crashes


def read_each(task: Any, lines: Lines, send: Send) -> None:
    """In the child: reads and aligns one image after the other, and says which one begins."""
    from hyperstyle.bulk.shard import prepare_item

    items = [Item(*values) for values in task["items"]]
    settings = config_from_dict(JobSettings, task["settings"], "the settings")
    inverter, reader = settings.load_inverter("cpu"), Reader()
    for number, item in enumerate(items):
        lines.check()
        send({"begun": number})
        with suppress(HyperStyleError):  # the row of the shard says it
            prepare_item(item, inverter, settings, reader)
    send({"begun": len(items)})
