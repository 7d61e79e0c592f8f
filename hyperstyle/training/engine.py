"""Training any task on any images: one loop for all.

from hyperstyle.training.engine import make_task, train
from hyperstyle.training.options import resolve

options = resolve("encoder", flags={"encoder.generator": "g.pt", "data.train": "photos", "run.out": "runs/enc"})
train(make_task(options), options)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hyperstyle.errors import TrainingWarning, warn
from hyperstyle.model.aligner import aligner_of
from hyperstyle.model.parts import Model
from hyperstyle.runtime.gradients import outside_inference_mode, with_gradients
from hyperstyle.training.builders import codes_of, inversions_of
from hyperstyle.training.distributed import join, merge, on_first, rank, world
from hyperstyle.training.encoder_task import EncoderTask
from hyperstyle.training.hyperinverter_task import HyperInverterTask
from hyperstyle.training.hyperstyle_task import HyperStyleTask
from hyperstyle.training.images import TrainingImages, open_data
from hyperstyle.training.loop import Schedule, fit, nbytes
from hyperstyle.training.optimization import Optimization
from hyperstyle.training.options import TrainOptions
from hyperstyle.training.run_folder import Progress, list_failures, open_run, render_samples, write_result
from hyperstyle.training.task import Task

__all__ = ["make_task", "train"]

_SHOWN = 6  # images of a sheet
_JUDGED = 1200  # held-out images at most, as published


@outside_inference_mode
def make_task(options: TrainOptions) -> Task:
    """The task that the options name, on its device, with first weights that the seed decides.

    Raises:
        ConfigError, CheckpointError, MissingDependencyError: something it needs is missing or does not fit.
    """
    join(None if options.optim.device == "auto" else torch.device(options.optim.device))
    options.optim.micro_batch(world())
    if options.loss.adversarial > 0 and options.loss.adversarial_from >= options.optim.steps and rank() == 0:
        warn(
            f"no discriminator takes part: it would from step {options.loss.adversarial_from} on "
            f"(loss.adversarial_from), and training ends after {options.optim.steps}.",
            TrainingWarning,
        )
    torch.manual_seed(options.optim.seed)
    if options.task == "encoder":
        return EncoderTask(options)
    return HyperStyleTask(options) if options.task == "hyperstyle" else HyperInverterTask(options)


@with_gradients
def train(task: Task, options: TrainOptions) -> Path:
    """Trains to the last step, from where the run in `options.run.out` was interrupted, if it was.

    The folder of the run gets `config.json` (every option, device and domain as they were found), `log.jsonl` (a row
    for each step), checkpoints, `samples/`, curves for TensorBoard where it is installed, `unreadable.json` where
    images were left out, and `model/`, a model folder that is replaced as a whole with each checkpoint.

    Returns:
        The model folder.

    Raises:
        ConfigError: the folder is that of another run; the batch cannot be divided among the processes; a loss became
            NaN: the last checkpoint and model stay.
        CheckpointError: there is no room for checkpoints and model.
        ImageError: no images. MissingFileError, InversionError: no inversions, or of another generator.
        HyperStyleError: a file cannot be written: what was there before stays.
    """
    optim, run, domain = options.optim, options.run, task.base.domain
    folder, part = Path(run.out), optim.micro_batch(world())
    if optim.threads is not None:
        torch.set_num_threads(optim.threads)
    aligner = aligner_of(task.base) if options.data.align == "auto" else None
    pictures, held_out = open_data(options.data, domain.input_size, content=domain.content_rows, aligner=aligner)
    if rank() == 0 and (left := {**held_out.failures, **pictures.failures}):  # nothing was read yet
        name, why = next(iter(left.items()))
        warn(
            f"{len(left)} file(s) that look like images cannot be read and are left out. The first, {name!r}, {why} "
            "All are in unreadable.json.",
            TrainingWarning,
        )
    codes, flip, unreadable = None, options.data.flip, dict[str, str]()
    if options.data.inversions is not None:
        pictures, codes, unreadable = _with_codes(pictures, options.data.inversions, task.base)
        flip = 0.0
    on_first(lambda: open_run(folder, _resolved(options, task)))
    updates = Optimization(task, optim)

    def step(i: int) -> Mapping[str, float]:
        batch = pictures.batch(i, optim.batch, optim.seed, flip, part=(rank(), world()))
        given = None if codes is None else codes(batch.indices).to(updates.device)
        if (i + 1) % run.save_every == 0 or i + 1 == optim.steps:
            unreadable.update(merge(pictures.failures))
        return updates.step(i, batch.images.to(updates.device), given)

    @torch.no_grad()
    def evaluate(done: int) -> dict[str, float]:
        found: dict[str, list[Tensor]] = {}
        count = min(len(held_out), _JUDGED)
        with updates.as_written():
            for first in range(0, count, part):
                crops, _ = held_out.load(range(first, min(first + part, count)))
                for name, values in task.evaluate(crops.to(updates.device)).items() if len(crops) else ():
                    found.setdefault(f"test_{name}", []).append(values.float().cpu())
        return {name: torch.cat(values).mean().item() for name, values in found.items()}

    def save(done: int) -> None:
        list_failures(folder, unreadable | dict(held_out.failures))
        with updates.as_written():
            model = task.model()
            record = {"task": options.task, "steps": done, "pictures": Path(options.data.train).name}
            write_result(folder, replace(model, info={**model.info, "training": record}))

    def look(done: int, row: Mapping[str, float]) -> None:
        progress.show(done, row)
        if done % run.sample_every == 0 or done == optim.steps:
            source = held_out if len(held_out) else pictures
            crops, _ = source.load(range(min(len(source), _SHOWN)))
            if len(crops):
                with updates.as_written():
                    render_samples(folder, done, task.sample(crops.to(updates.device)))

    first = rank() == 0
    with Progress(folder, optim.steps, quiet=run.quiet or not first, tensorboard=run.tensorboard and first) as progress:
        fit(
            step,
            steps=optim.steps,
            folder=folder,
            modules=updates.states,
            optimizers=task.optimizers,
            schedule=Schedule(optim.rate, warmup=0, decay=0.0),
            evaluate=evaluate if len(held_out) else None,
            evaluate_every=run.evaluate_every,
            save_every=run.save_every,
            keep=run.keep,
            log_all=True,
            on_step=look,
            on_save=save,
            reserve_bytes=sum(nbytes(network.state_dict().values()) for network in task.model().networks.values()),
        )
    on_first(lambda: None if (folder / "model").exists() else save(optim.steps))  # killed between checkpoint and model
    return folder / "model"


def _with_codes(
    pictures: TrainingImages, folder: str, base: Model
) -> tuple[TrainingImages, Callable[[Sequence[int]], Tensor], dict[str, str]]:
    """The images that have an inversion in the folder, their codes by index, and why the others are left out."""
    found = inversions_of(folder, pictures.names)
    others = {name: f"It has no inversion in {folder!r}." for name in pictures.names if name not in found}
    if others and rank() == 0:
        warn(
            f"{len(others)} of {len(pictures)} images have no inversion in {folder!r} and are left out, the first is "
            f"{next(iter(others))!r}; unreadable.json will list them.",
            TrainingWarning,
        )
    chosen = pictures.named(found)
    return chosen, codes_of([found[name] for name in chosen.names], base), others


def _resolved(options: TrainOptions, task: Task) -> TrainOptions:
    """The options with what "auto" and None stand for: where it is trained, for what kind of images, the losses."""
    optim = replace(options.optim, device=str(task.base.device))
    encoder = None if options.encoder is None else replace(options.encoder, domain=task.base.domain.name)
    return replace(options, optim=optim, encoder=encoder, loss=task.objective.options)
