"""ReStyle with seeded weights, pass by pass, against recordings of the official code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.optimize import Step
from hyperstyle.methods.restyle import RestyleRefinement
from hyperstyle.model.parts import Model
from hyperstyle.networks import cpu
from hyperstyle.networks.encoders.pyramid import RestyleEncoder, RestyleEncoderConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Converted, Parity

pytestmark = pytest.mark.reference


def networks(state: dict[str, Tensor], mean: Tensor, domain: Domain) -> tuple[RestyleEncoder, Generator]:
    """The encoder and its own generator from the tensors of a file and its mean code [L,D]."""
    parts: dict[str, dict[str, Tensor]] = {"encoder": {"latent_avg": mean}, "decoder": {"latent_avg": mean[0]}}
    for key, tensor in state.items():
        part, _, name = key.partition(".")
        parts[part][name] = tensor
    with torch.device("meta"):
        encoder = RestyleEncoder(RestyleEncoderConfig(len(mean), input_size=domain.input_size))
        generator = Generator(GeneratorConfig.official(domain.size))
    encoder.load_state_dict(parts["encoder"], assign=True)
    generator.load_state_dict(parts["decoder"], assign=True)
    return encoder.eval().requires_grad_(False), generator.eval().requires_grad_(False)


@pytest.mark.slow
def test_two_passes_on_a_face_equal_the_recording(checkpoint_maker: CheckpointMaker, parity: Parity) -> None:
    with np.load(checkpoint_maker.reference / "hyperstyle" / "golden" / "domain_adaptation.npz") as file:
        golden = dict(file)
    state = checkpoint_maker.tensors("restyle_e4e_1024", "")
    encoder, generator = networks(state, state.pop("latent_avg"), DOMAINS["faces"])
    del state
    crop = torch.from_numpy(golden["input_u8"]).permute(2, 0, 1)[None].float().div(255).sub(0.5).div(0.5)
    steps: list[Step] = []
    model = Model(generator, DOMAINS["faces"], {"restyle": encoder})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "synthesize", by_modules)
        start = Inversion(model, encoder.latent_avg[None])
        inversion = RestyleRefinement()(crop, start, steps=2, callback=steps.append)
    arrays = {
        "restyle_avg_image": DOMAINS["faces"].as_network_input(steps[0].image)[0],
        "restyle_encoder_out": torch.cat([steps[1].w - steps[0].w, steps[2].w - steps[1].w]),
        "restyle_latents": inversion.w[0],
        "restyle_y_hat": DOMAINS["faces"].as_network_input(steps[2].image)[0],
    }
    assert arrays.keys() == {key for key in golden if key.startswith("restyle_")}
    for key, value in arrays.items():
        parity.check("domain_adaptation, ReStyle by itself", key, value, golden[key])


Form = Literal["modules", "fused"]


def by_modules(generator: Generator, styles: Any, offsets: Any = None, **options: Any) -> Tensor:
    """In place of `networks.cpu.synthesize`: the modules of the generator."""
    return generator.synthesize(styles, offsets, **options)


def compare(
    name: str,
    parity: Parity,
    golden: dict[str, npt.NDArray[Any]],
    steps: list[Step],
    domain: Domain,
    note: str,
) -> None:
    """All arrays of the recording with what the passes made."""
    images = torch.cat([domain.content(step.image) for step in steps])
    pooled, codes = F.adaptive_avg_pool2d(images, 128), torch.cat([step.w for step in steps])
    top, left = (images.shape[2] - 64) // 2, (images.shape[3] - 64) // 2
    arrays = {
        "average_image": F.adaptive_avg_pool2d(domain.as_network_input(steps[0].image), 128)[0],
        "encoder_out": codes[1:] - codes[:-1],
        "codes": codes[1:],
        "images": pooled[1:],
        "images_crop": images[1:, :, top : top + 64, left : left + 64],
        "final_image": F.adaptive_avg_pool2d(images[-1:], 256)[0],
    }
    for key, value in arrays.items():
        parity.check_scaled(name, key, value, golden[key], note)
    parity.check(name, "image_shape", [len(images) - 1, *images.shape[1:]], golden["image_shape"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "photo"),
    [
        ("restyle_e4e_faces_1024", "restyle-e4e", "hyperinverter/golden/face_256.png"),
        ("restyle_psp_faces_1024", "restyle-psp", "hyperinverter/golden/face_256.png"),
        ("restyle_e4e_church_256", "restyle-e4e", "hyperinverter/golden/church_256.png"),
        ("restyle_psp_cars_512", "restyle-psp", "baselines/golden/car_256x192.png"),
    ],
)
def test_three_passes_of_a_converted_file_equal_the_recording(
    checkpoint_maker: CheckpointMaker, converted: Converted, parity: Parity, name: str, method: str, photo: str
) -> None:
    with np.load(checkpoint_maker.reference / "baselines" / "golden" / f"{name}_seed0.npz") as file:
        golden = dict(file)
    file_name = checkpoint_maker.reference / photo
    steps: dict[Form, list[Step]] = {"modules": [], "fused": []}
    with converted(name, family="baselines") as inverter:
        for form, seen in steps.items():
            with pytest.MonkeyPatch.context() as patch:
                if form == "modules":
                    patch.setattr(cpu, "synthesize", by_modules)
                inverter.invert(file_name, align=False, method=method, steps=3, callback=seen.append)
    domain = inverter.model.domain
    compare(name, parity, golden, steps["modules"], domain, "three passes, of the largest")
    # With random weights every pass makes the rounding before it five times as large.
    compare(name, parity, golden, steps["fused"], domain, "fused, three passes, of the largest")
    parity.covers(name, golden)
