"""Addresses of hosts as people write them in the configuration."""

import re
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from urllib.parse import urlsplit

from proxy.model.rule import DOCKER_HUB, DOCKER_HUB_ALIASES, UpstreamAddress

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_HOST_LIMIT = 253  # RFC 1035 §2.3.4, without the lengths of first label and root


def parse_upstream(text: str) -> UpstreamAddress:
    """Return the origin that ``[https://|http://]host[:port]`` names, or raise ValueError."""
    if "@" in text:
        message = "an upstream is host[:port], without a user name or password: those are `credentials`"
        raise ValueError(message)
    message = f"{text!r} is not host[:port], https://host[:port] or http://host[:port]"
    # Of these, urlsplit leaves out what stands inside, and what is empty behind them.
    if not text.isprintable() or "?" in text or "#" in text:
        raise ValueError(message)
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(message) from None
    host = (parts.hostname or "").rstrip(".")
    extra = parts.path.strip("/") or parts.username or parts.password or parts.netloc.endswith(":")
    if parts.scheme not in {"http", "https"} or extra or not _is_host(host) or port == 0:
        raise ValueError(message)
    address = UpstreamAddress(parts.scheme, host, port or {"https": 443, "http": 80}[parts.scheme])
    # The other names of Docker Hub lead to web pages, or to nothing.
    return replace(address, host=DOCKER_HUB) if str(address) in DOCKER_HUB_ALIASES else address


def check_allow_private(entries: Iterable[str]) -> tuple[str, ...]:
    """Return host names and networks in lower case, or raise ValueError for one that is neither."""
    checked = []
    for entry in entries:
        text = entry.lower().rstrip(".")
        if not _is_host(text.removeprefix("*.")):
            try:
                ip_network(text)
            except ValueError:
                message = f"{entry!r} is neither a host name nor a network such as 10.0.0.0/8"
                raise ValueError(message) from None
        checked.append(text)
    return tuple(checked)


def _is_host(text: str) -> bool:
    return len(text) <= _HOST_LIMIT and _HOST.fullmatch(text) is not None
