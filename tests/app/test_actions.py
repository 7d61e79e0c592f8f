"""What the page does, without the page."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperstyle.app import actions
from hyperstyle.app.actions import Limits
from hyperstyle.app.sessions import MAX_HISTORY, Session
from hyperstyle.errors import ConfigError, EditError, HyperStyleError, ImageError, InversionError, NoFaceError
from hyperstyle.images import example_photo
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())


# ---- photos ----


def test_a_photo_is_shown_with_its_face_outlined(opened: Session) -> None:
    shown = actions.outlined(opened)
    assert opened.photo is not None
    assert shown.size == opened.photo.size
    assert 0 < difference(shown, opened.photo) < 10
    placement = opened.faces[0].source.placement
    assert placement is not None
    center = placement.footprint.mean(axis=0)
    assert actions.face_at(opened, *center) == 0
    assert actions.face_at(opened, 1, 1) is None


def test_all_faces_are_found_the_largest_is_chosen_and_any_can_be(bundled: HyperStyleInverter) -> None:
    two = Image.new("RGB", (1280, 800), (128, 128, 128))
    two.paste(example_photo(1).resize((320, 400)), (100, 200))
    two.paste(example_photo(0), (640, 0))
    session = actions.open_photo(bundled, two, "two.png", Limits())
    assert len(session.faces) == 2
    first = actions.invert(bundled, session)
    other = actions.invert(bundled, session, face=1 - session.face)
    assert other.face != first.face
    assert difference(first.inversion.image, other.inversion.image) > 10
    place = first.faces[first.face].source.placement
    assert place is not None
    assert place.footprint[:, 0].mean() > 640
    for face, chosen in ((0, first), (1, other)):
        placement = chosen.faces[face].source.placement
        assert placement is not None
        middle = placement.footprint.mean(axis=0) * actions.outlined(chosen).width / 1280
        assert actions.face_at(chosen, *middle) == face


@pytest.mark.parametrize("kind", ["text", "empty", "large", "blank"])
def test_what_is_no_portrait_is_refused_in_one_sentence_about_its_own_name(
    kind: str, bundled: HyperStyleInverter, tmp_path: Path
) -> None:
    path = tmp_path / "upload-1"
    if kind in ("text", "empty"):
        path.write_text("no image" if kind == "text" else "")
    else:
        Image.new("L", (16384, 12288) if kind == "large" else (640, 400), 90).save(path, "PNG")
    expected: type[HyperStyleError] = NoFaceError if kind == "blank" else ImageError
    with pytest.raises(expected) as raised:
        actions.open_photo(bundled, str(path), "me.png", Limits())
    assert str(tmp_path) not in str(raised.value)
    if kind == "large":
        assert "16384 x 12288 pixels, 201 megapixels; this page takes up to 50" in str(raised.value)
    elif kind != "blank":
        assert "'me.png'" in str(raised.value)


def test_the_first_image_of_an_animation_is_taken_and_the_page_says_so(
    bundled: HyperStyleInverter, tmp_path: Path
) -> None:
    path = tmp_path / "upload-2.gif"
    example_photo(0).save(path, save_all=True, append_images=[example_photo(1)])
    session = actions.open_photo(bundled, str(path), "wave.gif", Limits())
    assert len(session.faces) == 1
    assert any("'wave.gif'" in warning for warning in session.warnings)


def test_every_step_is_reported_with_an_image(bundled: HyperStyleInverter, opened: Session) -> None:
    reports: list[Any] = []
    done = actions.invert(bundled, opened, steps=2, callback=lambda *values: reports.append(values))
    assert [(step, steps) for step, steps, _ in reports] == [(0, 2), (1, 2), (2, 2)]
    assert {image.size for *_, image in reports} == {(512, 512)}
    assert done.inversion.method == "hyperstyle"


def test_limits_hold(bundled: HyperStyleInverter, opened: Session) -> None:
    with pytest.raises(ConfigError, match="1001 steps: this page takes 0 to 1000"):
        actions.invert(bundled, opened, steps=1001)
    with pytest.raises(InversionError, match="Face 8 is not there"):
        actions.invert(bundled, opened, face=7)
    with pytest.raises(InversionError, match="no photo"):
        actions.invert(bundled, Session("x"))


# ---- edits ----


def test_edits_are_those_of_the_library(session: Session) -> None:
    expected = session.inversion.edit(age=1.5, smile=-1).image
    assert actions.edited(session, {"age": 1.5, "pose": 0, "smile": -1}).image.tobytes() == expected.tobytes()
    assert actions.edited(session, {"age": 0}) is session.inversion
    with pytest.raises(EditError, match="Did you mean 'age'"):
        actions.edited(session, {"aeg": 1})


def test_a_change_is_kept_undone_and_started_over(session: Session) -> None:
    older = actions.continued_with(session, actions.edited(session, {"age": 2}))
    assert older.inversion.image.tobytes() == session.inversion.edit("age", 2).image.tobytes()
    assert actions.undone(older).inversion is session.inversion
    assert actions.undone(session).inversion is session.inversion
    many = older
    for _ in range(2 * MAX_HISTORY):
        many = actions.continued_with(many, many.inversion)
    assert len(many.history) == MAX_HISTORY
    assert actions.started_over(many).inversion is session.inversion


def test_before_and_after_are_of_one_size(session: Session) -> None:
    inversion = actions.edited(session, {"smile": 2})
    before, after = actions.before_and_after(session, inversion)
    assert before.size == after.size == (512, 512)
    whole_before, whole_after = actions.before_and_after(session, inversion, "photo")
    assert whole_before.size == whole_after.size == (640, 800)
    assert difference(whole_before, whole_after) < difference(before, after)
    assert whole_after.tobytes() == inversion.paste_back().tobytes()


def test_strip_and_animation_go_over_the_range_of_an_edit(
    bundled: HyperStyleInverter, session: Session, tmp_path: Path
) -> None:
    strip = actions.edit_strip(bundled, session.inversion, "age")
    assert strip.width > 5 * 256
    for view in ("face", "photo"):
        actions.edit_animation(bundled, session.inversion, "age", tmp_path / f"{view}.webp", view)  # type: ignore[arg-type]
        with Image.open(tmp_path / f"{view}.webp") as animation:
            assert getattr(animation, "n_frames", 1) == 46
    with pytest.raises(ConfigError, match="choose one of the list"):
        actions.edit_strip(bundled, session.inversion, "nonsense")


# ---- files ----


def test_what_is_saved_is_what_is_shown_and_opens_again(
    bundled: HyperStyleInverter, session: Session, tmp_path: Path
) -> None:
    inversion = actions.edited(session, {"smile": 1})
    image = actions.saved(session, inversion, "image", tmp_path)
    photo = actions.saved(session, inversion, "photo", tmp_path)
    file = actions.saved(session, inversion, "inversion", tmp_path)
    assert [path.name for path in (image, photo, file)] == ["ann_edited.png", "ann_photo.png", "ann.safetensors"]
    with Image.open(image) as face, Image.open(photo) as whole:
        assert face.convert("RGB").tobytes() == inversion.image.tobytes()
        assert whole.size == (640, 800)
    assert Inversion.load(file, bundled).sources[0].name == "ann.png"  # no path of the server

    again = actions.open_inversion(bundled, str(file), "ann.safetensors", session)
    assert again.inversion.image.tobytes() == inversion.image.tobytes()
    assert actions.has_photo(again)
    assert again.inversion.paste_back().tobytes() == inversion.paste_back().tobytes()
    alone = actions.open_inversion(bundled, str(file), "ann.safetensors", None)
    assert not actions.has_photo(alone)
    assert actions.before_and_after(alone, alone.inversion)[0].size == (512, 512)
    with pytest.raises(InversionError, match="photo"):
        actions.saved(alone, alone.inversion, "photo", tmp_path)


def test_a_file_that_is_no_inversion_of_this_model_is_refused(
    bundled: HyperStyleInverter, tiny_inverter: HyperStyleInverter, session: Session, tmp_path: Path
) -> None:
    other, text, several = (tmp_path / f"{name}.safetensors" for name in ("other", "text", "several"))
    tiny_inverter.invert(Image.effect_noise((64, 64), 50).convert("RGB"), align=False).save(other)
    text.write_text("no inversion")
    Inversion.cat([session.inversion, session.inversion]).save(several)
    for path, message in ((other, "model"), (text, "me.safetensors"), (several, "holds 2 faces")):
        with pytest.raises(HyperStyleError, match=message) as raised:
            actions.open_inversion(bundled, str(path), "me.safetensors", None)
        assert str(tmp_path) not in str(raised.value)


# ---- several visitors ----


def test_eight_at_once_get_what_one_alone_gets(bundled: HyperStyleInverter) -> None:
    photos = [example_photo(number % 3) for number in range(8)]

    def visit(number: int) -> bytes:
        session = actions.open_photo(bundled, photos[number], f"{number}.png", Limits())
        session = actions.invert(bundled, session, steps=2)
        return actions.edited(session, {"smile": 2}).image.tobytes()

    alone = [visit(number) for number in range(3)]
    results: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda number=number: results.update({number: visit(number)})) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[number] for number in range(8)] == [alone[number % 3] for number in range(8)]


def test_sessions_do_not_change_each_other(session: Session) -> None:
    before = session.inversion.image.tobytes()
    actions.continued_with(session, actions.edited(session, {"age": 2}))
    assert replace(session).inversion.image.tobytes() == before
