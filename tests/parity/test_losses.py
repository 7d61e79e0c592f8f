"""Vectors of identity, MoCo and CurricularFace, losses and figures, against a recording of the official code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from hyperstyle import metrics
from hyperstyle.domain import DOMAINS
from hyperstyle.networks.perception.similarity import Similarity, load_arcface, load_curricular, load_moco
from hyperstyle.training.objective import Objective
from hyperstyle.training.options import LossOptions

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Parity

pytestmark = pytest.mark.reference

Golden = dict[str, npt.NDArray[Any]]

# file -> loader, name in the recording, recording of the images, their last reconstruction
CASES: dict[str, tuple[Callable[[Path], Similarity], str, str, str]] = {
    "ir_se50": (load_arcface, "id", "faces", "iter3_pooled"),
    "moco_v2_resnet50": (load_moco, "moco", "cars", "iter2_pooled"),
    "curricular_face": (load_curricular, "curricular", "faces", "iter3_pooled"),
}

OPTIONS: dict[str, Callable[[str], LossOptions]] = {
    "id": lambda path: LossOptions(l2=0, lpips=0, identity=0.5, identity_weights=path),
    "moco": lambda path: LossOptions(l2=0, lpips=0, identity=0, moco=0.5, moco_weights=path),
}


def read(checkpoint_maker: CheckpointMaker, name: str) -> Golden:
    with np.load(checkpoint_maker.reference / "hyperstyle" / "golden" / f"{name}.npz") as file:
        return dict(file)


def photo(recorded: Golden) -> Tensor:
    """[3,h,w]."""
    return torch.from_numpy(recorded["input_u8"]).permute(2, 0, 1).float().div(255).sub(0.5).div(0.5)


@pytest.mark.parametrize("case", CASES)
def test_similarities_equal_the_recording(
    checkpoint_maker: CheckpointMaker, parity: Parity, tmp_path: Path, case: str
) -> None:
    load, name, recording, last = CASES[case]
    path = checkpoint_maker.write(case, tmp_path / f"{case}.pt")
    network = load(path)
    golden, recorded = read(checkpoint_maker, "losses"), read(checkpoint_maker, recording)
    single = photo(recorded)
    crop = torch.stack([single, single.flip(2)])
    image = torch.from_numpy(np.stack([recorded[last], recorded["y0_pooled"]]))
    target, prediction = network(crop), network(image)
    arrays = {f"{name}_feats_target": target, f"{name}_feats_pred": prediction}
    if name != "curricular":  # a figure, no loss
        alike = metrics.cosine(prediction, target)
        total, parts = Objective(OPTIONS[name](str(path)), DOMAINS[recording])(image, crop)
        arrays[f"{name}_loss"] = torch.tensor(parts["identity" if name == "id" else name])
        assert total.item() == pytest.approx(0.5 * arrays[f"{name}_loss"].item(), rel=1e-6)
        arrays[f"{name}_improve"] = (alike - metrics.cosine(target, target)).mean()  # the input is the target here
    path.unlink()
    assert arrays.keys() == {key for key in golden if key.startswith(f"{name}_")}
    for key, value in arrays.items():
        parity.check("losses", key, value, golden[key])


def test_distances_equal_the_recording(checkpoint_maker: CheckpointMaker, parity: Parity) -> None:
    golden, faces = read(checkpoint_maker, "losses"), read(checkpoint_maker, "faces")
    last, before = (torch.from_numpy(faces[f"iter{i}_pooled"])[None] for i in (3, 2))
    crop = photo(faces)[None]
    arrays = {
        "msssim_iter3_iter2": metrics.ms_ssim_reference(last, before)[0],
        "mse_iter3_input": metrics.l2(last, crop)[0],
        "l1_iter3_input": metrics.l1(last, crop)[0],
    }
    assert arrays.keys() == {key for key in golden if key.split("_")[0] not in {row[1] for row in CASES.values()}}
    for key, value in arrays.items():
        parity.check("losses", key, value, golden[key])
    # Every value range is 2 here and nothing is negative, so the sane form agrees.
    assert float(metrics.ms_ssim(last, before)) == pytest.approx(float(golden["msssim_iter3_iter2"]), abs=1e-5)
