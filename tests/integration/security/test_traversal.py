"""S29: Nexus CVE-2024-4956, a traversal without a login: on every listener, by every method, whoever asks.

S27 has the paths of the distribution API; here are those of everything else, with users and without.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import trustme

from tests.emulators import Content, DockerHub, run
from tests.integration.scenarios.bench import Bench, running
from tests.support.access import Keeper, grant, signed_in
from tests.support.clock import FakeClock

CLIMBS = (
    "/%2F%2F%2F..%2F..%2Fetc%2Fpasswd",
    "/%2F%2F%2F%2F%2F%2F%2F..%2F..%2F..%2F..%2F..%2F..%2F..%2Fetc%2Fpasswd",
    "//////../../../../etc/passwd",
    "/../../../../etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/%252e%252e%252fetc%252fpasswd",
    "/..%5c..%5cetc%5cpasswd",
    "/..;/..;/etc/passwd",
    "/%c0%ae%c0%ae/etc/passwd",
    "/....//....//etc/passwd",
    "/etc/passwd%00.json",
    "/file:///etc/passwd",
    "/proc/self/environ",
    "/data/keys/tokens.key",
    "/metrics/../data/metadata.sqlite",
)
BELOW = ("", "/v2", "/v2/docker-hub", "/docker-hub/v2", "/v2/token", "/metrics", "/livez", "/v2/_catalog")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SECRETS = (b"root:", b"PATH=", b"SQLite")


@pytest.fixture(params=["open", "guarded"])
async def bench(
    request: pytest.FixtureRequest, samples: Content, clock: FakeClock, authority: trustme.CA
) -> AsyncIterator[Bench]:
    keeper = Keeper() if request.param == "guarded" else None
    async with (
        run(DockerHub(samples, clock), authority=authority) as emulator,
        running(emulator, access=keeper, with_account=True) as bench,
    ):
        if keeper is not None:
            keeper.gate.grant(grant("alice", "pull first_pull push delete admin metrics", "**"))
        yield bench


@pytest.mark.parametrize("user", ["", "alice"])
@pytest.mark.parametrize("below", BELOW)
async def test_s29_no_path_leads_out(bench: Bench, below: str, user: str) -> None:
    server = bench.product.server
    fields = "".join(f"{name}: {value}\r\n" for name, value in signed_in(user))
    for address in (server.address, *server.mirror_addresses.values()):
        reader, writer = await asyncio.open_connection(*address)
        for climb in CLIMBS:
            for method in METHODS:
                writer.write(f"{method} {below}{climb} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(0 if method == "HEAD" else size)
                assert head.split()[1] in {b"400", b"401", b"404", b"405"}, (method, below, climb, head)
                assert not any(secret in body for secret in SECRETS)
        writer.close()
    assert bench.emulator.journal.lines == []
