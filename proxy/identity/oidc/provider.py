"""Ask a provider for its keys: where its discovery document says they are, and the keys themselves."""

import asyncio
import ssl
from enum import StrEnum
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from yarl import URL

import proxy
from proxy.config.auth import OidcSettings
from proxy.identity.oidc.jwks import KeySet, UnusableKeysError

DOCUMENT_LIMIT: Final = 1 << 20
"""The longest document of a provider that is read, in bytes."""

_OK: Final = 200
_HEADERS: Final = {
    "User-Agent": f"pullthrough/{proxy.__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # what is compressed could be any length
}


class Outcome(StrEnum):
    """What became of asking for keys; a label of metrics."""

    FETCHED = "fetched"
    UNREACHABLE = "unreachable"  # no connection, or no TLS that can be trusted
    TIMEOUT = "timeout"
    STATUS = "status"  # an answer other than 200: redirects are not followed
    INVALID = "invalid"  # a document that is not what it must be


class ProviderError(Exception):
    """A provider's keys cannot be had; the message is one sentence for the log."""

    def __init__(self, outcome: Outcome, sentence: str) -> None:
        super().__init__(sentence)
        self.outcome = outcome


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


_discovery = msgspec.json.Decoder(_Discovery)


async def fetch_keys(provider: OidcSettings, seconds: float) -> KeySet:
    """Return the keys that a provider publishes now; raise `ProviderError`, after `seconds` at the latest.

    It is asked so seldom that each time has a connection of its own, with the authorities that `ca_file` has then.
    """
    try:
        context = await asyncio.to_thread(_tls_context, provider.ca_file)
        async with asyncio.timeout(seconds), _session(context, provider.proxy) as session:
            body = await _get(session, await _find_keys(session, provider))
    except TimeoutError:
        raise ProviderError(Outcome.TIMEOUT, f"{provider.issuer} did not answer in {seconds:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise ProviderError(Outcome.UNREACHABLE, f"{provider.issuer} cannot be asked: {_reason(error)}") from None
    try:
        return await asyncio.to_thread(KeySet.parse, body)
    except UnusableKeysError as error:
        raise ProviderError(
            Outcome.INVALID, f"what {provider.issuer} has for its keys cannot be used: {error}"
        ) from None


def _reason(error: Exception) -> str:
    """Say why there is no answer, in words that hold nothing of a proxy's URL: it may have a password."""
    match error:
        case aiohttp.ClientProxyConnectionError():
            return "its forward proxy (`proxy`) cannot be reached"
        case aiohttp.ClientHttpProxyError():
            return f"its forward proxy (`proxy`) answered {error.status}"
        case OSError(strerror=str(why)) if why:
            return why
        case _:
            return type(error).__name__


async def _find_keys(session: aiohttp.ClientSession, provider: OidcSettings) -> URL:
    """Return where the keys are: as the settings say, else as the provider does (OpenID Connect Discovery 1.0 §4)."""
    if provider.jwks_url is not None:
        return URL(provider.jwks_url)
    # §4.1: a slash at the end of the issuer is taken off first.
    place = URL(f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration")
    body = await _get(session, place)
    try:
        document = _discovery.decode(body)
        keys = URL(document.jwks_uri)
        same_origin = keys.user is None and keys.origin() == place.origin()
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise ProviderError(Outcome.INVALID, f"{place} has no discovery document") from None
    if document.issuer != provider.issuer:  # §4.3: it MUST be identical
        raise ProviderError(Outcome.INVALID, f"the discovery document at {place} is that of another issuer")
    if not same_origin:
        raise ProviderError(
            Outcome.INVALID, f"{place} says that its keys are at another origin; if that is right, set `jwks_url`"
        )
    return keys


async def _get(session: aiohttp.ClientSession, url: URL) -> bytes:
    async with session.get(url, allow_redirects=False) as answer:
        if answer.status != _OK:
            raise ProviderError(Outcome.STATUS, f"{url} answered {answer.status}")
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > DOCUMENT_LIMIT:
                raise ProviderError(Outcome.INVALID, f"{url} answered more than {DOCUMENT_LIMIT} bytes")
    return bytes(body)


def _session(context: ssl.SSLContext, forward_proxy: str | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), ssl=context),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        timeout=aiohttp.ClientTimeout(total=None),
        proxy=forward_proxy,
    )


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            why = error.strerror if not isinstance(error, ssl.SSLError) else "it holds no certificates in PEM"
            raise ProviderError(Outcome.UNREACHABLE, f"`ca_file` {ca_file} cannot be used: {why}") from None
    return context
