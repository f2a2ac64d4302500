"""Names of repositories, their prefixes and the patterns of them, as people write them in the configuration."""

from typing import Annotated

from pydantic import AfterValidator

from proxy.model.errors import ProxyError
from proxy.model.patterns import NamePattern
from proxy.model.reference import parse_repository
from proxy.model.rule import ROOT


def check_name(value: str) -> None:
    """Raise ValueError unless `value` is one or more segments of a repository name."""
    try:
        parse_repository(value)
    except ProxyError as error:
        raise ValueError(error.message) from error


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the patterns as they are, or raise ValueError for one that no repository name fits."""
    for pattern in patterns:
        NamePattern(pattern)
    return patterns


def _check_prefix(value: str) -> str:
    prefix = value.removesuffix("/")
    if prefix != ROOT:
        check_name(prefix)
    return prefix


Prefix = Annotated[str, AfterValidator(_check_prefix)]
"""What names of repositories begin with, in whole segments; `ROOT` for any. A slash behind it says nothing more."""
