"""The latent discriminator of e4e, which keeps predicted codes near W (Tov et al., SIGGRAPH 2021).

Its losses are those of `training.adversarial`: `generator_loss(discriminator(w))` for the encoder, over all rows that
have an offset at this stage, and for the discriminator twice `discriminator_loss` (e4e adds the two terms,
HyperInverter takes their mean).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError

__all__ = ["LatentDiscriminator", "LatentPool"]


class LatentDiscriminator(nn.Module):
    """Classifies codes, each row separately: [...,D] -> logits [...,1], positive for codes of W.

    Args:
        width: D.
        layers: number of linear layers, with leaky ReLU 0.2 between them; the last gives the logit.

    Example:
        >>> LatentDiscriminator(16)(torch.zeros(2, 6, 16)).shape
        torch.Size([2, 6, 1])
    """

    def __init__(self, width: int, layers: int = 4) -> None:
        super().__init__()
        if width < 1 or layers < 1:
            raise ConfigError(f"latent discriminator with width={width}, layers={layers}: expected positive numbers.")
        parts: list[nn.Module] = []
        for _ in range(layers - 1):
            parts += [nn.Linear(width, width), nn.LeakyReLU(0.2)]
        self.mlp = nn.Sequential(*parts, nn.Linear(width, 1))

    def forward(self, w: Tensor) -> Tensor:
        """Raises ConfigError for codes of another width."""
        first = next(self.parameters())
        if w.shape[-1] != first.shape[1]:
            raise ConfigError(f"latent discriminator given {tuple(w.shape)}: expected [..., {first.shape[1]}].")
        logits: Tensor = self.mlp(w)
        return logits


class LatentPool(nn.Module):
    """A pool of codes of earlier steps, on which the discriminator is trained as well.

    Its contents are buffers, so they are part of checkpoints. It uses PyTorch's global random numbers. With several
    processes, each calls it with the codes of all (`distributed.gather`), so that all have the same pool.

    Args:
        width: D.
        size: number of codes; with 0 the input is returned.
    """

    codes: Tensor
    filled: Tensor

    def __init__(self, width: int, size: int = 50) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, w: Tensor) -> Tensor:
        """Codes -> as many codes [B,D]; each is swapped with one of the pool with probability 1/2, once that is full.

        Args:
            w: [B,D], or [B,L,D], of which one row each is chosen at random.
        """
        if w.ndim == 3:
            rows = torch.randint(w.shape[1], (len(w),)).to(w.device)
            w = w[torch.arange(len(w), device=w.device), rows]
        out = w.detach().clone()
        size, filled = len(self.codes), int(self.filled)
        for code in out:
            if filled < size:
                self.codes[filled] = code
                filled += 1
            elif size and torch.rand(()) < 0.5:
                place = int(torch.randint(size, ()))
                earlier = self.codes[place].clone()
                self.codes[place] = code
                code.copy_(earlier)
        self.filled.fill_(filled)
        return out
