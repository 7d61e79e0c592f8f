"""`hyperstyle bulk`, `bulk-status`, `bulk-report` and `bulk-edit` as they are typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hyperstyle.bulk import load_shards
from hyperstyle.bulk.plan import BulkJob
from hyperstyle.bulk.report import without_names
from hyperstyle.bulk.worker import Outcome, Worker
from hyperstyle.cli import build_parser, main
from hyperstyle.inverter import HyperStyleInverter
from tests.bulk.conftest import contents, save_noise

pytest.importorskip("pyarrow")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes take seconds to start; tests/bulk/test_local.py starts them."""

    def run_local(job: BulkJob, numbers: list[int], devices: list[str], **options: Any) -> Iterator[Outcome]:
        worker = Worker(job, devices[0], threads=options["threads"])
        return (worker.run(number, options["on_batch"]) for number in numbers)

    monkeypatch.setattr("hyperstyle.bulk.local.run_local", run_local)


def bulk(model: Path, source: Path, out: Path, *flags: str) -> int:
    fixed = ["--model", str(model), "--device", "cpu", "--align", "no", "--batch", "3", "--shard-size", "8"]
    return main(["bulk", str(source), str(out), *fixed, *flags])


def test_a_dataset_is_inverted_reported_and_edited(
    tiny_model_dir: Path,
    tiny_inverter: HyperStyleInverter,
    photos: Path,
    tmp_path: Path,
    capsys: Captured,
    undisturbed: dict[str, bytes],
) -> None:
    out, edited = tmp_path / "out", tmp_path / "edited"
    assert bulk(tiny_model_dir, photos, out) == 0
    assert capsys.readouterr().out == f"{out}: 24 images in 3 of 3 shards, 0 failed\n"
    assert contents(out) == undisturbed
    assert bulk(tiny_model_dir, photos, out) == 0, "all is done"
    assert capsys.readouterr().out == f"{out}: 0 images in 0 of 3 shards, 0 failed\n"

    assert main(["bulk-status", str(out)]) == 0
    assert "24 of 24 images (100.0%), 3 of 3 shards" in capsys.readouterr().out
    assert main(["bulk-status", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 24

    model = ["--model", str(tiny_model_dir), "--device", "cpu"]
    sheet, figures = tmp_path / "sheet.png", tmp_path / "figures.json"
    assert main(["bulk-report", str(out), "--sheet", str(sheet), "--count", "5", "--json", str(figures), *model]) == 0
    assert capsys.readouterr().out.startswith("24 images in 3 shards, 0 failed, ")
    assert json.loads(figures.read_text())["methods"] == {"hyperstyle": 24}
    with Image.open(sheet) as image:
        assert image.width > 5 * 128

    command = ["bulk-edit", str(out), "--edit", "age=2", "--edit", "smile=-1", "--out", str(edited), *model]
    assert main(command) == 0
    lines = [json.loads(line) for line in (edited / "00001.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines][:2] == ["a/08.png", "a/09.png"]
    row = next(row for row in load_shards(out / "00001.parquet", tiny_inverter))
    assert row.inversion is not None
    with Image.open(edited / lines[0]["file"]) as image:
        assert image.tobytes() == row.inversion.edit("age", 2).edit("smile", -1).image.tobytes()
    (edited / "00001.jsonl").unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert capsys.readouterr().out == f"{edited}: 8 images\n", "the shard whose list is missing"
    assert main([*command, "--edit", "age=1"]) == 2
    assert "has other edits" in capsys.readouterr().err
    (edited / "edits.json").write_text("{")
    assert main(command) == 2
    assert "edits.json is damaged" in capsys.readouterr().err


def test_images_that_fail_are_counted_and_named(tiny_model_dir: Path, tmp_path: Path, capsys: Captured) -> None:
    source, out = tmp_path / "photos", tmp_path / "out"
    for number in range(3):
        save_noise(source / f"{number}.png", number)
        (source / f"bad{number}.png").write_bytes(b"no image")
    assert bulk(tiny_model_dir, source, out) == 1
    captured = capsys.readouterr()
    assert "6 images in 1 of 1 shards, 3 failed" in captured.out
    assert f"hyperstyle bulk-report {out}" in captured.err
    assert main(["bulk-report", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("6 images in 1 shards, 3 failed")
    assert lines[1].split()[:2] == ["3", "ImageError:"]
    assert lines[1].endswith("(bad0.png, bad1.png, bad2.png)")


def test_a_plan_can_be_made_alone_and_its_array_of_processes_shares_it(
    tiny_model_dir: Path, photos: Path, tmp_path: Path, capsys: Captured, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    assert bulk(tiny_model_dir, photos, out, "--plan") == 0
    assert capsys.readouterr().out == f"{out}: 24 images in 3 shards, 3 to do\n"
    assert contents(out) == {}
    assert bulk(tiny_model_dir, photos, out, "--engine", "array", "--shard-index", "1", "--shard-count", "2") == 0
    assert contents(out) == undisturbed, "none is left to a process that does not come"


def test_damage_that_only_a_hash_shows_is_mended_on_request(
    tiny_model_dir: Path, photos: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    assert bulk(tiny_model_dir, photos, out, "--quiet") == 0
    changed = bytearray(undisturbed["00001.parquet"])
    changed[200] ^= 1
    (out / "00001.parquet").write_bytes(changed)
    assert bulk(tiny_model_dir, photos, out, "--quiet") == 0
    assert contents(out) != undisturbed
    assert bulk(tiny_model_dir, photos, out, "--quiet", "--verify") == 0
    assert contents(out) == undisturbed


def test_what_is_not_installed_is_said_before_the_first_shard(
    tiny_model_dir: Path, photos: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for package, extra, flags in (("ray", "ray", ["--engine", "ray"]), ("pyarrow.parquet", "bulk", [])):
        monkeypatch.setitem(sys.modules, package, None)
        assert bulk(tiny_model_dir, photos, tmp_path / "out", *flags) == 2
        assert f'Run: pip install "hyperstyle-inversion[{extra}]"' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--face", "all"), "rows have one face each"),
        (("--engine", "slurm"), "no array job"),
        (("--shard-index", "1"), "--shard-index with --engine local"),
        (("--address", "auto"), "--address with --engine local"),
        (("--batch", "0"), "expected 1 or more"),
        (("--column", "x"), ""),
    ],
)
def test_flags_that_cannot_be_are_one_line(
    tiny_model_dir: Path, photos: Path, tmp_path: Path, capsys: Captured, flags: tuple[str, ...], message: str
) -> None:
    if flags[0] == "--column":
        photos = tmp_path / "gone"
        message = "there is no"
    assert bulk(tiny_model_dir, photos, tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_cost_of_a_large_job_follows_from_what_is_measured(
    tiny_model_dir: Path, photos: Path, tmp_path: Path, capsys: Captured
) -> None:
    command = ["bulk-bench", str(photos), "--model", str(tiny_model_dir), "--device", "cpu", "--align", "no"]
    figures = tmp_path / "figures.json"
    flags = ["--count", "16", "--batch", "2", "--images", "1000000", "--devices", "4", "--price", "2"]
    assert main([*command, *flags, "--json", str(figures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    values = json.loads(figures.read_text())
    assert values["images"] == 16
    hours = 1_000_000 / values["bulk"] / 3600
    assert f"{hours:,.0f} hours of devices, {2 * hours:,.0f} at 2 per hour" in lines[-2]
    assert lines[-1].split()[1] == f"{values['bytes_per_image'] / 1000:,.1f}"
    assert main([*command, "--count", "6", "--batch", "2"]) == 2
    assert main([*command, "--count", "32", "--batch", "2"]) == 2
    errors = capsys.readouterr().err
    assert "expected a multiple of 4 batches, 8" in errors
    assert "the source has 24 images: expected 32 or more" in errors


def test_the_batch_file_for_slurm_calls_a_command_that_there_is(checkout: Path) -> None:
    text = (checkout / "examples" / "bulk" / "job.sbatch").read_text(encoding="utf-8")
    (line,) = re.findall(r"^exec hyperstyle (.*)$", text, re.MULTILINE)
    args = build_parser().parse_args(line.replace('"$@"', "photos out").split())
    assert (args.source, args.out, args.engine) == ("photos", Path("out"), "slurm")


def test_sentences_of_one_kind_are_equal() -> None:
    first = without_names("no face found in 'a/1.png' (640x480 px).")
    assert first == without_names("no face found in 'b.png' (1,024x768 px).") == "no face found in NAME (NxN px)."
