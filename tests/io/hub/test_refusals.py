"""Whatever the Hub refuses is said in a sentence that names the repository, the reason and what to do."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

UPLOAD = """
import json, sys
from pathlib import Path
from hyperstyle import hub
from hyperstyle.errors import HubError

said = []
for name, token in json.loads(sys.argv[2]):
    try:
        said.append(hub.upload(Path(sys.argv[1]), name, token=token))
    except HubError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def upload(client: Any, folder: Path, *asked: tuple[str, str | None], **environment: str) -> list[str]:
    (folder / "hyperstyle.json").write_text("{}", encoding="utf-8")
    said: list[str] = client.run(UPLOAD, str(folder), json.dumps(asked), **environment)
    return said


@pytest.fixture(scope="module")
def refused(client: Any, local_hub: Any) -> dict[str, str]:
    """name -> what was said when the model of that name was asked for, without a login."""
    local_hub.add("org/private", {"hyperstyle.json": b"{}"}, "private")
    local_hub.add("org/gated", {"hyperstyle.json": b"{}"}, "gated")
    local_hub.add("org/language", {"config.json": b"{}", "model.safetensors": b"\0" * 1000})
    local_hub.add("org/model", {"hyperstyle.json": b"{}"})
    asked = [["org/missing", None], ["org/private", None], ["org/gated", None], ["org/language", None]]
    asked += [["org/model", "v7"], ["org/model", "f" * 40], ["org/na me!", None]]
    return dict(zip(map(str, asked), client.resolve(asked), strict=True))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["org/missing", None], "{url} has no repository 'org/missing', or it is private. Check the name;"),
        (
            ["org/private", None],
            "for 'org/private' the Hub wants a login, or does not know the token that it was given",
        ),
        (["org/gated", None], "'org/gated' is gated: ask for access on {url}/org/gated, then log in with"),
        (["org/language", None], "repository 'org/language' holds no model of this library: it has no hyperstyle.json"),
        (["org/model", "v7"], "'org/model' has no branch, tag or commit 'v7'."),
        (["org/model", "f" * 40], "'org/model' has no branch, tag or commit '" + "f" * 40),
        (["org/na me!", None], "'org/na me!' is no name of a Hub repository: expected org/name"),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_refused_in_one_sentence(
    asked: list[str], sentence: str, refused: dict[str, str], local_hub: Any
) -> None:
    said = refused[str(asked)]
    assert said.startswith("ModelNotFoundError: ")
    assert sentence.format(url=local_hub.url) in said
    assert "\n" not in said


def test_nothing_large_is_fetched_from_a_repository_that_holds_no_model(
    refused: dict[str, str], local_hub: Any
) -> None:
    assert [path for path in local_hub.downloads() if path.endswith(".safetensors")] == []


def test_a_login_opens_what_is_private_and_a_wrong_token_opens_nothing(
    refused: dict[str, str], client: Any, tmp_path: Path
) -> None:
    [opened] = client.resolve([["org/private", None]], HF_TOKEN="hf_good", HF_HOME=str(tmp_path / "a"))
    assert (Path(opened) / "hyperstyle.json").is_file()
    [said] = client.resolve([["org/private", None]], HF_TOKEN="hf_bad", HF_HOME=str(tmp_path / "b"))
    assert "for 'org/private' the Hub wants a login, or does not know the token that it was given (401)" in said


def test_an_upload_that_the_hub_does_not_take_is_refused_in_one_sentence(
    client: Any, local_hub: Any, tmp_path: Path
) -> None:
    known = set(local_hub.repos)
    asked = [("org/new", None), ("org/new", "hf_bad"), ("strangers/new", "hf_good"), ("new", "hf_good")]
    none, wrong, stranger, short, malformed = upload(client, tmp_path, *asked, ("org/na me!", "hf_good"))
    assert none.startswith("model 'org/new' could not be uploaded to the Hub: for 'org/new' the Hub wants a")
    assert "hf auth login" in wrong
    assert "this login may not do that with 'strangers/new' (403)" in stranger
    assert short == "'new' is no name of a Hub repository: expected org/name, or user/name."
    assert "'org/na me!' is no name of a Hub repository: expected org/name" in malformed
    assert set(local_hub.repos) == known


def test_offline_nothing_is_uploaded_and_the_variable_is_named(client: Any, local_hub: Any, tmp_path: Path) -> None:
    before = len(local_hub.requests)
    [said] = upload(client, tmp_path, ("org/new", "hf_good"), HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set, so the Hub was not asked. Unset it." in said
    assert len(local_hub.requests) == before


def test_a_hub_that_cannot_be_reached_is_named(client: Any, tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound and not listening: whoever connects is refused
        bound.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}"
        [reading] = client.resolve([["org/model", None]], HF_ENDPOINT=nobody, HF_HOME=str(tmp_path / "home"))
        [writing] = upload(client, tmp_path, ("org/new", "hf_good"), HF_ENDPOINT=nobody)
    for said in (reading, writing):
        assert f"the Hub at {nobody} cannot be used (" in said
        assert "Check the connection" in said
