"""The AWS APIs over stores in memory, called by a real boto3.

`settings` says what kind of registry it is: a module or class of tests may give its own. Whoever adds a service to
`Administration` makes it in `services`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.config import Config
from botocore.exceptions import ClientError

from proxy.config.settings import Settings
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.probe_ports import Access, Probe, Sample
from proxy.core.registry.administration import Administration
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.lifecycle.administration import LifecycleAdministration
from proxy.core.registry.policies import PolicyAdministration
from proxy.core.registry.registry import RegistryAdministration
from proxy.core.registry.repositories import RepositoryAdministration
from proxy.core.registry.resource_tags import ResourceTagAdministration
from proxy.core.registry.rule_probing import RuleProber
from proxy.core.registry.rules import RuleAdministration
from proxy.core.registry.secrets.administration import SecretAdministration
from proxy.core.registry.secrets.resolver import BuiltInSecrets, SecretResolver
from proxy.core.registry.templates import TemplateAdministration
from proxy.core.rules import RuleBook, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.validation import RuleValidator
from proxy.http import body
from proxy.http.aws.dispatch import Api
from proxy.http.lifecycle import Lifecycle
from proxy.http.middleware import observe
from proxy.http.reports import Reports
from proxy.model.access_keys import AccessKey
from proxy.model.errors import UpstreamError
from proxy.model.rule import CacheRule
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.sealing import AesGcmSealer
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.unit.http.aws.contents import Contents

ECR = Settings.model_validate({"registry": {"account_id": "012345678910", "compatibility": "ecr"}})
"""A registry that follows ECR to the letter."""


@dataclass
class Probes:
    """The `UpstreamProbe` port: every upstream answers, but those that have a failure."""

    failures: dict[str, UpstreamError] = field(default_factory=dict)
    asked: list[CacheRule] = field(default_factory=list)

    async def probe(self, rule: CacheRule, _sample: Sample | None) -> Probe:
        self.asked.append(rule)
        error = self.failures.get(str(rule.upstream))
        return Probe(0.1, Access.WORKS if rule.credentials is not None else Access.NONE, error=error)


class Client:
    """A client of boto3: called with an operation and its parameters, it works in a thread."""

    def __init__(
        self, service: str, url: str, region: str, *, validate: bool = True, key: AccessKey | None = None
    ) -> None:
        self._service, self._url, self._region, self._validate = service, url, region, validate
        self._key = key
        self._client: Any = None

    async def __call__(self, operation: str, /, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3 has it
        """Return the answer without `ResponseMetadata`."""
        return await asyncio.to_thread(self._call, operation, parameters)

    async def refused(self, operation: str, /, **parameters: Any) -> tuple[str, str]:  # noqa: ANN401 - as boto3 has it
        """Return code and message of the error that the operation must raise."""
        with pytest.raises(ClientError) as caught:
            await self(operation, **parameters)
        error = caught.value.response["Error"]
        return error["Code"], error["Message"]

    async def presigned(self, operation: str, expires: int, method: str = "GET") -> str:
        """Return a URL that stands for the operation."""

        def presign() -> str:
            return str(self._made().generate_presigned_url(operation, ExpiresIn=expires, HttpMethod=method))

        return await asyncio.to_thread(presign)

    async def pages(self, operation: str, /, **parameters: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as boto3 has it
        """Return the pages that boto3's paginator gets."""

        def collect() -> list[dict[str, Any]]:
            return list(self._made().get_paginator(operation).paginate(**parameters))

        return await asyncio.to_thread(collect)

    def _call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self._made(), operation)(**parameters)
        answer.pop("ResponseMetadata")
        return answer

    def _made(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        with _MAKING:
            return self._make()

    def _make(self) -> Any:  # noqa: ANN401 - as above
        if self._client is None:
            config = Config(
                retries={"total_max_attempts": 1},
                parameter_validation=self._validate,
                connect_timeout=10,
                read_timeout=30,
            )
            session = _session()
            self._client = session.client(
                self._service,  # type: ignore[call-overload] # any service
                region_name=self._region,
                endpoint_url=self._url,
                config=config,
                aws_access_key_id=self._key.id if self._key is not None else None,
                aws_secret_access_key=self._key.secret if self._key is not None else None,
            )
        return self._client


_MAKING = threading.Lock()
"""Sessions of boto3 are for one thread at a time; clients are not so limited."""


@cache
def _session() -> boto3.session.Session:
    # One for all tests: reading the models of the services takes longer than most of them.
    return boto3.session.Session(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="hidden")


@dataclass
class Bench:
    """One registry and what stands behind it. `url` is where its API is."""

    settings: Settings
    services: Administration
    metadata: MemoryMetadataStore
    book: RuleBook
    clock: FakeClock
    probes: Probes
    url: str = ""


Boto = Callable[..., Client]


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def metadata() -> MemoryMetadataStore:
    return MemoryMetadataStore()


@pytest.fixture
def probes() -> Probes:
    return Probes()


@pytest.fixture
def book(settings: Settings) -> RuleBook:
    return RuleBook(RuleSet.of(settings))


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks() as running:
        yield running


@pytest.fixture
def contents(
    settings: Settings, metadata: MemoryMetadataStore, book: RuleBook, clock: FakeClock, tasks: Tasks
) -> Contents:
    """What images are made of, and where they come from."""
    return Contents(settings, metadata, book, clock, tasks)


@pytest.fixture
async def services(  # noqa: PLR0917 - what it is made of
    settings: Settings,
    metadata: MemoryMetadataStore,
    book: RuleBook,
    probes: Probes,
    clock: FakeClock,
    tasks: Tasks,
    contents: Contents,
) -> Administration:
    identity, sealer = RegistryIdentity.of(settings), AesGcmSealer([b"k" * 32])
    resolver = SecretResolver([BuiltInSecrets(metadata, sealer, identity, clock)], identity, clock)
    prober = RuleProber(RuleValidator(probes, Policy.of(settings.upstreams, identity)), resolver)
    rules = RuleAdministration(metadata, book, settings, secrets=resolver, prober=prober, clock=clock)
    await rules.load()
    return Administration(
        identity=identity,
        rules=rules,
        secrets=SecretAdministration(metadata, sealer, identity, clock),
        policies=PolicyAdministration(metadata, identity),
        registry=RegistryAdministration(metadata, identity),
        repositories=RepositoryAdministration(
            metadata, identity, clock, default_policy=book.tag_policy, canonical=book.canonical
        ),
        resource_tags=ResourceTagAdministration(metadata, identity),
        templates=TemplateAdministration(metadata, identity, clock),
        lifecycle=LifecycleAdministration(metadata, identity, clock, tasks, offloader=Offloader(), interval=3600.0),
        **contents.administration(identity),
    )


@pytest.fixture
async def api(
    settings: Settings,
    services: Administration,
    metadata: MemoryMetadataStore,
    book: RuleBook,
    clock: FakeClock,
    probes: Probes,
) -> AsyncIterator[Bench]:
    """Serve the AWS APIs, on loopback."""
    surface = await asyncio.to_thread(Api, services, Offloader(), settings.server.public_url)
    application = web.Application(middlewares=[observe(Reports(Metrics()), Lifecycle())])
    application[body.PATIENCE] = 60
    application.router.add_post("/", surface.answer)
    async with TestServer(application) as server:
        yield Bench(settings, services, metadata, book, clock, probes, str(server.make_url("/")))


@pytest.fixture
def boto(api: Bench) -> Boto:
    """Make clients by the name of a service; with `validate=False` they send whatever they are given."""

    def make(service: str, *, validate: bool = True) -> Client:
        return Client(service, api.url, api.services.identity.region, validate=validate)

    return make


@pytest.fixture
def ecr(boto: Boto) -> Client:
    return boto("ecr")
