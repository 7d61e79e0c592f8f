"""Published files: who hosts them, under which license, their size and sha256, and which belong together.

They are listed in `published.toml`, the file of the 68-point landmark predictor among them. Where a sha256 is not known
beforehand, the first fetch records it (`PublishedFile.record`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from hyperstyle.io import installed
from hyperstyle.io.files import make_folder, sha256, write_text
from hyperstyle.io.opening import read_json
from hyperstyle.io.typed_config import config_from_dict, read_tables

GITHUB_VARIABLE = "HYPERSTYLE_GITHUB_ENDPOINT"
"""The environment variable that may name a mirror of GitHub's raw files, as HF_ENDPOINT names one of the Hub."""


@dataclass(frozen=True)
class PublishedFile:
    """A published file, and where a copy of it lies on the Hub.

    Attributes:
        name: of the file, without a folder.
        size: in bytes; 0 where it is not known beforehand.
        sha256: 64 hex digits; a copy that differs is not the file. "" where it is not known beforehand.
        licence: what is known about its license, in sentences for the user.
        repo: `owner/name` of the repository with the copy.
        path: in the repository.
        by_author: whether the owner of the repository is an author of the file.
        page: where the author publishes it.
        kind: of the repository: a model or a Space on the Hub, or a repository on GitHub.
        revision: branch or commit that is asked; the sha256 decides.
    """

    name: str
    size: int
    sha256: str
    licence: str
    repo: str
    path: str
    by_author: bool
    page: str
    kind: Literal["model", "space", "github"] = "model"
    revision: str = "main"

    @property
    def host(self) -> str:
        """Who hosts the copy and where, as messages say it."""
        owner = self.repo.partition("/")[0]
        who = "its author" if self.by_author else "not its author"
        place = self.site if self.kind == "github" else f"{self.site} {self.kind}"
        return f"{owner} ({who}), {place} {self.repo}: {self.path}"

    @property
    def site(self) -> str:
        """Where the repository is: "GitHub" or "Hugging Face"."""
        return "GitHub" if self.kind == "github" else "Hugging Face"

    @property
    def url(self) -> str:
        """The address of a file of the kind "github", there or on the mirror that HYPERSTYLE_GITHUB_ENDPOINT names."""
        endpoint = os.environ.get(GITHUB_VARIABLE, "").rstrip("/") or "https://raw.githubusercontent.com"
        return f"{endpoint}/{self.repo}/{self.revision}/{quote(self.path)}"

    @property
    def expected_sha256(self) -> str:
        """`sha256`, else what `record` recorded on this machine; "" where neither is known.

        Raises:
            ConfigError: the file of recorded hashes is damaged.
        """
        return self.sha256 or str(_recorded_hashes().get(self._place, ""))

    def record(self, digest: str) -> Path:
        """Records the sha256 of a file that was fetched for the first time; returns where: later ones must have it.

        Raises:
            ConfigError: the file of recorded hashes is damaged. HyperStyleError: it cannot be written.
        """
        make_folder(installed.home())
        write_text(_hashes_file(), json.dumps({**_recorded_hashes(), self._place: digest}, indent=1) + "\n")
        return _hashes_file()

    @property
    def _place(self) -> str:
        return f"{self.kind}:{self.repo}@{self.revision}:{self.path}"

    def is_at(self, path: Path) -> bool:
        """Whether the file at this path is this one, by size and sha256; not where no sha256 is known yet.

        Raises OSError if it cannot be read.
        """
        if not path.is_file() or (self.size and path.stat().st_size != self.size):
            return False
        expected = self.expected_sha256
        return bool(expected) and sha256(path) == expected


def _hashes_file() -> Path:
    return installed.home() / "hashes.json"


def _recorded_hashes() -> dict[str, object]:
    """What `PublishedFile.record` recorded: place of a file -> sha256."""
    return read_json(_hashes_file()) if _hashes_file().is_file() else {}


@dataclass(frozen=True)
class Collection:
    """Files that are used together: a model, edits for one, or files for other purposes.

    Attributes:
        about: one sentence.
        files: the main ones; of a model, the first is the checkpoint that `convert` reads. Empty for a model whose
            checkpoint is hosted nowhere that `fetch` can reach.
        encoder: name of the one that `convert` takes as the encoder, or "".
        domain: of the model that they become, or "" where they become none.
        edits: name of an edit -> name of the file in `edit_files` that it is read from.
        edit_files: small files of published edits for this model.
        aligner: name of the collection with the weights of the model's aligner ("mtcnn"), or "".
        page: where the authors publish files that cannot be fetched, or "".
        generator: name of the one that `convert` takes as the generator, or "".
    """

    about: str
    files: tuple[PublishedFile, ...] = ()
    encoder: str = ""
    domain: str = ""
    edits: Mapping[str, str] = field(default_factory=dict)
    edit_files: tuple[PublishedFile, ...] = ()
    aligner: str = ""
    page: str = ""
    generator: str = ""

    @property
    def all_files(self) -> tuple[PublishedFile, ...]:
        """`files`, `edit_files`, and those of the aligner."""
        return (*self.files, *self.small_files)

    @property
    def small_files(self) -> tuple[PublishedFile, ...]:
        """`edit_files` and those of the aligner: what can be added to a model that was converted before."""
        return (*self.edit_files, *(COLLECTIONS[self.aligner].files if self.aligner else ()))

    @property
    def licence(self) -> str:
        """What is known about the licenses of all files, each text once."""
        return " ".join(dict.fromkeys(file.licence for file in self.all_files))

    @property
    def needs_acceptance(self) -> bool:
        """Whether a file is hosted by somebody who is not its author."""
        return not all(file.by_author for file in self.all_files)

    @property
    def size(self) -> int:
        """Of `all_files`, in bytes, those whose size is known."""
        return sum(file.size for file in self.all_files)

    @property
    def size_in_words(self) -> str:
        """`1.7 GB` or `133 MB`; `more than 1.7 GB` where the size of a file is not known."""
        more = "" if all(file.size for file in self.all_files) else "more than "
        return more + (f"{self.size / 1e9:.1f} GB" if self.size >= 1e9 else f"{self.size / 1e6:.0f} MB")


_TABLES = read_tables(Path(__file__).with_name("published.toml"))

COLLECTIONS: Mapping[str, Collection] = {
    name: config_from_dict(Collection, table, f"published.toml: {name}")
    for name, table in _TABLES["collections"].items()
}

PREDICTOR = config_from_dict(PublishedFile, _TABLES["predictor"], "published.toml: predictor")
"""The landmark predictor, which is never bundled."""
