"""Random hostile input, bounded in time: `pytest -m fuzz`. HYPERSTYLE_FUZZ_SECONDS sets how long (100).

Every case runs in a forked process. Whatever comes in, there is no traceback, crash, hang, started program, network,
half-written output, or more than 2 GiB of memory; see `harness.faults`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("forked processes are measured by /proc", allow_module_level=True)

from hostile import campaign, corpus, harness
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.fuzz

SECONDS = float(os.environ.get("HYPERSTYLE_FUZZ_SECONDS", "100"))
ROUND = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> campaign.World:
    """A tiny model, a photo and an inversion; everything imported, so that forked processes need not."""
    campaign.import_everything()
    return campaign.make_world(tmp_path_factory.mktemp("world"))


def fuzz(strategy: st.SearchStrategy[Any], test: Callable[[Any, Path], None], *, share: float) -> None:
    """Calls a test with values of a strategy, and an empty folder each, in rounds until its share of time is over."""
    end = time.monotonic() + SECONDS * share

    def one(value: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "work").mkdir()
            test(value, Path(folder) / "work")

    for number in itertools.count():
        if time.monotonic() > end:
            break
        seed(number)(ROUND(given(strategy)(one)))()


def check(outcome: harness.Outcome, *, is_command: bool = True) -> None:
    """Fails with what the outcome has that none may have."""
    wrong = harness.faults(outcome, is_command=is_command)
    assert not wrong, f"{wrong}\n{outcome.err[-2000:]}"


def call(function: Callable[[], object], folder: Path) -> None:
    """Calls a function of the library, which may raise a HyperStyleError and nothing else."""
    from hyperstyle.errors import HyperStyleError

    def run() -> int:
        try:
            function()
        except HyperStyleError:
            return 2
        return 0

    check(harness.run(run, folder), is_command=False)


# ---- bytes ----

damages = st.tuples(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=10),
    st.floats(0.05, 1),  # the part that is left
)


def damaged(content: bytes, damage: tuple[list[tuple[float, int]], float]) -> bytes:
    """The content with some of its bytes replaced, half of these in its first 200, and cut off."""
    changes, part = damage
    result = bytearray(content)
    for number, (place, value) in enumerate(changes):
        result[int(place * (len(result) if number % 2 else min(200, len(result))))] = value
    return bytes(result[: max(1, int(len(result) * part))])


IMAGES = {
    kind: corpus.image_bytes(kind, (24, 24), "P" if kind == "GIF" else "RGB")
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "TGA", "SGI", "PCX", "ICO", "DDS")
}


def test_damaged_images_are_read_or_refused(world: campaign.World) -> None:
    from hyperstyle.images import load_image

    def test(value: tuple[str, Any], folder: Path) -> None:
        (folder / "image").write_bytes(damaged(IMAGES[value[0]], value[1]))
        call(lambda: load_image(folder / "image"), folder)

    fuzz(st.tuples(st.sampled_from(sorted(IMAGES)), damages), test, share=0.15)


CHECKPOINTS = {name: corpus.content(make) for name, make in corpus.torch_files().items() if "bomb" not in name}
CHECKPOINTS = {name: content for name, content in CHECKPOINTS.items() if len(content) < 100_000}


def test_damaged_checkpoints_are_read_or_refused(world: campaign.World) -> None:
    from hyperstyle.io.pickle_reader import load_pickle
    from hyperstyle.io.torch_files import load_content

    def test(value: tuple[str, Any], folder: Path) -> None:
        (folder / "file.pt").write_bytes(damaged(CHECKPOINTS[value[0]], value[1]))
        call(lambda: (load_pickle if "pickle" in value[0] else load_content)(folder / "file.pt"), folder)

    fuzz(st.tuples(st.sampled_from(sorted(CHECKPOINTS)), damages), test, share=0.2)


def test_damaged_inversions_are_read_or_refused(world: campaign.World) -> None:
    content = Path(world.inversion).read_bytes()

    def test(damage: Any, folder: Path) -> None:
        (folder / "a.safetensors").write_bytes(damaged(content, damage))
        check(harness.run_command(["export", "a.safetensors", "--out", "x.pt", "--model", str(world.model)], folder))

    fuzz(damages, test, share=0.1)


# ---- values ----

numbers = st.one_of(
    st.integers(-3, 40), st.sampled_from([2**31, 2**62, 10**12, 10**30, -(2**40)]), st.floats(), st.floats(0, 1)
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=30), st.sampled_from(["0-1000000000000", "../x"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)


def _with_changes(content: Any, changes: list[tuple[float, Any]]) -> Any:
    for place, value in changes:
        paths = list(corpus.paths(content))
        if not paths:
            break
        path = paths[int(place * len(paths))]
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    return content


changes_of_json = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), values), min_size=1, max_size=3)


def test_model_folders_with_other_values_are_loaded_or_refused(world: campaign.World) -> None:
    from hyperstyle.inverter import HyperStyleInverter

    names = [str(path.relative_to(world.model)) for path in sorted(world.model.rglob("*.json"))]

    def test(value: tuple[str, list[tuple[float, Any]]], folder: Path) -> None:
        shutil.copytree(world.model, folder / "model", copy_function=os.link)
        settings_file = json.loads((world.model / "hyperstyle.json").read_text(encoding="utf-8"))
        texts = {"hyperstyle.json": settings_file | {"sha256": {}}}
        texts[value[0]] = _with_changes(json.loads((world.model / value[0]).read_text(encoding="utf-8")), value[1])
        for name, content in texts.items():
            (folder / "model" / name).unlink()
            (folder / "model" / name).write_text(json.dumps(content), encoding="utf-8")
        call(lambda: HyperStyleInverter.from_pretrained(folder / "model", device="cpu"), folder)

    fuzz(st.tuples(st.sampled_from(names), changes_of_json), test, share=0.15)


def test_inversions_with_other_values_are_loaded_or_refused(world: campaign.World) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    tensors = load_file(world.inversion)
    with safe_open(world.inversion, "pt") as file:
        record = {key: json.loads(text) for key, text in file.metadata().items() if text[:1] in "{["}
        others = {key: text for key, text in file.metadata().items() if key not in record}

    def test(value: tuple[str, list[tuple[float, Any]]], folder: Path) -> None:
        changed = json.loads(json.dumps(record))
        changed[value[0]] = _with_changes(changed[value[0]], value[1])
        texts = {key: json.dumps(content) for key, content in changed.items()} | others
        save_file(tensors, folder / "a.safetensors", texts)
        argv = ["edit", "a.safetensors", "--edit", "age=1", "--paste-back", "--photo", world.photo]
        check(harness.run_command([*argv, "--model", str(world.model)], folder))

    fuzz(st.tuples(st.sampled_from(sorted(record)), changes_of_json), test, share=0.1)


words = st.one_of(
    st.sampled_from(sorted(value for value in campaign.VALUES.values() if len(value) < 10_000)),
    st.text(max_size=20),
    st.sampled_from(["photo.png", "a.safetensors", "model", ".", "age=1", "age=0:1:3", "smile=-1"]),
)


def test_command_lines_are_done_or_refused(world: campaign.World) -> None:
    flags = campaign.flags()

    def test(value: tuple[str, list[tuple[float, str]], list[str]], folder: Path) -> None:
        command, chosen, positional = value
        shutil.copy(world.photo, folder / "photo.png")
        shutil.copy(world.inversion, folder / "a.safetensors")
        argv = command.split()
        for place, word in chosen:
            argv += [flags[command][int(place * len(flags[command]))], word]
        check(harness.run_command([*argv, *positional, "--model", str(world.model)], folder))

    lines = st.tuples(
        st.sampled_from(["align", "invert", "edit", "animate", "export", "import", "convert", "info", "edits"]),
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), words), max_size=4),
        st.lists(words, max_size=3),
    )
    fuzz(lines, test, share=0.15)


def test_a_sample_of_the_campaign_finds_nothing(world: campaign.World, tmp_path: Path) -> None:
    cases = campaign.shuffled(campaign.cases(world))
    end = time.monotonic() + SECONDS * 0.15
    found = {}
    for case in itertools.takewhile(lambda _: time.monotonic() < end, cases):
        _, wrong = campaign.run_case(case, tmp_path)
        if wrong:
            found[case.name] = wrong
    assert not found
