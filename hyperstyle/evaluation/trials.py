"""What is typed to say what an evaluation compares: methods with steps, and names of ablations. It imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hyperstyle.errors import ConfigError


@dataclass(frozen=True)
class Trial:
    """A method to be evaluated.

    Attributes:
        method: a name for `invert`, which may be several methods joined by "+".
        steps: number of steps of the last of them; None takes its default.
    """

    method: str
    steps: int | None = None

    def __str__(self) -> str:
        return self.method if self.steps is None else f"{self.method}:{self.steps}"

    @classmethod
    def of(cls, text: str) -> Trial:
        """Parses "METHOD" or "METHOD:STEPS".

        Raises:
            ConfigError: the steps are not a number.
        """
        method, colon, steps = text.partition(":")
        if colon and not steps.isdecimal():
            raise ConfigError(f"method {text!r}: expected METHOD or METHOD:STEPS, as in hyperstyle+offsets:50.")
        return cls(method, int(steps) if colon else None)


def check_ablations(names: Sequence[str]) -> None:
    """Names of ablations become names of folders.

    Raises:
        ConfigError: one that cannot be such a name, or one twice.
    """
    for name in names:
        if not re.fullmatch(r"[\w-][\w.-]*", name, re.ASCII):
            raise ConfigError(
                f"ablation {name!r}: expected a name of letters, digits, '.', '_' and '-' that begins with no '.', as "
                "in separable=runs/separable/model."
            )
    if len(set(names)) < len(names):
        raise ConfigError(f"ablations {', '.join(names)}: expected each once.")
