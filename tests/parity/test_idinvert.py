"""IDInvert with seeded weights against recordings of the official code.

Its codes are some ten times as large as usual with these weights, and the images repeat the rounding of the codes
enlarged. Adam's first steps go by the sign of each gradient, which rounding turns where it is next to nothing, so the
optimization is compared in float64: what is left is the rounding of the recording.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.convert.idinvert import idinvert_encoder, idinvert_generator, vgg16_features
from hyperstyle.domain import Domain
from hyperstyle.images import load_image, to_tensor
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.measure import without_metrics
from hyperstyle.inversion.optimize import Step
from hyperstyle.methods.idinvert import DomainGuided, DomainGuidedRefinement
from hyperstyle.model.parts import Model

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Parity

ENLARGED = "enlarged, of the largest"  # names the tolerance

pytestmark = [pytest.mark.reference, pytest.mark.slow]


def test_three_steps_equal_the_recording(checkpoint_maker: CheckpointMaker, parity: Parity) -> None:
    name = "idinvert_256"
    reference = checkpoint_maker.reference
    with np.load(reference / "baselines" / "golden" / f"{name}_seed0.npz") as file:
        golden = dict(file)
    del golden["log"]  # the losses once more, in words
    crop = to_tensor(load_image(reference / "hyperinverter" / "golden" / "face_256.png"))[None]
    assert torch.equal(crop[0, :, 112:144, 112:144], torch.from_numpy(golden["input_crop"]))

    def state(part: str) -> dict[str, Tensor]:
        manifest = checkpoint_maker.manifest("baselines", f"idinvert_{part}_256")
        tensors: dict[str, Tensor] = checkpoint_maker.script("hyperinverter").build(manifest, 0)
        return tensors

    generator = idinvert_generator(state("generator")).network
    encoder = idinvert_encoder(state("encoder"), 14, 512, (256, 256)).network
    features = vgg16_features(state("vgg16")).network
    w = encoder(crop)
    parity.check_scaled(name, "init_code", w[0], golden["init_code"])
    _check_image(parity, name, "init", generator(w), golden)

    steps: list[Step] = []
    gradients: list[Tensor] = []

    def watch(_: object, codes: tuple[Tensor, ...]) -> None:
        hook.remove()  # at every step these are the same codes
        codes[0].register_hook(gradients.append)

    hook = generator.register_forward_pre_hook(watch)
    parts = {"idinvert": encoder.double(), "vgg16": features.double()}
    start = torch.from_numpy(golden["init_code"])[None].double()
    with without_metrics():
        inversion = Inversion(Model(generator.double(), Domain("faces", 256, (256, 256)), parts), start)
        refined = DomainGuidedRefinement(DomainGuided(steps=3))(crop.double(), inversion, callback=steps.append).w
    norms = torch.stack([gradient[0].norm(dim=1) for gradient in gradients])
    losses = torch.stack([torch.cat([step.pixel, step.feature, step.code]) for step in steps])
    for array, values, note in (("losses", losses, "of the largest"), ("grad_norms", norms, ENLARGED)):
        parity.check(name, f"{array}, {note}", values / torch.from_numpy(golden[array]), np.ones(values.shape))
    codes = torch.cat([steps[1].w, steps[2].w, refined])
    parity.check_scaled(name, "codes", codes, golden["codes"], ENLARGED)
    _check_image(parity, name, "final", generator(refined), golden)
    parity.covers(name, golden)


def _check_image(parity: Parity, name: str, stage: str, image: Tensor, golden: dict[str, np.ndarray]) -> None:
    pooled, center = F.adaptive_avg_pool2d(image, 128)[0], image[0, :, 96:160, 96:160]
    parity.check_scaled(name, f"{stage}_image", pooled, golden[f"{stage}_image"], ENLARGED)
    parity.check_scaled(name, f"{stage}_crop", center, golden[f"{stage}_crop"], ENLARGED)
