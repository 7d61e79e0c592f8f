"""The losses of one training step with full-size networks, against recordings of the official code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.training.engine import make_task
from hyperstyle.training.hypernetwork_task import HyperStyleTask
from hyperstyle.training.options import resolve

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Converted, Parity

pytestmark = [pytest.mark.reference, pytest.mark.slow]


def test_a_training_step_has_the_losses_of_the_recorded_passes(
    checkpoint_maker: CheckpointMaker, converted: Converted, parity: Parity, tmp_path: Path
) -> None:
    folder = checkpoint_maker.reference / "hyperstyle" / "golden"
    with np.load(folder / "faces.npz") as file, np.load(folder / "losses.npz") as losses:
        faces, golden = dict(file), dict(losses)
    crop = torch.from_numpy(faces["input_u8"]).permute(2, 0, 1)[None].float().div(255).sub(0.5).div(0.5)
    identity = checkpoint_maker.write("ir_se50", tmp_path / "ir_se50.pt")
    with converted("hyperstyle_1024", "w_encoder_1024"):
        model = str(tmp_path / "model_hyperstyle_1024")
        flags = {
            "hyperstyle.encoder": model,
            "hyperstyle.init": model,
            "hyperstyle.passes": 3,
            "loss.lpips": 0.0,
            "loss.identity_weights": str(identity),
            "optim.device": "cpu",
            "data.train": str(tmp_path),
            "run.out": str(tmp_path / "run"),
        }
        task = make_task(resolve("hyperstyle", (), flags))
        assert isinstance(task, HyperStyleTask)
        task.network.eval()  # the passes were recorded with running averages
        seen: list[float] = []
        parts: list[dict[str, float]] = []
        objective = task.objective

        def noting(image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
            total, terms = objective(image, target)
            parts.append(terms)
            return total, terms

        task.objective = noting

        def watch(loss: Tensor) -> Tensor:
            """Notes the loss; the gradient of the largest networks would need several GB."""
            seen.append(loss.item())
            return torch.zeros((), requires_grad=True)

        with torch.no_grad():
            figures = task.train_step(crop, 0, watch)
    distances = [float(np.square(faces[f"iter{i}_pooled"] - crop[0].numpy()).mean()) for i in (1, 2, 3)]
    alike = float(golden["id_feats_pred"][0] @ golden["id_feats_target"][0])
    assert len(seen) == 3
    parity.check("faces", "training step, l2_loss of pass 3", figures["l2"], golden["mse_iter3_input"])
    parity.check("faces", "training step, id_loss of pass 3", figures["identity"], 1 - alike)
    parity.check("faces", "training step, total_loss of pass 3", seen[2], distances[2] + 0.1 * (1 - alike))
    for i in (0, 1):
        parity.check("faces", f"training step, l2_loss of pass {i + 1}", parts[i]["l2"], distances[i])
        assert seen[i] == pytest.approx(parts[i]["l2"] + 0.1 * parts[i]["identity"], rel=1e-6)
