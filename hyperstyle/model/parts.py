"""The parts of a model as one value; `HyperStyleInverter` composes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakValueDictionary

import torch
from torch import nn

from hyperstyle.domain import Domain
from hyperstyle.edits import Edit
from hyperstyle.edits.text import TextEdits
from hyperstyle.moved import renamed_field
from hyperstyle.networks.encoders.idinvert import IdInvertEncoder
from hyperstyle.networks.encoders.pyramid import PyramidEncoder
from hyperstyle.networks.encoders.restyle import RestyleEncoder
from hyperstyle.networks.encoders.w_encoder import WEncoder
from hyperstyle.networks.hypernetworks.hyperinverter import HyperInverter
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork
from hyperstyle.networks.perception.attributes import AttributeNetwork
from hyperstyle.networks.perception.vgg import Vgg16
from hyperstyle.networks.stylegan2.base import StyleGenerator
from hyperstyle.runtime.threads import once

__all__ = ["ALIGNER", "HasModel", "Model", "ModelKey", "fingerprint", "living_model"]

ALIGNER = ("detector.svm", "predictor.dat")
"""Files of a model's own aligner: a face detector and a landmark predictor, as dlib's trainers write them."""

_living: WeakValueDictionary[str, Model] = WeakValueDictionary()  # by token; a model goes when its last owner does


@dataclass(frozen=True)
class ModelKey:
    """Identifies a model, for values that are stored without it.

    Attributes:
        token: `Model.token`, valid within one process.
        fingerprint: `Model.fingerprint`.
        domain: the name of its domain.
        origin: `Model.origin`.
        device, dtype: of its generator.
    """

    token: str
    fingerprint: str
    domain: str
    origin: str
    device: torch.device
    dtype: torch.dtype


def living_model(key: ModelKey) -> Model | None:
    """The loaded model of this key: the same object, else one with the same weights; None where there is none.

    Of several with the same weights, one on the same device and of the same type comes first, then the newest.
    """
    if (same_object := _living.get(key.token)) is not None:
        return same_object
    models = [model for reference in reversed(_living.valuerefs()) if (model := reference()) is not None]
    models.sort(key=lambda model: (model.device, model.dtype) != (key.device, key.dtype))
    return next((m for m in models if m.domain.name == key.domain and m.fingerprint == key.fingerprint), None)


FIELD_OF_COMPONENT = {"judge": "evaluator"}
"""Components whose folder, of version 0.1, has another name than the field of `Model`."""


@renamed_field("judge", "evaluator")
@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """The parts of a model, as values; `HyperStyleInverter` composes them.

    Attributes:
        generator, domain: always there.
        encoder: crop -> w.
        hypernetwork: crop and reconstruction -> offset codes.
        edits: by name.
        evaluator: predicts attributes and identity embeddings, for `metrics`.
        perceptual: a second attribute network, for losses; never the evaluator, which must not be optimized against.
        steps: default number of steps of the hypernetwork.
        restyle: crop and reconstruction -> how w should change.
        info: what `hyperstyle.json` says (source, licence, hashes, notes).
        hyperinverter: crop and reconstruction -> codes of residuals of the generator's weights.
        text: makes edits from text descriptions; None where the model has no statistics for them.
        psp, e4e: crop -> w with a code of its own for every row.
        idinvert: the same, for the StyleGAN of IDInvert.
        vgg16: features for the loss of IDInvert.
        ancestors: fingerprints of the generators that this one was fine-tuned from; edits made for them apply to it.
        aligner: the folder of the `ALIGNER` files, which detect the faces of this domain; None without them.
        origin: the argument of `from_pretrained`, as Python code; "" for a composition.
        token: a unique name of this object.
    """

    generator: StyleGenerator
    domain: Domain
    encoder: WEncoder | None = None
    hypernetwork: Hypernetwork | None = None
    edits: Mapping[str, Edit] = field(default_factory=dict)
    evaluator: AttributeNetwork | None = None
    perceptual: AttributeNetwork | None = None
    steps: int = 5
    restyle: RestyleEncoder | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    aligner: Path | None = None
    hyperinverter: HyperInverter | None = None
    text: TextEdits | None = None
    ancestors: tuple[str, ...] = ()
    psp: PyramidEncoder | None = None
    e4e: PyramidEncoder | None = None
    idinvert: IdInvertEncoder | None = None
    vgg16: Vgg16 | None = None
    origin: str = ""
    token: str = field(init=False, default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
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
        """Identifies it among other models."""
        return ModelKey(self.token, self.fingerprint, self.domain.name, self.origin, self.device, self.dtype)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that the model has, by the name of their component."""
        names = (
            "generator",
            "encoder",
            "hypernetwork",
            "psp",
            "e4e",
            "restyle",
            "hyperinverter",
            "idinvert",
            "vgg16",
            "judge",
            "perceptual",
        )
        return {n: module for n in names if (module := getattr(self, FIELD_OF_COMPONENT.get(n, n))) is not None}

    @property
    def device(self) -> torch.device:
        """Where the generator's tensors are."""
        return self.generator.latent_avg.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the generator's tensors."""
        return self.generator.latent_avg.dtype

    def compile(self, mode: str | None = None) -> None:
        """Compiles, in place, what inverting calls: encoders, trunks and, except on a CPU, the generator's layers (on a
        CPU `networks.cpu` runs in their place).

        Args:
            mode: of `torch.compile`.
        """
        encoders = (self.encoder, self.psp, self.e4e, self.restyle, self.hyperinverter, self.idinvert)
        trunk = None if self.hypernetwork is None else self.hypernetwork.body
        layers = () if self.device.type == "cpu" else self.generator.blocks
        for module in (*encoders, trunk, *layers):
            if module is not None:
                module.compile(mode=mode)

    @once
    def fingerprint(self) -> str:
        """16 hex digits that change with any weight of generator, hypernetwork or HyperInverter."""
        return fingerprint(self.generator, self.hypernetwork, self.hyperinverter)

    @once
    def generator_fingerprint(self) -> str:
        """16 hex digits that change with any weight of the generator: what edits are made for."""
        return fingerprint(self.generator)


def fingerprint(*modules: nn.Module | None, dtype: torch.dtype = torch.float32) -> str:
    """16 hex digits of all tensors, as if they were stored as `dtype` and loaded as float32."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted((module.state_dict() if module is not None else {}).items()):
            digest.update(name.encode())
            digest.update(tensor.detach().to(dtype).float().cpu().contiguous().reshape(-1).numpy())  # not copied
    return digest.hexdigest()[:16]


class HasModel(Protocol):
    """Anything with a `model`: an inverter, another inversion."""

    @property
    def model(self) -> Model:
        """The parts."""
        ...
