"""An upstream's answer to one HTTP request, and how its body is read within bounds."""

import re
from collections.abc import Mapping

import aiohttp
import msgspec
from multidict import CIMultiDictProxy
from yarl import URL

from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.upstream.deadline import Deadline
from proxy.upstream.kinds import kind_of
from proxy.upstream.origins import host_of, origin_of, origin_of_rule
from proxy.upstream.query import Query

_LENGTH = re.compile(r"[0-9]{1,19}")
ERROR_BODY_LIMIT = 64 << 10
_OK = 200
_PARTIAL = 206


class _ErrorEntry(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ErrorEnvelope(msgspec.Struct):
    errors: list[_ErrorEntry] = []


class Answer:
    """The status and headers of an answer, with its body still on the wire.

    `own`: it comes from the origin that the operator named, not from one that a redirect led to.
    """

    def __init__(self, query: Query, url: URL, response: aiohttp.ClientResponse, deadline: Deadline) -> None:
        self.query = query
        self.url = url
        self.host = host_of(url)
        self.own = origin_of(url) == origin_of_rule(query.rule)
        self.status = response.status
        self.headers: CIMultiDictProxy[str] = response.headers
        self.content = response.content
        self._deadline = deadline
        self._errors: Mapping[str, str] | None = None

    @property
    def site(self) -> bool:
        """Tell whether it comes from the registry, or from a token server of its kind."""
        return self.own or self.host in kind_of(self.query.rule.upstream).token_realms

    @property
    def media_type(self) -> str:
        """Return the Content-Type without parameters, in lower case ("" if missing)."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def length(self) -> int | None:
        """Return the Content-Length, or None if there is none."""
        text = self.headers.get("Content-Length", "")
        return int(text) if _LENGTH.fullmatch(text) else None

    def check_encoding(self) -> None:
        """Raise `UpstreamError` GARBAGE if the content is compressed although identity was asked for."""
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if self.status in {_OK, _PARTIAL} and encoding not in {"", "identity"}:
            raise self.garbage("content with a Content-Encoding although identity was asked for")

    def garbage(self, what: str) -> UpstreamError:
        """Return the error that says the host answered `what` instead of what was asked for."""
        return UpstreamError(UpstreamFailure.GARBAGE, f"{self.host} answered {what} to a request for {self.query.what}")

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raise `UpstreamError` if it is longer than `limit` bytes, breaks off or stalls."""
        if (self.length or 0) > limit:
            raise self.garbage(f"more than {limit} bytes")
        body = bytearray()
        try:
            async with self._deadline.within():
                async for chunk in self.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise self.garbage(f"more than {limit} bytes")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise transfer_failure(error, self.host, self.query.what) from None
        return bytes(body)

    async def drain(self) -> None:
        """Read a short body that nobody needs, so that the connection can be used again."""
        if self.length is not None and self.length <= ERROR_BODY_LIMIT:
            await self.read(ERROR_BODY_LIMIT)

    async def errors(self) -> Mapping[str, str]:
        """Return the codes and messages of an OCI error document; empty if the body is anything else.

        The body is read once: what it said is told again.
        """
        if self._errors is None:
            try:
                body = await self.read(ERROR_BODY_LIMIT)
                envelope = msgspec.json.decode(body, type=_ErrorEnvelope)
            except (UpstreamError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                envelope = _ErrorEnvelope()  # the status alone must do
            self._errors = {entry.code: entry.message for entry in envelope.errors}
        return self._errors


def transfer_failure(error: Exception, host: str, what: str) -> UpstreamError:
    """Return what a failure in the middle of a body means."""
    if isinstance(error, TimeoutError):
        return UpstreamError(UpstreamFailure.TIMEOUT, f"{host} stopped sending {what}")
    return UpstreamError(
        UpstreamFailure.UNREACHABLE, f"{host} broke off while sending {what}", debug=type(error).__name__
    )
