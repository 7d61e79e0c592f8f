"""How sharp generated images are beside rendered ones, and how alike the two look to a network."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from hyperstyle.networks.perception.attributes import AttributeNetwork

__all__ = ["kernel_distance", "octave_power", "pooled_features"]

OCTAVES = 4


def octave_power(images: Tensor) -> Tensor:
    """Mean power of images [B,C,s,s] in each octave of spatial frequency, coarse to fine: [4].

    The finest octave has frequencies from a quarter to half a cycle per pixel, the one before half of these, and so
    on; the coarsest ends at 1/32 of a cycle per pixel. A Hann window keeps the image's border out of it.
    """
    size = images.shape[-1]
    window = torch.hann_window(size, periodic=False)
    centered = images.float() - images.float().mean((2, 3), keepdim=True)
    power = torch.fft.fft2(centered * window[:, None] * window).abs().square().mean((0, 1))  # [s,s]
    frequency = torch.fft.fftfreq(size)
    radius = torch.hypot(frequency[:, None], frequency[None])  # cycles per pixel
    edges = [0.5 / 2**k for k in range(OCTAVES, -1, -1)]
    bands = [(low <= radius) & (radius < high) for low, high in pairwise(edges)]
    return torch.stack([power[band].mean() for band in bands])


@torch.no_grad()
def pooled_features(network: AttributeNetwork, images: Tensor) -> Tensor:
    """Mean and deviation over positions of the features of every stage: [B,3,h,w] -> [B,F]."""
    stages = network.features(images)
    return torch.cat([part for x in stages for part in (x.mean((2, 3)), x.std((2, 3)))], 1)


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Kernel distance of the distributions of features [N,F] and [M,F], unbiased (KID; Binkowski et al., ICLR 2018).

    Features are standardized by `b` first, so that all stages count. Where both come from the same distribution, it is
    about 0, on either side.
    """
    mean, scale = b.double().mean(0), b.double().std(0).clamp(min=1e-6)
    a, b = (a.double() - mean) / scale, (b.double() - mean) / scale

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1).pow(3)

    def within(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))

    return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()
