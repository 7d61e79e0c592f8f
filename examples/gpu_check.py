"""Everything that nobody has run on a GPU yet, by one command of at most ten minutes:

    python examples/gpu_check.py --out runs/gpu --reference RECORDINGS

Writes OUT/gpu_check.json and OUT/gpu_check.md: the machine, the tests marked gpu, how far images are from the
recordings of the official code with TF32 off and on, time, memory and error of inversions and edits in every precision,
and a training step of each task. It needs no network. A part that fails is written down with its output, the rest goes
on, and the exit code is 1. `--device cpu --small` tries the script itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
_TAIL = 3000  # characters of a part's output
_CLI = (sys.executable, "-m", "hyperstyle")
_TESTS = (sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider")
_TF32_OFF = {"NVIDIA_TF32_OVERRIDE": "0"}
_SMALL = ("--size", "256", "--steps", "1", "--repeat", "1")
_ANY_ERROR = {"HYPERSTYLE_PARITY_FACTOR": "1e6"}  # figures are wanted, all of them, not a failed test


@dataclass(frozen=True)
class Part:
    """A command, and how long it may take.

    Attributes:
        name: for `--parts` and the results.
        commands: one after the other, until one fails.
        limit: seconds of all of them.
        env: variables of the environment beside the usual ones.
        results: a JSON file that the commands write, relative to the output folder.
    """

    name: str
    commands: Sequence[Sequence[str]]
    limit: float
    env: Mapping[str, str] = field(default_factory=dict)
    results: str | None = None


def parts(device: str, out: Path, reference: Path | None, *, small: bool) -> list[Part]:
    """What is run. `small` measures one image of 256 px, in float32."""
    bench = [*_CLI, "bench", "--quiet", "--device", device, *(_SMALL if small else [])]
    rows = ["--rows", "float32"] if small else []
    training = out / "training"
    data = ["--device", device, "--data", str(training / "crops")]
    common = [*data, "--config", "tryout", "--steps", "1", "--batch", "2"]
    crops = (
        "import sys; from pathlib import Path; from hyperstyle.evaluation import held_out_avatars; "
        "from hyperstyle.images import save_image, to_pil; folder = Path(sys.argv[1]); folder.mkdir(parents=True); "
        "[save_image(to_pil(x), folder / f'{n}.png') for n, x in enumerate(held_out_avatars(8))]"
    )
    encoder, begun = str(training / "encoder"), ["--encoder", str(training / "encoder")]
    generator = str(training / "generator.pt")
    found = [
        Part("tests", [[*_TESTS, "-m", "gpu", "tests/test_gpu.py"]], 60),
        Part("bench", [[*bench, *rows, "--json", str(out / "bench.json")]], 180, results="bench.json"),
        Part(
            "training",
            [
                [sys.executable, "-c", crops, str(training / "crops")],
                [*_CLI, "export", "--out", generator],
                [*_CLI, "train", "encoder", "--generator", generator, "--domain", "avatars", "--out", encoder, *common],
                [*_CLI, "train", "hyperstyle", *begun, "--out", str(training / "hyperstyle"), *common],
                [*_CLI, "train", "hyperinverter", *begun, "--out", str(training / "hyperinverter"), *common],
            ],
            100,
        ),
    ]
    if not small:  # batches of 32 take minutes on a CPU
        found.insert(
            2,
            Part("batches", [[*bench, "--rows", "rates", "--json", str(out / "rates.json")]], 60, results="rates.json"),
        )
    if reference is not None:
        for name, env in (("recordings without TF32", _TF32_OFF), ("recordings with TF32", _ANY_ERROR)):
            command = [*_TESTS, "tests/parity/test_hyperstyle.py", "-k", "faces and not slow"]
            table = out / f"{name.replace(' ', '_')}.md"
            variables = {"HYPERSTYLE_REFERENCE": str(reference), "HYPERSTYLE_PARITY_DEVICE": device}
            found.append(Part(name, [command], 100, {**env, **variables, "HYPERSTYLE_PARITY_TABLE": str(table)}))
    return found


def run(part: Part, out: Path) -> dict[str, Any]:
    """Runs a part; returns its seconds, whether it went well, the end of its output, and its results."""
    begin, output, code = time.monotonic(), "", 0
    for command in part.commands:
        left = part.limit - (time.monotonic() - begin)
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **part.env}
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=env,
                timeout=max(left, 1),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            output, code = output + done.stdout, done.returncode
        except subprocess.TimeoutExpired as error:
            said = error.stdout or b""
            output += said.decode(errors="replace") if isinstance(said, bytes) else said
            output, code = f"{output}\nstopped after {part.limit:.0f} s", 124
        if code:
            break
    results = out / part.results if part.results else None
    return {
        "seconds": round(time.monotonic() - begin, 1),
        "code": code,
        "output": output[-_TAIL:],
        "results": json.loads(results.read_text(encoding="utf-8")) if results and results.exists() else None,
    }


def environment(device: str) -> dict[str, Any]:
    """The machine and the versions."""
    values: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__, "device": device}
    if device.startswith("cuda") and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(device)
        values |= {
            "name": properties.name,
            "memory": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "capability": [properties.major, properties.minor],
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return values


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report as a page."""
    lines = ["# GPU check", "", *(f"- {name}: {value}" for name, value in report["environment"].items()), ""]
    lines += ["| part | seconds | exit code |", "|---|---|---|"]
    lines += [f"| {name} | {part['seconds']} | {part['code']} |" for name, part in report["parts"].items()]
    for name, part in report["parts"].items():
        lines += ["", f"## {name}", "", "```text", part["output"].strip(), "```"]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the parts one after the other and writes both files after each."""
    parser = argparse.ArgumentParser(description="Checks and measures the library on a GPU.")
    parser.add_argument("--out", type=Path, required=True, help="an empty folder, or one that is made")
    parser.add_argument("--device", default="cuda", help="where to run (default: cuda)")
    parser.add_argument("--reference", type=Path, default=os.environ.get("HYPERSTYLE_REFERENCE"), help="recordings")
    parser.add_argument("--small", action="store_true", help="256 px in place of 1024")
    parser.add_argument("--parts", nargs="+", metavar="NAME", help="only these, by the beginnings of their names")
    args = parser.parse_args(argv)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    chosen = parts(args.device, out, args.reference and Path(args.reference).resolve(), small=args.small)
    if args.parts:
        chosen = [part for part in chosen if part.name.startswith(tuple(args.parts))]
    if not chosen:
        parser.error("no part has such a name")
    report: dict[str, Any] = {"environment": environment(args.device), "parts": {}}
    for part in chosen:
        print(f"{part.name} ...", flush=True)
        result = report["parts"][part.name] = run(part, out)
        print(f"  exit code {result['code']}, {result['seconds']} s", flush=True)
        (out / "gpu_check.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (out / "gpu_check.md").write_text(as_markdown(report), encoding="utf-8")
    return int(any(part["code"] for part in report["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
