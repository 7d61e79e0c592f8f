"""What every test gets: few threads, fixed seeds, and the things that not every machine has, or a skip."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
import torch

import hyperstyle

if TYPE_CHECKING:
    from hyperstyle.inverter import HyperStyleInverter

torch.set_num_threads(min(2, torch.get_num_threads()))  # fewer where OMP_NUM_THREADS says so


class RunPython(Protocol):
    """Runs this interpreter in a process of its own."""

    def __call__(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skipif(True, reason="no CUDA device here"))


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
            timeout=300,
        )

    return run


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
    from hyperstyle.networks.backbones import TrunkConfig
    from hyperstyle.networks.encoders import WEncoder, WEncoderConfig
    from hyperstyle.networks.generator import Generator, GeneratorConfig
    from hyperstyle.networks.hypernetwork import Hypernetwork, HypernetworkConfig

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
