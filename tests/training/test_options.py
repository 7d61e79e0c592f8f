"""Options of training: defaults, files, flags, and what is refused before anything is trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hyperstyle.errors import ConfigError
from hyperstyle.io.typed_config import find_config, read_tables
from hyperstyle.training.options import (
    READY,
    TABLES,
    TASKS,
    LossOptions,
    OptimOptions,
    TaskName,
    TrainOptions,
    resolve,
    tables_of,
    to_dict,
)

NEEDED: dict[str, dict[str, Any]] = {
    "encoder": {"data.train": "photos", "run.out": "run", "encoder.generator": "g.pt"},
    "hyperstyle": {"data.train": "photos", "run.out": "run", "hyperstyle.encoder": "enc"},
    "hyperinverter": {"data.train": "photos", "run.out": "run", "hyperinverter.encoder": "enc"},
}


def resolved(task: TaskName = "hyperstyle", *files: str | Path, **flags: Any) -> TrainOptions:
    """With what the task needs; "__" in a name stands for the dot."""
    return resolve(task, files, NEEDED[task] | {name.replace("__", "."): value for name, value in flags.items()})


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


class TestDefaults:
    def test_those_of_hyperstyle_are_the_published_ones(self) -> None:
        options = resolved()
        loss, optim = options.loss, options.optim
        assert (loss.l2, loss.lpips, loss.identity, loss.moco, loss.lpips_net) == (1.0, 0.8, None, None, "alex")
        assert (optim.optimizer, optim.rate, optim.batch, optim.steps) == ("ranger", 1e-4, 8, 500_000)
        assert options.hyperstyle is not None
        assert (options.hyperstyle.passes, options.hyperstyle.layers) == (5, "published")
        assert (loss.adversarial, loss.w_mean) == (0, 0), "not of the paper: off"

    def test_those_of_hyperinverter_are_its_own(self) -> None:
        options = resolved("hyperinverter")
        assert options.optim.optimizer == "adam"
        assert (options.loss.adversarial, options.loss.adversarial_from) == (0.005, 200_000)
        assert resolved("hyperinverter", loss__adversarial=0).loss.adversarial == 0

    @pytest.mark.parametrize("task", TASKS)
    def test_a_task_has_its_own_table_and_no_other_tasks(self, task: TaskName) -> None:
        options = resolved(task)
        assert [name for name in TASKS if getattr(options, name) is not None] == [task]
        assert list(tables_of(task))[-1] == task

    def test_every_option_has_a_line_that_explains_it(self) -> None:
        without = [
            f"{table}.{field.name}"
            for table, kind in TABLES.items()
            for field in dataclasses.fields(kind)
            if not field.metadata.get("doc")
        ]
        assert without == []


class TestWhatWins:
    def test_later_files_win_over_earlier_ones_and_flags_over_files(self, tmp_path: Path) -> None:
        first = written(tmp_path / "a.toml", "[optim]\nbatch = 2\nsteps = 20\nrate = 2e-3\n")
        second = written(tmp_path / "b.yaml", "optim:\n  steps: 30\n  rate: 3e-3\n")
        options = resolved("hyperstyle", first, second, optim__rate="4e-3")
        assert (options.optim.batch, options.optim.steps, options.optim.rate) == (2, 30, 4e-3)
        assert resolved("hyperstyle", second, first).optim.steps == 20

    def test_a_file_may_hold_everything_that_is_needed(self, tmp_path: Path) -> None:
        text = 'task = "encoder"\n[data]\ntrain = "p"\n[run]\nout = "r"\n[encoder]\ngenerator = "g"\nkind = "e4e"\n'
        options = resolve("encoder", [written(tmp_path / "job.toml", text)])
        assert options.encoder is not None
        assert (options.data.train, options.encoder.kind) == ("p", "e4e")

    @pytest.mark.parametrize("task", TASKS)
    def test_the_written_options_are_read_again_as_the_same(self, task: TaskName, tmp_path: Path) -> None:
        layers = {"hyperstyle__layers": "b8.conv1,b16.conv0"} if task == "hyperstyle" else {}
        options = resolved(task, optim__threads=3, loss__delta=0.5, data__size=64, **layers)
        file = written(tmp_path / "config.json", json.dumps(to_dict(options)))
        assert resolve(task, [file]) == options


class TestValues:
    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("optim.steps", "5_000", 5000),
            ("optim.steps", 5000.0, 5000),
            ("optim.rate", "1e-4", 1e-4),
            ("optim.rate", 1, 1.0),
            ("optim.threads", "none", None),
            ("optim.threads", "2", 2),
            ("optim.compile", True, True),
            ("data.train", Path("photos"), "photos"),
            ("hyperstyle.layers", "medium-fine", "medium-fine"),
            ("hyperstyle.layers", "b8.conv1, b16.conv0", ("b8.conv1", "b16.conv0")),
            ("hyperstyle.layers", [0, "b16.conv0"], ("0", "b16.conv0")),
        ],
    )
    def test_text_numbers_and_lists_become_what_the_option_is(self, name: str, value: Any, expected: Any) -> None:
        table, _, option = name.partition(".")
        resolved = getattr(getattr(resolve("hyperstyle", [], NEEDED["hyperstyle"] | {name: value}), table), option)
        assert resolved == expected
        assert type(resolved) is type(expected)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("optim.steps", 2.5, "optim.steps is 2.5: expected a whole number"),
            ("optim.steps", "many", "optim.steps is 'many': expected a whole number"),
            ("optim.steps", True, "optim.steps is True: expected a whole number"),
            ("optim.steps", 0, "optim: steps is 0: expected 1 or more"),
            ("optim.rate", "nan", "optim.rate is 'nan': expected a number"),
            ("optim.rate", "inf", "optim.rate is 'inf': expected a number"),
            ("optim.threads", "two", "optim.threads is 'two': expected a whole number or none"),
            ("optim.optimizer", "sgd", "optim.optimizer is 'sgd': expected one of 'ranger', 'adam'"),
            ("optim.compile", "yes", "optim.compile is 'yes': expected true or false"),
            ("optim.ema", 1, "optim: ema is 1.0: expected 0 to 0.999999"),
            ("data.flip", 1.5, "data: flip is 1.5: expected 0 to 1"),
            ("data.train", 5, "data.train is 5: expected text"),
            (
                "hyperstyle.layers",
                [],
                "expected one of 'published', 'all', 'medium-fine' or a list of names",
            ),
            ("optim.betch", 8, "no option optim.betch. .*Did you mean 'batch'?"),
            ("hyperstile.passes", 5, "no options 'hyperstile' for training hyperstyle. .*Did you mean 'hyperstyle'?"),
            ("encoder.kind", "w", "no options 'encoder' for training hyperstyle"),
        ],
    )
    def test_other_names_and_values_are_refused(self, name: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            resolve("hyperstyle", [], NEEDED["hyperstyle"] | {name: value})

    def test_identity_and_moco_exclude_each_other(self) -> None:
        with pytest.raises(ConfigError, match=r"loss: identity is 0.1 and moco is 0.5: .* Set one of them to 0"):
            resolved(loss__identity=0.1, loss__moco=0.5)
        assert LossOptions(identity=0, moco=0.5).moco == 0.5

    @pytest.mark.parametrize(
        ("task", "name", "value", "message"),
        [
            ("hyperinverter", "loss.w_mean", 0.1, "loss.w_mean is 0.1: it is for training encoder or hyperstyle"),
            ("hyperstyle", "loss.latent_discriminator", 0.1, "latent_discriminator is 0.1: it is for training encoder"),
            ("encoder", "encoder.progressive_start", 10, "encoder: progressive_start is 10 and kind is 'w'"),
            ("encoder", "encoder.passes", 3, "encoder: passes is 3 and kind is 'w': only ReStyle"),
        ],
    )
    def test_what_a_task_would_not_use_is_refused(self, task: TaskName, name: str, value: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            resolve(task, [], NEEDED[task] | {name: value})

    def test_what_is_needed_and_not_given_is_named(self) -> None:
        with pytest.raises(ConfigError, match=r"needs data.train \(.*\) and run.out \(.*\) and encoder.generator \("):
            resolve("encoder")

    def test_the_file_is_named_where_it_is_wrong(self, tmp_path: Path) -> None:
        file = written(tmp_path / "a.toml", "[optim]\nbatch = 'x'\n")
        with pytest.raises(ConfigError, match=r"a\.toml: optim\.batch is 'x'"):
            resolved("hyperstyle", file)
        with pytest.raises(ConfigError, match="optim is 3: expected a table"):
            resolved("hyperstyle", written(file, "optim = 3\n"))
        with pytest.raises(ConfigError, match="task is 'encoder', and 'hyperstyle' is to be trained"):
            resolved("hyperstyle", written(file, 'task = "encoder"\n'))


class TestWhatMustFit:
    @pytest.mark.parametrize(("world", "accumulate", "expected"), [(1, 1, 12), (2, 1, 6), (2, 3, 2), (1, 6, 2)])
    def test_a_batch_is_divided_among_processes_and_parts(self, world: int, accumulate: int, expected: int) -> None:
        assert OptimOptions(batch=12, accumulate=accumulate).micro_batch(world) == expected

    def test_one_that_cannot_be_divided_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"a batch of 8 images for 3 processes .* a multiple of 3, such as 9"):
            OptimOptions(batch=8).micro_batch(3)
        with pytest.raises(ConfigError, match="a multiple of 3"):
            OptimOptions(batch=8, accumulate=3)


class TestFiles:
    @pytest.mark.parametrize("name", sorted(file.stem for file in READY.glob("*.toml")))
    def test_a_ready_configuration_is_a_whole_job_but_for_the_paths(self, name: str) -> None:
        tables = read_tables(find_config(name, READY))
        tasks = [tables["task"]] if "task" in tables else TASKS
        for task in tasks:
            options = resolved(task, name)
            assert options != resolved(task), "it says something"
            options.optim.micro_batch(1)

    def test_there_are_ready_ones_for_every_task(self) -> None:
        assert {read_tables(file).get("task") for file in READY.glob("*.toml")} == {*TASKS, None}

    def test_a_ready_one_can_be_changed_by_another(self) -> None:
        options = resolved("hyperstyle", "hyperstyle-faces", "one-gpu")
        assert (options.optim.precision, options.optim.accumulate) == ("bfloat16", 4)
        assert options.data.size == 1024

    def test_a_name_that_is_nothing_gets_a_suggestion(self) -> None:
        with pytest.raises(ConfigError, match=r"no configuration 'hyperstyle-face'.*Did you mean 'hyperstyle-faces'"):
            find_config("hyperstyle-face", READY)


def test_the_options_can_be_had_without_torch(run_python: Any) -> None:
    code = "import sys, hyperstyle.training.options; print('torch' in sys.modules)"
    assert run_python("-c", code).stdout.strip() == "False"
