"""StyleFeatureEditor's files become its networks, every tensor used; the phases are told apart by what is in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from hyperstyle.cli import main
from hyperstyle.convert import convert
from hyperstyle.domain import Domain
from hyperstyle.errors import CheckpointError, ConfigError, WeightsError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.encoders.sfe import FeatureEditor, FeatureEditorConfig, SfeInverter, SfeInverterConfig

if TYPE_CHECKING:
    from conftest import OfficialFiles

DOMAIN = Domain("mine", 32, (32, 32))  # features have a quarter of the crop's side: those of b8.conv1


class Files:
    """Both phases' files, e4e and the generator, for the generator of `official`."""

    def __init__(self, official: OfficialFiles) -> None:
        torch.manual_seed(1)
        self.official = official
        config = SfeInverterConfig(official.config, "b8.conv1", 2, (32, 32), (4, 6, 8, 10), (2, 1, 2, 1))
        self.inverter = SfeInverter(config).eval().requires_grad_(False)
        self.editor = FeatureEditor(FeatureEditorConfig(official.config, "b8.conv1", 3)).eval().requires_grad_(False)
        for network in (self.inverter, self.editor):
            for name, tensor in network.state_dict().items():
                if "running_mean" in name or "num_batches" in name:
                    tensor.fill_(3)
        self.e4e, _ = official.pyramid(input_size=(32, 32))
        self.generator = official.bare()

    def second_phase(self, **more: Tensor) -> dict[str, Tensor]:
        return {
            **{f"encoder.{name}": tensor for name, tensor in self.editor.state_dict().items()},
            **{f"inverter.{name}": tensor for name, tensor in self.inverter_state().items()},
            **more,
        }

    def first_phase(self, **more: Tensor) -> dict[str, Tensor]:
        return {**{f"encoder.{name}": tensor for name, tensor in self.inverter_state().items()}, **more}

    def inverter_state(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.inverter.state_dict().items() if name != "latent_avg"}

    def save(self, state: dict[str, Tensor], name: str = "sfe.pt", **more: Any) -> Path:
        return self.official.save(name, {"state_dict": state, **more})

    def convert(self, file: Path, **options: Any) -> Any:
        arguments: dict[str, Any] = {"encoder": self.e4e, "generator": self.generator, "domain": DOMAIN}
        return convert(file, self.official.folder / "model", **{**arguments, **options})

    def model(self) -> Any:
        return HyperStyleInverter.from_pretrained(self.official.folder / "model", device="cpu").model


@pytest.fixture
def files(official: OfficialFiles) -> Files:
    return Files(official)


def test_the_second_phase_becomes_both_networks(
    files: Files, official: OfficialFiles, assert_same: Callable[[Any, nn.Module], None]
) -> None:
    done = files.convert(files.save(files.second_phase()))
    model = files.model()
    assert torch.equal(model.sfe_inverter.latent_avg, official.generator.latent_avg.expand(8, -1))
    files.inverter.latent_avg = model.sfe_inverter.latent_avg
    assert_same(model.sfe_inverter, files.inverter)
    assert_same(model.feature_editor, files.editor)
    assert_same(model.generator, official.generator)
    assert model.sfe_inverter.config == files.inverter.config
    assert model.feature_editor.config == files.editor.config
    assert (done.kind, model.domain) == ("sfe", replace(DOMAIN, sampling="point"))
    assert done.consumed["feature_editor"] == len(files.editor.state_dict())
    assert done.consumed["sfe_inverter"] == len(files.inverter_state())
    assert "sfe.pt" not in done.unread
    inverter = HyperStyleInverter.from_pretrained(files.official.folder / "model", device="cpu")
    assert inverter.methods[:2] == ("sfe", "sfe-inverter")
    crop = torch.rand(3, 32, 32) * 2 - 1
    assert inverter.invert(crop, align=False).method == "sfe"


def test_the_first_phase_needs_no_e4e(files: Files, assert_same: Callable[[Any, nn.Module], None]) -> None:
    done = files.convert(files.save(files.first_phase()), encoder=None)
    model = files.model()
    files.inverter.latent_avg = model.sfe_inverter.latent_avg
    assert_same(model.sfe_inverter, files.inverter)
    assert done.kind == "sfe-inverter"
    assert done.notes[-1].startswith("sfe.pt is of the first phase and has no feature editor")
    assert model.feature_editor is None
    assert HyperStyleInverter.from_pretrained(files.official.folder / "model").methods[0] == "sfe-inverter"


def test_training_files_are_read_as_the_light_ones(files: Files) -> None:
    more = {"decoder.input.input": torch.zeros(1), "discriminator.b4.bias": torch.zeros(2)}
    second = files.second_phase(**more, **{"e4e_encoder.styles.0.linear.weight": torch.zeros(2)})
    done = files.convert(files.save(second, encoder_opt={}, latent_avg=torch.zeros(16)))
    assert done.unread["sfe.pt"] == (
        "encoder_opt",
        "its generator (1 tensors)",
        "its discriminator (1 tensors)",
        "its e4e encoder (1 tensors; the encoder's own file is read, as by the official code)",
        "latent_avg (the generator's is used, as by the official code)",
    )


def test_what_is_not_given_is_named_with_the_command_that_works(files: Files) -> None:
    second, first = files.save(files.second_phase()), files.save(files.first_phase(), "first.pt")
    command = r"Run: hyperstyle convert sfe\.pt --e4e E4E\.pt --generator STYLEGAN2\.pt --out FOLDER"
    w_encoder = files.official.w_encoder()[0]
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (
            second,
            {"encoder": None},
            f"checkpoint, which needs its e4e encoder.*e4e encoder. {command}",
        ),
        (second, {"encoder": w_encoder}, f"Not given: e4e encoder. {command}"),
        (second, {"generator": None}, f"Not given: generator. {command}"),
        (first, {"generator": None}, r"of the first phase, which needs its generator too.* first\.pt --generator S"),
    ]
    for file, options, message in cases:
        with pytest.raises(CheckpointError, match=message):
            files.convert(file, **options)
    assert not (files.official.folder / "model").exists()


def test_a_generator_without_noise_maps_is_refused(files: Files) -> None:
    state, mean = files.official.decoder()
    state = {name: tensor for name, tensor in state.items() if not name.startswith("noises.")}
    file = files.official.save("quiet.pt", {"g_ema": state, "latent_avg": mean})
    with pytest.raises(WeightsError, match=r"quiet\.pt has no noise maps, which the features of .*sfe\.pt contain"):
        files.convert(files.save(files.second_phase()), generator=file)
    assert not (files.official.folder / "model").exists()


def test_tensors_that_lack_or_have_no_place_are_named(files: Files) -> None:
    for state, missing in (
        (files.second_phase(), "inverter.fuser.conv.bias"),
        (files.first_phase(), "encoder.fuser.conv.bias"),
    ):
        with pytest.raises(WeightsError, match=f"1 missing.*{missing.replace('.', '[.]')}"):
            files.convert(files.save({name: t for name, t in state.items() if name != missing}))
    for name in ("encoder.body.0.body.9.weight", "inverter.fs_backbone.fc.weight", "encoder.fs_backbone.conv.0.weight"):
        with pytest.raises(WeightsError, match=f"1 unexpected.*{name.replace('.', '[.]')}"):
            files.convert(files.save(files.second_phase(**{name: torch.zeros(1)})))


def test_a_generator_of_another_size_is_refused(files: Files, official_at: Callable[..., OfficialFiles]) -> None:
    wider = official_at(latent_width=12)
    with pytest.raises(WeightsError, match="shape"):
        files.convert(files.save(files.first_phase()), generator=wider.bare("wider.pt"), encoder=None)
    with pytest.raises(ConfigError, match=r"features of layer 'b64\.conv1': expected one of b4\.conv1"):
        files.convert(files.save(files.first_phase()), domain=replace(DOMAIN, input_size=(256, 256)), encoder=None)


def test_the_command_takes_e4e_by_its_name(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """The domain of its files is faces, whose crops have 256 px: too large for this generator, which the error says."""
    arguments = [str(files.save(files.second_phase())), "--e4e", str(files.e4e), "--generator", str(files.generator)]
    assert main(["convert", *arguments, "--out", str(files.official.folder / "model")]) != 0
    assert "features of layer 'b64.conv1'" in capsys.readouterr().err
