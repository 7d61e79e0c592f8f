"""The figures of docs/photos.md: edited faces back in a large photo, two in one photo, and one at the border.

    python -m examples.avatars.studies.paste_back_figures jpg

Writes into the current folder; without "jpg" PNG files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from examples.avatars.renderer.factors import sample_factors
from examples.avatars.renderer.photo import demo_photo
from examples.avatars.renderer.render import render
from hyperstyle import HyperStyleInverter
from hyperstyle.images import image_grid, save_image, to_pil

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the three figures."""
    arguments = sys.argv[1:] if argv is None else argv
    suffix = arguments[0] if arguments else "png"
    inverter = HyperStyleInverter()

    def show(name: str, photo: Image.Image, faces: Sequence[Tensor], edit: str, strength: float) -> None:
        """Edits every face whose landmarks are given and writes the photo before and after, side by side."""
        after = photo
        for points in faces:
            after = inverter.invert(after, landmarks=points.numpy()).edit(edit, strength).paste_back()
        pair = image_grid([[photo, after]], labels=["photo", f"{edit} {strength:+g}"], cell=560)
        save_image(pair, f"pasteback_{name}.{suffix}")

    photo, points = demo_photo(7, (1024, 1024))
    show("edit", photo, [points], "smile", 1.5)

    # Two people in one light, before one background: it looks the same at the left end of a photo as at the right one.
    factors = sample_factors(2, seed=6)
    for name in factors:
        if name.startswith(("background", "light")):
            factors[name][1] = factors[name][0]
    factors["light_azimuth"][:] = 0.5
    factors["background_stripes"][:] = factors["background_bokeh"][:] = 0
    half, top, bottom = 1.15, -1.2, 1.2
    frame = torch.tensor([[-half, top], [-half, bottom], [half, bottom], [half, top]])
    rendered = render(factors, (720, 690), quads=frame.expand(2, 4, 2))
    photo = to_pil(torch.cat(list(rendered.images), dim=2))
    faces = [rendered.landmarks[0], rendered.landmarks[1] + torch.tensor([690.0, 0.0])]
    show("two_faces", photo, faces, "smile", 1.5)

    photo, points = demo_photo(17, (800, 1000))
    left, top_row = 230, 170
    show("border", photo.crop((left, top_row, 800, 740)), [points - torch.tensor([left, top_row])], "age", 2)


if __name__ == "__main__":
    main()
