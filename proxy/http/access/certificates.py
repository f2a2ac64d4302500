"""Who makes a request, as the client certificate of its connection says."""

import asyncio
import ssl
import time
from typing import Any, Final

from aiohttp import web

from proxy.model.principal import CERTIFICATE, Principal, sourced_principal

_NAME_LIMIT: Final = 64  # X.520, ub-common-name


def principal_of(request: web.BaseRequest, now: float | None = None) -> Principal | None:
    """Return ``cert:<common name>`` of the certificate that the client showed, None where that names nobody.

    The handshake has proved that the certificate leads to an authority of the settings, and that it is for clients.
    Connections last: at `now`, in seconds since the epoch, it may have expired, or its authority been replaced.
    """
    connection = _tls(request.transport)
    if connection is None or getattr(connection.context, "retired", False):
        return None
    # Empty unless the certificate was verified; other than the bytes of the certificate, which are there in any case.
    shown = connection.getpeercert()
    if not shown or ssl.cert_time_to_seconds(str(shown["notAfter"])) <= (time.time() if now is None else now):
        return None
    name = _name(shown)
    return None if name is None else sourced_principal(CERTIFICATE, name)


def shows_certificate(transport: asyncio.BaseTransport | None) -> bool:
    """Tell whether the client of a connection showed a certificate."""
    connection = _tls(transport)
    return connection is not None and bool(connection.getpeercert())


def _tls(transport: asyncio.BaseTransport | None) -> ssl.SSLObject | None:
    return transport.get_extra_info("ssl_object") if transport is not None else None


def _name(shown: dict[str, Any]) -> str | None:
    """Return the common name of a certificate, None unless there is one, and only one, that can be told from others."""
    names = [value for parts in shown.get("subject", ()) for kind, value in parts if kind == "commonName"]
    if len(names) != 1:
        return None
    [name] = names
    # Of white space, only a blank is printable. A star would be one in policies: nobody could mean this name alone.
    fit = 0 < len(name) <= _NAME_LIMIT and name.isprintable() and name == name.strip() and "  " not in name
    return name if fit and "*" not in name else None
