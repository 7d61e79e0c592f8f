"""Small networks with weights from an integer stream, and what they give: the numbers that are pinned everywhere.

The file was made when the networks reproduced the recordings of the originals (docs/parity.md).
`python tests/test_golden.py` writes it again; do so only where the numbers are to change.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from hyperstyle import HyperStyleInverter
from hyperstyle.domain import Domain
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

FILE = Path(__file__).parent / "golden" / "inversions.npz"

Arrays = dict[str, npt.NDArray[Any]]
DOMAINS = {
    "square": Domain("square", 64, (64, 64)),
    "wide": Domain("wide", 64, (48, 64), content_rows=(8, 56)),
}
# heads, domain, tuned layers (None: all but toRGB)
CASES: dict[str, tuple[str, str, tuple[int, ...] | None]] = {
    "shared": ("shared", "square", None),
    "shared_wide": ("shared", "wide", None),
    "shared_torgb": ("shared", "square", (0, 1, 2, 3, 4, 10, 11, 12, 13)),
    "separable": ("separable", "square", None),
    "plain": ("plain", "square", (3, 8, 9, 11)),
    "compact": ("compact", "square", (8, 9, 11, 12)),
}


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers of about unit variance and mean 0, the same on every machine and with every version of numpy."""
    raw = np.random.PCG64(np.random.SeedSequence(zlib.crc32(name.encode()))).random_raw(int(np.prod(shape)))
    halves = (raw >> np.uint64(32)).astype(np.float64) + (raw & np.uint64(0xFFFFFFFF)).astype(np.float64)
    return torch.from_numpy((halves / 2**32 - 1.0) * 6**0.5).float().reshape(shape)


def filled(module: nn.Module, name: str) -> Any:
    """The module with its parameters and statistics sampled at about the scale that training leaves them at."""
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if key.endswith("kernel") or not tensor.is_floating_point():
                continue
            values = draw(f"{name}.{key}", tuple(tensor.shape))
            if key.endswith("running_var"):
                values = 1.0 + 0.2 * values.abs()
            elif tensor.ndim < 2:
                constant = bool((tensor == tensor[0]).all()) and len(tensor) > 1  # as norms, slopes, styles begin
                values = 0.1 * values + (tensor[0] if constant else 0.0)
            elif key.endswith((".w1", ".w2")):  # [in, out]
                values = values / tensor.shape[0] ** 0.5
            elif not isinstance(module, Generator) and not key.endswith("linear.weight"):
                values = values / tensor[0].numel() ** 0.5
            tensor.copy_(values)
    return module.eval().requires_grad_(False)


def inverter(case: str) -> HyperStyleInverter:
    heads, domain, indexes = CASES[case]
    trunk = TrunkConfig((16, 32), (1, 2), stem_kernel=3, stem_stride=2, first_stride=2)
    config = GeneratorConfig(64, (32, 32, 32, 24, 16), latent_width=32, mapping_layers=2)
    generator = filled(Generator(config), "generator")
    hypernetwork: Any = HypernetworkConfig(
        config,
        tuple(s.name for s in generator.layers if (not s.torgb if indexes is None else s.index in indexes)),
        input_size=DOMAINS[domain].input_size,
        trunk=trunk,
        heads=heads,  # type: ignore[arg-type]
        code_width=32,
        residual_input=heads == "compact",
    )
    return HyperStyleInverter(
        generator,
        filled(WEncoder(WEncoderConfig(config.rows, 32, DOMAINS[domain].input_size, trunk)), f"encoder {domain}"),
        filled(Hypernetwork(hypernetwork), f"hypernetwork {case}"),
        domain=DOMAINS[domain],
    )


def results(case: str) -> Arrays:
    """Codes, offsets (first numbers) and images of one inversion with three steps."""
    facade = inverter(case)
    height, width = facade.model.domain.input_size
    crop = draw(f"crop {case}", (3, height // 8, width // 8)).clamp(-1, 1)
    crop = nn.functional.interpolate(crop[None], scale_factor=8, mode="bilinear", align_corners=False)[0]
    inversion = facade.invert(crop, align=False, steps=3)
    values = {"w": inversion.w[0, 0], "initial": inversion.initial.tensor[0], "image": inversion.tensor[0]}
    values |= {f"offset_{name}": value.flatten()[:64] for name, value in inversion.offsets.items()}
    return {f"{case}.{key}": value.numpy() for key, value in values.items()}


@pytest.mark.parametrize("case", CASES)
def test_an_inversion_gives_the_pinned_numbers(case: str) -> None:
    with np.load(FILE) as file:
        golden = {key: file[key] for key in file.files if key.startswith(f"{case}.")}
    numbers = results(case)
    assert set(numbers) == set(golden)
    for key, value in numbers.items():
        scale = max(1.0, float(np.abs(golden[key]).max()))
        assert np.abs(value - golden[key]).max() <= 2e-5 * scale, key


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.savez_compressed(FILE, **{key: value for case in CASES for key, value in results(case).items()})
