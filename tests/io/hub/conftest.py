"""A small Hub on this machine, and programs that use it through the real huggingface_hub.

The client reads its settings when it is imported, so what uses it runs in a process of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import hyperstyle

TOKEN = "hf_good"
RESOLVE = """
import json, sys
from hyperstyle import hub
from hyperstyle.errors import HyperStyleError

said = []
for name, revision, *local in json.loads(sys.argv[1]):
    try:
        said.append(str(hub.resolve(name, revision=revision, local_files_only=bool(local))))
    except HyperStyleError as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""


@dataclass
class Repo:
    """Commits, each with all of its files, and branches that point at them."""

    access: str = "public"  # or "private", "gated"
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str = "") -> str:
        content = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        sha = hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()
        self.commits[sha], self.branches[branch] = content, sha
        self.messages.append(message)
        return sha


class LocalHub:
    """What is stored, and which requests came."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}  # by "org/name", spaces by "spaces/org/name"
        self.large: dict[str, bytes] = {}  # by sha256
        self.requests: list[str] = []
        self.sent: dict[str, list[int]] = {}  # name of a file -> bytes of each answer with content
        self.cut: dict[str, int] = {}  # name of a file -> after how many bytes the connection breaks, once
        self.url = ""

    def add(self, name: str, files: dict[str, bytes], access: str = "public") -> Repo:
        repo = self.repos[name] = Repo(access)
        repo.commit("main", files)
        return repo

    def downloads(self) -> list[str]:
        """The files that were sent so far."""
        return [
            line.partition("/resolve/")[2] for line in self.requests if line.startswith("GET ") and "/resolve/" in line
        ]


class Handler(BaseHTTPRequestHandler):
    """The part of the Hub's interface that downloading and uploading need."""

    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer_to_reading()

    def do_GET(self) -> None:
        self.answer_to_reading()

    def send(self, status: int, body: bytes | dict[str, Any] | list[Any] = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.send(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    @property
    def words(self) -> list[str]:
        self.hub.requests.append(f"{self.command} {self.path}")
        return [unquote(word) for word in urlsplit(self.path).path.strip("/").split("/")]

    def repo(self, name: str) -> Repo | None:
        """The repository, or None where the answer has been given: a refusal."""
        repo, token = self.hub.repos.get(name), self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN):
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif repo is None:
            self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif repo.access == "private" and not token:
            self.refuse(401, "", "Invalid username or password.")
        elif repo.access == "gated" and "/resolve/" in self.path:
            self.refuse(403, "GatedRepo", "Access to this model is restricted")
        else:
            return repo
        return None

    def answer_to_reading(self) -> None:
        match self.words:
            case ["api", "models", org, name]:
                self.describe(f"{org}/{name}", "main")
            case ["api", "models", org, name, "revision", revision]:
                self.describe(f"{org}/{name}", revision)
            case ["api", "models", org, name, "tree", revision]:
                if snapshot := self.files(f"{org}/{name}", revision):
                    rows = [{"type": "file", "path": p, "size": len(c), "oid": sha1(c)} for p, c in snapshot[1].items()]
                    self.send(200, rows)
            case ["github", org, name, revision, *path]:
                self.raw_file(f"github/{org}/{name}", revision, "/".join(path))
            case ["spaces", org, name, "resolve", revision, *path]:
                self.file(f"spaces/{org}/{name}", revision, "/".join(path))
            case [org, name, "resolve", revision, *path]:
                self.file(f"{org}/{name}", revision, "/".join(path))
            case _:
                self.refuse(404, "", f"no such page: {self.path}")

    def files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if (repo := self.repo(name)) is None:
            return None
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit, repo.commits[commit]

    def describe(self, name: str, revision: str) -> None:
        if snapshot := self.files(name, revision):
            self.send(200, {"id": name, "sha": snapshot[0], "siblings": [{"rfilename": p} for p in snapshot[1]]})

    def file(self, name: str, revision: str, path: str) -> None:
        if snapshot := self.files(name, revision):
            commit, files = snapshot
            if path in files:
                self.send_part(files[path], ETag=f'"{sha1(files[path])}"', X_Repo_Commit=commit)
            else:
                self.refuse(404, "EntryNotFound", "Entry not found")

    def raw_file(self, name: str, revision: str, path: str) -> None:
        """As raw.githubusercontent.com: the content alone."""
        repo = self.hub.repos.get(name)
        files = {} if repo is None else repo.commits.get(repo.branches.get(revision, revision), {})
        self.send(200, files[path]) if path in files else self.send(404, b"404: Not Found")

    def send_part(self, content: bytes, **headers: str) -> None:
        """A file from the byte on that the client asks for. Of a file in `hub.cut` only a part is sent, once."""
        name = self.path.rpartition("/")[2]
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if first:
            headers["Content_Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        end = self.hub.cut.pop(name, None) if self.command == "GET" else None
        if self.command == "GET":
            self.hub.sent.setdefault(name, []).append((len(content) if end is None else end) - first)
        if end is None:
            self.send(206 if first else 200, content[first:], Accept_Ranges="bytes", **headers)
            return
        self.send_response(200)
        for key, value in {**headers, "Content_Length": str(len(content))}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content[:end])
        self.close_connection = True

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.large[self.words[1]] = body
        self.send(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        words = self.words
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and words[:2] != ["api", "validate-yaml"]:
            self.refuse(401, "", "Invalid username or password.")
            return
        match words:
            case ["api", "validate-yaml"]:
                self.send(200, {"errors": [], "warnings": []})
            case ["api", "repos", "create"]:
                self.create(json.loads(body))
            case ["api", "models", org, name, "branch", branch]:
                if repo := self.repo(f"{org}/{name}"):
                    known = branch in repo.branches
                    repo.branches.setdefault(branch, repo.branches["main"])
                    self.send(409 if known else 200)
            case ["api", "models", org, name, "preupload", _]:
                modes = ("regular", "lfs")
                rows = [f["path"] for f in json.loads(body)["files"]]
                self.send(
                    200,
                    {
                        "files": [
                            {"path": p, "uploadMode": modes[p.endswith("safetensors")], "shouldIgnore": False}
                            for p in rows
                        ]
                    },
                )
            case [org, name, "info", "lfs", "objects", "batch"]:
                objects = [
                    {**o, "actions": {"upload": {"href": f"{self.hub.url}/large/{o['oid']}"}}}
                    for o in json.loads(body)["objects"]
                ]
                self.send(200, {"objects": objects})
            case ["api", "models", org, name, "commit", branch]:
                self.commit(f"{org}/{name}", branch, [json.loads(line) for line in body.splitlines()])
            case _:
                self.refuse(404, "", f"no such page: {self.path}")

    def create(self, fields: dict[str, Any]) -> None:
        name = f"{fields['organization']}/{fields['name']}"
        if fields["organization"] == "strangers":
            self.refuse(403, "", "You don't have the rights to create a model under this namespace")
        elif name in self.hub.repos:
            self.send(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        else:
            private = fields.get("visibility") == "private" or fields.get("private")
            self.hub.add(name, {".gitattributes": b""}, "private" if private else "public")
            self.send(200, {"url": f"{self.hub.url}/{name}"})

    def commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> None:
        files, message = {}, ""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        if repo := self.repo(name):
            sha = repo.commit(branch, files, message)
            self.send(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture(scope="module")
def local_hub() -> Iterator[LocalHub]:
    """A Hub that listens on this machine while the tests of a module run. It knows one token, `hf_good`."""
    hub = LocalHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ThisHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


class Client:
    """Runs programs whose huggingface_hub speaks to the local Hub, with a cache of their own."""

    def __init__(self, hub: LocalHub, home: Path) -> None:
        self.home = home
        # Nothing of the login, the cache or the settings of whoever runs the tests.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        self.environment = inherited | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home),
            "HYPERSTYLE_HOME": str(home / "hyperstyle"),
            "HYPERSTYLE_GITHUB_ENDPOINT": f"{hub.url}/github",
            "HF_HUB_DISABLE_XET": "1",  # large files by plain requests
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(Path(hyperstyle.__file__).parents[1]),
            "PYTHONUTF8": "1",
        }

    def run(self, program: str, *args: str, **environment: str) -> Any:
        """What the program printed as its last line, read as JSON."""
        result = subprocess.run(
            [sys.executable, "-c", program, *args],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=self.environment | environment,
            timeout=600,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    def resolve(self, asked: list[list[Any]], **environment: str) -> list[str]:
        """For each [name, revision] or [name, revision, "local"]: the folder, or the class and text of the error."""
        said: list[str] = self.run(RESOLVE, json.dumps(asked), **environment)
        return said


@pytest.fixture(scope="module")
def new_client(local_hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Client]:
    """Makes clients of `local_hub`, each with an empty cache."""
    return lambda: Client(local_hub, tmp_path_factory.mktemp("hf_home"))


@pytest.fixture(scope="module")
def client(new_client: Callable[[], Client]) -> Client:
    """Runs programs against `local_hub`; the tests of a module share its cache."""
    return new_client()
