"""A disk that is full is an error for every format, and never a file that is cut short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hyperstyle.images import load_image, save_image

# What happens in a process whose files may have any size, and then 300 bytes, as on a disk without room for more:
# suffix -> how many bytes were written, or what was raised. One process for all, since importing takes its time.
WRITE = """
import json, os, resource, signal, sys
import numpy as np
from PIL import Image
from hyperstyle.errors import HyperStyleError
from hyperstyle.images import image_format, save_image
from hyperstyle.inversion.strips import animate

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the process ends where it writes too much
images = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)) for i in range(3)]
Image.init()
writers = {s: save_image for s in Image.registered_extensions() if Image.registered_extensions()[s] in Image.SAVE}
writers |= {"_moves.gif": animate, "_moves.webp": animate}
found = []
for most in (resource.RLIM_INFINITY, 300):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    found.append({})
    for suffix, write in writers.items():
        for image in (images[0], images[0].convert("1"), images[0].convert("P")):
            path = "a" + suffix
            try:
                write(images if write is animate else image, path)
            except HyperStyleError as error:
                if "does not take this" in str(error):
                    continue  # another mode
                found[-1][suffix] = str(error)
            else:
                found[-1][suffix] = os.path.getsize(path)
                os.unlink(path)
            break
print(json.dumps([*found, os.listdir()]))
"""


def test_a_full_disk_is_an_error_for_every_suffix_and_leaves_nothing(tmp_path: Path, checkout: Path) -> None:
    pytest.importorskip("resource", reason="no limit for the size of files on this system")
    result = subprocess.run(
        [sys.executable, "-B", "-c", WRITE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=300,  # an encoder that tries for ever
        check=False,
    )
    assert result.returncode == 0, result.stderr
    sizes, full, left = json.loads(result.stdout)
    assert {".png", ".tiff", ".bmp", ".ppm", ".jp2", ".j2k", ".webp", ".jpg", ".pdf", "_moves.gif"} <= set(sizes)
    assert all(isinstance(size, int) and size > 300 for size in sizes.values()), sizes
    assert full.keys() == sizes.keys()
    assert {suffix: was for suffix, was in full.items() if "File too large" not in str(was)} == {}
    assert left == []


@pytest.mark.parametrize(("suffix", "start"), [(".jp2", b"\0\0\0\x0cjP"), (".j2k", b"\xff\x4f\xff\x51")])
def test_the_suffix_still_chooses_between_the_two_kinds_of_jpeg_2000(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    save_image(Image.new("RGB", (32, 32), (0, 100, 200)), path)
    assert path.read_bytes().startswith(start)
    assert load_image(path).getpixel((5, 5)) == (0, 100, 200)
