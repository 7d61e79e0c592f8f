"""Identity in the published way, in a report: faces found by MTCNN, compared by a face network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter, metrics
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.evaluation import measures as measures_module
from hyperstyle.evaluation.images import EvaluationImages, digest
from hyperstyle.evaluation.measures import choose_measures
from hyperstyle.evaluation.report import ReportOptions, make_report
from hyperstyle.evaluation.trials import Trial
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception.mtcnn import Mtcnn
from hyperstyle.networks.perception.similarity import FaceNetwork

TRUNK = TrunkConfig((8, 16), (2, 1), stem_kernel=3, stem_stride=1, first_stride=2)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A folder of weights that detect a face where red is brighter than gray, with landmarks at their usual places."""
    networks = Mtcnn().eval().requires_grad_(False)
    for parameter in networks.parameters():
        parameter.zero_()
    state = networks.state_dict()
    for i in (1, 2, 3):  # the second network passes on what is above 0 in the first channel
        state[f"rnet.features.conv{i}.weight"][0, 0, 0, 0] = 1.0
    state["rnet.features.conv4.weight"][0, :9] = 1.0
    state["rnet.conv5_1.weight"][1, 0] = 100.0
    state["rnet.conv5_1.bias"][0] = 5.0
    state["onet.conv6_1.bias"][1] = 6.0
    state["onet.conv6_3.bias"].copy_(torch.tensor([0.3, 0.7, 0.5, 0.35, 0.65, 0.4, 0.4, 0.6, 0.8, 0.8]))
    folder = tmp_path / "mtcnn"
    folder.mkdir()
    for name, network in networks.named_children():
        arrays: Any = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
        np.save(folder / f"{name}.npy", arrays)
    return folder


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaceNetwork:
    """A small network of the published kind, loaded in place of `tmp_path/curricular.pth`."""
    small = FaceNetwork(TRUNK, squeeze=False, affine=False, prepare="nearest", input_size=16, width=6)
    small.eval().requires_grad_(False)
    monkeypatch.setattr(measures_module, "load_curricular", {tmp_path / "curricular.pth": small}.__getitem__)
    return small


@pytest.fixture
def faces(tiny_inverter: HyperStyleInverter) -> HyperStyleInverter:
    """The tiny model, of faces: without an evaluator."""
    model = tiny_inverter.model
    domain = replace(model.domain, similarity="arcface")
    return HyperStyleInverter(model.generator, model.encoder, model.hypernetwork, domain=domain, steps=1)


def face_images() -> list[Tensor]:
    """Two images with much red, and a black one."""
    torch.manual_seed(3)
    bright = torch.rand(2, 3, 32, 32)
    return [*bright, torch.full((3, 32, 32), -1.0)]


def test_faces_are_cut_out_by_the_detector_and_compared_by_the_network(
    detector: Path, network: FaceNetwork, faces: HyperStyleInverter, tmp_path: Path
) -> None:
    chosen = choose_measures(faces.model, lpips=False, identity=tmp_path / "curricular.pth", mtcnn=detector)
    a, b, black = (image[None] for image in face_images())
    identity = chosen(faces.model, a, b)["identity"]
    expected = metrics.published_identity(a, b, network, MtcnnDetector(detector, confidence=0.35))
    assert identity == pytest.approx(float(expected))
    assert chosen(faces.model, a, a)["identity"] == pytest.approx(1)
    assert float(expected) < 0.999
    assert chosen(faces.model, a, black)["identity"] is None
    assert chosen(faces.model, black, a)["identity"] is None


def test_a_report_says_how_many_images_show_no_face(
    detector: Path,
    network: FaceNetwork,
    faces: HyperStyleInverter,
    tmp_path: Path,
) -> None:
    crops = face_images()
    images = EvaluationImages("given", ("a", "b", "black"), lambda i: crops[i], tuple(map(digest, crops)))
    options = ReportOptions(
        methods=(Trial("w-encoder"),),
        lpips=False,
        identity=tmp_path / "curricular.pth",
        mtcnn=detector,
        shown=3,
    )
    make_report(faces, images, tmp_path / "out", options)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    (row,) = report["tables"]["table2"]
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text(encoding="utf-8").splitlines()[1:]]
    numbers = [entry["figures"]["identity"] for entry in rows if entry["method"] == "w-encoder"]
    assert numbers[2] is None
    finite = [number for number in numbers if number is not None]
    assert len(finite) == 2
    assert (row["identity"], row["identity_left_out"]) == (pytest.approx(sum(finite) / 2), 1)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<th>left out</th>" in text
    assert "images without one are left out" in text
    assert not [entry for entry in report["not_measured"] if entry["what"] == "identity"]
