"""How far the crops of two detectors are apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperstyle.align.crop import ffhq_quad
from hyperstyle.errors import ConfigError
from hyperstyle.evaluation.alignment import compare_detectors, photos_of

if TYPE_CHECKING:
    from conftest import Portrait

Points = npt.NDArray[np.float64]


def test_two_detectors_are_compared_face_by_face(tmp_path: Path, portrait: Portrait) -> None:
    for name in ("b.png", "a.png"):
        Image.new("RGB", (80, 64)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    first, second = (portrait(number, (64, 80))[1] for number in (0, 4))

    def detector(_: Image.Image) -> list[Points]:
        return [second + np.array([3, 4]), first]

    def other_detector(_: Image.Image) -> list[Points]:
        return [first, first + np.array([500, 0]), second]

    photos, progress = photos_of(tmp_path).images, []
    compared = compare_detectors(detector, other_detector, photos, lambda *now: progress.append(now))
    assert progress == [("comparing", 1, 2), ("comparing", 2, 2)]
    assert [(d["photo"], d["size"], d["faces"]) for d in compared] == [
        ("a.png", (80, 64), (2, 3)),
        ("b.png", (80, 64), (2, 3)),
    ]
    assert compared[0]["corners"] == pytest.approx([0, 5])
    sides = [np.hypot(*(quad[1] - quad[0])) for quad in map(ffhq_quad, (first, second))]
    assert compared[0]["sides"] == pytest.approx(sides)
    assert compare_detectors(detector, lambda _: [], photos, lambda *_: None)[0]["corners"] == []


def test_photos_are_recognized_by_their_content_and_what_is_left_out_is_listed(tmp_path: Path) -> None:
    (tmp_path / "b.svg").write_bytes(b"<svg/>")
    with pytest.raises(ConfigError, match=r"no images in .*'b\.svg' is an SVG file"):
        photos_of(tmp_path)
    Image.new("RGB", (80, 64)).save(tmp_path / "a", "JPEG")
    photos = photos_of(tmp_path)
    assert [file.name for file in photos.images] == ["a"]
    assert [file.name for file, _ in photos.left_out] == ["b.svg"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images in"):
        photos_of(tmp_path)
