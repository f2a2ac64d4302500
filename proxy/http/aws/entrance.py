"""The way to the AWS APIs, which are loaded when somebody calls one.

Their protocol is botocore's models of the services. Those who only pull and push need neither these nor botocore, and
a start need not wait for them.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from proxy.core.single_flight import SingleFlight
from proxy.core.tasks import Tasks
from proxy.http.aws.claims import is_signed
from proxy.model.errors import ErrorCode, ProxyError


class ApiSurface(Protocol):
    """What answers the requests to the AWS APIs, on the path ``/``."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request by POST."""
        ...

    async def answer_presigned(self, request: web.Request) -> web.StreamResponse:
        """Answer a request by GET; raise `ProxyError` NOT_FOUND for one without a signature."""
        ...


class LateApi:
    """The `ApiSurface` that `load` returns, called beside the loop by the first request that is for it.

    Requests that come meanwhile wait for the same call. One that fails, fails for those; the next makes another.
    """

    def __init__(self, load: Callable[[], ApiSurface], tasks: Tasks) -> None:
        """Load nothing yet."""
        self._load = load
        self._flights = SingleFlight(tasks)
        self._loaded: ApiSurface | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request by POST."""
        return await (await self._api()).answer(request)

    async def answer_presigned(self, request: web.Request) -> web.StreamResponse:
        """Answer a request by GET; for one without a signature, as browsers send them, nothing is loaded."""
        if not is_signed(request):
            raise ProxyError(ErrorCode.NOT_FOUND)
        return await (await self._api()).answer_presigned(request)

    async def _api(self) -> ApiSurface:
        if self._loaded is None:
            self._loaded = await self._flights.do("AWS APIs", lambda: asyncio.to_thread(self._load))
        return self._loaded
