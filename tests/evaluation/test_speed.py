"""The library against the plain path, on a small model of the published form."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, ModelNotFoundError
from hyperstyle.evaluation import cases, ceilings, speed
from hyperstyle.evaluation.cases import (
    Case,
    Implementation,
    Parts,
    Workload,
    build_run,
    parts_of,
    peak_in_subprocess,
)
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig, tuned_layers
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 32 px in the published form: shared and plain heads, batch normalization."""
    torch.manual_seed(0)
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2)
    generator = Generator(GeneratorConfig(32, channels=(16, 16, 16, 8), latent_width=16, mapping_layers=2))
    config = HypernetworkConfig(generator.config, tuned_layers(generator.config), (32, 32), trunk, code_width=16)
    evaluator_config = AttributeNetworkConfig(("age",), TrunkConfig((8, 8), (1, 1), 3, 1, 2, norm="group"), 32, 8)
    inverter = HyperStyleInverter(
        generator,
        WEncoder(WEncoderConfig(generator.config.rows, 16, (32, 32), trunk)),
        Hypernetwork(config),
        domain=Domain("small", 32, (32, 32), similarity="traits"),
        parts={"judge": AttributeNetwork(evaluator_config)},
    )
    path = tmp_path_factory.mktemp("models") / "published"
    inverter.save_pretrained(path)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Implementation | None, Workload]]:
    """No separate processes and no ceilings, which take a second each; records the calls that measure memory."""
    calls: list[tuple[Implementation | None, Workload]] = []

    def peak(case: Case, way: Implementation | None, work: Workload) -> int:
        calls.append((way, work))
        return {None: 100, "fast": 130, "plain": 200, "networks": 0}[way]

    monkeypatch.setattr(speed, "peak_in_subprocess", peak)
    monkeypatch.setattr(ceilings, "arithmetic_ceiling", lambda dtype, device: 1e15)
    monkeypatch.setattr(ceilings, "memory_ceiling", lambda device: 1e15)
    return calls


def test_every_row_is_measured_in_turn_and_has_its_ratio(
    folder: Path, quick: list[tuple[Implementation | None, Workload]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "without_bfloat16", lambda device: None)  # slow without instructions, but possible
    runs: list[tuple[Implementation, Workload, torch.dtype]] = []
    make = build_run

    def noted(way: Implementation, inverter: HyperStyleInverter, work: Workload) -> object:
        implementation_run = make(way, inverter, work)

        def run() -> Tensor:
            runs.append((way, work, inverter.model.dtype))
            return implementation_run()

        return run

    monkeypatch.setattr(speed, "build_run", noted)
    steps: list[tuple[str, int, int]] = []
    threads = torch.get_num_threads()
    case = Case(model=str(folder), repeat=2, threads=1)
    report = speed.measure_speed(case, Workload(2, 2), on_progress=lambda *step: steps.append(step))
    assert torch.get_num_threads() == threads
    pairs = report["pairs"]
    assert [pair["name"] for pair in pairs] == ["float32", "batch8", "edit_strip", "bfloat16"]
    for pair in pairs:
        assert pair["ratio"]["low"] <= pair["ratio"]["median"] <= pair["ratio"]["high"]
        assert pair["fast"]["median"] > 0 < pair["plain_cpu"]["median"]
        assert pair["gflops"] > 0 < pair["arithmetic_share"]
        assert pair["memory_share"] > 0
    assert [pair["pictures"] for pair in pairs] == [2, 8, 11, 2]
    first = Workload(2, 2)
    full, wide = [run for run in runs if run[1] == first], torch.float32
    assert full[:4] == [("fast", first, wide), ("plain", first, wide)] * 2
    assert [("fast", first, torch.bfloat16), ("plain", first, wide)] * 2 == full[-4:]
    assert 0 <= report["agreement"] <= 2e-5
    assert 0 <= report["agreement_edit_strip"] <= 2e-5
    error = report["errors"]["bfloat16"]["image"]
    assert 0 < error["mean"] < error["largest"]
    assert 20 < error["psnr"] < 90
    assert 0.9 < error["identity"] <= 1.0001
    assert report["errors"]["bfloat16"]["edit"] != error
    assert quick == [(None, first), ("fast", first), ("plain", first)]
    assert report["memory"] == {"built": 100, "fast": 130, "plain": 200}
    assert report["missing"] == {}
    assert ("batch8", 2, 2) in steps  # eight images each: fewer pairs
    assert ("float32", 4, 4) in steps
    assert report["ratio_float32"] == pairs[0]["ratio"]["median"]
    assert report["ratio_batch8_float16"] is None
    assert report["memory_above_weights_ratio"] == 0.3
    assert (report["built"], report["peak_fast"], report["peak_plain"]) == (100, 130, 200)
    assert (report["size"], report["steps"], report["batch"], report["machine"]["threads"]) == (32, 2, 2, 1)
    assert report["machine"].keys() >= {"torch", "python"}


def test_what_a_machine_lacks_is_left_out_and_said(
    folder: Path, quick: list[tuple[Implementation | None, Workload]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "without_bfloat16", lambda device: "none here")
    monkeypatch.setattr(speed, "peak_in_subprocess", lambda *_: None)
    monkeypatch.setattr(speed, "_RATES", (1, 2))
    rows = ["bfloat16", "float16", "batch8_bfloat16", "memory", "rates"]
    report = speed.measure_speed(Case(model=str(folder), repeat=1), Workload(1), rows)
    assert report["pairs"] == []
    assert report["memory"] is None
    assert report["missing"] == {
        "memory": "this system does not tell what a process takes",
        "bfloat16": "none here",
        "batch8_bfloat16": "none here",
        "float16": "float16 is measured on GPUs",
        "rates_bfloat16": "none here",
        "rates_float16": "float16 is measured on GPUs",
    }
    assert [(rate["dtype"], rate["batch"]) for rate in report["rates"]] == [("float32", 1), ("float32", 2)]
    assert report["rates"][1]["pictures_per_second"] == 2 / report["rates"][1]["seconds"]["median"]
    assert {report[f"ratio_{name}"] for name in speed.PAIRS} == {None}


def test_a_batch_that_the_plain_path_has_no_memory_for_goes_one_by_one(
    folder: Path, quick: list[tuple[Implementation | None, Workload]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "_free", lambda: 1000)
    report = speed.measure_speed(Case(model=str(folder), repeat=1), Workload(1), ["batch8"])
    assert not report["pairs"][0]["together"]
    inverter = Case(model=str(folder)).build()
    at_once, one_by_one = (build_run("plain", inverter, Workload(1, 3, together=both))() for both in (True, False))
    torch.testing.assert_close(at_once, one_by_one, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("case", "work", "rows", "message"),
    [
        (Case(100), Workload(), None, "a model of 100 px: expected 256, 512 or 1024"),
        (Case(256, device="warp"), Workload(), None, "device 'warp' is not known"),
        (Case(256), Workload(), ["float32", "quick"], "nothing called 'quick' is measured: expected some of float32"),
        (Case(256), Workload(steps=0), None, "0 steps, batch 1: expected 1 or more"),
        (Case(256, threads=0), Workload(), None, "3 repeats, 0 threads: expected 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_model_is_built(
    case: Case, work: Workload, rows: list[str] | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "build", lambda *_: pytest.fail("built"))
    with pytest.raises(ConfigError, match=message):
        speed.measure_speed(case, work, rows)


def test_a_model_that_is_not_there_or_lacks_a_part_is_named(folder: Path, tiny_inverter: HyperStyleInverter) -> None:
    with pytest.raises(ModelNotFoundError):
        speed.measure_speed(Case(model="no/such/model/here"), Workload())
    bare = HyperStyleInverter(tiny_inverter.model.generator, domain=tiny_inverter.model.domain)
    with pytest.raises(ConfigError, match="no W encoder or no hypernetwork"):
        parts_of(bare)


def test_random_weights_change_the_image_at_every_step_and_by_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    config = GeneratorConfig(32, channels=(32, 32, 32, 16), latent_width=32, mapping_layers=2)
    trunk = TrunkConfig((16, 32), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2)

    def small(size: int) -> Parts:
        tuned = HypernetworkConfig(config, tuned_layers(config), (32, 32), trunk, code_width=32)
        encoder = WEncoder(WEncoderConfig(config.rows, 32, (32, 32), trunk))
        return encoder, Generator(config), Hypernetwork(tuned)

    monkeypatch.setattr(cases, "_published", small)
    before = torch.get_rng_state()
    inverter = Case(256).build()
    assert torch.equal(torch.get_rng_state(), before)
    images = [build_run("fast", inverter, Workload(steps, 2))() for steps in (0, 1, 2, 5)]
    assert all(image.isfinite().all() and image.abs().max() < 100 for image in images)
    assert all((a - b).abs().mean() > 0.01 for a, b in pairwise(images))
    crops = cases._crops(inverter, 2)
    assert crops.abs().max() <= 1
    _, _, hypernetwork = parts_of(inverter)
    offsets = hypernetwork.offsets(hypernetwork(crops, crops))
    assert all(0.01 < delta.std() < 0.5 for delta in offsets.values())
    assert max(float((delta[0] - delta[1]).abs().max()) for delta in offsets.values()) > 1e-4
    again = Case(256).build()
    assert torch.equal(parts_of(again)[1].weight("b4.conv1"), parts_of(inverter)[1].weight("b4.conv1"))


def test_the_networks_alone_give_the_images_of_the_library(folder: Path) -> None:
    inverter = Case(model=str(folder)).build()
    torch.testing.assert_close(
        build_run("networks", inverter, Workload(2, 2))(),
        build_run("fast", inverter, Workload(2, 2))(),
        rtol=0,
        atol=2e-5,
    )


def test_the_peak_of_a_separate_process_is_that_of_one_that_builds_the_model(folder: Path) -> None:
    peak = peak_in_subprocess(Case(model=str(folder), threads=1), None, Workload())
    assert peak is None or 50_000_000 < peak < 2_000_000_000


def test_operations_are_those_of_the_convolutions_and_products_times_two(folder: Path) -> None:
    inverter = Case(model=str(folder)).build()
    parts, domain = parts_of(inverter), inverter.model.domain
    one_step, two_steps, three_steps = (ceilings.operations(parts, domain, Workload(steps)) for steps in (1, 2, 3))
    assert three_steps - two_steps == two_steps - one_step > 0
    assert ceilings.operations(parts, domain, Workload(2, 4)) == 4 * two_steps
    strip = ceilings.operations(parts, domain, Workload(edits=1))
    convolutions = sum(
        2 * s.channels_in * s.channels_out * s.kernel**2 * (s.resolution // (2 if s.up else 1)) ** 2
        for s in parts[1].layers
    )
    assert convolutions < strip < 2 * convolutions  # small maps: filters and affine maps count
    assert ceilings.least_bytes(parts, Workload(2)) > ceilings.least_bytes(parts, Workload(1))
    assert ceilings.least_bytes(parts, Workload(edits=4)) > ceilings.least_bytes(parts, Workload(edits=1))


@pytest.mark.parametrize("words", ["flags : fpu avx512_bf16 fma", "Features : fp asimd bf16"])
def test_bfloat16_is_known_by_the_words_of_the_system(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "cpuinfo"
    monkeypatch.setattr(ceilings, "Path", lambda name: table)
    assert "does not tell" in str(ceilings.without_bfloat16(torch.device("cpu")))
    table.write_text("flags : fpu avx2\n")
    assert ceilings.without_bfloat16(torch.device("cpu")) == "this processor has no bfloat16 instructions"
    table.write_text(words)
    assert ceilings.without_bfloat16(torch.device("cpu")) is None


def test_ceilings_are_rates_of_the_best_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "_SECONDS", 0.0)
    device = torch.device("cpu")
    assert ceilings.arithmetic_ceiling(torch.float32, device) > 1e6  # however busy the machine is
    assert ceilings.memory_ceiling(device) > 1e6


def test_a_ratio_of_memory_needs_a_plain_path_that_takes_some(
    folder: Path, quick: list[tuple[Implementation | None, Workload]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "peak_in_subprocess", lambda *_: 100)
    report = speed.measure_speed(Case(model=str(folder), repeat=1), Workload(1), ["memory"])
    assert report["memory"] == {"built": 100, "fast": 100, "plain": 100}
    assert report["memory_above_weights_ratio"] is None


def test_of_a_model_that_the_plain_path_does_not_know_the_errors_are_measured() -> None:
    report = speed.measure_speed(Case(model="avatars", repeat=1, threads=1), Workload(1), ["float32", "bfloat16"])
    assert report["pairs"] == []
    assert "expected 'shared' or 'plain' and False, the published forms" in report["missing"]["float32"]
    if "bfloat16" in report["errors"]:
        assert report["errors"]["bfloat16"]["image"]["identity"] > 0.99
