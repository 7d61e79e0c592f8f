"""What the README and the documentation tell people to type works as written.

Every ```python block runs, each on its own, in a folder that holds the images named in PICTURES. One that
cannot run says so and why behind its language: ```python no-run: needs the official weights. Every line
`hyperstyle ...` of a shell block must be understood by the command line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hyperstyle.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]
PICTURES = ("me.jpg", "friend.jpg")
SHELLS = {"bash", "console", "sh", "shell"}
INSTALLING = ("pip install . && hyperstyle demo", 'pip install ".[dev]" && pytest')


@dataclass(frozen=True)
class Block:
    """A fenced block: where its first line stands, its language, what else stands behind it, its text."""

    page: str
    line: int
    language: str
    note: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> Iterator[Block]:
    opening: tuple[int, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"\s*```\s*(\S*)\s*(.*)", line)
        if fence is None:
            lines.append(line)
        elif opening is None:
            opening, lines = (number + 1, fence[1], fence[2].strip()), []
        else:
            yield Block(page, *opening, "\n".join(lines))
            opening = None
    assert opening is None, f"{page}: the block that opens above line {opening and opening[0]} is never closed"


def commands_of(block: Block) -> Iterator[list[str]]:
    """The arguments of each `hyperstyle` call in a shell block, without comments, prompts, redirections."""
    for line in block.text.replace("\\\n", " ").splitlines():
        command: list[str] = []
        words = shlex.split(line.removeprefix("$ "), comments=True)
        for word in [*words, ";"]:
            if word not in {"&&", "||", "|", ";", ">", "2>"}:
                command.append(word)
                continue
            if command[:3] == ["python", "-m", "hyperstyle"]:
                yield command[3:]
            elif command[:1] == ["hyperstyle"]:
                yield command[1:]
            command = []


BLOCKS = [
    block for page in PAGES for block in blocks_of(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8"))
]
PYTHON = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [(block, args) for block in BLOCKS if block.language in SHELLS for args in commands_of(block)]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the photos that the documentation speaks of."""
    from hyperstyle.images import example_photo, save_image

    folder = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(PICTURES):
        save_image(example_photo(number), folder / name)
    return folder


def test_the_readme_has_the_two_lines_that_install_and_test() -> None:
    lines = [line for block in BLOCKS if block.page == "README.md" for line in block.text.splitlines()]
    assert [command for command in INSTALLING if command not in lines] == []


def test_the_readme_shows_python_and_commands() -> None:
    assert "README.md" in {block.page for block in PYTHON}
    assert "README.md" in {block.page for block, _ in COMMANDS}


@pytest.mark.parametrize("block", [block for block in PYTHON if not block.note.startswith("no-run")], ids=str)
def test_a_python_block_runs(block: Block, photos: Path, in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in PICTURES:
        (in_tmp_path / name).write_bytes((photos / name).read_bytes())
    # Blank lines in front, so that a traceback shows the line of the page.
    source = "\n" * (block.line - 1) + block.text
    exec(compile(source, block.page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("block", [block for block in PYTHON if block.note], ids=str)
def test_a_python_block_that_does_not_run_says_why_and_is_python_all_the_same(block: Block) -> None:
    assert re.fullmatch(r"no-run: \S.*", block.note)
    compile(block.text, block.page, "exec")


@pytest.mark.parametrize(("block", "args"), COMMANDS, ids=[f"{block}:{' '.join(args)}" for block, args in COMMANDS])
def test_a_command_is_understood(block: Block, args: list[str]) -> None:
    if {"--help", "--version"} & set(args):
        with pytest.raises(SystemExit) as ending:
            build_parser().parse_args(args)
        assert ending.value.code == 0
    else:
        assert callable(build_parser().parse_args(args).run)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_of_the_project_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    files = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [file for file in files if file and not (page.parent / file).exists()] == []


class TestTheReaderOfPages:
    """The tests above are only as good as what they find on a page."""

    def test_blocks_are_found_with_their_line_language_and_note(self) -> None:
        text = "a\n```python no-run: why\nx\ny\n```\nb\n```bash\nz\n```\n"
        assert list(blocks_of("p", text)) == [
            Block("p", 3, "python", "no-run: why", "x\ny"),
            Block("p", 8, "bash", "", "z"),
        ]

    def test_a_block_left_open_is_an_error(self) -> None:
        with pytest.raises(AssertionError, match="never closed"):
            list(blocks_of("p", "```python\nx\n"))

    def test_commands_are_found_behind_prompts_joins_and_line_breaks(self) -> None:
        text = '$ pip install . && hyperstyle demo  # now\nhyperstyle edit "a b.png" \\\n  --edit age=2 > log\n'
        assert list(commands_of(Block("p", 1, "bash", "", text))) == [
            ["demo"],
            ["edit", "a b.png", "--edit", "age=2"],
        ]
