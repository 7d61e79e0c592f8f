"""Published files come from the Hub whole and with their sha256, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hyperstyle.errors import HubError
from hyperstyle.io.opening import read_json
from hyperstyle.io.published import COLLECTIONS, fetch
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

GOOD = bytes(range(256)) * 40
WRONG = GOOD[::-1]
PAGE = b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>"

# Each case: [name, folder or None, accept]; what is said is the path or the error, and what then lies where.
FETCH = """
import json, sys
from pathlib import Path
from hyperstyle.errors import HubError
from hyperstyle.io.published import PublishedFile, fetch

size, sha256, cases = json.loads(sys.argv[1])
said = []
for name, out, accept in cases:
    file = PublishedFile(
        f"{name}.pt", size, sha256, "MIT", "org/files", f"sub/{name}.pt", by_author=name != "mirrored",
        page="https://author.example", kind="space" if name == "spaced" else "model",
    )
    try:
        said.append(str(fetch(file, out=out, accept_third_party=accept)))
    except HubError as error:
        said.append(str(error))
print(json.dumps(said))
"""

COMMAND = """
import contextlib, io, json, sys
import argparse
import hyperstyle.io.published as f
from hyperstyle.cli import fetch as command
from hyperstyle.errors import HyperStyleError

size, sha256, repo, path = json.loads(sys.argv[1])

def file(name, by_author=True):
    return f.PublishedFile(name, size, sha256, "Free as air.", repo, path, by_author, "https://author.example")

f.COLLECTIONS.clear()
f.COLLECTIONS |= {
    "toys": f.Collection("Toys.", (file("toy.pt"), file("toy_encoder.pt")), "toy_encoder.pt", "avatars"),
    "mirrored": f.Collection("Mirrored toys.", (file("toy.pt", False),), domain="avatars"),
    "measure": f.Collection("A measure.", (file("measure.pt"),)),
}
parser = argparse.ArgumentParser()
command.add_parser(parser.add_subparsers())
said = []
for words in json.loads(sys.argv[2]):
    args = parser.parse_args(["fetch", *words])
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        try:
            args.run(args)
        except HyperStyleError as error:
            print(f"{type(error).__name__}: {error}")
    said.append(shown.getvalue())
print(json.dumps(said))
"""


def facts(*cases: list[Any]) -> str:
    return json.dumps([len(GOOD), hashlib.sha256(GOOD).hexdigest(), cases])


@pytest.fixture(scope="module")
def files(local_hub: Any) -> Any:
    """The Hub, with a file that is in order and others that are not."""
    contents = {"good": GOOD, "mirrored": GOOD, "wrong": WRONG, "page": PAGE, "short": GOOD[:1000]}
    local_hub.add("org/files", {f"sub/{name}.pt": content for name, content in contents.items()})
    local_hub.add("spaces/org/files", {"sub/spaced.pt": GOOD})
    return local_hub


BAD = {
    "wrong": f"wrong.pt: org/files on the Hub gave a file with sha256 {hashlib.sha256(WRONG).hexdigest()}, expected",
    "page": f"page.pt: org/files on the Hub gave a web page ({len(PAGE)} bytes) and not the file. It was removed.",
    "short": "short.pt: org/files on the Hub gave 1,000 bytes, expected 10,240: another file, or a part of it.",
    "absent": "absent.pt could not be fetched: 'org/files' has no file of that name, or has it no longer.",
}


@pytest.fixture(scope="module")
def fetched(new_client: Callable[[], Any], files: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was fetched into an empty cache and an empty folder, with the requests for it."""
    client, out, before = new_client(), tmp_path_factory.mktemp("out"), len(files.requests)
    cases: list[list[Any]] = [["good", None, False], ["good", str(out), False], ["good", str(out), False]]
    cases += [["spaced", None, False], ["mirrored", None, False], ["mirrored", None, True]]
    cases += [[name, place, False] for name in BAD for place in (None, str(out))]
    said = client.run(FETCH, facts(*cases))
    requests = files.requests[before:]
    cached, out_first, out_again, spaced, refused, accepted, *bad = said
    return {
        "client": client, "out": out, "cached": cached, "out_first": out_first, "out_again": out_again,
        "spaced": spaced, "refused": refused, "accepted": accepted, "requests": requests,
        "bad": {name: bad[2 * i : 2 * i + 2] for i, name in enumerate(BAD)},
    }  # fmt: skip


def test_a_file_with_the_right_hash_is_handed_over_from_the_cache_or_in_a_folder(fetched: dict[str, Any]) -> None:
    for place in ("cached", "out_first", "spaced", "accepted"):
        assert Path(fetched[place]).read_bytes() == GOOD
    assert Path(fetched["out_first"]) == fetched["out"] / "good.pt"
    assert fetched["out_again"] == fetched["out_first"]


def test_what_is_there_is_not_fetched_again(fetched: dict[str, Any]) -> None:
    asked = [line.split()[0] for line in fetched["requests"] if line.endswith("sub/good.pt")]
    # For the cache; for the folder, which gets a copy of the cached file; for the file in the folder nothing at all.
    assert asked == ["HEAD", "GET", "HEAD"]
    assert not Path(fetched["out_first"]).is_symlink()


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_the_file_is_named_and_removed(name: str, fetched: dict[str, Any]) -> None:
    for said in fetched["bad"][name]:
        assert BAD[name] in said
        assert "by hand from https://author.example" in said
    assert list(fetched["client"].home.rglob(f"{name}.pt")) == []


def test_nothing_but_good_files_stays_in_folder_and_cache(fetched: dict[str, Any]) -> None:
    assert [path.name for path in fetched["out"].rglob("*")] == ["good.pt"]
    blobs = [path.read_bytes() for path in fetched["client"].home.rglob("blobs/*")]
    assert blobs
    assert set(blobs) == {GOOD}


def test_a_third_party_is_asked_only_after_its_acceptance(fetched: dict[str, Any]) -> None:
    said = fetched["refused"]
    assert "mirrored.pt is hosted by org (not its author)" in said
    assert "accept_third_party=True" in said
    assert "by hand from https://author.example" in said
    assert "`hyperstyle convert`" in said
    asked = [line for line in fetched["requests"] if line.endswith("mirrored.pt")]
    assert [line.split()[0] for line in asked] == ["HEAD"]  # of the accepted one; its content was in the cache


def test_offline_a_cached_file_is_used_and_another_one_is_an_error(fetched: dict[str, Any], files: Any) -> None:
    before = len(files.requests)
    cached, absent = fetched["client"].run(
        FETCH, facts(["good", None, False], ["wrong", None, False]), HF_HUB_OFFLINE="1"
    )
    assert len(files.requests) == before
    assert cached == fetched["cached"]
    assert "'org/files' is not in the cache" in absent
    assert "HF_HUB_OFFLINE" in absent


def test_the_command_shows_the_facts_then_the_files_then_the_next_command(
    client: Any, files: Any, tmp_path: Path
) -> None:
    digest = hashlib.sha256(GOOD).hexdigest()
    known = json.dumps([len(GOOD), digest, "org/files", "sub/good.pt"])
    asked = [["toys", "--out", str(tmp_path / "o ut")], ["mirrored", "--files"], ["measure"], ["tois"], ["--list"], []]
    asked += [["toys", "--convert"], ["measure", "--convert", "--out", "x"]]
    toys, mirrored, measure, wrong, listed, bare, nowhere, senseless = client.run(COMMAND, known, json.dumps(asked))
    for fact in ("toy.pt", "10,240 bytes", digest, "Free as air.", "org (its author), Hugging Face model org/files"):
        assert toys.index(fact) < toys.index("toy.pt is in order")
    folder = tmp_path / "o ut"
    assert toys.endswith(
        f"hyperstyle convert '{folder}/toy.pt' --encoder '{folder}/toy_encoder.pt' --domain avatars --out models/toys\n"
    )
    assert digest in mirrored
    assert "HubError: toy.pt is hosted by org (not its author)" in mirrored
    assert "measure.pt is in order" in measure
    assert "hyperstyle convert" not in measure
    assert "ConfigError: no published files are known as 'tois'. " in wrong
    assert "Did you mean 'toys'?" in wrong
    assert listed == bare
    assert [line for line in listed.splitlines() if not line.startswith(" ")] == [
        "toys: Toys.", "mirrored: Mirrored toys.", "measure: A measure.",
    ]  # fmt: skip
    assert nowhere == "ConfigError: --convert needs --out DIR, the model folder to make.\n"
    assert "ConfigError: 'measure' is no model" in senseless


def test_converting_at_once_makes_a_model_that_records_where_it_came_from(
    client: Any, files: Any, tmp_path: Path
) -> None:
    generator = Generator(GeneratorConfig(32, channels=(16, 16, 16, 8), latent_width=16, mapping_layers=2))
    torch.save({"g_ema": generator.state_dict(), "latent_avg": torch.zeros(16)}, tmp_path / "toy.pt")
    content = (tmp_path / "toy.pt").read_bytes()
    files.add("org/generators", {"toy.pt": content})
    out = tmp_path / "model"
    known = json.dumps([len(content), hashlib.sha256(content).hexdigest(), "org/generators", "toy.pt"])
    asked = [["mirrored", "--convert", "--out", str(out), "--accept-third-party"]]
    [done, refused] = client.run(COMMAND, known, json.dumps(asked * 2))
    assert done.endswith(f"The model is in {out}: hyperstyle info --model {out}\n")
    info = read_json(out / "hyperstyle.json")["info"]
    assert info["source_sha256"] == {"toy.pt": hashlib.sha256(content).hexdigest()}
    assert info["licence"] == "Free as air."
    assert info["origin"] == "toy.pt from org (not its author), Hugging Face model org/generators: toy.pt"
    assert "holds a model already" in refused
    assert "in order" not in refused


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def refused(self: Path, *args: Any, **kwargs: Any) -> None:
        if self.parent == tmp_path:
            raise PermissionError(13, "Permission denied")
        make(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refused)
    file = next(file for collection in COLLECTIONS.values() for file in collection.files)
    with pytest.raises(
        HubError, match=rf"^{file.name} cannot be .* the folder .*: Permission denied\. Choose a folder"
    ):
        fetch(file, out=tmp_path, accept_third_party=True)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_what_is_published_is_complete(name: str) -> None:
    collection = COLLECTIONS[name]
    assert collection.encoder in ["", *[file.name for file in collection.files[1:]]]
    assert set(collection.edits.values()) == {file.name for file in collection.edit_files}
    assert collection.files or collection.page
    for file in (*collection.files, *collection.edit_files):
        is_known = file.path not in (
            "pretrained_models/sfe_editor_light.pt",
            "pretrained_models/stylegan2-ffhq-config-f.pt",
        )
        assert len(file.sha256) == (64 if is_known else 0)
        assert int(file.sha256 or "1", 16) > 0
        assert file.path.endswith(file.name)
        assert file.licence.endswith(".")
        assert "licence" not in file.licence  # users read American English
        assert file.page.startswith("https://")


def test_the_page_about_the_hub_has_the_same_table(checkout: Path) -> None:
    page = (checkout / "docs" / "hub.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:5]] for line in page.splitlines() if line.startswith("|")]
    written = [row for row in rows if len(row[3]) == 64 or row[3] == "not known"]
    assert written == [
        [name, file.name, f"{file.size:,}" if file.size else "not known", file.sha256 or "not known"]
        for name, collection in COLLECTIONS.items()
        for file in (*collection.files, *collection.edit_files)
    ]


UNKNOWN = """
import json, logging, sys
from hyperstyle.errors import HubError
from hyperstyle.io import installed
from hyperstyle.io.published import PublishedFile, fetch

lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("hyperstyle").addHandler(handler)
file = PublishedFile("new.pt", 0, "", "MIT", "org/new", "new.pt", by_author=True, page="https://author.example")
before = file.expected_sha256
try:
    said = str(fetch(file, out=sys.argv[1]))
except HubError as error:
    said = str(error)
print(json.dumps([before, said, lines, file.expected_sha256, str(installed.home() / "hashes.json")]))
"""


def test_a_hash_that_is_not_known_is_shown_and_recorded_at_the_first_fetch(
    new_client: Callable[[], Any], local_hub: Any, tmp_path: Path
) -> None:
    client, digest = new_client(), hashlib.sha256(GOOD).hexdigest()
    local_hub.add("org/new", {"new.pt": GOOD})
    before, said, lines, after, record = client.run(UNKNOWN, str(tmp_path / "first"))
    assert (before, after) == ("", digest)
    assert Path(said).read_bytes() == GOOD
    message = f"new.pt: its sha256 was not known beforehand. It is {digest}, recorded in {record}"
    assert [line for line in lines if line.startswith(message)]
    assert read_json(Path(record)) == {"model:org/new@main:new.pt": digest}
    local_hub.add("org/new", {"new.pt": WRONG})  # another file under the same name: refused from now on
    before, said, lines, after, _ = client.run(UNKNOWN, str(tmp_path / "second"))
    assert (before, after, lines) == (digest, digest, [])
    assert f"expected {digest}: another file, or a damaged one. It was removed." in said
    assert not any((tmp_path / "second").iterdir())
    again = client.run(UNKNOWN, str(tmp_path / "first"))  # what is there already is checked by the recorded hash
    assert again[1] == str(tmp_path / "first" / "new.pt")


def test_stylefeatureeditor_is_a_model_of_four_kinds_of_files() -> None:
    sfe = COLLECTIONS["sfe"]
    assert [file.name for file in sfe.files] == [
        "sfe_editor_light.pt",
        "e4e_ffhq_encode.pt",
        "stylegan2-ffhq-config-f.pt",
    ]
    assert (sfe.files[0].size, sfe.encoder, sfe.generator) == (649_325_957, sfe.files[1].name, sfe.files[2].name)
    assert sfe.edits == COLLECTIONS["faces"].edits
    assert sfe.size_in_words == "more than 1.9 GB"
