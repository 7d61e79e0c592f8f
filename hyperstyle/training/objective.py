"""The training objective, a weighted sum of distances between a reconstruction and its crop (HyperStyle, Eq. 7), and
losses of latent codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, ImageError, TrainingWarning, warn
from hyperstyle.metrics import cosine
from hyperstyle.metrics import perceptual as perceptual_distance
from hyperstyle.networks.perception.attributes import AttributeNetwork
from hyperstyle.networks.perception.lpips import load_lpips
from hyperstyle.networks.perception.similarity import load_arcface, load_moco
from hyperstyle.training.options import LossOptions

ImageLoss = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, float]]]
"""(reconstruction, crop), [B,3,h,w] each -> the loss, and its parts for the log."""


def resolve_weights(options: LossOptions, domain: Domain, perceptual: AttributeNetwork | None) -> LossOptions:
    """The options with numbers in place of None for the weights of identity and moco.

    Only one of the two terms suits a domain: moco where `domain.similarity` is "moco", else identity. A weight of None
    becomes the published one (identity 0.1, moco 0.5) for the term that suits, if its network is available and the
    other term has no weight above 0. Otherwise it becomes 0.

    Raises:
        ConfigError: a network file is given for the term that does not suit, and no weight for that term.

    Warns:
        TrainingWarning: the term that suits is left out because its network is not available, and both weights are
            None.
    """
    term = "moco" if domain.similarity == "moco" else "identity"
    files = {"identity": options.identity_weights, "moco": options.moco_weights}
    published = {"identity": 0.1, "moco": 0.5}
    explicit = {name: weight for name in published if (weight := getattr(options, name)) is not None}
    weights = {"identity": 0.0, "moco": 0.0, **explicit}
    for name, file in files.items():
        if name != term and name not in explicit and file is not None:
            raise ConfigError(
                f"{name}_weights is given, but images of {domain.name!r} are compared by {term}. Say --loss.{name} "
                f"{published[name]:g} to use it all the same, or leave it out."
            )
    if term not in explicit and not any(explicit.values()):
        if files[term] is not None or (domain.is_rendered and perceptual is not None):
            weights[term] = published[term]
        elif not explicit:
            warn(
                f"trained without the loss {term}, published with weight {published[term]:g}: it needs the file of "
                f"{_NETWORKS[term]}, --loss.{term}_weights FILE. (--loss.{term} 0 leaves it out without this "
                "warning.)",
                TrainingWarning,
            )
    return replace(options, **weights)


_NETWORKS = {"identity": "ArcFace (IR-SE-50)", "moco": "MoCo v2 (ResNet-50)"}


class MeanDistance(nn.Module):
    """The mean over a batch of a distance: (image, target) [B,3,H,W] each -> scalar.

    Args:
        network: what the distance needs; it is frozen.
        distance: (network, image, target) -> [B], or [B,1,1,1].
    """

    def __init__(self, network: nn.Module, distance: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.distance = network.eval().requires_grad_(False), distance

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        return self.distance(self.network, image, target).mean()


class Objective:
    """l2 * MSE + lpips * LPIPS + identity * (1 - cos) + moco * (1 - cos) + perceptual * distance, means over a batch.

    Terms of weight 0 are not computed and need no network; see `resolve_weights` for weights of None. The networks are
    loaded, and tried on a gray image, in the constructor, so that what is missing is reported before training starts.

    Attributes:
        options: with numbers in place of None.
        weights: name of a term -> its weight, above 0.
        terms: name -> frozen module (image, target) -> mean over the batch.

    Args:
        options: the weights, and the files of the networks.
        domain: its `input_size` is the size of the images that are compared.
        perceptual: the model's perceptual network, if it has one. For rendered portraits it also serves the
            identity term, in place of ArcFace, if no ArcFace file is given.
        device: of the images.

    Raises:
        ConfigError: no weight is above 0; the file or network of a term is not given; a network cannot use images of
            this size.
        MissingDependencyError, MethodError: the package or the trunk of LPIPS is missing.
        CheckpointError, WeightsError: a file cannot be read, or holds another network.

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
        self.options = options = resolve_weights(options, domain, perceptual)
        weights = {name: getattr(options, name) for name in ("l2", "lpips", "identity", "moco", "perceptual")}
        if not any(weights.values()):
            raise ConfigError(f"all weights of the losses {', '.join(weights)} are 0: expected one above it.")
        self.weights = {name: weight for name, weight in weights.items() if weight}
        last = "lpips"  # it may download its trunk: missing files are reported before
        order = sorted(self.weights, key=lambda name: name == last)
        terms = {name: _term(name, options, domain, perceptual) for name in order}
        self.terms = nn.ModuleDict({name: terms[name] for name in self.weights}).to(device).eval()
        gray = torch.zeros(1, 3, *domain.input_size, device=device)
        for name, term in self.terms.items():
            try:
                with torch.no_grad():
                    term(gray, gray)
            except (ImageError, RuntimeError) as error:
                height, width = domain.input_size
                raise ConfigError(
                    f"the loss {name} cannot compare images of {height}x{width} px (height x width), the input size of "
                    f"this domain ({error}). Train without it: --loss.{name} 0."
                ) from error

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Reconstructions and crops [B,3,*input_size] in [-1,1] -> the weighted sum, and each term without its weight.

        The sum has a gradient with respect to `image`.
        """
        values = {name: term(image, target) for name, term in self.terms.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total, {name: value.item() for name, value in values.items()}


def _term(name: str, options: LossOptions, domain: Domain, perceptual: AttributeNetwork | None) -> nn.Module:
    """The term of this name. Raises ConfigError if the file or network that it needs is not given."""
    if name == "l2":
        return nn.MSELoss()
    if name == "lpips":
        network = load_lpips(options.lpips_net, instead="Or train without it: --loss.lpips 0.")
        return MeanDistance(network, lambda network, image, target: network(image, target))
    if name == "perceptual":
        if perceptual is None:
            raise ConfigError(
                "the loss perceptual needs a model with a perceptual network, such as 'avatars'. For this one train "
                "with LPIPS: --loss.perceptual 0 --loss.lpips 0.8."
            )
        return MeanDistance(perceptual, lambda network, image, target: perceptual_distance(image, target, network))
    path = getattr(options, f"{name}_weights")
    if path is not None:
        return MeanDistance(load_arcface(path) if name == "identity" else load_moco(path), _cosine_distance)
    if name == "identity" and domain.is_rendered and perceptual is not None:
        return MeanDistance(perceptual, lambda network, *images: _cosine_distance(network.embedding, *images))
    alternative = ", with --loss.moco 0.5 --loss.moco_weights FILE as published"
    raise ConfigError(
        f"the loss {name} needs the file of {_NETWORKS[name]}: --loss.{name}_weights FILE. Or train without it: "
        f"--loss.{name} 0{alternative if name == 'identity' and domain.aligner != 'face' else ''}."
    )


def _cosine_distance(features: Callable[[Tensor], Tensor], image: Tensor, target: Tensor) -> Tensor:
    """1 - cos [B] between the features of two batches."""
    with torch.no_grad():
        target_features = features(target)
    return 1 - cosine(features(image), target_features)


def delta_loss(w: Tensor, stage: int) -> Tensor:
    """Delta regularization of e4e (Tov et al., SIGGRAPH 2021): the sum over rows i of the mean of |w_i - w_0|.

    Args:
        w: [B,L,D].
        stage: only rows 1 to `stage` count, as in progressive training. 0 gives 0.
    """
    lengths: Tensor = (w[:, 1 : stage + 1] - w[:, :1]).norm(dim=2)  # [B,stage]
    return lengths.mean(0).sum()


def w_mean_loss(w: Tensor, mean: Tensor) -> Tensor:
    """Regularization of pSp (Richardson et al., CVPR 2021): the mean over a batch of |w - mean|.

    Args:
        w: [B,L,D].
        mean: the mean of W, [D] or [L,D].
    """
    lengths: Tensor = (w - mean).flatten(1).norm(dim=1)  # [B]
    return lengths.mean()
