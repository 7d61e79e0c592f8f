"""Files, folders and globs become a list of images with unique output names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from hyperstyle.cli.inputs import Failure, Inputs, find_images, output_names, report
from hyperstyle.errors import ConfigError, ImageError

ENDINGS = (".png", "_sheet.png", ".safetensors")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_a_folder_stands_for_the_images_directly_in_it(in_tmp_path: Path) -> None:
    touch(in_tmp_path, "faces/b.JPG", "faces/a.png", "faces/notes.txt", "faces/more/c.png")
    assert find_images(["faces"]) == ([Path("faces/a.png"), Path("faces/b.JPG")], [])


def test_files_of_a_folder_are_recognized_by_their_content_and_what_is_left_out_is_returned(in_tmp_path: Path) -> None:
    folder = in_tmp_path / "faces"
    folder.mkdir()
    image = Image.new("RGB", (32, 32))
    for name, kind in (("a.jfif", "JPEG"), ("b.gif", "GIF"), ("c.bmp", "BMP"), ("d", "PNG"), ("e.dat", "WEBP")):
        image.save(folder / name, kind)
        image.save(folder / f".tmp-{name}", kind)  # what a killed process left
    touch(folder, "Thumbs.db", ".DS_Store", "notes.txt", "clip.mp4")
    (folder / "drawing.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0")
    (folder / "IMG_1.CR2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0")
    for text in ("faces", "faces/*"):
        images, failures = find_images([text, text])
        assert [file.name for file in images] == ["a.jfif", "b.gif", "c.bmp", "d", "e.dat"]
        assert [(Path(failure.source).name, failure.reason.partition(",")[0]) for failure in failures] == [
            ("IMG_1.CR2", "is the raw file of a camera"),
            ("drawing.eps", "is an EPS file"),
        ]


def test_what_is_left_out_of_a_folder_is_tried_where_it_is_named_too(in_tmp_path: Path) -> None:
    touch(in_tmp_path, "faces/a.svg")
    assert find_images(["faces", "faces/a.svg"]) == ([Path("faces/a.svg")], [])


def test_a_glob_that_no_shell_expanded_is_expanded(in_tmp_path: Path) -> None:
    touch(in_tmp_path, "a1.png", "a2.png", "b1.png")
    assert find_images(["a*.png"]) == ([Path("a1.png"), Path("a2.png")], [])


def test_a_file_is_taken_by_name_even_if_its_name_looks_like_a_glob_or_not_like_an_image(
    in_tmp_path: Path,
) -> None:
    touch(in_tmp_path, "me[1].png", "me.heic")
    assert find_images(["me[1].png", "me.heic"]) == ([Path("me[1].png"), Path("me.heic")], [])


def test_an_image_named_twice_is_inverted_once(in_tmp_path: Path) -> None:
    touch(in_tmp_path, "faces/a.png")
    assert find_images(["faces/a.png", "faces", str(in_tmp_path / "faces" / "a.png")])[0] == [Path("faces/a.png")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gone.png", "no such file"),
        ("*.gone", "no file matches"),
        ("empty", "no image in this folder"),
        ("notes*", "no image matches"),
    ],
)
def test_what_names_no_image_is_a_failure_with_its_reason(in_tmp_path: Path, text: str, reason: str) -> None:
    (in_tmp_path / "empty").mkdir()
    touch(in_tmp_path, "notes.txt")
    images, failures = find_images([text])
    assert images == []
    assert [failure.source for failure in failures] == [text]
    assert reason in failures[0].reason


def test_images_of_the_same_name_get_different_output_names() -> None:
    images = [Path("a/me.png"), Path("b/me.jpg"), Path("b/me.png"), Path("b/ME.webp")]
    assert output_names(images, ENDINGS) == ["me", "me_jpg", "me_png", "ME_webp"]
    assert output_names([Path("a/me.png"), Path("b/me.png"), Path("c/b/me.png")], ENDINGS) == ["me", "b_me", "me_2"]


def test_names_in_a_folder_that_grows_do_not_depend_on_the_order() -> None:
    later = [Path("a/me.gif"), Path("a/me.png"), Path("a/you.png")]
    assert output_names(later, ENDINGS) == ["me_gif", "me_png", "you"]
    assert output_names(later[::-1], ENDINGS) == ["you", "me_png", "me_gif"]
    assert output_names([Path("a/me"), Path("a/me.png")], ENDINGS) == ["me", "me_png"]


def test_names_of_results_are_checked_before_the_first_is_written(in_tmp_path: Path) -> None:
    touch(in_tmp_path, "a.png", "b.png", "out/b_edited.png", "out/c_edited.png", f"{'x' * 244}.png")
    with pytest.raises(ConfigError, match=r"'out/b_edited.png' is there already. Choose another --out, or replace"):
        Inputs.find(["a.png", "b.png"], Path("out"), ["_edited.png"], overwrite=False)
    assert Inputs.find(["a.png", "b.png"], Path("out"), ["_edited.png"], overwrite=True).names == ["a", "b"]
    assert Inputs.find(["a.png"], Path("out"), ["_edited.png"], overwrite=False).names == ["a"]
    with pytest.raises(ConfigError, match="would have a name of 256 bytes: a file has at most 255"):
        Inputs.find(["x*.png"], Path("out"), ["_longest.png"], overwrite=True)
    assert Inputs.find(["x*.png"], Path("out"), ["_edited.png"], overwrite=True).names == ["x" * 244]
    with pytest.raises(ConfigError, match=r"would replace an image to read"):
        Inputs.find(["a.png"], Path(), [".png"], overwrite=True)


def test_a_reason_that_several_share_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [
        Failure(f"{name}.png", f"no face in '{name}.png', 'out/{name}_1.png': pass\nlandmarks=...") for name in "abc"
    ]
    assert report([*failures[:2], Failure("d.png", "is none"), failures[2]], 9) == 1
    assert capsys.readouterr().err.splitlines() == [
        "hyperstyle: 4 of 9 failed:",
        "  a.png, b.png, c.png: no face in NAME, 'out/NAME_1.png': pass --landmarks",
        "  d.png: is none",
    ]
    report(failures[:1], 1)
    assert "  a.png: no face in 'a.png', 'out/a_1.png': pass --landmarks" in capsys.readouterr().err


def test_an_image_called_like_the_sheet_of_another_does_not_share_its_file() -> None:
    assert output_names([Path("a/me.png"), Path("a/me_sheet.png")], ENDINGS) == ["me", "a_me_sheet"]


def test_a_lone_image_keeps_its_name_with_all_its_dots() -> None:
    assert output_names([Path("a/me.v1.png")], ENDINGS) == ["me.v1"]


def test_what_invert_wrote_into_a_folder_is_no_image_of_it_and_edit_takes_the_inversions(in_tmp_path: Path) -> None:
    touch(in_tmp_path, "faces/me.jpg", "faces/me.png", "faces/me_sheet.png", "faces/me.safetensors", "faces/you.png")
    assert find_images(["faces"])[0] == [Path("faces/me.jpg"), Path("faces/you.png")]
    assert find_images(["faces"], inversions=True)[0] == [
        Path("faces/me.safetensors"),
        Path("faces/me.jpg"),
        Path("faces/you.png"),
    ]
    assert find_images(["faces/me.png"])[0] == [Path("faces/me.png")], "typed by name"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_to_an_image_that_is_gone_is_said(in_tmp_path: Path) -> None:
    touch(in_tmp_path, "faces/me.png")
    Path("faces/gone.jpg").symlink_to("nowhere.jpg")
    Path("faces/gone.txt").symlink_to("nowhere.txt")
    images, failures = find_images(["faces"])
    assert images == [Path("faces/me.png")]
    assert [(failure.source, failure.reason) for failure in failures] == [
        ("faces/gone.jpg", "is a link to a file that is not there.")
    ]


def test_a_folder_that_cannot_be_listed_is_one_error(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(in_tmp_path, "faces/me.png")

    def refused(self: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(ImageError, match="The folder 'faces' cannot be listed: Permission denied"):
        find_images(["faces"])
