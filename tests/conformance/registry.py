"""A client of any registry: it follows redirects, and resolves every Location against the URL that answered."""

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Self
from urllib.parse import urlencode, urljoin

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy.model.digest import Digest

OCTETS = {"Content-Type": "application/octet-stream"}

_CODE = re.compile(r"[A-Z_]+")
_PIECE = 1000

Query = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Blob:
    """Bytes and the digest that is claimed for them."""

    content: bytes
    digest: str

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        return cls(content, digest_of(content, algorithm))

    def corrupt(self) -> Self:
        """Return other bytes under the same digest."""
        return type(self)(self.content + b" and more", self.digest)


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return str(Digest.of(content, algorithm))


@dataclass(frozen=True)
class Answer:
    """What came back; `url` is the one that answered in the end, after redirects."""

    asked: str
    url: str
    status: int
    headers: CIMultiDict[str]
    body: bytes

    def expect(self, *statuses: int) -> Self:
        """Return the answer if its status is one of these."""
        assert self.status in statuses, f"{self.asked}: {self.status} {dict(self.headers)} {self.body[:500]!r}"
        return self

    def expect_error(self, status: int, *codes: str) -> Self:
        """Return the answer if it is an error document whose first code is one of these."""
        self.expect(status)
        assert self.headers["Content-Type"].partition(";")[0] == "application/json", self.asked
        assert int(self.headers["Content-Length"]) == len(self.body)
        errors = self.json["errors"]
        assert errors, self.asked
        for error in errors:
            assert _CODE.fullmatch(error["code"]), error
            assert isinstance(error["message"], str), error
        assert errors[0]["code"] in codes, errors
        return self

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """Return the URL that the Location names."""
        assert "Location" in self.headers, f"{self.asked}: {self.status} without Location"
        return urljoin(self.url, self.headers["Location"])

    @property
    def offset(self) -> int:
        """Return the last byte that the Range of an upload names: `0-<last>`, without a unit."""
        found = re.fullmatch(r"0-(\d+)", self.headers["Range"])
        assert found is not None, f"{self.asked}: {self.headers['Range']}"
        return int(found[1])


class Registry:
    """A registry below the URL `base`. A target is a path below it, or a URL that the registry gave."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.base = base
        self._session = session

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        query: Query = (),
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        chunked: bool = False,
    ) -> Answer:
        """Send a request and read its answer; `chunked` sends the body without telling its length."""
        url = f"{self.base}{target}" if target.startswith("/") else target
        pairs = list(query)
        if pairs:
            url += f"{'&' if '?' in url else '?'}{urlencode(pairs)}"
        data = None if body is None else _pieces(body) if chunked else BytesIO(body)
        async with self._session.request(
            method, URL(url, encoded=True), data=data, headers=CIMultiDict(headers), allow_redirects=True
        ) as response:
            received = await response.read()
            return Answer(f"{method} {url}", str(response.url), response.status, response.headers.copy(), received)

    async def get(self, target: str, *, query: Query = (), headers: Iterable[tuple[str, str]] = ()) -> Answer:
        return await self.ask("GET", target, query=query, headers=headers)

    async def head(self, target: str, *, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        """Ask for the headers; there must be no body."""
        answer = await self.ask("HEAD", target, headers=headers)
        assert answer.body == b"", answer.asked
        return answer

    async def delete(self, target: str) -> Answer:
        return await self.ask("DELETE", target)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]
