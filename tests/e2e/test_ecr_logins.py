"""``aws ecr get-login-password``, and what its password is good for, in both characters of the registry."""

import base64
import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import images, parts
from tests.support.accounts import POLICIES, Accounts
from tests.support.aws_clients import AwsCli
from tests.support.clients import Docker, Podman, Skopeo
from tests.support.ecr_registries import CHARACTERS, REGION
from tests.support.images import Image
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

KNOWN = [policy for policy in POLICIES if policy["principals"] != ["anonymous"]]


@dataclass(frozen=True)
class Guarded:
    """A registry with accounts, whose owners have the AWS CLI."""

    server: Pullthrough
    accounts: Accounts
    folder: Path
    ecr: bool

    def cli(self, user: str) -> AwsCli:
        toolbox = parts.require(parts.AWS_CLI)
        return AwsCli(toolbox, self.folder / user, self.server.url, REGION, key=self.accounts.keys[user])

    def password(self, user: str) -> str:
        """Return what ``aws ecr get-login-password`` prints."""
        return self.cli(user).text("ecr", "get-login-password").strip()

    @property
    def address(self) -> str:
        """Return the registry as docker takes it to be without TLS."""
        return f"localhost:{self.server.port}"


@pytest.fixture(scope="module", params=CHARACTERS)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    accounts = Accounts(folder / "accounts")
    settings = {
        "auth": accounts.settings(*KNOWN),
        "registry": {"compatibility": request.param, "region": REGION},
        "log": {"level": "debug"},
    }
    with Pullthrough(folder / "server", settings) as server:
        running = Guarded(server, accounts, folder, request.param == "ecr")
        for name in ("docker", "podman", "skopeo"):
            running.cli("pusher").ask("ecr", "create-repository", "--repository-name", f"team/{name}")
        yield running


def test_docker_logs_in_pushes_and_pulls(guarded: Guarded, docker: Docker, image: Image, tmp_path: Path) -> None:
    name = f"{guarded.address}/team/docker"
    images.write_archive(image, f"{name}:1", tmp_path / "image.tar")
    docker.load(tmp_path / "image.tar")

    assert "Login Succeeded" in docker.log_in(guarded.address, "AWS", guarded.password("pusher"))
    digest = docker.push(f"{name}:1")
    docker.remove(f"{name}:1")
    docker.log_in(guarded.address, "AWS", guarded.password("reader"))
    assert docker.pull(f"{name}@{digest}") == digest
    docker.tag(f"{name}@{digest}", f"{name}:2")
    with pytest.raises(AssertionError, match="denied"):
        docker.push(f"{name}:2")
    docker.remove(f"{name}:2", f"{name}@{digest}")
    docker.log_out(guarded.address)
    with pytest.raises(AssertionError, match="no basic auth credentials" if guarded.ecr else "unauthorized"):
        docker.pull(f"{name}:1")

    pushed = guarded.server.answered(name="team/docker", kind="manifest", method="PUT", status=201)
    assert [event["principal"] for event in pushed] == ["pusher"]


def test_docker_is_refused_what_is_no_password_of_the_registry(guarded: Guarded, docker: Docker) -> None:
    good = guarded.password("pusher")
    other = "A" if good[-1] != "A" else "B"
    for user, password in (("AWS", good[:-2] + other + good[-1]), ("AWS", "wrong"), ("pusher", good)):
        with pytest.raises(AssertionError, match=r"401 Unauthorized|unauthorized"):
            docker.log_in(guarded.address, user, password)


def test_docker_logs_in_with_the_password_of_a_user_too(guarded: Guarded, docker: Docker) -> None:
    assert "Login Succeeded" in docker.log_in(guarded.address, *guarded.accounts.account("reader"))


def test_podman_logs_in_pushes_and_pulls(guarded: Guarded, image: Image, folder: Path, tmp_path: Path) -> None:
    podman = Podman(parts.require(parts.PODMAN, root=True), folder / "podman", registries="")
    name = f"{guarded.server.address}/team/podman"
    images.write_archive(image, "localhost/source:1", tmp_path / "image.tar")
    podman.load(tmp_path / "image.tar")
    assert "Login Succeeded" in podman.log_in(guarded.server.address, "AWS", guarded.password("pusher"))
    digest = podman.push("localhost/source:1", f"{name}:1")
    reader = f"--creds=AWS:{guarded.password('reader')}"
    podman.remove_all()
    assert podman.pull(f"{name}@{digest}", "--tls-verify=false", reader) == digest
    with pytest.raises(AssertionError, match=r"denied|403 \(Forbidden\)"):
        podman.push(f"{name}@{digest}", f"{name}:2", reader)


def test_skopeo_pushes_and_inspects(guarded: Guarded, image: Image, folder: Path, tmp_path: Path) -> None:
    skopeo = Skopeo(parts.require(parts.SKOPEO), folder / "skopeo", registries="")
    images.write_layout(image, "1", tmp_path / "layout")
    source, name = f"oci:{tmp_path / 'layout'}:1", f"{guarded.server.address}/team/skopeo:1"
    pusher, reader, stranger = (f"AWS:{guarded.password(user)}" for user in ("pusher", "reader", "stranger"))
    assert skopeo.push(source, name, f"--dest-creds={pusher}") == image.digest
    assert skopeo.digest(name, "--tls-verify=false", f"--creds={reader}") == image.digest
    with pytest.raises(AssertionError, match="denied"):
        skopeo.digest(name, "--tls-verify=false", f"--creds={stranger}")
    with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
        skopeo.digest(name, "--tls-verify=false")


def test_the_token_of_the_api_goes_into_a_header_as_it_is(guarded: Guarded) -> None:
    answer = guarded.cli("reader").ask("ecr", "get-authorization-token")
    token = answer["authorizationData"][0]["authorizationToken"]
    connection = http.client.HTTPConnection("127.0.0.1", guarded.server.port, timeout=30)
    try:
        connection.request("GET", "/v2/", headers={"Authorization": f"Basic {token}"})
        assert connection.getresponse().status == 200
    finally:
        connection.close()
    said = guarded.server.process.output()
    password = base64.b64decode(token).decode().partition(":")[2]
    assert token not in said
    assert password not in said
