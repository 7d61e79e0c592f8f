"""`hyperstyle fetch NAME` from a local Hub to an edited photo, and everything that can go wrong on the way."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyperstyle.images import load_image
from hyperstyle.io.npy_objects import save_named_arrays
from hyperstyle.networks.perception.mtcnn import Mtcnn
from tests.convert.conftest import OfficialFiles

# Runs command lines one after the other with small published files in place of the real ones; prints for each its exit
# code, stdout and stderr.
COMMANDS = """
import contextlib, io, json, os, sys
from hyperstyle.cli import main
from hyperstyle.io import catalog
from hyperstyle.io.typed_config import config_from_dict

catalog.COLLECTIONS.clear()
for name, table in json.loads(open(sys.argv[1]).read()).items():
    catalog.COLLECTIONS[name] = config_from_dict(catalog.Collection, table, name)
said = []
for words in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = os.chdir(words[1]) or 0 if words[0] == "cd" else main(words)
    said.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""
REVISION = "a" * 40
FETCH = ["fetch", "faces", "--accept-third-party"]


def entry(name: str, content: bytes, **more: Any) -> dict[str, Any]:
    """A file of `published.toml`."""
    digest = hashlib.sha256(content).hexdigest()
    basics = {"name": name, "size": len(content), "sha256": digest, "licence": f"{name} is free.", "path": f"at/{name}"}
    return {**basics, "repo": "org/files", "by_author": True, "page": "https://author.example", **more}


LARGE, SMALL = ("hyperstyle.pt", "w.pt"), ("age.pt", "smile.pt", "pnet.npy", "rnet.npy", "onet.npy")


def write_small_files(folder: Path) -> None:
    """A HyperStyle for 32 px in the official layout, edits for it, and an MTCNN: the published one where it is."""
    torch.manual_seed(0)
    files = OfficialFiles(folder)
    files.hyperstyle("hyperstyle.pt")
    files.w_encoder("w.pt")
    for name in ("age.pt", "smile.pt"):
        torch.save(torch.nn.functional.normalize(torch.randn(1, 16)), folder / name)
    reference = os.environ.get("HYPERSTYLE_REFERENCE")
    for name, network in Mtcnn().named_children():
        path = folder / f"{name}.npy"
        if reference:
            path.write_bytes(Path(reference, "editing", "weights", "mtcnn", path.name).read_bytes())
        else:
            save_named_arrays(path, {key: tensor.numpy() for key, tensor in network.state_dict().items()})


class Shop:
    """What is published, the files of a folder: `LARGE` on the Hub, `SMALL` on GitHub."""

    def __init__(self, hub: Any, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.large = {name: (folder / name).read_bytes() for name in LARGE}
        self.small = {name: (folder / name).read_bytes() for name in SMALL}
        self.publish()

    def publish(self, **changed: bytes) -> None:
        """Puts the files on the Hub and on GitHub; `changed` has other contents for some, by their stems."""
        replaced = {name: changed.get(Path(name).stem, c) for name, c in {**self.large, **self.small}.items()}
        self.hub.add("org/files", {f"at/{name}": replaced[name] for name in self.large})
        repo = self.hub.add("github/org/files", {})
        repo.commits[REVISION] = {f"at/{name}": replaced[name] for name in self.small if replaced[name]}

    @property
    def table(self) -> Path:
        """The collections, as a file."""
        github = {"kind": "github", "revision": REVISION}
        faces = {
            "about": "Small faces.",
            "domain": "faces",
            "encoder": "w.pt",
            "aligner": "mtcnn",
            "edits": {"age": "age.pt", "smile": "smile.pt"},
            "files": [entry(name, content, by_author=False) for name, content in self.large.items()],
            "edit_files": [entry(name, self.small[name], **github) for name in ("age.pt", "smile.pt")],
        }
        weights = ("pnet.npy", "rnet.npy", "onet.npy")
        mtcnn = [entry(name, self.small[name], **{**github, "by_author": False}) for name in weights]
        path = self.folder / "collections.json"
        path.write_text(json.dumps({"faces": faces, "mtcnn": {"about": "MTCNN.", "files": mtcnn}}))
        return path


@pytest.fixture(scope="module")
def shop(local_hub: Any, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("published")
    write_small_files(folder)
    return Shop(local_hub, folder)


@pytest.fixture
def run(new_client: Callable[[], Any], shop: Shop) -> Callable[..., list[list[Any]]]:
    """Runs command lines on a machine with empty caches; `run.home` is HYPERSTYLE_HOME."""
    client = new_client()

    def commands(*lines: list[str], **environment: str) -> list[list[Any]]:
        said: list[list[Any]] = client.run(COMMANDS, str(shop.table), json.dumps(lines), **environment)
        return said

    commands.home = client.home / "hyperstyle"  # type: ignore[attr-defined]
    shop.publish()
    return commands


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A photo and the five points of its face."""
    from hyperstyle import example_photo

    folder = tmp_path_factory.mktemp("photo")
    example_photo(1).save(folder / "me.png")
    from hyperstyle import HyperStyleInverter

    [placement] = [source.placement for source in HyperStyleInverter().invert(folder / "me.png", steps=0).sources]
    assert placement is not None
    np.save(folder / "points.npy", placement.landmarks)
    return folder / "me.png", folder / "points.npy"


def test_fetch_installs_a_model_that_has_a_name_everywhere(
    run: Any, photo: tuple[Path, Path], tmp_path: Path, shop: Shop
) -> None:
    out = tmp_path / "older.png"
    edit = ["edit", str(photo[0]), "--landmarks", str(photo[1]), "--model", "faces", "--edit", "age=3"]
    edit += ["--paste-back", "--steps", "1", "--out", str(out), "--device", "cpu"]
    add = ["edits", "add", str(shop.folder / "smile.pt"), "--model", "faces", "--name", "grin"]
    before, first, again, listed, edited, added, info, removed, gone = run(
        edit, FETCH, FETCH, ["models"], edit, add, ["info", "--model", "faces", "--json"],
        ["models", "remove", "faces"], ["models", "remove", "faces"],
    )  # fmt: skip
    assert before[0] == 2
    assert "`hyperstyle fetch faces --accept-third-party`" in before[2]
    assert "MB, hosted by org/files on Hugging Face and org/files on GitHub)" in before[2]
    assert "hyperstyle.pt is free." in before[2]
    assert (first[0], again[0]) == (0, 0)
    assert "hyperstyle edit me.jpg --edit age=3 --paste-back --model faces" in first[1]
    assert "is installed already" in again[1]
    assert [line.split()[:2] for line in listed[1].splitlines()] == [["avatars", "bundled"], ["faces", "installed"]]
    assert edited[0] == 0, edited[2]
    assert load_image(out).size == load_image(photo[0]).size
    description = json.loads(info[1])
    assert added[0] == 0, added[2]
    assert set(description["edits"]) == {"age", "smile", "grin"}
    assert description["edits"]["age"]["high"] == 5
    assert "Mtcnn" in description["aligner"]
    assert removed[0] == 0
    assert gone[0] == 2
    assert "no model 'faces' is installed. None is." in gone[2]
    assert files_below(run.home) == []


@pytest.mark.reference
@pytest.mark.parametrize("size", ["small", pytest.param("full size", marks=pytest.mark.slow)])
def test_the_whole_way_from_a_selfie_with_the_aligner_that_came_with_the_model(
    size: str, reference_dir: Path, request: pytest.FixtureRequest, local_hub: Any, new_client: Any, tmp_path: Path
) -> None:
    if size == "small":
        shop = request.getfixturevalue("shop")
        shop.publish()
    else:  # seeded weights in files of the published size and layout, with the published edits
        write_small_files(tmp_path)
        maker = request.getfixturevalue("checkpoint_maker")
        maker.write("hyperstyle_1024", tmp_path / "hyperstyle.pt")
        maker.write("w_encoder_1024", tmp_path / "w.pt")
        for name in ("age.pt", "smile.pt"):
            published = reference_dir / "editing" / "directions" / "interfacegan" / name
            (tmp_path / name).write_bytes(published.read_bytes())
        shop = Shop(local_hub, tmp_path)
    selfie, out = reference_dir / "editing" / "photos" / "face_tilted.jpg", tmp_path / "older.png"
    edit = ["edit", str(selfie), "--model", "faces", "--edit", "age=3", "--paste-back", "--out", str(out)]
    commands = json.dumps([FETCH, [*edit, "--device", "cpu"]])
    fetched, edited = new_client().run(COMMANDS, str(shop.table), commands)
    assert fetched[0] == 0, fetched[2]
    assert edited[0] == 0, edited[2]
    before, after = (np.asarray(load_image(path)).astype(int) for path in (selfie, out))
    assert before.shape == after.shape
    changed = (np.abs(before - after) > 2).any(axis=2)
    assert 0.02 < changed.mean() < 0.9  # the face, not the photo


def test_the_downloads_are_removed_unless_they_are_to_be_kept(run: Any) -> None:
    assert run(FETCH)[0][0] == 0
    assert files_below(run.home / "downloads") == []
    run(["models", "remove", "faces"])
    assert run([*FETCH, "--keep"])[0][0] == 0
    kept = [name for name in files_below(run.home / "downloads/faces") if not name.startswith(".")]
    assert kept == ["age.pt", "hyperstyle.pt", "onet.npy", "pnet.npy", "rnet.npy", "smile.pt", "w.pt"]
    assert run(["models", "remove", "faces"])[0][0] == 0
    assert files_below(run.home) == []


def test_an_interrupted_fetch_goes_on_where_it_stopped(shop: Shop, new_client: Callable[[], Any]) -> None:
    client, size = new_client(), len(shop.large["hyperstyle.pt"])
    shop.publish()
    shop.hub.cut["hyperstyle.pt"] = size // 2
    shop.hub.sent.clear()
    # The client writes blocks of 10 MB, more than this file has.
    program = COMMANDS.replace(
        "said = []", "from huggingface_hub import constants\nconstants.DOWNLOAD_CHUNK_SIZE = 1 << 10\nsaid = []"
    )
    for _ in range(2):  # older clients give up where the connection breaks; newer ones go on at once
        [fetched] = client.run(program, str(shop.table), json.dumps([FETCH]))
    assert fetched[0] == 0, fetched[2]
    first, second = shop.hub.sent["hyperstyle.pt"]
    assert first == size // 2
    assert second <= size - size // 2 + (1 << 10)


def test_files_in_the_cache_of_the_hub_are_used_and_stay(run: Any, shop: Shop) -> None:
    files, installed = run(["fetch", "faces", "--files", "--accept-third-party"], FETCH)
    assert files[0] == 0
    assert "hyperstyle convert " in files[1]
    before = len(shop.hub.requests)
    assert installed[0] == 0, installed[2]
    assert not [line for line in shop.hub.requests[before:] if line.endswith("hyperstyle.pt")]
    assert list((run.home.parent / "hub").rglob("hyperstyle.pt"))


@pytest.mark.parametrize(
    ("changed", "environment", "flags", "problem"),
    [
        ({}, {}, [], "onet.npy by org/files on GitHub. Accept that with --accept-third-party; size and sha256"),
        ({}, {"HF_HUB_OFFLINE": "1"}, ["--accept-third-party"], "HF_HUB_OFFLINE is set"),
        ({"hyperstyle": b"wrong" * 99}, {}, ["--accept-third-party"], "org/files on the Hub gave 495 bytes, expected"),
        ({"age": b"<!DOCTYPE html><html>"}, {}, ["--accept-third-party"], "gave a web page"),
        ({"age": b""}, {}, ["--accept-third-party"], "was answered with status 404"),
        ({}, {"HYPERSTYLE_GITHUB_ENDPOINT": "http://127.0.0.1:9"}, ["--accept-third-party"], "cannot be reached"),
        ({}, {"HYPERSTYLE_GITHUB_ENDPOINT": "nonsense"}, ["--accept-third-party"], "HYPERSTYLE_GITHUB_ENDPOINT"),
    ],
    ids=["stranger", "offline", "another file", "web page", "gone", "no network", "no address"],
)
def test_what_goes_wrong_is_one_sentence_and_no_model_is_left(
    run: Any, shop: Shop, changed: dict[str, bytes], environment: dict[str, str], flags: list[str], problem: str
) -> None:
    shop.publish(**changed)
    failed, listed = run(["fetch", "faces", *flags], ["models"], **environment)
    assert failed[0] == 2
    errors = [line for line in failed[2].splitlines() if line.startswith("hyperstyle: error: ")]
    assert len(errors) == 1
    assert problem in errors[0]
    assert "installed" not in listed[1]
    assert files_below(run.home / "models") == []


def test_a_disk_that_is_full_while_the_model_is_written_leaves_no_model(
    run: Any, shop: Shop, new_client: Callable[[], Any]
) -> None:
    client = new_client()
    program = COMMANDS.replace(
        "said = []",
        "import errno, hyperstyle.io.components as c\n"
        "def full(*args, **kwargs): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "c.save_tensors = full\nsaid = []",
    )
    [failed] = client.run(program, str(shop.table), json.dumps([FETCH]))
    assert failed[0] == 2
    assert "No space left on device" in failed[2]
    assert files_below(client.home / "hyperstyle/models") == []
    before = len(shop.hub.requests)
    [fetched] = client.run(COMMANDS, str(shop.table), json.dumps([FETCH]))
    assert fetched[0] == 0, fetched[2]
    assert not [line for line in shop.hub.requests[before:] if line.startswith("GET")]  # all of it was there


def test_half_of_a_model_counts_as_none_and_is_fetched_again(run: Any) -> None:
    run(FETCH)
    (run.home / "models/faces/hyperstyle.json").unlink()
    info, fetched, again = run(["info", "--model", "faces"], FETCH, ["info", "--model", "faces"])
    assert info[0] == 2
    assert "`hyperstyle fetch faces --accept-third-party`" in info[2]
    assert (fetched[0], again[0]) == (0, 0)


def test_a_folder_that_hides_an_installed_model_is_said(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    make = ["fetch", "faces", "--accept-third-party", "--convert", "--out", str(folder)]
    fetched, made, by_path, _, by_name = run(
        FETCH, make, ["info", "--model", str(folder)], ["cd", str(tmp_path)], ["info", "--model", "faces"]
    )
    assert (fetched[0], made[0], by_path[0], by_name[0]) == (0, 0, 0, 0)
    assert "installed model" not in by_path[2]  # a path hides nothing
    assert f"the folder {folder} is used as the model 'faces', not the installed model of that name" in by_name[2]


def test_edits_and_aligner_can_be_added_to_a_model_that_was_converted_by_hand(
    run: Any, shop: Shop, tmp_path: Path
) -> None:
    out = str(tmp_path / "mine")
    convert = ["convert", str(shop.folder / "hyperstyle.pt"), "--encoder", str(shop.folder / "w.pt")]
    extend = ["fetch", "faces", "--accept-third-party", "--into", out]
    converted, extended, again, info = run(
        [*convert, "--domain", "faces", "--out", out], extend, extend, ["info", "--model", out, "--json"]
    )
    assert converted[0] == 0, converted[2]
    assert f"hyperstyle fetch faces --accept-third-party --into {out}" in converted[1]
    assert extended[0] == 0, extended[2]
    assert "age, smile, mtcnn" in extended[1]
    assert "has all of it already" in again[1]
    assert set(json.loads(info[1])["edits"]) == {"age", "smile"}
    assert files_below(run.home) == []


def test_two_processes_do_not_install_one_model_at_once(run: Any) -> None:
    from filelock import FileLock

    from hyperstyle.io.claims import _lock_file

    models = run.home / "models"
    models.mkdir(parents=True)
    with FileLock(_lock_file(models / ".faces.installing")):
        [busy] = run(FETCH)
    assert busy[0] == 2
    assert "another process is installing or removing the model 'faces'" in busy[2]
