"""The JSON file next to a shard, which is written last: a shard that has it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hyperstyle.errors import ConfigError, HyperStyleError
from hyperstyle.io.files import sha256
from hyperstyle.io.opening import parse_json, read_text
from hyperstyle.io.typed_config import config_from_dict

FORMAT = "hyperstyle-shard-figures/1"


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Counts and figures of a shard.

    Attributes:
        format: `FORMAT`.
        rows: number of images.
        failed: how many of them have an error.
        failures: name of the error's class -> how many.
        seconds: from its first image to its last byte.
        model: the fingerprint of the model.
        bytes, sha256: of the Parquet file.
        memory: peak of the process so far, in bytes; None where it is not known.
        versions: package -> version.
    """

    format: str
    rows: int
    failed: int
    failures: dict[str, int] = field(default_factory=dict)
    seconds: float
    model: str
    bytes: int
    sha256: str
    memory: int | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Marker:
        """From a file. Raises MissingFileError, or ConfigError for any other file."""
        text = read_text(path, "JSON file of a shard")
        try:
            values = parse_json(text)
        except ValueError as error:
            raise ConfigError(f"{path} is not valid JSON: {error}.") from error
        marker = config_from_dict(cls, values, str(path))
        if marker.format != FORMAT:
            raise ConfigError(f"{path} has the format {marker.format!r}: this version reads {FORMAT!r}.")
        return marker


def find_damage(parquet: Path, *, deep: bool = False) -> str | None:
    """What is wrong with a shard whose JSON file is there; None if nothing is.

    Args:
        parquet: its Parquet file, which may be missing.
        deep: compare the SHA-256 as well, which reads the whole file.
    """
    try:
        marker = Marker.read(parquet.with_suffix(".json"))
    except HyperStyleError as error:
        return str(error)
    try:
        size = parquet.stat().st_size
    except OSError as error:
        return f"{parquet} cannot be read: {error.strerror}."
    if size != marker.bytes:
        return f"{parquet} has {size:,} bytes: its JSON file says {marker.bytes:,}."
    if deep and sha256(parquet) != marker.sha256:
        return f"{parquet} is not what was written: its SHA-256 differs from that in its JSON file."
    return None
