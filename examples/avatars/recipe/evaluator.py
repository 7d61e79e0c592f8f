"""Two networks that read traits and tell people apart.

One, `perceptual`, is a loss of encoder and hypernetwork. The other, `evaluator`, only measures: it has another seed and
other widths, and no network was ever optimized against it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from examples.avatars.recipe.config import Recipe
from examples.avatars.recipe.data import CPU, LOG, Sets, chunks, kept_set
from examples.avatars.renderer.dataset import AvatarSet, make_set_of
from examples.avatars.renderer.factors import FACTORS, NAMES, Factors, sample_factors
from hyperstyle.io.components import load_component, save_component
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig
from hyperstyle.training.distributed import average_gradients, on_first, share
from hyperstyle.training.loop import Schedule, batch_indices, fit
from hyperstyle.training.steps import autocast, compiled

__all__ = ["load_attribute_network", "train_evaluator", "train_perceptual"]

SHAPE = ("face_width", "jaw", "cheeks", "eye_size", "eye_tilt", "brow_thickness", "nose_size", "nose_length")
IDENTITY = (*SHAPE, "lip_fullness", "skin", "skin_warmth", "eye_color", "hair_color", "beard")
_SIDED = ("yaw", "roll", "gaze", "parting", "light_azimuth")
_LOOKALIKES = 8  # people of a group share everything of IDENTITY but SHAPE
_GROUPS = 4  # of a batch; with several processes, each contrasts the people of its own
_TEMPERATURE = 0.05


class _Heads(nn.Module):
    """Traits and embedding from one pass through the trunk."""

    def __init__(self, network: AttributeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        flat = self.network.features(image)[-1].flatten(1)
        return self.network.trait_head(flat), self.network.identity_head(flat)


def _identity_factors(people: int, seed: int) -> Factors:
    """Two images of each of `people` people, next to each other; groups of look-alikes follow each other."""
    pictures = sample_factors(2 * people, seed=seed)
    person = torch.arange(2 * people) // 2
    for name in IDENTITY:
        source = person if name in SHAPE else person // _LOOKALIKES * _LOOKALIKES
        pictures[name] = pictures[name][2 * source]
    return pictures


def _evaluator_set(recipe: Recipe, run: Path, name: str, people: int, seed: int) -> AvatarSet:
    size = recipe.generator.size
    seed += recipe.seed * 1000

    def report(done: int, total: int) -> None:
        LOG.info("%s: %d of %d rendered", name, done, total)

    path = run / "data" / f"{name}-{size}-{people}.safetensors"

    def make() -> AvatarSet:
        return make_set_of(_identity_factors(people, seed), size=size, on_progress=report)

    return kept_set(path, make)


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
        TrunkConfig(widths, recipe.encoder_blocks, *recipe.stem, 2, norm="group"),
        input_size=size,
    )
    torch.manual_seed(seed)
    evaluator = AttributeNetwork(config).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(evaluator.parameters(), betas=(0.9, 0.99))
    call = compiled(_Heads(evaluator), recipe.compile)
    groups = len(train) // (2 * _LOOKALIKES)

    def step(i: int) -> dict[str, float]:
        random = share(batch_indices(len(data.detailed), recipe.batch // 2, i, seed))
        chosen = share(batch_indices(groups, _GROUPS, i, seed + 1))
        pairs = (chosen[:, None] * 2 * _LOOKALIKES + torch.arange(2 * _LOOKALIKES)).flatten()
        image = torch.cat([data.detailed.images(random), train.images(pairs)])
        target = torch.cat([data.detailed.factors[random], train.factors[pairs]])[:, columns]
        if i % 2:  # mirrored: what points to a side changes its sign
            image = image.flip(3)
            sided = torch.tensor([n in _SIDED for n in traits])
            target = torch.where(sided, 1.0 - target, target)
        with autocast(recipe.dtype, CPU):
            values, embedding = call(image)
        embedding = embedding[len(random) :]
        regression = (values.float() - target).square().mean()
        unit = nn.functional.normalize(embedding.float(), dim=1)
        person, partner = pairs // 2, torch.arange(len(unit)) ^ 1
        again = person[:, None] == person  # itself, and the same person where a group was drawn twice
        again[torch.arange(len(unit)), partner] = False
        logits = (unit @ unit.T / _TEMPERATURE).masked_fill(again, -1e9)
        contrast = nn.functional.cross_entropy(logits, partner)
        optimizer.zero_grad()
        (10.0 * regression + 0.5 * contrast).backward()
        average_gradients(evaluator.parameters())
        nn.utils.clip_grad_norm_(evaluator.parameters(), 2.0)
        optimizer.step()
        return {"regression": regression.item(), "contrast": contrast.item()}

    @torch.no_grad()
    def evaluate(i: int) -> dict[str, float]:
        values = torch.cat([evaluator(held_out.images(s)) for s in chunks(len(held_out))])
        target = held_out.factors[:, columns]
        r2 = 1.0 - (values - target).square().mean(0) / target.var(0).clamp(min=1e-6)
        row = {f"r2_{n}": r2[traits.index(n)].item() for n in ("yaw", "smile", "age", "mouth_open", "glasses")}
        unit = torch.cat([evaluator.embedding(test.images(s)) for s in chunks(len(test))])
        unit = nn.functional.normalize(unit, dim=1).view(-1, 2 * _LOOKALIKES, unit.shape[1])
        similarity = unit @ unit.transpose(1, 2)  # within groups of look-alikes
        index = torch.arange(2 * _LOOKALIKES)
        same = similarity[:, index, index ^ 1].flatten()
        other = similarity[:, (index[:, None] // 2) != (index[None] // 2)].flatten()
        row["identity_auc"] = (same[:, None] > other[None]).float().mean().item()
        return row

    fit(
        step,
        steps=steps,
        folder=run / name,
        modules={"network": evaluator},
        optimizers={"adam": optimizer},
        schedule=Schedule(1e-3, decay=0.5),
        evaluate=evaluate,
        evaluate_every=1000,
        on_progress=lambda text: LOG.info("%s: %s", name, text),
    )
    on_first(lambda: save_component(evaluator, config, run / name / "done"))
