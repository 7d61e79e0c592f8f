"""`--config`: the flags of `invert` and `evaluate` from files."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hyperstyle.cli import build_parser, main
from hyperstyle.cli.config import READY, ConfigParser, add_config_argument
from hyperstyle.io.typed_config import read_tables
from hyperstyle.training.options import resolve

Captured = pytest.CaptureFixture[str]


def parsed(*argv: str) -> argparse.Namespace:
    return build_parser().parse_args(list(argv))


def written(text: str, name: str = "job.toml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


@pytest.mark.usefixtures("in_tmp_path")
class TestInvert:
    def test_a_file_holds_flags_as_they_would_be_typed(self) -> None:
        text = (
            'inputs = ["photos", "me.jpg"]\nout = "results"\nsteps = "hyperstyle=5,pti=100"\nface = 1\nalign = "no"\n'
            'method = "hyperstyle+pti"\nseed = 3\nquiet = true\nlandmarks = "points"\n'
        )
        from_file = parsed("invert", "--config", written(text))
        typed = parsed(
            *("invert", "photos", "me.jpg", "--out", "results", "--steps", "hyperstyle=5,pti=100", "--face", "1"),
            *("--align", "no", "--method", "hyperstyle+pti", "--seed", "3", "--quiet", "--landmarks", "points"),
        )
        read, expected = vars(from_file), vars(typed)
        assert read.pop("config") == ["job.toml"]
        assert expected.pop("config") is None
        assert read == expected

    def test_flags_win_over_files_and_later_files_over_earlier_ones(self) -> None:
        first = written("steps = 1\nseed = 1\nmethod = 'a'\ninputs = 'x.png'\n", "a.toml")
        second = written("steps: 2\nseed: 2\n", "b.yaml")
        args = parsed("invert", "y.png", "--steps", "3", "--config", first, second)
        assert (args.inputs, args.steps, args.seed, args.method) == (["y.png"], 3, 2, "a")
        assert parsed("invert", "--config", first, second).inputs == ["x.png"]

    @pytest.mark.parametrize("flag", [["--config", "job.toml"], ["--config=job.toml"], ["--conf", "job.toml"]])
    def test_every_way_to_type_the_flag_counts(self, flag: list[str]) -> None:
        written("steps = 7")
        assert parsed("invert", "a.png", *flag).steps == 7

    def test_one_image_need_not_be_a_list(self) -> None:
        assert parsed("invert", "--config", written('inputs = "a.png"')).inputs == ["a.png"]

    def test_a_file_that_is_not_there_is_one_line(self, capsys: Captured) -> None:
        with pytest.raises(SystemExit):
            parsed("invert", "a.png", "--config", "gone.toml")
        assert (
            "there is no configuration 'gone.toml': expected a .toml, .yaml or .json file, or the name"
            in capsys.readouterr().err
        )

    def test_the_files_of_the_documentation_are_understood(self, checkout: Path) -> None:
        page = (checkout / "docs" / "train.md").read_text(encoding="utf-8")
        blocks = dict(re.findall(r"```toml\n# (\S+)\n(.*?)```", page, re.DOTALL))
        assert set(blocks) == {"mine.toml", "job.toml"}
        for name, text in blocks.items():
            written(text, name)
        commands = re.findall(r"^hyperstyle (invert --config job.toml.*)$", page, re.MULTILINE)
        assert [parsed(*command.split()).out.name for command in commands] == ["inversions", "elsewhere"]
        options = resolve("hyperstyle", ["mine.toml"], {"hyperstyle.encoder": "enc", "run.out": "r"})
        assert (options.data.train, options.loss.lpips, options.optim.batch) == ("photos/", 0.5, 16)

    @pytest.mark.parametrize("name", sorted(file.stem for file in READY.glob("*.toml")))
    def test_a_ready_file_is_understood_by_its_command_and_says_something(self, name: str) -> None:
        words = {"invert": ["invert", "a.png"], "report": ["evaluate", "report", "avatars", "--out", "o"]}
        words_of = words[name.partition("-")[0]]
        with_it, without = vars(parsed(*words_of, "--config", name)), vars(parsed(*words_of))
        assert with_it.pop("config") == [name]
        del with_it["run"], without["run"]  # functions, new ones for each parser
        held = read_tables(READY / f"{name}.toml")
        assert {key: with_it[key] for key in held} == held
        assert {key for key in with_it if with_it[key] != without[key]} <= set(held)
        assert with_it != without
        page = (READY / f"{name}.toml").read_text(encoding="utf-8")
        assert f"--config {name} " in page

    def test_a_word_that_yaml_reads_as_false_is_that_word(self, in_tmp_path: Path) -> None:
        Path("job.yaml").write_text("align: no\n", encoding="utf-8")
        assert parsed("invert", "a.png", "--config", "job.yaml").align == "no"
        Path("train.yaml").write_text("data: {align: no, train: a}\nrun: {out: b}\n", encoding="utf-8")
        assert resolve("hyperstyle", ["train.yaml"], {"hyperstyle.encoder": "e"}).data.align == "no"

    def test_a_file_leaves_the_next_command_line_alone(self) -> None:
        parsed("invert", "--config", written('inputs = "a.png"\nsteps = 9\n'))
        assert parsed("invert", "b.png").steps is None

    def test_files_are_still_needed(self, capsys: Captured) -> None:
        with pytest.raises(SystemExit):
            parsed("invert", "a.png", "--config")
        assert "argument --config: expected at least one argument" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("stepz = 3", "job.toml: no option 'stepz'. Available: .* Did you mean 'steps'?"),
            ('steps = "x"', "job.toml: steps: 'x' is not a number of steps"),
            ('align = "maybe"', "job.toml: align is 'maybe': expected one of 'auto', 'yes', 'no'"),
            ("quiet = 1", "job.toml: quiet is 1: expected true or false"),
            ("seed = true", "job.toml: seed is True: expected a whole number"),
            ("seed = 1.5", "job.toml: seed is 1.5: expected a whole number"),
            ("method = true", "job.toml: method is True: expected text or a number, as behind the flag"),
            ("inputs = []", "job.toml: inputs is empty"),
            ("config = 'b.toml'", "job.toml: no option 'config'"),
            ("[a", "cannot read the configuration 'job.toml': Expected"),
        ],
    )
    def test_what_a_flag_would_not_take_is_one_line(self, text: str, message: str, capsys: Captured) -> None:
        with pytest.raises(SystemExit) as ending:
            parsed("invert", "a.png", "--config", written(text))
        assert ending.value.code == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert re.search(message, error), error

    def test_a_folder_job_is_one_file(self, tiny_model_dir: Path, in_tmp_path: Path) -> None:
        for name in ("a", "b"):
            Image.linear_gradient("L").resize((32, 32)).save(in_tmp_path / f"{name}.png")
        text = (
            f"model = {str(tiny_model_dir)!r}\ndevice = 'cpu'\nalign = 'no'\nquiet = true\ninputs = ['a.png', 'b.png']"
        )
        assert main(["invert", "--config", written(text), "--out", "results"]) == 0
        assert len(list((in_tmp_path / "results").glob("*.safetensors"))) == 2


@pytest.mark.usefixtures("in_tmp_path")
class TestEvaluate:
    @pytest.mark.parametrize(
        ("what", "text", "expected"),
        [
            ("reconstruction", "count = 4\ncurve = 0\nmethods = ['a', 'b:3']", {"count": 4, "methods": ["a", "b:3"]}),
            ("editing", "edits = 'age'\npoints = 3\nequal_effect = 'x.png'", {"edits": ["age"], "points": 3}),
            ("alignment", "photos = 'x'\naligner = 'dlib'", {"photos": Path("x"), "aligner": "dlib"}),
        ],
    )
    def test_every_measurement_takes_a_file(self, what: str, text: str, expected: dict[str, Any]) -> None:
        args = vars(parsed("evaluate", what, "--config", written(text)))
        assert {name: args[name] for name in expected} == expected

    def test_names_with_dashes_may_have_underscores(self) -> None:
        for name in ("equal_effect", "equal-effect"):
            args = parsed("evaluate", "editing", "--config", written(f"{name} = 'x.png'"))
            assert args.equal_effect == Path("x.png")


def test_files_of_several_flags_count_in_their_order(in_tmp_path: Path) -> None:
    first, second = in_tmp_path / "first.toml", in_tmp_path / "second.toml"
    first.write_text("count = 4\ncurve = 0\n", encoding="utf-8")
    second.write_text("count = 5\n", encoding="utf-8")
    args = parsed("evaluate", "reconstruction", "--config", str(first), "--config", str(second))
    assert (args.count, args.curve) == (5, 0)


def test_commands_without_the_flag_have_no_files(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        parsed("info", "--config", "a.toml")
    assert "unrecognized arguments: --config" in capsys.readouterr().err


def test_a_flag_that_may_be_repeated_has_a_list(in_tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.add_argument("--part", action="append", default=[])
    add_config_argument(parser)
    argv = ["--part", "c", "--config", written('part = ["a", "b"]')]
    parser.apply_config(argv)
    assert parser.parse_args(argv).part == ["a", "b", "c"]


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize("command", [["invert"], ["evaluate", "reconstruction"], ["evaluate", "report"]])
def test_every_flag_in_the_help_of_a_command_can_stand_in_a_file(command: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        parsed(*command, "--help")
    flags = set(re.findall(r"^  --([a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"config"}
    Path("job.json").write_text('{"no_such_name": 1}', encoding="utf-8")
    with pytest.raises(SystemExit):
        parsed(*command, "--config", "job.json")
    assert flags <= set(re.findall(r"[a-z-]+", capsys.readouterr().err))
