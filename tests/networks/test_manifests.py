"""Names and shapes of the tensors of the official configurations, against those of the published files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from hyperstyle.networks.encoders.sfe import FeatureEditor, FeatureEditorConfig, SfeInverter, SfeInverterConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

pytestmark = pytest.mark.reference

Shapes = dict[str, tuple[int, ...]]
MEDIUM_AND_FINE = [5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23, 24]


def published(folder: Path, name: str, prefix: str = "") -> Shapes:
    manifest = json.loads((folder / "hyperstyle" / "manifests" / f"{name}.json").read_text(encoding="utf-8"))
    return {
        row["key"][len(prefix) :]: tuple(row["shape"]) for row in manifest["tensors"] if row["key"].startswith(prefix)
    }


def built(make: Callable[[], nn.Module]) -> Shapes:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_the_generator_has_the_tensors_of_the_published_file(reference_dir: Path, size: int) -> None:
    assert built(lambda: Generator(GeneratorConfig.official(size))) == published(reference_dir, f"stylegan2_{size}")


@pytest.mark.parametrize("size", [512, 1024])
def test_the_encoder_has_the_tensors_of_the_published_file_and_its_mean_code(reference_dir: Path, size: int) -> None:
    rows = GeneratorConfig.official(size).rows
    ours = built(lambda: WEncoder(WEncoderConfig(rows)))
    assert ours.pop("latent_avg") == (rows, 512)
    assert ours == published(reference_dir, f"w_encoder_{size}", "encoder.")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("hyperstyle_1024", HypernetworkConfig.official(1024)),
        ("hyperstyle_512_cars", HypernetworkConfig.official(512, input_size=(192, 256))),
        ("hyperstyle_1024_separable", HypernetworkConfig.official(1024, heads="separable")),
        ("hyperstyle_1024_medium_fine", HypernetworkConfig.official(1024, layers=MEDIUM_AND_FINE)),
    ],
)
def test_the_hypernetwork_has_the_tensors_of_the_published_file(
    reference_dir: Path, name: str, config: HypernetworkConfig
) -> None:
    tensors = published(reference_dir, name, "hypernet.")
    once = {key: shape for key, shape in tensors.items() if ".hypernet." not in key}  # the others are aliases
    assert len(once) < len(tensors)
    assert built(lambda: Hypernetwork(config)) == once


def test_the_networks_of_stylefeatureeditor_have_the_tensors_of_the_published_files(reference_dir: Path) -> None:
    generator = GeneratorConfig.official(1024)
    folder = reference_dir / "sfe" / "manifests"
    rows = json.loads((folder / "sfe_editor_1024.json").read_text(encoding="utf-8"))["tensors"]
    first = json.loads((folder / "sfe_inverter_1024.json").read_text(encoding="utf-8"))["tensors"]
    inverter = built(lambda: SfeInverter(SfeInverterConfig(generator)))
    assert inverter.pop("latent_avg") == (18, 512)
    editor = built(lambda: FeatureEditor(FeatureEditorConfig(generator)))
    both = {**{f"inverter.{n}": s for n, s in inverter.items()}, **{f"encoder.{n}": s for n, s in editor.items()}}
    assert both == {row["key"]: tuple(row["shape"]) for row in rows}
    assert {f"encoder.{n}": s for n, s in inverter.items()} == {row["key"]: tuple(row["shape"]) for row in first}
