"""What every part of the configuration is made of."""

from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration: unknown keys are faults, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_origin(text: str, schemes: set[str], *, userinfo: bool = False) -> bool:
    """Tell whether `text` is a URL of nothing but scheme, host and port, and user and password where allowed."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    extra = parts.path.strip("/") or parts.query or parts.fragment or (parts.username and not userinfo)
    return parts.scheme in schemes and bool(parts.hostname) and not extra and port != 0


def check_forward_proxy(value: str | None) -> str | None:
    """Return the URL of a forward proxy as it is written; raise ValueError, which never repeats it, for any other."""
    if value is not None and not is_origin(value, {"http", "https"}, userinfo=True):
        # The value may hold a password.
        message = "a forward proxy is http://[user:password@]host:port"
        raise ValueError(message)
    return value
