"""Images: any kind to a tensor and back, files in and out, what a folder holds, labeled grids.

Inside the library an image is a float32 tensor [B, 3, H, W] in [-1, 1], RGB; outside it is a `PIL.Image`.
"""

from hyperstyle.images.color_modes import flatten, upright
from hyperstyle.images.formats import FORMATS, MAX_PIXELS, Listing, list_folder, list_images
from hyperstyle.images.grid import image_grid, sheet
from hyperstyle.images.load import (
    EXAMPLES,
    MIN_SIDE,
    BinaryFile,
    ImageSource,
    example_photo,
    load_image,
    load_photo,
    reduce_to,
    resize,
    to_images,
    to_levels,
    to_pil,
    to_tensor,
    view_image,
)
from hyperstyle.images.save import image_format, save_image

__all__ = [
    "EXAMPLES",
    "FORMATS",
    "MAX_PIXELS",
    "MIN_SIDE",
    "BinaryFile",
    "ImageSource",
    "Listing",
    "example_photo",
    "flatten",
    "image_format",
    "image_grid",
    "list_folder",
    "list_images",
    "load_image",
    "load_photo",
    "reduce_to",
    "resize",
    "save_image",
    "sheet",
    "to_images",
    "to_levels",
    "to_pil",
    "to_tensor",
    "upright",
    "view_image",
]
