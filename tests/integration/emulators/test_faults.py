"""Each fault is seen on the wire, by a client that does nothing by itself; one kind stands for all."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.emulators import ATTACKER, Content, DockerHub, Gate, Repository, Route, Samples, run
from tests.emulators import faults as fault
from tests.emulators.faults import Fault
from tests.integration.emulators.plain_client import PlainClient
from tests.support.clock import FakeClock


@pytest.fixture
async def hub(clock: FakeClock) -> AsyncIterator[DockerHub]:
    async with run(DockerHub(Content(), clock)) as running:
        yield running


@pytest.fixture
def public(hub: DockerHub) -> Samples:
    return hub.content.public


@pytest.fixture
async def plain(hub: DockerHub) -> AsyncIterator[PlainClient]:
    async with PlainClient(hub) as client:
        yield client


@pytest.fixture
async def link(plain: PlainClient, public: Samples) -> str:
    return (await plain.pull(f"blobs/{public.layer.digest}")).location


def layer_of(public: Samples) -> bytes:
    return public.layer.read(0, public.layer.size)


async def test_a_fault_befalls_the_requests_it_is_for(hub: DockerHub, plain: PlainClient) -> None:
    hub.faults.add(fault.status(503), route=Route.MANIFEST, method="GET", nth=2, times=2)
    seen = [(await plain.pull("manifests/latest")).status for _ in range(4)]
    assert seen == [200, 503, 503, 200]
    always = hub.faults.add(fault.html(), route=Route.TAGS, times=None)
    assert [(await plain.pull("tags/list")).headers["Content-Type"] for _ in range(2)] == ["text/html"] * 2
    always.disarm()
    assert (await plain.pull("tags/list")).headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("reset", [False, True])
async def test_a_body_is_truncated(hub: DockerHub, plain: PlainClient, link: str, *, reset: bool) -> None:
    hub.faults.add(fault.truncated(1000, reset=reset), route=Route.STORAGE)
    with pytest.raises(aiohttp.ClientError):
        await plain.ask(link)
    assert hub.journal.of(Route.STORAGE)[-1].sent == 1000
    assert hub.journal.of(Route.STORAGE)[-1].ending == "cut"


async def test_a_connection_is_dropped_before_the_status(hub: DockerHub, plain: PlainClient, link: str) -> None:
    hub.faults.add(fault.dropped(), route=Route.STORAGE, times=2)
    with pytest.raises(aiohttp.ClientConnectionError):
        await plain.ask(link)
    assert [(each.ending, each.sent) for each in hub.journal.of(Route.STORAGE)] == [("cut", 0)] * 2


@pytest.mark.parametrize("held", ["head", "body"])
async def test_a_reply_waits_at_its_gate(
    hub: DockerHub, plain: PlainClient, link: str, public: Samples, held: str
) -> None:
    gate = Gate()
    hub.faults.add(fault.delayed(gate) if held == "head" else fault.stall(1000, gate), route=Route.STORAGE)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(plain.ask(link))
        await gate.reached.wait()
        assert hub.journal.of(Route.STORAGE)[-1].sent == (0 if held == "head" else 1000)
        gate.open()
    assert asking.result().body == layer_of(public)


async def test_a_drip_moves_the_clock(
    hub: DockerHub, plain: PlainClient, link: str, clock: FakeClock, public: Samples
) -> None:
    hub.faults.add(fault.drip(4096, 2.0), route=Route.STORAGE)
    began = clock.now()
    assert (await plain.ask(link)).body == layer_of(public)
    assert clock.now() - began == 2.0 * (-(-public.layer.size // 4096) - 1)


@pytest.mark.parametrize("spelling", sorted(fault.RETRY_AFTER))
async def test_too_many_is_said_in_many_ways(
    hub: DockerHub, plain: PlainClient, clock: FakeClock, spelling: str
) -> None:
    hub.faults.add(fault.limited(429, spelling, now=clock.now()), route=Route.MANIFEST)
    answered = await plain.pull("manifests/latest")
    expected, message = fault.RETRY_AFTER[spelling]
    header = answered.headers.get("Retry-After")
    assert answered.status == 429
    assert answered.json["errors"][0]["message"] == message
    assert header == ("Tue, 14 Nov 2023 22:13:50 GMT" if spelling == "date" else expected)


async def test_bytes_are_wrong_from_a_place_on(hub: DockerHub, plain: PlainClient, link: str, public: Samples) -> None:
    hub.faults.add(fault.wrong_bytes(1000), route=Route.STORAGE)
    body, right = (await plain.ask(link)).body, layer_of(public)
    assert body[:1000] == right[:1000]
    assert len(body) == len(right)
    assert all(wrong != good for wrong, good in zip(body[1000:], right[1000:], strict=True))


async def test_more_bytes_are_announced_than_come(hub: DockerHub, plain: PlainClient, link: str) -> None:
    hub.faults.add(fault.wrong_length(+5), route=Route.STORAGE)
    with pytest.raises(aiohttp.ClientPayloadError):
        await plain.ask(link)


async def test_fewer_bytes_are_announced_than_come(hub: DockerHub, plain: PlainClient, public: Samples) -> None:
    hub.faults.add(fault.wrong_length(-5), route=Route.MANIFEST)
    answered = await plain.pull("manifests/latest", method="HEAD")
    assert int(answered.headers["Content-Length"]) == public.index.size - 5


@pytest.mark.parametrize("unsaid", [fault.chunked(), fault.unmeasured()])
async def test_no_length_is_announced(
    hub: DockerHub, plain: PlainClient, link: str, public: Samples, unsaid: Fault
) -> None:
    hub.faults.add(unsaid, route=Route.STORAGE)
    answered = await plain.ask(link)
    assert "Content-Length" not in answered.headers
    assert answered.body == layer_of(public)


async def test_an_old_protocol_is_spoken(hub: DockerHub, plain: PlainClient) -> None:
    hub.faults.add(fault.old_protocol(), route=Route.MANIFEST)
    answered = await plain.pull("manifests/latest")
    assert (answered.version, answered.status) == ("1.0", 200)


async def test_headers_are_wrong_or_missing(hub: DockerHub, plain: PlainClient, public: Samples) -> None:
    async def seen(armed: Fault, name: str) -> str | None:
        hub.faults.add(armed, route=Route.MANIFEST)
        return (await plain.pull("manifests/latest")).headers.get(name)

    raw = public.index.raw
    assert await seen(fault.no_digest(), "Docker-Content-Digest") is None
    other = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    assert await seen(fault.other_algorithm(), "Docker-Content-Digest") == other
    assert await seen(fault.other_digest(), "Docker-Content-Digest") == f"sha256:{'0' * 64}"
    assert await seen(fault.type_parameters(), "Content-Type") == f"{public.index.media_type}; charset=utf-8"
    assert await seen(fault.no_type(), "Content-Type") is None
    assert await seen(fault.having(X_Cache="HIT"), "X-Cache") == "HIT"


async def test_content_is_compressed(hub: DockerHub, plain: PlainClient, public: Samples) -> None:
    hub.faults.add(fault.compressed(), route=Route.MANIFEST)
    answered = await plain.pull("manifests/latest")
    assert answered.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answered.body) == public.index.raw


async def test_ranges_are_not_understood(hub: DockerHub, plain: PlainClient, link: str, public: Samples) -> None:
    whole = layer_of(public)

    async def ranged(armed: Fault, **headers: str) -> tuple[int, bytes, str | None]:
        hub.faults.add(armed, route=Route.STORAGE)
        answered = await plain.ask(link, Range="bytes=1000-", If_Range=headers.get("If_Range", ""))
        return answered.status, answered.body, answered.headers.get("Content-Range")

    tag = (await plain.ask(link)).headers["ETag"]
    size = len(whole)
    assert await ranged(fault.range_ignored(), If_Range=tag) == (200, whole, None)
    honest = await ranged(fault.offset_ignored(), If_Range=tag)
    assert honest == (206, whole, f"bytes 0-{size - 1}/{size}")
    lying = await ranged(fault.offset_ignored(honest=False), If_Range=tag)
    assert lying == (206, whole[: size - 1000], f"bytes 1000-{size - 1}/{size}")
    assert await ranged(fault.range_refused(), If_Range=tag) == (416, b"", f"bytes */{size}")
    assert await ranged(fault.entity_changed(), If_Range=tag) == (200, whole, None)


async def test_redirects_go_wrong(hub: DockerHub, plain: PlainClient, public: Samples) -> None:
    path = f"blobs/{public.layer.digest}"

    async def moved(armed: Fault) -> str:
        hub.faults.add(armed, route=Route.BLOB)
        return (await plain.pull(path)).location

    assert await moved(fault.redirect_loop()) == f"https://{hub.host}/v2/library/alpine/{path}"
    assert (await moved(fault.downgraded())).startswith("http://")
    private = "https://169.254.169.254/latest/meta-data/"
    assert await moved(fault.redirected(private)) == private


@pytest.mark.parametrize(("relative", "query"), [(False, ""), (True, ""), (False, "?name=a b")])
async def test_hops_lead_to_the_storage_at_last(
    hub: DockerHub, plain: PlainClient, public: Samples, *, relative: bool, query: str
) -> None:
    hub.faults.add(hub.faults.hops(6, relative=relative, query=query), route=Route.BLOB)
    answered = await plain.pull(f"blobs/{public.layer.digest}")
    hops = 0
    while "Location" in answered.headers:
        assert answered.location.startswith("/" if relative else "https:") or hops == 6
        answered = await plain.ask(answered.location.replace(" ", "%20"))
        hops += 1
    assert (hops, answered.body) == (7, layer_of(public))


async def test_challenges_are_spelled_in_many_ways(hub: DockerHub, plain: PlainClient) -> None:
    async def spelled(armed: Fault) -> list[str]:
        hub.faults.add(armed, route=Route.TAGS)
        answered = await plain.ask("/v2/library/alpine/tags/list")
        assert answered.status == 401
        return answered.headers.getall("WWW-Authenticate")

    own = (await plain.ask("/v2/library/alpine/tags/list")).headers["WWW-Authenticate"]
    assert await spelled(fault.shouted()) == [own.replace("Bearer", "BEARER")]
    assert await spelled(fault.unquoted()) == [own.replace('"', "")]
    assert await spelled(fault.challenged('Basic realm="x"', "{}")) == ['Basic realm="x"', own]
    assert await spelled(fault.challenged('Basic realm="x", {}')) == [f'Basic realm="x", {own}']
    hostile = await spelled(fault.hostile_realm(f"https://{ATTACKER}/token"))
    assert hostile == [own.replace("auth.docker.io", ATTACKER)]
    assert (await plain.ask(f"https://{ATTACKER}/token", account=hub.account)).json["token"] == "stolen"
    assert [each.host for each in hub.leaks()] == [ATTACKER]


async def test_token_documents_are_odd(hub: DockerHub, plain: PlainClient) -> None:
    url = f"{hub.realm}?service={hub.service}&scope=repository:library/alpine:pull"

    async def given(armed: Fault) -> dict[str, object]:
        hub.faults.add(armed, route=Route.TOKEN)
        return dict((await plain.ask(url)).json)

    assert (await given(fault.token_fields(expires_in=0)))["expires_in"] == 0
    assert (await given(fault.token_fields(expires_in="300")))["expires_in"] == "300"
    assert set(await given(fault.token_fields(expires_in=None, issued_at=None))) == {"token", "access_token"}
    assert set(await given(fault.only_access_token())) == {"access_token"}
    assert await given(fault.empty_document()) == {}


async def test_things_happen_between_requests(
    hub: DockerHub, plain: PlainClient, clock: FakeClock, public: Samples, link: str
) -> None:
    def move_tag() -> None:
        public.tags["latest"] = public.image.digest

    hub.faults.add(fault.afterwards(move_tag), route=Route.MANIFEST, method="HEAD")
    head = await plain.pull("manifests/latest", method="HEAD")
    assert head.headers["Docker-Content-Digest"] == str(public.index.digest)
    assert (await plain.pull("manifests/latest")).body == public.image.raw
    hub.faults.add(fault.at_byte(1000, lambda: clock.advance(20 * 60)), route=Route.STORAGE)
    assert (await plain.ask(link)).status == 200
    assert (await plain.ask(link)).status == 403


async def test_lists_are_odd(hub: DockerHub, plain: PlainClient, public: Samples) -> None:
    hub.page = 2
    for origin in ("https://registry-1.docker.io", "https://elsewhere.example", ""):
        hub.faults.add(fault.link_at(origin), route=Route.TAGS)
        assert (await plain.pull("tags/list")).headers["Link"].startswith(f"<{origin}/v2/library/alpine/tags/list?")
    hub.faults.add(fault.tags_null(), route=Route.TAGS)
    assert (await plain.pull("tags/list")).json["tags"] is None
    hub.faults.add(fault.raw_body(b"not JSON"), route=Route.TAGS)
    assert (await plain.pull("tags/list")).body == b"not JSON"
    hub.repositories["acme/huge"] = Repository(tags={f"v{number:04}": public.index.digest for number in range(3000)})
    hub.page = 100
    assert len((await plain.pull("tags/list", "acme/huge")).json["tags"]) == 100


async def test_errors_of_a_gateway_are_believable(hub: DockerHub, plain: PlainClient) -> None:
    hub.faults.add(fault.status(502, "UNAVAILABLE", Retry_After="1"), route=Route.TAGS)
    answered = await plain.pull("tags/list")
    assert (answered.status, answered.headers["Retry-After"]) == (502, "1")
    assert json.loads(answered.body)["errors"][0]["code"] == "UNAVAILABLE"


async def test_the_server_leaves_and_returns(hub: DockerHub, plain: PlainClient) -> None:
    port = hub.listener.port
    await hub.listener.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await plain.ask("/v2/")
    await hub.listener.resume()
    assert (await plain.ask("/v2/")).status == 401
    assert hub.listener.port == port


async def test_one_host_fails_at_tls(hub: DockerHub, plain: PlainClient) -> None:
    hub.listener.broken_tls.add("auth.docker.io")
    with pytest.raises(aiohttp.ClientConnectorError):
        await plain.ask(hub.realm)
    assert (await plain.ask("/v2/")).status == 401
