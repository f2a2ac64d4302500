"""A resource of aiohttp's router that takes every path below one, by any method, without looking at it."""

from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL


class Everything(web.AbstractResource):
    """Answer everything below `path` by `handler`; `expect` is asked where a request waits for leave to go on.

    The router asks the resources of longer paths first, so a path of its own keeps requests from all questions that the
    resources above it ask. A pattern would be matched with each request, and its parts be decoded.
    """

    def __init__(
        self, path: str, handler: Handler, expect: Callable[[web.Request], Awaitable[web.StreamResponse | None]]
    ) -> None:
        super().__init__()
        self._path = path
        self._route = web.ResourceRoute("*", handler, self, expect_handler=expect)

    @property
    def canonical(self) -> str:
        """Return the path, by which the router finds the resource."""
        return self._path

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo, set[str]]:  # noqa: ARG002 - the base's
        """Return the one route, for the router asks only about paths below."""
        return web.UrlMappingMatchInfo({}, self._route), set()

    def raw_match(self, path: str) -> bool:
        """Tell whether `path` is the resource's own."""
        return path == self._path

    def get_info(self) -> dict[str, str]:  # type: ignore[override] # aiohttp's type for it is private
        """Return the path."""
        return {"path": self._path}

    def url_for(self, **kwargs: str) -> URL:  # noqa: ARG002 - the base's
        """Return the path."""
        return URL(self._path)

    def add_prefix(self, prefix: str) -> NoReturn:
        """Refuse: this is no part of another application."""
        raise TypeError(f"what takes every path is not put below {prefix}")

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        yield self._route

    def __len__(self) -> int:
        return 1
