"""What every drawing step shares: the image so far, its pixel grid, and who is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from examples.avatars.renderer.anatomy import Face
from examples.avatars.renderer.colors import Colors
from examples.avatars.renderer.factors import Factors
from examples.avatars.renderer.geometry import Head, Shell, pixel_grid
from examples.avatars.renderer.shapes import hsv, smoothstep

__all__ = ["Stage"]


@dataclass
class Stage:
    """An image being painted, back to front.

    `x`, `y` are scene positions of the pixels [B,H,W], `hx`, `hy` the same in the frame that tilts with the
    head, `skin` the surface of the head there; `pixel` [B,1,1] is the size of a pixel in scene units; `light`
    is the unit vector to the key light, in the head's frame. `image` [B,3,H,W] is in [0, 1] once all is
    painted.
    """

    factors: Factors
    head: Head
    face: Face
    colors: Colors
    x: Tensor
    y: Tensor
    hx: Tensor
    hy: Tensor
    skin: Shell
    pixel: Tensor
    slope: tuple[Tensor, Tensor, Tensor, Tensor]
    light: tuple[Tensor, Tensor, Tensor]
    image: Tensor

    @classmethod
    def set_up(cls, factors: Factors, quads: Tensor, height: int, width: int) -> Stage:
        """An empty stage for factors [B] seen through the affine quads [B,4,2]."""
        head = Head.from_factors(factors)
        x, y, pixel = pixel_grid(quads, height, width)
        hx, hy = head.to_head(x, y)
        azimuth = (factors["light_azimuth"].view(-1, 1, 1) * 2 - 1) * 0.85
        elevation = 0.20 + 0.50 * factors["light_elevation"].view(-1, 1, 1)
        lx, ly = torch.sin(azimuth) * torch.cos(elevation), -torch.sin(elevation)
        c, s = torch.cos(head.roll), torch.sin(head.roll)
        light = (lx * c + ly * s, ly * c - lx * s, torch.cos(azimuth) * torch.cos(elevation))
        # One step across / down the image, in the head's frame and per scene unit: what turns differences
        # between neighboring pixels into slopes, whatever way the camera is turned.
        across, down = quads[:, 3] - quads[:, 0], quads[:, 1] - quads[:, 0]
        a = (across / across.norm(dim=1, keepdim=True)).view(-1, 2, 1, 1)
        d = (down / down.norm(dim=1, keepdim=True)).view(-1, 2, 1, 1)
        slope = (
            a[:, 0] * c + a[:, 1] * s,
            a[:, 1] * c - a[:, 0] * s,
            d[:, 0] * c + d[:, 1] * s,
            d[:, 1] * c - d[:, 0] * s,
        )
        image = torch.zeros(len(x), 3, height, width, dtype=x.dtype, device=x.device)
        face, colors = Face.from_factors(factors), Colors.from_factors(factors)
        skin = head.shell(hx, hy)
        return cls(factors, head, face, colors, x, y, hx, hy, skin, pixel, slope, light, image)

    def get(self, name: str) -> Tensor:
        """A factor as [B,1,1]."""
        return self.factors[name].view(-1, 1, 1)

    def has(self, name: str) -> Tensor:
        """A flag as 0 or 1, [B,1,1]."""
        return (self.get(name) >= 0.5).float()

    def any(self, presence: Tensor) -> bool:
        """Whether a thing is there in any image of the batch; what is not need not be drawn."""
        return bool((presence > 0).any())

    def hue(self, name: str, saturation: float, value: float | Tensor) -> Tensor:
        """The color [B,3,1,1] of a hue factor."""
        return hsv(self.factors[name], saturation, value)[:, :, None, None]

    def rgb(self, r: float, g: float, b: float) -> Tensor:
        """A fixed color, [1,3,1,1]."""
        return self.x.new_tensor([r, g, b]).view(1, 3, 1, 1)

    def cover(self, distance: Tensor, soft: float | Tensor = 0.0) -> Tensor:
        """Share of each pixel inside a shape of this signed distance (scene units), blurred over `soft`."""
        return (0.5 - distance / (self.pixel + soft)).clamp(0, 1)

    def cover_skin(self, distance: Tensor, soft: float | Tensor = 0.0) -> Tensor:
        """The same for a distance in canonical units (radii of the head)."""
        return (0.5 - distance / (self.pixel * 1.9 + soft)).clamp(0, 1)

    def fade(self, frequency: float) -> Tensor:
        """1 where a texture of `frequency` cycles per scene unit shows, 0 where pixels are too coarse."""
        return smoothstep(0.75, 0.25, self.pixel * frequency)

    def paint(self, color: Tensor, mask: Tensor) -> None:
        """Lay a color [B,3,H,W] over the image where `mask` [B,H,W] is 1."""
        self.image = torch.lerp(self.image, color.expand_as(self.image), mask[:, None].expand_as(self.image))

    def shade(self, mask: Tensor, tint: Tensor) -> None:
        """Multiply the image by `tint` where `mask` is 1."""
        self.image = self.image * (1 - mask[:, None] * (1 - tint))

    def slopes(self, field: Tensor) -> tuple[Tensor, Tensor]:
        """d/dx and d/dy, in the head's frame and per scene unit, of a field [B,H,W]."""
        i = torch.zeros_like(field)
        j = torch.zeros_like(field)
        i[:, :, 1:-1] = field[:, :, 2:] - field[:, :, :-2]
        j[:, 1:-1] = field[:, 2:] - field[:, :-2]
        i, j = i / (2 * self.pixel), j / (2 * self.pixel)
        ax, ay, dx, dy = self.slope
        return i * ax + j * dx, i * ay + j * dy

    def lambert(self, shell: Shell, wrap: float = 0.35) -> Tensor:
        """Key light on a smooth shell, in [0, 1], reaching `wrap` round the shadow's edge."""
        lx, ly, lz = self.light
        return ((shell.u * lx + shell.v * ly + shell.depth * lz + wrap) / (1 + wrap)).clamp(0, 1)
