"""Two attribute networks, which predict traits and an identity embedding.

One, `perceptual`, is a loss of encoder and hypernetwork. The other, `evaluator`, only measures: it has another seed and
other widths, and no network is optimized against it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, batch_indices, cached_set, chunks, mirrored
from examples.avatars.recipe.stage import RegressionTask, train_stage
from examples.avatars.renderer.dataset import AvatarSet, make_set_of
from examples.avatars.renderer.factors import FACTORS, NAMES, Factors, sample_factors
from hyperstyle.io.components import load_component, save_component
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig
from hyperstyle.training.distributed import on_first
from hyperstyle.training.loop import LearningRateSchedule
from hyperstyle.training.task import autocast, compiled

__all__ = ["load_attribute_network", "train_evaluator", "train_perceptual"]

SHAPE = ("face_width", "jaw", "cheeks", "eye_size", "eye_tilt", "brow_thickness", "nose_size", "nose_length")
IDENTITY = (*SHAPE, "lip_fullness", "skin", "skin_warmth", "eye_color", "hair_color", "beard")
_SIDED = ("yaw", "roll", "gaze", "parting", "light_azimuth")
_LOOKALIKES = 8  # people of a group share everything of IDENTITY but SHAPE
_GROUPS = 4  # of a batch; with several processes, each contrasts the people of its own
_TEMPERATURE = 0.05


class _Heads(nn.Module):
    """Traits and embedding from one call of the trunk."""

    def __init__(self, network: AttributeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        flat = self.network.features(image)[-1].flatten(1)
        return self.network.trait_head(flat), self.network.identity_head(flat)


def _identity_factors(people: int, seed: int) -> Factors:
    """Two images of each of `people` people, next to each other; groups of look-alikes follow each other."""
    factors = sample_factors(2 * people, seed=seed)
    person = torch.arange(2 * people) // 2
    for name in IDENTITY:
        source = person if name in SHAPE else person // _LOOKALIKES * _LOOKALIKES
        factors[name] = factors[name][2 * source]
    return factors


def _evaluator_set(recipe: Recipe, run: Path, name: str, people: int, seed: int) -> AvatarSet:
    size = recipe.generator.size
    seed += recipe.seed * 1000

    def report(done: int, total: int) -> None:
        LOG.info("%s: %d of %d rendered", name, done, total)

    path = run / "data" / f"{name}-{size}-{people}.safetensors"

    def make() -> AvatarSet:
        return make_set_of(_identity_factors(people, seed), size=size, on_progress=report)

    return cached_set(path, make)


def train_evaluator(recipe: Recipe, data: Sets, run: Path) -> None:
    """The network that measures."""
    _train(recipe, data, run, "judge", recipe.encoder_widths, recipe.judge_steps, recipe.seed)


def train_perceptual(recipe: Recipe, data: Sets, run: Path) -> None:
    """The network that is a loss."""
    _train(recipe, data, run, "perceptual", recipe.perceptual_widths, recipe.perceptual_steps, recipe.seed + 500)


def load_attribute_network(folder: Path) -> AttributeNetwork:
    return load_component(AttributeNetwork, AttributeNetworkConfig, folder / "done", device=CPU)


def _train(recipe: Recipe, data: Sets, run: Path, name: str, widths: tuple[int, ...], steps: int, seed: int) -> None:
    """Traits by regression; identity by contrast, a person against look-alikes and strangers (NT-Xent)."""
    size = recipe.generator.size
    train = _evaluator_set(recipe, run, "people", recipe.people, 5)
    test = _evaluator_set(recipe, run, "people-test", max(2 * _LOOKALIKES, recipe.held_out // 2), 6)
    held_out = data.detailed_test
    traits = tuple(f.name for f in FACTORS if f.group == "trait" and f.kind != "hue")
    columns = [NAMES.index(name) for name in traits]
    config = AttributeNetworkConfig(
        traits,
        recipe.trunk(widths, recipe.encoder_blocks),
        input_size=size,
    )
    torch.manual_seed(seed)
    network = AttributeNetwork(config).to(memory_format=torch.channels_last)
    call = compiled(_Heads(network), recipe.compile)
    groups = len(train) // (2 * _LOOKALIKES)
    sided = torch.tensor([trait in _SIDED for trait in traits])

    def batch(i: int) -> dict[str, Tensor]:
        random = batch_indices(len(data.detailed), recipe.batch // 2, i, seed)
        chosen = batch_indices(groups, _GROUPS, i, seed + 1)
        pairs = (chosen[:, None] * 2 * _LOOKALIKES + torch.arange(2 * _LOOKALIKES)).flatten()
        images = torch.cat([data.detailed.images(random), train.images(pairs)])
        values = torch.cat([data.detailed.factors[random], train.factors[pairs]])[:, columns]
        if i % 2:  # in mirrored images, traits that point to a side change their sign
            values = torch.where(sided, 1.0 - values, values)
        return {**mirrored({"crops": images}, i), "values": values, "person": pairs // 2}

    def loss(image: Tensor, values: Tensor, person: Tensor) -> tuple[Tensor, dict[str, float]]:
        with autocast(recipe.dtype, CPU):
            predicted, embedding = call(image)
        regression = (predicted.float() - values).square().mean()
        contrast = _contrast(embedding[-len(person) :].float(), person)
        return 10.0 * regression + 0.5 * contrast, {"regression": regression.item(), "contrast": contrast.item()}

    def evaluate(done: int) -> dict[str, float]:
        predicted = torch.cat([network(held_out.images(s)) for s in chunks(len(held_out))])
        values = held_out.factors[:, columns]
        r2 = 1.0 - (predicted - values).square().mean(0) / values.var(0).clamp(min=1e-6)
        row = {f"r2_{n}": r2[traits.index(n)].item() for n in ("yaw", "smile", "age", "mouth_open", "glasses")}
        return {
            **row,
            "identity_auc": _identity_auc(torch.cat([network.embedding(test.images(s)) for s in chunks(len(test))])),
        }

    task, schedule = RegressionTask("network", network, loss), LearningRateSchedule(1e-3, steps, decay=0.5)
    train_stage(task, recipe.optim(clip=2.0), schedule, run / name, batch, evaluate)
    on_first(lambda: save_component(network, config, run / name / "done"))


def _contrast(embedding: Tensor, person: Tensor) -> Tensor:
    """NT-Xent of embeddings [N,E], where images 2k and 2k + 1 show the same person, of number person [N]."""
    unit = nn.functional.normalize(embedding, dim=1)
    partner = torch.arange(len(unit)) ^ 1
    # Left out: each image itself, and other images of its person, where a group occurs twice in the batch.
    excluded = person[:, None] == person
    excluded[torch.arange(len(unit)), partner] = False
    logits = (unit @ unit.T / _TEMPERATURE).masked_fill(excluded, -1e9)
    return nn.functional.cross_entropy(logits, partner)


def _identity_auc(embedding: Tensor) -> float:
    """How often two images of one person [N,E] are more similar than images of two look-alikes."""
    unit = nn.functional.normalize(embedding, dim=1).view(-1, 2 * _LOOKALIKES, embedding.shape[1])
    similarity = unit @ unit.transpose(1, 2)  # [groups, 2 * lookalikes, 2 * lookalikes]
    index = torch.arange(2 * _LOOKALIKES)
    same = similarity[:, index, index ^ 1].flatten()
    different = similarity[:, (index[:, None] // 2) != (index[None] // 2)].flatten()
    return (same[:, None] > different[None]).float().mean().item()
