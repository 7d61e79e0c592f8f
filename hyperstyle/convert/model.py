"""`convert`: checkpoints of other programs -> a model folder."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from hyperstyle.convert import official
from hyperstyle.convert.contents import Use
from hyperstyle.convert.extras import with_extras
from hyperstyle.convert.folder import check_free, check_outside
from hyperstyle.convert.generators import find_generator
from hyperstyle.convert.parts import Files, PathLike, convert_parts, read_files, unread_entries
from hyperstyle.convert.sniff import KINDS, SniffedFile
from hyperstyle.domain import DOMAINS, Domain, domain_named
from hyperstyle.errors import ConfigError, ConversionWarning, warn
from hyperstyle.io.files import peak_memory, sha256
from hyperstyle.io.opening import read_json
from hyperstyle.methods.registry import available, by_networks, missing_methods
from hyperstyle.model.folder import check_parts, write_model
from hyperstyle.model.parts import Model

_SFE = ("sfe", "sfe-inverter")  # kinds of files of StyleFeatureEditor
_FIRST_PHASE = (
    "{} is of the first phase and has no feature editor: the method is 'sfe-inverter', whose edits leave features as "
    "they are. For 'sfe' convert sfe_editor_light.pt"
)


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        folder: the model folder.
        kind: what the first file was, one of `sniff.KINDS`.
        domain: of the model.
        consumed: tensors taken, by component.
        aliases: number of tensors that repeat others (the shared hypernetwork, which official files list per block).
        unread: by file name, what was not needed.
        computed: sentences on what no file had.
        notes: sentences on what was read from another place than usual, and on what the model cannot do; they are in
            the model's info too.
        source_sha256: by file name.
        sha256: of the written weights, by component.
        seconds: time taken.
        peak_bytes: most memory that this process has used so far, files that it reads included; None where the system
            does not report it.
    """

    folder: Path
    kind: str
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
    edits: Mapping[str, PathLike] | None = None,
    mtcnn: PathLike | None = None,
    licence: str | None = None,
    origin: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Conversion:
    """Makes a model folder from a file of one of the `sniff.KINDS`: a checkpoint, an encoder or a generator.

    Sizes follow from the tensors; domain, steps and the kind of hypernetwork from the options in the file, where it has
    them. Every tensor is used and every place filled, or an error says which was not. `out` appears when it is
    complete.

    Args:
        source: the file.
        out: the folder to write.
        encoder: W encoder, pSp, e4e and ReStyle files for the same generator, at most one of each kind; for IDInvert
            its encoder and VGG16.
        generator: a generator file that replaces the generator in `source`, of the same architecture (one that was
            fine-tuned from it). HyperInverter's and StyleFeatureEditor's files hold none, and need their generator
            here.
        use: "g" takes the generator in training of the file that gives the generator, where that is a training
            checkpoint; None is its average, `g_ema`, and refuses a file that has only `g`.
        domain: name or value; needed where the file does not say it; overrides the file.
        steps: refinement steps of the hypernetwork by default; None is the number in the file, else 5.
        edits: name -> a file that `edits.load_edit` reads: the model's edits. They must be for this generator.
        mtcnn: the folder with MTCNN's published weights, which become the model's own aligner.
        licence, origin: recorded, and shown by `hyperstyle info`.
        overwrite: replace the model in `out`.
        on_progress: called with a line of text for each stage.

    Warns:
        ConversionWarning: the model has no encoder, so that most methods cannot start from an image.

    Raises:
        CheckpointError: a file cannot be read or is not converted; the folder is taken or cannot be written.
        EditError: a file holds no edit, or none for this generator.
        WeightsError: tensors are missing, unexpected, of a wrong shape or not finite.
        ConfigError: the domain is missing or unknown, the parts do not fit together, or a file lies in `out`.
    """
    started = time.perf_counter()
    say = on_progress or (lambda _: None)
    folder = Path(out)
    encoder_paths = [encoder] if isinstance(encoder, str | os.PathLike) else list(encoder or ())
    others = [path for path in (generator, mtcnn) if path is not None]
    check_outside([source, *encoder_paths, *others, *(edits or {}).values()], folder)
    check_free(Path(os.path.realpath(folder)), overwrite=overwrite)

    files = read_files(source, encoder_paths, generator, use, say)
    original = find_generator(files.generator)
    model_domain = _domain(domain, files, original.network.config.size)
    parts = convert_parts(files, original, model_domain)
    networks: dict[str, Any] = {name: part.network for name, (_, part) in parts.items()}
    if steps is None:
        steps = (official.steps_of(files.main) if files.main.kind == "hyperstyle" else None) or 5
    model = Model(networks.pop("generator"), model_domain, networks, steps=steps)
    check_parts(model)
    model = with_extras(model, edits=edits or {}, mtcnn=mtcnn)

    without_start = _without_start(model)
    notes = [note for file in files.all for note in file.notes]
    notes += [] if without_start is None else [without_start]
    notes += [_FIRST_PHASE.format(files.main.path.name)] if files.main.kind == "sfe-inverter" else []
    computed = parts["generator"][1].computed
    names = _display_names(files.all)
    say(f"reading {', '.join(names.values())} once more, for the sha256")
    hashes = {names[file]: sha256(file.path) for file in files.all}
    info = {
        "source": ", ".join(f"{names[file]} ({KINDS[file.kind].words})" for file in files.all),
        "source_sha256": hashes,
        "origin": origin or "",
        "licence": licence or "",
        "converted_by": f"hyperstyle {_version()}",
        "converted_on": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "computed": list(computed),
        "notes": notes,
    }
    say(f"writing {', '.join([*model.networks, *model.edits])} into {folder}")
    check_free(Path(os.path.realpath(folder)), overwrite=overwrite)  # once more: reading may have taken minutes
    write_model(replace(model, info=info), folder, keep_others=False)
    if without_start is not None:
        warn(f"{folder}: {without_start}", ConversionWarning)
    unread = {names[file]: unread_entries(file, files, parts, original) for file in files.all}
    return Conversion(
        folder=folder,
        kind=files.main.kind,
        domain=model_domain,
        consumed={name: part.consumed for name, (_, part) in parts.items()},
        aliases=sum(part.aliases for _, part in parts.values()),
        unread={name: entries for name, entries in unread.items() if entries},
        computed=computed,
        notes=tuple(notes),
        source_sha256=hashes,
        sha256=read_json(folder / "hyperstyle.json")["sha256"],
        seconds=time.perf_counter() - started,
        peak_bytes=peak_memory(),
    )


def _display_names(files: Sequence[SniffedFile]) -> dict[SniffedFile, str]:
    """The files by their names; with the folder, or the whole path, where names are equal."""
    for depth in (1, 2):
        names = ["/".join(file.path.parts[-depth:]) for file in files]
        if len({*names}) == len(files):
            break
    else:
        names = [str(file.path) for file in files]
    return dict(zip(files, names, strict=True))


def _domain(domain: str | Domain | None, files: Files, size: int) -> Domain:
    """The domain for a generator of `size` px: the one given, else that of the first file whose options name one.

    Raises:
        ConfigError: no domain is given and no file names one, or there is none of that name.
    """
    if not isinstance(domain, Domain):
        names = (official.domain_name(file) for file in (files.main, *files.encoders))
        published = "faces" if files.main.kind in _SFE else None  # of no other domain
        name = domain or next((name for name in names if name is not None), published)
        if name is None:
            raise ConfigError(
                f"{files.main.path} does not say what kind of images it is for: name it with --domain "
                f"({', '.join(sorted(DOMAINS))}), or domain=hyperstyle.Domain(...) for a kind of your own."
            )
        domain = domain_named(name).at_size(size)
    return replace(domain, sampling="point") if files.main.kind in ("hyperinverter", *_SFE) else domain


def _without_start(model: Model) -> str | None:
    """What a model without any encoder cannot do; None where it has one."""
    methods, unavailable = available(model), missing_methods(model)
    if by_networks(model) or "idinvert" in methods:
        return None
    remaining = f"only {', '.join(methods)} work, which search for a code" if methods else "no method works"
    return (
        f"the model has no encoder to start from an image: {remaining}; {', '.join(unavailable)} do not. Give an "
        "encoder that belongs to this generator with --encoder (in Python encoder=...)."
    )


def _version() -> str:
    try:
        return metadata.version("hyperstyle-inversion")
    except metadata.PackageNotFoundError:
        return "0+unknown"  # a source tree that was never installed
