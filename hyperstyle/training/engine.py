"""Training any task on any images: one loop for all.

from hyperstyle.training.engine import make_task, train
from hyperstyle.training.options import resolve

options = resolve("encoder", flags={"encoder.generator": "g.pt", "data.train": "photos", "run.out": "runs/enc"})
train(make_task(options), options)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hyperstyle.errors import TrainingWarning, warn
from hyperstyle.images import image_grid, save_image, to_images
from hyperstyle.io.components import write_json
from hyperstyle.io.files import make_folder
from hyperstyle.model.folder import write_model
from hyperstyle.runtime.gradients import outside_inference_mode, with_gradients
from hyperstyle.training.builders import init_weights, new_network, open_base, training_device
from hyperstyle.training.data import open_data
from hyperstyle.training.distributed import join, merge, on_first, rank, world
from hyperstyle.training.encoder_task import EncoderTask
from hyperstyle.training.hypernetwork_task import HyperInverterTask, HyperStyleTask
from hyperstyle.training.loop import LearningRateSchedule, fit, nbytes
from hyperstyle.training.objective import Objective
from hyperstyle.training.optimization import TaskOptimizer
from hyperstyle.training.options import TaskName, TrainOptions
from hyperstyle.training.run_folder import open_run, progress
from hyperstyle.training.task import Task

_SAMPLES = 6  # rows of an image grid
_MAX_HELD_OUT = 1200  # images of an evaluation, as published
_TASKS: dict[TaskName, type[EncoderTask] | type[HyperStyleTask] | type[HyperInverterTask]] = {
    "encoder": EncoderTask,
    "hyperstyle": HyperStyleTask,
    "hyperinverter": HyperInverterTask,
}


@outside_inference_mode
def make_task(options: TrainOptions) -> Task:
    """The task that the options name, on its device, with first weights that depend on the seed.

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
    device = training_device(options.optim.device)
    base = open_base(options, device)
    objective = Objective(options.loss, base.domain, perceptual=base.perceptual, device=device)
    network = new_network(options, base).to(device)
    init_weights(options, network, device)
    return _TASKS[options.task](base, network, objective, options)


@with_gradients
def train(task: Task, options: TrainOptions) -> Path:
    """Trains to the last step, and resumes the run in `options.run.out` if it was interrupted.

    The folder of the run gets `config.json` (every option, device and domain as they were resolved), `log.jsonl` (a row
    for each step), checkpoints, `samples/`, curves for TensorBoard where it is installed, `unreadable.json` where
    images were left out, `unaligned.json` where some were taken as crops with no face seen in them, and `model/`, a
    model folder that is replaced as a whole with each checkpoint.

    Returns:
        The model folder.

    Raises:
        ConfigError: the folder is that of another run; the batch cannot be divided among the processes; a loss became
            NaN: the last checkpoint and model stay.
        CheckpointError: the disk has too little space for checkpoints and model.
        ImageError: no images. MissingFileError, InversionError: no inversions, or of another generator.
        HyperStyleError: a file cannot be written: what was there before stays.
    """
    steps = options.optim.steps
    options.optim.micro_batch(world())
    if options.optim.threads is not None:
        torch.set_num_threads(options.optim.threads)
    run = _Run(task, options)
    on_first(lambda: open_run(run.folder, _resolved(options, task)))
    with progress(options) as show:

        def on_step(done: int, row: Mapping[str, float]) -> None:
            show(done, row)
            if done % options.run.sample_every == 0 or done == steps:
                run.sample(done)

        fit(
            run.step,
            run.optimizer.states,
            task.optimizers,
            LearningRateSchedule(options.optim.rate, steps, warmup=0, decay=0.0),
            options.run,
            evaluate=run.evaluate if len(run.data.held_out) else None,
            on_step=on_step,
            on_save=run.save,
            reserve_bytes=sum(nbytes(network.state_dict().values()) for network in task.model().networks.values()),
        )
    # The model is missing where the process was killed between checkpoint and model.
    on_first(lambda: None if run.model.exists() else run.save(steps))
    return run.model


class _Run:
    """What one call of `train` does at each step, evaluation and checkpoint."""

    def __init__(self, task: Task, options: TrainOptions) -> None:
        self.task, self.options, self.folder = task, options, Path(options.run.out)
        self.model = self.folder / "model"
        self.data = open_data(options.data, task.base)
        self.optimizer = TaskOptimizer(task, options.optim)
        self.unreadable = dict(self.data.left_out)
        self.unaligned: dict[str, str] = {}

    def step(self, i: int) -> dict[str, float]:
        """One step of the optimizers; before a checkpoint, unreadable and unaligned images are collected."""
        optim, data = self.options.optim, self.data
        images, indices = data.images.batch(i, optim.batch, optim.seed, data.flip, part=(rank(), world()))
        known = {} if data.codes is None else {"codes": data.codes(indices).to(self.optimizer.device)}
        if (i + 1) % self.options.run.save_every == 0 or i + 1 == optim.steps:
            self.unreadable.update(merge(data.images.failures))
            self.unaligned.update(merge(data.images.unaligned))
        return self.optimizer.step(i, images.to(self.optimizer.device), **known)

    @torch.no_grad()
    def evaluate(self, done: int) -> dict[str, float]:
        """The task's figures, means over held-out images."""
        held_out, part = self.data.held_out, self.options.optim.micro_batch(world())
        values: dict[str, list[Tensor]] = {}
        count = min(len(held_out), _MAX_HELD_OUT)
        with self.optimizer.evaluation_mode():
            for first in range(0, count, part):
                crops = held_out.load(range(first, min(first + part, count)))
                if len(crops):
                    for name, figures in self.task.evaluate(crops.to(self.optimizer.device)).items():
                        values.setdefault(f"test_{name}", []).append(figures.float().cpu())
        return {name: torch.cat(figures).mean().item() for name, figures in values.items()}

    def sample(self, done: int) -> None:
        """Writes `samples/STEP.png`: a row for each of a few held-out images, or training images if none are held out.

        The columns are those of `Task.sample`.
        """
        source = self.data.held_out if len(self.data.held_out) else self.data.images
        crops = source.load(range(min(len(source), _SAMPLES)))
        if len(crops):
            with self.optimizer.evaluation_mode():
                columns = self.task.sample(crops.to(self.optimizer.device))
            images = [to_images(column.float().cpu()) for column in columns.values()]
            grid = image_grid(list(zip(*images, strict=True)), labels=list(columns))
            save_image(grid, make_folder(self.folder / "samples") / f"{done:08d}.png")

    def save(self, done: int) -> None:
        """Writes the model folder, replacing the previous one atomically, and lists of images that went wrong."""
        held_out = self.data.held_out
        for name, images in (
            ("unreadable.json", self.unreadable | dict(held_out.failures)),
            ("unaligned.json", self.unaligned | dict(held_out.unaligned)),
        ):
            if images:
                write_json(self.folder / name, dict(sorted(images.items())))
        with self.optimizer.evaluation_mode():
            model = self.task.model()
            record = {"task": self.options.task, "steps": done, "pictures": Path(self.options.data.train).name}
            write_model(replace(model, info={**model.info, "training": record}), self.model, keep_others=False)


def _resolved(options: TrainOptions, task: Task) -> TrainOptions:
    """The options with values in place of "auto" and None: device, domain, weights of losses."""
    optim = replace(options.optim, device=str(task.base.device))
    encoder = None if options.encoder is None else replace(options.encoder, domain=task.base.domain.name)
    loss = task.objective.options if isinstance(task.objective, Objective) else options.loss
    return replace(options, optim=optim, encoder=encoder, loss=loss)
