"""What training lowers: the weighted sum of distances between a reconstruction and its crop (HyperStyle, Eq. 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, ImageError, TrainingWarning, warn
from hyperstyle.metrics import cosine
from hyperstyle.networks.perception.attributes import AttributeNetwork
from hyperstyle.networks.perception.lpips import load_lpips
from hyperstyle.networks.perception.similarity import load_arcface, load_moco
from hyperstyle.training.losses import PerceptualLoss
from hyperstyle.training.options import LossOptions

__all__ = ["Objective", "resolved"]


def resolved(options: LossOptions, domain: Domain, perceptual: AttributeNetwork | None) -> LossOptions:
    """The options with numbers where the weights of identity and moco are None.

    None is the published weight, 0.1 or 0.5, for the one of the two that is meant for images of this domain, where
    its network is there, and 0 otherwise.

    Raises:
        ConfigError: a file is given for the one that is not meant for this domain.

    Warns:
        TrainingWarning: the one that is meant for this domain is left out, since its network is not there, and neither
            weight was given.
    """
    meant = "moco" if domain.similarity == "moco" else "identity"
    files = {"identity": options.identity_weights, "moco": options.moco_weights}
    published = {"identity": 0.1, "moco": 0.5}
    given = {name: weight for name in published if (weight := getattr(options, name)) is not None}
    weights = {"identity": 0.0, "moco": 0.0, **given}
    for name, file in files.items():
        if name != meant and name not in given and file is not None:
            raise ConfigError(
                f"{name}_weights is given, but images of {domain.name!r} are compared by {meant}. Say --loss.{name} "
                f"{published[name]:g} to use it all the same, or leave it out."
            )
    if meant not in given and not any(given.values()):
        if files[meant] is not None or (domain.is_rendered and perceptual is not None):
            weights[meant] = published[meant]
        elif not given:
            warn(
                f"trained without the loss {meant}, published with weight {published[meant]:g}: it needs the file of "
                f"{_NETWORKS[meant]}, --loss.{meant}_weights FILE. (--loss.{meant} 0 leaves it out without this "
                "warning.)",
                TrainingWarning,
            )
    return replace(options, **weights)


_NETWORKS = {"identity": "ArcFace (IR-SE-50)", "moco": "MoCo v2 (ResNet-50)"}


class Objective:
    """l2 * MSE + lpips * LPIPS + identity * (1 - cos) + moco * (1 - cos) + perceptual * distance, means over a batch.

    Terms whose weight is 0 need nothing and are not computed; see `resolved` for weights of None. Everything a term
    needs is loaded, and tried on a gray image, when the objective is made: no training starts without it.

    Attributes:
        options: with the numbers that None stood for.
        weights: of the terms that count, by name.
        terms: by name, (image, target) -> mean over the batch; frozen, and no part of what is trained.

    Args:
        options: the weights, and the files of the networks.
        domain: its `input_size` is the size of the images that are compared.
        perceptual: the model's perceptual network, where it has one. In a domain whose identity the traits tell it
            stands in for ArcFace where no file is given.
        device: where the images will be.

    Raises:
        ConfigError: no weight is above 0; a file or network that a term needs is not given; the images are of a size
            that a network cannot use.
        MissingDependencyError, MethodError: LPIPS is asked for, and its package or its trunk is not there.
        CheckpointError, WeightsError: a file cannot be read, or is another network's.

    Example:
        >>> objective = Objective(LossOptions(lpips=0, identity=0), Domain("plates", 64, (32, 32)))
        >>> total, parts = objective(torch.zeros(2, 3, 32, 32), torch.ones(2, 3, 32, 32))
        >>> parts
        {'l2': 1.0}
    """

    def __init__(
        self,
        options: LossOptions,
        domain: Domain,
        *,
        perceptual: AttributeNetwork | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.options = options = resolved(options, domain, perceptual)
        weights = {name: getattr(options, name) for name in ("l2", "lpips", "identity", "moco", "perceptual")}
        if not any(weights.values()):
            raise ConfigError(f"all weights of the losses {', '.join(weights)} are 0: expected one above it.")
        self.weights = {name: weight for name, weight in weights.items() if weight}
        makers: dict[str, Callable[[], nn.Module]] = {
            "l2": nn.MSELoss,
            "lpips": lambda: _Lpips(load_lpips(options.lpips_net, instead="Or train without it: --loss.lpips 0.")),
            "identity": lambda: _identity(options.identity_weights, domain, perceptual),
            "moco": lambda: _moco(options.moco_weights),
            "perceptual": lambda: _perceptual(perceptual),
        }
        last = "lpips"  # fetches its trunk: files that are not there are said before
        made = {name: makers[name]() for name in sorted(self.weights, key=lambda name: name == last)}
        self.terms = nn.ModuleDict({name: made[name] for name in self.weights}).to(device).eval()
        gray = torch.zeros(1, 3, *domain.input_size, device=device)
        for name, term in self.terms.items():
            _try(name, term, gray)

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Reconstructions and crops [B,3,*input_size] in [-1,1] -> the sum, and every term without its weight.

        Gradients reach `image`, through the sum.
        """
        values = {name: term(image, target) for name, term in self.terms.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total, {name: value.item() for name, value in values.items()}


class _Lpips(nn.Module):
    """The mean of LPIPS over a batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        distance: Tensor = self.network(image, target)
        return distance.mean()


class _Unlike(nn.Module):
    """The mean over a batch of 1 - cos of what a similarity network makes of the images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.network(target)
        return (1 - cosine(self.network(image), wanted)).mean()


class _Embedding(nn.Module):
    """The identity part of an attribute network, as a similarity network."""

    def __init__(self, network: AttributeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.embedding(image)


def _identity(path: str | None, domain: Domain, perceptual: AttributeNetwork | None) -> nn.Module:
    if path is not None:
        return _Unlike(load_arcface(path))
    if domain.is_rendered and perceptual is not None:
        return _Unlike(_Embedding(perceptual))
    other = "" if domain.aligner == "face" else ", with --loss.moco 0.5 --loss.moco_weights FILE as published"
    raise ConfigError(
        f"the loss identity needs the file of {_NETWORKS['identity']}: --loss.identity_weights FILE. Or train without "
        f"it: --loss.identity 0{other}."
    )


def _moco(path: str | None) -> nn.Module:
    if path is None:
        raise ConfigError(
            f"the loss moco needs the file of {_NETWORKS['moco']}: --loss.moco_weights FILE. Or train without it: "
            "--loss.moco 0."
        )
    return _Unlike(load_moco(path))


def _perceptual(network: AttributeNetwork | None) -> nn.Module:
    if network is None:
        raise ConfigError(
            "the loss perceptual needs a model with a perceptual network, such as 'avatars'. For this one train with "
            "LPIPS: --loss.perceptual 0 --loss.lpips 0.8."
        )
    return PerceptualLoss(network)


def _try(name: str, term: nn.Module, gray: Tensor) -> None:
    """Raises ConfigError for a term that cannot compare images of this size."""
    try:
        with torch.no_grad():
            term(gray, gray)
    except (ImageError, RuntimeError) as error:
        height, width = gray.shape[2:]
        raise ConfigError(
            f"the loss {name} cannot compare images of {height}x{width} px (height x width), the input size of this "
            f"domain ({error}). Train without it: --loss.{name} 0."
        ) from error
