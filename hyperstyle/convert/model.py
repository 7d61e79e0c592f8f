"""`convert`: files made by others -> a model folder."""

from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperstyle.convert import encoders as encoder_files
from hyperstyle.convert import official
from hyperstyle.convert.contents import Use
from hyperstyle.convert.filling import length
from hyperstyle.convert.folder import check_free
from hyperstyle.convert.generators import FoundGenerator, find_generator
from hyperstyle.convert.hyperinverter import check_complete, hyperinverter
from hyperstyle.convert.idinvert import idinvert_encoder, vgg16_features
from hyperstyle.convert.sniff import KINDS, Kind, SniffedFile, a_kind, sniff
from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.errors import ConfigError, ConversionWarning, WeightsError, did_you_mean, warn
from hyperstyle.io.components import read_json
from hyperstyle.io.files import peak_memory, sha256
from hyperstyle.methods.missing import missing
from hyperstyle.methods.registry import available, by_networks
from hyperstyle.model.folder import check_parts, write_model
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.generator import GeneratorConfig

__all__ = ["Conversion", "convert"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        folder: the model folder.
        kind: what the first file was.
        domain: of the model.
        consumed: tensors taken, by component.
        aliases: tensors that were others once more (the shared hypernetwork, which official files list per block).
        unread: by file name, what was not needed.
        computed: sentences on what no file had.
        notes: sentences on what was taken that is not the usual, and on what the model cannot do; in the model's info.
        source_sha256: by file name.
        sha256: of the written weights, by component.
        seconds: time taken.
        peak_bytes: most memory that this process has used so far, files that it reads included; None where the system
            does not report it.
    """

    folder: Path
    kind: Kind
    domain: Domain
    consumed: Mapping[str, int]
    aliases: int
    unread: Mapping[str, tuple[str, ...]]
    computed: tuple[str, ...]
    notes: tuple[str, ...]
    source_sha256: Mapping[str, str]
    sha256: Mapping[str, str]
    seconds: float
    peak_bytes: int | None


def convert(
    source: PathLike,
    out: PathLike,
    *,
    encoder: PathLike | Sequence[PathLike] | None = None,
    generator: PathLike | None = None,
    use: Use | None = None,
    domain: str | Domain | None = None,
    steps: int | None = None,
    licence: str | None = None,
    origin: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Conversion:
    """Makes a model folder from a file of one of the `sniff.KINDS`: a checkpoint, an encoder or a generator.

    Sizes follow from the tensors; domain, steps and the kind of hypernetwork from the options in the file, where it has
    them. Every tensor is used and every place filled, or an error says which was not. `out` appears once it is whole.

    Args:
        source: the file.
        out: the folder to write.
        encoder: W encoder, pSp, e4e and ReStyle files for the same generator, at most one of each kind; for IDInvert
            its encoder and VGG16.
        generator: a generator file to take in place of the generator in `source`, of the same architecture (one that
            was fine-tuned from it); for a HyperInverter file, which holds none, the generator itself.
        use: "g" takes the generator in training of the file that gives the generator, where that is a training
            checkpoint; None is its average, `g_ema`, and refuses a file that has only `g`.
        domain: name or value; needed where the file does not say it; overrides the file.
        steps: passes of the hypernetwork by default; None is the number in the file, else 5.
        licence, origin: recorded, and shown by `hyperstyle info`.
        overwrite: replace the model in `out`.
        on_progress: called with a line of text for each stage.

    Warns:
        ConversionWarning: the model has no encoder, so that most methods cannot start from an image.

    Raises:
        CheckpointError: a file cannot be read or is not converted; the folder is taken or cannot be written.
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite.
        ConfigError: the domain is missing or unknown, the parts do not fit together, or a file lies in `out`.
    """
    began = time.perf_counter()
    say = on_progress or (lambda _: None)
    folder = Path(out)
    given = [encoder] if isinstance(encoder, str | os.PathLike) else list(encoder or ())
    _check_outside([source, *given, *([] if generator is None else [generator])], folder)
    check_free(Path(os.path.realpath(folder)), overwrite=overwrite)
    first = _read(source, say, use if generator is None else None)
    encoders = [_read(path, say) for path in given]
    holder = first  # of the generator
    if first.kind == "hyperinverter":
        check_complete(first, encoder=bool(given), generator=generator is not None)
        if generator is not None:
            holder, generator = _read(generator, say, use), None
    found = find_generator(holder)
    target = found.generator.config
    area = _domain(domain, [first, *encoders], target.size)

    consumed = {"generator": found.consumed}
    files = [first, *encoders, *([] if holder is first else [holder])]
    unread = {file: list(file.unread) for file in files}
    unread[holder] += found.unread
    parts: dict[str, Any] = {"generator": found.generator}
    aliases = 0
    if first.kind == "hyperstyle":
        hyper = official.hypernetwork(first, target, area.input_size)
        parts["hypernetwork"], consumed["hypernetwork"], aliases = hyper[:3]
        unread[first] += hyper.unread
    if first.kind == "hyperinverter":
        area = replace(area, sampling="point")
        parts["hyperinverter"], consumed["hyperinverter"], left = hyperinverter(first, target)
        unread[first] += left
    for file in [first, *encoders]:
        if file.kind not in _ENCODERS:
            if file is not first:
                raise ConfigError(
                    f"{file.path} is {a_kind(file.kind)}: expected a W encoder, or a pSp, e4e or ReStyle encoder; for "
                    "IDInvert its encoder and VGG16."
                )
            continue
        name, make = _ENCODERS[file.kind]
        if name in parts:
            raise ConfigError(f"{file.path} is a second {KINDS[file.kind]}: a model has one.")
        if file is not first:
            _check_served(file, holder, target)
            unread[file] += _not_taken(file, first)
        parts[name], consumed[name] = make(file, target, area.input_size, _mean_code(file, first, found))
    computed = found.computed
    if generator is not None:
        other = _read(generator, say, use)
        replaced = find_generator(other)
        _check_same(replaced.generator.config, target, other, first)
        parts["generator"], consumed["generator"], computed = replaced[:3]
        unread[other] = [*other.unread, *replaced.unread]
        unread[first].append(f"its generator ({found.consumed} tensors)")
        files.append(other)

    model = Model(domain=area, steps=_steps(steps, first), info={}, **parts)
    check_parts(model)
    lacking = _without_start(model)
    notes = (*(note for file in files for note in file.notes), *([] if lacking is None else [lacking]))
    names = _names(files)
    say(f"reading {', '.join(names.values())} once more, for the sha256")
    hashes = {names[file]: sha256(file.path) for file in files}
    info = {
        "source": ", ".join(f"{names[file]} ({KINDS[file.kind]})" for file in files),
        "source_sha256": hashes,
        "origin": origin or "",
        "licence": licence or "",
        "converted_by": f"hyperstyle {_version()}",
        "converted_on": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "computed": list(computed),
        "notes": list(notes),
    }
    say(f"writing {', '.join(parts)} into {folder}")
    check_free(Path(os.path.realpath(folder)), overwrite=overwrite)  # still
    write_model(replace(model, info=info), folder, keep_others=False)
    if lacking is not None:
        warn(f"{folder}: {lacking}", ConversionWarning)
    return Conversion(
        folder=folder,
        kind=first.kind,
        domain=area,
        consumed=consumed,
        aliases=aliases,
        unread={names[file]: tuple(entries) for file, entries in unread.items() if entries},
        computed=computed,
        notes=notes,
        source_sha256=hashes,
        sha256=read_json(folder / "hyperstyle.json")["sha256"],
        seconds=time.perf_counter() - began,
        peak_bytes=peak_memory(),
    )


# Kind of file -> name of the component, and what reads it.
_ENCODERS: Mapping[Kind, tuple[str, Callable[..., tuple[Any, int]]]] = {
    "w-encoder": ("encoder", encoder_files.w_encoder),
    "psp": ("psp", encoder_files.pyramid_encoder),
    "e4e": ("e4e", encoder_files.pyramid_encoder),
    "restyle": ("restyle", encoder_files.restyle_encoder),
    "idinvert-encoder": (
        "idinvert",
        lambda file, g, size, _: idinvert_encoder(file.tensors, g.rows, g.latent_width, size, where=str(file.path)),
    ),
    "vgg16": ("vgg16", lambda file, *_: vgg16_features(file.tensors, where=str(file.path))[:2]),
}


def _check_outside(files: Sequence[PathLike], folder: Path) -> None:
    """Raises ConfigError where one of the files would go with the old folder."""
    target = Path(os.path.realpath(folder))
    for file in files:
        if target in Path(os.path.realpath(file)).parents:
            raise ConfigError(
                f"{os.fspath(file)} lies in {folder}, the folder to write, and would be lost: move it, or choose "
                "another folder."
            )


def _read(path: PathLike, say: Callable[[str], None], use: Use | None = None) -> SniffedFile:
    found = sniff(os.fspath(path), use)
    count = f", {len(found.tensors)} tensors" if found.tensors else ""
    say(f"{found.path.name}: {KINDS[found.kind]}{count}")
    return found


def _names(files: Sequence[SniffedFile]) -> dict[SniffedFile, str]:
    """What to call the files: by their names, with as much of the folder before them as tells them apart."""
    for depth in (1, 2):
        names = ["/".join(file.path.parts[-depth:]) for file in files]
        if len({*names}) == len(files):
            break
    else:
        names = [str(file.path) for file in files]
    return dict(zip(files, names, strict=True))


def _domain(domain: str | Domain | None, files: Sequence[SniffedFile], size: int) -> Domain:
    """The domain for a generator of `size` px: what was given, else what the options of the first file that has some
    tell."""
    if isinstance(domain, Domain):
        return domain
    name = domain or next((name for file in files if (name := official.domain_name(file))), None)
    if name is None:
        raise ConfigError(
            f"{files[0].path} does not say what kind of images it is for: name it with --domain "
            f"({', '.join(sorted(DOMAINS))}), or domain=hyperstyle.Domain(...) for a kind of your own."
        )
    if name not in DOMAINS:
        raise ConfigError(f"no domain {name!r}. {did_you_mean(name, DOMAINS)}")
    return DOMAINS[name].at_size(size)


def _steps(steps: int | None, first: SniffedFile) -> int:
    if steps is not None:
        return steps
    return (official.steps_of(first) if first.kind == "hyperstyle" else None) or 5


def _without_start(model: Model) -> str | None:
    """What a model without any encoder cannot do; None where it has one."""
    methods, lost = available(model), missing(model)
    if by_networks(model) or "idinvert" in methods:
        return None
    left = f"only {', '.join(methods)} work, which search for a code" if methods else "no method works"
    return (
        f"the model has no encoder to start from an image: {left}; {', '.join(lost)} do not. Give an encoder that "
        "belongs to this generator with --encoder (in Python encoder=...)."
    )


def _mean_code(file: SniffedFile, first: SniffedFile, found: FoundGenerator) -> Tensor:
    """The mean code that is added to the codes of an encoder.

    HyperStyle's for a W encoder converted with it, else the one in the encoder's file, else the generator's; zeros for
    a pSp or e4e encoder that was trained without one; always the generator's for HyperInverter's W encoder.
    """
    if file.kind == "w-encoder" and first.kind == "hyperinverter":
        return found.generator.latent_avg
    if file.kind in ("psp", "e4e") and file.opts.get("start_from_latent_avg") is False:
        return torch.zeros_like(found.generator.latent_avg)
    for source in (first, file) if file.kind == "w-encoder" and first.kind == "hyperstyle" else (file,):
        if source.latent_avg is not None:
            return source.latent_avg
    if file is not first and file.has_generator and file.kind != "w-encoder":
        return find_generator(file).generator.latent_avg
    return found.generator.latent_avg


def _not_taken(encoder: SniffedFile, first: SniffedFile) -> list[str]:
    """What is left in the file of an encoder that was given together with another file."""
    entries = []
    if count := len(encoder.part("decoder.")):
        entries.append(f"its generator ({count} tensors)")
    owners = {"hyperstyle": "HyperStyle checkpoint", "hyperinverter": "generator"}
    if encoder.kind == "w-encoder" and first.kind in owners and encoder.latent_avg is not None:
        entries.append(f"latent_avg (the {owners[first.kind]}'s is used, as by the official code)")
    if encoder.kind == "vgg16":
        entries += vgg16_features(encoder.tensors, where=str(encoder.path))[2]
    return entries


def _check_served(encoder: SniffedFile, first: SniffedFile, config: GeneratorConfig) -> None:
    """Raises WeightsError where an encoder was made for a generator of another size or latent width."""
    blocks = {match[1] for name in encoder.part("decoder.") if (match := re.match(r"convs\.(\d+)\.", name))}
    size = encoder.opts.get("output_size", encoder.opts.get("stylegan_size"))
    if blocks:
        size = 4 << (len(blocks) // 2)
    elif not isinstance(size, int):
        size = config.size
    name = "encoder.linear.weight" if encoder.kind == "w-encoder" else "encoder.styles.0.linear.weight"
    width = length(encoder.tensors, name, 0) if name in encoder.tensors else config.latent_width
    if (size, width) != (config.size, config.latent_width):
        raise WeightsError(
            f"{encoder.path} was made for a generator of {size} px with latent codes of {width}, and that of "
            f"{first.path} has {config.size} px and codes of {config.latent_width}. Use the encoder that belongs to it."
        )


def _check_same(other: GeneratorConfig, target: GeneratorConfig, source: SniffedFile, first: SniffedFile) -> None:
    """Raises WeightsError where a generator cannot take the place of another."""
    if other == target:
        return

    def text(config: GeneratorConfig) -> str:
        return (
            f"{config.size} px, channels {', '.join(map(str, config.channels))}, latent codes of {config.latent_width} "
            f"and {config.mapping_layers} mapping layers"
        )

    raise WeightsError(
        f"{source.path} is a generator of {text(other)}; that of {first.path} has {text(target)}. Use one that was "
        "fine-tuned from it."
    )


def _version() -> str:
    try:
        return metadata.version("hyperstyle-inversion")
    except metadata.PackageNotFoundError:
        return "0+unknown"  # a source tree that was never installed
