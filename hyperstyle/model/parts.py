"""`Model`: the generator, the other networks and the edits of a model as one value, for `HyperStyleInverter`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, overload
from uuid import uuid4
from weakref import WeakValueDictionary

import torch
from torch import nn

from hyperstyle.domain import Domain
from hyperstyle.edits import Edit
from hyperstyle.edits.protocol import TextEdits
from hyperstyle.errors import ConfigError, did_you_mean, with_article
from hyperstyle.moved import renamed_attribute
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder, IdInvertEncoderConfig
from hyperstyle.networks.encoders.pyramid import (
    PyramidEncoder,
    PyramidEncoderConfig,
    RestyleEncoder,
    RestyleEncoderConfig,
)
from hyperstyle.networks.encoders.sfe import FeatureEditor, FeatureEditorConfig, SfeInverter, SfeInverterConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter, HyperInverterConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.perception.attributes import AttributeNetwork, AttributeNetworkConfig
from hyperstyle.networks.perception.mtcnn import Mtcnn, MtcnnConfig
from hyperstyle.networks.perception.vgg import Vgg16, Vgg16Config
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.runtime.threads import once_property

N = TypeVar("N", bound=nn.Module)

ALIGNER = ("detector.svm", "predictor.dat")
"""Files of a model's own aligner: a face detector and a landmark predictor, as dlib's trainers write them."""

_living: WeakValueDictionary[str, Model] = WeakValueDictionary()  # by token; a model goes when its last owner does


@dataclass(frozen=True)
class ModelKey:
    """Identifies a model, for values (such as pickled inversions) that are stored without it.

    Attributes:
        token: `Model.token`, valid within one process.
        fingerprint: `Model.fingerprint`.
        domain: the name of its domain.
        origin: `Model.origin`, to load it again.
        device, dtype: of its generator.
    """

    token: str
    fingerprint: str
    domain: str
    origin: str
    device: torch.device
    dtype: torch.dtype


def living_model(key: ModelKey) -> Model | None:
    """The model of this key in this process: the same object, else one with the same weights and domain; else None.

    Of several with the same weights, one on the same device and of the same dtype is taken first, then the newest.
    """
    if (same_object := _living.get(key.token)) is not None:
        return same_object
    models = [model for reference in reversed(_living.valuerefs()) if (model := reference()) is not None]
    models.sort(key=lambda model: (model.device, model.dtype) != (key.device, key.dtype))
    return next((m for m in models if m.domain.name == key.domain and m.fingerprint == key.fingerprint), None)


class Component(Generic[N]):
    """Describes an optional network of a model. It is a descriptor: `model.psp` gives that network, or None.

    Attributes:
        network: the network's class.
        config: the class that its `config.json` is read into.
        label: its name in messages.
        name: its key in `Model.parts` and the name of its folder on disk; by default, the name of the attribute.
    """

    def __init__(self, network: type[N], config: type[Any], label: str, *, name: str = "") -> None:
        self.network, self.config, self.label, self.name = network, config, label, name

    def __set_name__(self, owner: type[object], attribute: str) -> None:
        self.name = self.name or attribute

    @overload
    def __get__(self, instance: None, owner: type[object]) -> Component[N]: ...
    @overload
    def __get__(self, instance: Model, owner: type[object]) -> N | None: ...
    def __get__(self, instance: Model | None, owner: type[object]) -> Component[N] | N | None:
        if instance is None:
            return self
        return cast("N | None", instance.parts.get(self.name))


@renamed_attribute("judge", "evaluator")
@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A generator, its domain, and the networks and edits that go with it; `HyperStyleInverter` uses them.

    Attributes:
        generator: renders images from latent codes.
        domain: the kind of image.
        parts: component name (see `PARTS`) -> network. All networks but the generator.
        edits: name -> edit.
        steps: default number of steps of the hypernetwork.
        info: what `hyperstyle.json` says (source, licence, hashes, notes).
        aligner: folder with the `ALIGNER` files, which find the faces of this domain; None for a model without them.
        text: makes edits from text descriptions; None if the model lacks the statistics that this needs.
        ancestors: fingerprints of the generators that this one was fine-tuned from. Edits made for them fit it too.
        origin: the arguments with which `from_pretrained` loads it, as Python code; "" if it was built otherwise.
        token: unique for every `Model` object.
        encoder: crop -> latent codes [B,L,D], one code of W for all rows.
        hypernetwork: crop and reconstruction -> offset codes.
        psp, e4e: crop -> latent codes [B,L,D], a different one in each row.
        restyle: crop and reconstruction -> change [B,L,D] of the latent codes.
        hyperinverter: crop and reconstruction -> codes for residuals of the generator's weights.
        sfe_inverter: crop -> latent codes [B,L,D] and features of a layer (StyleFeatureEditor).
        feature_editor: these features and the change of an edit -> edited features.
        idinvert: crop -> latent codes [B,L,D] for the StyleGAN of IDInvert.
        vgg16: features for the loss of IDInvert.
        evaluator: predicts attributes and identity embeddings, for `metrics`. Its component and folder are "judge".
        perceptual: a second attribute network, for losses. Losses never use the evaluator, which must not be optimized
            against.
        mtcnn: finds the faces of photos, where the model has no `aligner` files.

    Raises:
        ConfigError: `parts` has an unknown name, or a network of another class than its component.
    """

    generator: StyleGenerator
    domain: Domain
    parts: Mapping[str, nn.Module] = field(default_factory=dict)
    edits: Mapping[str, Edit] = field(default_factory=dict)
    steps: int = 5
    info: Mapping[str, Any] = field(default_factory=dict)
    aligner: Path | None = None
    text: TextEdits | None = None
    ancestors: tuple[str, ...] = ()
    origin: str = ""
    token: str = field(init=False, default_factory=lambda: uuid4().hex)

    # The table of components, in the order in which they are listed and written.
    encoder = Component(WEncoder, WEncoderConfig, "encoder")
    hypernetwork = Component(Hypernetwork, HypernetworkConfig, "hypernetwork")
    psp = Component(PyramidEncoder, PyramidEncoderConfig, "pSp encoder")
    e4e = Component(PyramidEncoder, PyramidEncoderConfig, "e4e encoder")
    restyle = Component(RestyleEncoder, RestyleEncoderConfig, "ReStyle encoder")
    hyperinverter = Component(HyperInverter, HyperInverterConfig, "HyperInverter")
    sfe_inverter = Component(SfeInverter, SfeInverterConfig, "Inverter of StyleFeatureEditor")
    feature_editor = Component(FeatureEditor, FeatureEditorConfig, "feature editor")
    idinvert = Component(IdInvertEncoder, IdInvertEncoderConfig, "IDInvert encoder")
    vgg16 = Component(Vgg16, Vgg16Config, "VGG16")
    evaluator = Component(AttributeNetwork, AttributeNetworkConfig, "evaluator", name="judge")
    perceptual = Component(AttributeNetwork, AttributeNetworkConfig, "perceptual network")
    mtcnn = Component(Mtcnn, MtcnnConfig, "MTCNN")

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _checked(self.parts))
        _living[self.token] = self

    def __getstate__(self) -> dict[str, Any]:
        """Without fingerprints: a copy may be trained further before it is asked for them."""
        return {name: v for name, v in self.__dict__.items() if name not in ("fingerprint", "generator_fingerprint")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.token in _living:  # a copy; the original is still there
            self.__dict__["token"] = uuid4().hex
        _living[self.token] = self

    def __repr__(self) -> str:
        return f"<Model {self.domain.name!r} of {self.generator.config.size} px: {', '.join(self.networks)}>"

    @property
    def key(self) -> ModelKey:
        """The key that identifies this model (see `living_model`)."""
        return ModelKey(self.token, self.fingerprint, self.domain.name, self.origin, self.device, self.dtype)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Component name -> network: the generator, then all of `parts`."""
        return {"generator": self.generator, **self.parts}

    def with_parts(self, **parts: nn.Module | None) -> Model:
        """A new `Model` with these networks added or replaced; None removes a network. The others are shared.

        Args:
            parts: name of a component or of its attribute -> network, as in
                `model.with_parts(psp=encoder, hypernetwork=None)`.
        """
        changed = {_component_name(name): network for name, network in parts.items()}
        networks = {**self.parts, **changed}
        return replace(self, parts={name: network for name, network in networks.items() if network is not None})

    def copied_to(self, device: torch.device) -> Model:
        """A copy of the model whose networks are copies on `device`; this model is not changed."""
        copies: dict[str, Any] = {name: copy.deepcopy(network).to(device) for name, network in self.networks.items()}
        return replace(self, generator=copies.pop("generator"), parts=copies)

    @property
    def device(self) -> torch.device:
        """The device of the generator."""
        return self.generator.latent_avg.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the generator."""
        return self.generator.latent_avg.dtype

    def compile(self, mode: str | None = None) -> None:
        """Compiles in place the modules that inversion calls.

        These are the encoders, the HyperInverter, the trunk of the hypernetwork and, except on a CPU, the layers of the
        generator. On a CPU, `networks.cpu` runs instead of these layers.

        Args:
            mode: of `torch.compile`.
        """
        encoders = (self.encoder, self.psp, self.e4e, self.restyle, self.hyperinverter, self.idinvert)
        features = (self.sfe_inverter, self.feature_editor)
        trunk = None if self.hypernetwork is None else self.hypernetwork.body
        layers = () if self.device.type == "cpu" else self.generator.blocks
        for module in (*encoders, *features, trunk, *layers):
            if module is not None:
                module.compile(mode=mode)

    @once_property
    def fingerprint(self) -> str:
        """16 hex digits that depend on all weights of the generator, the hypernetwork, the HyperInverter and the
        feature editor: of all that makes images of a state.
        """
        return fingerprint(self.generator, self.hypernetwork, self.hyperinverter, self.feature_editor)

    @once_property
    def generator_fingerprint(self) -> str:
        """16 hex digits that depend on all weights of the generator. Edits record it: the generator they fit."""
        return fingerprint(self.generator)


PARTS: Mapping[str, Component[Any]] = {
    component.name: component for component in vars(Model).values() if isinstance(component, Component)
}
"""Component name -> component, for all networks that `Model.parts` may hold: all but the generator."""

COMPONENTS = {"generator": Component(Generator, GeneratorConfig, "generator", name="generator"), **PARTS}
"""Component name (also the folder on disk) -> component: the generator, then `PARTS`."""


def _component_name(name: str) -> str:
    """The component name for an attribute of `Model` ("evaluator" -> "judge"); other names are returned as is."""
    component = vars(Model).get(name)
    return component.name if isinstance(component, Component) else name


def _checked(parts: Mapping[str, nn.Module | None]) -> dict[str, nn.Module]:
    """Component name -> network, in the order of `PARTS`; those that are None are left out.

    Raises:
        ConfigError: an unknown name, or a network of another class than its component.
    """
    by_component = {_component_name(name): network for name, network in parts.items()}
    if unknown := [name for name in by_component if name not in PARTS]:
        raise ConfigError(f"a model has no part {unknown[0]!r}. {did_you_mean(unknown[0], PARTS)}")
    networks = {name: network for name in PARTS if (network := by_component.get(name)) is not None}
    for name, network in networks.items():
        if not isinstance(network, kind := PARTS[name].network):
            raise ConfigError(f"part {name!r} is {with_article(type(network))}: expected {with_article(kind)}.")
    return networks


def fingerprint(*modules: nn.Module | None, dtype: torch.dtype = torch.float32) -> str:
    """16 hex digits of a hash of all tensor names and values; modules that are None count as empty.

    Values are rounded to `dtype` and hashed as float32: this is the fingerprint of the modules once they have been
    stored as `dtype` and loaded as float32.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted((module.state_dict() if module is not None else {}).items()):
            digest.update(name.encode())
            digest.update(tensor.detach().to(dtype).float().cpu().contiguous().reshape(-1).numpy())  # not copied
    return digest.hexdigest()[:16]


class HasModel(Protocol):
    """Any object with a `model`, such as an inverter or an inversion."""

    @property
    def model(self) -> Model:
        """The parts."""
        ...
