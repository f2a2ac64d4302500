"""Real clients over TLS that they verify, while the certificate is replaced under them."""

import asyncio
import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from os import kill
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.exceptions import SSLError

from tests.e2e.conftest import Catalogue
from tests.support import images, parts
from tests.support.aws_clients import post
from tests.support.certificates import Authority, chain_of, put, serial_of
from tests.support.clients import Containerd, Docker, Skopeo, shipped
from tests.support.faulty_registry import FaultyRegistry
from tests.support.processes import run
from tests.support.pullthrough import PROGRAM, WORKERS, Pullthrough
from tests.support.tls_pullthrough import TlsPullthrough

pytestmark = pytest.mark.e2e

MIB = 1 << 20
CONTENT = images.noise(11, 8 * MIB)
IMAGE = images.of_blobs(b"{}", [CONTENT])
PATH = f"/v2/up/app/blobs/{IMAGE.layers[0]}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def trusted(authority: Authority, tmp_path: Path) -> Path:
    """A folder as clients of the containers project want it."""
    folder = tmp_path / "trusted"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(authority.file.read_bytes())
    return folder


@pytest.fixture
def secure(settings: dict[str, Any], authority: Authority, tmp_path: Path) -> Iterator[TlsPullthrough]:
    with TlsPullthrough(tmp_path / "secure", settings, authority) as server:
        yield server


def test_skopeo_verifies_the_certificate_and_copies(
    catalogue: Catalogue, secure: TlsPullthrough, trusted: Path, folder: Path
) -> None:
    registries = shipped("registries.conf", port=secure.port, mirror=secure.mirror)
    skopeo = Skopeo(parts.require(parts.SKOPEO), folder / "skopeo", registries=registries)
    reference = f"{secure.address}/up/team/tools:1"

    assert skopeo.digest(reference, f"--cert-dir={trusted}") == catalogue.image.digest
    assert skopeo.copy(reference, "copy", f"--src-cert-dir={trusted}")["manifest.json"] == catalogue.image.manifest
    with pytest.raises(AssertionError, match="certificate signed by unknown authority"):
        skopeo.digest(reference)


def test_containerd_verifies_the_certificate_of_the_registry_and_pulls(
    catalogue: Catalogue, secure: TlsPullthrough, trusted: Path, folder: Path
) -> None:
    toolbox = parts.require(parts.CONTAINERD, root=True)
    hosts = shipped("hosts.toml", port=secure.port, mirror=secure.mirror).replace("http://", "https://")

    with Containerd(toolbox, folder / "first", hosts=f"{hosts}\n  ca = '{trusted / 'ca.crt'}'\n") as containerd:
        assert containerd.pull("docker.io/library/tools:1") == catalogue.image.digest
    with (
        Containerd(toolbox, folder / "second", hosts=hosts) as containerd,
        pytest.raises(AssertionError, match="certificate signed by unknown authority"),
    ):
        containerd.pull("docker.io/library/tools:1")


def test_docker_pulls_pushes_and_asks_the_mirror(catalogue: Catalogue, secure: TlsPullthrough, folder: Path) -> None:
    toolbox = parts.require(parts.DOCKER, root=True)
    configuration = shipped("daemon.json", port=secure.port, mirror=secure.mirror).replace("http://", "https://")

    with Docker(toolbox, folder / "docker", configuration=configuration) as docker:
        assert docker.pull(f"localhost:{secure.port}/up/team/tools:1") == catalogue.image.digest
        docker.tag(f"localhost:{secure.port}/up/team/tools:1", f"localhost:{secure.port}/team/app:1")
        pushed = docker.push(f"localhost:{secure.port}/team/app:1")
        assert docker.pull("tools:1") == catalogue.image.digest
    assert {event["status"] for event in secure.answered(name="team/app", reference="1")} >= {201}
    assert pushed in {f"sha256:{path.name}" for path in secure.stored().values()}
    assert {event["rule"] for event in secure.answered(name="library/tools")} == {"docker-hub"}


def test_boto3_verifies_the_certificate_and_is_told_https(secure: TlsPullthrough) -> None:
    def client(authority: Path | None) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        session: Any = boto3.session.Session("any", "any", region_name="us-east-1")
        return session.client(
            "ecr", endpoint_url=f"https://localhost:{secure.port}", verify=authority and str(authority)
        )

    trusting, other = client(secure.authority.file), client(None)
    try:
        made = trusting.create_repository(repositoryName="team/app")["repository"]
        assert made["repositoryUri"] == f"localhost:{secure.port}/team/app"
        [data] = trusting.get_authorization_token()["authorizationData"]
        assert data["proxyEndpoint"] == f"https://localhost:{secure.port}"
        with pytest.raises(SSLError):
            other.describe_repositories()
    finally:
        trusting.close()
        other.close()


@pytest.mark.parametrize(("trusted", "scheme", "host"), [(True, "https", "reg.example"), (False, "http", "localhost")])
def test_the_api_names_what_a_trusted_proxy_says_that_it_was_asked(
    tmp_path: Path, *, trusted: bool, scheme: str, host: str
) -> None:
    proxies = ["127.0.0.1"] if trusted else ["192.0.2.7"]
    headers = {
        "Host": "localhost",
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": f"{host}:8443",
        "X-Forwarded-For": "198.51.100.1",
    }
    with Pullthrough(tmp_path / "proxy", {"server": {"trusted_proxies": proxies}}) as server:
        [data] = post(server.port, headers, b"{}").document["authorizationData"]
        [answered] = server.answered(kind="ecr")

    port = 8443 if trusted else server.port
    assert data["proxyEndpoint"] == f"{scheme}://{host}:{port}"
    assert answered["client"] == ("198.51.100.1" if trusted else "127.0.0.1")


def test_curl_gets_no_answer_without_tls_and_none_by_an_old_version(secure: TlsPullthrough) -> None:
    def curl(*arguments: str) -> str:
        return run(["curl", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*", *arguments], seconds=30)

    trusting = ["--cacert", str(secure.authority.file)]
    assert json.loads(curl(*trusting, f"{secure.url}/livez")) == {"status": "alive"}
    assert "x-content-type-options: nosniff" in curl(*trusting, "--head", f"{secure.url}/v2/").lower()
    for refused in (
        [f"http://{secure.address}/livez"],
        [*trusting, "--tls-max", "1.1", "--tlsv1.0", "--ciphers", "ALL:@SECLEVEL=0", f"{secure.url}/livez"],
    ):
        # Neither 28, a time-out, nor 22, an answer.
        with pytest.raises(AssertionError, match=r"status (35|52|56)\n"):
            curl(*refused)


async def test_a_transfer_goes_on_while_the_certificate_is_replaced(authority: Authority, tmp_path: Path) -> None:
    async with FaultyRegistry(hold_at={IMAGE.layers[0]: 2 * MIB}) as upstream:
        upstream.add("app", "1", IMAGE)
        rules = [{"prefix": "up", "upstream": upstream.url}]
        proxy = TlsPullthrough(tmp_path / "proxy", {"rules": rules}, authority)
        await asyncio.to_thread(proxy.start)
        try:
            old, trusting = proxy.serial, authority.trusting()
            async with aiohttp.ClientSession(proxy.url) as client, client.get(PATH, ssl=trusting) as answer:
                received = await answer.content.readexactly(MIB)
                authority.issue()
                # Noticed without a signal.
                await asyncio.to_thread(proxy.process.wait_until, lambda: all_have(proxy, 2), "the new one is shown")
                assert old != proxy.serial == serial_of(proxy.files.certificate.read_bytes())
                upstream.release()
                assert received + await answer.read() == CONTENT
        finally:
            await asyncio.to_thread(proxy.stop)


def all_have(proxy: TlsPullthrough, certificates: int) -> bool:
    """Tell whether each process has taken as many certificates into force."""
    return len(proxy.events("tls.certificate")) == certificates * WORKERS


def test_half_a_pair_is_told_by_the_log_and_a_signal_brings_the_whole_one_at_once(
    secure: TlsPullthrough, authority: Authority
) -> None:
    old, leaf = secure.serial, authority.leaf()
    connection = http.client.HTTPSConnection("127.0.0.1", secure.port, timeout=60, context=authority.trusting())
    connection.connect()
    secure.process.wait_until(lambda: all_have(secure, 1), "all serve")
    put(secure.files.certificate, chain_of(leaf))
    secure.process.wait_until(
        lambda: len(secure.events("tls.certificate_refused")) == WORKERS, "half a pair is refused"
    )
    assert secure.serial == old

    put(secure.files.key, leaf.private_key_pem.bytes())
    kill(secure.process.pid, signal.SIGHUP)
    secure.process.wait_until(lambda: all_have(secure, 2), "the new one is shown")
    assert old != secure.serial == serial_of(chain_of(leaf))
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    assert answer.status == 200
    expires = [line for line in answer.read().splitlines() if line.startswith(b"pullthrough_tls_certificate_expires_")]
    assert [line.split()[-1][:1] for line in expires] == [b"3"] * WORKERS
    connection.close()


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_an_expired_certificate_is_one_line_and_nothing_is_started(
    command: str, authority: Authority, tmp_path: Path
) -> None:
    proxy, now = TlsPullthrough(tmp_path / "proxy", {}, authority), datetime.now(UTC)
    leaf = authority.leaf(begin=now - timedelta(days=2), end=now - timedelta(days=1))
    put(proxy.files.certificate, chain_of(leaf))
    put(proxy.files.key, leaf.private_key_pem.bytes())
    done = subprocess.run([*PROGRAM, command, "--config", str(proxy.file)], capture_output=True, text=True, check=False)

    [line] = done.stderr.splitlines()
    assert (done.returncode, "server.tls.certificate: " in line, "expired at" in line) == (2, True, True)
    assert not proxy.layout.root.exists()
