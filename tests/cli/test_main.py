"""Help, version, exit codes: what the command line does whatever the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from hyperstyle import cli
from hyperstyle.errors import HyperStyleError

COMMANDS = ("demo", "edit", "evaluate", "info", "invert")
Run = Callable[..., CompletedProcess[str]]


def exit_of(argv: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    return caught.value.code


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def run_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes `hyperstyle info` fail with this error."""

    def run(args: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr("hyperstyle.cli.info.run", run)


def test_the_commands_are_those_of_the_documentation() -> None:
    assert tuple(sorted(commands_of(cli.build_parser()))) == COMMANDS


@pytest.mark.parametrize("argv", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_every_help_ends_well_and_says_how_to_call_it(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(argv) == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: hyperstyle", *argv[:-1]]))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_is_explained(command: str) -> None:
    parser = commands_of(cli.build_parser())[command]
    assert parser.description
    assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize(
    "argv",
    [[], ["invret", "me.jpg"], ["invert"], ["info", "--modle", "x"], ["edit", "a.png", "--edit", "age"]],
)
def test_a_command_line_that_cannot_be_parsed_gets_one_line_and_exit_code_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith("hyperstyle: error: ")
    assert "--help" in shown.err


def test_an_error_of_the_library_becomes_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_raises(monkeypatch, HyperStyleError("two\nlines"))
    assert cli.main(["info"]) == 2
    assert capsys.readouterr() == ("", "hyperstyle: error: two lines\n")


def test_a_mistake_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    run_raises(monkeypatch, ValueError("ours"))
    with pytest.raises(ValueError, match="ours"):
        cli.main(["info"])


def test_an_interrupt_from_the_keyboard_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_raises(monkeypatch, KeyboardInterrupt())
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "hyperstyle: interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports a closed pipe as another error")
def test_a_reader_that_goes_away_is_no_error_message(run_python: Run) -> None:
    # The read end of stdout is closed before the command writes anything.
    code = (
        "import os, sys; read, write = os.pipe(); os.dup2(write, 1); os.close(write); os.close(read)\n"
        "from hyperstyle import cli\n"
        "cli.info.run = lambda args: print('x' * 100_000) or 0\n"
        "sys.exit(cli.main(['info']))"
    )
    result = run_python("-c", code)
    assert (result.returncode, result.stderr) == (141, "")


def test_the_module_runs_like_the_command(run_python: Run) -> None:
    result = run_python("-m", "hyperstyle", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: hyperstyle ")
