"""Many images of two people: a grid of edits, the interpolation between them, a mix of both, and animations."""

import numpy as np

from hyperstyle import HyperStyleInverter, example_photo
from hyperstyle.images import image_grid, save_image
from hyperstyle.inversion.strips import animate, grid, photos

inverter = HyperStyleInverter()
first, second = (inverter.invert(example_photo(number)) for number in (3, 1))

save_image(grid(first, ("age", [-2, 0, 2]), ("smile", [-2, 0, 2])), "grid.png")

between = first.interpolate(second, 12)  # codes and offsets together
animate(between, "way.webp")

fine = [spec.name for spec in first.model.generator.layers if spec.resolution >= 32]
mixed = first.mix(second, fine)  # the shape of the first, the colors of the second
row = [first.image, mixed.image, mixed.edit("smile", 2).image, second.image]
save_image(image_grid([row], labels=["first", "mixed", "smile +2", "second"]), "mixed.png")

older = first.edit("age", np.linspace(-2, 2, 12).tolist())  # twelve images that share their weights
animate(photos(first, older), "age.gif")  # the whole photo, frame by frame
