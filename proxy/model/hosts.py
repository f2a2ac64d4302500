"""Hosts and ports as URLs write them."""

from ipaddress import ip_address


def authority(host: str, port: int) -> str:
    """Return ``host:port``; an IPv6 address stands in brackets (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether a name or an address means this machine, and nothing else can be reached by it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_everywhere(host: str) -> bool:
    """Tell whether who listens on `host` is reached by every address of the machine."""
    return host in {"0.0.0.0", "::", ""}  # noqa: S104 - recognised, not bound
