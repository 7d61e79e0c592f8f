"""People in a comic: the generator is tuned to another look, and inversions and their edits move there with it."""

import copy

import torch
import torch.nn.functional as F

from hyperstyle import HyperStyleInverter
from hyperstyle.avatars.photo import demo_photo
from hyperstyle.images import save_image, sheet, to_images
from hyperstyle.metrics import l1, l2

STEPS, BATCH, RATE = 32, 4, 4e-3


def blurred(image: torch.Tensor, side: int) -> torch.Tensor:
    """Pictures [B,3,H,W] averaged twice over squares."""
    for _ in range(2):
        image = F.avg_pool2d(F.pad(image, (side // 2,) * 4, mode="replicate"), side, 1)
    return image


def comic(image: torch.Tensor) -> torch.Tensor:
    """Pictures [B,3,H,W] with flat, strong colours, and ink where they are darker than what is around."""
    image = flat = image.clamp(-1, 1)
    for _ in range(3):  # averages of neighbours of a similar colour
        near = torch.stack([flat.roll((y, x), (2, 3)) for y in (-3, 0, 3) for x in (-3, 0, 3)])
        weight = torch.exp((near - flat).square().sum(2, keepdim=True) / -0.08)
        flat = (weight * near).sum(0) / weight.sum(0)
    grey = flat.mean(1, keepdim=True)
    colours = 1.1 * grey + 0.1 + 1.4 * (flat - grey)
    darker = (blurred(image, 9) - F.avg_pool2d(image, 3, 1, 1, count_include_pad=False)).amax(1, keepdim=True)
    ink = torch.sigmoid(30 * (darker - 0.14))
    return (colours.clamp(-1, 1) + 1) * (1 - ink) - 1


inverter = HyperStyleInverter()
generator = inverter.model.generator
tuned = copy.deepcopy(generator)
weights = [p.requires_grad_() for name, p in tuned.named_parameters() if not name.startswith("style.")]  # not mapping
optimizer = torch.optim.Adam(weights, lr=RATE)
random = torch.Generator().manual_seed(0)
for step in range(STEPS):
    optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - step / STEPS))
    with torch.no_grad():
        w = generator.latent_avg.lerp(
            generator.mapping(torch.randn(BATCH, generator.config.latent_width, generator=random)), 0.9
        )
        target = comic(generator(w, modulation="activations"))
    image = tuned(w, modulation="activations")
    loss = (l1(image, target) + l2(image, target)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
tuned.requires_grad_(False)

inversion = inverter.invert([demo_photo(seed)[0] for seed in (31, 17, 7)])  # finds the faces
there = inversion.transfer(tuned)  # the same codes and weight offsets, which are relative, in the other generator
columns = {
    "inverted": inversion,
    "comic, code only": inversion.initial.transfer(tuned),
    "comic": there,
    "older": there.edit("age", 2),
    "smiling": there.edit("smile", 2),
    "turned": there.edit("pose", 1.5),
}
pictures = [to_images(inversion.crop), *(column.images for column in columns.values())]
rows = [list(row) for row in zip(*pictures, strict=True)]
save_image(sheet(rows, labels=["picture", *columns], cell=160), "comic.png")
