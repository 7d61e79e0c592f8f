"""Edited faces back in their photos: a large one, two in one photo, and one at the border. Pass jpg for JPEG files."""

import sys

import torch
from PIL import Image

from examples.avatars.renderer.factors import sample_factors
from examples.avatars.renderer.photo import demo_photo
from examples.avatars.renderer.render import render
from hyperstyle import HyperStyleInverter
from hyperstyle.images import save_image, sheet, to_pil

inverter = HyperStyleInverter()
suffix = sys.argv[1] if len(sys.argv) > 1 else "png"


def show(name: str, photo: Image.Image, faces: list[torch.Tensor], edit: str, strength: float) -> None:
    """Edits every face whose landmarks are given and writes the photo before and after, side by side."""
    after = photo
    for points in faces:
        after = inverter.invert(after, landmarks=points.numpy()).edit(edit, strength).paste_back()
    picture = sheet([[photo, after]], labels=["photo", f"{edit} {strength:+g}"], cell=560)
    save_image(picture, f"pasteback_{name}.{suffix}")


photo, points = demo_photo(7, (1024, 1024))
show("edit", photo, [points], "smile", 1.5)

# Two people in one light, before one background: it looks the same at the left end of a picture as at the right one.
factors = sample_factors(2, seed=6)
for name in factors:
    if name.startswith(("background", "light")):
        factors[name][1] = factors[name][0]
factors["light_azimuth"][:] = 0.5
factors["background_stripes"][:] = factors["background_bokeh"][:] = 0
half, top, bottom = 1.15, -1.2, 1.2
frame = torch.tensor([[-half, top], [-half, bottom], [half, bottom], [half, top]])
drawn = render(factors, (720, 690), quads=frame.expand(2, 4, 2))
photo = to_pil(torch.cat(list(drawn.images), dim=2))
show("two_faces", photo, [drawn.landmarks[0], drawn.landmarks[1] + torch.tensor([690.0, 0.0])], "smile", 1.5)

photo, points = demo_photo(17, (800, 1000))
left, top = 230, 170
show("border", photo.crop((left, top, 800, 740)), [points - torch.tensor([left, top])], "age", 2)
