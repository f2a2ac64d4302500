"""Sessions to upstreams: one for each way of connecting, opened when first needed, closed together."""

import asyncio
import ssl
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver

import proxy
from proxy.config.settings import UpstreamSettings
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import CacheRule
from proxy.upstream.addresses import AddressPolicy
from proxy.upstream.resolver import Resolver, parse_connect_to

# aiohttp pauses a connection that is twice this far ahead of its reader, and drops what it holds when the connection
# breaks: that much is asked for again. Larger buffers brought no throughput.
_READ_BUFFER = 1 << 17
_HEADERS = {
    "User-Agent": f"pullthrough/{proxy.__version__}",
    # The bytes must be those that the digest names: nobody may compress them on the way.
    "Accept-Encoding": "identity",
}


class Transport(NamedTuple):
    """What makes connections distinct: authorities, client certificate, forward proxy and address policy."""

    ca_file: Path | None
    client_cert: Path | None
    proxy: str | None
    policy: AddressPolicy | None


class Transports:
    """The open sessions. A connection made under one policy is never used under another."""

    def __init__(self, settings: UpstreamSettings, lookup: AbstractResolver | None) -> None:
        self._settings = settings
        self._connect_to = parse_connect_to(settings.connect_to)
        self._lookup = lookup
        self._sessions: dict[Transport, aiohttp.ClientSession] = {}
        self._contexts: dict[tuple[Path | None, ...], ssl.SSLContext] = {}
        self._opening = asyncio.Lock()

    async def session(self, rule: CacheRule, policy: AddressPolicy | None, *, certified: bool) -> aiohttp.ClientSession:
        """Return the session for `rule`; with `policy` for a host that the upstream named, None for its own.

        `certified`: the rule's client certificate is shown. Raises `UpstreamError` UNREACHABLE if a file of
        certificates cannot be used.
        """
        # A forward proxy resolves the names; the only address we connect to is its own, which the operator named.
        certificate = rule.client_cert if certified else None
        transport = Transport(rule.ca_file, certificate, rule.proxy, policy if rule.proxy is None else None)
        session = self._sessions.get(transport)
        if session is None:
            async with self._opening:
                session = self._sessions.get(transport)
                if session is None:
                    session = self._sessions[transport] = await self._open(transport)
        return session

    async def close(self) -> None:
        """Close all sessions."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def _open(self, transport: Transport) -> aiohttp.ClientSession:
        files = (transport.client_cert, self._settings.ca_file, transport.ca_file)
        context = self._contexts.get(files)
        if context is None:
            context = self._contexts[files] = await asyncio.to_thread(_tls_context, *files)
        self._lookup = self._lookup or aiohttp.ThreadedResolver()
        connector = aiohttp.TCPConnector(
            limit=0,  # `ConnectionLimits` counts, for each rule and host
            resolver=Resolver(self._connect_to, transport.policy, self._lookup),
            ssl=context,
        )
        return aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            read_bufsize=_READ_BUFFER,
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self._settings.connect_timeout.total_seconds(),
                sock_read=self._settings.stall_timeout.total_seconds(),
            ),
        )


def _tls_context(client_cert: Path | None, *authorities: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if client_cert is not None:
        _show(context, client_cert)
    for path in authorities:
        if path is None:
            continue
        try:
            context.load_verify_locations(cafile=path)
        except OSError as error:
            reason = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no PEM certificates"
            raise UpstreamError(
                UpstreamFailure.UNREACHABLE, f"the certificate authorities in `ca_file` {path} cannot be used: {reason}"
            ) from error
    return context


def _show(context: ssl.SSLContext, path: Path) -> None:
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(path, password="")
    except OSError as error:
        what = "it holds no PEM certificate with its key, without a password"
        reason = error.strerror if not isinstance(error, ssl.SSLError) else what
        raise UpstreamError(
            UpstreamFailure.UNREACHABLE, f"the client certificate in `client_cert` {path} cannot be used: {reason}"
        ) from error
