"""Converts the files of other programs to the networks of a model, and lists what of the files is not in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hyperstyle.convert import official
from hyperstyle.convert.contents import Use
from hyperstyle.convert.filling import Converted, axis_size, numbers_in_names
from hyperstyle.convert.generators import find_generator
from hyperstyle.convert.idinvert import idinvert_encoder, vgg16_features
from hyperstyle.convert.sfe import convert_sfe
from hyperstyle.convert.sniff import KINDS, SniffedFile, describe_kind, sniff
from hyperstyle.domain import Domain
from hyperstyle.errors import CheckpointError, ConfigError, WeightsError
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import GeneratorConfig

PathLike = str | os.PathLike[str]

# Kinds whose files hold no generator -> the kind of encoder that they need besides, what messages call it, and the end
# of the command.
_WITHOUT_GENERATOR: Mapping[str, tuple[str, str, str]] = {
    "hyperinverter": ("w-encoder", "W encoder", "--encoder W_ENCODER.pt --generator STYLEGAN2.pkl"),
    "sfe": ("e4e", "e4e encoder", "--e4e E4E.pt --generator STYLEGAN2.pt"),
    "sfe-inverter": ("", "", "--generator STYLEGAN2.pt"),
}


@dataclass(frozen=True, eq=False)
class Files:
    """The files of a conversion.

    Attributes:
        main: the file to convert: a checkpoint, an encoder or a generator.
        encoders: the files of further encoders.
        generator: the file with the generator that the networks were trained for. This is `main`, except if that is a
            HyperInverter or StyleFeatureEditor, whose files hold no generator.
        replacement: the file of another generator, which the model gets instead of that one; None for none.
    """

    main: SniffedFile
    encoders: tuple[SniffedFile, ...]
    generator: SniffedFile
    replacement: SniffedFile | None

    @property
    def all(self) -> list[SniffedFile]:
        """All files, each once, `main` first."""
        files = [self.generator] if self.generator is not self.main else []
        files += [] if self.replacement is None else [self.replacement]
        return [self.main, *self.encoders, *files]


def read_files(
    source: PathLike,
    encoders: Sequence[PathLike],
    generator: PathLike | None,
    use: Use | None,
    say: Callable[[str], None],
) -> Files:
    """Reads the files of a conversion and finds out what each is.

    Args:
        source: the file to convert, `Files.main`.
        encoders: the files of further encoders.
        generator: a generator file: that of a HyperInverter or StyleFeatureEditor, else the replacement of the
            generator in `source`.
        use: which generator to take of the file that gives the generator, if it is a training checkpoint. That is the
            file `generator`, or `source` without one.
        say: called with a line about each file.

    Raises:
        CheckpointError: a HyperInverter or StyleFeatureEditor file without its encoder and its generator.
        HyperStyleError: as `sniff` does.
    """

    def read(path: PathLike, use: Use | None = None) -> SniffedFile:
        file = sniff(os.fspath(path), use)
        count = f", {len(file.tensors)} tensors" if file.tensors else ""
        say(f"{file.path.name}: {KINDS[file.kind].words}{count}")
        return file

    main = read(source, use if generator is None else None)
    encoder_files = tuple(map(read, encoders))
    if main.kind in _WITHOUT_GENERATOR:
        kind, words, options = _WITHOUT_GENERATOR[main.kind]
        given = {words: any(file.kind == kind for file in encoder_files)} if kind else {}
        given["generator"] = generator is not None
        if missing := [name for name, is_given in given.items() if not is_given]:
            raise CheckpointError(
                f"{main.path} is {describe_kind(main.kind)}, which needs its {' and its '.join(given)} too. "
                f"Not given: {', '.join(missing)}. Run: hyperstyle convert {main.path.name} {options} --out FOLDER"
            )
    other = None if generator is None else read(generator, use)
    if main.kind in _WITHOUT_GENERATOR and other is not None:
        return Files(main, encoder_files, other, None)
    return Files(main, encoder_files, main, other)


Parts = Mapping[str, tuple[SniffedFile, Converted[Any]]]
"""Component name -> (the file that it comes from, the converted network)."""


def convert_parts(files: Files, original: Converted[StyleGenerator], domain: Domain) -> Parts:
    """Converts all files to networks, by component name: "generator", then the others.

    Args:
        files: the files.
        original: the generator in `files.generator`, which the networks were trained for.
        domain: gives the input size of the encoders.

    Raises:
        ConfigError: a file in `files.encoders` is no encoder, or a second one of its kind.
        CheckpointError: see the converters.
        WeightsError: see the converters; or a network was made for another generator.
    """
    config, main = original.network.config, files.main
    parts: dict[str, tuple[SniffedFile, Converted[Any]]] = {"generator": (files.generator, original)}
    if main.kind == "hyperstyle":
        parts["hypernetwork"] = main, official.convert_hypernetwork(main, config, domain.input_size)
    if main.kind == "hyperinverter":
        parts["hyperinverter"] = main, official.convert_hyperinverter(main, config)
    if main.kind in ("sfe", "sfe-inverter"):
        networks = convert_sfe(main, original.network, files.generator, domain.input_size)
        parts |= {name: (main, network) for name, network in networks.items()}
    for file in (main, *files.encoders) if KINDS[main.kind].encoder is not None else files.encoders:
        name = KINDS[file.kind].encoder
        if name is None:
            raise ConfigError(
                f"{file.path} is {describe_kind(file.kind)}: expected a W encoder, or a pSp, e4e or ReStyle encoder; "
                "for IDInvert its encoder and VGG16."
            )
        if name in parts:
            raise ConfigError(f"{file.path} is a second {KINDS[file.kind].words}: a model has one.")
        if file is not main:
            _check_serves(file, files.generator, config)
        parts[name] = file, _convert_encoder(file, main, original.network, domain)
    if files.replacement is not None:
        replacement = find_generator(files.replacement)
        _check_same(replacement.network.config, config, files.replacement, main)
        parts["generator"] = files.replacement, replacement
    return parts


def _convert_encoder(file: SniffedFile, main: SniffedFile, generator: StyleGenerator, domain: Domain) -> Converted[Any]:
    config, where = generator.config, str(file.path)
    if file.kind == "vgg16":
        return vgg16_features(file.tensors, where=where)
    if file.kind == "idinvert-encoder":
        return idinvert_encoder(file.tensors, config.rows, config.latent_width, domain.input_size, where=where)
    return official.convert_encoder(file, config, domain.input_size, _mean_code(file, main, generator))


def _mean_code(file: SniffedFile, main: SniffedFile, generator: StyleGenerator) -> Tensor:
    """The mean code that is added to the output of an encoder: [D], [1,D] or [L,D].

    Of these, the first that applies:
    the generator's, for the W encoder of a HyperInverter;
    zeros, for a pSp or e4e encoder that was trained without a mean code;
    that of the HyperStyle checkpoint, for a W encoder converted together with it;
    that in the encoder's file;
    that of the generator in the encoder's file, if `file` is not `main` and not a W encoder;
    the generator's.
    """
    if file.kind == "w-encoder" and main.kind == "hyperinverter":
        return generator.latent_avg
    if file.kind in ("psp", "e4e") and file.opts.get("start_from_latent_avg") is False:
        return torch.zeros_like(generator.latent_avg)
    if file.kind == "w-encoder" and main.kind == "hyperstyle" and main.latent_avg is not None:
        return main.latent_avg
    if file.latent_avg is not None:
        return file.latent_avg
    if file is not main and file.has_generator and file.kind != "w-encoder":
        return find_generator(file).network.latent_avg
    return generator.latent_avg


def unread_entries(
    file: SniffedFile, files: Files, parts: Parts, original: Converted[StyleGenerator]
) -> tuple[str, ...]:
    """What is in a file but not in the model: names of entries, or phrases about several of them."""
    entries = [*file.unread]
    if file is files.generator:
        entries += original.unread
    for name, (part_file, part) in parts.items():
        if part_file is file and name != "generator":
            entries += part.unread
    if file in files.encoders:
        if count := len(file.part("decoder.")):
            entries.append(f"its generator ({count} tensors)")
        owners = {"hyperstyle": "HyperStyle checkpoint", "hyperinverter": "generator"}
        if file.kind == "w-encoder" and files.main.kind in owners and file.latent_avg is not None:
            entries.append(f"latent_avg (the {owners[files.main.kind]}'s is used, as by the official code)")
    if file is files.replacement:
        entries += parts["generator"][1].unread
    elif file is files.main and files.replacement is not None:
        entries.append(f"its generator ({original.consumed} tensors)")
    return tuple(entries)


def _check_serves(encoder: SniffedFile, generator: SniffedFile, config: GeneratorConfig) -> None:
    """Raises WeightsError if an encoder was made for a generator of another size or latent width than `config`."""
    blocks = numbers_in_names(encoder.part("decoder."), r"convs\.(\d+)\.")
    size = encoder.opts.get("output_size", encoder.opts.get("stylegan_size"))
    if blocks:
        size = 4 << (len(blocks) // 2)
    elif not isinstance(size, int):
        size = config.size
    name = "encoder.linear.weight" if encoder.kind == "w-encoder" else "encoder.styles.0.linear.weight"
    width = axis_size(encoder.tensors, name, 0) if name in encoder.tensors else config.latent_width
    if (size, width) != (config.size, config.latent_width):
        raise WeightsError(
            f"{encoder.path} was made for a generator of {size} px with latent codes of {width}, and that of "
            f"{generator.path} has {config.size} px and codes of {config.latent_width}. Use the encoder that belongs "
            "to it."
        )


def _check_same(other: GeneratorConfig, target: GeneratorConfig, file: SniffedFile, main: SniffedFile) -> None:
    """Raises WeightsError unless the generator in `file` has the configuration of that in `main`, which it replaces."""
    if other == target:
        return

    def text(config: GeneratorConfig) -> str:
        return (
            f"{config.size} px, channels {', '.join(map(str, config.channels))}, latent codes of {config.latent_width} "
            f"and {config.mapping_layers} mapping layers"
        )

    raise WeightsError(
        f"{file.path} is a generator of {text(other)}; that of {main.path} has {text(target)}. Use one that was "
        "fine-tuned from it."
    )
