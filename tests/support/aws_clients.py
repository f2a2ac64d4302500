"""AWS's own clients, pointed at a registry of the tests: boto3 and the AWS CLI; and requests as the wire has them."""

import http.client
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from proxy.model.access_keys import AccessKey
from tests.support.parts import Toolbox
from tests.support.pullthrough import Pullthrough

SHIPPED = Path(__file__).parents[2] / "config" / "ecr.yaml"


class EcrRegistry(Pullthrough):
    """A server with the shipped ``config/ecr.yaml``; `settings` are laid over it by the environment, as users do it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, store: Path | None = None) -> None:
        super().__init__(folder, {}, store=store)
        own: dict[str, Mapping[str, Any]] = {
            "server": {"port": self.port},
            "storage": {"path": str(self.layout.root), "min_free": 0},
            "log": {"format": "json"},
        }
        laid = {section: {**own.get(section, {}), **settings.get(section, {})} for section in {**own, **settings}}
        self.file = SHIPPED
        self._environment = {
            **os.environ,
            **{
                f"PULLTHROUGH_{section.upper()}__{key.upper()}": value if isinstance(value, str) else json.dumps(value)
                for section, values in laid.items()
                for key, value in values.items()
            },
        }


class Aws:
    """boto3 clients of one registry, each made at its first use. Use as a context manager, in one thread at a time.

    They sign with `key`, else with one that nobody knows.
    Clients do not try again: what is refused is refused once. A client holds itself to the model's required members
    and types only; all else is checked by the server.
    """

    def __init__(self, url: str, region: str = "us-east-1", key: AccessKey | None = None) -> None:
        self.url = url
        self.region = region
        self._key = ("any", "any") if key is None else (key.id, key.secret)
        self._clients: dict[str, Any] = {}

    @property
    def ecr(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        return self._client("ecr")

    @property
    def secrets(self) -> Any:  # noqa: ANN401 - as above
        return self._client("secretsmanager")

    @property
    def sts(self) -> Any:  # noqa: ANN401 - as above
        return self._client("sts")

    def secret(self, name: str, username: str = "user", token: str = "token") -> str:
        """Make a secret with an account in it; return its ARN."""
        value = json.dumps({"username": username, "accessToken": token})
        arn: str = self.secrets.create_secret(Name=name, SecretString=value)["ARN"]
        return arn

    def rule(self, prefix: str, upstream: str, **more: str) -> dict[str, Any]:
        made: dict[str, Any] = self.ecr.create_pull_through_cache_rule(
            ecrRepositoryPrefix=prefix, upstreamRegistryUrl=upstream, **more
        )
        return made

    def repositories(self) -> dict[str, dict[str, Any]]:
        """Return all repositories by name."""
        pages = self.ecr.get_paginator("describe_repositories").paginate()
        return {each["repositoryName"]: each for page in pages for each in page["repositories"]}

    def images(self, repository: str) -> dict[str, set[str]]:
        """Return the tags of all images by their digests."""
        pages = self.ecr.get_paginator("describe_images").paginate(repositoryName=repository)
        found = [image for page in pages for image in page["imageDetails"]]
        return {image["imageDigest"]: set(image.get("imageTags", ())) for image in found}

    def clear(self) -> None:
        """Remove all rules, templates, repositories and secrets that the API can remove."""
        for rule in self.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]:
            self.ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix=rule["ecrRepositoryPrefix"])
        for template in self.ecr.describe_repository_creation_templates()["repositoryCreationTemplates"]:
            self.ecr.delete_repository_creation_template(prefix=template["prefix"])
        for name in self.repositories():
            self.ecr.delete_repository(repositoryName=name, force=True)
        for secret in self.secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"]:
            self.secrets.delete_secret(SecretId=secret["ARN"], ForceDeleteWithoutRecovery=True)

    def _client(self, service: str) -> Any:  # noqa: ANN401 - as above
        if service not in self._clients:
            session: Any = boto3.session.Session(*self._key, region_name=self.region)
            once = Config(retries={"total_max_attempts": 1})
            self._clients[service] = session.client(service, endpoint_url=self.url, config=once)
        return self._clients[service]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()


@dataclass
class Refusal:
    """What a refused call was told; `text` is empty until the call was refused."""

    code: str = ""
    message: str = ""
    status: int = 0


@contextmanager
def refused(code: str, status: int = 400) -> Iterator[Refusal]:
    """Expect a call to be refused with this exception."""
    refusal = Refusal()
    try:
        yield refusal
    except ClientError as error:
        refusal.code, refusal.message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        refusal.status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    assert (refusal.code, refusal.status) == (code, status), refusal
    assert refusal.message


class AwsCli:
    """The AWS CLI as it is without configuration, with the time zone UTC; times are printed as version 2 does.

    It is led to `url` by ``--endpoint-url``, or `by_variable` by ``AWS_ENDPOINT_URL``. `key` is an access key's id and
    its secret.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        folder: Path,
        url: str,
        region: str,
        *,
        by_variable: bool = False,
        key: tuple[str, str] = ("any", "any"),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config").write_text("[default]\ncli_timestamp_format = iso8601\n")
        variables = {
            "AWS_ACCESS_KEY_ID": key[0],
            "AWS_SECRET_ACCESS_KEY": key[1],
            "AWS_CONFIG_FILE": str(folder / "config"),
            "AWS_DEFAULT_OUTPUT": "json",
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
            "TZ": "UTC",
        }
        inherited = {key: value for key, value in toolbox.environment().items() if not key.startswith("AWS_")}
        self.environment = {**inherited, **variables, **({"AWS_ENDPOINT_URL": url} if by_variable else {})}
        self.command = [toolbox.program("aws"), *([] if by_variable else [f"--endpoint-url={url}"])]

    def ask(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON
        """Return what a command prints as JSON, None where it prints nothing."""
        printed = self.text(*arguments)
        return json.loads(printed) if printed.strip() else None

    def text(self, *arguments: str) -> str:
        """Return what a command prints."""
        done = self._run(arguments)
        assert done.returncode == 0, f"aws {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def refusal(self, *arguments: str) -> str:
        """Return what a command says that the server refuses; aws exits with 254 (or 255 in older versions) then."""
        done = self._run(arguments)
        assert done.returncode in {254, 255}, f"aws {' '.join(arguments)}: {done.returncode}\n{done.stdout}"
        return done.stderr.strip()

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@dataclass(frozen=True)
class Wire:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)


def post(port: int, headers: Mapping[str, str], body: bytes) -> Wire:
    """Send ``POST /`` with these headers, Host among them, to 127.0.0.1."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest("POST", "/", skip_host=True, skip_accept_encoding=True)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return Wire(answer.status, dict(answer.headers), answer.read())
    finally:
        connection.close()
