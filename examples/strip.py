"""A strip of ages for each of three people, as one sheet."""

from examples.avatars.renderer.photo import demo_photo
from hyperstyle import HyperStyleInverter
from hyperstyle.images import save_image, sheet

inverter = HyperStyleInverter()
photos = [demo_photo(seed)[0] for seed in (31, 17, 7)]
inversion = inverter.invert(photos)  # finds the faces
ages = [-2, -1, 0, 1, 2]
rows = [one.edit("age", ages).images for one in inversion]
save_image(sheet(rows, labels=[f"age {age:+d}" for age in ages], cell=160), "ages.png")
