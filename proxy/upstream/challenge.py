"""Challenges of a registry (RFC 9110 §11.6.1; Bearer as in distribution's token authentication)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.request import parse_http_list

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 §5.6.2 calls it token
_PARAMETER = re.compile(rf"({_TOKEN})\s*=\s*(.*)", re.DOTALL)
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: its scheme and the names of its parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def realm(self) -> str:
        """Return the realm: for Bearer the URL of the token server ("" if missing)."""
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str:
        """Return the service to name to the token server ("" if missing)."""
        return self.parameters.get("service", "")

    @property
    def scope(self) -> str:
        """Return the space-separated scopes that the request needs ("" if missing)."""
        return self.parameters.get("scope", "")

    @property
    def error(self) -> str:
        """Return why the token that was sent was refused (RFC 6750 §3.1), or ""."""
        return self.parameters.get("error", "")


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges of all ``WWW-Authenticate`` headers of an answer, in order.

    A header may hold several challenges, and a challenge several parameters, all separated by commas
    (RFC 9110 §11.6.1); values are quoted or not. What makes no sense is skipped.
    """
    challenges: list[Challenge] = []
    for header in headers:
        parameters: dict[str, str] | None = None
        for item in parse_http_list(header):
            text = item
            if _PARAMETER.fullmatch(text) is None:
                found = _SCHEME.fullmatch(text)
                if found is None:
                    continue
                parameters = {}
                challenges.append(Challenge(found[1].lower(), parameters))
                text = found[2] or ""
            parameter = _PARAMETER.fullmatch(text)
            if parameter is not None and parameters is not None:
                parameters.setdefault(parameter[1].lower(), _unquoted(parameter[2].strip()))
    return challenges


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
