"""The official network with seeded weights, against a recording of the original code (three iterations at 1024 px)."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hyperstyle.domain import DOMAINS
from hyperstyle.inversion.optimize import Step
from hyperstyle.methods.hyperstyle import refine
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

if TYPE_CHECKING:
    from conftest import CheckpointMaker

# Slow, as tests/parity compares the same recording through a converted model in the plain run.
pytestmark = [pytest.mark.reference, pytest.mark.slow]

# About 15 times the rounding of float32 and far below what any mistake changes.
IMAGE, CODE = 5e-5, 1e-5


def test_three_iterations_equal_the_recording_of_the_original(checkpoint_maker: CheckpointMaker) -> None:
    folder = checkpoint_maker.reference / "hyperstyle"
    with np.load(folder / "golden" / "faces.npz") as file:
        golden: dict[str, npt.NDArray[Any]] = dict(file)
    with torch.device("meta"):
        generator = Generator(GeneratorConfig.official(1024))
        hypernetwork = Hypernetwork(HypernetworkConfig.official(1024))
        encoder = WEncoder(WEncoderConfig(rows=18))

    state = checkpoint_maker.tensors("hyperstyle_1024", "decoder.")
    mean = state["latent_avg"].expand(18, -1).clone()
    state["latent_avg"] = mean[0].clone()
    generator.load_state_dict(state, assign=True)
    state = checkpoint_maker.tensors("hyperstyle_1024", "hypernet.")
    del state["latent_avg"]
    hypernetwork.load_state_dict(state, assign=True)
    state = checkpoint_maker.tensors("w_encoder_1024", "encoder.")
    state["latent_avg"] = mean
    encoder.load_state_dict(state, assign=True)
    del state
    for module in (generator, hypernetwork, encoder):
        module.eval().requires_grad_(False)

    domain = DOMAINS["faces"]
    crop = torch.from_numpy(golden["input_u8"]).permute(2, 0, 1)[None].float().div(255).sub(0.5).div(0.5)
    w = encoder(crop)
    assert np.abs(w[0].numpy() - golden["w_code"]).max() <= CODE
    del encoder
    gc.collect()
    last: list[Step] = []

    def compare(step: Step) -> None:
        pooled = domain.resize_to_input(step.image)[0].numpy()
        expected = golden["y0_pooled" if step.step == 0 else f"iter{step.step}_pooled"]
        assert np.abs(pooled - expected).max() <= IMAGE, f"after {step.step} iterations"
        last[:] = [step]

    refine(crop, w, generator, hypernetwork, domain.resize_to_input, steps=3, callback=compare)
    assert last[0].step == 3
    assert last[0].codes is not None

    for row, layer in enumerate(golden["iter3_delta_index"].tolist()):
        spec = generator.layer(layer)
        offset = hypernetwork.offsets(last[0].codes, [spec.name])[spec.name]
        flat = offset[0].expand(-1, -1, spec.kernel, spec.kernel).reshape(-1)
        places = (torch.arange(64) * len(flat)) // 64
        for values, name in ((flat[:64], "first64"), (flat[places], "strided64")):
            error = np.abs(values.numpy() - golden[f"iter3_delta_{name}"][row]).max()
            assert error <= CODE, f"{name} of the offset of {spec.name}"
