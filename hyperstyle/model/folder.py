"""A whole model on disk: `hyperstyle.json` and one folder per component."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hyperstyle.align.aligners import AutoDetector
from hyperstyle.align.decision import LandmarkDetector
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.domain import Domain
from hyperstyle.edits import Edit, StoredEdit, StyleClip, load_edits, load_folder, save_edit
from hyperstyle.errors import CheckpointError, ConfigError, MissingFileError, WeightsError, shown, with_article
from hyperstyle.io import hub
from hyperstyle.io.components import CONFIG, WEIGHTS, load_component, save_component, type_name, write_json
from hyperstyle.io.file_kind import check_suffix
from hyperstyle.io.files import finish_replacing, make_folder, replace_folder, sha256, write_bytes
from hyperstyle.io.opening import read_bytes, read_json
from hyperstyle.io.typed_config import config_from_dict, config_to_dict
from hyperstyle.model.parts import ALIGNER, COMPONENTS, Model, fingerprint
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder
from hyperstyle.networks.encoders.pyramid import PyramidEncoder, RestyleEncoder
from hyperstyle.networks.encoders.sfe import FeatureEditor, SfeInverter
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.perception.attributes import AttributeNetwork
from hyperstyle.networks.perception.mtcnn import Mtcnn
from hyperstyle.networks.stylegan1 import StyleGan1, StyleGan1Config
from hyperstyle.runtime.device import pick_device
from hyperstyle.runtime.gradients import outside_inference_mode

FILE = "hyperstyle.json"
_MAX_ALIGNER = 1 << 30  # bytes
_ALIGNER = tuple(f"aligner/{name}" for name in ALIGNER)
_TEXT = "styleclip"
_MAX_NAME = 255  # bytes of the name of a file
_FOR_A_GENERATOR = (Hypernetwork, HyperInverter, SfeInverter, FeatureEditor)  # their configurations name it
_MAX_STEPS = 1000  # of the hypernetwork; published models take 5


def write_model(model: Model, folder: Path, *, dtype: torch.dtype = torch.float32, keep_others: bool = True) -> None:
    """Writes a model to a folder. Readers see the old model or the complete new one, even if the process is killed.

    Args:
        model: the model, which may have been read from the same folder.
        folder: created if it does not exist.
        dtype: type of the networks' weights on disk, except MTCNN's, which are float32.
        keep_others: keep files of the folder that do not belong to this model, instead of deleting them.

    Raises:
        HyperStyleError: a file cannot be written, or the folder has the suffix of an image or a video.
        MissingFileError: a file of the aligner cannot be read.
        CheckpointError: an edit or `Model.text` is of a class that cannot be stored, or the name of an edit cannot be
            that of a folder.
    """
    check_suffix(
        folder, advice="A model is a folder: give it another name. Images are saved by inversion.image.save(...)."
    )
    for name, edit in model.edits.items():
        if not isinstance(edit, StoredEdit):
            raise CheckpointError(f"edit {name!r} is {with_article(type(edit))}, which has no form on disk.")
        if not _is_folder_name(name):
            raise CheckpointError(f"edit {name!r} cannot be written: its name is no name of a folder.")
    if model.text is not None and not isinstance(model.text, StyleClip):
        raise CheckpointError(f"text edits by {with_article(type(model.text))}: only StyleClip has a form on disk.")
    with replace_folder(folder, keep_others=keep_others) as temporary:
        _write_files(model, model.text, temporary, dtype)


def _write_files(model: Model, text: StyleClip | None, folder: Path, dtype: torch.dtype) -> None:
    """Writes all files of a model, with `text` as its text edits, into an empty folder."""
    hashes: dict[str, str] = {}
    for name, module in model.networks.items():
        # MTCNN's weights stay those that were published.
        precision = torch.float32 if isinstance(module, Mtcnn) else dtype
        save_component(module, module.config, folder / name, dtype=precision)
        hashes[name] = sha256(folder / name / WEIGHTS)
    if model.aligner is not None:
        for name in ALIGNER:
            hashes[f"aligner/{name}"] = _copy(model.aligner / name, folder / "aligner" / name)
    edits = dict(model.edits)
    if dtype != torch.float32:  # edits for this generator are now for the rounded one
        exact, rounded = model.generator_fingerprint, fingerprint(model.generator, dtype=dtype)
        edits = {n: _for_generator(e, rounded) if e.info.model == exact else e for n, e in edits.items()}
        text = replace(text, model=rounded) if text is not None and text.model == exact else text
    if text is not None:
        text.save(folder / _TEXT)
        hashes[_TEXT] = sha256(folder / _TEXT / WEIGHTS)
    for name, edit in edits.items():
        save_edit(edit, folder / "edits" / name)
    info = {name: value for name, value in model.info.items() if name != "sha256"}
    manifest = Manifest(1, model.domain, model.steps, hashes, tuple(sorted(model.edits)), info)
    write_json(folder / FILE, config_to_dict(manifest))


def add_to_folder(folder: Path, *, edits: Mapping[str, StoredEdit], networks: Mapping[str, Any]) -> None:
    """Adds edits and networks by their names to the model in a folder, all of them or nothing; the rest stays.

    Raises:
        ConfigError: `hyperstyle.json` is malformed. CheckpointError: the folder cannot be written.
    """
    manifest = read_json(folder / FILE)
    listed = load_edits(folder / "edits") if manifest.get("edits") is None else manifest["edits"]
    for name in edits:  # of an older model in this folder, which no longer lists it
        leftover = folder / "edits" / name
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
    with replace_folder(folder, keep_others=True) as temporary:
        hashes = dict(manifest["sha256"])
        for name, network in networks.items():
            save_component(network, network.config, temporary / name)
            hashes[name] = sha256(temporary / name / WEIGHTS)
        for name, edit in edits.items():
            save_edit(edit, temporary / "edits" / name)
        write_json(temporary / FILE, {**manifest, "sha256": hashes, "edits": sorted({*listed, *edits})})


@dataclass(frozen=True)
class Manifest:
    """The content of `hyperstyle.json`.

    Attributes:
        format: 1.
        domain, steps: see `Model`.
        sha256: what the model consists of: name of a component, of "styleclip" or of a file of the aligner, such as
            "generator", -> SHA-256 of its weights or of that file.
        edits: names of the edits, each a folder in `edits/`; None in older files, which do not list them.
        info: `Model.info`, without the hashes.
    """

    format: int
    domain: Domain
    steps: int
    sha256: dict[str, str]
    edits: tuple[str, ...] | None = None
    info: dict[str, Any] = field(default_factory=dict)


def _read_manifest(file: Path) -> Manifest:
    """Reads and checks `hyperstyle.json`.

    Raises:
        MissingFileError: there is no such file.
        ConfigError: another format, or entries that are missing, unknown or malformed.
    """
    top = read_json(file)
    if top.get("format") != 1:
        raise ConfigError(f"{file}: format {shown(top.get('format'))}; this version reads format 1.")
    manifest = config_from_dict(Manifest, top, str(file))
    if not all(map(_is_folder_name, manifest.edits or ())):
        raise ConfigError(f"{file}: expected the names of folders as 'edits', found {shown(manifest.edits)}.")
    if unknown := [name for name in manifest.sha256 if name not in (*_ALIGNER, _TEXT, *COMPONENTS)]:
        raise ConfigError(f"{file} names a component {shown(unknown[0])}; known: {', '.join(COMPONENTS)}.")
    return manifest


@outside_inference_mode
def read_model(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Model:
    """Reads a model that `write_model` wrote, and compares the hashes of its files.

    Args:
        folder: with `hyperstyle.json`. Its writing is finished first if a process was killed (`finish_replacing`).
        device: of the networks.
        dtype: of the networks, except attribute networks and MTCNN, which are always in float32.

    Raises:
        MissingFileError: `hyperstyle.json` or a file of a component is missing.
        ConfigError, WeightsError: a file is malformed, a hash differs, or parts do not fit together.
    """
    finish_replacing(folder)
    manifest = _read_manifest(folder / FILE)
    hashes = manifest.sha256
    files = {name: folder / name if name in _ALIGNER else folder / name / WEIGHTS for name in hashes}
    with _hashed(files.values()) as digests:
        networks = {name: _read_network(name, folder / name, device, dtype) for name in hashes if name in COMPONENTS}
        for name, expected in hashes.items():
            _check_hash(files[name], digests[files[name]], expected)
    if "generator" not in networks:
        raise ConfigError(f"{folder / FILE} names no generator.")
    if len(aligner := [name for name in _ALIGNER if name in hashes]) == 1:
        raise ConfigError(
            f"{folder / FILE} names {aligner[0]!r} alone: an aligner is the files {' and '.join(_ALIGNER)}."
        )
    # Edits that are not listed were left by an older model of this folder; without a list, all of them are loaded.
    below = folder / "edits"
    listed = manifest.edits
    model = Model(
        networks.pop("generator"),
        manifest.domain,
        networks,
        edits=load_edits(below) if listed is None else {name: load_folder(below / name) for name in listed},
        steps=manifest.steps,
        info={**manifest.info, "sha256": hashes},
        aligner=folder / "aligner" if aligner else None,
        text=StyleClip.load(folder / _TEXT) if _TEXT in hashes else None,
    )
    check_parts(model)
    return model


def load_model(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Model:
    """Loads a model by its name (bundled model, folder or Hugging Face repository) and sets `Model.origin`.

    Arguments and errors are those of `HyperStyleInverter.from_pretrained`.
    """
    folder = hub.resolve(name, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only)
    model = read_model(folder, device=pick_device(device), dtype=dtype or torch.float32)
    return replace(model, origin=repr(os.fspath(name)) + (f", revision={revision!r}" if revision else ""))


def aligner_of(model: Model) -> LandmarkDetector | None:
    """The model's own detector: dlib's with the model's files, else its MTCNN; else what this machine has.

    None where images of the domain are not aligned. Files are read at the first call.
    """
    if model.domain.aligner != "face":
        return None
    if model.aligner is not None:
        detector, predictor = (model.aligner / name for name in ALIGNER)
        return DlibDetector(predictor, detector=detector)
    return AutoDetector() if model.mtcnn is None else MtcnnDetector(model.mtcnn)


def _read_network(name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The network of this component, from its folder."""
    network, config = COMPONENTS[name].network, COMPONENTS[name].config
    if name == "generator" and read_json(folder / CONFIG).get("type") == type_name(StyleGan1):
        network, config = StyleGan1, StyleGan1Config
    # Metrics are always computed in float32, and faces found.
    precision = torch.float32 if network in (AttributeNetwork, Mtcnn) else dtype
    return load_component(network, config, folder, device=device, dtype=precision)


def _for_generator(edit: Edit, generator: str) -> Edit:
    """A copy of a stored edit whose `EditInfo.model` is `generator`, the fingerprint of a generator."""
    if not isinstance(edit, StoredEdit):
        raise TypeError("only edits with a form on disk are written")
    return edit.with_info(model=generator)


@contextmanager
def _hashed(files: Iterable[Path]) -> Iterator[dict[Path, Future[str]]]:
    """Gives the body futures of the SHA-256 of files, which two threads compute meanwhile, the largest file first.

    Hashing takes most of the time of loading; to map the files into memory and to search for NaN is fast in comparison.
    """
    order = sorted(files, key=lambda file: file.stat().st_size if file.is_file() else 0, reverse=True)
    pool = ThreadPoolExecutor(2, thread_name_prefix="sha256")
    try:
        yield {file: pool.submit(sha256, file) for file in order}
    finally:
        pool.shutdown(cancel_futures=True)


def _check_hash(path: Path, digest: Future[str], expected: str) -> None:
    """Waits for the SHA-256 of a file. Raises WeightsError if it is not `expected`, MissingFileError if unreadable."""
    try:
        actual = digest.result()
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read: {error.strerror}. Fetch or write the model again.") from error
    if actual != expected:
        raise WeightsError(
            f"{path} has sha256 {actual[:12]}..., {FILE} says {shown(expected)}: the file was changed or is "
            "damaged. Fetch or write the model again."
        )


def _copy(source: Path, target: Path) -> str:
    """Copies a file of the aligner and returns the sha256 of the copy."""
    content = read_bytes(source, "file of the aligner", limit=_MAX_ALIGNER)
    make_folder(target.parent)
    write_bytes(target, content)
    return sha256(target)


def _is_folder_name(name: str) -> bool:
    is_text = not any(letter < " " or "\ud800" <= letter <= "\udfff" for letter in name)
    return (
        is_text
        and len(name.encode()) <= _MAX_NAME
        and Path(name).name == name
        and "\\" not in name
        and name not in ("", "..")
    )


def check_parts(model: Model) -> None:
    """Raises ConfigError unless generator, encoders, hypernetworks and domain fit together."""
    if (misfit := next(_misfits(model), None)) is not None:
        raise ConfigError(f"parts do not fit together: {misfit}. Use parts that were trained together.")


def _misfits(model: Model) -> Iterator[str]:
    """Descriptions, a phrase each, of what does not fit together."""
    generator, domain = model.generator.config, model.domain
    inverter, editor = model.sfe_inverter, model.feature_editor
    if inverter is not None and editor is not None and inverter.config.layer != editor.config.layer:
        yield f"features of {inverter.config.layer}, a feature editor for those of {editor.config.layer}"
    if not 0 <= model.steps <= _MAX_STEPS:
        yield f"steps={model.steps}, which is not in 0..{_MAX_STEPS}"
    if generator.size != domain.size:
        yield f"generator of {generator.size} px, domain of {domain.size} px"
    for name, network in model.parts.items():
        label = COMPONENTS[name].label
        if isinstance(network, IdInvertEncoder) and not isinstance(model.generator, StyleGan1):
            yield "an IDInvert encoder with a StyleGAN2"
        if isinstance(network, PyramidEncoder) and network.config.method != name:
            yield f"the encoder of {network.config.method} as that of {name}"
        if isinstance(network, WEncoder | PyramidEncoder | RestyleEncoder | IdInvertEncoder):
            rows, width = network.config.rows, network.config.latent_width
            if (rows, width) != (generator.rows, generator.latent_width):
                yield (
                    f"{label} for [{rows}, {width}] codes, generator with [{generator.rows}, {generator.latent_width}]"
                )
            if network.config.input_size != domain.input_size:
                yield f"{label} for {network.config.input_size} px, domain {domain.input_size}"
        if isinstance(network, _FOR_A_GENERATOR) and (expected := network.config.generator) != generator:
            yield (
                f"{label} for a generator of {expected.size} px with channels {expected.channels}, this one has "
                f"{generator.size} px and {generator.channels}"
            )
        if isinstance(network, Hypernetwork | SfeInverter) and network.config.input_size != domain.input_size:
            yield f"{label} for {network.config.input_size} px, domain {domain.input_size}"
