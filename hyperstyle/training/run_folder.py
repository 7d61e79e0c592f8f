"""The folder of a training run: its options, and the progress that is shown and written as curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from os.path import abspath
from pathlib import Path
from typing import Any

from hyperstyle.errors import ConfigError
from hyperstyle.io.components import write_json
from hyperstyle.io.files import make_folder
from hyperstyle.io.opening import read_json
from hyperstyle.training.distributed import rank
from hyperstyle.training.loop import newest_checkpoint
from hyperstyle.training.options import TrainOptions, to_dict

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
    """Creates the folder, if it is not there, and writes `config.json`; removes incomplete files of a killed process.

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


def _flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    """ "table.option" -> value; what is in no table keeps its name."""
    flat: dict[str, Any] = {}
    for name, value in tables.items():
        flat |= {f"{name}.{option}": v for option, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


@contextmanager
def progress(options: TrainOptions) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """A function to call after each step: (number of steps done, row of the log).

    It shows a progress bar on the standard error where that is a terminal, unless `run.quiet` is set. It writes curves
    for TensorBoard into `tensorboard/` of the run's folder, if `run.tensorboard` is set and TensorBoard is installed.
    Of several processes only the first does.
    """
    from tqdm import tqdm

    bar: Any = None
    writer: Any = None
    if options.run.tensorboard and rank() == 0:
        with suppress(ImportError):  # curves are optional
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(Path(options.run.out) / "tensorboard"))

    def show(done: int, row: Mapping[str, float]) -> None:
        nonlocal bar
        if bar is None:
            is_quiet = options.run.quiet or rank() != 0
            bar = tqdm(total=options.optim.steps, initial=done - 1, unit="step", disable=is_quiet or None)
        if "loss" in row:
            bar.set_postfix(loss=f"{row['loss']:.4g}", refresh=False)
        bar.update()
        if writer is not None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, done)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
        if writer is not None:
            writer.close()
