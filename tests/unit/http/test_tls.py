"""TLS on the listeners: who may shake hands, which certificate is shown, and how it is replaced."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.config.settings import MirrorSettings, ServerSettings, TlsSettings
from proxy.http.listening import StartError
from proxy.http.server import Server
from proxy.http.tls import ServerCertificate
from proxy.telemetry.metrics import Metrics
from tests.support.certificates import Authority, chain_of, put, serial_of
from tests.support.handshakes import shake
from tests.unit.http.conftest import Stack
from tests.unit.http.raw import RawAnswer, parse

GAUGE = "pullthrough_tls_certificate_expires_timestamp"
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b'{"status":"alive"}'


@pytest.fixture
def tls(authority: Authority) -> TlsSettings:
    files = authority.issue()
    return TlsSettings(certificate=files.certificate, key=files.key)


def server(stack: Stack, tls: TlsSettings, *mirrors: MirrorSettings) -> Server:
    return Server(stack.serving(ServerSettings(port=0, tls=tls, drain_timeout=timedelta(seconds=1))), mirrors)


class Connection:
    """A TLS connection to a server, and the number of the certificate that it showed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate = self.tls.getpeercert(binary_form=True)
        assert certificate is not None
        self.serial = serial_of(certificate)

    async def ask(self) -> bytes:
        self.writer.write(REQUEST)
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        return await self.reader.readexactly(len(ANSWER))


@asynccontextmanager
async def connected(
    address: tuple[str, int], trusting: ssl.SSLContext, name: str = "localhost"
) -> AsyncIterator[Connection]:
    connection = Connection(*await asyncio.open_connection(*address, ssl=trusting, server_hostname=name))
    try:
        yield connection
    finally:
        connection.writer.close()
        await connection.writer.wait_closed()


async def exchange(address: tuple[str, int], trusting: ssl.SSLContext, head: str, body: bytes = b"") -> RawAnswer:
    async with connected(address, trusting) as connection:
        connection.writer.write(f"{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode() + body)
        return parse(await connection.reader.read())


async def test_every_listener_speaks_tls(stack: Stack, tls: TlsSettings, authority: Authority) -> None:
    async with server(stack, tls, MirrorSettings(port=0, rule="quay")) as running:
        assert running.scheme == "https"
        for address in (running.address, running.mirror_addresses["quay"]):
            assert (await exchange(address, authority.trusting(), "GET /v2/ HTTP/1.1")).status == 200
        assert (await exchange(running.address, authority.trusting(), "GET /livez HTTP/1.1")).body == ANSWER


async def test_blobs_come_whole(stack: Stack, tls: TlsSettings, authority: Authority) -> None:
    blob = bytes(range(256)) * 20_000
    digest = stack.upstream.hold_blob(blob)
    async with server(stack, tls) as running:
        answer = await exchange(running.address, authority.trusting(), f"GET /v2/quay/a/blobs/{digest} HTTP/1.1")
    assert answer.body == blob


async def test_clients_without_a_name_and_with_a_foreign_one_get_the_certificate(
    stack: Stack, tls: TlsSettings, authority: Authority
) -> None:
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    expected = serial_of(tls.certificate.read_bytes())
    async with server(stack, tls) as running:
        async with connected(running.address, authority.trusting(), "127.0.0.1") as by_address:
            assert by_address.serial == expected
        async with connected(running.address, anyone, "elsewhere.example") as foreign:
            assert foreign.serial == expected


async def test_http_1_is_what_is_agreed_on(stack: Stack, tls: TlsSettings, authority: Authority) -> None:
    trusting = authority.trusting()
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    async with server(stack, tls) as running, connected(running.address, trusting) as connection:
        assert connection.tls.selected_alpn_protocol() == "http/1.1"


def _at_most(trusting: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    if version < ssl.TLSVersion.TLSv1_2:
        # OpenSSL's own level of security would keep the client from asking at all.
        trusting.set_ciphers("ALL:@SECLEVEL=0")
    trusting.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    trusting.maximum_version = version
    return trusting


@pytest.mark.parametrize(
    ("oldest", "spoken"),
    [("1.2", ssl.TLSVersion.TLSv1_2), ("1.2", ssl.TLSVersion.TLSv1_3), ("1.3", ssl.TLSVersion.TLSv1_3)],
)
async def test_versions_from_the_oldest_on_are_spoken(
    stack: Stack, tls: TlsSettings, authority: Authority, oldest: str, spoken: ssl.TLSVersion
) -> None:
    async with (
        server(stack, tls.model_copy(update={"min_version": oldest})) as running,
        connected(running.address, _at_most(authority.trusting(), spoken)) as connection,
    ):
        assert await connection.ask() == ANSWER


async def test_plain_http_is_hung_up_on(stack: Stack, tls: TlsSettings) -> None:
    async with server(stack, tls) as running:
        reader, writer = await asyncio.open_connection(*running.address)
        writer.write(REQUEST)
        try:
            received = await reader.read()
        except ConnectionResetError:
            received = b""
        assert not received.startswith(b"HTTP/")
        writer.close()


async def test_a_client_that_never_shakes_hands_does_not_hold_the_end_up(stack: Stack, tls: TlsSettings) -> None:
    running = server(stack, tls)
    await running.start()
    _, writer = await asyncio.open_connection(*running.address)
    await running.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*running.address)
    writer.close()


async def test_an_unfit_pair_keeps_the_server_from_starting(stack: Stack, tls: TlsSettings) -> None:
    tls.certificate.write_text("hello")
    starting = server(stack, tls)
    with pytest.raises(StartError, match=r"holds no certificate in PEM$"):
        await starting.start()
    assert starting.address == ("", 0)


async def test_new_handshakes_get_the_new_certificate_and_old_connections_go_on(
    stack: Stack, tls: TlsSettings, authority: Authority
) -> None:
    trusting, old = authority.trusting(), serial_of(tls.certificate.read_bytes())
    async with server(stack, tls) as running, asyncio.TaskGroup() as group:
        watching = group.create_task(running.watch())
        async with connected(running.address, trusting) as first:
            assert (await first.ask(), first.serial) == (ANSWER, old)
            authority.issue()
            new = serial_of(tls.certificate.read_bytes())
            running.renew()
            shown = old
            while shown == old:
                async with connected(running.address, trusting) as later:
                    shown = later.serial
            async with connected(running.address, trusting, "127.0.0.1") as nameless:
                assert (shown, await nameless.ask(), nameless.serial) == (new, ANSWER, new)
            assert await first.ask() == ANSWER
        watching.cancel()


async def test_without_tls_there_is_nothing_to_watch(stack: Stack) -> None:
    async with Server(stack.serving(ServerSettings(port=0))) as running:
        assert running.scheme == "http"
        running.renew()
        await running.watch()


class Bench:
    """A certificate, apart from any listener: `shown` is the number that a handshake in memory sees."""

    def __init__(self, tls: TlsSettings, authority: Authority, *, look_every: float = 3600) -> None:
        self.metrics = Metrics()
        self.certificate = ServerCertificate(tls, self.metrics, look_every=look_every)
        self.trusting = authority.trusting()

    async def load(self) -> None:
        await self.certificate.load()

    def shown(self, trusting: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
        """Return the client's side of a new connection."""
        return shake(self.certificate.context, trusting or self.trusting, session).client

    @property
    def serial(self) -> int:
        certificate = self.shown().getpeercert(binary_form=True)
        assert certificate is not None
        return serial_of(certificate)

    @property
    def expires(self) -> float | None:
        return self.metrics.registry.get_sample_value(GAUGE)


@pytest.fixture
async def bench(tls: TlsSettings, authority: Authority) -> Bench:
    bench = Bench(tls, authority)
    await bench.load()
    return bench


async def test_the_metric_is_the_end_of_what_is_shown(bench: Bench, tls: TlsSettings, authority: Authority) -> None:
    end = datetime(2037, 1, 2, tzinfo=UTC)
    authority.issue(end=end)
    assert bench.expires != end.timestamp()
    assert await bench.certificate.renew()
    assert bench.expires == end.timestamp()
    assert bench.serial == serial_of(tls.certificate.read_bytes())


async def test_files_that_stay_as_they_are_are_taken_once(bench: Bench) -> None:
    with capture_logs() as logs:
        assert await bench.certificate.renew()
    assert logs == []


async def test_half_a_pair_changes_nothing_until_the_other_half_is_there(
    bench: Bench, tls: TlsSettings, authority: Authority
) -> None:
    old, leaf = bench.serial, authority.leaf()
    put(tls.certificate, chain_of(leaf))
    with capture_logs() as logs:
        assert not await bench.certificate.renew()
        assert not await bench.certificate.renew()
    assert [(entry["event"], entry["log_level"], entry["setting"]) for entry in logs] == [
        ("tls.certificate_refused", "error", "server.tls.key")
    ]
    assert bench.serial == old
    assert tls.key is not None
    put(tls.key, leaf.private_key_pem.bytes())
    assert await bench.certificate.renew()
    assert bench.serial == serial_of(chain_of(leaf)) != old


@pytest.mark.parametrize("content", [None, b"", b"hello"])
async def test_files_that_go_away_or_become_something_else_change_nothing(
    bench: Bench, tls: TlsSettings, content: bytes | None
) -> None:
    old, kept = bench.serial, tls.certificate.read_bytes()
    if content is None:
        tls.certificate.unlink()
    else:
        put(tls.certificate, content)
    assert not await bench.certificate.renew()
    assert bench.serial == old
    put(tls.certificate, kept)
    assert await bench.certificate.renew()


async def test_an_expired_certificate_does_not_replace_one_that_is_not(
    bench: Bench, tls: TlsSettings, authority: Authority
) -> None:
    old, now = bench.serial, datetime.now(UTC)
    leaf = authority.leaf(begin=now - timedelta(days=2), end=now - timedelta(days=1))
    assert tls.key is not None
    put(tls.certificate, chain_of(leaf))
    put(tls.key, leaf.private_key_pem.bytes())
    with capture_logs() as logs:
        assert not await bench.certificate.renew()
    assert "expired at" in logs[0]["fault"]
    assert bench.serial == old


async def test_the_same_fault_after_a_good_time_is_told_again(bench: Bench, tls: TlsSettings) -> None:
    kept = tls.certificate.read_bytes()
    with capture_logs() as logs:
        for content in (b"hello", kept, b"hello"):
            put(tls.certificate, content)
            await bench.certificate.renew()
    assert [entry["event"] for entry in logs] == ["tls.certificate_refused"] * 2


async def test_a_link_to_another_folder_is_followed(authority: Authority, tmp_path: Path) -> None:
    # As Kubernetes mounts secrets: only ..data changes, a link to a folder.
    for number, folder in enumerate(("first", "second")):
        (tmp_path / folder).mkdir()
        files = authority.issue(end=datetime(2037, 1, 2 + number, tzinfo=UTC))
        files.certificate.rename(tmp_path / folder / "tls.crt")
        files.key.rename(tmp_path / folder / "tls.key")
    data = tmp_path / "..data"
    data.symlink_to("first")
    bench = Bench(TlsSettings(certificate=data / "tls.crt", key=data / "tls.key"), authority)
    await bench.load()
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").replace(data)
    assert await bench.certificate.renew()
    assert bench.expires == datetime(2037, 1, 3, tzinfo=UTC).timestamp()


async def test_changes_are_noticed_without_being_asked_for(tls: TlsSettings, authority: Authority) -> None:
    bench = Bench(tls, authority, look_every=0.001)
    await bench.load()
    old = bench.serial
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(bench.certificate.watch())
        authority.issue()
        while bench.serial == old:  # noqa: ASYNC110 - nobody is told but new handshakes
            await asyncio.sleep(0)
        watching.cancel()
    assert bench.serial == serial_of(tls.certificate.read_bytes())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize(
    ("oldest", "spoken"),
    [("1.2", ssl.TLSVersion.TLSv1), ("1.2", ssl.TLSVersion.TLSv1_1), ("1.3", ssl.TLSVersion.TLSv1_2)],
)
async def test_older_versions_are_refused(
    tls: TlsSettings, authority: Authority, oldest: str, spoken: ssl.TLSVersion
) -> None:
    bench = Bench(tls.model_copy(update={"min_version": oldest}), authority)
    await bench.load()
    # What the server raises: the client did ask.
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        bench.shown(_at_most(authority.trusting(), spoken))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_go_on_until_the_certificate_is_renewed(
    bench: Bench, authority: Authority, version: ssl.TLSVersion
) -> None:
    trusting = _at_most(authority.trusting(), version)
    first = bench.shown(trusting)
    assert first.session is not None
    assert bench.shown(trusting, first.session).session_reused
    authority.issue()
    assert await bench.certificate.renew()
    assert not bench.shown(trusting, first.session).session_reused


def test_no_connection_begins_before_the_certificate_is_loaded(tls: TlsSettings, authority: Authority) -> None:
    with pytest.raises(RuntimeError, match="before the certificate is loaded"):
        Bench(tls, authority).shown()
