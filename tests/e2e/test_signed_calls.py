"""The AWS APIs of a registry that asks who its callers are, as the AWS CLI and boto3 call the real program."""

import base64
import http.client
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from proxy.model.access_keys import AccessKey
from proxy.model.digest import Digest
from tests.support import parts
from tests.support.aws_clients import Aws, AwsCli, refused
from tests.support.pullthrough import Pullthrough
from tests.support.signing import ANN, BOB

pytestmark = pytest.mark.e2e

LAYER = b"the bytes of a layer"
ACCOUNT = "111122223333"
ARN = f"arn:aws:iam::{ACCOUNT}:user/ann"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"{ANN.line}\n{BOB.line}\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def server(keys: Path, tmp_path: Path) -> Iterator[Pullthrough]:
    policies = [
        {"principals": ["ann"], "actions": ["pull", "push", "delete", "admin"]},
        {"principals": ["bob"], "actions": ["pull"], "repositories": ["team/**"]},
    ]
    auth = {"access_keys": str(keys), "policies": policies}
    running = Pullthrough(tmp_path / "registry", {"registry": {"account_id": ACCOUNT}, "auth": auth})
    try:
        running.start()
        yield running
    finally:
        running.stop()


def cli(server: Pullthrough, folder: Path, key: AccessKey, region: str = "us-east-1") -> AwsCli:
    """Return the AWS CLI with an access key."""
    made = AwsCli(parts.require(parts.AWS_CLI), folder, server.url, region)
    made.environment |= {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret}
    return made


def status(server: Pullthrough, password: str) -> int:
    """Return what ``/v2/`` answers to a password."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    credentials = base64.b64encode(f"AWS:{password}".encode()).decode()
    connection.request("GET", "/v2/", headers={"Authorization": f"Basic {credentials}"})
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def is_refused(aws: Aws) -> bool:
    """Tell whether the key of a client is unknown."""
    try:
        aws.sts.get_caller_identity()
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "InvalidClientTokenId")
    return False


def test_the_aws_cli_gets_a_password_by_its_keys(server: Pullthrough, tmp_path: Path) -> None:
    ann = cli(server, tmp_path / "ann", ANN)
    assert ann.ask("sts", "get-caller-identity") == {"UserId": "ann", "Account": ACCOUNT, "Arn": ARN}
    password = ann.text("ecr", "get-login-password").strip()
    assert status(server, password) == 200
    assert status(server, f"{password}x") == 401


def test_the_aws_cli_is_told_what_is_wrong_with_its_keys(server: Pullthrough, tmp_path: Path) -> None:
    wrong = AccessKey(ANN.id, "another-secret-0", ANN.principal)
    unknown = AccessKey("AKIANOBODY000000", ANN.secret, ANN.principal)
    told = [
        cli(server, tmp_path / f"{number}", key, region).refusal("ecr", "get-login-password")
        for number, (key, region) in enumerate([(wrong, "us-east-1"), (unknown, "us-east-1"), (ANN, "eu-west-1")])
    ]
    assert "(InvalidSignatureException)" in told[0]
    assert "(UnrecognizedClientException)" in told[1]
    assert "Credential should be scoped to a valid region, not 'eu-west-1'." in told[2]


def test_callers_do_what_their_policies_say(server: Pullthrough) -> None:
    with Aws(server.url, key=ANN) as ann, Aws(server.url, key=BOB) as bob:
        for name in ("team/app", "other/app"):
            ann.ecr.create_repository(repositoryName=name)
        assert bob.ecr.list_images(repositoryName="team/app")["imageIds"] == []
        for name in ("other/app", "none/app"):
            with refused("AccessDeniedException") as refusal:
                bob.ecr.list_images(repositoryName=name)
            assert refusal.message.endswith(f"resource: arn:aws:ecr:us-east-1:{ACCOUNT}:repository/{name}")
        with refused("AccessDeniedException"):
            bob.ecr.initiate_layer_upload(repositoryName="team/app")
        with refused("AccessDeniedException"):
            bob.secrets.list_secrets()
        assert bob.sts.get_caller_identity()["UserId"] == "bob"


def test_the_url_of_a_layer_needs_no_credentials(server: Pullthrough) -> None:
    with Aws(server.url, key=ANN) as ann, Aws(server.url, key=BOB) as bob:
        ann.ecr.create_repository(repositoryName="team/app")
        named = {"repositoryName": "team/app"}
        upload = ann.ecr.initiate_layer_upload(**named)["uploadId"]
        part = {"partFirstByte": 0, "partLastByte": len(LAYER) - 1, "layerPartBlob": LAYER}
        with refused("AccessDeniedException"):
            bob.ecr.upload_layer_part(**named, uploadId=upload, **part)
        ann.ecr.upload_layer_part(**named, uploadId=upload, **part)
        digest = str(Digest.of(LAYER))
        ann.ecr.complete_layer_upload(**named, uploadId=upload, layerDigests=[digest])
        url = bob.ecr.get_download_url_for_layer(**named, layerDigest=digest)["downloadUrl"]
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback only
        assert answer.read() == LAYER
    assert "ticket=" in urlsplit(url).query
    assert urlsplit(url).query.partition("=")[2] not in server.process.output()


def test_keys_are_good_and_gone_with_their_file(server: Pullthrough, keys: Path) -> None:
    with Aws(server.url, key=BOB) as bob:
        assert bob.sts.get_caller_identity()
        keys.write_text(f"{ANN.line}\n")
        server.process.wait_until(lambda: is_refused(bob), "the key is unknown")
