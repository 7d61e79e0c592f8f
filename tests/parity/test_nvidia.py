"""A generator in NVIDIA's form, read and turned into rosinality's, against recordings of NVIDIA's code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from hyperstyle.convert import read_generator

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Parity

pytestmark = pytest.mark.reference


def test_a_generator_of_nvidias_gives_the_recorded_codes_and_images(
    checkpoint_maker: CheckpointMaker, parity: Parity, tmp_path: Path
) -> None:
    manifest = checkpoint_maker.manifest("baselines", "stylegan2_ada_64")
    checkpoint_maker.script("hyperinverter").make(manifest, 0, tmp_path / "network.pkl")
    generator = read_generator(tmp_path / "network.pkl").double()  # so that nothing but the recording is rounded
    folder = checkpoint_maker.reference / "baselines" / "golden"
    with np.load(folder / "stylegan2_ada_64_seed0.npz") as file:
        golden = {name: file[name] for name in file.files if not name.startswith("d_")}  # no discriminator is read
    w = generator.mapping(torch.from_numpy(golden.pop("z")).double())
    arrays = {}
    for psi in (1.0, 0.7):
        truncated = torch.lerp(generator.latent_avg, w, psi)
        arrays |= {f"w_psi{psi}": truncated, f"image_psi{psi}": generator(truncated)}
    assert set(arrays) == set(golden)
    for name, array in arrays.items():
        parity.check_scaled("stylegan2_ada_64", name, array, golden[name])
