"""Test images from a folder: any size and mode, broken files listed, folders without images refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hyperstyle import ConfigError, Domain, HyperStyleInverter, QualityWarning
from hyperstyle.evaluation import held_out_avatars
from hyperstyle.evaluation.images import digest, folder_images, held_out_images
from hyperstyle.images import to_pil

FACE = np.array([(0.385, 0.475), (0.615, 0.475), (0.5, 0.6), (0.42, 0.71), (0.58, 0.71)])  # in place, of the side


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Images of several sizes and modes, one in a folder below, one broken, and a file that is none."""
    image = to_pil(held_out_avatars(1, 64)[0])
    (tmp_path / "below").mkdir()
    image.save(tmp_path / "below" / "d.jpg")
    image.convert("L").resize((40, 90)).save(tmp_path / "a.png")
    image.convert("RGBA").save(tmp_path / "b.webp")
    image.convert("P").resize((200, 130)).save(tmp_path / "c.PNG")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno image")
    (tmp_path / "notes.txt").write_text("no image either", encoding="utf-8")
    return tmp_path


def test_every_size_and_mode_becomes_a_crop_and_a_broken_file_is_listed(
    mixed: Path, tiny_inverter: HyperStyleInverter
) -> None:
    images = folder_images(mixed, tiny_inverter)
    assert images.names == ("a.png", "b.webp", "below/d.jpg", "c.PNG")
    for i in range(len(images)):
        crop = images.load(i)
        assert (crop.shape, crop.dtype) == ((3, 32, 32), torch.float32)
        torch.testing.assert_close(crop, crop.add(1).mul(127.5).round().div(127.5).sub(1))  # 256 levels
    assert [name for name, _ in images.failures] == ["broken.png"]
    noise = Image.effect_noise((64, 64), 40)
    noise.save(mixed / "below" / "e", "GIF")
    noise.save(mixed / "below" / ".f.png")
    (mixed / "drawing.svg").write_bytes(b"<svg/>")
    images = folder_images(mixed, tiny_inverter)
    assert images.names == ("a.png", "b.webp", "below/d.jpg", "below/e", "c.PNG")
    assert [name for name, _ in images.failures] == ["drawing.svg", "broken.png"]


def test_only_as_many_as_asked_for_are_taken(mixed: Path, tiny_inverter: HyperStyleInverter) -> None:
    assert folder_images(mixed, tiny_inverter, count=2).names == ("a.png", "b.webp")


def test_a_folder_without_images_is_refused(tmp_path: Path, tiny_inverter: HyperStyleInverter) -> None:
    with pytest.raises(ConfigError, match="no image in"):
        folder_images(tmp_path, tiny_inverter)
    with pytest.raises(ConfigError, match="is no folder"):
        folder_images(tmp_path / "nowhere", tiny_inverter)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match="none of the 1 images"):
        folder_images(tmp_path, tiny_inverter)


def test_an_image_that_cannot_be_decoded_to_its_end_is_left_out(
    tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    Image.effect_noise((64, 64), 40).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:900])
    images = folder_images(tmp_path, tiny_inverter)
    assert (images.names, [name for name, _ in images.failures]) == (("good.png",), ["cut.png"])


def test_the_crops_of_the_library_are_for_models_of_avatars_only(tiny_inverter: HyperStyleInverter) -> None:
    images = held_out_images(tiny_inverter, 2)
    assert (len(images), images.load(1).shape) == (2, (3, 32, 32))
    assert len(held_out_images(tiny_inverter)) == 64
    for count in (0, 65):
        with pytest.raises(ConfigError, match=f"{count} held-out crops: expected 1 to 64"):
            held_out_images(tiny_inverter, count)
    model = tiny_inverter.model
    other = HyperStyleInverter(model.generator, model.encoder, domain=Domain("plates", 32, (32, 32)))
    with pytest.raises(ConfigError, match="no images of the domain 'plates' come with the library"):
        held_out_images(other)


def test_digests_change_with_the_crop_and_with_its_size_only(
    mixed: Path, tiny_inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    images = folder_images(mixed, tiny_inverter)
    assert images.digests == tuple(digest(images.load(i)) for i in range(len(images)))
    assert len(set(images.digests)) == len(images)
    assert images.digests == folder_images(mixed, tiny_inverter).digests
    crop = images.load(0)
    assert digest(crop) != digest(crop.reshape(3, 16, 64))
    other = crop.clone()
    other[0, 0, 0] += 2 / 255
    assert digest(crop) != digest(other)


def test_images_in_which_no_face_is_found_are_listed_where_one_was_looked_for(
    tmp_path: Path, tiny_inverter: HyperStyleInverter
) -> None:
    def finder(photo: Image.Image) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        return [] if photo.getpixel((0, 0)) == (0, 0, 0) else [FACE * photo.width]

    noise = np.random.default_rng(0).integers(1, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "face.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "none.png")
    model = tiny_inverter.model
    inverter = HyperStyleInverter(
        model.generator, model.encoder, model.hypernetwork, domain=model.domain, aligner=finder
    )
    with pytest.warns(
        QualityWarning, match=r"^'none\.png': square and taken as an aligned crop, since no face was"
    ) as said:
        images = folder_images(tmp_path, inverter, align="auto")
    assert len(said) == 1
    assert images.names == ("face.png", "none.png")
    ((name, reason),) = images.without_face
    assert (name, "no face was found" in reason) == ("none.png", True)
    assert folder_images(tmp_path, inverter).without_face == ()
    cut = folder_images(tmp_path, inverter, align=True)
    assert (cut.names, [name for name, _ in cut.failures], cut.without_face) == (("face.png",), ["none.png"], ())
    assert cut.digests != images.digests[:1]
