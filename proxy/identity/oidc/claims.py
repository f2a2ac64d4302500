"""What the claims of a token must be, and which principal they make (RFC 7519 §4)."""

import re
from collections.abc import Mapping
from typing import Final

from proxy.config.auth import OidcSettings
from proxy.core.access.ports import AssertionRefusedError
from proxy.model.patterns import fits_literals
from proxy.model.principal import Principal, sourced_principal

LEEWAY: Final = 60.0
"""Seconds by which the provider's clock may be ahead of ours."""

PRINCIPAL_LIMIT: Final = 256
"""The longest principal, in characters."""

_CLAIM: Final = re.compile(r"\{([^{}]+)\}")


class Demands:
    """What one provider's settings demand of claims. All methods raise `AssertionRefusedError`."""

    def __init__(self, provider: OidcSettings) -> None:
        self._provider = provider
        # What a claim may not hold, so that where it ends, and the next one begins, is never open.
        self._separators = frozenset(between[0] for between in _CLAIM.split(provider.principal)[2:-1:2])
        self._patterns = {name: tuple(pattern.split("*")) for name, pattern in provider.claims.items()}

    def principal_of(self, claims: Mapping[str, object], now: float) -> Principal:
        """Return whom the claims of a verified token name at `now`, in seconds since the epoch."""
        if claims.get("iss") != self._provider.issuer:
            raise AssertionRefusedError("its issuer (iss) is another one")
        if self._provider.audience not in _listed(claims.get("aud")):
            raise AssertionRefusedError(f"its audience (aud) is not {self._provider.audience!r}")
        _check_time(claims, now)
        for name, pattern in self._patterns.items():
            if not any(fits_literals(pattern, text) for text in map(_text, _listed(claims.get(name))) if text):
                raise AssertionRefusedError(f"its claim {name!r} does not fit {self._provider.claims[name]!r}")
        return self._render(claims)

    def _render(self, claims: Mapping[str, object]) -> Principal:
        def render(found: re.Match[str]) -> str:
            text = _text(claims.get(found[1]))
            # A star would be one in policies: nobody could mean this principal alone.
            if not text or not text.isprintable() or "*" in text or any(map(str.isspace, text)):
                raise AssertionRefusedError(f"its claim {found[1]!r} can be no part of a principal")
            if not self._separators.isdisjoint(text):
                raise AssertionRefusedError(f"its claim {found[1]!r} holds what separates claims in `principal`")
            return text

        principal = sourced_principal(self._provider.name, _CLAIM.sub(render, self._provider.principal))
        if len(principal) > PRINCIPAL_LIMIT:
            raise AssertionRefusedError(f"its principal would be longer than {PRINCIPAL_LIMIT} characters")
        return principal


def _check_time(claims: Mapping[str, object], now: float) -> None:
    expires = _seconds(claims, "exp")
    if expires is None:
        raise AssertionRefusedError("it never expires (exp)")
    if now >= expires:
        raise AssertionRefusedError("it has expired (exp)")
    for name in ("nbf", "iat"):
        begins = _seconds(claims, name)
        if begins is not None and begins > now + LEEWAY:
            raise AssertionRefusedError(f"it is not good yet ({name})")


def _seconds(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AssertionRefusedError(f"its claim {name!r} is no time")
    return value


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _text(value: object) -> str:
    """Return a claim as patterns and templates see it; "" for what has no one spelling."""
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case _:
            return ""
