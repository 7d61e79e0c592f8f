"""What the page does, without the page."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperstyle.app import actions, views
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
    shown = views.outlined(opened)
    assert opened.photo is not None
    assert shown.size == opened.photo.size
    assert 0 < difference(shown, opened.photo) < 10
    placement = opened.faces[0].source.placement
    assert placement is not None
    center = placement.footprint.mean(axis=0)
    assert views.face_at(opened, *center) == 0
    assert views.face_at(opened, 1, 1) is None


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
        middle = placement.footprint.mean(axis=0) * views.outlined(chosen).width / 1280
        assert views.face_at(chosen, *middle) == face


@pytest.mark.parametrize("kind", ["text", "empty", "large", "blank"])
def test_what_is_no_portrait_is_refused_in_one_sentence_about_its_own_name(
    kind: str, bundled: HyperStyleInverter, tmp_path: Path
) -> None:
    path = tmp_path / "upload-1"
    if kind in ("text", "empty"):
        path.write_text("no image" if kind == "text" else "")
    else:
        Image.new("1", (16384, 12288) if kind == "large" else (640, 400), 1).save(path, "PNG")
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
    with pytest.raises(InversionError, match="Face 7 is not there: 1 were found, numbered from 0"):
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
    before, after = views.before_and_after(session, inversion)
    assert before.size == after.size == (512, 512)
    whole_before, whole_after = views.before_and_after(session, inversion, "photo")
    assert whole_before.size == whole_after.size == (640, 800)
    assert difference(whole_before, whole_after) < difference(before, after)
    assert whole_after.tobytes() == inversion.paste_back().tobytes()


def test_what_is_transparent_is_shown_over_white(bundled: HyperStyleInverter) -> None:
    photo = example_photo(0).convert("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, 100, 100))
    session = actions.open_photo(bundled, photo, "cut.png", Limits())
    assert views.outlined(session).getpixel((50, 50)) == (255, 255, 255)


def test_strip_and_animation_go_over_the_range_of_an_edit(
    bundled: HyperStyleInverter, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_FRAMES", 4)
    strip = views.edit_strip(bundled, session.inversion, "age")
    assert strip.width > 5 * 256
    for view in ("face", "photo"):
        views.edit_animation(bundled, session.inversion, "age", tmp_path / f"{view}.webp", view)  # type: ignore[arg-type]
        with Image.open(tmp_path / f"{view}.webp") as animation:
            assert getattr(animation, "n_frames", 1) == 6  # there and back
    with pytest.raises(ConfigError, match="choose one of the list"):
        views.edit_strip(bundled, session.inversion, "nonsense")


def test_words_are_an_edit_where_the_model_has_them(bundled: HyperStyleInverter, session: Session) -> None:
    def text_edits(target: str, *, neutral: str, beta: float) -> Any:
        assert (target, neutral) == ("a smiling face", "a face")
        return bundled.edits["smile"]

    model = replace(session.inversion.model, text=text_edits)
    with_text = replace(session, history=(replace(session.inversion, model=model),))
    smiling = actions.edited(with_text, {}, (" a smiling face ", 2))
    assert smiling.image.tobytes() == session.inversion.edit("smile", 2).image.tobytes()
    assert actions.edited(with_text, {}, ("a smiling face", 0)) is with_text.inversion
    with pytest.raises(EditError, match="statistics"):
        actions.edited(session, {}, ("a smiling face", 2))


# ---- areas and points ----


def test_an_area_limits_edits(session: Session) -> None:
    plain, smiling = session.inversion, actions.edited(session, {"smile": 2}, area="mouth")
    assert smiling.image.tobytes() == plain.edit("smile", 2, mask="mouth").image.tobytes()
    change = np.abs(np.asarray(smiling.image, float) - np.asarray(plain.image, float)).sum(axis=2)
    assert change[:40].max() == 0
    assert change.max() > 20
    area: Any
    for area in ("mouht", "/etc/passwd", ["mouth"], 5):  # a request may have any value
        with pytest.raises(ConfigError, match="There is no area"):
            actions.edited(session, {"smile": 2}, area=area)


def test_what_is_painted_is_an_area(session: Session, tmp_path: Path) -> None:
    layer = Image.new("RGBA", (512, 512))
    with pytest.raises(InversionError, match="Nothing is painted"):
        actions.edited(session, {"smile": 2}, area=actions.PAINTED)
    layer.save(tmp_path / "empty.png")
    with pytest.raises(InversionError, match="Nothing is painted"):
        actions.with_painted(session, [str(tmp_path / "empty.png")])
    layer.paste((99, 102, 241, 255), (0, 256, 512, 512))
    layer.save(tmp_path / "half.png")
    with pytest.raises(ImageError, match="'painting' has 512 x 512 pixels"):
        actions.with_painted(session, [str(tmp_path / "half.png")], Limits(megapixels=0.2))
    painted = actions.with_painted(session, [str(tmp_path / "half.png")])
    older = actions.edited(painted, {"age": 2}, area=actions.PAINTED).image
    change = np.abs(np.asarray(older, float) - np.asarray(session.inversion.image, float)).sum(axis=2)
    assert change[:62].max() == 0
    assert change[66:].max() > 20


def test_points_are_dragged_with_a_preview_and_can_be_undone(session: Session) -> None:
    reports: list[Any] = []
    moves = [((64.0, 96.0), (64.0, 90.0))]
    after, warnings = actions.dragged(
        session, session.inversion, moves, steps=2, callback=lambda *values: reports.append(values)
    )
    assert [step for step, _, _ in reports] == [0, 1]
    assert len(after.history) == 2
    assert any("did not arrive" in warning or "px" in warning for warning in warnings)
    assert actions.undone(after).inversion is session.inversion
    wrong: Any
    for wrong in ([], [((64, 96), (640, 96))], 5, "x"):
        with pytest.raises(ConfigError):
            actions.dragged(session, session.inversion, wrong)
    with pytest.raises(ConfigError, match="this page takes 0 to 1000"):
        actions.dragged(session, session.inversion, moves, steps=5000)
    with pytest.raises(ConfigError, match="51 points: this page moves up to 50"):
        actions.dragged(session, session.inversion, moves * 51)


# ---- files ----


def test_what_is_saved_is_what_is_shown_and_opens_again(
    bundled: HyperStyleInverter, session: Session, tmp_path: Path
) -> None:
    inversion = actions.edited(session, {"smile": 1})
    image = views.saved(session, inversion, "image", tmp_path)
    photo = views.saved(session, inversion, "photo", tmp_path)
    file = views.saved(session, inversion, "inversion", tmp_path)
    assert [path.name for path in (image, photo, file)] == ["ann_edited.png", "ann_photo.png", "ann.safetensors"]
    with Image.open(image) as face, Image.open(photo) as whole:
        assert face.convert("RGB").tobytes() == inversion.image.tobytes()
        assert whole.size == (640, 800)
    assert Inversion.load(file, bundled).sources[0].name == "ann.png"  # no path of the server

    again = actions.open_inversion(bundled, str(file), "ann.safetensors", session)
    assert again.inversion.image.tobytes() == inversion.image.tobytes()
    assert views.has_photo(again)
    assert again.inversion.paste_back().tobytes() == inversion.paste_back().tobytes()
    assert again.faces == session.faces  # so that the face can be chosen and rebuilt
    assert actions.invert(bundled, again, steps=1).face == session.face
    alone = actions.open_inversion(bundled, str(file), "ann.safetensors", None)
    assert not views.has_photo(alone)
    assert views.before_and_after(alone, alone.inversion)[0].size == (512, 512)
    with pytest.raises(InversionError, match="photo"):
        views.saved(alone, alone.inversion, "photo", tmp_path)


def test_a_face_is_not_put_into_another_photo_of_the_same_size(
    bundled: HyperStyleInverter, session: Session, tmp_path: Path
) -> None:
    file = views.saved(session, session.inversion, "inversion", tmp_path)
    bob = actions.open_photo(bundled, example_photo(1), "ann.png", Limits())
    assert bob.photo is not None
    assert session.photo is not None
    assert bob.photo.size == session.photo.size
    opened = actions.open_inversion(bundled, str(file), "ann.safetensors", bob)
    assert opened.photo is None
    assert not views.has_photo(opened)


def test_files_to_download_are_removed_after_an_hour(tmp_path: Path) -> None:
    first = views.new_file(tmp_path, "a.png")
    first.write_bytes(b"x")
    second = views.new_file(tmp_path, "a.png")
    assert first.exists()
    assert first.parent != second.parent
    os.utime(first.parent, (0, 0))
    views.new_file(tmp_path, "b.png")
    assert not first.parent.exists()
    assert second.parent.exists()


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


def test_eight_at_once_get_what_one_alone_gets(bundled: HyperStyleInverter, opened: Session) -> None:
    other = actions.open_photo(bundled, example_photo(1), "bob.png", Limits())

    def visit(number: int) -> bytes:
        session = actions.invert(bundled, (opened, other)[number % 2], steps=1)
        return actions.edited(session, {"smile": 2}).image.tobytes()

    alone = [visit(number) for number in range(2)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(visit, range(8))) == alone * 4


def test_sessions_do_not_change_each_other(session: Session) -> None:
    before = session.inversion.image.tobytes()
    actions.continued_with(session, actions.edited(session, {"age": 2}))
    assert replace(session).inversion.image.tobytes() == before
