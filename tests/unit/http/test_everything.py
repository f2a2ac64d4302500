"""The resource that takes every path below its own."""

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from proxy.http.everything import Everything


async def _expect(_: web.Request) -> None:
    """Leave it to the handler."""


def _taking(name: str) -> web.AbstractResource:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{name} {request.method}")

    return Everything("/" if name == "root" else f"/{name}", answer, _expect)


@pytest.mark.parametrize(
    ("path", "taker"),
    [
        ("/v2", "v2"),
        ("/v2/", "v2"),
        ("/v2/a/b/manifests/x", "v2"),
        ("/v2/a%2Fb//c", "v2"),
        ("/v2x", "root"),
        ("/other/v2/", "root"),
        ("/", "root"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "PROPFIND"])
async def test_the_longest_path_takes_everything_below_it(
    aiohttp_client: AiohttpClient, method: str, path: str, taker: str
) -> None:
    application = web.Application()
    for name in ("v2", "root"):
        application.router.register_resource(_taking(name))
    client = await aiohttp_client(application)
    answer = await client.request(method, path)
    assert await answer.text() == f"{taker} {method}"


def test_it_can_be_listed_and_not_be_moved() -> None:
    resource = _taking("v2")
    assert [route.method for route in resource] == ["*"]
    assert (len(resource), resource.canonical, str(resource.url_for()), resource.raw_match("/v2")) == (
        1,
        "/v2",
        "/v2",
        True,
    )
    assert resource.get_info() == {"path": "/v2"}
    with pytest.raises(TypeError):
        resource.add_prefix("/elsewhere")
