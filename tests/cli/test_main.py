"""Help, version, exit codes: what the command line does for every command."""

from __future__ import annotations

import argparse
import ast
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from hyperstyle import cli
from hyperstyle.cli import flags
from hyperstyle.cli.progress import progress_bar
from hyperstyle.errors import HyperStyleError, shown
from hyperstyle.io.files import atomic_write

COMMANDS = (
    "align",
    "animate",
    "app",
    "bench",
    "bulk",
    "bulk-bench",
    "bulk-edit",
    "bulk-report",
    "bulk-status",
    "convert",
    "demo",
    "drag",
    "edit",
    "edits",
    "evaluate",
    "export",
    "fetch",
    "fit",
    "import",
    "info",
    "invert",
    "models",
    "train",
)
Run = Callable[..., CompletedProcess[str]]


def exit_of(argv: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    return caught.value.code


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name -> parser of the commands one level down."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {name: command for action in actions for name, command in action.choices.items()}


def all_parsers(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> dict[str, argparse.ArgumentParser]:
    """Words typed after `hyperstyle` -> parser, at every level."""
    parsers = {" ".join(words): parser}
    for name, command in commands_of(parser).items():
        parsers |= all_parsers(command, (*words, name))
    return parsers


PARSERS = all_parsers(cli.build_parser())


def replace_info(monkeypatch: pytest.MonkeyPatch, run: Callable[[cli.info.InfoArguments], int]) -> None:
    """Makes `hyperstyle info` call another function."""
    monkeypatch.setattr(
        "hyperstyle.cli.info.add_parser", flags.command("info", cli.info.InfoArguments, run, help="a line")
    )


def run_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes `hyperstyle info` fail with this error."""

    def run(args: cli.info.InfoArguments) -> int:
        raise error

    replace_info(monkeypatch, run)


def test_the_commands_are_those_of_the_documentation() -> None:
    assert tuple(sorted(commands_of(cli.build_parser()))) == COMMANDS


@pytest.mark.parametrize("words", PARSERS)
def test_every_help_ends_well_and_says_how_to_call_it(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of([*words.split(), "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: hyperstyle {words}".rstrip())


@pytest.mark.parametrize("words", PARSERS)
def test_every_command_and_argument_is_explained(words: str) -> None:
    parser = PARSERS[words]
    assert parser.description
    arguments = [a for a in parser._actions if not isinstance(a, argparse._SubParsersAction)]
    assert [argument.dest for argument in arguments if not argument.help] == []


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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such error")
def test_a_name_that_no_file_can_have_is_one_line_too(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = 300 * "a"
    for words in (["edit", name, "--edit", "age=1"], ["invert", "a.png", name], ["export", name, "--out", "a.pt"]):
        assert cli.main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "File name too long" in line
        assert shown(name) in line
    assert exit_of(["invert", "a.png", "--config", name]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_warning_is_one_line_without_the_place_in_the_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: cli.info.InfoArguments) -> int:
        warnings.warn("looks\nwrong", UserWarning, stacklevel=1)
        return 0

    replace_info(monkeypatch, run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(["info"]) == 0
    assert capsys.readouterr().err == "hyperstyle: warning: looks wrong\n"


@pytest.mark.filterwarnings("default")
def test_the_same_warning_of_every_image_is_said_once_with_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: cli.info.InfoArguments) -> int:
        for name, error in (("a", 0.31), ("b", 0.5), ("c", 0.72)):
            warnings.warn(f"'{name}.png': far away (L2 {error}). Pass landmarks=...", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        return 0

    replace_info(monkeypatch, run)
    assert cli.main(["info"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "hyperstyle: warning: 'a.png': far away (L2 0.31). Pass --landmarks",
        "hyperstyle: warning: something else",
        "hyperstyle: warning: 'a.png': far away (L2 0.31). The same for 'b.png', 'c.png'.",
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["invret", "me.jpg"], "Did you mean 'invert'? Help: hyperstyle --help"),
        (["fit", "gansapce"], "Did you mean 'ganspace'? Help: hyperstyle fit --help"),
        (["edit", "a.png", "--edit", "age=1", "--modle", "x"], "Did you mean --model? Help: hyperstyle edit --help"),
        (
            ["edits", "add", "f.pt", "--name", "x", "-y"],
            "unrecognized arguments: -y. Help: hyperstyle edits add --help",
        ),
        (["invert", "a.png", "--align", "on"], "Available: auto, no, yes. Help: hyperstyle invert --help"),
    ],
)
def test_a_wrong_word_gets_the_close_one_and_the_help_of_its_command(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(argv) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Pass landmarks=..., or align=False if it is one.", "Pass --landmarks, or --align no if it is one."),
        ("with method='hyperstyle+offsets', steps=50.", "with --method hyperstyle+offsets, --steps 50."),
        ("as DlibDetector(sideways=True) does", "as --sideways does"),
        ("take it with other_model=True.", "take it with --other-model."),
        ("or use aligner='dlib', which", "or use --aligner dlib, which"),
        ("'face=1.png' and --edit face=2, a/face=3", "'face=1.png' and --edit face=2, a/face=3"),
    ],
)
def test_arguments_in_messages_are_flags(message: str, expected: str) -> None:
    assert flags.as_flags(message) == expected


def test_no_message_of_the_library_keeps_an_argument_that_is_a_flag() -> None:
    root = Path(cli.__file__).parents[1]
    spelled = re.compile(rf"(?<![\w'/-])({'|'.join(flags._KEYWORDS)})=")
    kept, found = [], 0
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "warn"):
                for text in ast.walk(node):
                    if isinstance(text, ast.Constant) and isinstance(text.value, str) and spelled.search(text.value):
                        found += 1
                        if spelled.search(flags.as_flags(f"{text.value}1" if text.value[-1] == "=" else text.value)):
                            kept.append(f"{file.name}: {text.value}")
    assert found > 8
    assert kept == []


def test_a_progress_bar_is_for_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        with progress_bar(False) as show:
            show("fitting", 1, 2)
            show("measuring", 1, 2)
        assert ("measuring" in capsys.readouterr().err) == is_terminal
    with progress_bar(True) as show:
        show("fitting", 1, 2)
    assert capsys.readouterr().err == ""


def test_a_bug_in_the_library_is_one_line_and_its_traceback_is_shown_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_raises(monkeypatch, ValueError("ours"))
    assert cli.main(["info"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("hyperstyle: error: an error that should not happen, ValueError: ours. Run it with HYPER")
    assert len(line.splitlines()) == 1
    monkeypatch.setenv("HYPERSTYLE_DEBUG", "1")
    assert cli.main(["info"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):")
    assert shown.endswith(line)


def test_an_interrupt_from_the_keyboard_is_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_raises(monkeypatch, KeyboardInterrupt())
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "hyperstyle: interrupted\n"


ENDINGS = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def receives(monkeypatch: pytest.MonkeyPatch, *names: str, during: Callable[[], object] = lambda: None) -> list[str]:
    """Sends `hyperstyle info` the first signal while it writes a file, the others while it cleans up."""
    done: list[str] = []

    def run(args: cli.info.InfoArguments) -> int:
        try:
            with atomic_write("file.txt") as temporary:
                assert temporary.exists()
                signal.raise_signal(getattr(signal, names[0]))
                done.append("went on")
        finally:
            during()
            for name in names[1:]:
                signal.raise_signal(getattr(signal, name))
            done.append("cleared up")
        return 0

    replace_info(monkeypatch, run)
    return done


@pytest.mark.parametrize("name", ENDINGS)
def test_a_signal_to_end_leaves_no_temporary_file_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    number = getattr(signal, name)
    done = receives(monkeypatch, name, *ENDINGS)
    assert cli.main(["info"]) == 128 + number
    assert done == ["cleared up"], "once, and the signals that came meanwhile did not disturb it"
    assert list(Path().iterdir()) == []
    assert capsys.readouterr().err == f"hyperstyle: ended by {name}\n"
    assert signal.getsignal(number) == signal.SIG_DFL, "as it was before"


def test_what_fails_while_things_are_cleared_up_does_not_change_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path
) -> None:
    def fail() -> None:
        raise OSError(5, "the terminal is gone")

    receives(monkeypatch, "SIGTERM", during=fail)
    assert cli.main(["info"]) == 143
    assert list(Path().iterdir()) == []


def test_who_handles_or_ignores_a_signal_already_goes_on_doing_so(
    monkeypatch: pytest.MonkeyPatch, in_tmp_path: Path
) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        done = receives(monkeypatch, "SIGTERM")
        assert cli.main(["info"]) == 0
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as `nohup` does with SIGHUP
        assert cli.main(["info"]) == 0
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (received, done) == ([signal.SIGTERM], ["went on", "cleared up"] * 2)


def test_outside_the_main_thread_no_signal_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def run(args: cli.info.InfoArguments) -> int:
        seen.append(signal.getsignal(signal.SIGTERM))
        return 0

    replace_info(monkeypatch, run)
    thread = threading.Thread(target=lambda: seen.append(cli.main(["info"])))
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL, 0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports a closed pipe as another error")
def test_a_reader_that_goes_away_is_no_error_message(run_python: Run) -> None:
    # The read end of stdout is closed before the command writes anything.
    code = (
        "import os, sys; read, write = os.pipe(); os.dup2(write, 1); os.close(write); os.close(read)\n"
        "from hyperstyle import cli\n"
        "cli.info.load_inverter = lambda args: print('x' * 100_000)\n"
        "sys.exit(cli.main(['info']))"
    )
    result = run_python("-c", code)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes descriptors")
@pytest.mark.parametrize(("closed", "seen"), [(">&-", ""), ("2>&-", "here"), ("<&- >&- 2>&-", "")])
def test_a_stream_that_the_caller_closed_takes_what_is_written(tmp_path: Path, closed: str, seen: str) -> None:
    code = (
        "import sys; from hyperstyle import cli\n"
        "def load(args):\n"
        "    with open('file', 'w') as file: file.write(str(file.fileno() > 2))\n"
        "    print('here'); print('there', file=sys.stderr); sys.exit(0)\n"
        "cli.info.load_inverter = load\n"
        "cli.main(['info'])"
    )
    shell = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code]
    result = subprocess.run(shell, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, seen)
    assert "Traceback" not in result.stderr
    assert (tmp_path / "file").read_text() == "True"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("argv", ["--help", "--version", "invert --help"])
def test_help_that_cannot_be_written_is_an_error(argv: str, unbuffered: str) -> None:
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    shell = ["sh", "-c", f'"$0" -m hyperstyle {argv} >/dev/full', sys.executable]
    result = subprocess.run(shell, capture_output=True, text=True, env=env, check=False)
    assert (result.returncode, result.stderr) == (
        2,
        "hyperstyle: error: No space left on device: in writing the output.\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_warning_that_cannot_be_shown_does_not_end_the_work(tmp_path: Path, unbuffered: str) -> None:
    code = (
        "import sys, warnings; from hyperstyle import cli\n"
        "def load(args):\n"
        "    for name in 'ab': warnings.warn(f\"'{name}' looks wrong\")\n"
        "    open('result', 'w').close(); sys.exit(0)\n"
        "cli.info.load_inverter = load\n"
        "cli.main(['info'])"
    )
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    shell = ["sh", "-c", '"$0" -c "$1" 2>/dev/full', sys.executable, code]
    result = subprocess.run(shell, cwd=tmp_path, env=env, check=False)
    assert (tmp_path / "result").exists()
    assert result.returncode == 0


def test_the_module_runs_like_the_command(run_python: Run) -> None:
    result = run_python("-m", "hyperstyle", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: hyperstyle ")
