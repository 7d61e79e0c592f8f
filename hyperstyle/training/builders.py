"""What training starts from: device, generator or model, and the new network with its first weights."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from hyperstyle.convert import read_generator
from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.errors import ConfigError, WeightsError, did_you_mean, with_article
from hyperstyle.io import hub
from hyperstyle.model.folder import read_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig
from hyperstyle.networks.encoders.pyramid import (
    PyramidEncoder,
    PyramidEncoderConfig,
    RestyleEncoder,
    RestyleEncoderConfig,
)
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig, tuned_layers
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig, layer_table
from hyperstyle.runtime.device import pick_device
from hyperstyle.training.distributed import world
from hyperstyle.training.options import EncoderOptions, HyperStyleOptions, TrainOptions
from hyperstyle.training.pretrained import load_trunk, trunk_file

_INPUT = 256  # px: input of the published encoders
_MEDIUM = 16  # px: convolutions from here on are medium or fine
_DEFAULT_DOMAIN = "pictures"  # of a generator's file for which none is given


def training_device(name: str) -> torch.device:
    """The device of this name ("auto", "cpu", "cuda", ...) for this process, on CUDA the one of its LOCAL_RANK.

    Raises:
        ConfigError: no such device.
    """
    device = pick_device(name)
    if device.type == "cuda" and world() > 1:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
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


def open_base(options: TrainOptions, device: torch.device) -> Model:
    """The model that training starts from.

    For an encoder this is a generator or a model with one; for a hypernetwork a model with a W encoder, which predicts
    the codes.

    Raises:
        ConfigError: it lacks that W encoder, or its generator has another resolution than the options say.
        HyperStyleError: what `open_generator` and `open_model` raise.
    """
    table = options.network
    if isinstance(table, EncoderOptions):
        base = open_generator(table.generator, table.domain, device)
    else:
        base = open_model(table.encoder, device)
    size, expected = base.generator.config.size, options.data.size
    if expected not in (None, size):
        raise ConfigError(
            f"the generator makes images of {size} px, and the configuration is for {expected} px (data.size). Choose "
            "the other generator, or set data.size."
        )
    if not isinstance(table, EncoderOptions):
        w_encoder_of(base, table.encoder)
    return base


def w_encoder_of(model: Model, name: str = "this") -> WEncoder:
    """The W encoder of a model. Raises ConfigError, with the name of the model, if it has none."""
    if model.encoder is None:
        raise ConfigError(f"{name} is a model without a W encoder: train one with encoder.kind 'w'.")
    return model.encoder


def open_generator(name: str, domain: str | None, device: torch.device) -> Model:
    """A generator's file as a model without other networks; or else the model with this name or folder.

    A generator's file without a domain gets the domain "pictures": whole images, without alignment, at an input size
    of the generator's resolution, but at most 256x256 px.

    Raises:
        ConfigError: an unknown domain, or another one than that of the model.
        ModelNotFoundError, CheckpointError: no usable file or model has this name.
    """
    if not os.path.isfile(name):
        model = open_model(name, device)
        if domain not in (None, model.domain.name):
            raise ConfigError(f"{name} is a model for {model.domain.name}, domain is {domain!r}: leave it out.")
        return model
    if domain is not None and domain not in (_DEFAULT_DOMAIN, *DOMAINS):
        raise ConfigError(f"no domain {domain!r}. {did_you_mean(domain, DOMAINS)}")
    generator = read_generator(name)
    if not isinstance(generator, Generator):
        raise ConfigError(f"{name} has {with_article(type(generator))}: expected a StyleGAN2 generator.")
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


def new_network(options: TrainOptions, base: Model) -> nn.Module:
    """The network that the options name, with random weights, for the generator of `base`. Raises ConfigError."""
    table, generator, input_size = options.network, base.generator.config, base.domain.input_size
    if isinstance(table, EncoderOptions):
        encoder = _new_encoder(table, base)
        encoder.latent_avg.copy_(base.generator.latent_avg.expand_as(encoder.latent_avg))
        return encoder
    if isinstance(table, HyperStyleOptions):
        layers, trunk = chosen_layers(generator, table.layers), _trunk_for("resnet", input_size)
        return Hypernetwork(
            HypernetworkConfig(generator, layers, input_size, trunk, heads=table.heads, code_width=trunk.widths[-1])
        )
    layers, backbone = tuple(spec.name for spec in layer_table(generator)), w_encoder_of(base).config.backbone
    trunk = _trunk_for(backbone, input_size)
    return HyperInverter(HyperInverterConfig(generator, layers, input_size, backbone, trunk, table.hidden))


def _new_encoder(options: EncoderOptions, base: Model) -> WEncoder | PyramidEncoder | RestyleEncoder:
    """The encoder that the options name. With progressive training, rows start with offsets of zero."""
    generator, input_size = base.generator, base.domain.input_size
    rows, width, trunk = generator.config.rows, generator.config.latent_width, _trunk_for(options.backbone, input_size)
    if options.kind == "w":
        # A small trunk leaves few positions, which are flattened: their average carries too little.
        pool: Literal["average", "flatten"] = "average" if trunk.norm == "batch" else "flatten"
        return WEncoder(WEncoderConfig(rows, width, input_size, trunk, pool, options.backbone))
    numbers = (rows, width, input_size, options.backbone, trunk, options.kind.endswith("e4e"))
    network: PyramidEncoder | RestyleEncoder
    if options.kind.startswith("restyle"):
        network = RestyleEncoder(RestyleEncoderConfig(*numbers))
    else:
        network = PyramidEncoder(PyramidEncoderConfig(*numbers))
    if options.progressive_start is not None:
        for block in list(network.styles)[1:]:
            nn.init.zeros_(block.get_parameter("linear.weight"))
    return network


def _trunk_for(backbone: Backbone, input_size: tuple[int, int]) -> TrunkConfig:
    """The published trunk of this kind, which downsamples by a factor of 16.

    If the shorter side of the input is below 128 px, a narrow trunk that downsamples by a factor of 8, whichever
    `backbone` is asked for.
    """
    if min(input_size) < 128:
        return TrunkConfig((32, 64, 128), (2, 2, 2), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    return TrunkConfig.irse50() if backbone == "irse" else TrunkConfig.resnet34()


def chosen_layers(generator: GeneratorConfig, layers: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names of the layers in `HyperStyleOptions.layers`, in the official order.

    "published" is every convolution but toRGB, as in the released networks; "medium-fine" omits those below 16 px, as
    in Section 3.3; "all" includes toRGB (ablation of Table 3).

    Raises:
        ConfigError: a layer that the generator does not have.
    """
    table = layer_table(generator)
    if layers == "all":
        return tuple(spec.name for spec in table)
    if layers == "medium-fine":
        return tuple(spec.name for spec in table if not spec.torgb and spec.resolution >= _MEDIUM)
    if isinstance(layers, str):
        return tuned_layers(generator)
    return tuned_layers(generator, [int(name) if name.isdecimal() else name for name in layers])


def init_weights(options: TrainOptions, network: nn.Module, device: torch.device) -> None:
    """Loads weights into a new network: into its trunk from a file, or into all of it from the same part of a model.

    `init` of the options is an ImageNet or IR-SE-50 file, on disk or on the Hub, or a model's name or folder; None
    keeps the random weights.

    Raises:
        ConfigError: the model has no such part. WeightsError: the part has another configuration.
        HyperStyleError: what `trunk_file`, `load_trunk` and `open_model` raise.
    """
    init, part = options.network.init, options.component
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
