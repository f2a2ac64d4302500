"""What is wrong with a configuration, told in one line per fault."""

from collections.abc import Iterable
from dataclasses import dataclass

Key = tuple[str | int, ...]
"""The way to a value in the configuration: names of sections and keys, and places in lists."""


def spell(key: Key) -> str:
    """Return a key as people write it: ``rules[2].upstream``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake: `where` it is (``FILE[:LINE]`` or an environment variable), the `key`, and the `problem`.

    The problem says what is wrong and how to mend it. It never holds a secret.
    """

    where: str
    key: Key
    problem: str

    def __str__(self) -> str:
        """Return the fault as one line."""
        return ": ".join(part for part in (self.where, spell(self.key), self.problem) if part)


class ConfigurationError(Exception):
    """The configuration cannot be used; `faults` holds at least one fault, in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        """Keep the faults, each of them once."""
        self.faults = tuple(dict.fromkeys(faults))
        super().__init__("\n".join(map(str, self.faults)))
