"""How `turned.heic` and `ten_bit.heic` were made; pi-heif, with which they are read, only decodes.

In an environment of its own: pip install pillow-heif && python tests/images/make_heic.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif  # its x265 encoder; pillow-heif 1.8.1 with libheif 1.23.6 made the files
from PIL import Image, ImageCms

HERE = Path(__file__).parent
# Red and green above blue and white, of different sizes, so that every turn looks different.
PIXELS = np.full((48, 64, 3), 255, np.uint8)
PIXELS[:16, :48] = (255, 0, 0)
PIXELS[:16, 48:] = (0, 255, 0)
PIXELS[16:, :48] = (0, 0, 255)

if __name__ == "__main__":
    # As a phone held upright writes it: the sensor's rows, the turn in the container (irot) and in the EXIF data.
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a phone"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    heif = pillow_heif.from_pillow(Image.fromarray(PIXELS))
    heif.save(HERE / "turned.heic", quality=90, exif=exif.tobytes(), icc_profile=profile)
    deep = pillow_heif.from_bytes("RGB;16", (64, 48), (PIXELS.astype(np.uint16) * 257).tobytes())
    deep.save(HERE / "ten_bit.heic", quality=90, save_nclx_profile=True)
