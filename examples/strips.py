"""Many images of two people: a grid of edits, the way between them, a mix of both, and animations."""

import numpy as np

from hyperstyle import HyperStyleInverter, example_photo
from hyperstyle.images import image_grid, save_image
from hyperstyle.inversion.strips import animate, grid, photos

inverter = HyperStyleInverter()
one, other = (inverter.invert(example_photo(number)) for number in (3, 1))

save_image(grid(one, ("age", [-2, 0, 2]), ("smile", [-2, 0, 2])), "grid.png")

way = one.interpolate(other, 12)  # codes and offsets together
animate(way, "way.webp")

fine = [spec.name for spec in one.model.generator.layers if spec.resolution >= 32]
mixed = one.mix(other, fine)  # the shape of one, the colors of the other
row = [one.image, mixed.image, mixed.edit("smile", 2).image, other.image]
save_image(image_grid([row], labels=["one", "mixed", "smile +2", "other"]), "mixed.png")

older = one.edit("age", np.linspace(-2, 2, 12).tolist())  # twelve images that share their weights
animate(photos(one, older), "age.gif")  # the whole photo, frame by frame
