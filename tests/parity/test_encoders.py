"""pSp and e4e from official files to images, against recordings of the original code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F

from hyperstyle.images import load_image, to_tensor

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Converted, Parity

pytestmark = pytest.mark.reference


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("psp_faces_1024", "e4e_faces_1024", "e4e_church_256")],
)
def test_a_converted_encoder_gives_the_recorded_codes_and_image(
    checkpoint_maker: CheckpointMaker, converted: Converted, parity: Parity, name: str
) -> None:
    method, kind, _ = name.split("_")
    folder = checkpoint_maker.reference
    with np.load(folder / "baselines" / "golden" / f"{name}_seed0.npz") as file:
        golden: dict[str, npt.NDArray[Any]] = dict(file)
    photo = folder / "hyperinverter" / "golden" / ("face_256.png" if kind == "faces" else "church_256.png")
    crop = to_tensor(load_image(photo))[None]
    assert np.array_equal(crop[0, :, 112:144, 112:144].numpy(), golden["input_crop"])
    # In float64 and from the recorded codes on, so that nothing but the recording is rounded: random weights enlarge
    # rounding, and every CPU has its own.
    with converted(name, family="baselines", dtype=torch.float64) as inverter:
        encoder, generator = getattr(inverter.model, method), inverter.model.generator
        w = encoder(crop.double())
        image = generator(torch.from_numpy(golden["codes"]).double()[None])
    first = (image.shape[2] - 128) // 2
    arrays = {
        "encoder_out": (w - encoder.latent_avg)[0],
        "codes": w[0],
        "image": F.adaptive_avg_pool2d(image, 256)[0],
        "image_crop": image[0, :, first : first + 128, first : first + 128],
    }
    for key, value in arrays.items():
        parity.check_scaled(name, key, value, golden[key])
    parity.check(name, "image_shape", [*image.shape], golden["image_shape"])
    parity.covers(name, golden)
