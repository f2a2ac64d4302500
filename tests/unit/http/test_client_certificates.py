"""Certificates of clients: which ones handshakes take, and how long they count."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from proxy.config.certificates import CertificateError, ServerContext
from proxy.config.settings import ServerSettings, TlsSettings
from proxy.http.server import Server
from proxy.http.tls import ServerCertificate
from proxy.telemetry.metrics import Metrics
from tests.support.certificates import Authority, put
from tests.support.handshakes import Handshake, shake
from tests.unit.http.conftest import Stack

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
# Which of the two depends on how much of the chain the client sends.
UNKNOWN = {"unable to get local issuer certificate", "self-signed certificate in certificate chain"}
ANSWER = b'{"status":"alive"}'
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Bench:
    """A server's side with files of its own, whose clients trust it; `clients` certifies them."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.clients = Authority(folder / "server"), Authority(folder / "clients")
        files = self.authority.issue()
        self.tls = TlsSettings(certificate=files.certificate, key=files.key)
        self.file = folder / "client-ca.pem"
        put(self.file, self.clients.file.read_bytes())
        self.parted = 0
        self.certificate = ServerCertificate(self.tls, Metrics(), self.file, self._part)

    def _part(self) -> None:
        self.parted += 1

    def shake(self, shown: Path | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Handshake:
        return shake(self.certificate.context, self.trusting(shown, version))

    def trusting(self, shown: Path | None, version: ssl.TLSVersion) -> ssl.SSLContext:
        trusting = self.authority.trusting(shown)
        trusting.minimum_version = trusting.maximum_version = version
        return trusting

    def refusal(self, shown: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            self.shake(shown, version)
        return raised.value.verify_message


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    await bench.certificate.load()
    return bench


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_is_asked_for_and_not_demanded(bench: Bench, version: ssl.TLSVersion) -> None:
    assert bench.shake(bench.clients.client("builder"), version).server.getpeercert()
    assert not bench.shake(None, version).server.getpeercert()


@pytest.mark.parametrize("version", VERSIONS)
async def test_those_of_other_authorities_fail_the_handshake(bench: Bench, version: ssl.TLSVersion) -> None:
    # Also those of the authority that certified the server.
    assert bench.refusal(bench.authority.client("builder"), version) in UNKNOWN


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [(NOW - 2 * DAY, NOW - DAY, "has expired"), (NOW + DAY, NOW + 2 * DAY, "is not yet valid")],
)
async def test_those_out_of_their_time_fail_the_handshake(
    bench: Bench, version: ssl.TLSVersion, begin: datetime, end: datetime, words: str
) -> None:
    assert words in bench.refusal(bench.clients.client("builder", begin=begin, end=end), version)


async def test_a_certificate_of_a_server_is_none_of_a_client(bench: Bench) -> None:
    both = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    assert bench.shake(bench.clients.client("builder", usages=None)).server.getpeercert()
    assert bench.shake(bench.clients.client("builder", usages=both)).server.getpeercert()
    for usage in (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING):
        refusal = bench.refusal(bench.clients.client("builder", usages=[usage]))
        assert refusal in {"unsupported certificate purpose", "unsuitable certificate purpose"}


async def test_a_certificate_in_the_middle_may_be_named_as_the_authority(bench: Bench, tmp_path: Path) -> None:
    root = bench.clients.ca
    middle = Authority(tmp_path / "middle", root.create_child_ca())
    put(bench.file, middle.file.read_bytes())
    assert await bench.certificate.renew()
    assert bench.shake(middle.client("builder")).server.getpeercert()
    assert bench.refusal(bench.clients.client("builder")) in UNKNOWN


@pytest.mark.parametrize("version", VERSIONS)
async def test_new_authorities_count_for_new_handshakes(bench: Bench, version: ssl.TLSVersion, tmp_path: Path) -> None:
    others, old = Authority(tmp_path / "others"), bench.clients.client("builder")
    new = others.client("builder")
    assert bench.refusal(new, version) in UNKNOWN
    put(bench.file, others.file.read_bytes())
    begun = bench.certificate.context
    with capture_logs() as logs:
        assert await bench.certificate.renew()
    assert isinstance(begun, ServerContext)
    assert begun.retired
    assert [entry["event"] for entry in logs] == ["tls.certificate", "tls.authorities"]
    assert bench.shake(new, version).server.getpeercert()
    assert bench.refusal(old, version) in UNKNOWN
    put(bench.file, others.file.read_bytes() + bench.clients.file.read_bytes())
    assert await bench.certificate.renew()
    assert bench.shake(new, version).server.getpeercert()
    assert bench.shake(old, version).server.getpeercert()
    assert bench.parted == 2


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_renewed_certificate_of_the_server_asks_for_theirs_as_well(
    bench: Bench, version: ssl.TLSVersion
) -> None:
    bench.authority.issue()
    assert await bench.certificate.renew()
    assert bench.shake(bench.clients.client("builder"), version).server.getpeercert()
    assert not bench.shake(None, version).server.getpeercert()
    assert bench.refusal(bench.authority.client("builder"), version) in UNKNOWN
    assert bench.parted == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_session_carries_an_identity_beyond_its_authority(
    bench: Bench, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    trusting = bench.trusting(bench.clients.client("builder"), version)
    first = shake(bench.certificate.context, trusting)
    again = shake(bench.certificate.context, trusting, first.client.session)
    assert again.server.session_reused
    assert again.server.getpeercert() == first.server.getpeercert()
    put(bench.file, Authority(tmp_path / "others").file.read_bytes())
    assert await bench.certificate.renew()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(bench.certificate.context, trusting, again.client.session)
    # Nor does the authority that comes back find the sessions of before.
    put(bench.file, bench.clients.file.read_bytes())
    assert await bench.certificate.renew()
    assert not shake(bench.certificate.context, trusting, again.client.session).server.session_reused


@pytest.mark.parametrize(
    "content", [None, b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
async def test_a_file_that_becomes_something_else_changes_nothing(bench: Bench, content: bytes | None) -> None:
    if content is None:
        bench.file.unlink()
    else:
        put(bench.file, content)
    with capture_logs() as logs:
        assert not await bench.certificate.renew()
        assert not await bench.certificate.renew()
    assert [(entry["event"], entry["setting"]) for entry in logs] == [("tls.certificate_refused", "auth.client_ca")]
    assert bench.shake(bench.clients.client("builder")).server.getpeercert()
    assert bench.parted == 0


async def test_without_authorities_nothing_is_loaded(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    put(bench.file, b"hello")
    with pytest.raises(CertificateError) as raised:
        await bench.certificate.load()
    assert (raised.value.setting, str(raised.value)) == (
        "auth.client_ca",
        f"{bench.file} holds no certificates in PEM",
    )


class Client:
    """A connection that is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self) -> None:
        self.writer.write(REQUEST)
        assert (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await self.reader.readexactly(len(ANSWER)) == ANSWER


@asynccontextmanager
async def connected(address: tuple[str, int], trusting: ssl.SSLContext) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection(*address, ssl=trusting, server_hostname="localhost"))
    try:
        yield client
    finally:
        client.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await client.writer.wait_closed()


async def test_connections_of_replaced_authorities_end_and_others_go_on(
    stack: Stack, bench: Bench, tmp_path: Path
) -> None:
    serving = stack.serving(ServerSettings(port=0, tls=bench.tls, drain_timeout=timedelta(seconds=1)))
    shown = bench.authority.trusting(bench.clients.client("builder"))
    async with Server(replace(serving, client_ca=bench.file)) as running, asyncio.TaskGroup() as group:
        watching = group.create_task(running.watch())
        async with (
            connected(running.address, shown) as certified,
            connected(running.address, bench.authority.trusting()) as nobody,
        ):
            await certified.ask()
            await nobody.ask()
            put(bench.file, Authority(tmp_path / "others").file.read_bytes())
            running.renew()
            assert await certified.reader.read() == b""
            await nobody.ask()
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            async with connected(running.address, shown) as refused:
                await refused.ask()
        watching.cancel()


async def test_an_answer_that_is_under_way_is_finished_first(stack: Stack, bench: Bench, tmp_path: Path) -> None:
    digest = stack.upstream.hold_blob(bytes(range(256)) * 40_000)
    serving = stack.serving(ServerSettings(port=0, tls=bench.tls, drain_timeout=timedelta(seconds=1)))
    shown = bench.authority.trusting(bench.clients.client("builder"))
    async with Server(replace(serving, client_ca=bench.file)) as running, asyncio.TaskGroup() as group:
        watching = group.create_task(running.watch())
        async with connected(running.address, shown) as certified:
            certified.writer.write(f"GET /v2/quay/a/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            begun = await certified.reader.readuntil(b"\r\n\r\n")
            put(bench.file, Authority(tmp_path / "others").file.read_bytes())
            with capture_logs() as logs:
                running.renew()
                while not any(entry["event"] == "tls.authorities" for entry in logs):  # noqa: ASYNC110 - the log tells
                    await asyncio.sleep(0)
            assert b" 200 " in begun
            assert len(await certified.reader.read()) == 256 * 40_000
        watching.cancel()
