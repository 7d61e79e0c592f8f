"""Edited faces back in their photos: one, two in one photo, and one at the border of its photo."""

from PIL import Image

from hyperstyle import HyperStyleInverter, example_photo
from hyperstyle.images import image_grid, save_image

inverter = HyperStyleInverter()


def show(name: str, photo: Image.Image, edit: str, strength: float) -> None:
    """Edits every face that is found and writes the photo before and after, side by side."""
    after = inverter.invert(photo, face="all").edit(edit, strength).paste_back()
    save_image(
        image_grid([[photo, after]], labels=["photo", f"{edit} {strength:+g}"], cell=560), f"pasteback_{name}.png"
    )


show("edit", example_photo(3), "smile", 1.5)

pair = Image.new("RGB", (1280, 800))
for place, number in enumerate((0, 1)):
    pair.paste(example_photo(number), (640 * place, 0))
show("two_faces", pair, "smile", 1.5)

show("border", example_photo(1).crop((200, 140, 640, 580)), "age", 2)
