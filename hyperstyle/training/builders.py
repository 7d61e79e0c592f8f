"""What training starts from: device, generator or model, first weights, sizes of new networks, known codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hyperstyle.convert import read_generator
from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.errors import ConfigError, InversionError, MissingFileError, WeightsError, did_you_mean
from hyperstyle.inversion.file import read
from hyperstyle.inverter import pick_device
from hyperstyle.io import hub
from hyperstyle.model.folder import read_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.stylegan2.generator import Generator
from hyperstyle.training.distributed import local_rank, world
from hyperstyle.training.options import OptimOptions, TrainOptions
from hyperstyle.training.pretrained import load_trunk, trunk_file

__all__ = [
    "code_reader",
    "init_weights",
    "inversions_of",
    "open_generator",
    "open_model",
    "training_device",
    "trunk_for",
]

_INPUT = 256  # px: input of the published encoders
_DEFAULT_DOMAIN = "pictures"  # of a generator's file for which none is given


def training_device(options: OptimOptions) -> torch.device:
    """The device of this process; several processes on one machine have different CUDA devices."""
    device = pick_device(options.device)
    if device.type == "cuda" and world() > 1:
        device = torch.device("cuda", local_rank())
        torch.cuda.set_device(device)
    return device


def open_model(name: str, device: torch.device) -> Model:
    """Reads a model in float32, frozen and in eval mode.

    Args:
        name: a bundled model, a Hub repository, or the folder of a model or of a training run that has written one.
        device: where its networks go.

    Raises:
        ModelNotFoundError: there is none. CheckpointError, ConfigError: its folder cannot be used.
    """
    return _frozen(read_model(hub.resolve(name), device=device, dtype=torch.float32))


def open_base_and_encoder(name: str, options: TrainOptions, device: torch.device) -> tuple[Model, WEncoder]:
    """The model that a hypernetwork is trained for, and its W encoder, which predicts the codes to start from.

    Raises:
        ConfigError: it has no W encoder, or its generator has another resolution than the options say.
        HyperStyleError: what `open_model` raises.
    """
    model = open_model(name, device)
    options.check_generator(model.generator.config.size)
    if model.encoder is None:
        raise ConfigError(f"{name} is a model without a W encoder: train one with encoder.kind 'w'.")
    return model, model.encoder


def open_generator(name: str, domain: str | None, device: torch.device) -> Model:
    """A generator's file as a model of this generator alone, or the model with this name or folder.

    A generator's file without a domain gets the domain "pictures": whole images, without alignment, at an input size
    of the generator's resolution, but at most 256x256 px.

    Raises:
        ConfigError: an unknown domain, or another one than that of the model.
        ModelNotFoundError, CheckpointError: no usable file or model has this name.
    """
    if not Path(name).is_file():
        model = open_model(name, device)
        if domain not in (None, model.domain.name):
            raise ConfigError(f"{name} is a model for {model.domain.name}, domain is {domain!r}: leave it out.")
        return model
    if domain is not None and domain not in (_DEFAULT_DOMAIN, *DOMAINS):
        raise ConfigError(f"no domain {domain!r}. {did_you_mean(domain, DOMAINS)}")
    generator = read_generator(name)
    if not isinstance(generator, Generator):
        raise ConfigError(f"{name} has a {type(generator).__name__}: expected a StyleGAN2 generator.")
    size = generator.config.size
    if domain is None or domain == _DEFAULT_DOMAIN:
        side = min(size, _INPUT)
        file_domain = Domain(
            _DEFAULT_DOMAIN, size, (side, side), description="Images like those the generator was trained on."
        )
    else:
        file_domain = DOMAINS[domain].at_size(size)
        if file_domain.input_size == (file_domain.input_size[0],) * 2 and file_domain.input_size[0] > size:
            file_domain = replace(file_domain, input_size=(size, size))
    return _frozen(Model(generator.to(device), file_domain, info={"source": Path(name).name}))


def _frozen(model: Model) -> Model:
    for network in model.networks.values():
        network.eval().requires_grad_(False)
    return model


def trunk_for(backbone: Backbone, input_size: tuple[int, int]) -> TrunkConfig:
    """The published trunk of this kind, which downsamples by a factor of 16.

    If the shorter side of the input is below 128 px, a narrow trunk that downsamples by a factor of 8, whichever
    `backbone` is asked for.
    """
    if min(input_size) < 128:
        return TrunkConfig((32, 64, 128), (2, 2, 2), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    return TrunkConfig.irse50() if backbone == "irse" else TrunkConfig.resnet34()


def init_weights(init: str | None, network: nn.Module, part: str, device: torch.device) -> None:
    """Loads the first weights of a new network: its trunk from a file, or all of it from the `part` of a model.

    Args:
        init: an ImageNet or IR-SE-50 file, on disk or on the Hub, or a model's name or folder; None keeps the random
            weights.
        network: has a `config`.
        part: name of the component in the model.
        device: of the network.

    Raises:
        ConfigError: the model has no such part. WeightsError: the part has another configuration.
        HyperStyleError: what `trunk_file`, `load_trunk` and `open_model` raise.
    """
    if init is None:
        return
    if (file := trunk_file(init)) is not None:
        load_trunk(network, file)
        return
    source: Any = open_model(init, device).networks.get(part)
    if source is None:
        raise ConfigError(f"init {init!r} is a model without {part}: name a file of weights, or another model.")
    if source.config != network.config:
        raise WeightsError(
            f"init {init!r}: its {part} was built from {source.config}, the new one from {network.config}."
        )
    network.load_state_dict(source.state_dict())


def inversions_of(folder: str, names: Iterable[str]) -> dict[str, Path]:
    """Finds the inversion of each image on disk: image name -> file. Images without one are left out.

    Args:
        folder: the folder of the inversions. That of `a/b.png` is `a/b.safetensors` in it, else `b.safetensors`.
        names: of the images, as paths relative to the folder of images.

    Raises:
        MissingFileError: no image has an inversion. ConfigError: two images have the same one.
    """
    files: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for name in names:
        nested = Path(folder) / Path(name).with_suffix(".safetensors")
        path = next((file for file in (nested, Path(folder) / nested.name) if file.is_file()), None)
        if path is None:
            continue
        files[name] = path
        if (owner := owners.setdefault(path, name)) != name:
            raise ConfigError(
                f"the inversion {path} would be that of {owner} and of {name}: expected one for each. Give the "
                "images names of their own and invert them anew."
            )
    if not files:
        raise MissingFileError(
            f"no image has an inversion in {folder!r}: invert all images of the folder first (hyperstyle invert)."
        )
    return files


def code_reader(paths: Sequence[Path], model: Model) -> Callable[[Sequence[int]], Tensor]:
    """A function that reads codes from inversions on disk: indices of `paths` -> codes before any edit [B,L,D].

    The codes are float32, on the CPU. Files are read anew at every call; the first one is also read here, to check it.

    Args:
        paths: files of inversions, of one image each.
        model: whose generator the inversions must have been made with.

    Raises:
        InversionError: the first file was made with another generator. The function raises it for the other files.
        HyperStyleError: what `inversion.file.read` raises.
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

    code(paths[0])  # raises before training starts
    return lambda indices: torch.cat([code(paths[i]) for i in indices])
