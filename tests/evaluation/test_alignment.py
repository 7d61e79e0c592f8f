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

    def one(_: Image.Image) -> list[Points]:
        return [second + np.array([3, 4]), first]

    def other(_: Image.Image) -> list[Points]:
        return [first, first + np.array([500, 0]), second]

    found = compare_detectors(one, other, photos_of(tmp_path).images)
    assert [(d.photo, d.size, d.faces) for d in found] == [("a.png", (80, 64), (2, 3)), ("b.png", (80, 64), (2, 3))]
    assert found[0].corners == pytest.approx((0, 5))
    sides = [np.hypot(*(quad[1] - quad[0])) for quad in map(ffhq_quad, (first, second))]
    assert found[0].sides == pytest.approx(sides)
    assert compare_detectors(one, lambda _: [], photos_of(tmp_path).images)[0].corners == ()


def test_photos_are_judged_by_what_they_hold_and_what_is_left_out_is_kept(tmp_path: Path) -> None:
    (tmp_path / "b.svg").write_bytes(b"<svg/>")
    with pytest.raises(ConfigError, match=r"no images in .*'b\.svg' is an SVG file"):
        photos_of(tmp_path)
    Image.new("RGB", (80, 64)).save(tmp_path / "a", "JPEG")
    found = photos_of(tmp_path)
    assert [file.name for file in found.images] == ["a"]
    assert [file.name for file, _ in found.left_out] == ["b.svg"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images in"):
        photos_of(tmp_path)
