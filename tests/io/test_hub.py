"""A name becomes a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperstyle.errors import ModelNotFoundError
from hyperstyle.io import hub


def test_a_folder_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.resolve(tmp_path) == tmp_path
    assert hub.resolve(str(tmp_path)) == tmp_path
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert hub.resolve("~/mine") == tmp_path / "mine"


def test_a_folder_named_like_a_repository_is_preferred_to_the_hub(in_tmp_path: Path) -> None:
    (in_tmp_path / "org" / "name").mkdir(parents=True)
    assert hub.resolve("org/name") == Path("org/name")


@pytest.mark.parametrize("name", ["avatar", "./nowhere", "/no/where", "~/nowhere", "a/b/c", ""])
def test_a_name_that_is_nothing_is_refused_without_asking_the_hub(name: str, in_tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="neither a folder nor a Hub repository"):
        hub.resolve(name)


def test_a_misspelt_bundled_name_gets_a_suggestion() -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean 'avatars'"):
        hub.resolve("avatar")


def test_a_bundled_model_that_is_not_installed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub.BUNDLED, "avatars", tmp_path / "gone")
    with pytest.raises(ModelNotFoundError, match="not part of this installation"):
        hub.resolve("avatars")


def test_offline_only_the_cache_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"'org/name' is not in the cache.*offline"):
        hub.resolve("org/name", cache_dir=tmp_path, local_files_only=True)


def test_the_environment_variable_that_means_offline_is_honored(tmp_path: Path, run_python: object) -> None:
    code = (
        "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n"
        "import socket\n"
        "def refuse(*args, **kwargs): raise SystemExit('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from hyperstyle import hub, errors\n"
        "try:\n"
        f"    hub.resolve('org/name', cache_dir={str(tmp_path)!r})\n"
        "except errors.ModelNotFoundError as error:\n"
        "    print(error)\n"
    )
    result = run_python("-c", code)  # type: ignore[operator]
    assert result.returncode == 0, result.stderr
    assert "HF_HUB_OFFLINE" in result.stdout


def test_a_name_that_the_hub_would_not_take_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="could not be fetched"):
        hub.resolve("org/na me!", cache_dir=tmp_path, local_files_only=True)


def test_what_is_in_the_cache_is_used(tmp_path: Path) -> None:
    commit = "0" * 40
    snapshot = tmp_path / "models--org--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "hyperstyle.json").write_text("{}", encoding="utf-8")
    refs = tmp_path / "models--org--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit, encoding="utf-8")
    assert hub.resolve("org/name", cache_dir=tmp_path, local_files_only=True) == snapshot


def test_the_folder_of_a_run_stands_for_the_model_in_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "hyperstyle.json").touch()
    assert hub.resolve(tmp_path) == tmp_path / "model"
    (tmp_path / "hyperstyle.json").touch()
    assert hub.resolve(tmp_path) == tmp_path
