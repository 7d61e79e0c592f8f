"""A model goes to the Hub and comes back the same; what the cache holds is not fetched again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from hyperstyle import HyperStyleInverter
from hyperstyle.errors import MissingFileError

PUSH = """
import json, sys
import torch
from hyperstyle import HyperStyleInverter
torch.set_num_threads(1)

local = HyperStyleInverter.from_pretrained(sys.argv[1], device="cpu")
said = {"url": local.push_to_hub("org/tiny", token="hf_good", private=True)}
m = local.model
three = HyperStyleInverter(
    m.generator, m.encoder, m.hypernetwork, domain=m.domain, edits=m.edits, steps=3, info=m.info
)
three.push_to_hub("org/tiny", token="hf_good", revision="three", commit_message="Three passes")
three.push_to_hub("org/tiny", token="hf_good", revision="three", commit_message="Three passes again")

crop = torch.rand(3, 32, 32) * 2 - 1
for name in (None, "three"):
    again = HyperStyleInverter.from_pretrained("org/tiny", revision=name, device="cpu")
    pair = [i.invert(crop, steps=2).edit("age", 1).image.tobytes() for i in (local, again)]
    said[str(name)] = {"steps": again.model.steps, "same": pair[0] == pair[1], "licence": again.describe()["licence"]}
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def pushed(client: Any, local_hub: Any, tiny_model_dir: Path) -> Any:
    """What the program above said; the Hub then holds what it pushed."""
    before = len(local_hub.downloads())  # by the tests of this module that came first
    said = client.run(PUSH, str(tiny_model_dir), HF_TOKEN="hf_good")
    said["downloads"] = local_hub.downloads()[before:]
    return said


def test_a_model_comes_back_from_the_hub_and_makes_the_same_image_bit_for_bit(pushed: Any, local_hub: Any) -> None:
    assert pushed["url"] == f"{local_hub.url}/org/tiny"
    assert pushed["None"] == {"steps": 2, "same": True, "licence": "MIT"}


def test_a_branch_holds_another_version_of_the_model(pushed: Any, local_hub: Any) -> None:
    assert pushed["three"] == {"steps": 3, "same": True, "licence": "MIT"}
    repo = local_hub.repos["org/tiny"]
    assert repo.branches["three"] != repo.branches["main"]


def test_a_push_is_one_commit_of_the_model_folder_and_its_card(
    pushed: Any, local_hub: Any, tiny_model_dir: Path
) -> None:
    repo = local_hub.repos["org/tiny"]
    assert repo.access == "private"
    assert repo.messages == ["", "Upload a HyperStyle model", "Three passes", "Three passes again"]
    files = repo.commits[repo.branches["main"]]
    written = {p.relative_to(tiny_model_dir).as_posix(): p.read_bytes() for p in tiny_model_dir.rglob("*.*")}
    assert files.keys() - written.keys() == {".gitattributes", "README.md"}
    assert {name: files[name] for name in written} == written


def test_the_card_that_is_pushed_has_the_hashes_of_the_files_that_are_pushed(pushed: Any, local_hub: Any) -> None:
    repo = local_hub.repos["org/tiny"]
    files = repo.commits[repo.branches["main"]]
    card = files["README.md"].decode()
    assert 'from_pretrained("org/tiny")' in card
    for part in ("generator", "encoder", "hypernetwork"):
        row = next(line for line in card.splitlines() if line.startswith(f"| {part} "))
        assert hashlib.sha256(files[f"{part}/model.safetensors"]).hexdigest() in row


def test_each_file_is_fetched_once_and_the_card_not_at_all(pushed: Any, local_hub: Any) -> None:
    repo = local_hub.repos["org/tiny"]
    fetched = [line.partition("/") for line in pushed["downloads"]]
    assert {commit for commit, _, _ in fetched} == {repo.branches["main"], repo.branches["three"]}
    expected = sorted(name for name in repo.commits[repo.branches["main"]] if name.endswith((".json", ".safetensors")))
    assert sorted(name for commit, _, name in fetched if commit == repo.branches["main"]) == expected
    # Of the other branch only what differs: a file is known by its content.
    assert [name for commit, _, name in fetched if commit == repo.branches["three"]] == ["hyperstyle.json"]


def test_the_aligner_of_a_model_is_fetched_with_it(local_hub: Any, client: Any) -> None:
    expected = ["aligner/detector.svm", "aligner/predictor.dat", "generator/model.safetensors", "hyperstyle.json"]
    local_hub.add("org/aligned", {name: name.encode() for name in (*expected, "training/notes.dat", "README.md")})
    [folder] = client.resolve([["org/aligned", None]])
    assert sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*.*")) == expected


def test_what_is_in_the_cache_is_not_fetched_again_by_branch_or_by_commit(
    pushed: Any, client: Any, local_hub: Any
) -> None:
    commit = local_hub.repos["org/tiny"].branches["three"]
    before = len(local_hub.downloads())
    ask = [["org/tiny", None], ["org/tiny", "three"], ["org/tiny", commit], ["org/tiny", None, "local"]]
    main, three, by_commit, local = client.resolve(ask, HF_TOKEN="hf_good")
    assert len(local_hub.downloads()) == before
    assert Path(three).name == commit
    assert (by_commit, local) == (three, main)
    assert (Path(main) / "hyperstyle.json").is_file()


def test_offline_the_cache_is_enough_and_nothing_is_asked(pushed: Any, client: Any, local_hub: Any) -> None:
    before = len(local_hub.requests)
    ask = [["org/tiny", None], ["org/tiny", "three"], ["org/tiny", "four"], ["org/other", None]]
    main, three, four, other = client.resolve(ask, HF_HUB_OFFLINE="1")
    assert len(local_hub.requests) == before
    assert {Path(main).name, Path(three).name} == set(local_hub.repos["org/tiny"].branches.values())
    for said, name in ((four, "org/tiny"), (other, "org/other")):
        assert said.startswith("ModelNotFoundError: ")
        assert f"'{name}' is not in the cache, or not all of it" in said
        assert "HF_HUB_OFFLINE" in said


def test_half_of_a_model_in_the_cache_is_no_model_offline(pushed: Any, client: Any, tmp_path: Path) -> None:
    [main] = client.resolve([["org/tiny", None]], HF_TOKEN="hf_good", HF_HOME=str(tmp_path))
    (Path(main) / "generator" / "model.safetensors").unlink()
    [said] = client.resolve([["org/tiny", None]], HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    if said == main:  # older clients do not know which files a repository has
        with pytest.raises(MissingFileError) as raised:
            HyperStyleInverter.from_pretrained(main)
        said = str(raised.value)
        assert "generator" in said
    else:
        assert "'org/tiny' is not in the cache, or not all of it" in said
