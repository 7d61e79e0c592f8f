"""The files of the Space: what they install is what this is, and its app starts."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import hyperstyle


@pytest.fixture
def space(checkout: Path) -> Path:
    return checkout / "examples" / "space"


def test_it_installs_this_version_with_the_extra_of_the_page(space: Path, checkout: Path) -> None:
    version = re.search(r'^version = "(.+)"', (checkout / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version is not None
    wheel = f"./hyperstyle_inversion-{version[1]}-py3-none-any.whl[app]"
    assert wheel in (space / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_the_card_names_files_and_a_gradio_that_there_are(space: Path, checkout: Path) -> None:
    _, front, text = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = dict(re.findall(r"^(\w+): (.+)$", front, re.M))
    assert (space / card["app_file"]).is_file()
    assert card["sdk"] == "gradio"
    least = re.search(r'app = \["gradio>=([\d.]+)"', (checkout / "pyproject.toml").read_text(encoding="utf-8"))
    assert least is not None
    assert [int(n) for n in card["sdk_version"].split(".")] >= [int(n) for n in least[1].split(".")]
    assert "--wheel-dir examples/space" in text
    assert len(card["short_description"]) <= 60  # the Hub's limit


def test_the_container_copies_files_that_there_are(space: Path) -> None:
    copied = re.search(r"^COPY (.+) \./$", (space / "Dockerfile").read_text(encoding="utf-8"), re.M)
    assert copied is not None
    assert [name for name in copied[1].split() if "*" not in name and not (space / name).is_file()] == []


def test_its_app_starts_and_leaves_nothing_when_it_is_stopped(space: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason='needs Gradio: pip install "hyperstyle-inversion[app]"')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PORT": str(port),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(Path(hyperstyle.__file__).parents[1]),
    }
    process = subprocess.Popen([sys.executable, str(space / "app.py")], env=environment, cwd=space)
    try:
        for _ in range(240):
            assert process.poll() is None
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as reply:
                    page = reply.read().decode()
                break
            except urllib.error.URLError:
                time.sleep(0.5)
        assert "HyperStyle" in page
        assert '"run_history":true' not in page
        assert len(list(tmp_path.glob("hyperstyle-app-*"))) == 1
    finally:
        process.terminate()
        process.wait(30)
    assert list(tmp_path.glob("hyperstyle-app-*")) == []
