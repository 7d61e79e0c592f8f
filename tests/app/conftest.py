"""The bundled model, a portrait opened and inverted, and the page served on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperstyle.app import actions
from hyperstyle.app.sessions import Session
from hyperstyle.images import example_photo
from hyperstyle.inverter import HyperStyleInverter


@pytest.fixture(scope="session")
def bundled() -> HyperStyleInverter:
    return HyperStyleInverter(device="cpu")


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example portrait as a file."""
    path = tmp_path_factory.mktemp("portrait") / "ann.png"
    example_photo(0).save(path)
    return path


@pytest.fixture(scope="session")
def opened(bundled: HyperStyleInverter, portrait: Path) -> Session:
    """A session with the portrait's faces, not inverted."""
    return actions.open_photo(bundled, str(portrait), "ann.png", actions.Limits())


@pytest.fixture(scope="session")
def session(bundled: HyperStyleInverter, opened: Session) -> Session:
    """A session with an inversion."""
    return actions.invert(bundled, opened)
