"""Pasting back: pixels outside the crop stay as they are, and the crop returns to where it was cut out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hyperstyle.align import crop, paste_back
from hyperstyle.align.paste import PastedFace, _photo_scale, paste_all
from hyperstyle.align.seam import Frame
from hyperstyle.errors import AlignmentError, ConfigError, ImageError
from hyperstyle.images import save_image

if TYPE_CHECKING:
    from conftest import RunPython

Points = npt.NDArray[np.float64]

MAKE, ORIENTATION, GPS = 0x010F, 0x0112, 0x8825  # EXIF tags
FACE = np.array([[-0.125, -0.0875], [0.125, -0.0875], [0, 0.05], [-0.1, 0.1625], [0.1, 0.1625]])  # of a side of 1


def waves(width: int, height: int, period: float) -> Image.Image:
    y, x = np.mgrid[:height, :width] * (2 * np.pi / period)
    values = [
        127 + 90 * np.sin(x + 0.3 * y),
        127 + 90 * np.cos(y - 0.2 * x),
        127 + 90 * np.sin(0.7 * (x + y)),
    ]
    return Image.fromarray(np.stack(values, axis=-1).round().astype(np.uint8))


def face_at(x: float, y: float, side: float, angle: float) -> Points:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points: Points = side * FACE @ turn + [x, y]
    return points


def square_at(x: float, y: float, side: float, angle: float = 0.0) -> Points:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners: Points = side / 2 * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) @ turn + [x, y]
    return corners


def places_in(quad: Points, size: tuple[int, int]) -> Points:
    """[H, W, 2]: (u, v) of every pixel center of an image of (width, height); 0..1 inside the quad."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]])
    places: Points = (np.stack([x, y], axis=-1) - quad[0]) @ np.linalg.inv(axes)
    return places


def difference(a: Image.Image, b: Image.Image) -> npt.NDArray[np.int64]:
    return np.abs(np.asarray(a, dtype=np.int64) - np.asarray(b, dtype=np.int64))


QUADS = {
    "enlarged": square_at(150.3, 120.8, 150, 0.4),
    "same size": square_at(149.5, 120.5, 64),
    "reduced": square_at(150.3, 120.8, 40, -0.9),
    "partly outside": square_at(20, 230, 130, 0.2),
    "around the photo": square_at(150, 120, 900, 0.1),
}


@pytest.mark.parametrize("name", QUADS)
def test_the_unedited_reconstruction_changes_no_pixel(name: str) -> None:
    photo = waves(300, 240, 17)
    reconstruction = torch.randn(3, 64, 64)
    out = paste_back(photo, reconstruction.clone(), QUADS[name], reference=reconstruction)
    assert out is not photo
    assert out.tobytes() == photo.tobytes()


@pytest.mark.parametrize("name", QUADS)
@pytest.mark.parametrize("feather", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("mode", ["replace", "difference"])
def test_no_pixel_outside_the_quad_changes(name: str, feather: float, mode: str) -> None:
    photo = waves(300, 240, 17)
    edited, reference = torch.ones(3, 64, 64), -torch.ones(3, 64, 64)
    if mode == "replace":
        out = paste_back(photo, edited, QUADS[name], mode="replace", feather=feather)
    else:
        out = paste_back(photo, edited, QUADS[name], reference=reference, feather=feather)
    place = places_in(QUADS[name], photo.size)
    outside = np.any((place < -1e-9) | (place > 1 + 1e-9), axis=-1)
    changed = np.any(difference(out, photo) > 0, axis=-1)
    assert not changed[outside].any()
    assert changed[~outside].mean() > 0.3


def test_the_corners_of_the_crop_come_to_the_corners_of_the_quad() -> None:
    photo = Image.new("RGB", (200, 200))
    marked = torch.full((3, 64, 64), -1.0)
    marked[0, :32, :32] = marked[1, 32:, :32] = marked[2, 32:, 32:] = 1  # top left red, bottom left green, ...
    quad = square_at(100, 100, 120, 0.5)
    out = np.asarray(paste_back(photo, marked, quad, mode="replace", match_colors=False))
    for corner, color in zip(quad, ([255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]), strict=True):
        x, y = np.rint(quad.mean(axis=0) + 0.5 * (corner - quad.mean(axis=0))).astype(int)
        assert out[y, x].tolist() == color


def test_a_crop_of_the_photos_scale_is_copied_exactly() -> None:
    photo = Image.new("RGB", (120, 100), (10, 20, 30))
    patch = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    # Pixels 20..67 and 30..61: their outer edges are half a pixel beyond the indices of the first and last.
    quad = np.array([[19.5, 29.5], [19.5, 61.5], [67.5, 61.5], [67.5, 29.5]])
    crop_ = Image.fromarray(patch)
    out = np.asarray(paste_back(photo, crop_, quad, mode="replace", feather=0, match_colors=False))
    expected = np.array(photo)
    expected[30:62, 20:68] = patch
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("side", [90, 128, 300, 700])
@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_a_crop_comes_back_to_where_it_was_cut(side: int, angle: float) -> None:
    width, height = round(side * 1.7), round(side * 1.5)
    photo = waves(width, height, side / 3)
    cut = crop(photo, face_at(width / 2 + 0.3, height / 2 - 0.2, side, angle), 128, 128)
    assert np.hypot(*(cut.quad[3] - cut.quad[0])) == pytest.approx(side)
    out = paste_back(photo, cut.image, cut.footprint, mode="replace")
    place = places_in(cut.quad, photo.size)
    inside = ((place > 0.15) & (place < 0.85)).all(axis=-1)
    gap = difference(out, photo)[inside]
    assert gap.mean() < 1
    assert gap.max() <= 4


@pytest.mark.parametrize(("x", "y"), [(40, 300), (360, 30), (200, 290)])
@pytest.mark.parametrize("side", [150, 400])
def test_a_crop_partly_outside_comes_back_too(x: int, y: int, side: int) -> None:
    photo = waves(400, 320, 60)
    cut = crop(photo, face_at(x, y, side, 0.3), 256, 256)
    out = paste_back(photo, cut.image, cut.footprint, mode="replace")
    place = places_in(cut.quad, photo.size)
    # The crop blurs the photo itself near its edges, over a third of the padding, which is 0.3 of the side or
    # more.
    columns, rows = np.meshgrid(np.arange(400), np.arange(320))
    from_edge = np.minimum.reduce([columns, rows, 399 - columns, 319 - rows])
    inside = ((place > 0.15) & (place < 0.85)).all(axis=-1) & (from_edge > 0.35 * side)
    if side == 150:
        assert inside.any()
    assert difference(out, photo)[inside].sum() <= 2 * 3 * inside.sum()
    assert out.size == photo.size


def test_a_large_crop_does_not_alias_in_a_small_photo() -> None:
    photo = Image.new("RGB", (80, 80))
    stripes = torch.ones(3, 1024, 1024)
    stripes[:, :, ::2] = -1  # finer than the photo can show: gray
    out = paste_back(photo, stripes, square_at(39.7, 40.2, 50, 0.3), mode="replace", match_colors=False)
    assert np.abs(np.asarray(out)[30:50, 30:50] - 127.5).max() < 2


def test_an_enlarged_crop_is_smooth() -> None:
    photo = Image.new("RGB", (400, 400), (128, 128, 128))
    step = torch.full((3, 16, 16), -0.5)
    step[:, :, 8:] = 0.5
    out = paste_back(photo, step, square_at(199.5, 199.5, 320), mode="replace", match_colors=False)
    profile = np.asarray(out, dtype=int)[200, 120:280, 0]
    assert np.abs(np.diff(profile)).max() < 12  # nearest neighbors would jump by 128
    assert profile[-1] - profile[0] > 110


def test_the_difference_is_added_and_fades_at_the_border() -> None:
    photo = waves(300, 240, 25)
    reference = torch.zeros(3, 64, 64)
    quad = square_at(150, 120, 160, 0.2)
    out = paste_back(photo, reference + 0.2, quad, reference=reference)
    change = np.asarray(out, dtype=int) - np.asarray(photo, dtype=int)
    depth = np.minimum(places_in(quad, photo.size), 1 - places_in(quad, photo.size)).min(axis=-1)
    assert (np.abs(change[depth > 0.1] - 25.5) <= 0.5).all()
    assert (change[(depth > 0) & (depth < 0.01)] <= 1).all()
    assert (change >= 0).all()


def disc(x: float, y: float, size: int = 128) -> torch.Tensor:
    """[3, size, size] in [-1, 1]: a dark disc of a tenth of the side on gray, its edge soft."""
    places = (torch.arange(size) + 0.5) / size
    distance = torch.hypot(places - x, places[:, None] - y)
    return (0.3 - 0.9 * torch.sigmoid((0.1 - distance) * 150)).expand(3, -1, -1)


def photo_of_disc(x: float, y: float) -> Image.Image:
    """300 x 300 pixels: the same with a sharp edge, the quad of 240 px in the middle."""
    rows, columns = np.mgrid[:300, :300]
    near = np.hypot(columns + 0.5 - 30 - 240 * x, rows + 0.5 - 30 - 240 * y) < 24
    return Image.fromarray(np.where(near, 51, 166).astype(np.uint8)).convert("RGB")


IN_THE_MIDDLE = square_at(149.5, 149.5, 240)


def test_what_the_edit_moved_leaves_no_ghost() -> None:
    before, after = photo_of_disc(0.4, 0.5), photo_of_disc(0.65, 0.5)
    edited, reference = disc(0.65, 0.5), disc(0.4, 0.5)
    pure = paste_back(before, edited, IN_THE_MIDDLE, reference=reference, remove_ghosts=False)
    out = paste_back(before, edited, IN_THE_MIDDLE, reference=reference)
    left = np.s_[100:200, 90:150]  # where the disc was and is not any more
    assert difference(pure, after)[left].max() > 30
    assert difference(out, after)[left].max() < 8


def test_away_from_what_moved_the_photo_stays_as_sharp_as_it_was() -> None:
    photo = waves(300, 300, 9)  # finer than what the crops show
    options: dict[str, Any] = {"reference": disc(0.35, 0.5), "quad": IN_THE_MIDDLE}
    out = paste_back(photo, disc(0.4, 0.5), **options)
    changed = np.any(difference(out, paste_back(photo, disc(0.4, 0.5), remove_ghosts=False, **options)), axis=-1)
    assert changed[120:180, 90:150].any()
    changed[80:220, 60:190] = False
    assert not changed.any()


@pytest.mark.parametrize(("change", "rounding"), [(0.21, 0), (-0.35, 0), (0.2, 1)])  # 0.2 is 25.5 levels: a tie
def test_a_change_of_color_alone_takes_nothing_from_the_photo(change: float, rounding: int) -> None:
    photo, reference = waves(300, 300, 9), disc(0.4, 0.5)
    edited = reference + change * torch.tensor([1.0, 0.5, -0.5]).view(3, 1, 1)
    out, pure = (
        paste_back(photo, edited, IN_THE_MIDDLE, reference=reference, remove_ghosts=on) for on in (True, False)
    )
    assert difference(out, pure).max() <= rounding
    assert out.tobytes() != photo.tobytes()


def test_an_outline_that_the_crop_shows_beside_the_photos_gets_no_halo() -> None:
    photo, reference = photo_of_disc(0.405, 0.5), disc(0.4, 0.5)
    edited = torch.where(reference < 0, reference - 0.25, reference)  # the disc darker, by 32 levels
    darker = np.asarray(photo).astype(int)
    darker = Image.fromarray(np.where(darker < 100, darker - 32, darker).astype(np.uint8))
    pure = paste_back(photo, edited, IN_THE_MIDDLE, reference=reference, remove_ghosts=False)
    out = paste_back(photo, edited, IN_THE_MIDDLE, reference=reference)
    wrong = [int((difference(image, darker).max(axis=-1) > 10).sum()) for image in (pure, out)]
    assert wrong[0] > 200
    assert wrong[1] < wrong[0] / 3


def test_what_takes_over_has_the_colors_of_the_photo() -> None:
    after = np.asarray(photo_of_disc(0.65, 0.5)).astype(int)
    darker = Image.fromarray((np.asarray(photo_of_disc(0.4, 0.5)).astype(int) - [40, 20, 0]).astype(np.uint8))
    out = paste_back(darker, disc(0.65, 0.5), IN_THE_MIDDLE, reference=disc(0.4, 0.5))
    left = np.s_[100:200, 90:150]
    expected = after - np.array([40, 20, 0])
    assert np.abs(np.asarray(out).astype(int) - expected)[left].max() < 8


def test_values_out_of_range_count_as_what_one_sees() -> None:
    photo = waves(300, 240, 25)
    out = paste_back(photo, torch.full((3, 8, 8), 3.0), QUADS["enlarged"], reference=torch.ones(3, 8, 8))
    assert out.tobytes() == photo.tobytes()


def test_long_photos_are_worked_on_in_strips_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, edited = waves(300, 240, 25), torch.rand(3, 64, 64)
    pasted = paste_back(photo, edited, QUADS["enlarged"], mode="replace")
    monkeypatch.setattr("hyperstyle.align.paste._PIXELS_AT_ONCE", 1000)
    strips = paste_back(photo, edited, QUADS["enlarged"], mode="replace")
    assert difference(pasted, strips).max() <= 1


def test_tensors_batches_of_one_and_images_are_taken() -> None:
    photo = waves(300, 240, 25)
    crop_image = waves(64, 64, 9)
    tensor = torch.from_numpy(np.asarray(crop_image).copy()).permute(2, 0, 1) / 127.5 - 1
    expected = np.asarray(paste_back(photo, crop_image, QUADS["enlarged"], mode="replace"), dtype=int)
    for crop_ in (tensor, tensor[None], tensor.requires_grad_()):
        out = paste_back(photo, crop_, QUADS["enlarged"], mode="replace")
        assert np.abs(np.asarray(out, dtype=int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_faces_put_back_together_are_those_put_back_one_after_the_other(mode: str) -> None:
    photo = waves(300, 240, 25).convert(mode)
    if mode == "RGBA":
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    before = photo.tobytes()
    faces = [(torch.rand(3, 64, 64), QUADS[name], torch.rand(3, 64, 64)) for name in ("enlarged", "partly outside")]
    expected = photo
    for edited, quad, reference in faces:
        expected = paste_back(expected, edited, quad, reference=reference)
    assert paste_all(photo, [PastedFace(*face) for face in faces]).tobytes() == expected.tobytes()
    assert photo.tobytes() == before


@pytest.mark.parametrize("mode", ["difference", "replace"])
def test_a_mask_limits_what_is_put_back(mode: Literal["difference", "replace"]) -> None:
    photo, (edited, reference) = waves(300, 240, 25), torch.rand(2, 3, 64, 64) * 0.6 - 0.3  # nothing is clipped
    unedited = reference if mode == "difference" else None

    def pasted(mask: torch.Tensor | None) -> npt.NDArray[np.int64]:
        out = paste_back(photo, edited, QUADS["enlarged"], reference=unedited, mode=mode, mask=mask)
        return np.asarray(out, dtype=np.int64) - np.asarray(photo)

    whole = pasted(None)
    assert (pasted(torch.ones(1, 64, 64)) == whole).all()
    assert not pasted(torch.zeros(1, 64, 64)).any()
    assert abs(pasted(torch.full((1, 64, 64), 0.5)) - whole / 2).max() <= 0.75
    with pytest.raises(ImageError, match=r"The mask is of type ndarray. Expected a tensor \[1, H, W\]"):
        pasted(np.ones((1, 64, 64)))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"The mask has the shape \[64, 64\] and the edited crop is 64 x 64 px"):
        pasted(torch.ones(64, 64))
    for value, shown in ((1.5, "1.5"), (-0.5, "-0.5"), (float("nan"), "nan")):
        with pytest.raises(ImageError, match=f"The mask has values from {shown} to {shown}"):
            pasted(torch.full((1, 64, 64), value))


def test_a_crop_is_enlarged_to_a_bounded_size_and_never_reduced_for_it() -> None:
    frame = Frame.of(square_at(5000, 5000, 4500))
    assert _photo_scale(frame, torch.empty(1, 3, 64, 4000)) == (2048, 4000)
    assert _photo_scale(Frame.of(square_at(50, 50, 25)), torch.empty(1, 3, 64, 4000)) == (25, 25)


_PEAK = """
import resource, sys
import torch
from PIL import Image
from hyperstyle.align.paste import PastedFace, paste_all
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def pasted(side):
    photo = Image.new(sys.argv[1], (side, side))
    quads = [[(x, x), (x, x + side // 3), (x + side // 3, x + side // 3), (x + side // 3, x)] for x in (0, side // 2)]
    return paste_all(photo, [PastedFace(torch.ones(3, 64, 64), quad, -torch.ones(3, 64, 64)) for quad in quads])
pasted(200)
before = peak()
pasted(6000)
print((peak() - before) / (4 * 6000**2))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
@pytest.mark.parametrize(("mode", "copies"), [("RGB", 2), ("RGBA", 2.25)])
def test_faces_are_put_back_into_one_copy_of_the_photo(run_python: RunPython, mode: str, copies: float) -> None:
    layer = 7 * 2048**2 * 4  # bytes: change, crop and weight
    slack = (layer + 200e6) / (4 * 6000**2)
    assert float(run_python("-c", _PEAK, mode).stdout) < copies + slack


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "CMYK"])
def test_alpha_and_profile_of_the_photo_are_kept(mode: str) -> None:
    photo = waves(300, 240, 25).convert(mode)
    if mode in ("RGBA", "LA"):
        photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.info["icc_profile"] = b"a profile"
    before = photo.tobytes()
    out = paste_back(photo, torch.ones(3, 16, 16), QUADS["enlarged"], mode="replace", match_colors=False)
    assert out.mode == ("RGBA" if mode in ("RGBA", "LA") else "RGB")
    assert out.info["icc_profile"] == b"a profile"
    assert np.asarray(out)[120, 150, :3].tolist() == [255, 255, 255]
    if out.mode == "RGBA":
        assert out.getchannel("A").tobytes() == photo.getchannel("A").tobytes()
    assert photo.tobytes() == before


@pytest.mark.parametrize("space", [b"RGB ", b"GRAY", b"CMYK"])
def test_a_profile_of_another_color_space_is_not_put_on_an_rgb_image(space: bytes) -> None:
    photo = waves(300, 240, 25)
    photo.info["icc_profile"] = bytes(16) + space + bytes(8)
    out = paste_back(photo, torch.ones(3, 16, 16), QUADS["enlarged"], mode="replace")
    assert ("icc_profile" in out.info) == (space == b"RGB ")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_data_go_from_the_photo_into_the_result_turned_upright(tmp_path: Path, suffix: str) -> None:
    photo = waves(300, 240, 25)
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "a camera", 6
    exif[GPS] = {1: "N"}
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "sideways.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "sideways.jpg") as opened:
        out = paste_back(opened, torch.ones(3, 16, 16), QUADS["enlarged"], mode="replace")
    save_image(out, tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as saved:
        saved_exif = saved.getexif()
        assert saved.size == photo.size
        assert (saved_exif[MAKE], saved_exif[ORIENTATION]) == ("a camera", 1)
        assert saved_exif.get_ifd(GPS)[1] == "N"


def test_exif_data_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    waves(300, 240, 25).save(tmp_path / "photo.png", exif=b"Exif\x00\x00MM\x00")
    with Image.open(tmp_path / "photo.png") as opened:
        out = paste_back(opened, torch.ones(3, 16, 16), QUADS["enlarged"], mode="replace")
    assert "exif" not in out.info


def test_a_photo_pasted_into_twice_keeps_its_alpha_and_metadata() -> None:
    photo = waves(300, 240, 25)
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.info["icc_profile"] = b"a profile"
    photo.getexif()[MAKE] = "a camera"
    once = paste_back(photo, torch.ones(3, 16, 16), square_at(80, 100, 100), mode="replace")
    twice = paste_back(once, torch.ones(3, 16, 16), square_at(220, 100, 100), mode="replace")
    assert twice.info == once.info
    assert twice.getexif()[MAKE] == "a camera"
    assert twice.getchannel("A").tobytes() == photo.getchannel("A").tobytes()


@pytest.mark.parametrize("mode", ["replace", "difference"])
def test_faces_apart_from_each_other_can_be_put_back_in_any_order(mode: Literal["replace", "difference"]) -> None:
    photo = waves(300, 240, 25)
    quads = [square_at(75, 110, 120, 0.2), square_at(225, 120, 100, -0.3), square_at(150, 225, 50, 0.1)]
    faces = list(torch.rand(3, 3, 32, 32))
    reference = torch.zeros(3, 32, 32) if mode == "difference" else None
    results = []
    for order in ((0, 1, 2), (2, 0, 1)):
        out = photo
        for i in order:
            out = paste_back(out, faces[i], quads[i], reference=reference, mode=mode)
        results.append(out.tobytes())
    assert results[0] == results[1]
    assert results[0] != photo.tobytes()


def steps_across(quad: Points, out: Image.Image, photo: Image.Image) -> float:
    """The mean change of the photo in a band of 8 % of the side within the quad's border, in levels."""
    place = places_in(quad, photo.size)
    depth = np.minimum(place, 1 - place).min(axis=-1)
    change = np.asarray(out, dtype=float) - np.asarray(photo, dtype=float)
    return float(np.abs(change[(depth > 0) & (depth < 0.08)].mean()))


@pytest.mark.parametrize("name", ["enlarged", "same size", "reduced", "partly outside"])
def test_a_crop_of_other_colors_meets_the_photo_at_the_seam_and_keeps_its_own_in_the_middle(name: str) -> None:
    photo = Image.new("RGB", (300, 240), (120, 130, 140))
    darker = torch.tensor([100, 130, 150]).view(3, 1, 1).expand(3, 64, 64) / 127.5 - 1
    quad = QUADS[name]
    plain = paste_back(photo, darker, quad, mode="replace", match_colors=False)
    matched = paste_back(photo, darker, quad, mode="replace")
    assert steps_across(quad, plain, photo) > 1
    assert steps_across(quad, matched, photo) < 0.05
    x, y = np.rint(quad.mean(axis=0)).astype(int)
    middle = np.asarray(matched)[y, x].astype(int)
    assert np.abs(middle - [100, 130, 150]).max() <= 1


def test_colors_are_matched_for_each_side_of_the_seam() -> None:
    y, x = np.mgrid[:240, :300]
    photo = Image.fromarray(np.stack([x * 0.5 + 40, y * 0.6 + 30, 0 * x + 90], axis=-1).astype(np.uint8))
    gray = torch.zeros(3, 64, 64)
    quad = square_at(150, 120, 180, 0.15)
    plain, matched = (paste_back(photo, gray, quad, mode="replace", match_colors=on) for on in (False, True))
    place = places_in(quad, photo.size)
    depth = np.minimum(place, 1 - place).min(axis=-1)
    band = (depth > 0) & (depth < 0.08)
    assert difference(matched, photo)[band].mean() < 0.3 * difference(plain, photo)[band].mean()


def test_fine_structure_does_not_change_the_colors() -> None:
    photo = waves(300, 240, 9)
    level = torch.zeros(3, 64, 64)  # about the mean of the waves
    plain, matched = (
        paste_back(photo, level, square_at(150, 120, 180), mode="replace", match_colors=on) for on in (False, True)
    )
    assert difference(plain, matched).max() < 8


def test_the_photo_is_turned_upright_first() -> None:
    photo = waves(300, 240, 25)
    sideways = photo.transpose(Image.Transpose.ROTATE_90)
    sideways.getexif()[0x0112] = 6
    edited = torch.rand(3, 64, 64)
    a, b = (paste_back(p, edited, QUADS["enlarged"], mode="replace") for p in (photo, sideways))
    assert a.size == b.size
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(
    ("quad", "message"),
    [
        (np.zeros((3, 2)), r"four finite corners"),
        (np.full((4, 2), np.nan), r"four finite corners"),
        ("corners", "not an array of numbers"),
        (np.full((4, 2), 50.0), "covers pixels"),
        ([[0, 0], [50, 0], [100, 0], [50, 0]], "covers pixels"),
        ([[0, 0], [0, 50], [80, 90], [50, 0]], "not a parallelogram"),
        ([[0, 0], [50, 0], [0, 50], [50, 50]], "not a parallelogram"),
        (square_at(900, 120, 100), "outside the photo of 300 x 240"),
        (square_at(150, -90, 100), "outside the photo"),
    ],
)
def test_quads_that_make_no_sense_are_refused(quad: npt.ArrayLike, message: str) -> None:
    with pytest.raises(AlignmentError, match=message):
        paste_back(waves(300, 240, 25), torch.zeros(3, 16, 16), quad, mode="replace")


def test_options_that_make_no_sense_are_refused() -> None:
    photo, edited, quad = waves(300, 240, 25), torch.zeros(3, 16, 16), QUADS["enlarged"]
    with pytest.raises(ConfigError, match=r"no reference was given.*mode='replace'"):
        paste_back(photo, edited, quad)
    with pytest.raises(ConfigError, match="no use for it"):
        paste_back(photo, edited, quad, mode="replace", reference=edited)
    with pytest.raises(ConfigError, match="Unknown mode 'poisson'"):
        paste_back(photo, edited, quad, mode="poisson")  # type: ignore[arg-type]
    for feather in (-0.1, 0.6, float("nan"), "a", None, True, [0.1], torch.tensor(0.1)):
        with pytest.raises(ConfigError, match=r"feather is .*give a number from 0 to 0\.5"):
            paste_back(photo, edited, quad, mode="replace", feather=feather)  # type: ignore[arg-type]


def test_crops_that_do_not_fit_are_refused() -> None:
    photo, quad = waves(300, 240, 25), QUADS["enlarged"]
    with pytest.raises(ImageError, match=r"edited crop is 16 x 16 px and the reference 8 x 8 px"):
        paste_back(photo, torch.zeros(3, 16, 16), quad, reference=torch.zeros(3, 8, 8))
    for edited in (torch.zeros(2, 3, 16, 16), torch.zeros(16, 16), torch.zeros(3, 16, 16, dtype=torch.uint8)):
        with pytest.raises(ImageError, match="expected one image"):
            paste_back(photo, edited, quad, mode="replace")
    with pytest.raises(ImageError, match="not finite"):
        paste_back(photo, torch.full((3, 16, 16), float("nan")), quad, mode="replace")
    with pytest.raises(ImageError, match="type str"):
        paste_back("photo.jpg", torch.zeros(3, 16, 16), quad, mode="replace")  # type: ignore[arg-type]
