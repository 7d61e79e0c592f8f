"""The folder of a training run: options, log, curves, image grids, and the trained model."""

from __future__ import annotations

from collections.abc import Mapping
from os.path import abspath
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from hyperstyle.errors import ConfigError
from hyperstyle.images import image_grid, save_image, to_images
from hyperstyle.io.components import read_json, write_json
from hyperstyle.io.files import make_folder
from hyperstyle.model.folder import write_model
from hyperstyle.model.parts import Model
from hyperstyle.training.loop import newest_checkpoint
from hyperstyle.training.options import TrainOptions, to_dict

__all__ = ["Progress", "list_failures", "open_run", "render_samples", "write_result"]

_MODEL = "model"
# May differ when a run is resumed, as may all of table `run`: they change its speed, length and step size.
_CHANGEABLE = {
    "data.workers",
    "optim.steps",
    "optim.rate",
    "optim.clip",
    "optim.device",
    "optim.threads",
    "optim.compile",
}


def open_run(folder: Path, options: TrainOptions) -> None:
    """Creates the folder and writes `config.json`; removes incomplete files of a killed process.

    Raises:
        ConfigError: the folder has checkpoints of a run with other options.
        CheckpointError: it cannot be created. HyperStyleError: it cannot be written to.
    """
    make_folder(folder)
    config = folder / "config.json"
    new = to_dict(options)
    if config.is_file() and newest_checkpoint(folder) is not None:
        old, now = _flat(read_json(config)), _flat(new)
        names = sorted(name for name in old.keys() | now.keys() if not _same(old.get(name), now.get(name)))
        if changed := [name for name in names if name not in _CHANGEABLE and not name.startswith("run.")]:
            raise ConfigError(
                f"{folder} holds a run with {changed[0]} {old.get(changed[0])!r}, and now it is "
                f"{now.get(changed[0])!r}: resume with the options of its config.json, or choose another folder."
            )
    write_json(config, new)


def _same(first: Any, second: Any) -> bool:
    """Whether two values are equal, or are spellings of the same path."""
    return first == second or (isinstance(first, str) and isinstance(second, str) and abspath(first) == abspath(second))


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def write_result(folder: Path, model: Model) -> Path:
    """Writes the model folder of a run; it replaces the previous one atomically.

    Raises:
        HyperStyleError: it cannot be written; the previous one stays.
    """
    path = folder / _MODEL
    write_model(model, path, keep_others=False)
    return path


def list_failures(folder: Path, failures: Mapping[str, str]) -> None:
    """Writes `unreadable.json`, name -> reason, where images could not be read."""
    if failures:
        write_json(folder / "unreadable.json", dict(sorted(failures.items())))


def render_samples(folder: Path, done: int, columns: Mapping[str, Tensor]) -> None:
    """Writes `samples/STEP.png`: a row for each image, a column for each name -> [B,3,h,w]."""
    images = [to_images(column.float().cpu()) for column in columns.values()]
    grid = image_grid(list(zip(*images, strict=True)), labels=list(columns))
    save_image(grid, make_folder(folder / "samples") / f"{done:08d}.png")


class Progress:
    """A progress bar on the standard error, and curves for TensorBoard where it is installed.

    Args:
        folder: of the run; curves go to `tensorboard/`.
        steps: total number.
        quiet: no progress bar.
        tensorboard: write curves where TensorBoard is installed.
    """

    def __init__(self, folder: Path, steps: int, *, quiet: bool, tensorboard: bool) -> None:
        self._steps, self._quiet = steps, quiet
        self._bar: Any = None
        self._writer: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:  # curves are optional
                return
            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def show(self, done: int, row: Mapping[str, float]) -> None:
        """After each step, with its row of the log."""
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=self._steps, initial=done - 1, unit="step", disable=self._quiet)
        if "loss" in row:
            self._bar.set_postfix(loss=f"{row['loss']:.4g}", refresh=False)
        self._bar.update()
        if self._writer is not None:
            for name, value in row.items():
                if name != "step":
                    self._writer.add_scalar(name, value, done)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._writer is not None:
            self._writer.close()
