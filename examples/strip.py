"""A strip of ages for each of three people, as one image."""

from hyperstyle import HyperStyleInverter, example_photo
from hyperstyle.images import image_grid, save_image

inverter = HyperStyleInverter()
photos = [example_photo(number) for number in (0, 1, 3)]
inversion = inverter.invert(photos)  # finds the faces
ages = [-2, -1, 0, 1, 2]
rows = [person.edit("age", ages).images for person in inversion]
save_image(image_grid(rows, labels=[f"age {age:+d}" for age in ages], cell=160), "ages.png")
