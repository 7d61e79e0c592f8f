"""Training any task on any images: one loop for all.

from hyperstyle.training.engine import make_task, train
from hyperstyle.training.options import resolve

options = resolve("encoder", flags={"encoder.generator": "g.pt", "data.train": "photos", "run.out": "runs/enc"})
train(make_task(options), options)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hyperstyle.errors import TrainingWarning, warn
from hyperstyle.model.folder import aligner_of
from hyperstyle.model.parts import Model
from hyperstyle.runtime.gradients import outside_inference_mode, with_gradients
from hyperstyle.training.builders import code_reader, inversions_of
from hyperstyle.training.distributed import join, merge, on_first, rank, world
from hyperstyle.training.encoder_task import EncoderTask
from hyperstyle.training.hyperinverter_task import HyperInverterTask
from hyperstyle.training.hyperstyle_task import HyperStyleTask
from hyperstyle.training.images import TrainingImages, open_data
from hyperstyle.training.loop import Hooks, LoopOptions, Schedule, fit, nbytes
from hyperstyle.training.objective import Objective
from hyperstyle.training.optimization import Optimization
from hyperstyle.training.options import TaskName, TrainOptions
from hyperstyle.training.run_folder import Progress, list_failures, open_run, render_samples, write_result
from hyperstyle.training.task import Task

__all__ = ["make_task", "train"]

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
    return _TASKS[options.task].from_options(options)


@with_gradients
def train(task: Task, options: TrainOptions) -> Path:
    """Trains to the last step, and resumes the run in `options.run.out` if it was interrupted.

    The folder of the run gets `config.json` (every option, device and domain as they were resolved), `log.jsonl` (a row
    for each step), checkpoints, `samples/`, curves for TensorBoard where it is installed, `unreadable.json` where
    images were left out, and `model/`, a model folder that is replaced as a whole with each checkpoint.

    Returns:
        The model folder.

    Raises:
        ConfigError: the folder is that of another run; the batch cannot be divided among the processes; a loss became
            NaN: the last checkpoint and model stay.
        CheckpointError: the disk has too little space for checkpoints and model.
        ImageError: no images. MissingFileError, InversionError: no inversions, or of another generator.
        HyperStyleError: a file cannot be written: what was there before stays.
    """
    folder, settings, is_first = Path(options.run.out), options.run, rank() == 0
    options.optim.micro_batch(world())
    if options.optim.threads is not None:
        torch.set_num_threads(options.optim.threads)
    data = _open(task.base, options)
    on_first(lambda: open_run(folder, _resolved(options, task)))
    run = _Run(folder, task, options, data)
    loop = LoopOptions(
        folder,
        options.optim.steps,
        Schedule(options.optim.rate, warmup=0, decay=0.0),
        settings.evaluate_every,
        settings.save_every,
        settings.keep,
        log_all=True,
        reserve_bytes=sum(nbytes(network.state_dict().values()) for network in task.model().networks.values()),
    )
    with Progress(
        folder,
        options.optim.steps,
        quiet=settings.quiet or not is_first,
        tensorboard=settings.tensorboard and is_first,
    ) as progress:

        def show(done: int, row: Mapping[str, float]) -> None:
            progress.show(done, row)
            if done % settings.sample_every == 0 or done == options.optim.steps:
                run.sample(done)

        hooks = Hooks(run.evaluate if len(data.held_out) else None, show, run.save)
        fit(run.step, run.optimization.states, task.optimizers, loop, hooks)
    # The model is missing where the process was killed between checkpoint and model.
    on_first(lambda: None if (folder / "model").exists() else run.save(options.optim.steps))
    return folder / "model"


@dataclass(frozen=True)
class _Data:
    """The images of a run.

    Attributes:
        images, held_out: for training and for evaluation.
        flip: probability that a training image is mirrored.
        codes: indices of training images -> their codes [B,L,D], where they are known in advance.
        left_out: name -> reason, for images that lack an inversion.
    """

    images: TrainingImages
    held_out: TrainingImages
    flip: float
    codes: Callable[[Sequence[int]], Tensor] | None = None
    left_out: Mapping[str, str] | None = None


class _Run:
    """What one call of `train` does at each step, evaluation and checkpoint."""

    def __init__(self, folder: Path, task: Task, options: TrainOptions, data: _Data) -> None:
        self.folder, self.task, self.options, self.data = folder, task, options, data
        self.optimization = Optimization(task, options.optim)
        self.unreadable = dict(data.left_out or {})

    def step(self, i: int) -> dict[str, float]:
        """One step of the optimizers; before a checkpoint, names of unreadable images are collected."""
        optim, data = self.options.optim, self.data
        batch = data.images.batch(i, optim.batch, optim.seed, data.flip, part=(rank(), world()))
        device = self.optimization.device
        codes = None if data.codes is None else data.codes(batch.indices).to(device)
        if (i + 1) % self.options.run.save_every == 0 or i + 1 == optim.steps:
            self.unreadable.update(merge(data.images.failures))
        return self.optimization.step(i, batch.images.to(device), codes)

    @torch.no_grad()
    def evaluate(self, done: int) -> dict[str, float]:
        """The task's figures, means over held-out images."""
        held_out, part = self.data.held_out, self.options.optim.micro_batch(world())
        values: dict[str, list[Tensor]] = {}
        count = min(len(held_out), _MAX_HELD_OUT)
        with self.optimization.evaluation_mode():
            for first in range(0, count, part):
                crops, _ = held_out.load(range(first, min(first + part, count)))
                if len(crops):
                    for name, figures in self.task.evaluate(crops.to(self.optimization.device)).items():
                        values.setdefault(f"test_{name}", []).append(figures.float().cpu())
        return {name: torch.cat(figures).mean().item() for name, figures in values.items()}

    def sample(self, done: int) -> None:
        """Writes an image grid of held-out images, or of training images if none are held out."""
        source = self.data.held_out if len(self.data.held_out) else self.data.images
        crops, _ = source.load(range(min(len(source), _SAMPLES)))
        if len(crops):
            with self.optimization.evaluation_mode():
                render_samples(self.folder, done, self.task.sample(crops.to(self.optimization.device)))

    def save(self, done: int) -> None:
        """Writes the model folder and the list of unreadable images."""
        list_failures(self.folder, self.unreadable | dict(self.data.held_out.failures))
        with self.optimization.evaluation_mode():
            model = self.task.model()
            record = {"task": self.options.task, "steps": done, "pictures": Path(self.options.data.train).name}
            write_result(self.folder, replace(model, info={**model.info, "training": record}))


def _open(base: Model, options: TrainOptions) -> _Data:
    """The images that the options name. Warns about files that are left out."""
    domain, data = base.domain, options.data
    aligner = aligner_of(base) if data.align == "auto" else None
    images, held_out = open_data(data, domain.input_size, content=domain.content_rows, aligner=aligner)
    failures = {**held_out.failures, **images.failures}  # of files that are no images; nothing was read yet
    if rank() == 0 and failures:
        name, reason = next(iter(failures.items()))
        warn(
            f"{len(failures)} file(s) that look like images cannot be read and are left out. The first, {name!r}, "
            f"{reason} All are in unreadable.json.",
            TrainingWarning,
        )
    if data.inversions is None:
        return _Data(images, held_out, data.flip)
    files = inversions_of(data.inversions, images.names)
    left_out = {name: f"It has no inversion in {data.inversions!r}." for name in images.names if name not in files}
    if left_out and rank() == 0:
        warn(
            f"{len(left_out)} of {len(images)} images have no inversion in {data.inversions!r} and are left out, the "
            f"first is {next(iter(left_out))!r}; unreadable.json will list them.",
            TrainingWarning,
        )
    images = images.named(files)
    return _Data(images, held_out, 0.0, code_reader([files[name] for name in images.names], base), left_out)


def _resolved(options: TrainOptions, task: Task) -> TrainOptions:
    """The options with values in place of "auto" and None: device, domain, weights of losses."""
    optim = replace(options.optim, device=str(task.base.device))
    encoder = None if options.encoder is None else replace(options.encoder, domain=task.base.domain.name)
    loss = task.objective.options if isinstance(task.objective, Objective) else options.loss
    return replace(options, optim=optim, encoder=encoder, loss=loss)
