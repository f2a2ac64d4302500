"""Amazon's documents of ECR, replayed: their sample requests, their request syntax, and each exception they list.

The registry is the shipped ``config/ecr.yaml`` with the account, the region and the host of those documents.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import parts
from tests.support.aws_clients import Aws, AwsCli, EcrRegistry, Refusal, post, refused

pytestmark = pytest.mark.e2e

ACCOUNT, REGION = "012345678910", "us-west-2"
HOST = f"api.ecr.{REGION}.amazonaws.com"
SECRET = "ecr-pullthroughcache/example1234"
ARN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{SECRET}"
HUB = {
    "ecrRepositoryPrefix": "docker-hub",
    "upstreamRegistryUrl": "registry-1.docker.io",
    "credentialArn": ARN,
}
PUBLIC = {"ecrRepositoryPrefix": "ecr-public", "upstreamRegistryUrl": "public.ecr.aws"}
# Requests of CreatePullThroughCacheRule with what their answers have besides `createdAt`.
SAMPLES = [
    pytest.param(HUB, {**HUB, "registryId": ACCOUNT, "upstreamRegistry": "docker-hub"}, id="with a secret"),
    pytest.param(PUBLIC, {**PUBLIC, "registryId": ACCOUNT, "upstreamRegistry": "ecr-public"}, id="without one"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EcrRegistry]:
    settings: dict[str, dict[str, Any]] = {
        "registry": {"account_id": ACCOUNT, "region": REGION},
        "server": {"hosts": [HOST]},
    }
    with EcrRegistry(tmp_path_factory.mktemp("registry"), settings) as running:
        yield running


@pytest.fixture
def aws(server: EcrRegistry) -> Iterator[Aws]:
    """boto3 at an empty registry; the secret of the samples is there."""
    with Aws(server.url, REGION) as clients:
        clients.secret(SECRET)
        yield clients
        clients.clear()


@pytest.fixture(params=["--endpoint-url", "AWS_ENDPOINT_URL"])
def cli(request: pytest.FixtureRequest, server: EcrRegistry, tmp_path: Path) -> AwsCli:
    by_variable = request.param == "AWS_ENDPOINT_URL"
    return AwsCli(parts.require(parts.AWS_CLI), tmp_path / "cli", server.url, REGION, by_variable=by_variable)


def headers(operation: str, *, host: str = HOST) -> dict[str, str]:
    """Return the headers of the documents' samples; what they leave out of Authorization is made up."""
    signed = f"Credential=AKIDEXAMPLE/20231003/{REGION}/ecr/aws4_request, SignedHeaders=host;x-amz-date, Signature=0"
    return {
        "Host": host,
        "Accept-Encoding": "identity",
        "X-Amz-Target": f"AmazonEC2ContainerRegistry_V20150921.{operation}",
        "Content-Type": "application/x-amz-json-1.1",
        "User-Agent": "aws-cli/2.13.22 Python/3.11.5 Darwin/16.7.0 botocore/1.12.180",
        "X-Amz-Date": "20231003T155747Z",
        "Authorization": f"AWS4-HMAC-SHA256 {signed}",
    }


def is_now(moment: object) -> bool:
    """Tell whether this is the present time, as seconds since the epoch or as boto3 gives it."""
    seconds = moment.timestamp() if isinstance(moment, datetime) else moment
    return isinstance(seconds, (int, float)) and abs(time.time() - seconds) < 60


def without(answer: dict[str, Any], *members: str) -> dict[str, Any]:
    """Return the answer less these members, which it must have, and less what boto3 adds."""
    assert set(members) <= answer.keys()
    return {name: value for name, value in answer.items() if name not in {*members, "ResponseMetadata"}}


# --- the samples ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(("sample", "documented"), SAMPLES)
def test_a_sample_is_answered_byte_for_byte_as_the_protocol_says(
    sample: dict[str, str], documented: dict[str, str], server: EcrRegistry
) -> None:
    body = ",\n ".join(f'"{name}":"{value}"' for name, value in sample.items())
    answer = post(server.port, headers("CreatePullThroughCacheRule"), f"{{\n {body}\n}}".encode())

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert answer.headers["x-amzn-RequestId"] == answer.headers["X-Request-ID"]
    assert without(answer.document, "createdAt") == documented
    # The documents show it as their command line prints it; on the wire it is a number, which the Go SDK insists on.
    assert is_now(answer.document["createdAt"])


@pytest.mark.parametrize(("sample", "documented"), SAMPLES)
def test_a_sample_by_boto3(sample: dict[str, str], documented: dict[str, str], aws: Aws) -> None:
    answer = aws.ecr.create_pull_through_cache_rule(**sample)

    assert without(answer, "createdAt") == documented
    assert is_now(answer["createdAt"])


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(("sample", "documented"), SAMPLES)
def test_a_sample_by_the_command_line(sample: dict[str, str], documented: dict[str, str], cli: AwsCli) -> None:
    options = {
        "--ecr-repository-prefix": "ecrRepositoryPrefix",
        "--upstream-registry-url": "upstreamRegistryUrl",
        "--credential-arn": "credentialArn",
    }
    given = [text for option, name in options.items() if name in sample for text in (option, sample[name])]
    answer = cli.ask("ecr", "create-pull-through-cache-rule", *given)

    assert without(answer, "createdAt") == documented
    # As in the sample responses: 2023-10-03T15:57:48.411000+00:00
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", answer["createdAt"])
    assert is_now(datetime.fromisoformat(answer["createdAt"]))


def test_a_sample_for_a_host_that_is_not_ours_is_misdirected(server: EcrRegistry, aws: Aws) -> None:
    for host in ("api.ecr.us-east-1.amazonaws.com", "ecr.attacker.example", ""):
        answer = post(server.port, headers("CreatePullThroughCacheRule", host=host), b"{}")
        assert answer.status == 421, host

    assert aws.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []


# --- the request syntax: every member that the documents know ---------------------------------------------------------


def test_rules_are_made_and_described_with_every_documented_member(aws: Aws) -> None:
    made = aws.ecr.create_pull_through_cache_rule(
        ecrRepositoryPrefix="gitlab",
        upstreamRegistryUrl="registry.gitlab.com",
        registryId=ACCOUNT,
        upstreamRegistry="gitlab-container-registry",
        credentialArn=ARN,
    )
    aws.rule("quay", "quay.io")
    aws.ecr.update_pull_through_cache_rule(ecrRepositoryPrefix="gitlab", credentialArn=ARN)
    first = aws.ecr.describe_pull_through_cache_rules(registryId=ACCOUNT, maxResults=1)
    second = aws.ecr.describe_pull_through_cache_rules(registryId=ACCOUNT, maxResults=1, nextToken=first["nextToken"])
    named = aws.ecr.describe_pull_through_cache_rules(registryId=ACCOUNT, ecrRepositoryPrefixes=["gitlab"])

    expected = {
        "ecrRepositoryPrefix": "gitlab",
        "upstreamRegistryUrl": "registry.gitlab.com",
        "registryId": ACCOUNT,
        "upstreamRegistry": "gitlab-container-registry",
        "credentialArn": ARN,
    }
    assert without(made, "createdAt") == expected
    (described,) = named["pullThroughCacheRules"]
    assert without(described, "createdAt", "updatedAt") == expected
    assert described["createdAt"] == made["createdAt"]
    assert is_now(described["updatedAt"])
    assert "nextToken" not in named
    assert "nextToken" not in second
    found = [rule["ecrRepositoryPrefix"] for page in (first, second) for rule in page["pullThroughCacheRules"]]
    assert found == ["gitlab", "quay"]


@pytest.mark.parametrize(
    ("name", "url", "needs_secret"),
    [
        ("ecr-public", "public.ecr.aws", False),
        ("docker-hub", "registry-1.docker.io", True),
        ("quay", "quay.io", False),
        ("k8s", "registry.k8s.io", False),
        ("github-container-registry", "ghcr.io", True),
        ("azure-container-registry", "custom.azurecr.io", True),
        ("gitlab-container-registry", "registry.gitlab.com", True),
    ],
)
def test_every_documented_upstream_has_its_name(name: str, url: str, *, needs_secret: bool, aws: Aws) -> None:
    secret = {"credentialArn": ARN} if needs_secret else {}

    assert aws.rule("given", url, upstreamRegistry=name, **secret)["upstreamRegistry"] == name
    assert aws.rule("inferred", url, **secret)["upstreamRegistry"] == name


def test_repositories_are_made_described_changed_and_removed_with_every_documented_member(aws: Aws) -> None:
    made = aws.ecr.create_repository(
        repositoryName="project-a/nginx-web-app",
        tags=[{"Key": "team", "Value": "web"}],
        imageTagMutability="IMMUTABLE",
    )["repository"]
    changed = aws.ecr.put_image_tag_mutability(
        registryId=ACCOUNT, repositoryName="project-a/nginx-web-app", imageTagMutability="MUTABLE"
    )
    aws.ecr.create_repository(repositoryName="test")
    first = aws.ecr.describe_repositories(registryId=ACCOUNT, maxResults=1)
    second = aws.ecr.describe_repositories(registryId=ACCOUNT, maxResults=1, nextToken=first["nextToken"])
    named = aws.ecr.describe_repositories(registryId=ACCOUNT, repositoryNames=["test"])
    removed = aws.ecr.delete_repository(registryId=ACCOUNT, repositoryName="test", force=True)["repository"]

    documented = {
        "repositoryArn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/project-a/nginx-web-app",
        "registryId": ACCOUNT,
        "repositoryName": "project-a/nginx-web-app",
        "imageTagMutability": "IMMUTABLE",
    }
    assert made.items() >= documented.items()
    assert re.fullmatch(r"localhost:\d+/project-a/nginx-web-app", made["repositoryUri"])
    assert is_now(made["createdAt"])
    assert without(changed) == {
        "registryId": ACCOUNT,
        "repositoryName": "project-a/nginx-web-app",
        "imageTagMutability": "MUTABLE",
    }
    assert first["repositories"] == [{**made, "imageTagMutability": "MUTABLE"}]
    assert second["repositories"] == named["repositories"] == [removed]
    assert removed["repositoryArn"] == f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/test"
    assert aws.repositories().keys() == {"project-a/nginx-web-app"}


# --- the exceptions ---------------------------------------------------------------------------------------------------


def quay(aws: Aws, **changes: str) -> Any:  # noqa: ANN401 - what boto3 returns
    return aws.ecr.create_pull_through_cache_rule(
        **{"ecrRepositoryPrefix": "quay", "upstreamRegistryUrl": "quay.io", **changes}
    )


def no_rule(aws: Aws) -> None:
    assert aws.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"ecrRepositoryPrefix": "UPPER"}, "ecrRepositoryPrefix"),
        ({"ecrRepositoryPrefix": "a//b"}, "ecrRepositoryPrefix"),
        ({"ecrRepositoryPrefix": "a" * 31}, "ecrRepositoryPrefix"),
        ({"ecrRepositoryPrefix": "quay\n"}, "ecrRepositoryPrefix"),
        ({"registryId": "12"}, "registryId"),
        ({"upstreamRegistry": "artifactory"}, "upstreamRegistry"),
        ({"credentialArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:elsewhere/1"}, "credentialArn"),
        ({"credentialArn": "x" * 613}, "credentialArn"),
    ],
)
def test_invalid_parameters(changes: dict[str, str], member: str, aws: Aws) -> None:
    with refused("InvalidParameterException") as refusal:
        quay(aws, **changes)

    assert f"'{member}'" in refusal.message
    no_rule(aws)


@pytest.mark.parametrize(
    "changes",
    [
        {"upstreamRegistry": "k8s"},
        {"ecrRepositoryPrefix": "ROOT", "upstreamRepositoryPrefix": "team"},
    ],
)
def test_parameters_that_do_not_go_together(changes: dict[str, str], aws: Aws) -> None:
    with refused("ValidationException"):
        quay(aws, **changes)

    no_rule(aws)


@pytest.mark.parametrize("url", ["registry.example.com", "https://quay.io", "quay.io:8443", "quay.io/team"])
def test_an_unsupported_upstream_registry(url: str, aws: Aws) -> None:
    with refused("UnsupportedUpstreamRegistryException"):
        quay(aws, upstreamRegistryUrl=url)

    no_rule(aws)


def test_an_upstream_that_needs_a_secret_is_unsupported_without(aws: Aws) -> None:
    with refused("UnsupportedUpstreamRegistryException") as refusal:
        quay(aws, upstreamRegistryUrl="registry-1.docker.io")

    sentence = "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN"
    assert refusal.message == sentence
    no_rule(aws)


def test_a_rule_that_exists_already(aws: Aws) -> None:
    quay(aws)

    for prefix in ("quay", "quay/"):
        with refused("PullThroughCacheRuleAlreadyExistsException") as refusal:
            quay(aws, ecrRepositoryPrefix=prefix, upstreamRegistryUrl="registry.k8s.io")
        assert refusal.message == (
            "A pull through cache rule with these settings already exists for the private registry."
        )
    (rule,) = aws.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert rule["upstreamRegistryUrl"] == "quay.io"


def test_a_rule_that_is_not_found(aws: Aws) -> None:
    quay(aws)

    with refused("PullThroughCacheRuleNotFoundException"):
        aws.ecr.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["quay", "unknown"])


@pytest.mark.parametrize(
    "arn",
    [
        f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:ecr-pullthroughcache/unknown",
        f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{SECRET}-zzzzzz",
        f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:{SECRET}",
        f"arn:aws:secretsmanager:{REGION}:999999999999:secret:{SECRET}",
    ],
    ids=["name", "suffix", "region", "account"],
)
def test_a_secret_that_is_not_found(arn: str, aws: Aws) -> None:
    with refused("SecretNotFoundException") as refusal:
        quay(aws, credentialArn=arn)

    assert refusal.message.startswith("The ARN of the secret specified in the pull through cache rule was not found.")
    no_rule(aws)


def test_a_secret_that_cannot_be_accessed(aws: Aws) -> None:
    aws.secrets.delete_secret(SecretId=SECRET, RecoveryWindowInDays=7)

    with refused("UnableToAccessSecretException") as refusal:
        quay(aws, credentialArn=ARN)

    assert refusal.message.startswith("The secret is unable to be accessed.")
    no_rule(aws)
    aws.secrets.restore_secret(SecretId=SECRET)
    assert quay(aws, credentialArn=ARN)["credentialArn"] == ARN


def test_a_secret_that_cannot_be_decrypted(aws: Aws) -> None:
    # ECR reads no secrets with keys of the customer.
    sealed = aws.secrets.create_secret(
        Name="ecr-pullthroughcache/sealed",
        SecretString='{"username": "user", "accessToken": "token"}',
        KmsKeyId=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/own",
    )["ARN"]

    with refused("UnableToDecryptSecretValueException") as refusal:
        quay(aws, credentialArn=sealed)

    assert refusal.message.startswith("The secret is accessible but is unable to be decrypted.")
    no_rule(aws)


def test_the_51st_rule_exceeds_the_limit(aws: Aws) -> None:
    for number in range(50):
        quay(aws, ecrRepositoryPrefix=f"rule-{number}")

    with refused("LimitExceededException"):
        quay(aws, ecrRepositoryPrefix="rule-50")

    pages = list(aws.ecr.get_paginator("describe_pull_through_cache_rules").paginate())
    assert sum(len(page["pullThroughCacheRules"]) for page in pages) == 50
    aws.ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="rule-7")
    quay(aws, ecrRepositoryPrefix="rule-50")


def test_a_failure_of_the_server_tells_nothing_of_its_inside(tmp_path: Path) -> None:
    with EcrRegistry(tmp_path / "registry", {}) as server, Aws(server.url) as aws:
        aws.rule("quay", "quay.io")
        _break_rules(server)
        refusals: list[Refusal] = []
        asks: tuple[Callable[[], object], ...] = (
            aws.ecr.describe_pull_through_cache_rules,
            lambda: quay(aws, ecrRepositoryPrefix="other"),
            lambda: aws.ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay"),
        )
        for ask in asks:
            with refused("ServerException", status=500) as refusal:
                ask()
            refusals.append(refusal)
        _break_rules(server, heal=True)
        described = aws.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]

    assert [rule["ecrRepositoryPrefix"] for rule in described] == ["quay"]
    assert {refusal.message for refusal in refusals} == {"These errors are usually caused by a server-side issue."}


def _break_rules(server: EcrRegistry, *, heal: bool = False) -> None:
    """Take the tables of rules out of the database, or put them back."""
    with closing(sqlite3.connect(server.layout.database)) as database:
        for table in ("rules", "revisions"):
            old, new = (f"broken_{table}", table) if heal else (table, f"broken_{table}")
            database.execute(f"ALTER TABLE {old} RENAME TO {new}")
        database.commit()


@pytest.mark.usefixtures("aws")
def test_the_command_line_shows_exceptions_as_those_of_ecr(cli: AwsCli) -> None:
    made = "create-pull-through-cache-rule", "--ecr-repository-prefix", "quay", "--upstream-registry-url", "quay.io"
    cli.ask("ecr", *made)

    assert cli.refusal("ecr", *made).endswith(
        "An error occurred (PullThroughCacheRuleAlreadyExistsException) when calling the CreatePullThroughCacheRule "
        "operation: A pull through cache rule with these settings already exists for the private registry."
    )
    cli.ask("ecr", "delete-pull-through-cache-rule", "--ecr-repository-prefix", "quay")
    unknown = cli.refusal("ecr", "describe-pull-through-cache-rules", "--ecr-repository-prefixes", "quay")
    assert "(PullThroughCacheRuleNotFoundException) when calling the DescribePullThroughCacheRules" in unknown


# Those that the documents of repositories list besides.


def test_exceptions_of_repositories(aws: Aws) -> None:
    aws.ecr.create_repository(repositoryName="test")

    with refused("RepositoryAlreadyExistsException") as exists:
        aws.ecr.create_repository(repositoryName="test")
    assert exists.message == f"The repository with name 'test' already exists in the registry with id '{ACCOUNT}'"
    asks: tuple[Callable[[], object], ...] = (
        lambda: aws.ecr.delete_repository(repositoryName="unknown"),
        lambda: aws.ecr.describe_repositories(repositoryNames=["test", "unknown"]),
        lambda: aws.ecr.put_image_tag_mutability(repositoryName="unknown", imageTagMutability="MUTABLE"),
    )
    for ask in asks:
        with refused("RepositoryNotFoundException") as unknown:
            ask()
        sentence = f"The repository with name 'unknown' does not exist in the registry with id '{ACCOUNT}'"
        assert unknown.message == sentence
    with refused("InvalidParameterException") as invalid:
        aws.ecr.put_image_tag_mutability(repositoryName="test", imageTagMutability="FROZEN")
    assert "'imageTagMutability'" in invalid.message
    with refused("TooManyTagsException"):
        many = [{"Key": f"key-{number}", "Value": "value"} for number in range(51)]
        aws.ecr.create_repository(repositoryName="tagged", tags=many)
    with refused("InvalidTagParameterException"):
        aws.ecr.create_repository(repositoryName="tagged", tags=[{"Key": "aws:own", "Value": "value"}])
    assert aws.repositories().keys() == {"test"}
