"""Names of version 0.1 that go on working, with a DeprecationWarning.

They are modules, arguments of functions, fields and attributes of classes. To be removed with version 0.3.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")

MOVED = {
    "align.detector": "align.decision",
    "align.landmark_file": "io.published",
    "checkpoint": "io.components",
    "convert.encoders": "convert.official",
    "convert.hyperinverter": "convert.official",
    "editing": "inversion.editing",
    "edits.boundary": "edits.interfacegan",
    "edits.pca": "edits.sampling",
    "edits.text": "edits.protocol",
    "exports": "inversion.exports",
    "fetch": "io.published",
    "file_kind": "io.file_kind",
    "files": "io.files",
    "foreign": "io.torch_files",
    "foreign_npy": "io.npy_objects",
    "foreign_pickle": "io.pickle_reader",
    "frames": "images.frames",
    "hub": "io.hub",
    "images.listing": "images.formats",
    "inversion_file": "inversion.file",
    "methods.named": "methods.registry",
    "methods.offset_codes": "methods.offsets",
    "methods.optimization": "methods.projector",
    "model_card": "model.card",
    "model_folder": "model.folder",
    "modes": "images.color_modes",
    "networks.appearance": "networks.hypernetworks.hyperinverter",
    "networks.backbones": "networks.encoders.backbones",
    "networks.changes": "inversion.state",
    "networks.codes": "networks.hypernetworks.codes",
    "networks.discriminator": "networks.stylegan2.discriminator",
    "networks.fast_offsets": "networks.cpu.offsets",
    "networks.fast_synthesis": "networks.cpu.blocks",
    "networks.folding": "networks.cpu.fuse",
    "networks.generator": "networks.stylegan2.generator",
    "networks.generator_config": "networks.stylegan2.config",
    "networks.generator_layers": "networks.stylegan2.layers",
    "networks.heads": "networks.hypernetworks.heads",
    "networks.hyperinverter": "networks.hypernetworks.hyperinverter",
    "networks.hypernetwork": "networks.hypernetworks.hyperstyle",
    "networks.identity": "networks.perception.similarity",
    "networks.idinvert": "networks.encoders.idinvert",
    "networks.lazy": "networks.hypernetworks.codes",
    "networks.lpips_network": "networks.perception.lpips",
    "networks.mtcnn": "networks.perception.mtcnn",
    "networks.ops": "networks.stylegan2.ops",
    "networks.plain": "networks.reference",
    "networks.psp": "networks.encoders.pyramid",
    "networks.restyle": "networks.encoders.pyramid",
    "networks.similarity": "networks.perception.similarity",
    "networks.state": "inversion.state",
    "networks.traits": "networks.perception.attributes",
    "networks.vgg": "networks.perception.vgg",
    "networks.winograd": "networks.cpu.winograd",
    "strips": "inversion.strips",
    "training.hyperinverter_task": "training.hypernetwork_task",
    "training.hyperstyle_task": "training.hypernetwork_task",
    "training.latent_discriminator": "training.adversarial",
    "training.losses": "training.objective",
    "training.pictures": "training.images",
    "training.picture_sources": "training.image_sources",
    "training.sources": "training.builders",
    "training.updates": "training.optimization",
    "synthesis": "inversion.synthesis",
}
"""Old name -> new name, both below `hyperstyle`."""

PART_ARGUMENTS = (
    "restyle",
    "psp",
    "e4e",
    "hyperinverter",
    "idinvert",
    "vgg16",
    "judge",
    "evaluator",
    "perceptual",
)
"""Networks that `HyperStyleInverter` took as keywords of their own, and takes in `parts` now."""

_PREFIX = "hyperstyle."


class _Finder(MetaPathFinder, Loader):
    """Finds modules under their old names, after Python's own finders did not."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.startswith(_PREFIX) and fullname.removeprefix(_PREFIX) in MOVED:
            return ModuleSpec(fullname, self)
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        new = _PREFIX + MOVED[old.removeprefix(_PREFIX)]
        # stacklevel: past this method; `warnings` skips Python's own frames of the import.
        warnings.warn(f"{old} is {new} now; the old name goes with version 0.3.", DeprecationWarning, stacklevel=2)
        sys.modules[old] = importlib.import_module(new)  # what the import statement returns


def install() -> None:
    """Makes the old names importable. The finder comes last, so existing modules are imported as before."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def renamed_argument(old: str, new: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that takes the keyword `old` as the keyword `new`."""

    def convert(name: str, keywords: dict[str, Any]) -> None:
        if old in keywords:
            _warn(f"{name}({old}=...)", f"{new}=...")
            keywords[new] = keywords.pop(old)

    return _converting(convert)


def gathered_arguments(new: str, old: Iterable[str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that takes the keywords `old` as entries of its mapping `new`: `a=x` as `new={"a": x}`."""

    def convert(name: str, keywords: dict[str, Any]) -> None:
        for entry in [entry for entry in old if entry in keywords]:
            _warn(f"{name}({entry}=...)", f"{new}={{{entry!r}: ...}}")
            keywords[new] = {**(keywords.get(new) or {}), entry: keywords.pop(entry)}

    return _converting(convert)


def _converting(convert: Callable[[str, dict[str, Any]], None]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose keywords are converted in place; `convert` also gets its name, of a class that of the class."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            convert(function.__qualname__.removesuffix(".__init__"), kwargs)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_attribute(old: str, new: str) -> Callable[[type[C]], type[C]]:
    """A class whose attribute `old` reads its attribute `new`."""

    def decorate(cls: type[C]) -> type[C]:
        def read(self: C) -> object:
            _warn(f"{cls.__name__}.{old}", f".{new}")
            return getattr(self, new)

        setattr(cls, old, property(read, doc=f"Deprecated: `{new}`."))
        return cls

    return decorate


def renamed_field(old: str, new: str) -> Callable[[type[C]], type[C]]:
    """A dataclass that takes the keyword `old` as the keyword `new`, and whose attribute `old` is its field `new`."""

    def decorate(cls: type[C]) -> type[C]:
        start = renamed_argument(old, new)(cls.__init__)
        start.__qualname__ = cls.__qualname__
        cls.__init__ = start  # type: ignore[method-assign]
        return renamed_attribute(old, new)(cls)

    return decorate


def _warn(old: str, new: str) -> None:
    from hyperstyle.errors import warn

    warn(f"{old} is {new} now; the old name goes with version 0.3.", DeprecationWarning)
