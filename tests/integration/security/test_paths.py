"""S27: paths that would lead elsewhere, byte by byte (Nexus CVE-2024-4956, containers/image CVE-2024-3727)."""

import asyncio

import pytest

from tests.integration.scenarios.bench import Bench

HEX = "a" * 64
TRICKS = (
    "/v2/docker-hub/../../etc/passwd/manifests/latest",
    "/v2/docker-hub/library/../alpine/manifests/latest",
    "/v2/docker-hub/library/%2e%2e/alpine/manifests/latest",
    "/v2/docker-hub/library%2Falpine/manifests/latest",
    "/v2/docker-hub/library%252Falpine/manifests/latest",
    "/v2/docker-hub//library/alpine/manifests/latest",
    "//v2/docker-hub/library/alpine/manifests/latest",
    "/v2/docker-hub/library/alpine//manifests/latest",
    "/v2/docker-hub/library/alpine/manifests/../tags/list",
    "/v2/docker-hub/library/alpine/manifests/..%2Ftags",
    "/v2/docker-hub/library/ALPINE/manifests/latest",
    "/v2/docker-hub/library/\u0430lpine/manifests/latest",
    "/v2/docker-hub/library/%D0%B0lpine/manifests/latest",
    "/v2/docker-hub/library/alpine;x/manifests/latest",
    "/v2/docker-hub/library/alpine@attacker.test/manifests/latest",
    "/v2/docker-hub/library/alpine/manifests/la%00test",
    "/v2/docker-hub/library/alpine/manifests/latest%0d%0aX:1",
    "/v2/docker-hub/library/alpine/manifests/latest%23",
    "/v2/docker-hub/library/alpine/manifests/sha256:../../x",
    "/v2/docker-hub/library/alpine/manifests/sha256:%2e%2e%2fx",
    f"/v2/docker-hub/library/alpine/manifests/sha256:{HEX.upper()}",
    f"/v2/docker-hub/library/alpine/manifests/md5:{HEX[:32]}",
    f"/v2/docker-hub/library/alpine/blobs/sha256:{HEX}0",
    f"/v2/docker-hub/library/alpine/blobs/sha256:{'a' * 10_000}",
    f"/v2/docker-hub/{'a' * 256}/manifests/latest",
    f"/v2/docker-hub/library/alpine/manifests/{'a' * 129}",
    "/v2/https://attacker.test/library/alpine/manifests/latest",
    "/v2/docker-hub/library/alpine/manifests/latest?ns=attacker.test/x",
    "/v2/docker-hub/library/alpine/manifests/latest?ns=docker.io&ns=attacker.test",
    "/v2/docker-hub/library/alpine/manifests/latest?ns=http://attacker.test",
    "/%2F%2F%2F..%2F..%2Fetc%2Fpasswd",
    "/v2/%2F%2F%2F..%2F..%2Fetc%2Fpasswd/manifests/latest",
    "/..%2f..%2fdata/metadata.sqlite",
    "/metrics/../v2/docker-hub/library/alpine/manifests/latest",
)


async def test_s27_tricky_paths_lead_nowhere(hub: Bench, subtests: pytest.Subtests) -> None:
    for path in TRICKS:
        with subtests.test(path=path[:80]):
            reader, writer = await asyncio.open_connection(*hub.product.server.address)
            writer.write(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            assert answer.split()[1] in {b"400", b"404"}, answer
            assert b"root:" not in answer
            assert hub.emulator.journal.lines == []


@pytest.mark.parametrize(
    "host", ["attacker.test", "registry-1.docker.io", "169.254.169.254", "localhost.attacker.test"]
)
async def test_s27_a_foreign_host_is_no_open_proxy(hub: Bench, host: str) -> None:
    path = "/v2/docker-hub/library/alpine/manifests/latest"
    for target in (path, f"http://{host}{path}"):
        reader, writer = await asyncio.open_connection(*hub.product.server.address)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.split()[1] == b"421", answer
    assert hub.emulator.journal.lines == []


@pytest.mark.parametrize("target", [b"CONNECT attacker.test:443", b"OPTIONS *"])
async def test_s27_connect_is_not_served(hub: Bench, target: bytes) -> None:
    reader, writer = await asyncio.open_connection(*hub.product.server.address)
    writer.write(target + b" HTTP/1.1\r\nHost: attacker.test:443\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.split()[1] in {b"400", b"404", b"405", b"421"}, answer
    assert hub.emulator.journal.lines == []
