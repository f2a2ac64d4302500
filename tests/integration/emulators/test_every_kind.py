"""What all kinds have in common, asked by a client that does nothing by itself."""

import asyncio

import pytest

from tests.emulators import BearerEmulator, Emulator, Ending, Gate, Route
from tests.emulators import faults as fault
from tests.emulators.tokens import Account
from tests.integration.emulators.plain_client import PlainClient, Received, token_url
from tests.support.clock import FakeClock

WRONG = Account("robot", "wrong")


@pytest.fixture
async def link(plain: PlainClient, emulator: Emulator) -> str:
    """A link to the storage for the layer of the samples."""
    answered = await plain.pull(f"blobs/{emulator.content.public.layer.digest}")
    assert answered.status in {302, 307}
    return answered.location


async def test_the_ping_asks_for_authentication(plain: PlainClient, emulator: Emulator) -> None:
    answered = await plain.ask("/v2/")
    assert answered.status == (200 if emulator.kind == "k8s" else 401)
    assert answered.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


async def test_a_made_up_token_or_password_is_refused(plain: PlainClient, emulator: Emulator) -> None:
    path = f"/v2/{emulator.public_repository}/manifests/latest"
    if emulator.kind == "k8s":
        assert (await plain.ask(path, token="made-up")).status == 307
        assert (await plain.ask((await plain.ask(path)).location, token="made-up")).status == 401
        return
    answered = await plain.ask(path, token="made-up")
    assert answered.status == 401
    if isinstance(emulator, BearerEmulator):
        assert answered.challenge.error == "invalid_token"
        for repository in (emulator.public_repository, "no/such"):
            asked = (await plain.ask(f"/v2/{repository}/tags/list")).challenge
            assert (await plain.ask(token_url(asked), account=WRONG)).status == 401
    else:
        assert (await plain.ask(path, account=WRONG)).status == 401


async def test_a_token_expires(plain: PlainClient, emulator: Emulator, clock: FakeClock) -> None:
    if not isinstance(emulator, BearerEmulator):
        assert emulator.kind in {"k8s", "ecr"}
        return
    path = f"/v2/{emulator.public_repository}/manifests/1.0"
    token = await plain.token(emulator.public_repository, emulator.account)
    clock.advance(emulator.token_lifetime - 1)
    assert (await plain.ask(path, token=token, Accept="*/*")).challenge_error == ""
    clock.advance(1)
    assert (await plain.ask(path, token=token)).challenge_error == "invalid_token"


async def test_the_token_server_looks_at_the_service(plain: PlainClient, emulator: Emulator) -> None:
    if not isinstance(emulator, BearerEmulator):
        assert emulator.kind in {"k8s", "ecr"}
        return
    scope = f"repository:{emulator.public_repository}:pull"
    answered = await plain.ask(f"{emulator.realm}?service=other&scope={scope}", account=emulator.account)
    assert answered.status == 400


async def test_what_does_not_exist(plain: PlainClient, emulator: Emulator) -> None:
    manifest = await plain.pull("manifests/never")
    blob = await plain.pull(f"blobs/sha256:{'0' * 64}")
    if emulator.kind == "k8s":
        manifest, blob = await plain.ask(manifest.location), await plain.ask(blob.location)
    assert (manifest.status, manifest.code) == (404, "MANIFEST_UNKNOWN")
    assert (blob.status, blob.code) == (404, "BLOB_UNKNOWN")


async def test_the_storage_wants_its_own_link_and_nothing_else(
    plain: PlainClient, emulator: Emulator, clock: FakeClock, link: str
) -> None:
    layer = emulator.content.public.layer
    got = await plain.ask(link)
    assert (got.status, got.body) == (200, layer.read(0, layer.size))
    assert (await plain.ask(link, token="any")).status == 400
    assert [each.host for each in emulator.leaks()] == [link.split("/")[2]]
    if emulator.kind == "k8s":  # its bucket is public
        return
    assert (await plain.ask(link, method="HEAD")).status == 403
    assert (await plain.ask(requoted(link))).status == 403
    clock.advance(24 * 3600)
    assert (await plain.ask(link)).status == 403


def requoted(link: str) -> str:
    """Return what a client makes of a link that decodes and encodes it, or puts its query in order."""
    for encoded, decoded in (("%2F", "/"), ("%3A", ":"), ("~", "%7E")):
        if encoded in link:
            return link.replace(encoded, decoded)
    raise AssertionError(link)


async def test_the_storage_serves_ranges(plain: PlainClient, emulator: Emulator, link: str) -> None:
    size = emulator.content.public.layer.size
    whole = await plain.ask(link)
    part = await plain.ask(link, Range="bytes=10-19")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, whole.body[10:20], f"bytes 10-19/{size}")
    suffix = await plain.ask(link, Range="bytes=-5")
    assert (suffix.status, suffix.body) == (206, whole.body[-5:])
    assert (await plain.ask(link, Range=f"bytes={size}-")).status == 416
    same = await plain.ask(link, Range="bytes=10-", If_Range=whole.headers["ETag"])
    assert same.status == 206
    assert (await plain.ask(link, Range="bytes=10-", If_Range='"other"')).status == 200


async def test_the_journal_tells_how_an_exchange_ended(plain: PlainClient, emulator: Emulator, link: str) -> None:
    gate = Gate()
    emulator.faults.add(fault.stall(100, gate), route=Route.STORAGE)
    asking = asyncio.wait_for(plain.ask(link), 0.2)
    with pytest.raises(TimeoutError):
        await asking
    assert gate.reached.is_set()
    await emulator.journal.until(lambda: emulator.journal.exchanges[-1].aborted)
    left = emulator.journal.of(Route.STORAGE)[-1]
    assert (left.ending, left.sent, left.status) == (Ending.ABORTED, 100, 200)
    await plain.ask(link)
    done = emulator.journal.of(Route.STORAGE)[-1]
    assert (done.ending, done.sent) == (Ending.COMPLETE, emulator.content.public.layer.size)
    assert f"https://{done.host}{done.target}" == link


async def test_writing_is_refused(plain: PlainClient, emulator: Emulator) -> None:
    answered: Received = await plain.ask(f"/v2/{emulator.public_repository}/blobs/uploads/x", method="POST")
    assert answered.status in {404, 405}
