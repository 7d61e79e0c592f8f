"""Measuring the channel effects and statistics for StyleCLIP's edits by text."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.edits import statistics
from hyperstyle.edits.protocol import TextImageEncoder
from hyperstyle.edits.statistics import (
    StyleClipSampling,
    effects_of_features,
    fit_styleclip,
    style_statistics,
)
from hyperstyle.errors import CheckpointError, ConfigError
from hyperstyle.io.components import load_tensors
from hyperstyle.methods.projector import Projection
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

SETTINGS = StyleClipSampling(samples=1500, images=3, seed=4)


class Eye:
    """A stand-in for CLIP: a fixed linear view of images; it counts the images."""

    def __init__(self, seed: int = 0) -> None:
        self.view = torch.randn(3 * 64, 6, generator=torch.Generator().manual_seed(seed))
        self.seen = 0

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.randn(6, generator=torch.Generator().manual_seed(len(text))) for text in texts])

    def encode_image(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return F.adaptive_avg_pool2d(images, 8).flatten(1) @ self.view


@pytest.fixture
def generator() -> Generator:
    network = Generator(GeneratorConfig(16, channels=(5, 4, 3), latent_width=6, mapping_layers=1))
    network.latent_avg.copy_(network.mean_w(2000))
    return network.eval().requires_grad_(False)


def codes(generator: Generator, settings: StyleClipSampling, count: int) -> Tensor:
    return torch.cat(list(statistics._codes(generator, settings, count)))


def test_statistics_are_those_of_the_styles_of_truncated_codes(generator: Generator) -> None:
    mean, std = style_statistics(generator, SETTINGS)
    styles = generator.styles(codes(generator, SETTINGS, 1500))
    assert list(mean) == list(std) == [spec.name for spec in generator.layers]
    for name, style in styles.items():
        torch.testing.assert_close(mean[name], style.mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(std[name], style.std(0, correction=0), atol=1e-5, rtol=1e-5)


def test_only_the_first_rows_are_truncated(generator: Generator) -> None:
    settings = StyleClipSampling(samples=10, images=5, truncation=0.25, truncated_rows=2)
    plain = codes(generator, StyleClipSampling(samples=10, images=5, truncated_rows=0), 10)
    truncated, mean = codes(generator, settings, 10), generator.latent_avg
    torch.testing.assert_close(truncated[:, :2], mean + 0.25 * (plain[:, :2] - mean))
    assert torch.equal(truncated[:, 2:], plain[:, 2:])


def test_fewer_codes_are_the_first_of_more(generator: Generator) -> None:
    many = codes(generator, SETTINGS, 1500)
    assert len(many) == 1500
    torch.testing.assert_close(codes(generator, SETTINGS, 3), many[:3])


def test_each_channel_is_moved_alone_to_both_sides_of_its_mean(generator: Generator) -> None:
    eye, statistics = Eye(), style_statistics(generator, SETTINGS)
    effects = fit_styleclip(generator, eye, SETTINGS).effects
    assert {name: tuple(effect.shape) for name, effect in effects.items()} == {
        spec.name: (spec.channels_in, 6) for spec in generator.layers if not spec.torgb
    }
    for name, channel in (("b4.conv1", 0), ("b8.conv1", 3), ("b16.conv0", 1)):
        styles = generator.styles(codes(generator, SETTINGS, 3))
        sides = []
        for sign in (-1, 1):
            styles[name][:, channel] = statistics[0][name][channel] + sign * 5 * statistics[1][name][channel]
            sides.append(eye.encode_image(generator.synthesize(styles).clamp(-1, 1)))
        minus, plus = (F.normalize(side) for side in sides)
        expected = F.normalize(F.normalize(plus - minus).mean(0), dim=0)
        torch.testing.assert_close(effects[name][channel], expected, atol=1e-4, rtol=0)


def test_convolutions_of_higher_resolutions_are_left_out(generator: Generator) -> None:
    settings = StyleClipSampling(samples=100, images=2, max_resolution=8)
    effects = fit_styleclip(generator, Eye(), settings).effects
    assert list(effects) == ["b4.conv1", "b8.conv0", "b8.conv1"]


def test_an_interrupted_run_goes_on_where_it_was(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "progress.safetensors"
    effects = fit_styleclip(generator, Eye(), SETTINGS).effects

    def stop(_: str, done: int, __: int) -> None:
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_styleclip(generator, Eye(), SETTINGS, progress_file=path, on_progress=stop)
    eye, reported = Eye(), []
    again = fit_styleclip(
        generator, eye, SETTINGS, progress_file=path, on_progress=lambda *step: reported.append(step)
    ).effects
    reported = [step for step in reported if step[0] == "effects of channels"]
    channels = sum(len(effect) for effect in effects.values())
    assert reported[0] == ("effects of channels", 12, channels)
    assert reported[-1] == ("effects of channels", channels, channels)
    assert eye.seen == 3 + 6 * (channels - 11)
    assert all(torch.equal(again[name], effect) for name, effect in effects.items())
    eye = Eye()
    fit_styleclip(generator, eye, SETTINGS, progress_file=path)
    assert eye.seen == 3
    assert [file.name for file in tmp_path.iterdir()] == ["progress.safetensors"]


def test_progress_of_something_else_is_refused(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "progress.safetensors"
    fit_styleclip(generator, Eye(), SETTINGS, progress_file=path)
    assert json.loads(load_tensors(path)[1]["settings"])["reach"] == 128  # as earlier versions wrote it
    other = Generator(generator.config)
    cases: list[tuple[Generator, Eye, StyleClipSampling]] = [
        (generator, Eye(1), SETTINGS),
        (generator, Eye(), StyleClipSampling(samples=1500, images=3, seed=5)),
        (other, Eye(), SETTINGS),
    ]
    for network, eye, settings in cases:
        with pytest.raises(CheckpointError, match="another generator, encoder or other settings"):
            fit_styleclip(network, eye, settings, progress_file=path)


def test_the_encoder_sees_the_content_only(generator: Generator) -> None:
    heights = set()

    class Tall(Eye):
        def encode_image(self, images: Tensor) -> Tensor:
            heights.add(images.shape[2])
            return super().encode_image(images)

    settings = StyleClipSampling(samples=10, images=1, max_resolution=4)
    fit_styleclip(generator, Tall(), settings, content=lambda image: image[:, :, 2:14])
    assert heights == {12}


def test_a_channel_without_effect_gets_zeros() -> None:
    features = torch.randn(1, 4, 1, 5).expand(-1, -1, 2, -1)
    assert torch.equal(effects_of_features(features), torch.zeros(1, 5))


def test_the_measurements_make_edits_from_texts(generator: Generator) -> None:
    eye = Eye()
    assert isinstance(eye, TextImageEncoder)
    styleclip = replace(fit_styleclip(generator, eye, SETTINGS, model="0123"), templates=["a photo of {}"])
    edit = styleclip("an old face", neutral="a face", beta=0.01)
    assert edit.info.model == "0123"
    styles = generator.styles(codes(generator, SETTINGS, 2))
    edited = edit(styles, 2.0)
    assert edited["b16.torgb"] is styles["b16.torgb"]
    assert any(edited[name] is not styles[name] for name in styles)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 5, "images": 6},
        {"images": 0},
        {"deviations": 0.0},
        {"truncation": float("nan")},
        {"max_resolution": 2},
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        StyleClipSampling(**change)


@pytest.mark.reference
def test_effects_and_the_rate_of_optimization_equal_the_recording(reference_dir: Path) -> None:
    folder = reference_dir / "editing"
    spec = importlib.util.spec_from_file_location("detrand", folder / "detrand.py")
    assert spec is not None
    assert spec.loader is not None
    detrand = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(detrand)
    golden = np.load(folder / "golden" / "styleclip_other.npz")
    base = json.loads((folder / "golden" / "set.json").read_text(encoding="utf-8"))["seed_base"]

    features = 0.3 * detrand.normal(base + 80, 24, 10, 1, 512) + 0.02 * detrand.normal(base + 81, 24, 10, 2, 512)
    sides = np.array([-1, 1]).reshape(1, 1, 2, 1)
    features = features + sides * 0.05 * detrand.normal(base + 82, 24, 1, 1, 512)
    effects = effects_of_features(torch.from_numpy(features).float())
    torch.testing.assert_close(effects, torch.from_numpy(golden["delta_i_c"]), atol=4e-6, rtol=0)
    # StyleCLIP optimizes a code with the rates of the projector.
    for steps, key in ((300, "opt_lr"), (40, "opt_lr40")):
        rates = [Projection(steps=steps, lr=0.1).lr_at(step) for step in range(steps)]
        np.testing.assert_allclose(rates, golden[key], atol=1e-12)
