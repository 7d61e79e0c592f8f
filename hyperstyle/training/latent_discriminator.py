"""e4e's discriminator of latent codes, which keeps what an encoder predicts near W (Tov et al., SIGGRAPH 2021).

Its logits go into the losses of `training.adversarial`: `generator_loss(discriminator(w))` for the encoder, over all
rows that it moves by now, and for the discriminator itself twice `discriminator_loss` (e4e adds where HyperInverter
halves).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperstyle.errors import ConfigError

__all__ = ["LatentDiscriminator", "LatentPool"]


class LatentDiscriminator(nn.Module):
    """Tells codes of W from predicted ones, each row by itself: [...,D] -> logits [...,1], above 0 for W.

    Args:
        width: D.
        layers: linear layers, the last of which makes the logit; leaky ReLU 0.2 between them.

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
    """Codes of earlier steps, for a discriminator that is not to forget them.

    Its contents are buffers, so that they are part of a checkpoint. It draws from PyTorch's own random numbers. Where
    several processes train together, each asks with the codes of all (`distributed.gathered`), so that all have the
    same pool.

    Args:
        width: D.
        size: codes it has room for; 0 hands back what it is given.
    """

    codes: Tensor
    filled: Tensor

    def __init__(self, width: int, size: int = 50) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, w: Tensor) -> Tensor:
        """Codes -> as many codes [B,D], each the given one or, as often once the pool is full, one from before.

        Args:
            w: [B,D], or [B,L,D], of which one row is taken at random.
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
                before = self.codes[place].clone()
                self.codes[place] = code
                code.copy_(before)
        self.filled.fill_(filled)
        return out
