"""The small values: rules, credentials, how an answer came about, and the table of errors."""

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.credentials import CredentialHelper, DockerConfig, SecretSource, UserPassword
from proxy.model.errors import TRANSIENT, ErrorCode, ProxyError, UpstreamFailure
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule, Remote, UpstreamAddress

RULE = CacheRule("quay", UpstreamAddress("https", "quay.io", 443))


@pytest.mark.parametrize(
    ("address", "written", "origin"),
    [
        (UpstreamAddress("https", "quay.io", 443), "quay.io", "https://quay.io"),
        (UpstreamAddress("https", "quay.io", 8443), "quay.io:8443", "https://quay.io:8443"),
        (UpstreamAddress("http", "localhost", 5000), "http://localhost:5000", "http://localhost:5000"),
        (UpstreamAddress("http", "localhost", 80), "http://localhost", "http://localhost"),
        (UpstreamAddress("http", "localhost", 443), "http://localhost:443", "http://localhost:443"),
    ],
)
def test_upstream_is_written_as_in_the_configuration(address: UpstreamAddress, written: str, origin: str) -> None:
    assert (str(address), address.origin) == (written, origin)


def test_only_docker_hub_is_docker_hub() -> None:
    assert UpstreamAddress("https", "registry-1.docker.io", 443).is_docker_hub
    assert not UpstreamAddress("https", "registry-1.docker.io.evil.example", 443).is_docker_hub


def test_provenance_tells_sources_and_accounts_apart_and_holds_no_secret() -> None:
    accounts = [
        None,
        UserPassword("a", SecretSource(env="A")),
        UserPassword("a", SecretSource(env="B")),
        UserPassword("b", SecretSource(env="A")),
        UserPassword("a", SecretSource(file=Path("/run/secrets/a"))),
        DockerConfig(Path("/root/.docker/config.json")),
        CredentialHelper("osxkeychain"),
    ]
    rules = [replace(RULE, credentials=account) for account in accounts]
    found = {Remote(rule, RepositoryName(name)).provenance for rule in rules for name in ("app", "db")}
    assert len(found) == 2 * len(accounts)
    assert Remote(RULE, RepositoryName("app")).provenance.source == "quay.io/app"
    assert Remote(RULE, RepositoryName("app")).provenance.account == ""


def test_provenance_does_not_depend_on_the_prefix_of_the_rule() -> None:
    twin = replace(RULE, prefix="twin")
    assert Remote(twin, RepositoryName("app")).provenance == Remote(RULE, RepositoryName("app")).provenance


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (CacheStatus(), "miss"),
        (CacheStatus(forward=Forward.MISS, stored=True), "miss"),
        (CacheStatus(hit=True), "hit"),
        (CacheStatus(hit=True, forward=Forward.STALE), "revalidated"),
        (CacheStatus(forward=Forward.MISS, collapsed=True), "collapsed"),
        (CacheStatus(forward=Forward.MISS, bypass=True), "bypass"),
        (CacheStatus(hit=True, stale="timeout"), "stale"),
    ],
)
def test_outcome_is_one_word(status: CacheStatus, outcome: str) -> None:
    assert status.outcome == outcome


def test_error_without_a_message_says_what_the_table_says() -> None:
    error = ProxyError(ErrorCode.BLOB_UNKNOWN, debug="for the log only")
    assert (error.message, error.code.status, str(error)) == ("blob unknown to registry", 404, error.code.message)
    assert "log" not in f"{error} {error.detail}"


def test_codes_with_one_status_and_sentence_stay_apart() -> None:
    assert len({(code.status, code.message) for code in ErrorCode}) == len(ErrorCode.__members__)


def test_one_error_asks_clients_for_credentials() -> None:
    assert [code for code in ErrorCode if code.status == 401] == [ErrorCode.UNAUTHORIZED]


def test_what_is_certain_is_not_transient() -> None:
    certain = {UpstreamFailure.NOT_FOUND, UpstreamFailure.DENIED, UpstreamFailure.CREDENTIALS_REFUSED}
    assert certain.isdisjoint(TRANSIENT)
