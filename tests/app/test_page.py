"""The page as programs see it, served on this machine: endpoints, sessions, limits and safety. Needs Gradio."""

from __future__ import annotations

import gc
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperstyle.app.sessions import Session
from hyperstyle.cli import main
from hyperstyle.images import example_photo

pytest.importorskip("gradio", reason='needs Gradio: pip install "hyperstyle-inversion[app]"')

pytestmark = [
    # Gradio and what it stands on warn of each other.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _clients_are_collected() -> Iterator[None]:
    """What Gradio's clients leave open says so when it is collected: here, where nobody minds."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture
def client(served: Any, tmp_path: Path) -> Any:
    from gradio_client import Client

    return Client(served.address, verbose=False, download_files=str(tmp_path))


def image_of(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def test_the_endpoints_are_those_of_the_documentation(client: Any, checkout: Path) -> None:
    names = set(client.view_api(return_format="dict")["named_endpoints"])
    assert names == {"/invert", "/edit", "/drag", "/paste_back"}
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
    smiling = client.predict({"smile": 2}, "mouth", api_name="/edit")
    assert image_of(smiling).tobytes() == session.inversion.edit("smile", 2, mask="mouth").image.tobytes()
    moves = [[[64, 96], [64, 90]]]
    dragged, report = client.predict(moves, "", 2, api_name="/drag")
    assert len(report["warnings"]) == 1
    assert image_of(dragged).tobytes() != session.inversion.image.tobytes()
    assert image_of(client.predict({}, api_name="/edit")).tobytes() == image_of(dragged).tobytes()


def test_clients_do_not_see_each_other(served: Any, client: Any, portrait: Path, tmp_path: Path) -> None:
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


def test_what_is_wrong_with_a_request_is_said(served: Any, client: Any, portrait: Path) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    client.predict(handle_file(str(portrait)), None, "w-encoder", None, api_name="/invert")
    with pytest.raises(AppError, match="Did you mean 'age'"):
        client.predict({"aeg": 1}, api_name="/edit")
    for wrong in ([1], {"age": "x"}):
        with pytest.raises(AppError, match="expected names and numbers"):
            client.predict(wrong, api_name="/edit")
    for steps in (1.5, "x", True, [2]):
        with pytest.raises(AppError, match="steps: expected a whole number"):
            client.predict([[[64, 96], [64, 90]]], "", steps, api_name="/drag")


def call(served: Any, name: str, data: list[Any]) -> str:
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


def test_no_file_of_this_machine_can_be_read(served: Any, portrait: Path) -> None:
    for path in (str(portrait), "/etc/passwd", str(Path(__file__).resolve()), f"{served.temporary}/../hosts.txt"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{served.address}gradio_api/file={urllib.parse.quote(path)}")
        assert refused.value.code in (403, 404)
        for data in (file_data(path), {"path": path}):
            events = call(served, "invert", [data, None, "", None])
            assert "event: error" in events
            assert "event: complete" not in events


def hosts(served: Any) -> set[str]:
    """Every host that the server looked up or connected to so far."""
    return set(served.hosts.read_text(encoding="utf-8").split())


def test_no_address_is_fetched(served: Any) -> None:
    for data in (file_data("http://example.com/me.png"), {**file_data("x"), "url": "http://example.com/me.png"}):
        assert "event: error" in call(served, "invert", [data, None, "", None])
    assert hosts(served) <= {"127.0.0.1", "localhost"}


def test_a_file_above_the_limit_is_not_taken(served: Any) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(6_000_000)
    request = urllib.request.Request(
        f"{served.address}gradio_api/upload",
        body + b"\r\n--x--\r\n",
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 413
    assert [path for path in served.temporary.rglob("*") if path.is_file() and path.stat().st_size > 5_000_000] == []


def test_a_password_is_asked_for_no_other_machine_and_nothing_is_left(
    serve: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with serve("--auth", "ann:secret") as served:
        page = urllib.request.urlopen(served.address).read().decode().lower()
        assert "fonts.googleapis" not in page
        assert "cdn." not in page
        for path in ("config", "gradio_api/info"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(served.address + path)
            assert refused.value.code == 401
        login = urllib.parse.urlencode({"username": "ann", "password": "wrong"}).encode()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{served.address}login", login)
        assert refused.value.code in (400, 401)
        assert len(list(served.temporary.glob("hyperstyle-app-*"))) == 1
        time.sleep(1)  # what is reported to others is reported by threads
    assert served.process.returncode == 143
    assert list(served.temporary.glob("hyperstyle-app-*")) == []
    assert hosts(served) <= {"127.0.0.1", "localhost"}
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_in_use_is_one_clear_line(served: Any, capfd: pytest.CaptureFixture[str]) -> None:
    port = urllib.parse.urlparse(served.address).port
    assert main(["app", "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 cannot be used: " in capfd.readouterr().err


def test_a_model_of_photos_has_no_rendered_portraits_to_click(
    run_python: Callable[..., CompletedProcess[str]], tiny_model_dir: Path, tmp_path: Path, checkout: Path
) -> None:
    code = f"""
import copy, dataclasses
from pathlib import Path
from hyperstyle.app import page
from hyperstyle.inverter import HyperStyleInverter
rendered = HyperStyleInverter.from_pretrained({str(tiny_model_dir)!r}, device="cpu")
photos = copy.copy(rendered)
domain = dataclasses.replace(rendered.model.domain, name="people", similarity="arcface")
photos._model = dataclasses.replace(rendered.model, domain=domain)
for inverter in (rendered, photos):
    blocks = page.build(inverter, Path({str(tmp_path)!r}))
    print("examples:", *[block.visible for block in blocks.blocks.values() if block.elem_id == "examples"])
"""
    result = run_python("-W", "ignore", "-c", code)
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stdout.splitlines() if "examples:" in line] == ["examples: True", "examples: False"]
    assert list((checkout / "hyperstyle" / "app").glob("*.pyi")) == []  # Gradio writes some for its subclasses


def test_it_is_served_at_an_address_of_ipv6(serve: Callable[..., Any]) -> None:
    with serve("--host", "::1") as page, urllib.request.urlopen(page.address, timeout=60) as answer:
        assert page.address.startswith("http://[::1]:")
        assert answer.status == 200
