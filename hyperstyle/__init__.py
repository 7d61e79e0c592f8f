"""HyperStyle: StyleGAN inversion by predicted weight offsets (Alaluf et al., CVPR 2022), and editing.

    from hyperstyle import HyperStyleInverter

    inverter = HyperStyleInverter.from_pretrained("avatars")
    inversion = inverter.invert("me.jpg")
    inversion.edit("age", 2).image.save("older.png")

The names below are imported when they are first used: `import hyperstyle` is instant and loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperstyle.moved import install

__all__ = [
    "AlignmentError",
    "CheckpointError",
    "ConfigError",
    "ConversionWarning",
    "DirectionEdit",
    "Domain",
    "Edit",
    "EditError",
    "EditInfo",
    "EditWarning",
    "Generator",
    "GeneratorConfig",
    "HubError",
    "HyperStyleError",
    "HyperStyleInverter",
    "Hypernetwork",
    "HypernetworkConfig",
    "ImageError",
    "Inversion",
    "InversionError",
    "LandmarkError",
    "MemoryWarning",
    "MethodError",
    "MissingDependencyError",
    "MissingFileError",
    "ModelNotFoundError",
    "NoFaceError",
    "QualityWarning",
    "StyleClip",
    "TrainingWarning",
    "WEncoder",
    "WEncoderConfig",
    "WeightsError",
    "__version__",
    "example_photo",
    "load_edit",
    "load_image",
    "optimize_text",
    "refine",
]

_HOMES = {
    "hyperstyle.domain": ("Domain",),
    "hyperstyle.edits": ("DirectionEdit", "Edit", "EditInfo", "StyleClip", "load_edit"),
    "hyperstyle.errors": tuple(name for name in __all__ if name.endswith(("Error", "Warning"))),
    "hyperstyle.images": ("example_photo", "load_image"),
    "hyperstyle.inversion.inversion": ("Inversion",),
    "hyperstyle.inverter": ("HyperStyleInverter",),
    "hyperstyle.methods.hyperstyle": ("refine",),
    "hyperstyle.methods.text": ("optimize_text",),
    "hyperstyle.networks.encoders.w_encoder": ("WEncoder", "WEncoderConfig"),
    "hyperstyle.networks.stylegan2.generator": ("Generator", "GeneratorConfig"),
    "hyperstyle.networks.hypernetworks.hyperstyle": ("Hypernetwork", "HypernetworkConfig"),
}
_OLD_NAMES = {"optimise_text": "hyperstyle.methods.text"}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

if TYPE_CHECKING:
    from hyperstyle.domain import Domain
    from hyperstyle.edits import DirectionEdit, Edit, EditInfo, StyleClip, load_edit
    from hyperstyle.errors import (
        AlignmentError,
        CheckpointError,
        ConfigError,
        ConversionWarning,
        EditError,
        EditWarning,
        HubError,
        HyperStyleError,
        ImageError,
        InversionError,
        LandmarkError,
        MemoryWarning,
        MethodError,
        MissingDependencyError,
        MissingFileError,
        ModelNotFoundError,
        NoFaceError,
        QualityWarning,
        TrainingWarning,
        WeightsError,
    )
    from hyperstyle.images import example_photo, load_image
    from hyperstyle.inversion.inversion import Inversion
    from hyperstyle.inverter import HyperStyleInverter
    from hyperstyle.methods.hyperstyle import refine
    from hyperstyle.methods.text import optimize_text
    from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
    from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
    from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

    __version__: str
else:
    # Hidden from type checkers: with a module-level __getattr__ in sight they would accept any misspelt name.

    def __getattr__(name: str) -> object:
        import importlib

        if name == "__version__":
            value = _installed_version()
        elif name in _OLD_NAMES:  # which warns when it is called
            return getattr(importlib.import_module(_OLD_NAMES[name]), name)
        elif name in _HOME_OF:
            value = getattr(importlib.import_module(_HOME_OF[name]), name)
        else:
            from hyperstyle.errors import did_you_mean

            raise AttributeError(
                f"module 'hyperstyle' has no attribute {name!r}. {did_you_mean(name, __all__)}",
                name=name,
                obj=None,
            )
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def _installed_version() -> str:
    """The version of the installed distribution, or "0+unknown" in a source tree that was never installed."""
    from importlib import metadata

    try:
        return metadata.version("hyperstyle-inversion")
    except metadata.PackageNotFoundError:
        return "0+unknown"


install()
