"""Images and a generator become a model, in runs that can be interrupted, watched and gone on with."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.errors import CheckpointError, ConfigError, ImageError, TrainingWarning
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.training import data
from hyperstyle.training.engine import make_task, train
from hyperstyle.training.images import TrainingImages
from hyperstyle.training.options import TrainOptions, resolve, to_dict

if TYPE_CHECKING:
    from training.conftest import Doubled, Job

# Everything with a state: two discriminators, pools of codes, a look-ahead, a moving average.
STATEFUL = {
    "encoder__kind": "e4e",
    "encoder__progressive_start": 2,
    "encoder__progressive_every": 1,
    "loss__latent_discriminator": 0.1,
    "loss__adversarial": 0.01,
    "loss__r1_every": 3,
    "optim__ema": 0.5,
}
_PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from hyperstyle.training import engine
from hyperstyle.training.engine import make_task, train
from hyperstyle.training.options import resolve
from hyperstyle.training.images import TrainingImages

options = resolve(sys.argv[1], [sys.argv[2]])
torch.set_num_threads(1)
task = make_task(options)
if sys.argv[4] == "float64":
    read = TrainingImages._image

    def wide(dataset, index):
        image = read(dataset, index)
        return None if image is None else image.double()

    TrainingImages._image = wide
    for network in (task.base.generator, task.encoder, *task.modules.values()):
        network.double()
place, _, number = sys.argv[3].partition(" ")
calls = 0

def killed_at(function):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == int(number):
            if place == "torch.save":
                args[1].write(b"PK half a checkpoint")
                args[1].flush()
            if place == "write_model":
                (args[1] / ".tmp-000000000000" / "generator").mkdir(parents=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return call

if place == "train_step":
    task.train_step = killed_at(task.train_step)
elif place == "torch.save":
    torch.save = killed_at(torch.save)
elif place == "write_model":
    engine.write_model = killed_at(engine.write_model)
train(task, options)
"""


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def trained(options: TrainOptions) -> Path:
    train(make_task(options), options)
    return Path(options.run.out)


def start_process(
    options: TrainOptions, *, kill: str = "", dtype: str = "float32", **environment: str
) -> subprocess.Popen[str]:
    """The same training in a process of its own; `kill` is "PLACE N", which it calls N times at most."""
    config = Path(options.run.out).with_suffix(f".{environment.get('RANK', '0')}.json")
    config.write_text(json.dumps(to_dict(options)))
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, options.task, str(config), kill, dtype],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_images_and_a_generator_become_a_model_that_inverts_and_edits(
    encoder_run: Path, job: Job, photos: Path, tmp_path: Path
) -> None:
    options = job("hyperstyle", tmp_path / "hs", hyperstyle__encoder=str(encoder_run), hyperstyle__passes=2)
    folder = train(make_task(options), options)
    assert folder == tmp_path / "hs" / "model"
    inverter = HyperStyleInverter.from_pretrained(folder, device="cpu")
    inversion = inverter.invert(photos / "00.png", align=False)
    assert inverter.model.steps == 2
    assert inversion.offset_codes is not None
    assert inversion.image.size == (32, 32)
    assert inversion.interpolate(inverter.invert(photos / "02.png", align=False), 3).tensor.shape == (3, 3, 32, 32)


def test_images_that_are_taken_as_crops_with_no_face_seen_in_them_are_listed(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "aligner_of", lambda model: lambda photo: [])  # sees nothing
    options = job("encoder", tmp_path / "run", data__align="auto", optim__steps=6)
    with pytest.warns(TrainingWarning, match="is square and taken as an aligned crop, since no face was found in it"):
        train(make_task(options), options)
    unaligned, unreadable = (
        set(json.loads((tmp_path / "run" / f"{name}.json").read_text())) for name in ("unaligned", "unreadable")
    )
    assert unaligned == {f"{i:02d}.png" for i in range(0, 24, 2)}  # the square ones
    assert unreadable == {"broken.png", *(f"{i:02d}.png" for i in range(1, 24, 2))}


def test_an_encoder_learns(encoder_run: Path) -> None:
    losses = [row["loss"] for row in rows(encoder_run)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_a_run_leaves_options_log_checkpoints_images_and_a_model(job: Job, tmp_path: Path) -> None:
    often = {"run__save_every": 2, "run__sample_every": 3, "run__evaluate_every": 3, "run__keep": 2}
    options = job("encoder", tmp_path / "run", optim__steps=7, **often)
    folder = trained(options)
    assert files(folder) == {
        "config.json",
        "log.jsonl",
        "unreadable.json",
        "checkpoint-00000006.pt",
        "checkpoint-00000007.pt",
        *(f"samples/{step:08d}.png" for step in (3, 6, 7)),
        "model/hyperstyle.json",
        *(f"model/{part}/{file}" for part in ("generator", "encoder") for file in ("config.json", "model.safetensors")),
    }
    assert options.encoder is not None
    expected = replace(options, encoder=replace(options.encoder, domain="plates"), loss=replace(options.loss, moco=0.0))
    assert resolve("encoder", [folder / "config.json"]) == expected
    log = rows(folder)
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["step"] for row in log if "test_l2" in row] == [3, 6, 7]
    assert list(json.loads((folder / "unreadable.json").read_text())) == ["broken.png"]
    with Image.open(folder / "samples" / "00000007.png") as page:
        assert page.width > 2 * 128
    record = json.loads((folder / "model" / "hyperstyle.json").read_text())["info"]
    assert record["training"] == {"task": "encoder", "steps": 7, "pictures": Path(options.data.train).name}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are rounded as in a process with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "place", ["torch.save", *(pytest.param(place, marks=pytest.mark.slow) for place in ("train_step", "write_model"))]
)
def test_a_run_that_was_killed_goes_on_to_the_same_losses_and_the_same_model(
    job: Job, tmp_path: Path, place: str
) -> None:
    complete = job("encoder", tmp_path / "whole", optim__steps=10, run__save_every=3, run__evaluate_every=5, **STATEFUL)
    broken = replace(complete, run=replace(complete.run, out=str(tmp_path / "broken")))
    # Which step is chance; of checkpoints and models it is the second, the first is whole.
    process = start_process(broken, kill=f"{place} {random.Random().randrange(4, 10) if place == 'train_step' else 2}")
    trained(complete)
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL
    left = rows(Path(broken.run.out))
    assert 3 <= len(left) < 10
    trained(broken)

    def curve(folder: str) -> list[dict[str, float]]:
        return [{k: v for k, v in row.items() if k != "steps_per_second"} for row in rows(Path(folder))]

    assert curve(broken.run.out) == curve(complete.run.out)
    for part in ("generator", "e4e"):
        name = f"model/{part}/model.safetensors"
        assert (Path(broken.run.out) / name).read_bytes() == (Path(complete.run.out) / name).read_bytes()
    assert not [name for name in files(Path(broken.run.out)) if name.startswith((".tmp", ".old"))]


def test_two_processes_learn_what_one_learns_in_two_parts(
    job: Job, tmp_path: Path, encoder_run: Path, photos: Path, doubled: Doubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_dir = tmp_path / "images"
    image_dir.mkdir()
    for i in range(10):
        (image_dir / f"{i}.png").write_bytes((photos / f"{i:02d}.png").read_bytes())
        if i < 6:  # which process meets which one is chance
            (image_dir / f"broken{i}.png").write_bytes(b"not an image")
    flags: dict[str, Any] = {"loss__adversarial": 0.1, "loss__r1_every": 2, "optim__optimizer": "adam"}
    flags["data__train"] = str(image_dir)
    flags |= {
        "hyperstyle__encoder": str(encoder_run),
        "hyperstyle__passes": 2,
        "hyperstyle__layers": "b8.conv1,b32.conv0",
    }
    alone = job("hyperstyle", tmp_path / "alone", optim__accumulate=2, **flags)
    together = job("hyperstyle", tmp_path / "together", **flags)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    # In float64: Adam divides a gradient by its size, so that it makes steps of the rounding of those that are zero.
    processes = [
        start_process(together, dtype="float64", RANK=number, LOCAL_RANK=number, **place) for number in ("0", "1")
    ]
    read = TrainingImages._image
    monkeypatch.setattr(TrainingImages, "_image", lambda *image: None if (x := read(*image)) is None else x.double())
    train(doubled(make_task(alone)), alone)
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    for alone_row, together_row in zip(rows(Path(alone.run.out)), rows(Path(together.run.out)), strict=True):
        assert alone_row.keys() == together_row.keys()
        for name in alone_row.keys() - {"steps_per_second"}:  # averaged in float32, logged with seven digits
            assert alone_row[name] == pytest.approx(together_row[name], rel=2e-6, abs=2e-7), (name, alone_row["step"])
    for folder in (alone.run.out, together.run.out):  # every image has been asked for, the held-out ones too
        unreadable = json.loads((Path(folder) / "unreadable.json").read_text())
        assert list(unreadable) == [f"broken{i}.png" for i in range(6)]


@pytest.mark.slow
def test_the_command_trains_the_same_under_torchrun(job: Job, tmp_path: Path) -> None:
    flags = {"optim__steps": 2, "data__test_share": 0.0}  # Ranger's first steps are gradients: they enlarge no rounding
    together = job("encoder", tmp_path / "together", **flags)
    (tmp_path / "job.json").write_text(json.dumps(to_dict(together)))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "hyperstyle", "train", "encoder", "--config", str(tmp_path / "job.json")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "together" / "model") in done.stdout
    alone = trained(job("encoder", tmp_path / "alone", optim__accumulate=2, **flags))
    for name, close in (("loss", 1e-5), ("gradient_encoder", 1e-4)):
        curves = [[row[name] for row in rows(folder)] for folder in (alone, tmp_path / "together")]
        assert curves[0] == pytest.approx(curves[1], rel=close)


def test_a_batch_in_parts_has_the_gradient_of_the_whole(job: Job, tmp_path: Path) -> None:
    lengths = []
    for parts in (1, 4):
        options = job("encoder", tmp_path / str(parts), optim__accumulate=parts, optim__steps=1)
        lengths.append(rows(trained(options))[0])
    assert lengths[0]["gradient_encoder"] == pytest.approx(lengths[1]["gradient_encoder"], rel=1e-4)
    assert lengths[0]["loss"] == pytest.approx(lengths[1]["loss"], rel=1e-5)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint_and_model(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = job("encoder", tmp_path / "run", optim__steps=9, run__save_every=2)
    task = make_task(options)
    honest = task.objective.__class__.__call__  # type: ignore[attr-defined]
    calls = 0

    def breaking(self: Any, image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
        nonlocal calls
        calls += 1
        total, parts = honest(self, image, target)
        return (total * math.nan if calls == 6 else total), parts

    monkeypatch.setattr(task.objective.__class__, "__call__", breaking)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"stopped at step 6: loss is nan.*checkpoint-00000004.*lower learning rate"):
        train(task, options)
    folder = Path(options.run.out)
    state = torch.load(folder / "checkpoint-00000004.pt", weights_only=True)
    assert all(t.isfinite().all() for t in state["modules"]["encoder"].values())
    assert HyperStyleInverter.from_pretrained(folder / "model", device="cpu").model.info["training"]["steps"] == 4
    monkeypatch.undo()
    slower = replace(options, optim=replace(options.optim, rate=1e-4))
    assert [row["step"] for row in rows(trained(slower))] == list(range(1, 10))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files in the manner of Linux")
def test_a_full_disk_stops_with_an_error_of_ours_and_keeps_the_last_good_checkpoint(job: Job, tmp_path: Path) -> None:
    import resource

    options = job("encoder", tmp_path / "run", optim__steps=2)
    folder = trained(options)
    before = {name: (folder / name).read_bytes() for name in files(folder) if "model" in name or name.endswith(".pt")}
    longer = replace(options, optim=replace(options.optim, steps=4))
    task = make_task(longer)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # the log fits, a checkpoint does not
        with pytest.raises(CheckpointError, match=r"Cannot write .*checkpoint-00000004.*: File too large.*with room"):
            train(task, longer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert rows(trained(longer))[-1]["step"] == 4


def test_a_folder_of_another_run_is_refused(job: Job, tmp_path: Path) -> None:
    trained(job("encoder", tmp_path / "run", optim__steps=1))
    with pytest.raises(ConfigError, match=r"holds a run with loss.l2 1.0, and now it is 2.0"):
        trained(job("encoder", tmp_path / "run", optim__steps=2, loss__l2=2.0))


def test_a_run_goes_on_however_its_images_are_named(job: Job, tmp_path: Path, photos: Path) -> None:
    trained(job("encoder", tmp_path / "run", optim__steps=1))
    trained(job("encoder", tmp_path / "run", optim__steps=2, data__train=f"{photos}/"))
    assert rows(tmp_path / "run")[-1]["step"] == 2


def test_a_run_writes_what_stood_for_its_device_and_domain_and_goes_on_with_either(job: Job, tmp_path: Path) -> None:
    first = job("encoder", tmp_path / "run", optim__device="auto", optim__steps=1)
    task = make_task(first)
    train(task, first)
    config = tmp_path / "run" / "config.json"
    written = json.loads(config.read_text())
    assert (written["optim"]["device"], written["encoder"]["domain"]) == (str(task.base.device), "plates")
    trained(replace(first, optim=replace(first.optim, steps=2)))  # the same command
    trained(resolve("encoder", [config], {"optim.steps": 3}))
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3]


def test_a_discriminator_that_would_come_after_the_end_is_said_not_to_take_part(job: Job, tmp_path: Path) -> None:
    flags = {"loss__adversarial": 0.1, "optim__steps": 4}
    with pytest.warns(UserWarning, match="no discriminator takes part: it would from step 4 on"):
        make_task(job("encoder", tmp_path / "run", loss__adversarial_from=4, **flags))
    make_task(job("encoder", tmp_path / "run", loss__adversarial_from=3, **flags))


def test_images_that_cannot_be_read_are_said_before_the_first_step_and_listed(
    job: Job, tmp_path: Path, photos: Path
) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "drawing.svg").write_bytes(b"<svg/>")
    options = job("encoder", tmp_path / "run", data__train=str(tmp_path / "photos"), optim__steps=1)
    with pytest.warns(TrainingWarning, match=r"1 file.* left out\. The first, 'drawing\.svg', is an SVG file"):
        train(make_task(options), options)
    listed = json.loads((tmp_path / "run" / "unreadable.json").read_text(encoding="utf-8"))
    assert list(listed) == ["drawing.svg"]


def test_bad_input_is_refused_before_the_first_step(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty"):
        trained(job("encoder", tmp_path / "run", data__train=str(tmp_path / "empty")))
    with pytest.raises(ConfigError, match=r"32 px, and the configuration is for 64 px"):
        make_task(job("encoder", tmp_path / "run", data__size=64))
    monkeypatch.setattr("hyperstyle.training.engine.world", lambda: 3)
    with pytest.raises(ConfigError, match="batch of 4 images for 3 processes"):
        make_task(job("encoder", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
# PyTorch's compiler asks every tensor for its gradient; it hides its own warning, unless warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("task", ["encoder", "hyperstyle"])
def test_compiled_networks_learn_the_same(job: Job, tmp_path: Path, encoder_run: Path, task: str) -> None:
    from torch._dynamo.utils import counters

    flags: dict[str, Any] = {"optim__steps": 2}  # of Ranger, whose first steps are gradients
    if task == "hyperstyle":
        flags |= {"hyperstyle__encoder": str(encoder_run), "hyperstyle__passes": 2}
    plain = rows(trained(job(task, tmp_path / "plain", **flags)))
    counters.clear()
    compiled = rows(trained(job(task, tmp_path / "compiled", optim__compile=True, **flags)))
    assert counters["frames"]["ok"] >= 2  # it did compile
    assert [row["loss"] for row in compiled] == pytest.approx([row["loss"] for row in plain], rel=1e-4)
    assert compiled[-1]["test_l2"] == pytest.approx(plain[-1]["test_l2"], rel=1e-4)


@pytest.mark.parametrize("precision", [pytest.param("bfloat16", marks=pytest.mark.slow), "float16"])
def test_half_precision_trains(job: Job, tmp_path: Path, precision: str) -> None:
    options = job("encoder", tmp_path / precision, optim__precision=precision, optim__optimizer="adam", optim__steps=8)
    losses = [row["loss"] for row in rows(trained(options))]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_the_model_that_is_written_has_the_moving_average(job: Job, tmp_path: Path) -> None:
    options = job("encoder", tmp_path / "run", optim__ema=0.9, optim__optimizer="adam")
    folder = trained(options)
    state = torch.load(folder / "checkpoint-00000004.pt", weights_only=True)["modules"]
    written = HyperStyleInverter.from_pretrained(folder / "model", device="cpu").model.encoder
    assert written is not None
    weight = written.state_dict()["linear.weight"]
    assert torch.equal(weight, state["average"]["linear.weight"])
    assert not torch.allclose(weight, state["encoder"]["linear.weight"])
