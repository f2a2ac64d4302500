"""The AWS APIs are loaded by the first who calls one, beside the loop, and by nobody else."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.core.tasks import Tasks
from proxy.http.aws.entrance import ApiSurface, LateApi
from proxy.model.errors import ErrorCode, ProxyError

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=…"}


class Surface:
    """Says which of its methods was asked."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"answer {request.method}")

    async def answer_presigned(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"answer_presigned {request.method}")


@dataclass
class Loading:
    """Loads when it is told to, and counts; `faults` are raised first."""

    faults: list[Exception] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> ApiSurface:
        self.threads.append(threading.get_ident())
        self.begun.set()
        assert self.go.wait(30)
        if self.faults:
            raise self.faults.pop()
        return Surface()


@pytest.fixture
def loading() -> Loading:
    return Loading()


@pytest.fixture
async def api(loading: Loading) -> AsyncIterator[LateApi]:
    async with Tasks() as tasks:
        yield LateApi(loading, tasks)


def post() -> web.Request:
    return make_mocked_request("POST", "/")


def get(headers: dict[str, str]) -> web.Request:
    return make_mocked_request("GET", "/", headers=headers)


async def text(answer: web.StreamResponse) -> str:
    assert isinstance(answer, web.Response)
    return answer.text or ""


async def test_all_who_come_meanwhile_wait_for_one_loading_beside_the_loop(api: LateApi, loading: Loading) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(api.answer(post())) for _ in range(3)]
        await asyncio.to_thread(loading.begun.wait, 30)
        assert not any(each.done() for each in waiting)
        loading.go.set()
    assert [await text(each.result()) for each in waiting] == ["answer POST"] * 3
    assert await text(await api.answer_presigned(get(SIGNED))) == "answer_presigned GET"
    assert len(loading.threads) == 1
    assert threading.get_ident() not in loading.threads


async def test_a_browser_that_looks_at_the_address_loads_nothing(api: LateApi, loading: Loading) -> None:
    with pytest.raises(ProxyError) as refused:
        await api.answer_presigned(get({}))
    assert refused.value.code is ErrorCode.NOT_FOUND
    assert loading.threads == []


async def test_a_client_that_leaves_meanwhile_takes_nothing_from_the_others(api: LateApi, loading: Loading) -> None:
    async with asyncio.TaskGroup() as group:
        leaving, staying = (group.create_task(api.answer(post())) for _ in range(2))
        await asyncio.to_thread(loading.begun.wait, 30)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        loading.go.set()
    assert await text(staying.result()) == "answer POST"
    assert len(loading.threads) == 1


async def test_a_loading_that_fails_is_tried_again_by_the_next(api: LateApi, loading: Loading) -> None:
    loading.faults.append(OSError("no such file"))
    loading.go.set()
    with pytest.raises(OSError, match="no such file"):
        await api.answer(post())
    assert await text(await api.answer(post())) == "answer POST"
