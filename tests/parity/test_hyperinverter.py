"""HyperInverter from the tensors of its three files to images, against recordings of the original code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle.convert import convert
from hyperstyle.convert.nvidia import generator_from_nvidia
from hyperstyle.images import to_tensor
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig, resized

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Parity

    from hyperstyle.networks.stylegan2.generator import Generator

pytestmark = [pytest.mark.reference, pytest.mark.slow]

_NOTE = "two passes, of the largest"  # what G(w) rounds goes into the residuals


def networks(maker: CheckpointMaker, name: str, size: int, backbone: Any) -> tuple[Generator, WEncoder, HyperInverter]:
    """The generator, the W encoder with the generator's mean code, and the networks of phase II."""

    def tensors(part: str, *prefixes: str) -> dict[str, Tensor]:
        manifest = maker.manifest("hyperinverter", f"{part}_{name}")
        rows = [row for row in manifest["tensors"] if row[0].partition("/")[2].startswith(prefixes)]
        (section,) = maker.script("hyperinverter").build({**manifest, "tensors": rows}, 0).values()
        return dict(section)

    manifest = maker.manifest("hyperinverter", f"stylegan2_ada_{name}")
    generator = generator_from_nvidia(maker.script("hyperinverter").build(manifest, 0, only={"G_ema"})["G_ema"])
    config = HyperInverterConfig.official(size, backbone=backbone)
    with torch.device("meta"):
        encoder = WEncoder(WEncoderConfig(generator.config.rows, trunk=config.trunk, backbone=backbone))
        network = HyperInverter(config)
    state = {key.removeprefix("encoder."): tensor for key, tensor in tensors("w_encoder", "encoder.").items()}
    mean = generator.latent_avg.expand(generator.config.rows, -1)
    encoder.load_state_dict({**state, "latent_avg": mean}, assign=True)
    state = tensors("hyperinverter", "hypernet.", "w_bar_encoder.")
    network.load_state_dict({key.removeprefix("hypernet."): t for key, t in state.items()}, assign=True)
    return generator, encoder.eval(), network.eval()


@torch.no_grad()
def recorded(
    generator: Generator, encoder: WEncoder, network: HyperInverter, image: Image.Image
) -> dict[str, Tensor | list[Any]]:
    """The arrays of a recording by name, for an image of any size, read as the published networks were trained to."""
    size = generator.config.size
    x = to_tensor(image.resize((size, size), Image.Resampling.BILINEAR))[None]
    x256 = resized(x, (256, 256))
    w = encoder(x256)
    first = generator(w)
    codes = network(x, first)
    residuals = {f"{name}.weight": residual for name, residual in network.offsets(codes).items()}
    last = generator(w, residuals=network.offsets(codes))
    arrays: dict[str, Any] = {
        "x256_stats": statistics(x256),
        "x256_crop": x256[0, :, 112:144, 112:144],
        "w_encoder_out": w[:, 0] - generator.latent_avg,
        "w_codes": w[:, 0],
        "weights_names": list(residuals),
        "weights_shapes": [str(list(residual.shape)) for residual in residuals.values()],
        "weights_first64": torch.stack([residual.flatten()[:64] for residual in residuals.values()]),
        "weights_stats": [statistics(residual) for residual in residuals.values()],
    }
    inner = slice(size // 2 - 64, size // 2 + 64)
    for name, image in (("w_image", first), ("final_image", last)):
        arrays |= {name: F.adaptive_avg_pool2d(image, 256)[0], f"{name}_crop": image[0, :, inner, inner]}
    for name, image in (("w_bar_codes", x), ("w_image_codes", first)):
        features = network.appearance(image)
        arrays[f"{name}_first"] = features[0, :, 0]
        arrays[f"{name}_norm"] = features[0].flatten(1).double().norm(dim=1)
        arrays[f"{name}_shape"] = list(features.shape)
    return arrays


def statistics(values: Tensor) -> list[float]:
    """Mean, standard deviation and norm, in float64."""
    x = values.double()
    return [float(x.mean()), float(x.std()), float(x.norm())]


@pytest.mark.parametrize(
    ("name", "size", "backbone", "photo"),
    [("human_faces", 1024, "irse", "face_256.png"), ("church", 256, "resnet", "church_256.png")],
)
def test_the_networks_give_the_recorded_codes_weights_and_images(
    checkpoint_maker: CheckpointMaker, parity: Parity, name: str, size: int, backbone: str, photo: str
) -> None:
    folder = checkpoint_maker.reference / "hyperinverter" / "golden"
    recording = f"hyperinverter_{name}"
    with np.load(folder / f"{recording}_seed0.npz") as file:
        golden = dict(file)
    with Image.open(folder / photo) as image:
        arrays = recorded(*networks(checkpoint_maker, name, size, backbone), image.convert("RGB"))
    assert set(arrays) == set(golden)
    for key, value in arrays.items():
        if golden[key].dtype.kind in "US":
            assert list(value) == golden[key].tolist()
        elif key.endswith("_stats"):
            for i, kind in enumerate(("mean", "deviation", "norm")):
                parity.check_scaled(recording, f"{key} {kind}", torch.tensor(value)[..., i], golden[key][..., i], _NOTE)
        else:
            parity.check_scaled(recording, key, torch.as_tensor(value), golden[key], _NOTE)


@pytest.mark.parametrize(("name", "photo"), [("human_faces", "face_256.png"), ("church", "church_256.png")])
def test_the_three_files_converted_invert_a_photo_to_the_recorded_image(
    checkpoint_maker: CheckpointMaker, parity: Parity, tmp_path: Path, name: str, photo: str
) -> None:
    script, folder = checkpoint_maker.script("hyperinverter"), checkpoint_maker.reference / "hyperinverter" / "golden"
    files = {"hyperinverter": "hi.pt", "w_encoder": "w.pt", "stylegan2_ada": "sg2.pkl"}
    for part, file in files.items():
        script.make(checkpoint_maker.manifest("hyperinverter", f"{part}_{name}"), 0, tmp_path / file)
    convert(tmp_path / "hi.pt", tmp_path / "m", encoder=tmp_path / "w.pt", generator=tmp_path / "sg2.pkl")
    for file in files.values():
        (tmp_path / file).unlink()
    inverter = HyperStyleInverter.from_pretrained(tmp_path / "m", device="cpu")
    inversion = inverter.invert(folder / photo, align=False, method="hyperinverter")
    with np.load(folder / f"hyperinverter_{name}_seed0.npz") as golden:
        recording = f"hyperinverter_{name} through the inverter"
        for key, value in {
            "w_codes": inversion.w[:, 0],
            "w_image": F.adaptive_avg_pool2d(inversion.initial.tensor, 256)[0],
            "final_image": F.adaptive_avg_pool2d(inversion.tensor, 256)[0],
        }.items():
            parity.check_scaled(recording, key, value, golden[key], _NOTE)
    for file in sorted((tmp_path / "m").rglob("model.safetensors")):
        file.unlink()
