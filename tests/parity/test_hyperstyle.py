"""HyperStyle from official files to images, against recordings of the original code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from hyperstyle.align.source import Provenance
from hyperstyle.convert import read_generator
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Converted, Parity

    from hyperstyle import HyperStyleInverter

pytestmark = pytest.mark.reference

# recording -> files, passes, options that differ
CASES: dict[str, tuple[str, str, int, dict[str, str]]] = {
    "faces": ("hyperstyle_1024", "w_encoder_1024", 3, {}),
    "cars": ("hyperstyle_512_cars", "w_encoder_512", 2, {}),
    "medium_fine": ("hyperstyle_1024_medium_fine", "w_encoder_1024", 2, {}),
    "separable": ("hyperstyle_1024_separable", "w_encoder_1024", 2, {}),
    "afhq": ("hyperstyle_512_cars", "w_encoder_512", 2, {"dataset_type": "afhq_wild_hypernet"}),
}
QUICK = ("faces",)


def statistics(values: Tensor) -> list[float]:
    """Mean, standard deviation and norm, in float64."""
    x = values.double()
    return [float(x.mean()), float(x.std(correction=0)), float(x.norm())]


def offsets(inverter: HyperStyleInverter, step: Step) -> dict[str, npt.NDArray[Any]]:
    """What the recordings keep of the accumulated offsets, layer by layer."""
    model = inverter.model
    assert model.hypernetwork is not None
    assert step.codes is not None
    index, first, strided, stats = [], [], [], []
    for spec in model.hypernetwork.layers:
        offset = model.hypernetwork.offsets(step.codes, [spec.name])[spec.name]
        flat = offset[0].expand(-1, -1, spec.kernel, spec.kernel).reshape(-1).cpu()
        index.append(spec.index)
        first.append(flat[:64].numpy())
        strided.append(flat[(torch.arange(64) * len(flat)) // 64].numpy())
        stats.append(statistics(flat))
    return {
        "delta_index": np.array(index),
        "delta_first64": np.stack(first),
        "delta_strided64": np.stack(strided),
        "delta_stats": np.array(stats),
    }


def run(
    inverter: HyperStyleInverter, photo: npt.NDArray[np.uint8], steps: int
) -> tuple[dict[str, Any], Tensor, Inversion]:
    """The arrays of a recording by name, the last full image [3,H,W], and the inversion."""
    domain = inverter.model.domain
    arrays: dict[str, Any] = {}
    full: list[Tensor] = []

    def watch(step: Step) -> None:
        image = domain.content(step.image)
        pooled = domain.resize_to_input(image)[0]
        if step.step == 0:
            arrays["y0_pooled"] = pooled
            return
        arrays[f"iter{step.step}_pooled"] = pooled
        arrays[f"iter{step.step}_full_stats"] = np.array([statistics(channel) for channel in image[0]]).T
        arrays.update({f"iter{step.step}_{key}": value for key, value in offsets(inverter, step).items()})
        full[:] = [image[0]]

    inversion = inverter.invert(photo, align=False, steps=steps, callback=watch)
    assert inverter.model.encoder is not None
    arrays["w_code"] = inversion.w[0]
    arrays["encoder_out"] = (inversion.w[0] - inverter.model.encoder.latent_avg)[0]
    assert torch.equal(inversion.tensor[0].to(full[0].dtype), full[0].float().to(full[0].dtype))
    return arrays, full[0], inversion


def center_crop(image: Tensor, side: int) -> Tensor:
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    return image[:, top : top + side, left : left + side]


@pytest.mark.parametrize("case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def test_a_converted_model_gives_the_recorded_inversion(
    checkpoint_maker: CheckpointMaker, converted: Converted, parity: Parity, tmp_path: Path, case: str
) -> None:
    source, encoder, steps, options = CASES[case]
    with np.load(checkpoint_maker.reference / "hyperstyle" / "golden" / f"{case}.npz") as file:
        golden: dict[str, npt.NDArray[Any]] = dict(file)
    with converted(source, encoder, **options) as inverter:
        arrays, full, inversion = run(inverter, golden["input_u8"], steps)
    window = center_crop(full, 128)
    arrays["final_crop128"] = window
    arrays["final_crop128_u8"] = (((window + 1) / 2).clamp(0, 1) * 255).byte().permute(1, 2, 0)
    for name, value in arrays.items():
        parity.check(case, name, value, golden[name])
    parity.covers(case, golden)
    if case == "faces":  # the file of the original script
        recorded = np.load(
            checkpoint_maker.reference / "hyperstyle" / "golden" / "latents.npy", allow_pickle=True
        ).item()
        (name,) = recorded
        replace(inversion, sources=(Provenance(name),)).export(tmp_path / "official", "official")
        ours = np.load(tmp_path / "official" / "latents.npy", allow_pickle=True).item()
        assert list(ours) == [name]
        assert ours[name].dtype == recorded[name].dtype
        parity.check(case, "latents.npy", ours[name], recorded[name])


@pytest.mark.slow
def test_in_float64_the_recording_in_float64_is_reproduced(
    checkpoint_maker: CheckpointMaker, converted: Converted, parity: Parity
) -> None:
    folder = checkpoint_maker.reference / "hyperstyle" / "golden"
    with np.load(folder / "faces_fp64.npz") as file, np.load(folder / "faces.npz") as inputs:
        golden, photo = dict(file), inputs["input_u8"]
    source, encoder, steps, _ = CASES["faces"]
    with converted(source, encoder, dtype=torch.float64) as inverter:
        arrays, full, _ = run(inverter, photo, steps)
    for name in [name for name in arrays if name.endswith("_pooled")]:
        arrays[f"{name}_window64"] = arrays.pop(name)[:, 96:160, 96:160]
    arrays["final_crop64"] = center_crop(full, 64)
    for name, value in arrays.items():
        parity.check("faces_fp64", name, value, golden[name])
    parity.covers("faces_fp64", golden)


@pytest.mark.slow
def test_offsets_in_a_fine_tuned_generator_give_the_recorded_image(
    checkpoint_maker: CheckpointMaker, converted: Converted, parity: Parity, tmp_path: Path
) -> None:
    with np.load(checkpoint_maker.reference / "hyperstyle" / "golden" / "domain_adaptation.npz") as file:
        golden: dict[str, npt.NDArray[Any]] = dict(file)
    photo = golden["input_u8"]
    arrays: dict[str, Any] = {}
    with converted("restyle_e4e_1024") as restyle:
        domain = restyle.model.domain
        steps: list[Step] = []
        first = restyle.invert(photo, align=False, method="restyle-e4e", steps=2, callback=steps.append)
        arrays["restyle_avg_image"] = domain.as_network_input(steps[0].image)[0]
        arrays["restyle_encoder_out"] = torch.cat([steps[i + 1].w - steps[i].w for i in range(2)])
        arrays["restyle_latents"] = first.w[0]
        arrays["restyle_y_hat"] = domain.resize_to_input(first.tensor)[0]
    with converted("hyperstyle_1024", "w_encoder_1024") as inverter:
        target = read_generator(checkpoint_maker.write("stylegan2_1024", tmp_path / "target.pt", seed=1000))
        transferred = [spec.name for spec in target.layers if spec.resolution >= 128 and not spec.torgb]
        moved = inverter.invert(photo, align=False, steps=2).transfer(target, layers=transferred, w=first.w)
        arrays["kept_layers"] = [target.layer(name).index for name in transferred]
        arrays["output_pooled"] = domain.resize_to_input(moved.tensor)[0]
        arrays["output_crop128"] = center_crop(moved.tensor[0], 128)
        arrays["output_without_deltas_pooled"] = domain.resize_to_input(moved.initial.tensor)[0]
    for name, value in arrays.items():
        parity.check("domain_adaptation", name, value, golden[name])
    parity.covers("domain_adaptation", golden)
