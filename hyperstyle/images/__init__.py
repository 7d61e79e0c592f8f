"""Images: any kind to a tensor and back, files in and out, what a folder holds, labeled grids.

Inside the library an image is a float32 tensor [B, 3, H, W] in [-1, 1], RGB; outside it is a `PIL.Image`.
"""

from hyperstyle.images.color_modes import flatten, upright
from hyperstyle.images.examples import EXAMPLES, example_photo
from hyperstyle.images.formats import FORMATS, HEAD, MAX_PIXELS, check_opened, open_image, read_head, sort_file
from hyperstyle.images.grid import image_grid, sheet
from hyperstyle.images.listing import Listing, list_folder, list_images
from hyperstyle.images.load import (
    MIN_SIDE,
    BinaryFile,
    ImageSource,
    load_image,
    load_photo,
    resize,
    to_images,
    to_levels,
    to_pil,
    to_tensor,
)
from hyperstyle.images.save import image_format, save_image, write_encoded

__all__ = [
    "EXAMPLES",
    "FORMATS",
    "HEAD",
    "MAX_PIXELS",
    "MIN_SIDE",
    "BinaryFile",
    "ImageSource",
    "Listing",
    "check_opened",
    "example_photo",
    "flatten",
    "image_format",
    "image_grid",
    "list_folder",
    "list_images",
    "load_image",
    "load_photo",
    "open_image",
    "read_head",
    "resize",
    "save_image",
    "sheet",
    "sort_file",
    "to_images",
    "to_levels",
    "to_pil",
    "to_tensor",
    "upright",
    "write_encoded",
]
