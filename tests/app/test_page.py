"""The page as programs see it, served on this machine: endpoints, sessions, limits and safety. Needs Gradio."""

from __future__ import annotations

import json
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperstyle.app.server import ServerOptions, launch
from hyperstyle.app.sessions import Session
from hyperstyle.errors import ConfigError
from hyperstyle.images import example_photo
from hyperstyle.inverter import HyperStyleInverter

pytest.importorskip("gradio", reason='needs Gradio: pip install "hyperstyle-inversion[app]"')

pytestmark = [
    # Gradio and what it stands on warn of each other.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass(frozen=True)
class Served:
    address: str
    folder: Path


@pytest.fixture(scope="module")
def served(bundled: HyperStyleInverter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("uploads")
    options = ServerOptions(upload_mb=5, megapixels=8, sessions=4)
    blocks, address = launch(bundled, options, folder)
    yield Served(address, folder)
    blocks.close(verbose=False)


@pytest.fixture
def client(served: Served, tmp_path: Path) -> Any:
    from gradio_client import Client

    return Client(served.address, verbose=False, download_files=str(tmp_path))


def image_of(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def test_the_endpoints_are_those_of_the_documentation(client: Any, checkout: Path) -> None:
    names = set(client.view_api(return_format="dict")["named_endpoints"])
    assert names == {"/invert", "/edit", "/paste_back"}
    text = (checkout / "docs" / "app.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in names)


def test_a_program_inverts_edits_and_pastes_back(client: Any, session: Session, portrait: Path) -> None:
    from gradio_client import handle_file

    image, report = client.predict(handle_file(str(portrait)), None, "", None, api_name="/invert")
    assert image_of(image).tobytes() == session.inversion.image.tobytes()
    assert report["faces"] == 1
    assert report["metrics"]["l2"] < 0.02
    assert report["edits"]["age"] == [-2, 2]
    expected = session.inversion.edit("age", 2)
    edited = client.predict({"age": 2}, api_name="/edit")
    assert image_of(edited).tobytes() == expected.image.tobytes()
    photo = client.predict({"age": 2}, api_name="/paste_back")
    assert image_of(photo).tobytes() == expected.paste_back().tobytes()


def test_clients_do_not_see_each_other(served: Served, client: Any, portrait: Path, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    other = Client(served.address, verbose=False, download_files=str(tmp_path))
    client.predict(handle_file(str(portrait)), None, "w-encoder", None, api_name="/invert")
    with pytest.raises(AppError, match="no photo here"):
        other.predict({"age": 2}, api_name="/edit")
    example_photo(1).save(tmp_path / "bob.png")
    second, _ = other.predict(handle_file(str(tmp_path / "bob.png")), None, "w-encoder", None, api_name="/invert")
    first = client.predict({}, api_name="/edit")
    difference = np.abs(np.asarray(image_of(first), float) - np.asarray(image_of(second), float)).mean()
    assert difference > 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image", r"The file 'me.png' is not an image"),
        ((4000, 3000), "4000 x 3000 pixels, 12 megapixels; this page takes up to 8"),
        ((300, 200), "No face was found"),
    ],
)
def test_what_is_no_portrait_is_refused_in_plain_words(
    content: Any, message: str, client: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    path = tmp_path / "me.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.new("L", content, 90).save(path)
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(str(path)), None, "", None, api_name="/invert")
    assert "Traceback" not in capfd.readouterr().err


def test_an_unknown_edit_is_refused_with_the_names(client: Any, portrait: Path) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    client.predict(handle_file(str(portrait)), None, "w-encoder", None, api_name="/invert")
    with pytest.raises(AppError, match="Did you mean 'age'"):
        client.predict({"aeg": 1}, api_name="/edit")
    for wrong in ([1], {"age": "x"}):
        with pytest.raises(AppError, match="expected names and numbers"):
            client.predict(wrong, api_name="/edit")


def call(served: Served, name: str, data: list[Any]) -> str:
    """The events that a call gives, as text, without the checks of gradio_client."""
    request = urllib.request.Request(
        f"{served.address}gradio_api/call/{name}",
        json.dumps({"data": data}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        event = json.load(reply)["event_id"]
    with urllib.request.urlopen(f"{served.address}gradio_api/call/{name}/{event}") as reply:
        return str(reply.read().decode())


def file_data(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_no_file_of_this_machine_can_be_read(served: Served, portrait: Path) -> None:
    for path in (str(portrait), "/etc/passwd", str(Path(__file__).resolve()), f"{served.folder}/../secret"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{served.address}gradio_api/file={urllib.parse.quote(path)}")
        assert refused.value.code in (403, 404)
        for data in (file_data(path), {"path": path}):
            events = call(served, "invert", [data, None, "", None])
            assert "event: error" in events
            assert "event: complete" not in events


def test_no_address_is_fetched(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **named: Any) -> Any:
        asked.append(host)
        return look_up(host, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for data in (file_data("http://example.com/me.png"), {**file_data("x"), "url": "http://example.com/me.png"}):
        assert "event: error" in call(served, "invert", [data, None, "", None])
    assert {str(host) for host in asked} <= {"127.0.0.1", "localhost"}


def test_a_file_above_the_limit_is_not_taken(served: Served) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(6_000_000)
    request = urllib.request.Request(
        f"{served.address}gradio_api/upload",
        body + b"\r\n--x--\r\n",
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 413
    assert [path for path in served.folder.rglob("*") if path.is_file() and path.stat().st_size > 5_000_000] == []


def test_starting_asks_no_other_machine(run_python: Callable[..., CompletedProcess[str]]) -> None:
    """Every host that is looked up or connected to from the import of Gradio on, until the page was fetched."""
    code = """
import socket, sys, tempfile, threading, time, urllib.request
from pathlib import Path

asked = set()
def audit(event, args):
    if event == "socket.getaddrinfo": asked.add(str(args[0]))
    elif event == "socket.connect" and isinstance(args[1], tuple): asked.add(str(args[1][0]))
sys.addaudithook(audit)
from hyperstyle import HyperStyleInverter
from hyperstyle.app.server import ServerOptions, launch
with tempfile.TemporaryDirectory() as folder:
    blocks, address = launch(HyperStyleInverter(device="cpu"), ServerOptions(), Path(folder))
    page = urllib.request.urlopen(address).read().decode()
    time.sleep(2)  # what is reported is reported by threads
    blocks.close(verbose=False)
print("asked:", *sorted(asked))
print("fonts:", "fonts.googleapis" in page, "cdn" in page.lower())
"""
    result = run_python("-W", "ignore", "-c", code)
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(": ") for line in result.stdout.splitlines() if ": " in line)
    assert set(lines["asked"].split()) <= {"127.0.0.1", "localhost"}
    assert lines["fonts"] == "False False"


def test_a_port_in_use_is_one_clear_error(served: Served, bundled: HyperStyleInverter, tmp_path: Path) -> None:
    port = urllib.parse.urlparse(served.address).port
    with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be used"):
        launch(bundled, ServerOptions(port=port), tmp_path)


def test_building_the_page_writes_nothing_into_the_package(checkout: Path, served: Served) -> None:
    assert list((checkout / "hyperstyle" / "app").glob("*.pyi")) == []
    assert "gradio" in sys.modules
