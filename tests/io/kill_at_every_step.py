"""Run by test_killed_writers.py: writers in processes that are killed at every step that they take on the disk.

    python kill_at_every_step.py MODEL FOLDER

prints, for each writer, what a reader found afterwards: how often the old and how often the new content.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hyperstyle.domain import Domain
from hyperstyle.edits import DirectionEdit, EditInfo, load_folder, save_edit
from hyperstyle.errors import HyperStyleError
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.components import load_tensors
from hyperstyle.io.files import _sweep_once
from hyperstyle.io.torch_files import load_state
from hyperstyle.model.folder import read_model, write_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.training.loop import _save, newest_checkpoint

NEVER = 1 << 30
STEPS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}  # os.replace is a rename


def killed_at(step: int, write: Callable[[], Any]) -> bool:
    """Whether the process that writes was killed before it took this step; it may have fewer to take.

    Flushing to the disk counts, and is not done: what a process wrote outlives it.
    """
    child = os.fork()
    if child == 0:
        step_count = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal step_count
            if event in STEPS or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                step_count += 1
                if step_count > step:
                    os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = lambda descriptor: count("os.rename", ())  # type: ignore[assignment,misc]
        _sweep_once.cache_clear()  # as in a process of its own
        sys.addaudithook(count)
        try:
            write()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def run(
    folder: Path, before: Callable[[], Any], write: Callable[[], Any], read: Callable[[], str], every: int = 1
) -> dict[str, Any]:
    """Kills the writer at each of its steps in turn, or only some; afterwards it may run once more, to its end."""
    outcomes: Counter[str] = Counter()
    litter: set[str] = set()
    step, killed = 0, True
    while killed:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        before()
        killed = killed_at(step, write)
        try:
            outcomes[read()] += 1
        except HyperStyleError as error:
            outcomes[f"neither: {error}"] += 1
        if step % (5 * every) == 0:
            killed_at(NEVER, write)
            outcomes["new at last"] += read() == "new"
            litter |= {str(path.relative_to(folder)) for path in folder.rglob(".*") if path.name != ".git"}
        step += every
    return {"steps": step, "litter": sorted(litter), **outcomes}


def main(source: Path, root: Path) -> dict[str, Any]:
    """All writers."""
    os.fsync = lambda descriptor: None  # type: ignore[assignment,misc]
    cpu = torch.device("cpu")
    target = root / "m"
    inverter = HyperStyleInverter.from_pretrained(source, device="cpu")
    network = Generator(GeneratorConfig(16, channels=(4, 4, 4), latent_width=4, mapping_layers=1)).requires_grad_(False)
    small = Model(network, Domain("small", 16, (16, 16)), steps=2)
    write_model(small, root.with_name("old"))

    def model_before() -> None:
        shutil.copytree(root.with_name("old"), target)
        (target / ".git").mkdir()
        (target / "README.md").write_text("unrelated")

    def write(keep: bool) -> Callable[[], None]:
        def over_its_own_files() -> None:
            model = read_model(target, device=cpu, dtype=torch.float32)  # mapped, from what is replaced
            model.generator.latent_avg += 1  # so that old and new weights differ
            write_model(replace(model, steps=9), target, keep_others=keep)

        return over_its_own_files

    def read_mine(keep: bool) -> Callable[[], str]:
        def read() -> str:
            steps = read_model(target, device=cpu, dtype=torch.float32).steps
            stays = (target / "README.md").is_file() and (target / ".git").is_dir()
            return {2: "old", 9: "new"}[steps] if stays == (keep or steps == 2) else "others were lost, or stayed"

        return read

    def read_new() -> str:
        return "new" if (target / "hyperstyle.json").is_file() and read_mine(True) else "old"

    def edit(height: float) -> DirectionEdit:
        return DirectionEdit(torch.full((16,), height), EditInfo("up", high=height))

    def read_edit() -> str:
        read = load_folder(target)
        values = {float(tensor.max()) for tensor in read.parts()[0].values()} | {read.info.high}
        return {(2.0,): "old", (3.0,): "new"}.get(tuple(values), "neither")

    inversion = inverter.invert(torch.zeros(3, 32, 32), align=False)
    file = root / "me.safetensors"

    def read_inversion() -> str:
        load_tensors(file)
        return Inversion.load(file, inverter).method.removeprefix("method ")

    layer = torch.nn.Linear(3, 3)

    def checkpoint(step: int) -> Callable[[], None]:
        return lambda: _save(root, step, {"layer": layer}, {}, keep=1)

    def read_checkpoint() -> str:
        path = newest_checkpoint(root)
        return "neither" if path is None else {1: "old", 2: "new"}[load_state(path)["step"]]

    return {
        "save_pretrained": run(root, model_before, write(True), read_mine(True)),
        "convert": run(root, model_before, write(False), read_mine(False), every=2),
        "new": run(root, lambda: None, lambda: write_model(small, target), read_new, every=4),
        "edit": run(root, lambda: save_edit(edit(2.0), target), lambda: save_edit(edit(3.0), target), read_edit),
        "inversion": run(
            root,
            lambda: replace(inversion, method="method old").save(file),
            lambda: replace(inversion, method="method new").save(file),
            read_inversion,
        ),
        "checkpoint": run(root, checkpoint(1), checkpoint(2), read_checkpoint),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]) / "root")))
