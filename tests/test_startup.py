"""What starting costs: which modules are loaded, since seconds differ from machine to machine."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image

from hyperstyle.cli import _ORDER
from hyperstyle.errors import WeightsError
from hyperstyle.inverter import HyperStyleInverter

Run = Callable[..., CompletedProcess[str]]

# Packages that are slow to load, and no start needs: each is imported where it is used.
LATER = (
    "av",
    "dlib",
    "gradio",
    "huggingface_hub",
    "lpips",
    "lz4",
    "matplotlib",
    "open_clip",
    "safetensors",
    "scipy",
    "sklearn",
    "torchvision",
)
WITH_PICTURES = ("PIL", "numpy", "torch", "tqdm")
NEVER_FOR_TEXTS = (*LATER, *WITH_PICTURES, "hyperstyle.inverter", "hyperstyle.images", "hyperstyle.networks")
REPORT = "print('loaded:', *[name for name in {names!r} if name in sys.modules and name not in before])"


def loaded(run: Run, code: str, names: tuple[str, ...]) -> list[str]:
    """Which of these modules the code loads, in a process of its own."""
    result = run("-c", f"import sys; before = set()\n{code}\n{REPORT.format(names=names)}")
    assert result.returncode == 0, result.stderr
    last = result.stdout.splitlines()[-1]
    assert last.startswith("loaded:")
    return last.split()[1:]


def test_what_is_looked_for_is_found_where_it_is_loaded(run_python: Run) -> None:
    assert loaded(run_python, "import numpy, PIL", WITH_PICTURES) == ["PIL", "numpy"]


def test_importing_the_package_loads_nothing_but_itself(run_python: Run) -> None:
    names = (*NEVER_FOR_TEXTS, "argparse", "asyncio", "importlib.metadata", "hyperstyle.errors")
    assert loaded(run_python, "import hyperstyle", names) == []


@pytest.mark.parametrize("argv", [["--version"], ["--help"], ["invert", "--help"], ["train", "--help"], ["invret"]])
def test_a_command_that_only_says_something_loads_no_networks_and_no_images(run_python: Run, argv: list[str]) -> None:
    code = f"from hyperstyle.cli import main\ntry:\n    main({argv!r})\nexcept SystemExit:\n    pass"
    assert loaded(run_python, code, NEVER_FOR_TEXTS) == []


def test_the_inverter_adds_nothing_slow_to_torch(run_python: Run) -> None:
    code = "import torch; before = set(sys.modules)\nfrom hyperstyle import HyperStyleInverter"
    names = (*LATER, "PIL", "torch._dynamo", "torch._inductor", "hyperstyle.training", "hyperstyle.evaluation")
    assert loaded(run_python, code, names) == ["PIL"]


def test_loading_a_model_does_not_load_what_only_some_methods_need(run_python: Run, tiny_model_dir: Path) -> None:
    code = (
        "from hyperstyle import HyperStyleInverter\n"
        f"HyperStyleInverter.from_pretrained({str(tiny_model_dir)!r}, device='cpu')"
    )
    names = (*(name for name in LATER if name != "safetensors"), "torch._dynamo", "torch._inductor")
    assert loaded(run_python, code, names) == []


def test_the_threads_that_hash_a_model_end_with_its_loading(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    (folder / "hypernetwork" / "model.safetensors").write_bytes(b"cut off")
    HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
    with pytest.raises(WeightsError, match="hypernetwork"):
        HyperStyleInverter.from_pretrained(folder, device="cpu")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("sha256")] == []


BAD_ARGUMENTS = (
    "align me.png --size 0",
    "align me.png --out .",
    "align me.png --landmarks gone.npy",
    "animate me.png",
    "animate me.png you.png --out x.png",
    "animate me.png you.png --rate 0",
    "animate me.png --edit nonsense=-1:1:3",
    "animate me.png --edit age=-1:1:3 --out file/x.webp",
    "app --port 0",
    "app --max-upload 0",
    "bench --json gone/x.json",
    "bench --size 100",
    "bench --batch 0",
    "bench --model gone",
    "bench --model avatars --size 256",
    "bench loading gone",
    "bench loading avatars --picture gone.png",
    "bench loading avatars --repeat 0",
    "bench scaling --model avatars --over size",
    "bulk gone new",
    "bulk edited file/new",
    "bulk edited new --shard-size 0",
    "bulk edited new --face all",
    "bulk edited new --engine slurm",
    "bulk edited new --engine slurm --shard-index 2 --shard-count 2",
    "bulk edited new --shard-index 0",
    "bulk edited new --address auto",
    "bulk edited new --model gone",
    "bulk file new",
    "bulk edited .",
    "bulk-status edited",
    "bulk-bench edited --count 0",
    "bulk-bench edited --json gone/x.json",
    "bulk-report gone",
    "bulk-report edited --json gone/x.json",
    "bulk-edit gone --edit age=2",
    "bulk-edit edited --edit nonsense=2",
    "bulk-edit edited --edit age=1:2:3",
    "convert gone.pt --out new",
    "convert file --out new --encoder gone.pt",
    "convert file --out new --domain nonsense",
    "convert file --out new --steps -1",
    "convert file --out edited",
    "convert file --out new --mtcnn gone",
    "convert file --out file/new",
    "demo --people 0",
    "demo --model gone",
    "drag me.png --move 1,2:3,4 --radius 0",
    "drag me.png --move 1,2:3,4 --mask nonsense",
    "drag me.png --move 1,2:3,4 --out me.png",
    "drag me.png --move 1,2:3,4 --out new.png --animate x.png",
    "drag . --move 1,2:3,4",
    "edit me.png",
    "edit me.png --edit age=2 --out me.xyz",
    "edit me.png --edit age=2 --out me.png",
    "edit gone.png --edit age=2",
    "edit me.png --edit age=2",
    "edit me.png you.png --edit age=2",
    "edit me.png --edit age=2 --align no --face 1",
    "edit me.png you.png --edit age=2 --out new.mp4",
    "edit me.png --edit nonsense=2 --out new.png",
    "edit me.png --edit age=2 --out new.png --method nonsense",
    "edit me.png --edit age=2 --out new.png --steps nonsense=2",
    "edit me.png --edit age=2 --out new.png --seed -1",
    "edit me.png --edit age=2 --out new.png --device nonsense",
    "edit me.png --edit age=2 --out new.png --model gone",
    "edit . --clip --edit age=2 --method pti",
    "edit . --clip --edit age=1:2:3",
    "edit . --clip --edit age=2 --face all",
    "edit . --clip --edit age=2 --smoothing -1",
    "edit . --clip --edit age=2 --out new.mp4 --rate 0",
    "edits add x --model avatars --name a",
    "edits --model M add x --name a",
    "evaluate reconstruction --count 0",
    "evaluate reconstruction --data gone",
    "evaluate reconstruction --methods nonsense:3",
    "evaluate reconstruction --methods all --curve 3",
    "evaluate editing --json gone/x.json",
    "evaluate editing --edits nonsense",
    "evaluate alignment --photos edited --mtcnn gone",
    "evaluate report gone --out new",
    "evaluate report avatars --out file/new",
    "evaluate report avatars --out new --shown 0",
    "evaluate report avatars --out new --edits nonsense",
    "evaluate report avatars --out new --ablation a=gone",
    "evaluate report avatars --out new --ablation ../a=avatars",
    "evaluate report avatars --out new --methods pti:many",
    "evaluate report avatars --out new --fid gone.pth",
    "evaluate celebahq gone --out new",
    "evaluate celebahq edited --out file/new",
    "evaluate celebahq edited --out new --identity file",
    "export me.safetensors --form official --out me.safetensors",
    "export gone.safetensors --out x.pt",
    "export me.safetensors --out x.png",
    "fetch nonsense",
    "fetch cars",
    "fetch faces --into gone",
    "fetch faces --keep --files",
    "fetch faces --convert",
    "fetch mtcnn --convert --out new",
    "fit interfacegan --out new --table gone.npz",
    "fit interfacegan --out new --scorer gone_module:f",
    "fit interfacegan --out new --split 2",
    "fit interfacegan --out new --plot x.png --pictures 0",
    "fit ganspace --out new --truncation nan",
    "fit sefa --out me.png/x",
    "fit sefa --out new --count 0",
    "fit styleclip --out new --samples 2 --images 3",
    "fit styleclip --out new --clip gone.pt",
    "import gone",
    "info --model gone",
    "info --model faces",
    "models remove gone",
    "invert me.png --batch 0",
    "invert me.png --out .",
    "invert me.png --model edited",
    "train encoder --data gone --generator avatars --out new",
    "train encoder --data edited --generator gone --out new",
    "train hyperstyle --data edited --encoder avatars --out file/new",
    "train hyperstyle --data edited --encoder avatars --out new --device nonsense",
)


def test_arguments_are_checked_before_torch_is_loaded(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "edited").mkdir()
    for name in ("me", "you"):
        for file in (f"{name}.png", f"{name}_edited.png", f"edited/{name}_edited.png"):
            Image.new("RGB", (32, 32)).save(tmp_path / file)
    for file in ("me.safetensors", "file"):
        (tmp_path / file).write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    code = "import sys; from hyperstyle.cli import main\n"
    code += f"for line in {BAD_ARGUMENTS!r}: print(line, '->', main(line.split()), 'torch' in sys.modules)"
    result = run_python("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"{line} -> 2 False" for line in BAD_ARGUMENTS]
    errors = result.stderr.splitlines()
    assert len(errors) == len(BAD_ARGUMENTS)
    assert [line for line in errors if "should not happen" in line] == []
    assert sorted(tmp_path.rglob("*")) == before
    assert {line.split()[0] for line in BAD_ARGUMENTS} == {
        command.__name__.split(".")[-1].strip("_").replace("_", "-") for command in _ORDER
    }
