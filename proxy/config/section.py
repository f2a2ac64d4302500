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
