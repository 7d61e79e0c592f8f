"""Domain adaptation: the generator is fine-tuned to a drawn style, and inversions and edits are transferred to it."""

import copy

import torch
import torch.nn.functional as F

from hyperstyle import HyperStyleInverter, example_photo, metrics
from hyperstyle.images import image_grid, save_image, to_images


def drawing(images):
    """Any function of images [B,3,H,W] in [-1, 1]: here flat, strong colors, and ink where they are darkest."""
    smooth = F.avg_pool2d(F.pad(images, (2,) * 4, mode="replicate"), 5, 1)
    gray, surroundings = images.mean(1, keepdim=True), smooth.mean(1, keepdim=True)
    ink = torch.sigmoid(30 * (surroundings - gray - 0.1))
    return ((1.4 * smooth - 0.4 * surroundings).clamp(-1, 1) + 1) * (1 - ink) - 1


inverter = HyperStyleInverter()
generator = inverter.model.generator
tuned = copy.deepcopy(generator)
weights = [p.requires_grad_() for name, p in tuned.named_parameters() if not name.startswith("style.")]
optimizer = torch.optim.Adam(weights, lr=4e-3)
torch.manual_seed(0)
for step in range(32):  # the mapping network is left as it is, so that codes mean the same in both generators
    optimizer.param_groups[0]["lr"] = 4e-3 * min(1.0, 2 * (1 - step / 32))
    with torch.no_grad():
        w = generator.latent_avg.lerp(generator.mapping(torch.randn(4, generator.config.latent_width)), 0.9)
        target = drawing(generator(w))
    image = tuned(w, modulation="activations")
    loss = (metrics.l1(image, target) + metrics.l2(image, target)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
tuned.requires_grad_(False)

inversion = inverter.invert([example_photo(number) for number in (0, 1, 3)])  # finds the faces
transferred = inversion.transfer(tuned)  # the same codes and weight offsets, which are relative, in the other generator
columns = {
    "inverted": inversion,
    "drawn, code only": inversion.initial.transfer(tuned),
    "drawn": transferred,
    "older": transferred.edit("age", 2),
    "smiling": transferred.edit("smile", 2),
    "turned": transferred.edit("pose", 1.5),
}
images = [to_images(inversion.crop), *(column.images for column in columns.values())]
rows = [list(row) for row in zip(*images, strict=True)]
save_image(image_grid(rows, labels=["input", *columns], cell=160), "drawn.png")
