"""What every test gets: few threads, fixed seeds, and the things that not every machine has, or a skip."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import hyperstyle

if TYPE_CHECKING:
    from hyperstyle.inverter import HyperStyleInverter
    from hyperstyle.networks.stylegan2.generator import Generator

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: no test fetches the landmark predictor
os.environ["HYPERSTYLE_HOME"] = os.path.join(os.path.dirname(__file__), "no-such-folder")  # nor uses installed models
# One thread for each of the workers (pyproject.toml), and for the processes that tests start, unless set otherwise.
torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))


class RunPython(Protocol):
    """Runs this interpreter in a process of its own."""

    def __call__(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]: ...


Points = npt.NDArray[np.float64]


class Portrait(Protocol):
    """An example photo scaled to a size, and its landmarks [68,2] in pixel indices."""

    def __call__(self, number: int, size: tuple[int, int]) -> tuple[Image.Image, Points]: ...


class MovingPortrait(Protocol):
    """Frames of an example photo that moves, and the landmarks [68,2] of each."""

    def __call__(self, count: int, size: tuple[int, int]) -> list[tuple[Image.Image, Points]]: ...


def pytest_configure(config: pytest.Config) -> None:
    # The models of most tests have random weights: they reconstruct nothing, and inverting says so.
    config.addinivalue_line("filterwarnings", "ignore::hyperstyle.errors.QualityWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skipif(True, reason="no CUDA device here"))


if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup pytest` ignores it, and so would the processes of tests


@pytest.fixture(autouse=True)
def _no_mtcnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What models without an aligner of their own find must not depend on whether the package is installed."""
    monkeypatch.setattr("hyperstyle.networks.perception.mtcnn._PACKAGE", "no_such_package")


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder of the source tree, where pyproject.toml is."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """The folder with recordings of the original networks, for tests marked `reference`."""
    folder = os.environ.get("HYPERSTYLE_REFERENCE", "")
    if not folder:
        pytest.skip("HYPERSTYLE_REFERENCE is not set: it names the folder with recordings of the originals")
    if not Path(folder).is_dir():
        pytest.fail(f"HYPERSTYLE_REFERENCE names {folder!r}, which is not a folder")
    return Path(folder)


class CheckpointMaker:
    """Draws the seeded stand-ins of published files; their shapes and layouts are those of the real ones."""

    def __init__(self, reference: Path) -> None:
        self.reference = reference
        self._scripts: dict[str, ModuleType] = {}

    def script(self, family: str) -> Any:
        """The `make_checkpoint.py` of "hyperstyle" or "hyperinverter" as a module."""
        if family not in self._scripts:
            path = self.reference / family / "make_checkpoint.py"
            spec = importlib.util.spec_from_file_location(f"make_checkpoint_{family}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self._scripts[family] = module
        return self._scripts[family]

    def manifest(self, family: str, name: str) -> dict[str, Any]:
        """A manifest of "hyperstyle", "hyperinverter" or "baselines"."""
        path = self.reference / family / "manifests" / f"{name}.json"
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return manifest

    def tensors(self, name: str, prefix: str, seed: int = 0) -> dict[str, torch.Tensor]:
        """The tensors below a prefix of a file of the HyperStyle family, and `latent_avg`, without writing the file."""
        manifest = self.manifest("hyperstyle", name)
        rows = [row for row in manifest["tensors"] if row["key"].startswith(prefix) or row["key"] == "latent_avg"]
        arrays = self.script("hyperstyle").tensors({**manifest, "tensors": rows}, seed)
        return {key.removeprefix(prefix): torch.from_numpy(np.asarray(array)) for key, array in arrays}

    def write(self, name: str, path: Path, seed: int = 0, **opts: Any) -> Path:
        """Writes a file of the HyperStyle family, with some of its `opts` replaced; the largest have 1.4 GB."""
        content = self.script("hyperstyle").build(self.manifest("hyperstyle", name), seed)
        if opts:
            content["opts"] = {**content["opts"], **opts}
        torch.save(content, path)
        return path

    def small_generator(self) -> Generator:
        """The 64 px generator of the recorded optimizations, from its NVIDIA tensors."""
        from hyperstyle.convert.nvidia import generator_from_nvidia

        weights = self.script("hyperinverter").build(
            self.manifest("baselines", "stylegan2_ada_small64"), 0, only={"G_ema"}
        )
        return generator_from_nvidia(weights["G_ema"])


@pytest.fixture(scope="session")
def checkpoint_maker(reference_dir: Path) -> CheckpointMaker:
    """Draws the seeded stand-ins of published files, for tests marked `reference`."""
    return CheckpointMaker(reference_dir)


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Runs `python ARGS` with the hyperstyle under test importable from any folder."""
    paths = [str(Path(hyperstyle.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUTF8": "1"}

    def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=cwd,
            env=env,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def portrait() -> Portrait:
    """(number, (width, height)) -> an example photo of that size, and the 68 landmarks that its renderer knows."""
    landmarks = np.load(Path(__file__).parent / "golden" / "example_landmarks.npy")

    def of(number: int, size: tuple[int, int]) -> tuple[Image.Image, Points]:
        photo = hyperstyle.example_photo(number)
        # A pixel's index is that of its middle: the left edge of the photo is at -0.5, before and after.
        points = (landmarks[number] + 0.5) * np.divide(size, photo.size) - 0.5
        return photo.resize(size, Image.Resampling.BOX), points

    return of


@pytest.fixture(scope="session")
def moving_portrait(portrait: Portrait) -> MovingPortrait:
    """(count, (width, height)) -> frames of a face that tilts, comes nearer and goes about, and its landmarks."""
    photo, points = portrait(3, (160, 200))

    def of(count: int, size: tuple[int, int]) -> list[tuple[Image.Image, Points]]:
        frames = []
        for number in range(count):
            phase = 2 * math.pi * number / (count - 1)
            angle, scale = 0.15 * math.sin(phase), 1.3 + 0.1 * math.sin(2 * phase)  # pixels of the photo for one here
            to_photo = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            middle = points.mean(axis=0) + np.array([8 * math.sin(phase), 5 * math.sin(2 * phase)])
            start = middle - to_photo @ (np.array(size) / 2 - 0.5)  # of the first pixel's middle
            corner = start + 0.5 - to_photo @ [0.5, 0.5]  # Pillow counts from the edge
            (a, b), (c, d) = to_photo.tolist()
            matrix = (a, b, float(corner[0]), c, d, float(corner[1]))
            frame = photo.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
            frames.append((frame, (points - start) @ np.linalg.inv(to_photo).T))
        return frames

    return of


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one while the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of 32 px with random weights and the edits "age" and "smile": quick, not pretty."""
    from hyperstyle.domain import Domain
    from hyperstyle.edits import DirectionEdit, EditInfo
    from hyperstyle.inverter import HyperStyleInverter
    from hyperstyle.networks.encoders.backbones import TrunkConfig
    from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
    from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
    from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

    torch.manual_seed(0)
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    generator = Generator(GeneratorConfig(32, channels=(16, 16, 16, 8), latent_width=16, mapping_layers=2))
    layers = ("b8.conv1", "b16.conv1", "b32.conv0")
    hypernetwork = Hypernetwork(
        HypernetworkConfig(generator.config, layers, (32, 32), trunk, heads="compact", code_width=16)
    )
    for parameter in hypernetwork.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # an untrained one changes nothing
    model = HyperStyleInverter(
        generator,
        WEncoder(WEncoderConfig(generator.config.rows, 16, (32, 32), trunk)),
        hypernetwork,
        domain=Domain("avatars", 32, (32, 32), aligner="face", similarity="traits"),
        edits={
            name: DirectionEdit(torch.randn(16), EditInfo(name, -3.0, 3.0, "years" if name == "age" else "smiles"))
            for name in ("age", "smile")
        },
        steps=2,
        info={"source": "random weights", "licence": "MIT"},
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_inverter(tiny_model_dir: Path) -> HyperStyleInverter:
    """The model of `tiny_model_dir`, loaded, on the CPU. Tests leave it as it is."""
    from hyperstyle.inverter import HyperStyleInverter

    return HyperStyleInverter.from_pretrained(tiny_model_dir, device="cpu")
