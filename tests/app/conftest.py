"""The bundled model, a portrait that is opened and inverted, and the page, served on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import hyperstyle
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


_SERVE = """
import sys
asked = open(sys.argv[1], "a", buffering=1)
def audit(event, args):
    if event == "socket.getaddrinfo":
        print(args[0], file=asked)
    elif event == "socket.connect" and isinstance(args[1], tuple):
        print(args[1][0], file=asked)
sys.addaudithook(audit)
from hyperstyle.cli import main
sys.exit(main(["app", "--no-browser", "--device", "cpu", *sys.argv[2:]]))
"""


@dataclass(frozen=True)
class Served:
    """A page that `hyperstyle app` serves in a process of its own.

    Attributes:
        address: with the slash at its end.
        temporary: the folder of temporary files of the process.
        hosts: every host that it looked up or connected to, a line for each.
        process: which serves it.
    """

    address: str
    temporary: Path
    hosts: Path
    process: subprocess.Popen[str]


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Served]:
    """Serves the page until the body is done, with its files in `folder`."""
    pytest.importorskip("gradio", reason='needs Gradio: pip install "hyperstyle-inversion[app]"')
    hosts, temporary = folder / "hosts.txt", folder / "temporary"
    temporary.mkdir()
    environment = {
        **os.environ,
        "GRADIO_ALLOWED_PATHS": "/",
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(Path(hyperstyle.__file__).parents[1]),
    }
    command = [sys.executable, "-W", "ignore", "-c", _SERVE, str(hosts), *flags]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        try:
            yield Served(process.stdout.readline().split()[0], temporary, hosts, process)
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The page with the bundled model and small limits."""
    limits = ("--max-upload", "5", "--max-megapixels", "8", "--max-sessions", "4")
    with serving(tmp_path_factory.mktemp("served"), *limits) as page:
        yield page


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., AbstractContextManager[Served]]:
    """Serves another page with these flags, for as long as the body of a `with` runs."""
    return lambda *flags: serving(tmp_path, *flags)
