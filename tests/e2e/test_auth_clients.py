"""Real clients log in, push and pull with and without rights, and are told why where they may not."""

import base64
import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from urllib.parse import urlencode, urlsplit

import pytest

from proxy.upstream.challenge import parse_challenges
from tests.support import images, parts
from tests.support.accounts import POLICIES, Accounts
from tests.support.clients import Containerd, Docker, Oras, Podman, Skopeo, shipped
from tests.support.emulated import Emulated, publish_image
from tests.support.images import Image, digest_of
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

INSECURE = "--tls-verify=false"
# containers/image shows the body of some answers, and the status of others.
FORBIDDEN = r"denied|403 \(Forbidden\)"


@pytest.fixture(scope="module")
def hub(image: Image) -> Iterator[Emulated]:
    """Docker Hub, and another registry."""
    with Emulated(("docker-hub", "quay")) as running:
        publish_image(running["docker-hub"], "library/tools", "1", image)
        publish_image(running["quay"], "org/tools", "1", image)
        yield running


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    return Accounts(tmp_path_factory.mktemp("accounts"))


@pytest.fixture(scope="module")
def registry(hub: Emulated, accounts: Accounts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pullthrough]:
    """A registry that anybody may pull through, and that few may push to. Each test has repositories of its own."""
    settings = {
        "auth": accounts.settings(*POLICIES),
        "upstreams": hub.settings,
        "rules": [
            {"prefix": "docker-hub", "upstream": "registry-1.docker.io", "complete": False},
            {"prefix": "quay", "upstream": "quay.io", "complete": False},
        ],
        "log": {"level": "debug"},
    }
    with Pullthrough(tmp_path_factory.mktemp("registry"), settings) as server:
        yield server


@pytest.fixture(scope="module")
def docker(registry: Pullthrough) -> Iterator[Docker]:
    """A daemon with the registry's mirror of Docker Hub."""
    toolbox = parts.require(parts.DOCKER, root=True)
    configuration = f'{{"registry-mirrors": ["http://127.0.0.1:{registry.mirror}"]}}'
    with (
        TemporaryDirectory(prefix="pt-") as folder,
        Docker(toolbox, Path(folder) / "docker", configuration=configuration) as running,
    ):
        yield running


@pytest.fixture
def layout(image: Image, tmp_path: Path) -> str:
    """The image as skopeo reads it from a folder."""
    images.write_layout(image, "1", tmp_path / "layout")
    return f"oci:{tmp_path / 'layout'}:1"


@pytest.fixture
def skopeo(registry: Pullthrough, folder: Path) -> Skopeo:
    registries = shipped("registries.conf", port=registry.port, mirror=registry.mirror)
    return Skopeo(parts.require(parts.SKOPEO), folder / "skopeo", registries=registries)


def creds(accounts: Accounts, user: str, *, option: str = "--creds") -> str:
    return f"{option}={':'.join(accounts.account(user))}"


def test_docker_logs_in_with_the_password_of_a_user_and_with_no_other(
    registry: Pullthrough, docker: Docker, accounts: Accounts
) -> None:
    for user in ("pusher", "stranger"):
        assert "Login Succeeded" in docker.log_in(registry.address, *accounts.account(user))
    for user, password in (("pusher", "wrong"), ("nobody", "wrong"), ("pusher", accounts.account("reader")[1])):
        with pytest.raises(AssertionError, match=r"401 Unauthorized|unauthorized"):
            docker.log_in(registry.address, user, password)


def test_docker_pushes_and_pulls_as_far_as_it_may(
    image: Image, registry: Pullthrough, docker: Docker, accounts: Accounts, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/docker"
    images.write_archive(image, f"{name}:1", tmp_path / "image.tar")
    docker.load(tmp_path / "image.tar")

    docker.log_out(registry.address)
    with pytest.raises(AssertionError, match=r"unauthorized|no basic auth credentials|authentication required"):
        docker.push(f"{name}:1")
    for user in ("reader", "stranger"):
        docker.log_in(registry.address, *accounts.account(user))
        with pytest.raises(AssertionError, match="denied: requested access to the resource is denied"):
            docker.push(f"{name}:1")
    docker.log_in(registry.address, *accounts.account("pusher"))
    digest = docker.push(f"{name}:1")

    docker.remove(f"{name}:1")
    docker.log_in(registry.address, *accounts.account("reader"))
    assert docker.pull(f"{name}@{digest}") == digest
    docker.remove(f"{name}@{digest}")
    docker.log_in(registry.address, *accounts.account("stranger"))
    with pytest.raises(AssertionError, match="denied"):
        docker.pull(f"{name}:1")
    docker.log_out(registry.address)
    with pytest.raises(AssertionError, match=r"unauthorized|denied"):
        docker.pull(f"{name}:1")
    pushed = registry.answered(name="team/docker", kind="manifest", method="PUT", status=201)
    assert [event["principal"] for event in pushed] == ["pusher"]


def test_docker_mounts_a_layer_from_where_it_may_read(
    image: Image, registry: Pullthrough, docker: Docker, accounts: Accounts, tmp_path: Path
) -> None:
    first, second = f"{registry.address}/team/first:1", f"{registry.address}/team/second:1"
    images.write_archive(image, first, tmp_path / "image.tar")
    docker.load(tmp_path / "image.tar")
    docker.log_in(registry.address, *accounts.account("pusher"))
    docker.push(first)
    docker.tag(first, second)

    docker.push(second)
    docker.remove(first, second)

    # Only a mount ends with the POST that would begin an upload.
    mounted = registry.answered(method="POST", name="team/second", kind="uploads", status=201)
    assert len(mounted) == len(image.layers)


def test_docker_pulls_what_anybody_may_without_logging_in(image: Image, registry: Pullthrough, docker: Docker) -> None:
    docker.log_out(registry.address)
    reference = f"{registry.address}/quay/org/tools:1"
    assert docker.pull(reference) == image.digest
    docker.remove(reference)


def test_docker_pulls_through_the_mirror_with_its_password_of_docker_hub(
    image: Image, hub: Emulated, registry: Pullthrough, docker: Docker
) -> None:
    user, password = "hub-user", "dckr_pat_of-docker-hub"
    docker.remember("https://index.docker.io/v1/", user, password)

    assert docker.pull("tools:1") == image.digest
    docker.remove("tools:1")

    served = registry.answered(rule="docker-hub", kind="manifest")
    assert {event["status"] for event in served} == {200}
    assert {event["principal"] for event in served} == {None}
    assert [event["status"] for event in registry.answered(kind="token", principal=None)][-1] == 200
    asked = hub["docker-hub"].journal.exchanges
    assert asked
    seen = registry.process.output() + repr(asked)
    assert password not in seen
    assert user not in seen
    assert not [each for each in asked if (each.authorization or "").lower().startswith("basic")]


@pytest.mark.parametrize("way", ["log in", "option"])
def test_podman_pushes_and_pulls_as_far_as_it_may(
    image: Image, registry: Pullthrough, accounts: Accounts, folder: Path, tmp_path: Path, way: str
) -> None:
    registries = shipped("registries.conf", port=registry.port, mirror=registry.mirror)
    podman = Podman(parts.require(parts.PODMAN, root=True), folder / "podman", registries=registries)
    name = f"{registry.address}/team/podman-{way.replace(' ', '-')}"
    images.write_archive(image, "localhost/source:1", tmp_path / "image.tar")
    podman.load(tmp_path / "image.tar")

    def as_user(user: str) -> list[str]:
        if way == "option":
            return [creds(accounts, user)]
        assert "Login Succeeded" in podman.log_in(registry.address, *accounts.account(user))
        return []

    with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
        podman.push("localhost/source:1", f"{name}:1")
    for user in ("reader", "stranger"):
        with pytest.raises(AssertionError, match=FORBIDDEN):
            podman.push("localhost/source:1", f"{name}:1", *as_user(user))
    digest = podman.push("localhost/source:1", f"{name}:1", *as_user("pusher"))
    podman.remove_all()
    assert podman.pull(f"{name}@{digest}", INSECURE, *as_user("reader")) == digest
    with pytest.raises(AssertionError, match="denied"):
        podman.pull(f"{name}:1", INSECURE, *as_user("stranger"))


def test_podman_is_refused_a_wrong_password(registry: Pullthrough, folder: Path) -> None:
    podman = Podman(parts.require(parts.PODMAN, root=True), folder / "podman", registries="")
    with pytest.raises(AssertionError, match=r"invalid username/password|unauthorized"):
        podman.log_in(registry.address, "pusher", "wrong")


def test_podman_pulls_what_anybody_may_by_its_registries_file(
    image: Image, registry: Pullthrough, folder: Path
) -> None:
    registries = shipped("registries.conf", port=registry.port, mirror=registry.mirror)
    podman = Podman(parts.require(parts.PODMAN, root=True), folder / "podman", registries=registries)
    assert podman.pull("docker.io/library/tools:1") == image.digest


def test_skopeo_pushes_and_pulls_as_far_as_it_may(
    image: Image, registry: Pullthrough, accounts: Accounts, skopeo: Skopeo, layout: str
) -> None:
    name = f"{registry.address}/team/skopeo:1"
    with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
        skopeo.push(layout, name)
    for user in ("reader", "stranger"):
        with pytest.raises(AssertionError, match=FORBIDDEN):
            skopeo.push(layout, name, creds(accounts, user, option="--dest-creds"))
    assert skopeo.push(layout, name, creds(accounts, "pusher", option="--dest-creds")) == image.digest

    assert skopeo.digest(name, INSECURE, creds(accounts, "reader")) == image.digest
    for user in ("pusher", "reader"):
        assert "Login Succeeded" in skopeo.log_in(registry.address, *accounts.account(user))
        assert skopeo.digest(name, INSECURE) == image.digest
    with pytest.raises(AssertionError, match="denied"):
        skopeo.digest(name, INSECURE, creds(accounts, "stranger"))
    with pytest.raises(AssertionError, match=r"invalid username/password|unauthorized"):
        skopeo.log_in(registry.address, "reader", "wrong")
    with pytest.raises(AssertionError, match=r"invalid username/password|unauthorized"):
        skopeo.digest(name, INSECURE, "--creds=reader:wrong")


def test_skopeo_pulls_what_anybody_may(image: Image, registry: Pullthrough, skopeo: Skopeo) -> None:
    assert skopeo.digest(f"{registry.address}/quay/org/tools:1", INSECURE, "--no-tags") == image.digest
    with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
        skopeo.digest(f"{registry.address}/team/secret:1", INSECURE, "--no-tags")


def hosts(registry: Pullthrough, header: str = "") -> str:
    """Return a hosts.toml of the registry, which sends `header` with each request."""
    text = shipped("hosts.toml", port=registry.port, mirror=registry.mirror)
    return f'{text}\n  [host."{registry.url}".header]\n    Authorization = ["{header}"]\n' if header else text


@pytest.fixture
def closed(hub: Emulated, accounts: Accounts, tmp_path: Path) -> Iterator[Pullthrough]:
    """A cache of Docker Hub that only one user may pull through."""
    policy = {"principals": ["reader"], "actions": ["pull", "first_pull"], "repositories": ["docker-hub/**"]}
    settings = {
        "auth": accounts.settings(policy),
        "upstreams": hub.settings,
        "rules": [{"prefix": "docker-hub", "upstream": "registry-1.docker.io", "complete": False}],
    }
    with Pullthrough(tmp_path / "closed", settings) as server:
        yield server


def test_containerd_pulls_with_the_header_of_its_hosts_file(
    image: Image, closed: Pullthrough, accounts: Accounts, folder: Path
) -> None:
    toolbox = parts.require(parts.CONTAINERD, root=True)
    header = "Basic " + base64.b64encode(":".join(accounts.account("reader")).encode()).decode()
    with Containerd(toolbox, folder / "containerd", hosts=hosts(closed, header)) as containerd:
        assert containerd.pull("docker.io/library/tools:1") == image.digest
    served = closed.answered(ns="docker.io")
    assert {(event["principal"], event["status"]) for event in served} == {("reader", 200)}


def test_containerd_pulls_with_user_and_password(
    image: Image, closed: Pullthrough, accounts: Accounts, folder: Path
) -> None:
    toolbox = parts.require(parts.CONTAINERD, root=True)
    user = f"--user={':'.join(accounts.account('reader'))}"
    with Containerd(toolbox, folder / "containerd", hosts=hosts(closed)) as containerd:
        assert containerd.pull("docker.io/library/tools:1", user) == image.digest
        served = closed.answered(ns="docker.io", status=200)
        assert {event["principal"] for event in served} == {"reader"}
        assert closed.answered(kind="token", status=200, method="POST")
        for refused in ([f"--user={':'.join(accounts.account('stranger'))}"], ["--user=reader:wrong"], []):
            with pytest.raises(AssertionError, match=r"(?i)denied|forbidden|unauthorized|failed to authorize"):
                containerd.pull("docker.io/library/tools:other", *refused)


def test_containerd_pulls_what_anybody_may(image: Image, registry: Pullthrough, folder: Path) -> None:
    toolbox = parts.require(parts.CONTAINERD, root=True)
    with Containerd(toolbox, folder / "containerd", hosts=hosts(registry)) as containerd:
        assert containerd.pull("docker.io/library/tools:1") == image.digest


def test_oras_pushes_and_pulls_as_far_as_it_may(registry: Pullthrough, accounts: Accounts, tmp_path: Path) -> None:
    report, name = tmp_path / "report.json", f"{registry.address}/team/oras:1"
    report.write_text('{"findings": []}')
    files = {report: "application/json"}
    with Oras(registry.address) as oras, pytest.raises(ValueError, match="UNAUTHORIZED"):
        oras.push(name, files)
    with Oras(registry.address, accounts.account("pusher"), basic=True) as oras:
        oras.push(name, files)
    with Oras(registry.address, accounts.account("reader")) as oras:
        assert oras.pull(name, tmp_path / "pulled") == {"report.json": report.read_bytes()}
    with Oras(registry.address) as oras, pytest.raises(ValueError, match="Unauthorized"):
        oras.pull(name, tmp_path / "refused")


class Crane:
    """What crane, ko and kaniko do: begin each operation with a ping, and ask for one token for all of it."""

    def __init__(self, registry: Pullthrough, account: tuple[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=30)
        self._account = account
        self._token = ""

    def begin(self, *scopes: str) -> None:
        """Ask for a token as the ping says."""
        status, headers, _ = self.ask("GET", "/v2/")
        assert status == 401
        [found] = parse_challenges([headers["WWW-Authenticate"]])
        realm = urlsplit(found.realm)
        assert realm.netloc == found.service
        query = urlencode([("service", found.service), *(("scope", scope) for scope in scopes)])
        basic = base64.b64encode(":".join(self._account).encode()).decode()
        status, _, body = self.ask("GET", f"{realm.path}?{query}", Authorization=f"Basic {basic}")
        assert status == 200, body
        self._token = json.loads(body)["token"]

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        fields = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._connection.request(method, path, body, {**fields, **headers})
        answer = self._connection.getresponse()
        return answer.status, dict(answer.headers.items()), answer.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def test_crane_pushes_with_a_token_for_its_operation_and_is_told_when_that_is_not_enough(
    registry: Pullthrough, accounts: Accounts
) -> None:
    with Crane(registry, accounts.account("pusher")) as crane:
        crane.begin("repository:team/crane:pull")
        assert crane.ask("GET", "/v2/team/crane/tags/list")[0] == 404
        status, headers, _ = crane.ask("POST", "/v2/team/crane/blobs/uploads/")
        [found] = parse_challenges([headers["WWW-Authenticate"]])
        assert (status, found.error, found.scope) == (401, "insufficient_scope", "repository:team/crane:pull,push")
    with Crane(registry, accounts.account("pusher")) as crane:
        crane.begin("repository:team/crane:push,pull", "repository:team/other:pull")
        digest = digest_of(b"blob")
        status, _, _ = crane.ask("POST", f"/v2/team/crane/blobs/uploads/?digest={digest}", b"blob")
        assert status == 201
        assert crane.ask("GET", f"/v2/team/crane/blobs/{digest}")[2] == b"blob"
    with Crane(registry, accounts.account("stranger")) as crane:
        crane.begin("repository:team/crane:pull")
        for path in (f"/v2/team/crane/blobs/{digest}", f"/v2/team/nothing/blobs/{digest}"):
            status, _, body = crane.ask("GET", path)
            assert (status, json.loads(body)["errors"][0]["code"]) == (403, "DENIED")
