"""What each task adds to the gradients, by finite differences; stages, discriminators, first weights, known codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, InversionError, MissingFileError
from hyperstyle.images import to_tensor
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.folder import write_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.hypernetworks.hyperstyle import HypernetworkConfig, tuned_layers
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.training.adversarial import image_adversary
from hyperstyle.training.builders import chosen_layers, open_generator, open_model
from hyperstyle.training.data import code_reader, inversions_of
from hyperstyle.training.encoder_task import EncoderTask
from hyperstyle.training.engine import make_task, train
from hyperstyle.training.hypernetwork_task import HyperInverterTask, HyperStyleTask
from hyperstyle.training.options import LossOptions

if TYPE_CHECKING:
    from training.conftest import CheckGradient, Crops, Doubled, Job

CPU = torch.device("cpu")
TASKS = ("encoder", "hyperstyle", "hyperinverter")


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["w", "psp", "e4e"])
def test_gradients_of_an_encoder_are_those_of_its_losses(
    job: Job, tmp_path: Path, kind: str, doubled: Doubled, crops: Crops, check_gradient: CheckGradient
) -> None:
    flags = {"encoder__kind": kind, "loss__w_mean": 0.1, "loss__delta": 0.1}
    task = make_task(job("encoder", tmp_path, **flags))
    assert isinstance(task, EncoderTask)
    doubled(task)
    crop = crops()
    figures = task.train_step(crop, 0, lambda loss: loss)

    def loss() -> Tensor:
        w = task.network(crop)
        away = (w - task.base.generator.latent_avg).flatten(1).norm(dim=1).mean()
        total = (task.base.generator(w) - crop).square().mean() + 0.1 * away
        return total + (0.1 * (w[:, 1:] - w[:, :1]).norm(dim=2).sum(1).mean() if kind == "e4e" else 0)

    assert figures["loss"] == pytest.approx(loss().item(), rel=1e-6)
    check_gradient(task.network, loss)


@pytest.mark.parametrize("kind", ["restyle-psp", "restyle-e4e"])
def test_gradients_of_a_restyle_encoder_are_those_of_all_passes(
    job: Job, tmp_path: Path, kind: str, doubled: Doubled, crops: Crops, check_gradient: CheckGradient
) -> None:
    flags = {"encoder__kind": kind, "encoder__passes": 3, "loss__w_mean": 0.1, "loss__delta": 0.1}
    task = make_task(job("encoder", tmp_path, **flags))
    assert isinstance(task, EncoderTask)
    doubled(task)
    crop, generator, network = crops(), task.base.generator, task.network
    figures = task.train_step(crop, 0, lambda loss: loss)
    with torch.no_grad():  # what each pass saw
        w = generator.latent_avg.expand(2, 8, -1)
        seen = [(w, generator(w))]
        for _ in range(2):
            w = w + network(crop, seen[-1][1])
            seen.append((w, generator(w)))

    def losses() -> list[Tensor]:
        values = []
        for before, image in seen:
            w = before + network(crop, image)
            away = (w - generator.latent_avg).flatten(1).norm(dim=1).mean()
            values.append((generator(w) - crop).square().mean() + 0.1 * away)
            if kind == "restyle-e4e":
                values[-1] = values[-1] + 0.1 * (w[:, 1:] - w[:, :1]).norm(dim=2).sum(1).mean()
        return values

    assert figures["loss"] == pytest.approx(losses()[-1].item(), rel=1e-6)
    check_gradient(network, lambda: torch.stack(losses()).sum())


@pytest.mark.parametrize(
    ("kind", "backbone"), [pytest.param("restyle-psp", "irse", marks=pytest.mark.slow), ("restyle-e4e", "resnet")]
)
def test_a_restyle_encoder_learns_to_invert_in_passes(
    job: Job, tmp_path: Path, photos: Path, kind: str, backbone: str
) -> None:
    flags: dict[str, Any] = {"encoder__kind": kind, "encoder__backbone": backbone, "optim__optimizer": "adam"}
    options = job("encoder", tmp_path / "run", encoder__passes=2, optim__steps=40, **flags)
    task = make_task(options)
    inverter = HyperStyleInverter.from_pretrained(train(task, options), device="cpu")
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    inversions = [inverter.invert(photos / "00.png", method=kind, steps=steps, align=False) for steps in (0, 1, 2)]
    assert inversions[1].stored_metrics["l2"] < inversions[0].stored_metrics["l2"]
    crop = to_tensor(Image.open(photos / "00.png"))[None]
    samples = task.sample(crop)
    assert list(samples) == ["crop", "first", "reconstruction"]
    torch.testing.assert_close(samples["first"], inversions[1].tensor, atol=1e-4, rtol=0)
    torch.testing.assert_close(samples["reconstruction"], inversions[2].tensor, atol=1e-4, rtol=0)


@pytest.mark.parametrize("heads", ["shared", "plain", "separable", "compact"])
def test_gradients_of_a_hypernetwork_are_those_of_all_passes(
    job: Job,
    tmp_path: Path,
    encoder_run: Path,
    heads: str,
    doubled: Doubled,
    crops: Crops,
    check_gradient: CheckGradient,
) -> None:
    flags = {"hyperstyle__encoder": str(encoder_run), "hyperstyle__passes": 3, "hyperstyle__heads": heads}
    task = make_task(job("hyperstyle", tmp_path, **flags))
    assert isinstance(task, HyperStyleTask)
    doubled(task)
    for parameter in task.network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)  # compact heads begin at zero
    crop, generator, network = crops(), task.base.generator, task.network
    task.train_step(crop, 0, lambda loss: loss)
    with torch.no_grad():  # what each pass saw
        w = task.encoder(crop)
        seen: list[tuple[Tensor, dict[str, Tensor]]] = [(generator(w), {})]
        for _ in range(3):
            image, before = seen[-1]
            new = network.offsets(network(crop, image))
            offsets = {name: new[name] + before.get(name, 0.0) for name in new}
            seen.append((generator(w, offsets), offsets))

    def loss() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for image, before in seen[:3]:
            new = network.offsets(network(crop, image))
            offsets = {name: new[name] + before.get(name, 0.0) for name in new}
            total = total + (generator(w, offsets) - crop).square().mean()
        return total

    check_gradient(network, loss)


def test_gradients_of_a_hyperinverter_are_those_of_its_loss(
    job: Job, tmp_path: Path, encoder_run: Path, doubled: Doubled, crops: Crops, check_gradient: CheckGradient
) -> None:
    task = make_task(job("hyperinverter", tmp_path, hyperinverter__encoder=str(encoder_run), hyperinverter__hidden=8))
    assert isinstance(task, HyperInverterTask)
    doubled(task)
    crop, generator, network = crops(), task.base.generator, task.network
    figures = task.train_step(crop, 0, lambda loss: loss)

    def loss() -> Tensor:
        w = task.encoder(crop)
        residuals = network.offsets(network(crop, generator(w)))
        return (generator(w, residuals=residuals) - crop).square().mean()

    assert figures["loss"] == pytest.approx(loss().item(), rel=1e-6)
    check_gradient(network, loss)


def test_rows_join_one_after_another_and_change_nothing_before(job: Job, tmp_path: Path, crops: Crops) -> None:
    flags = {"encoder__kind": "e4e", "encoder__progressive_start": 5, "encoder__progressive_every": 2}
    task = make_task(job("encoder", tmp_path, **flags))
    assert isinstance(task, EncoderTask)
    assert [task.rows_at(step) for step in (0, 4, 5, 6, 7, 9, 11, 1000)] == [1, 1, 2, 2, 3, 4, 5, 8]
    crop = crops().float()
    w = task.network(crop)
    assert torch.equal(w, w[:, :1].expand_as(w))  # in W, and so is the model that is written now
    task.train_step(crop, 6, lambda loss: loss)
    moved = [block.get_parameter("linear.weight").grad for block in task.network.styles]  # type: ignore[union-attr]
    assert [bool(grad is not None and grad.abs().sum() > 0) for grad in moved] == [True, True] + [False] * 6


def test_a_discriminator_of_codes_learns_to_tell_them_and_pulls_them(job: Job, tmp_path: Path) -> None:
    flags = {"encoder__kind": "e4e", "loss__latent_discriminator": 0.5, "loss__r1_every": 4}
    options = job("encoder", tmp_path / "run", optim__steps=9, **flags)
    train(make_task(options), options)
    log = rows(tmp_path / "run")
    assert {"latent_real", "latent_made", "latent_told_apart", "gradient_latent_discriminator"} <= log[0].keys()
    assert [row["step"] for row in log if "latent_r1" in row] == [1, 5, 9]
    state = torch.load(tmp_path / "run" / "checkpoint-00000009.pt", weights_only=True)["modules"]
    assert state["pools"]["made.filled"] == 36


@pytest.mark.parametrize("task", TASKS)
def test_a_discriminator_takes_part_from_its_step_on(job: Job, tmp_path: Path, encoder_run: Path, task: str) -> None:
    flags: dict[str, Any] = {"loss__adversarial": 0.05, "loss__adversarial_from": 3, "loss__r1_every": 2}
    if task != "encoder":
        flags[f"{task}__encoder"] = str(encoder_run)
    options = job(task, tmp_path / "run", optim__steps=6, optim__optimizer="adam", **flags)
    train(make_task(options), options)
    log = rows(tmp_path / "run")
    assert [row["step"] for row in log if "told_apart" in row] == [4, 5, 6]
    assert [row["step"] for row in log if "r1" in row] == [4, 6]
    assert all("gradient_discriminator" in row for row in log[3:])


def test_a_discriminator_learns_to_tell_images_apart(job: Job, tmp_path: Path, crops: Crops) -> None:
    task = make_task(job("encoder", tmp_path, loss__adversarial=1.0))
    assert isinstance(task, EncoderTask)
    adversary = task.adversaries["discriminator"]
    real, fake = crops(4).float(), crops(4).float() * 0.5
    adversary.optimizer.param_groups[0]["lr"] = 0.01  # the loop sets it otherwise
    apart = []
    for _ in range(15):
        adversary.optimizer.zero_grad()
        apart.append(adversary.add_gradient(real, fake, lambda loss: loss)["told_apart"])
        adversary.optimizer.step()
    assert apart[-1] < 0.9 * apart[0]


def test_a_term_of_the_discriminator_gives_it_no_gradient(job: Job, tmp_path: Path, crops: Crops) -> None:
    task = make_task(job("encoder", tmp_path, loss__adversarial=1.0))
    assert isinstance(task, EncoderTask)
    adversary = task.adversaries["discriminator"]
    fake = crops().float().requires_grad_(True)
    adversary.generator_term(fake).backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert all(p.grad is None for p in adversary.discriminator.parameters())


def test_a_pull_towards_the_mean_trains_the_encoder_of_a_hypernetwork_too(
    job: Job, tmp_path: Path, encoder_run: Path
) -> None:
    flags = {"hyperstyle__encoder": str(encoder_run), "hyperstyle__passes": 1, "loss__w_mean": 1.0}
    options = job("hyperstyle", tmp_path / "run", optim__steps=20, optim__optimizer="adam", **flags)
    train(make_task(options), options)
    log = rows(tmp_path / "run")
    assert log[-1]["w_mean"] < 0.8 * log[0]["w_mean"]
    before, after = (
        HyperStyleInverter.from_pretrained(folder / "model", device="cpu").model.encoder
        for folder in (encoder_run, tmp_path / "run")
    )
    assert before is not None
    assert after is not None
    assert not torch.equal(before.state_dict()["linear.weight"], after.state_dict()["linear.weight"])


@pytest.mark.parametrize("kind", ["psp", "e4e"])
def test_encoders_into_w_plus_become_methods_of_the_model(job: Job, tmp_path: Path, photos: Path, kind: str) -> None:
    options = job("encoder", tmp_path / kind, encoder__kind=kind)
    inverter = HyperStyleInverter.from_pretrained(train(make_task(options), options), device="cpu")
    assert kind in inverter.methods
    assert inverter.invert(photos / "00.png", align=False, method=kind).w.shape == (1, 8, 16)


def test_a_hyperinverter_becomes_a_method_of_the_model(
    job: Job, tmp_path: Path, photos: Path, encoder_run: Path
) -> None:
    options = job("hyperinverter", tmp_path / "run", hyperinverter__encoder=str(encoder_run))
    inverter = HyperStyleInverter.from_pretrained(train(make_task(options), options), device="cpu")
    assert inverter.invert(photos / "00.png", align=False, method="hyperinverter").image.size == (32, 32)


def test_layers_are_chosen_by_word_name_or_number() -> None:
    official = GeneratorConfig.official(1024)
    assert len(chosen_layers(official, "published")) == 17
    assert chosen_layers(official, "medium-fine") == chosen_layers(official, "published")[3:]
    assert len(chosen_layers(official, "all")) == 26
    assert chosen_layers(official, ("3", "b4.conv1")) == ("b4.conv1", "b8.conv1")
    assert HypernetworkConfig(official, chosen_layers(official, "published")) == HypernetworkConfig.official(1024)
    with pytest.raises(ConfigError, match=r"no layer 'b2.conv1'"):
        chosen_layers(official, ("b2.conv1",))
    assert chosen_layers(official, "published") == tuned_layers(official)


@pytest.fixture(scope="module")
def codes(encoder_run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inversions of all images but the one that is none."""
    folder = tmp_path_factory.mktemp("codes")
    inverter = HyperStyleInverter.from_pretrained(encoder_run / "model", device="cpu")
    for photo in sorted(photos.glob("[0-9]*.png")):
        inverter.invert(photo, align=False).save(folder / f"{photo.stem}.safetensors")
    return folder


def test_codes_made_before_take_the_place_of_the_encoders(
    job: Job, tmp_path: Path, encoder_run: Path, photos: Path, codes: Path
) -> None:
    image_dir = tmp_path / "images"
    image_dir.mkdir()
    for photo in photos.glob("[0-9]*.png"):
        (image_dir / photo.name).write_bytes(photo.read_bytes())
    flags = {"hyperstyle__encoder": str(encoder_run), "data__train": str(image_dir), "data__flip": 0.0}
    curves = []
    for name, inversions in (("anew", None), ("before", str(codes))):
        options = job("hyperstyle", tmp_path / name, data__inversions=inversions, optim__steps=2, **flags)
        train(make_task(options), options)
        curves.append([row["loss"] for row in rows(tmp_path / name)])
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    with pytest.raises(ConfigError, match=r"would be that of a/00.png and of b/00.png"):
        inversions_of(str(codes), ["a/00.png", "b/00.png"])


def test_images_without_an_inversion_are_left_out_and_listed(
    job: Job, tmp_path: Path, encoder_run: Path, codes: Path
) -> None:
    (tmp_path / "some").mkdir()
    for name in ("00", "05"):
        (tmp_path / "some" / f"{name}.safetensors").write_bytes((codes / f"{name}.safetensors").read_bytes())
    flags: dict[str, Any] = {"hyperstyle__encoder": str(encoder_run), "data__test_share": 0.0, "optim__steps": 1}
    options = job("hyperstyle", tmp_path / "run", data__inversions=str(tmp_path / "some"), **flags)
    with pytest.warns(UserWarning, match=r"23 of 25 images have no inversion in .*some' and are left out"):
        train(make_task(options), options)
    listed = json.loads((tmp_path / "run" / "unreadable.json").read_text())
    assert set(listed) == {"broken.png", *(f"{i:02d}.png" for i in range(24))} - {"00.png", "05.png"}
    assert "no inversion in" in listed["broken.png"]
    with pytest.raises(MissingFileError, match=r"no image has an inversion in .*: invert all images"):
        inversions_of(str(codes), ["99.png"])


def test_inversions_of_another_generator_are_refused_before_the_first_step(
    job: Job, tmp_path: Path, encoder_run: Path, codes: Path
) -> None:
    model = open_model(str(encoder_run), CPU)
    assert code_reader([codes / "00.safetensors"], model)([0, 0]).shape == (2, 8, 16)
    next(model.generator.parameters()).mul_(1.01)
    write_model(model, tmp_path / "other")
    flags = {"hyperstyle__encoder": str(tmp_path / "other"), "data__inversions": str(codes)}
    options = job("hyperstyle", tmp_path / "run", data__test_share=0.0, **flags)
    task = make_task(options)
    with (
        pytest.warns(UserWarning, match="1 of 25"),
        pytest.raises(InversionError, match=r"00.safetensors was made with"),
    ):
        train(task, options)
    assert not (tmp_path / "run").exists()


def test_training_goes_on_from_the_network_of_another_model(job: Job, tmp_path: Path, encoder_run: Path) -> None:
    task = make_task(job("encoder", tmp_path, encoder__init=str(encoder_run)))
    assert isinstance(task, EncoderTask)
    trained = HyperStyleInverter.from_pretrained(encoder_run / "model", device="cpu").model.encoder
    assert trained is not None
    assert torch.equal(task.network.state_dict()["linear.weight"], trained.state_dict()["linear.weight"])
    with pytest.raises(ConfigError, match="is a model without e4e"):
        make_task(job("encoder", tmp_path, encoder__kind="e4e", encoder__init=str(encoder_run)))


def test_a_generator_file_without_a_domain_is_for_images_of_its_size(tmp_path: Path, generator: Generator) -> None:
    state = {name: tensor for name, tensor in generator.state_dict().items() if name != "latent_avg"}
    torch.save({"g_ema": state, "latent_avg": generator.latent_avg}, tmp_path / "g.pt")
    model = open_generator(str(tmp_path / "g.pt"), None, CPU)
    assert (model.domain.size, model.domain.input_size, model.domain.aligner) == (32, (32, 32), "none")
    assert open_generator(str(tmp_path / "g.pt"), model.domain.name, CPU).domain == model.domain
    faces = open_generator(str(tmp_path / "g.pt"), "faces", CPU).domain
    assert (faces.name, faces.input_size, faces.aligner) == ("faces", (32, 32), "face")
    with pytest.raises(ConfigError, match="no domain 'face'"):
        open_generator(str(tmp_path / "g.pt"), "face", CPU)


def test_what_a_task_cannot_use_is_refused(job: Job, tmp_path: Path, start: Path, generator: Generator) -> None:
    with pytest.raises(ConfigError, match="without a W encoder"):
        make_task(job("hyperstyle", tmp_path, hyperstyle__encoder=str(start)))
    with pytest.raises(ConfigError, match="makes codes of its own"):
        make_task(job("encoder", tmp_path, data__inversions=str(tmp_path)))
    with pytest.raises(ConfigError, match="192x256 px: expected a square"):
        image_adversary(LossOptions(adversarial=0.1), Model(generator, Domain("cars", 256, (192, 256), (32, 224))))
