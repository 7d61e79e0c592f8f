"""Domain adaptation: the generator is fine-tuned to a comic style, and inversions and edits are transferred to it."""

from hyperstyle import HyperStyleInverter, example_photo
from hyperstyle.evaluation.report.adaptation import tune_to
from hyperstyle.evaluation.report.filters import comic
from hyperstyle.images import image_grid, save_image, to_images

inverter = HyperStyleInverter()
tuned = tune_to(inverter.model, comic, steps=32)  # any function of images [B,3,H,W] in place of `comic`
inversion = inverter.invert([example_photo(number) for number in (0, 1, 3)])  # finds the faces
transferred = inversion.transfer(tuned)  # the same codes and weight offsets, which are relative, in the other generator
columns = {
    "inverted": inversion,
    "comic, code only": inversion.initial.transfer(tuned),
    "comic": transferred,
    "older": transferred.edit("age", 2),
    "smiling": transferred.edit("smile", 2),
    "turned": transferred.edit("pose", 1.5),
}
images = [to_images(inversion.crop), *(column.images for column in columns.values())]
rows = [list(row) for row in zip(*images, strict=True)]
save_image(image_grid(rows, labels=["input", *columns], cell=160), "comic.png")
