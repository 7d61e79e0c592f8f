"""The facade and alignment: whose detector is used, one face or all, what is recorded, and what is warned of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hyperstyle.align import LandmarkDetector
from hyperstyle.align.aligners import AutoDetector
from hyperstyle.align.prepare import prepare
from hyperstyle.errors import (
    AlignmentError,
    ConfigError,
    InversionError,
    LandmarkError,
    MissingFileError,
    NoFaceError,
    QualityWarning,
)
from hyperstyle.images import to_tensor
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import L2_WARN_THRESHOLD, HyperStyleInverter

FACE = np.array([(28, 30), (52, 30), (40, 44), (31, 56), (49, 56)], float)  # in the 80 x 90 photo
PAIR = [FACE / 2 + (5, 5), FACE / 2 + (65, 30)]  # in the 120 x 80 photo; their squares do not meet


def noise(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return noise(2, (80, 90))


@pytest.fixture(scope="module")
def two_faces() -> Image.Image:
    return noise(3, (120, 80))


def finding(*faces: npt.NDArray[np.float64]) -> LandmarkDetector:
    return lambda photo: list(faces)


def with_aligner(inverter: HyperStyleInverter, aligner: LandmarkDetector | None, **changes: Any) -> HyperStyleInverter:
    m = inverter.model
    parts: dict[str, Any] = {"domain": m.domain, "edits": m.edits, "steps": m.steps, "aligner": aligner}
    return HyperStyleInverter(m.generator, m.encoder, m.hypernetwork, **{**parts, **changes})


@pytest.fixture(scope="module")
def everyone(tiny_inverter: HyperStyleInverter, two_faces: Image.Image) -> Inversion:
    """Both faces of a photo."""
    return with_aligner(tiny_inverter, finding(*PAIR)).invert(two_faces, face="all")


# ---- landmarks and faces ----


def test_landmarks_cut_the_face_out(tiny_inverter: HyperStyleInverter, photo: Image.Image) -> None:
    inversion = tiny_inverter.invert(photo, landmarks=FACE)
    source = inversion.sources[0]
    assert source.note == "cut out by the landmarks given"
    assert source.placement is not None
    assert source.placement.source_size == (80, 90)
    assert source.placement.footprint.shape == (4, 2)
    assert not torch.allclose(inversion.tensor, tiny_inverter.invert(photo, align=False).tensor, atol=1e-3)


def test_a_list_takes_landmarks_for_each_image(tiny_inverter: HyperStyleInverter, photo: Image.Image) -> None:
    inverter = with_aligner(tiny_inverter, finding())
    square = noise(1, (40, 40))
    batch = inverter.invert([photo, square], landmarks=[FACE, None])
    assert [s.placement is not None for s in batch.sources] == [True, False]
    torch.testing.assert_close(batch.tensor[:1], inverter.invert(photo, landmarks=FACE).tensor, atol=2e-5, rtol=0)
    with pytest.raises(LandmarkError, match="1 sets of landmarks for 2 images"):
        inverter.invert([photo, square], landmarks=[FACE])


@pytest.mark.parametrize("bad", [np.zeros((4, 2)), "points", [(1, 2), (3,)], FACE + 1e6, FACE * np.nan])
def test_bad_landmarks_are_refused(tiny_inverter: HyperStyleInverter, photo: Image.Image, bad: Any) -> None:
    with pytest.raises(LandmarkError):
        tiny_inverter.invert(photo, landmarks=bad)


def test_an_aligner_finds_the_largest_face_unless_another_is_asked_for(
    tiny_inverter: HyperStyleInverter, photo: Image.Image
) -> None:
    small = (FACE - 40) / 2 + 30
    inverter = with_aligner(tiny_inverter, finding(small, FACE, small))
    inversion = inverter.invert(photo)
    assert torch.equal(inversion.tensor, tiny_inverter.invert(photo, landmarks=FACE).tensor)
    assert inversion.sources[0].note == "cut out around a detected face (largest of 3)"
    assert torch.equal(inverter.invert(photo, face=0).tensor, tiny_inverter.invert(photo, landmarks=small).tensor)
    with pytest.raises(AlignmentError, match="3 faces, numbered from 0"):
        inverter.invert(photo, face=3)


def test_a_photo_without_a_face_is_reported_or_left_out(tiny_inverter: HyperStyleInverter, photo: Image.Image) -> None:
    inverter = with_aligner(tiny_inverter, finding())
    with pytest.raises(NoFaceError, match="80x90"):
        inverter.invert(photo)
    inversion = inverter.invert([photo, noise(1, (40, 40))], on_error="skip")
    assert len(inversion) == 1
    assert [(place, "no face found" in text) for place, text in inversion.failures] == [(0, True)]


def test_what_was_decided_stays_in_the_file(tiny_inverter: HyperStyleInverter, tmp_path: Path) -> None:
    in_place = np.array([(-12.5, -2.5), (12.5, -2.5), (0, 10), (-10, 22.5), (10, 22.5)]) + 49.5
    inverter = with_aligner(tiny_inverter, finding(in_place))
    inversion = inverter.invert(noise(1, (100, 100)))
    inversion.save(tmp_path / "x.safetensors")
    (source,) = Inversion.load(tmp_path / "x.safetensors", inverter).sources
    assert source.note == "square and taken as an aligned crop: its face is in place, within 0.0% of the side"
    assert source.placement is None
    cut_out = inverter.invert(noise(1, (100, 100)), align=True)
    assert cut_out.sources[0].placement is not None


def test_a_photo_that_is_stored_on_its_side_is_inverted_and_edited_upright(
    tiny_inverter: HyperStyleInverter, photo: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees clockwise to see it upright
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    seen: list[tuple[int, int]] = []

    def aligner(photo: Image.Image) -> list[npt.NDArray[np.float64]]:
        seen.append(photo.size)
        return [FACE]

    lying = with_aligner(tiny_inverter, aligner).invert(tmp_path / "lying.png")
    upright = tiny_inverter.invert(photo, landmarks=FACE)
    assert seen == [(80, 90)]
    assert torch.equal(lying.tensor, upright.tensor)
    pasted = lying.edit("age", 2).paste_back()
    assert pasted.tobytes() == upright.edit("age", 2).paste_back().tobytes()
    assert pasted.getexif()[0x0112] == 1


# ---- all faces of a photo ----


def test_all_faces_are_a_batch_of_what_each_gives(
    tiny_inverter: HyperStyleInverter, everyone: Inversion, two_faces: Image.Image
) -> None:
    assert len(everyone) == 2
    for single, points in zip(everyone, PAIR, strict=True):
        alone = tiny_inverter.invert(two_faces, landmarks=points)
        torch.testing.assert_close(single.tensor, alone.tensor, atol=2e-5, rtol=0)
    batch = with_aligner(tiny_inverter, finding(*PAIR)).invert([two_faces, two_faces], face="all")
    assert [source.note[-15:] for source in batch.sources] == ["(number 0 of 2)", "(number 1 of 2)"] * 2


def test_every_face_goes_back_into_the_photo(everyone: Inversion, two_faces: Image.Image) -> None:
    edited = everyone.edit("age", 2)
    before = np.asarray(two_faces).astype(int)
    both = np.asarray(edited.paste_back()).astype(int) - before
    each = [np.asarray(single.paste_back()).astype(int) - before for single in edited]
    assert all(np.abs(change).max() > 5 for change in each)
    assert not (each[0] * each[1]).any()  # they lie apart
    np.testing.assert_allclose(both, each[0] + each[1], atol=1)  # a batch rounds otherwise
    assert edited[::-1].paste_back().tobytes() == edited.paste_back().tobytes()


def test_every_face_goes_back_from_a_file_too(
    everyone: Inversion, two_faces: Image.Image, tiny_inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    edited = everyone.edit("smile", 2)
    edited.save(tmp_path / "x.safetensors")
    loaded = Inversion.load(tmp_path / "x.safetensors", tiny_inverter)
    assert loaded.paste_back(two_faces).tobytes() == edited.paste_back().tobytes()


def test_a_batch_that_is_not_the_faces_of_one_photo_is_not_pasted(
    everyone: Inversion,
    tiny_inverter: HyperStyleInverter,
    two_faces: Image.Image,
    photo: Image.Image,
    tmp_path: Path,
) -> None:
    with pytest.raises(InversionError, match="batch of 4 shows one face more than once"):
        everyone.edit("age", [-2, 2]).paste_back()
    several = tiny_inverter.invert([photo, two_faces], landmarks=[FACE, PAIR[0]])
    with pytest.raises(InversionError, match="batch of 2 come from several photos"):
        several.edit("age", 1).paste_back()
    alike = tiny_inverter.invert([photo, photo.transpose(Image.Transpose.ROTATE_180)], landmarks=[FACE, FACE + 1])
    for _ in range(2):  # what was loaded is saved again
        alike.save(tmp_path / "x.safetensors")
        alike = Inversion.load(tmp_path / "x.safetensors", tiny_inverter)
        with pytest.raises(InversionError, match="batch of 2 come from several photos"):
            alike.edit("age", 1).paste_back(photo)
    assert alike[1].paste_back(photo).size == photo.size
    mixed = with_aligner(tiny_inverter, finding()).invert([photo, noise(1, (40, 40))], landmarks=[FACE, None])
    with pytest.raises(InversionError, match="image 1 of this batch of 2 was not cut out"):
        mixed.paste_back()


# ---- whose aligner ----


def test_a_domain_of_faces_has_what_the_machine_has_unless_another_aligner_is_passed(
    tiny_inverter: HyperStyleInverter,
) -> None:
    ours = finding()
    assert isinstance(tiny_inverter.aligner, AutoDetector)
    assert with_aligner(tiny_inverter, ours).aligner is ours
    assert isinstance(with_aligner(tiny_inverter, None).aligner, AutoDetector)
    assert tiny_inverter.describe()["aligner"].startswith("AutoDetector: dlib, where its published predictor is on")


def test_other_domains_are_not_aligned(tiny_inverter: HyperStyleInverter, photo: Image.Image) -> None:
    plain = with_aligner(tiny_inverter, None, domain=replace(tiny_inverter.model.domain, name="cars", aligner="none"))
    assert plain.aligner is None
    assert plain.describe()["aligner"] is None
    assert plain.invert(photo).sources[0].placement is None
    with pytest.raises(ConfigError, match=r"'cars' images are not aligned; use align='auto' or align=False"):
        plain.invert(photo, align=True)
    with pytest.raises(ConfigError, match="not aligned by them"):
        plain.invert(photo, landmarks=FACE)


def test_align_may_be_a_number_that_equals_true_or_false(tiny_inverter: HyperStyleInverter, photo: Image.Image) -> None:
    plain = with_aligner(tiny_inverter, finding(FACE))
    for align in (0, np.False_):
        assert plain.invert(photo, align=align).sources[0].placement is None  # type: ignore[arg-type]
    assert plain.invert(photo, align=np.True_).sources[0].placement is not None  # type: ignore[arg-type]


# ---- warnings ----


def unaligned_warnings(call: Callable[[], object]) -> list[str]:
    """The warnings of a call about images that were taken as crops with no face seen in them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught if "taken as an aligned crop" in str(warning.message)]


@pytest.mark.parametrize("kind", ["path", "image", "array", "tensor", "batch of one"])
def test_a_square_image_without_a_face_is_warned_of_whatever_it_is(
    tiny_inverter: HyperStyleInverter, tmp_path: Path, kind: str
) -> None:
    image = noise(1, (40, 40))
    image.save(tmp_path / "me.png")
    tensor = to_tensor(image)
    given: Any = {
        "path": tmp_path / "me.png",
        "image": image,
        "array": np.asarray(image),
        "tensor": tensor,
        "batch of one": tensor[None],
    }[kind]
    name = repr(str(given)) if kind == "path" else repr(type(given).__name__)
    inverter = with_aligner(tiny_inverter, finding())
    (text,) = unaligned_warnings(lambda: inverter.invert(given))
    assert text.startswith(f"{name}: square and taken as an aligned crop, since no face was found in it.")
    assert "landmarks=..." in text
    assert "align=False" in text
    assert unaligned_warnings(lambda: inverter.invert(given, align=False)) == []
    points = FACE / 3 + (5, 5)
    assert unaligned_warnings(lambda: inverter.invert(given, landmarks=points)) == []
    assert unaligned_warnings(lambda: with_aligner(tiny_inverter, finding(points)).invert(given)) == []


def test_a_list_is_warned_of_once_with_the_images_that_are_meant(
    tiny_inverter: HyperStyleInverter, photo: Image.Image, tmp_path: Path
) -> None:
    def aligner(image: Image.Image) -> list[npt.NDArray[np.float64]]:
        return [FACE, FACE + 1] if image.size == photo.size else []

    noise(1, (40, 40)).save(tmp_path / "me.png")
    images = [photo, to_tensor(noise(2, (40, 40))), tmp_path / "me.png", noise(3, (40, 40))]
    inverter = with_aligner(tiny_inverter, aligner)
    (text,) = unaligned_warnings(lambda: inverter.invert(images, face="all", batch_size=1))
    assert text.startswith(f"image 2, {str(tmp_path / 'me.png')!r}, image 4: square and taken as an aligned crop")


def test_images_that_were_prepared_before_are_warned_of_when_they_are_inverted(
    tiny_inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    noise(1, (40, 40)).save(tmp_path / "me.png")
    domain = tiny_inverter.model.domain
    prepared = prepare(tmp_path / "me.png", domain, aligner=None)
    (text,) = unaligned_warnings(lambda: tiny_inverter.invert(prepared))
    assert text.startswith(f"{str(tmp_path / 'me.png')!r}: square and taken as an aligned crop, since there is no alig")
    explicit = prepare(tmp_path / "me.png", domain, aligner=None, align=False)
    assert unaligned_warnings(lambda: tiny_inverter.invert(explicit)) == []


def test_a_domain_without_alignment_takes_square_images_without_a_word(tiny_inverter: HyperStyleInverter) -> None:
    plain = with_aligner(tiny_inverter, None, domain=replace(tiny_inverter.model.domain, name="cars", aligner="none"))
    assert unaligned_warnings(lambda: plain.invert(noise(1, (40, 40)))) == []


def test_a_missing_predictor_is_said_with_the_reason(
    tiny_inverter: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: AutoDetector, photo: Image.Image) -> list[npt.NDArray[np.float64]]:
        raise MissingFileError("The landmark predictor is nowhere. Download it.")

    monkeypatch.setattr(AutoDetector, "__call__", missing)
    inverter = with_aligner(tiny_inverter, None)
    assert isinstance(inverter.aligner, AutoDetector)
    (text,) = unaligned_warnings(lambda: inverter.invert(noise(1, (40, 40))))
    assert "since no face could be detected (The landmark predictor is nowhere). If it shows a face, pass" in text


def mean_image(inverter: HyperStyleInverter) -> Image.Image:
    """An image that the tiny model reconstructs exactly when it starts from its mean."""
    from hyperstyle.images import to_images

    w = inverter.model.generator.latent_avg[None]
    return to_images(inverter.model.generator(w))[0]


def test_a_good_crop_and_a_good_reconstruction_are_not_warned_of(tiny_inverter: HyperStyleInverter) -> None:
    generator = tiny_inverter.model.generator
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inversion = tiny_inverter.invert(
            mean_image(tiny_inverter),
            align=False,
            steps=0,
            start=lambda x: generator.latent_avg.expand(len(x), -1),
        )
    assert inversion.stored_metrics["l2"][0] < L2_WARN_THRESHOLD


def test_a_reconstruction_far_from_its_crop_is_warned_of_once_a_call(tiny_inverter: HyperStyleInverter) -> None:
    crops = [noise(seed, (32, 32)) for seed in range(5)]
    with pytest.warns(QualityWarning) as caught:
        inversion = tiny_inverter.invert(crops, align=False, batch_size=2)
    assert min(inversion.stored_metrics["l2"]) > L2_WARN_THRESHOLD
    (warning,) = caught
    assert warning.filename == __file__
    text = str(warning.message)
    assert text.startswith("5 of 5 image(s) may have come out wrong. 'Image': the reconstruction is far from its crop")
    assert f"L2 {inversion.stored_metrics['l2'][0]:.2g}, usually below 0.04" in text
    assert "And 2 more." in text
    for alone in ({"method": "w-encoder"}, {"steps": 0}):
        with pytest.warns(QualityWarning, match=r"usually below 0\.1\)"):
            tiny_inverter.invert(crops[0], align=False, **alone)


def test_a_crop_that_looks_wrong_is_warned_of_with_the_name_of_its_photo(
    tiny_inverter: HyperStyleInverter, photo: Image.Image, tmp_path: Path
) -> None:
    photo.save(tmp_path / "edge.png")
    with pytest.warns(QualityWarning, match=r"edge\.png': \d\d% of the square around the face lie outside the photo"):
        tiny_inverter.invert(tmp_path / "edge.png", landmarks=FACE - [(25, 0)])
    with pytest.warns(QualityWarning, match="has only 10 px in the photo; 32 are looked at"):
        tiny_inverter.invert(photo, landmarks=FACE / 10 + 40)
    with pytest.warns(QualityWarning, match="'Image': its landmarks put the face on its head: right where the photo"):
        tiny_inverter.invert(photo, landmarks=FACE[::-1])
    with pytest.warns(QualityWarning, match="'Image': it is of one color all over"):
        with_aligner(tiny_inverter, finding()).invert(Image.new("RGB", (64, 64)))
