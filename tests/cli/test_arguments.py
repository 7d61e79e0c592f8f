"""The value of an option is read exactly, or refused with the form that was expected."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperstyle.align.aligners import AutoDetector
from hyperstyle.align.dlib_detector import DlibDetector
from hyperstyle.cli.arguments import (
    InversionArguments,
    ModelArguments,
    load_inverter,
    parse_edit,
    parse_layers,
    writable_folder,
)
from hyperstyle.cli.flags import command, flag, given_flags, positional, switch
from hyperstyle.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "name", "strengths"),
    [
        ("age=2", "age", (2.0,)),
        ("age=-1.5", "age", (-1.5,)),
        (" age =2e0", "age", (2.0,)),
        ("smile=-2:2:5", "smile", (-2.0, -1.0, 0.0, 1.0, 2.0)),
        ("smile=3:0:2", "smile", (3.0, 0.0)),
        ("smile=0:0.7:3", "smile", (0.0, 0.35, 0.7)),
    ],
)
def test_an_edit_is_a_name_with_a_strength_or_a_range(text: str, name: str, strengths: tuple[float, ...]) -> None:
    edit = parse_edit(text)
    assert (edit.name, edit.strengths) == (name, strengths)
    assert edit.is_strip == (len(strengths) > 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age",
        "=2",
        "age=",
        "age=old",
        "age=nan",
        "age=1:inf:3",
        "age=1:2",
        "age=1:2:3:4",
        "age=1:2:2.5",
        "age=1::3",
    ],
)
def test_what_is_no_edit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not an edit: expected NAME=STRENGTH like age=2"):
        parse_edit(text)


@pytest.mark.parametrize("count", [-1, 0, 1, 100])
def test_a_strip_of_no_or_too_many_images_is_refused(count: int) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"COUNT is 2 to 99"):
        parse_edit(f"age=0:1:{count}")


def test_an_output_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    folder = writable_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"cannot write into the folder .*file.*--out"):
        writable_folder(tmp_path / "file" / "out")


@dataclass(frozen=True, kw_only=True)
class Arguments(ModelArguments, InversionArguments):
    """A command that inverts, with an additional value."""

    other: str | None = positional(nargs="?")
    strengths: list[int] = flag("--strength", action="append", default=[], type=int, help="a number")
    model: str = flag(default="mine", help="whose")
    clip: bool = switch("", group="clips")
    table: Path | None = flag(exclusive=True, help="a source")
    scorer: str | None = flag(exclusive=True, help="a source")


def read_arguments(*words: str) -> Arguments:
    read: list[Arguments] = []

    def run(args: Arguments) -> int:
        read.append(args)
        return 3

    parser = argparse.ArgumentParser(exit_on_error=False)
    command("invert", Arguments, run, help="a line")(parser.add_subparsers())
    args = parser.parse_args(["invert", *words])
    assert args.run(args) == 3
    return read[0]


def parsed(model: Path, *flags: str) -> Arguments:
    return read_arguments("--model", str(model), "--device", "cpu", *flags)


def test_a_command_gets_its_arguments_as_one_typed_value() -> None:
    args = read_arguments(
        "OTHER", "--strength", "1", "--strength", "2", "--clip", "--table", "t.npz", "--steps", "pti=1"
    )
    assert (args.other, args.strengths, args.clip, args.table) == ("OTHER", [1, 2], True, Path("t.npz"))
    assert (args.steps, args.align, args.face, args.device) == ({"pti": 1}, "auto", "largest", "auto")


def test_the_help_of_a_command_has_its_own_flags_first_and_describes_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments("--help")
    text = capsys.readouterr().out
    assert "A command that inverts, with an additional value." in text
    assert "whose (default: mine)" in text
    places = [text.rindex(words) for words in ("--strength", "--table", "--model", "--device", "--steps", "--face")]
    assert places == sorted(places)
    assert text.index("\nclips:") < text.rindex("--clip")


def test_a_command_may_give_a_shared_flag_another_default() -> None:
    args = read_arguments()
    assert (args.model, args.strengths, args.other) == ("mine", [], None)


def test_flags_that_are_given_are_those_with_another_value_than_the_default() -> None:
    args = read_arguments("--model", "mine", "--face", "0", "--strength", "1")
    assert given_flags(args, "model", "strengths", "clip", "face", "sideways") == ["--strength", "--face"]


def test_exclusive_flags_are_refused_together(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments("--table", "t.npz", "--scorer", "a:b")
    assert "not allowed with argument" in capsys.readouterr().err


def test_layers_are_names_or_numbers() -> None:
    assert parse_layers("b16.conv0, 9") == ["b16.conv0", 9]
    with pytest.raises(argparse.ArgumentTypeError, match="is no list of layers"):
        parse_layers("b16.conv0,,9")


def test_sideways_makes_the_detector_turn_photos(tiny_model_dir: Path) -> None:
    for flags, expected in (([], False), (["--sideways"], True)):
        aligner = load_inverter(parsed(tiny_model_dir, *flags)).aligner
        assert isinstance(aligner, AutoDetector)
        assert aligner.sideways == expected


def test_sideways_is_refused_where_there_is_no_detector(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperstyle.inverter.aligner_of", lambda model: None)
    with pytest.raises(ConfigError, match="sideways=True is for detectors that turn photos"):
        load_inverter(parsed(tiny_model_dir, "--sideways"))


def test_an_aligner_is_chosen_by_name(tiny_model_dir: Path) -> None:
    aligner = load_inverter(parsed(tiny_model_dir, "--aligner", "dlib:points.dat", "--sideways")).aligner
    assert isinstance(aligner, DlibDetector)
    assert (aligner.predictor, aligner.sideways) == ("points.dat", True)
    assert load_inverter(parsed(tiny_model_dir, "--aligner", "none")).aligner is None
    with pytest.raises(ConfigError, match="there is no aligner 'dilb'"):
        load_inverter(parsed(tiny_model_dir / "nowhere", "--aligner", "dilb"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--landmarks", "p.npy", "--face", "1"], "--face with --landmarks, which says where the face is"),
        (["--landmarks", "p.npy", "--face", "all", "--sideways"], "--face, --sideways with --landmarks"),
        (["--align", "no", "--sideways"], "--sideways with --align no, which takes images as they are"),
        (["--align", "no", "--landmarks", "p.npy"], "--landmarks with --align no"),
        (["--landmarks", "p.npy", "--aligner", "dlib"], "--aligner with --landmarks"),
        (["--align", "no", "--aligner", "mtcnn"], "--aligner with --align no"),
        (["--aligner", "none", "--sideways", "--face", "1"], "--face, --sideways with --aligner none"),
        (["--aligner", "none", "--landmarks", "p.npy"], "--aligner with --landmarks"),
        (["--aligner", "mtcnn", "--face", "1"], None),
        (["--landmarks", "p.npy", "--align", "yes"], None),
        (["--sideways", "--face", "0"], None),
        (["--align", "no", "--face", "largest"], None),
    ],
)
def test_flags_that_choose_a_face_are_refused_where_none_is_looked_for(
    in_tmp_path: Path, flags: list[str], message: str | None
) -> None:
    Path("p.npy").touch()
    if message is None:
        parsed(in_tmp_path, *flags).check_face()
        return
    with pytest.raises(ConfigError, match=message):
        parsed(in_tmp_path, *flags).check_face()
