"""Published edits by name, from `published.json`: GANSpace components, and channels of StyleSpace.

For each domain: which generator it is for and who published it, and its edits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperstyle.io.typed_config import config_from_dict

_FILE = Path(__file__).with_name("published.json")
_PUBLISHED = json.loads(_FILE.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class NamedComponent:
    """One named edit along a component.

    Attributes:
        component: which, from 0 on.
        rows: (first, end) rows that are moved, `end` not included.
        strength: the published one. It is absolute (see `GanspaceEdit`): the coordinate on the component, in standard
            deviations from the mean.
        reach: the range in use is -reach to reach.
        invert: see `GanspaceEdit`.
    """

    component: int
    rows: tuple[int, int]
    strength: float
    reach: float
    invert: bool = False


@dataclass(frozen=True)
class PublishedChannels:
    """Channels of the official generator of one domain (Wu et al., CVPR 2021, and later repositories).

    Attributes:
        about: who published them.
        size: side of its images in pixels.
        channels: name -> (layer, channel) each; layers in the official order, toRGB counted.
    """

    about: str
    size: int
    channels: Mapping[str, tuple[tuple[int, int], ...]]


GANSPACE: Mapping[str, Mapping[str, NamedComponent]] = {
    domain: {name: config_from_dict(NamedComponent, row, str(_FILE)) for name, row in listed["edits"].items()}
    for domain, listed in _PUBLISHED["ganspace"].items()
}
CHANNELS: Mapping[str, PublishedChannels] = {
    domain: PublishedChannels(
        listed["about"],
        listed["size"],
        {name: tuple((layer, channel) for layer, channel in pairs) for name, pairs in listed["channels"].items()},
    )
    for domain, listed in _PUBLISHED["stylespace"].items()
}


def ganspace_names(file: str) -> dict[str, NamedComponent]:
    """The named edits for a file of components: those of the domain that its name says, else of all domains."""
    domains = [domain for domain, listed in _PUBLISHED["ganspace"].items() if listed["file"] in file.lower()]
    return {name: entry for domain in domains or GANSPACE for name, entry in GANSPACE[domain].items()}
