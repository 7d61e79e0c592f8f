"""The campaign: every hostile file and argument at every door, several thousand cases in forked processes.

`python tests/fuzz/hostile/campaign.py [PATTERN ...] [--part K/N] [--out FILE]` runs those whose name contains a pattern
and prints what is wrong; the exit code is 1 if anything is.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (3, 1)]  # of the package, and of this one

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hostile import corpus, harness  # noqa: E402

PLACE = "HERE"  # stands for the hostile file in a command line


@dataclass(frozen=True)
class Case:
    """A command line in a folder that `prepare` fills."""

    name: str
    argv: list[str]
    prepare: Callable[[Path], None] = lambda folder: None


@dataclass(frozen=True)
class World:
    """Valid files that command lines need beside the hostile ones."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def photo(self) -> str:
        return str(self.folder / "photo.png")

    @property
    def inversion(self) -> str:
        return str(self.folder / "inversion.safetensors")


def make_world(folder: Path) -> World:
    """A tiny model, a photo and an inversion of it."""
    import torch

    import hyperstyle
    from hyperstyle.domain import Domain
    from hyperstyle.edits import DirectionEdit, EditInfo
    from hyperstyle.inverter import HyperStyleInverter
    from hyperstyle.networks.encoders.backbones import TrunkConfig
    from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
    from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
    from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

    os.environ["HYPERSTYLE_HOME"] = str(folder / "home")
    torch.manual_seed(0)
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    generator = Generator(GeneratorConfig(32, channels=(16, 16, 16, 8), latent_width=16, mapping_layers=2))
    hypernetwork = Hypernetwork(
        HypernetworkConfig(generator.config, ("b8.conv1", "b32.conv0"), (32, 32), trunk, heads="compact", code_width=16)
    )
    model = HyperStyleInverter(
        generator,
        WEncoder(WEncoderConfig(generator.config.rows, 16, (32, 32), trunk)),
        hypernetwork,
        domain=Domain("avatars", 32, (32, 32), aligner="face", similarity="traits"),
        edits={name: DirectionEdit(torch.randn(16), EditInfo(name, -3.0, 3.0)) for name in ("age", "smile")},
        steps=2,
        info={"source": "random weights", "licence": "MIT"},
    )
    world = World(folder)
    model.save_pretrained(world.model)
    hyperstyle.example_photo(0).resize((128, 128)).save(world.photo)
    model.invert(world.photo, align=False).save(world.inversion)
    return world


def cases(world: World) -> Iterator[Case]:
    """All of them."""
    yield from _files(world)
    yield from _paths(world)
    yield from _model_folders(world)
    yield from _records(world)
    yield from _arguments(world)
    yield from _outputs(world)


def _doors(world: World) -> dict[str, tuple[str, list[str], tuple[str, ...]]]:
    """Name -> suffix of the hostile file, command line, kinds of files that fit."""
    m = ["--model", str(world.model)]
    photo, inversion = world.photo, world.inversion
    train = ["train", "encoder", "--loss.lpips", "0", "--steps", "1", "--batch", "1", "--out", "run"]
    images_of = [*train, "--generator", str(world.model), "--data"]
    image, record, torch_kinds = ("images",), ("safetensors",), ("torch", "safetensors", "npy")
    return {
        "invert": (".png", ["invert", PLACE, *m], image),
        "invert-noalign": (".png", ["invert", PLACE, "--align", "no", *m], image),
        "invert-bundled": (".png", ["invert", PLACE], image),
        "invert-landmarks": (".npy", ["invert", photo, "--landmarks", PLACE, *m], ("npy",)),
        "invert-config": (".toml", ["invert", photo, *m, "--config", PLACE], ("toml",)),
        "invert-config-yaml": (".yaml", ["invert", photo, *m, "--config", PLACE], ("yaml",)),
        "invert-config-json": (".json", ["invert", photo, *m, "--config", PLACE], ("json",)),
        "align": (".jpg", ["align", PLACE, *m], image),
        "align-dlib": (".dat", ["align", photo, "--aligner", "dlib:" + PLACE], ("torch",)),
        "align-mtcnn": ("", ["align", photo, "--aligner", "mtcnn:" + PLACE], ("npy",)),
        "align-landmarks": (".npy", ["align", photo, "--landmarks", PLACE, *m], ("npy",)),
        "edit-image": (".png", ["edit", PLACE, "--edit", "age=1", "--align", "no", *m], image),
        "edit-record": (".safetensors", ["edit", PLACE, "--edit", "age=1", *m], record),
        "edit-photo": (".png", ["edit", inversion, "--edit", "age=1", "--paste-back", "--photo", PLACE, *m], image),
        "edit-edit": (".pt", ["edit", inversion, "--edit", PLACE + "=1", *m], torch_kinds),
        "edit-edit-npy": (".npy", ["edit", inversion, "--edit", PLACE + "=1", *m], ("npy",)),
        "edit-clip": (".mp4", ["edit", PLACE, "--edit", "age=1", "--align", "no", *m], ("clips",)),
        "edit-clip-gif": (".gif", ["edit", PLACE, "--clip", "--edit", "age=1", "--align", "no", *m], ("clips",)),
        "animate": (".safetensors", ["animate", PLACE, "--edit", "age=0:1:3", *m], record),
        "export": (".safetensors", ["export", PLACE, "--out", "x.pt", *m], record),
        "import": (".npy", ["import", PLACE, *m], ("npy",)),
        "convert": (".pt", ["convert", PLACE, "--out", "converted", "--domain", "faces"], torch_kinds),
        "convert-pkl": (".pkl", ["convert", PLACE, "--out", "converted", "--domain", "faces"], ("torch",)),
        "convert-safetensors": (".safetensors", ["convert", PLACE, "--out", "converted"], record),
        "fetch-into": ("", ["fetch", "faces", "--accept-third-party", "--into", PLACE], ("json",)),
        "edits-add": (".pt", ["edits", "add", PLACE, "--model", "model"], torch_kinds),
        "train": ("", [*images_of, PLACE], ("images",)),
        "train-zip": (".zip", [*images_of, PLACE], ("torch",)),
        "train-tar": (".tar", [*images_of, PLACE], ()),
        "train-config": (".toml", ["train", "encoder", "--config", PLACE], ("toml",)),
        "train-init": (".pt", [*train, "--data", str(world.folder), "--generator", PLACE], torch_kinds),
        "info": ("", ["info", "--model", PLACE], ()),
        "model": ("", ["invert", photo, "--model", PLACE], ()),
        "evaluate": ("", ["evaluate", "reconstruction", "--data", PLACE, *m], ()),
        "celebahq": ("", ["evaluate", "celebahq", PLACE, *m], ()),
    }  # fmt: skip


@functools.cache
def _kinds() -> dict[str, dict[str, corpus.Maker]]:
    images = corpus.images()
    return {
        "images": images,
        "safetensors": corpus.safetensors_files(),
        "torch": corpus.torch_files(),
        "npy": corpus.npy_files(),
        "toml": corpus.toml_files(),
        "yaml": corpus.yaml_files(),
        "json": corpus.json_files(),
        "clips": {key: make for key, make in images.items() if key.startswith(("gif", "webp", "png"))},
    }


def _files(world: World) -> Iterator[Case]:
    """Every door with every kind of thing that may lie there."""
    kinds = _kinds()
    for door, (suffix, argv, fitting) in _doors(world).items():
        makers = dict(corpus.ANY)
        for kind in fitting:
            makers |= {f"{kind}:{name}": make for name, make in kinds[kind].items()}
        for name, make in makers.items():
            path = f"hostile{suffix}"
            yield Case(f"{door}/{name}", _with(argv, path), _maker(world, make, path, argv))


def _maker(world: World, make: corpus.Maker, path: str, argv: list[str]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        if argv[-2:] == ["--model", "model"]:
            shutil.copytree(world.model, folder / "model")
        make(folder / path)

    return prepare


def _with(argv: list[str], path: str) -> list[str]:
    return [path + text[len(PLACE) :] if text.startswith(PLACE) else text for text in argv]


def _paths(world: World) -> Iterator[Case]:
    """Every door with paths that cannot be asked about; and every output."""

    def prepare(folder: Path) -> None:
        (folder / "loop").symlink_to("loop")
        (folder / "plain.txt").write_text("x")

    for door, (_, argv, _) in _doors(world).items():
        for name, path in corpus.PATHS.items():
            if name == "root" and door.startswith("train"):
                continue  # all files of the machine are looked through, which takes as long as it takes
            yield Case(f"path/{door}/{name}", _with(argv, path), prepare)


def _model_folders(world: World) -> Iterator[Case]:
    """Model folders in which one file is hostile, or one entry of a file."""
    files = {str(path.relative_to(world.model)): path for path in sorted(world.model.rglob("*")) if path.is_file()}
    kinds = _kinds()
    for name, path in files.items():
        makers = dict(corpus.ANY)
        if path.suffix == ".safetensors":
            makers |= kinds["safetensors"]
        if path.suffix == ".json":
            makers |= kinds["json"]
            content = json.loads(path.read_text(encoding="utf-8"))
            makers |= {key: corpus._bytes(text.encode()) for key, text in corpus.mutations(content)}
        if "smile" in name or name.endswith(".md"):
            continue
        for key, make in makers.items():
            yield Case(
                f"folder/{name}/{key}",
                ["edit", world.inversion, "--edit", "age=1", "--model", "model"]
                if name.startswith("edits") or zlib.crc32(key.encode()) % 2
                else ["invert", world.photo, "--align", "no", "--model", "model"],
                _replaced(world, name, make),
            )


def _replaced(world: World, name: str, make: corpus.Maker) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        shutil.copytree(world.model, folder / "model", copy_function=os.link)
        path = folder / "model" / name
        path.unlink()
        make(path)
        if name != "hyperstyle.json":  # the hash of an edited component would be refused before it is read
            settings = json.loads((world.model / "hyperstyle.json").read_text(encoding="utf-8"))
            settings["sha256"] = {}
            (folder / "model/hyperstyle.json").unlink()
            (folder / "model/hyperstyle.json").write_text(json.dumps(settings), encoding="utf-8")

    return prepare


def _records(world: World) -> Iterator[Case]:
    """Saved inversions with one thing wrong."""
    m = ["--model", str(world.model)]
    for number, (name, make) in enumerate(corpus.inversion_records(Path(world.inversion)).items()):
        edit = ["edit", "r.safetensors", "--edit", "age=1"]
        paste_back = [*edit, "--paste-back", "--photo", world.photo]
        argv = [*(edit, paste_back, ["export", "r.safetensors", "--out", "x.pt"])[number % 3], *m]
        yield Case(f"record/{argv[0]}/{name}", argv, _maker(world, make, "r.safetensors", argv))


VALUES = {
    "empty": "", "space": " ", "minus": "-1", "zero": "0", "float": "0.5", "nan": "nan", "inf": "inf", "-inf": "-inf",
    "1e300": "1e300", "huge": str(10**30), "999999999": "999999999", "digits": "9" * 5000, "text": "x",
    "long": "x" * 100_000, "surrogate": "\udcff", "nul": "a\0b", "control": "\x1b[31m\n", "equals": "=", "pair": "a=b",
    "colons": ":::", "range": "age=0:1:1000000000", "range_nan": "age=nan:nan:3", "age_huge": "age=1e300",
    "comma": ",,,", "unicode": "٣", "hex": "0x10", "under": "1_0", "bool": "true", "none": "none", "path": "/",
}  # fmt: skip


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """Command, or command and subcommand -> its parser."""
    from hyperstyle.cli import build_parser

    result: dict[str, argparse.ArgumentParser] = {}

    def add(words: str, parser: argparse.ArgumentParser) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, each in action.choices.items():
                    add(f"{words} {name}".strip(), each)
        if words:
            result[words] = parser

    add("", build_parser())
    return result


def flags() -> dict[str, list[str]]:
    """Command -> its flags."""
    return {words: sorted(parser._option_string_actions) for words, parser in _parsers().items()}


def shuffled(chosen: Iterable[Case], seed: int = 0) -> list[Case]:
    """The cases in an order of chance."""
    result = list(chosen)
    random.Random(seed).shuffle(result)
    return result


SLOW = ("demo", "bench", "evaluate", "fit")
"""Commands that compute for minutes: only what they refuse is of interest, so their model is missing."""


def _arguments(world: World) -> Iterator[Case]:
    """Every flag of every command with every value."""
    base = {
        "align": ["align", world.photo],
        "invert": ["invert", world.photo, "--align", "no"],
        "edit": ["edit", world.inversion, "--edit", "age=1"],
        "animate": ["animate", world.inversion, "--edit", "age=0:1:3"],
        "edits": ["edits"],
        "convert": ["convert", world.inversion, "--out", "converted"],
        "fetch": ["fetch", "faces"],
        "export": ["export", world.inversion, "--out", "x.pt"],
        "import": ["import", str(world.folder)],
        "info": ["info"],
    }
    for words, parser in _parsers().items():
        start = base.get(words, words.split())
        name = "missing" if words.split()[0] in SLOW else str(world.model)
        model = ["--model", name] if "--model" in parser._option_string_actions else []
        for action in parser._actions:
            if not action.option_strings or action.dest == "help":
                continue
            flag = action.option_strings[-1]
            if action.nargs == 0:
                yield Case(f"argument/{words} {flag}", [*start, *model, flag])
                continue
            for key, value in VALUES.items():
                yield Case(f"argument/{words} {flag} {key}", [*start, *model, flag, value])
        for key, value in VALUES.items():
            yield Case(f"argument/{words} {key}", [*words.split(), value, *model])
    for name, value in VALUES.items():
        yield Case(f"argument/{name}", [value])
    for word in ("invret", "edti", "--verison", "info --mdoel x", "invert", "edit", "align", "animate", "convert"):
        yield Case(f"argument/typo {word}", word.split())


def _outputs(world: World) -> Iterator[Case]:
    """Outputs to places that cannot be written."""
    m = ["--model", str(world.model)]
    for name, argv in {
        "invert": ["invert", world.photo, "--align", "no", *m, "--out"],
        "edit": ["edit", world.inversion, "--edit", "age=1", *m, "--out"],
        "strip": ["edit", world.inversion, "--edit", "age=0:1:3", *m, "--out"],
        "animate": ["animate", world.inversion, "--edit", "age=0:1:3", *m, "--out"],
        "export": ["export", world.inversion, *m, "--out"],
        "export-official": ["export", world.inversion, "--form", "official", *m, "--out"],
        "convert": ["convert", world.inversion, "--out"],
        "align": ["align", world.photo, *m, "--out"],
        "demo": ["demo", "--people", "1", "--out"],
    }.items():
        for kind in ("fifo", "socket", "dev_full", "dev_null", "folder_full", "dangling", "text"):
            for suffix in ("", ".png", ".webp", ".pt", ".mp4"):
                path = f"out{suffix}"
                yield Case(f"output/{name}/{kind}{suffix}", [*argv, path], _maker(world, corpus.ANY[kind], path, []))
        for key, path in corpus.PATHS.items():
            if key not in ("root", "dot"):
                yield Case(f"output/{name}/{key}", [*argv, path], _loop)


def _loop(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "plain.txt").write_text("x")


def run_case(case: Case, scratch: Path) -> tuple[harness.Outcome, list[str]]:
    """Runs a case in a folder of its own, which is removed."""
    folder = Path(tempfile.mkdtemp(dir=scratch)) / "work"
    folder.mkdir()
    try:
        case.prepare(folder)
        outcome = harness.run_command(case.argv, folder)
        return outcome, harness.faults(outcome)
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def import_everything() -> None:
    """So that forked processes need not: what is imported lazily too. The web page only where Gradio is installed."""
    import importlib
    import importlib.util
    import pkgutil

    import hyperstyle

    for module in pkgutil.walk_packages(hyperstyle.__path__, "hyperstyle."):
        is_page = module.name.startswith("hyperstyle.app.") and importlib.util.find_spec("gradio") is None
        if not is_page and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("dlib", "scipy.signal", "scipy.fft", "av", "yaml", "jinja2", "huggingface_hub", "lpips", "tqdm"):
        importlib.import_module(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("patterns", nargs="*", help="parts of names")
    parser.add_argument("--part", default="1/1", help="K/N: every N-th case from the K-th on")
    parser.add_argument("--shuffle", action="store_true", help="in an order of chance")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after so long")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, one for each case")
    parser.add_argument("--list", action="store_true", help="count the cases and stop")
    args = parser.parse_args()
    import_everything()
    with tempfile.TemporaryDirectory() as text:
        scratch = Path(text)
        (scratch / "world").mkdir()
        world = make_world(scratch / "world")
        part, parts = map(int, args.part.split("/"))
        chosen = [case for case in cases(world) if not args.patterns or any(p in case.name for p in args.patterns)]
        chosen = chosen[part - 1 :: parts]
        if args.shuffle:
            chosen = shuffled(chosen)
        print(f"{len(chosen)} cases", flush=True)
        if args.list:
            return 0
        begin, bad, codes = time.monotonic(), 0, {}
        out = args.out.open("a", encoding="utf-8") if args.out else None
        for number, case in enumerate(chosen):
            if time.monotonic() - begin > args.seconds:
                print(f"stopped after {number}")
                break
            outcome, wrong = run_case(case, scratch)
            codes[outcome.code] = codes.get(outcome.code, 0) + 1
            if out is not None:
                row = {"name": case.name, "code": outcome.code, "seconds": round(outcome.seconds, 2),
                       "MiB": outcome.memory >> 20, "wrong": wrong, "err": outcome.err[-400:]}  # fmt: skip
                out.write(json.dumps(row) + "\n")
                out.flush()
            if wrong:
                bad += 1
                print(f"{case.name}: {'; '.join(wrong)}", flush=True)
        print(f"{bad} of {len(chosen)} wrong; exit codes {codes}; {time.monotonic() - begin:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
