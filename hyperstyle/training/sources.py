"""What training starts from: a generator, a model, weights to begin with; and the sizes of new networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperstyle.align.detector import LandmarkDetector
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.convert import read_generator
from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.errors import ConfigError, InversionError, MissingFileError, WeightsError, did_you_mean
from hyperstyle.inversion.file import read
from hyperstyle.inverter import pick_device
from hyperstyle.io import hub
from hyperstyle.model.folder import read_model
from hyperstyle.model.parts import ALIGNER, Model
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.stylegan2.generator import Generator
from hyperstyle.training.distributed import local_rank, world
from hyperstyle.training.options import OptimOptions, TrainOptions
from hyperstyle.training.pretrained import load_trunk, trunk_file

__all__ = [
    "aligner_of",
    "begin_from",
    "codes_of",
    "inversions_of",
    "open_generator",
    "open_model",
    "training_device",
    "trunk_for",
]

_INPUT = 256  # what the published encoders see
_PICTURES = "pictures"  # domain of a generator's file where none is given


def training_device(options: OptimOptions) -> torch.device:
    """Where this process computes; of several on one machine each has a CUDA device of its own."""
    device = pick_device(options.device)
    if device.type == "cuda" and world() > 1:
        device = torch.device("cuda", local_rank())
        torch.cuda.set_device(device)
    return device


def open_model(name: str, device: torch.device) -> Model:
    """A model by its name or folder, or the one that a run has in its own folder; float32, frozen, in eval mode.

    Raises:
        ModelNotFoundError: there is none. CheckpointError, ConfigError: its folder cannot be used.
    """
    return _frozen(read_model(hub.resolve(name), device=device, dtype=torch.float32))


def open_start(name: str, options: TrainOptions, device: torch.device) -> tuple[Model, WEncoder]:
    """A model to train a further network for, and its W encoder, which makes the first codes.

    Raises:
        ConfigError: it has no W encoder, or a generator of another size than the options say. What `open_model` raises.
    """
    model = open_model(name, device)
    options.check_generator(model.generator.config.size)
    if model.encoder is None:
        raise ConfigError(f"{name} is a model without a W encoder: train one with encoder.kind 'w'.")
    return model, model.encoder


def open_generator(name: str, domain: str | None, device: torch.device) -> Model:
    """A generator's file as a model of one part, or the model of a folder or name.

    Images of a file whose domain is not given are taken whole, at the generator's size or at 256 px.

    Raises:
        ConfigError: an unknown domain, or another one than that of the model. ModelNotFoundError, CheckpointError:
            nothing that can be used has this name.
    """
    if not Path(name).is_file():
        model = open_model(name, device)
        if domain not in (None, model.domain.name):
            raise ConfigError(f"{name} is a model for {model.domain.name}, domain is {domain!r}: leave it out.")
        return model
    if domain is not None and domain not in (_PICTURES, *DOMAINS):
        raise ConfigError(f"no domain {domain!r}. {did_you_mean(domain, DOMAINS)}")
    generator = read_generator(name)
    if not isinstance(generator, Generator):
        raise ConfigError(f"{name} has a {type(generator).__name__}: expected a StyleGAN2 generator.")
    size = generator.config.size
    if domain is None or domain == _PICTURES:
        side = min(size, _INPUT)
        found = Domain(_PICTURES, size, (side, side), description="Images like those the generator was trained on.")
    else:
        found = DOMAINS[domain].at_size(size)
        if found.input_size == (found.input_size[0],) * 2 and found.input_size[0] > size:
            found = replace(found, input_size=(size, size))
    return _frozen(Model(generator.to(device), found, info={"source": Path(name).name}))


def _frozen(model: Model) -> Model:
    for network in model.networks.values():
        network.eval().requires_grad_(False)
    return model


def trunk_for(backbone: Backbone, input_size: tuple[int, int]) -> TrunkConfig:
    """The published trunk, which makes an input 16 times smaller; for inputs below 128 px a narrow one, 8 times."""
    if min(input_size) < 128:
        return TrunkConfig((32, 64, 128), (2, 2, 2), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    return TrunkConfig.irse50() if backbone == "irse" else TrunkConfig.resnet34()


def begin_from(init: str | None, network: nn.Module, part: str, device: torch.device) -> None:
    """Gives a new network its first weights: those of its trunk from a file, or all of those of a model's `part`.

    Args:
        init: an ImageNet or IR-SE-50 file, on disk or on the Hub, or a model's name or folder; None leaves the network
            as it was made.
        network: has a `config`.
        part: the name of the component in a model.
        device: of the network.

    Raises:
        ConfigError: the model has no such part. WeightsError: that of the model is of other numbers.
        What `trunk_file`, `load_trunk` and `open_model` raise.
    """
    if init is None:
        return
    if (file := trunk_file(init)) is not None:
        load_trunk(network, file)
        return
    other: Any = open_model(init, device).networks.get(part)
    if other is None:
        raise ConfigError(f"init {init!r} is a model without {part}: name a file of weights, or another model.")
    if other.config != network.config:
        raise WeightsError(
            f"init {init!r}: its {part} was built from {other.config}, the new one from {network.config}."
        )
    network.load_state_dict(other.state_dict())


def aligner_of(model: Model) -> LandmarkDetector | None:
    """What finds the faces of a model's domain; None where its images are not aligned."""
    if model.domain.aligner != "face":
        return None
    if model.aligner is None:
        return DlibDetector()
    detector, predictor = (model.aligner / name for name in ALIGNER)
    return DlibDetector(predictor, detector=detector)


def inversions_of(folder: str, names: Iterable[str]) -> dict[str, Path]:
    """Where inversions lie beside the images: name -> file, of the images that have one.

    Args:
        folder: of `NAME.safetensors` for each image.
        names: of the images.

    Raises:
        MissingFileError: none has one. ConfigError: two images have the same one.
    """
    found: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for name in names:
        wanted = Path(folder) / Path(name).with_suffix(".safetensors")
        path = next((one for one in (wanted, Path(folder) / wanted.name) if one.is_file()), None)
        if path is None:
            continue
        found[name] = path
        if (other := owners.setdefault(path, name)) != name:
            raise ConfigError(
                f"the inversion {path} would be that of {other} and of {name}: expected one for each. Give the "
                "images names of their own and invert them anew."
            )
    if not found:
        raise MissingFileError(
            f"no image has an inversion in {folder!r}: invert all images of the folder first (hyperstyle invert)."
        )
    return found


def codes_of(paths: Sequence[Path], model: Model) -> Callable[[Sequence[int]], Tensor]:
    """Files of inversions, one image each -> places in `paths` -> the codes [B,L,D] that were given to these.

    Raises:
        InversionError: the first, or later one that is read, was made with another generator than the model's. What
            `inversion_file.read` raises.
    """

    def code(path: Path) -> Tensor:
        record = read(path, torch.device("cpu"), torch.float32)
        made_with = record.meta["fingerprint"]
        if made_with not in (model.generator_fingerprint, model.fingerprint):
            raise InversionError(
                f"{path} was made with a {record.meta['domain']!r} model with fingerprint {made_with}; training is for "
                f"the generator {model.generator_fingerprint}. Invert the images with the model that training starts "
                "from."
            )
        return (record.state if record.unedited is None else record.unedited).w

    code(paths[0])  # said before the first step
    return lambda indices: torch.cat([code(paths[i]) for i in indices])
