"""Every option of `hyperstyle train`: one name in Python, in TOML and YAML tables and on the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from hyperstyle.errors import ConfigError, did_you_mean
from hyperstyle.io.typed_config import config_to_dict, convert_value, find_config, read_tables

READY = Path(__file__).with_name("configs")
"""Folder of the configurations that come with the package."""

T = TypeVar("T")
_STEPS = 5  # of HyperStyle and ReStyle, in training and inference
_INIT = "first weights: an ImageNet ResNet-34 or IR-SE-50 file, ORG/NAME/FILE on the Hub, or a model"
TaskName = Literal["encoder", "hyperstyle", "hyperinverter"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)


def _option(default: T, doc: str, *, least: float = -math.inf, most: float = math.inf) -> T:
    """A field with its documentation and the closed range of its values."""
    return field(default=default, metadata={"doc": doc, "least": least, "most": most})


@dataclass(frozen=True)
class _Options:
    """A table of options. Raises ConfigError for a value out of its range."""

    def __post_init__(self) -> None:
        for option in fields(self):
            value: object = getattr(self, option.name)
            least, most = option.metadata.get("least", -math.inf), option.metadata.get("most", math.inf)
            if isinstance(value, int | float) and not least <= value <= most:
                upper = " or more" if most == math.inf else f" to {most:g}"
                raise ConfigError(f"{option.name} is {value}: expected {least:g}{upper}.")


@dataclass(frozen=True)
class DataOptions(_Options):
    """The images; see `training.images.open_images` for what `train` and `test` may be."""

    train: str = field(metadata={"doc": "folder, list, .zip or .tar shards of images"})
    test: str | None = _option(None, "held-out images; without them a share of the others is held out")
    test_share: float = _option(0.05, "share that is held out, chosen by the names", least=0, most=0.9)
    flip: float = _option(0.5, "probability of a mirrored image; none are with inversions", least=0, most=1)
    workers: int = _option(2, "threads that read images", least=1)
    align: Literal["no", "auto"] = _option("no", "auto: cut out faces first, where images are no crops yet")
    aligner: str = _option("auto", "what finds the faces: auto, dlib, dlib:FILE, mtcnn or mtcnn:FOLDER")
    inversions: str | None = _option(None, "folder of inversions, NAME.safetensors, whose codes replace the encoder's")
    size: int | None = _option(None, "size of the generator this configuration is for; others are refused")


@dataclass(frozen=True)
class LossOptions(_Options):
    """Weights of the terms (HyperStyle, Eq. 7 and Section 4.1; e4e, Section 3), 0 for none, and their networks."""

    l2: float = _option(1.0, "mean squared error", least=0)
    lpips: float = _option(0.8, "LPIPS", least=0)
    identity: float | None = _option(
        None, "identity of faces, 1 - cosine of ArcFace features; none: 0.1 where its file is given", least=0
    )
    moco: float | None = _option(
        None, "similarity of other images, 1 - cosine of MoCo features; none: 0.5 where its file is given", least=0
    )
    perceptual: float = _option(0.0, "distance of the model's own perceptual network", least=0)
    lpips_net: Literal["alex", "vgg", "squeeze"] = _option("alex", "network of LPIPS")
    identity_weights: str | None = _option(None, "file of the ArcFace network (IR-SE-50)")
    moco_weights: str | None = _option(None, "file of the MoCo network (ResNet-50)")
    adversarial: float = _option(0.0, "adversarial loss of a discriminator of images", least=0)
    adversarial_from: int = _option(0, "first step with the discriminator", least=0)
    r1: float = _option(10.0, "R1 penalty of the discriminators", least=0)
    r1_every: int = _option(16, "steps between two R1 penalties, which are multiplied by it", least=1)
    w_mean: float = _option(0.0, "distance of the codes from the mean of W (pSp)", least=0)
    delta: float = _option(2e-4, "delta regularization: length of the offsets of single rows (e4e)", least=0)
    latent_discriminator: float = _option(0.0, "adversarial loss of a discriminator of codes (e4e)", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.identity and self.moco:
            raise ConfigError(
                f"identity is {self.identity:g} and moco is {self.moco:g}: one is for faces, the other for everything "
                "else. Set one of them to 0."
            )


@dataclass(frozen=True)
class OptimOptions(_Options):
    """Optimizer, batch size, length, precision and device."""

    optimizer: Literal["ranger", "adam"] = _option("ranger", "Ranger, or Adam")
    rate: float = _option(1e-4, "learning rate", least=0)
    weight_decay: float = _option(0.0, "weight decay", least=0)
    clip: float = _option(0.0, "maximum norm of the gradient of all parameters; 0 for no clipping", least=0)
    batch: int = _option(8, "images per step, in all processes together", least=1)
    accumulate: int = _option(1, "micro-batches per step and process, to save memory", least=1)
    steps: int = _option(500_000, "number of steps", least=1)
    precision: Literal["float32", "bfloat16", "float16"] = _option("float32", "precision of autocast")
    ema: float = _option(
        0.0, "decay of a moving average of the weights, such as 0.999; 0 for none", least=0, most=0.999999
    )
    compile: bool = _option(False, "call the networks through torch.compile")
    threads: int | None = _option(None, "threads of PyTorch on the CPU", least=1)
    device: str = _option("auto", "auto, cpu, cuda, cuda:1, mps")
    seed: int = _option(0, "of all random numbers", least=0, most=2**32 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.micro_batch(1)

    def micro_batch(self, world: int) -> int:
        """Images that each of `world` processes takes at a time.

        Raises:
            ConfigError: `batch` cannot be divided evenly.
        """
        parts = world * self.accumulate
        if self.batch % parts:
            raise ConfigError(
                f"a batch of {self.batch} images for {world} processes that each take theirs in {self.accumulate} "
                f"parts: expected a multiple of {parts}, such as {self.batch + parts - self.batch % parts}."
            )
        return self.batch // parts


@dataclass(frozen=True)
class RunOptions(_Options):
    """The folder of a run, and how often it is written to."""

    out: str = field(metadata={"doc": "folder of the run; the same command resumes it"})
    save_every: int = _option(1000, "steps between two checkpoints", least=1)
    evaluate_every: int = _option(1000, "steps between two evaluations on the held-out images", least=1)
    sample_every: int = _option(1000, "steps between two image grids", least=1)
    keep: int = _option(2, "checkpoints to keep", least=1)
    tensorboard: bool = _option(True, "write curves for TensorBoard, where it is installed")
    quiet: bool = _option(False, "show no progress")


@dataclass(frozen=True)
class EncoderOptions(_Options):
    """An encoder for a generator: into W (w), into W+ (psp; e4e, progressively), or iterative (ReStyle)."""

    generator: str = field(metadata={"doc": "generator: model folder, .pt (g_ema) or NVIDIA's .pkl"})
    domain: str | None = _option(None, "kind of images: faces, cars, wild, churches, avatars")
    kind: Literal["w", "psp", "e4e", "restyle-psp", "restyle-e4e"] = _option(
        "w", "w: one code; psp: one per row; e4e: one, and offsets per row; restyle: psp or e4e, refined in steps"
    )
    backbone: Literal["irse", "resnet"] = _option(
        "irse", "trunk: IR-SE-50; or ResNet-34, as published for ReStyle, other domains than faces"
    )
    passes: int = _option(_STEPS, "ReStyle's refinement steps per image, with a loss after each", least=1)
    progressive_start: int | None = _option(None, "step at which e4e begins to add rows; all from the start", least=0)
    progressive_every: int = _option(2000, "steps from one row to the next", least=1)
    init: str | None = _option(None, _INIT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.progressive_start is not None and not self.kind.endswith("e4e"):
            raise ConfigError(
                f"progressive_start is {self.progressive_start} and kind is {self.kind!r}: only e4e adds rows in "
                "stages. Leave it out, or set kind to e4e or restyle-e4e."
            )
        if self.passes != _STEPS and not self.kind.startswith("restyle"):
            raise ConfigError(
                f"passes is {self.passes} and kind is {self.kind!r}: only ReStyle's encoders have several. Leave it "
                "out, or set kind to restyle-psp or restyle-e4e."
            )


@dataclass(frozen=True)
class HyperStyleOptions(_Options):
    """A hypernetwork for the generator and encoder of a model (HyperStyle, Section 3)."""

    encoder: str = field(metadata={"doc": "run or model folder with generator and encoder"})
    passes: int = _option(_STEPS, "refinement steps per image, with a loss after each", least=1)
    layers: Literal["published", "all", "medium-fine"] | tuple[str, ...] = _option(
        "published", "layers with offsets: published (all but toRGB), all, medium-fine, or names separated by commas"
    )
    heads: Literal["shared", "plain", "separable", "compact"] = _option(
        "shared", "architecture of the refinement heads"
    )
    init: str | None = _option(None, _INIT)


@dataclass(frozen=True)
class HyperInverterOptions(_Options):
    """HyperInverter's second phase for the generator and encoder of a model."""

    encoder: str = field(metadata={"doc": "run or model folder with generator and encoder"})
    hidden: int = _option(128, "width of the codes from which residual weights are computed", least=1)
    init: str | None = _option(None, _INIT)


@dataclass(frozen=True)
class TrainOptions:
    """All options of a training run; of the tables of tasks, that of `task` is set, the others are None."""

    task: TaskName
    data: DataOptions
    loss: LossOptions
    optim: OptimOptions
    run: RunOptions
    encoder: EncoderOptions | None = None
    hyperstyle: HyperStyleOptions | None = None
    hyperinverter: HyperInverterOptions | None = None

    def __post_init__(self) -> None:
        if getattr(self, self.task) is None:
            raise ConfigError(f"training {self.task} needs the options {self.task!r}.")
        used = {"latent_discriminator": ("encoder",), "w_mean": ("encoder", "hyperstyle")}
        for name, tasks in used.items():
            if (weight := getattr(self.loss, name)) > 0 and self.task not in tasks:
                raise ConfigError(
                    f"loss.{name} is {weight:g}: it is for training {' or '.join(tasks)}, and does nothing for "
                    f"{self.task}. Leave it out."
                )
        if self.data.inversions is not None and self.task == "encoder":
            raise ConfigError("data.inversions: an encoder makes codes of its own. Leave it out.")
        if self.data.inversions is not None and self.loss.w_mean > 0:
            raise ConfigError("the loss w_mean trains the encoder, whose codes data.inversions fixes. Use one of them.")

    @property
    def network(self) -> EncoderOptions | HyperStyleOptions | HyperInverterOptions:
        """The table of the task, with the options of its network."""
        table: EncoderOptions | HyperStyleOptions | HyperInverterOptions = getattr(self, self.task)
        return table

    @property
    def component(self) -> str:
        """The name of the trained network in a model."""
        if self.encoder is not None:
            return {"w": "encoder", "psp": "psp", "e4e": "e4e"}.get(self.encoder.kind, "restyle")
        return "hypernetwork" if self.task == "hyperstyle" else "hyperinverter"


TABLES: dict[str, type[Any]] = {
    "data": DataOptions,
    "loss": LossOptions,
    "optim": OptimOptions,
    "run": RunOptions,
    "encoder": EncoderOptions,
    "hyperstyle": HyperStyleOptions,
    "hyperinverter": HyperInverterOptions,
}
# Defaults of papers that differ from HyperStyle's; HyperInverter: its supplementary material.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "hyperinverter": {"optim.optimizer": "adam", "loss.adversarial": 0.005, "loss.adversarial_from": 200_000}
}


def tables_of(task: TaskName) -> dict[str, type[Any]]:
    """The tables of a task's options, that of the task last."""
    return {name: kind for name, kind in TABLES.items() if name not in TASKS or name == task}


def default_of(task: TaskName, table: str, option: Field[Any]) -> Any:
    """The default of an option; `dataclasses.MISSING` for one that is required."""
    return _DEFAULTS.get(task, {}).get(f"{table}.{option.name}", option.default)


def resolve(
    task: TaskName, files: Sequence[str | os.PathLike[str]] = (), flags: Mapping[str, Any] | None = None
) -> TrainOptions:
    """The options of a training run: defaults, then files in order, then flags; later ones win.

    Args:
        task: what is trained.
        files: TOML, YAML or JSON files, or names of ready ones, of tables of options (`[loss]`, `lpips = 0.8`) and,
            optionally, `task`.
        flags: "loss.lpips" -> value; numbers may be text, names may be joined by commas, "none" is None.

    Raises:
        ConfigError: an unknown name, a value of a wrong type or out of range, a required option that is missing.
    """
    tables = tables_of(task)
    values: dict[str, dict[str, Any]] = {
        name: {option.name: default_of(task, name, option) for option in fields(kind)} for name, kind in tables.items()
    }
    for file in files:
        _update(values, task, read_tables(find_config(file, READY)), f"{os.fspath(file)}: ")
    for name, value in (flags or {}).items():
        table, _, option = name.partition(".")
        _update(values, task, {table: {option: value}}, "")
    missing = [
        f"{name}.{option.name} ({option.metadata['doc']})"
        for name, kind in tables.items()
        for option in fields(kind)
        if values[name][option.name] is MISSING
    ]
    if missing:
        raise ConfigError(f"training {task} needs {' and '.join(missing)}. Give it as a flag or in a file.")
    resolved: dict[str, Any] = {}
    for name, kind in tables.items():
        try:
            resolved[name] = kind(**values[name])
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error
    return TrainOptions(task, **resolved)


def to_dict(options: TrainOptions) -> dict[str, Any]:
    """All options as tables of plain values, which `resolve` can read from a JSON file."""
    return {name: value for name, value in config_to_dict(options).items() if value is not None}


def _update(values: dict[str, dict[str, Any]], task: str, given: Mapping[str, Any], where: str) -> None:
    """Puts what the given tables say into `values`, checked and converted."""
    for name, table in given.items():
        if name == "task":
            if table != task:
                raise ConfigError(f"{where}task is {table!r}, and {task!r} is to be trained. Use another file.")
            continue
        if name not in values:
            raise ConfigError(f"{where}no options {name!r} for training {task}. {did_you_mean(name, values)}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where}{name} is {table!r}: expected a table of options, as [{name}] begins in TOML.")
        hints = get_type_hints(TABLES[name])
        for option, value in table.items():
            if option not in hints:
                raise ConfigError(f"{where}no option {name}.{option}. {did_you_mean(str(option), hints)}")
            values[name][option] = convert_value(value, hints[option], f"{where}{name}.{option}", from_text=True)
