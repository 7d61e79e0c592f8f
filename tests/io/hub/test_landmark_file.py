"""The published predictor comes from the cache, else from an installed package, else from the Hub; or it is missing."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.io.published import PREDICTOR

GOOD = bytes(range(256)) * 4
WRONG = GOOD[::-1]
DIGEST = hashlib.sha256(GOOD).hexdigest()

# Asks twice: what was found or the error, each time, and what was logged.
FIND = """
import dataclasses, json, logging, sys
from hyperstyle.errors import CheckpointError
from hyperstyle.io import published

size, digest = json.loads(sys.argv[1])
published.PREDICTOR = dataclasses.replace(published.PREDICTOR, size=size, sha256=digest)
logged = []
logging.getLogger("hyperstyle.align").addFilter(lambda record: logged.append(record.getMessage()))
said = []
for _ in range(2):
    try:
        said.append(str(published.find_predictor()))
    except CheckpointError as error:
        said.append(f"{type(error).__name__}: {error}")
assert "face_recognition_models" not in sys.modules
print(json.dumps([*said, logged]))
"""


@pytest.fixture
def find(client: Any, tmp_path: Path) -> Any:
    """Runs `find_predictor` twice with an empty cache (or the one given) and no variable set."""

    def find(home: Path = tmp_path / "home", **environment: str) -> tuple[str, str, list[str]]:
        known = json.dumps([len(GOOD), DIGEST])
        first, again, logged = client.run(FIND, known, HF_HOME=str(home), HYPERSTYLE_LANDMARKS="", **environment)
        return first, again, logged

    return find


def on_the_hub(local_hub: Any, content: bytes) -> None:
    local_hub.add(PREDICTOR.repo, {PREDICTOR.path: content})
    local_hub.requests.clear()


def installed(folder: Path, content: bytes, client: Any) -> dict[str, str]:
    """The environment of a program for which the package is installed; importing it would fail."""
    package = folder / "site" / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('it needs pkg_resources')")
    (package / "models" / PREDICTOR.name).write_bytes(content)
    return {"PYTHONPATH": f"{client.environment['PYTHONPATH']}{os.pathsep}{package.parent}"}


def test_it_is_fetched_from_the_hub_once_and_its_licence_is_shown(find: Any, local_hub: Any, tmp_path: Path) -> None:
    on_the_hub(local_hub, GOOD)
    first, again, logged = find()
    assert Path(first).read_bytes() == GOOD
    assert first == again
    assert Path(first).is_relative_to(tmp_path / "home")
    assert [line.split()[0] for line in local_hub.requests] == ["HEAD", "GET"]
    assert len(logged) == 1
    assert "excludes commercial use" in logged[0]

    local_hub.requests.clear()
    assert find()[0] == first
    assert find(HF_HUB_OFFLINE="1")[0] == first
    assert local_hub.requests == []


def test_an_installed_package_comes_before_the_hub_and_after_the_cache(
    find: Any, client: Any, local_hub: Any, tmp_path: Path
) -> None:
    on_the_hub(local_hub, GOOD)
    environment = installed(tmp_path, GOOD, client)
    first, _, logged = find(**environment)
    assert Path(first) == tmp_path / "site" / "face_recognition_models" / "models" / PREDICTOR.name
    assert local_hub.requests == []
    assert len(logged) == 1
    cached = find()[0]
    assert cached != first
    assert find(**environment)[0] == cached


def test_a_package_with_another_file_of_that_name_is_passed_over(
    find: Any, client: Any, local_hub: Any, tmp_path: Path
) -> None:
    on_the_hub(local_hub, GOOD)
    first, _, _ = find(**installed(tmp_path, WRONG, client))
    assert Path(first).read_bytes() == GOOD
    assert Path(first).is_relative_to(tmp_path / "home")


def test_offline_without_it_the_error_says_how_to_get_it(find: Any, local_hub: Any) -> None:
    on_the_hub(local_hub, GOOD)
    said, again, logged = find(HF_HUB_OFFLINE="1")
    assert said == again
    assert said.startswith("MissingFileError: No landmark predictor: ")
    for remedy in ("HF_HUB_OFFLINE", "set HYPERSTYLE_LANDMARKS to its path", "pip install face_recognition_models",
                   "align=False", PREDICTOR.page):  # fmt: skip
        assert remedy in said
    assert (logged, local_hub.requests) == ([], [])


def test_another_file_on_the_hub_is_named_and_removed(find: Any, local_hub: Any, tmp_path: Path) -> None:
    on_the_hub(local_hub, WRONG)
    said, _, logged = find()
    assert said.startswith("MissingFileError")
    assert hashlib.sha256(WRONG).hexdigest() in said
    assert DIGEST in said
    assert logged == []
    assert [
        path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.stat().st_size >= len(WRONG)
    ] == []


def test_a_repository_that_is_gone_is_an_error_with_the_same_remedies(find: Any, local_hub: Any) -> None:
    local_hub.repos.pop(PREDICTOR.repo, None)
    said, _, _ = find()
    assert "has no repository" in said
    assert "HYPERSTYLE_LANDMARKS" in said
