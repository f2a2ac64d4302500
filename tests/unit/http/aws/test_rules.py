"""Cache rules as boto3 makes them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.config.settings import Settings
from proxy.core.rules import Address
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import RepositoryName
from tests.unit.http.aws.conftest import ECR, Bench, Boto, Client

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
SECRET = "ecr-pullthroughcache/example"
LOGIN = json.dumps({"username": "u", "accessToken": "hidden-token"})
ARN = f"arn:aws:secretsmanager:us-east-1:012345678910:secret:{SECRET}"
ROLE = "arn:aws:iam::012345678910:role/pull"


async def create(ecr: Client, prefix: str, url: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3 has it
    return await ecr("create_pull_through_cache_rule", ecrRepositoryPrefix=prefix, upstreamRegistryUrl=url, **more)


async def refused(ecr: Client, prefix: str, url: str, **more: Any) -> tuple[str, str]:  # noqa: ANN401 - as boto3 has it
    return await ecr.refused(
        "create_pull_through_cache_rule", ecrRepositoryPrefix=prefix, upstreamRegistryUrl=url, **more
    )


async def listed(ecr: Client, *prefixes: str) -> list[dict[str, Any]]:
    named = {"ecrRepositoryPrefixes": list(prefixes)} if prefixes else {}
    rules: list[dict[str, Any]] = (await ecr("describe_pull_through_cache_rules", **named))["pullThroughCacheRules"]
    return rules


def upstream_of(api: Bench, name: str) -> str:
    remote = api.book.current.resolve(Address(RepositoryName(name))).remote
    return remote.provenance.source if remote is not None else "hosted"


@pytest.fixture
async def secret(boto: Boto) -> str:
    """The ARN of a secret with an account."""
    made = await boto("secretsmanager")("create_secret", Name=SECRET, SecretString=LOGIN)
    return str(made["ARN"])


class TestEcr:
    @pytest.fixture
    def settings(self) -> Settings:
        return ECR

    async def test_a_rule_without_credentials_is_answered_as_the_documentation_shows(
        self, api: Bench, ecr: Client
    ) -> None:
        assert await create(ecr, "ecr-public", "public.ecr.aws") == {
            "ecrRepositoryPrefix": "ecr-public",
            "upstreamRegistryUrl": "public.ecr.aws",
            "createdAt": NOW,
            "registryId": "012345678910",
            "upstreamRegistry": "ecr-public",
        }
        assert upstream_of(api, "ecr-public/nginx/nginx") == "public.ecr.aws/nginx/nginx"

    async def test_a_rule_with_credentials_is_answered_as_the_documentation_shows(
        self, ecr: Client, secret: str
    ) -> None:
        assert await create(ecr, "docker-hub", "registry-1.docker.io", credentialArn=secret) == {
            "ecrRepositoryPrefix": "docker-hub",
            "upstreamRegistryUrl": "registry-1.docker.io",
            "createdAt": NOW,
            "registryId": "012345678910",
            "upstreamRegistry": "docker-hub",
            "credentialArn": secret,
        }

    @pytest.mark.parametrize(
        ("registry", "url", "needs"),
        [
            ("ecr-public", "public.ecr.aws", ()),
            ("k8s", "registry.k8s.io", ()),
            ("quay", "quay.io", ()),
            ("docker-hub", "registry-1.docker.io", ("credentialArn",)),
            ("github-container-registry", "ghcr.io", ("credentialArn",)),
            ("azure-container-registry", "mine.azurecr.io", ("credentialArn",)),
            ("gitlab-container-registry", "registry.gitlab.com", ("credentialArn",)),
            ("chainguard", "cgr.dev", ("credentialArn",)),
            ("ecr", "012345678910.dkr.ecr.eu-west-1.amazonaws.com", ()),
            ("ecr", "210987654321.dkr.ecr.eu-west-1.amazonaws.com", ("customRoleArn",)),
        ],
    )
    async def test_each_of_ecrs_upstreams_wants_what_ecr_asks_for_it(
        self, ecr: Client, secret: str, registry: str, url: str, needs: tuple[str, ...]
    ) -> None:
        given = {"credentialArn": secret, "customRoleArn": ROLE}
        if needs:
            code, message = await refused(ecr, "some", url, upstreamRegistry=registry)
            if needs == ("credentialArn",):
                assert (code, message) == (
                    "UnsupportedUpstreamRegistryException",
                    "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN",
                )
            else:
                assert code == "ValidationException"
        made = await create(ecr, "some", url, **{name: given[name] for name in needs})
        assert made["upstreamRegistry"] == registry
        assert (await create(ecr, "other", url, upstreamRegistry=registry, **given))["upstreamRegistry"] == registry

    @pytest.mark.parametrize(
        "url",
        [
            "reg.mini.dev",
            "docker.io",
            "https://quay.io",
            "http://quay.io",
            "quay.io:443",
            "quay.io/",
            "QUAY.IO",
            "azurecr.io",
            "a.b.azurecr.io",
            "cgr.dev/team",
            "",
            "no host",
            "user@quay.io",
        ],
    )
    async def test_no_other_upstream_is_taken(self, ecr: Client, secret: str, url: str) -> None:
        assert await refused(ecr, "some", url, credentialArn=secret) == (
            "UnsupportedUpstreamRegistryException",
            "The specified upstream registry isn't supported.",
        )
        assert await listed(ecr) == []

    async def test_the_fifty_first_rule_is_too_many(self, ecr: Client) -> None:
        for number in range(50):
            await create(ecr, f"quay-{number}", "quay.io")
        code, _ = await refused(ecr, "quay-50", "quay.io")
        assert code == "LimitExceededException"
        await ecr("delete_pull_through_cache_rule", ecrRepositoryPrefix="quay-7")
        await create(ecr, "quay-50", "quay.io")

    async def test_a_secret_of_another_account_or_region_is_not_found(self, ecr: Client, secret: str) -> None:
        for other in (secret.replace("012345678910", "000000000000"), secret.replace("us-east-1", "eu-west-1")):
            code, message = await refused(ecr, "docker-hub", "registry-1.docker.io", credentialArn=other)
            assert code == "SecretNotFoundException"
            assert "another account or region" in message

    async def test_a_secret_is_found_without_its_suffix_but_not_with_another(self, ecr: Client, secret: str) -> None:
        await create(ecr, "with-none", "ghcr.io", credentialArn=ARN)
        code, _ = await refused(ecr, "docker-hub", "registry-1.docker.io", credentialArn=f"{ARN}-AbCdEf")
        assert code == "SecretNotFoundException"
        assert secret != f"{ARN}-AbCdEf"

    async def test_a_secret_with_a_key_of_the_customer_cannot_be_decrypted(self, boto: Boto, ecr: Client) -> None:
        name = "ecr-pullthroughcache/locked"
        made = await boto("secretsmanager")("create_secret", Name=name, SecretString=LOGIN, KmsKeyId="alias/mine")
        code, message = await refused(ecr, "docker-hub", "registry-1.docker.io", credentialArn=made["ARN"])
        assert code == "UnableToDecryptSecretValueException"
        assert "alias/aws/secretsmanager" in message

    async def test_pulled_tags_stay_good_for_a_day_and_whole_indexes_are_completed(
        self, api: Bench, ecr: Client
    ) -> None:
        await create(ecr, "quay", "quay.io")
        made = api.book.current.rule("quay")
        assert made is not None
        assert (made.revalidate_after.total_seconds(), made.complete.value, made.push) == (86400, "index", True)


# --- both characters ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["relaxed", "ecr"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings.model_validate({"registry": {"compatibility": request.param}})


@pytest.mark.parametrize(
    "prefix",
    ["UPPER/CASE", "a//b", "/a", "a_", "a-_b", "ROOT/", "ROOTx", "x" * 31, "x", "quay\n", "", "a b"],
)
async def test_a_prefix_that_is_none_is_an_invalid_parameter(boto: Boto, prefix: str) -> None:
    code, message = await refused(boto("ecr", validate=False), prefix, "quay.io")
    assert code == "InvalidParameterException"
    assert message.startswith("Invalid parameter at 'ecrRepositoryPrefix' failed to satisfy constraint: '")


@pytest.mark.parametrize("prefix", ["mirror/docker.io", "a__b", "a--b", "a/b/", "1a", "root"])
async def test_every_prefix_of_ecrs_grammar_is_taken_and_echoed(api: Bench, ecr: Client, prefix: str) -> None:
    made = await create(ecr, prefix, "quay.io")
    assert made["ecrRepositoryPrefix"] == prefix
    assert (await listed(ecr, prefix))[0]["ecrRepositoryPrefix"] == prefix
    assert upstream_of(api, f"{prefix.removesuffix('/')}/team/app") == "quay.io/team/app"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("registryId", "1"),
        ("upstreamRegistry", "artifactory"),
        ("credentialArn", "arn:aws:secretsmanager:us-east-1:000000000000:secret:other/name"),
        ("credentialArn", "short"),
        ("customRoleArn", "x" * 2049),
        ("upstreamRepositoryPrefix", "UPPER"),
        ("upstreamRegistryUrl", 7),
    ],
)
async def test_other_parameters_are_held_to_the_model_too(boto: Boto, member: str, value: object) -> None:
    given = {"ecrRepositoryPrefix": "quay", "upstreamRegistryUrl": "quay.io"} | {member: value}
    code, message = await boto("ecr", validate=False).refused("create_pull_through_cache_rule", **given)
    assert code == "InvalidParameterException"
    assert f"'{member}'" in message


async def test_a_prefix_belongs_to_one_rule_with_or_without_its_slash(ecr: Client) -> None:
    await create(ecr, "quay/", "quay.io")
    for spelling in ("quay", "quay/"):
        assert await refused(ecr, spelling, "quay.io") == (
            "PullThroughCacheRuleAlreadyExistsException",
            "A pull through cache rule with these settings already exists for the private registry.",
        )
    for spelling in ("quay", "quay/"):
        assert (await listed(ecr, spelling))[0]["ecrRepositoryPrefix"] == "quay/"
    assert (await ecr("delete_pull_through_cache_rule", ecrRepositoryPrefix="quay"))["ecrRepositoryPrefix"] == "quay/"


async def test_prefixes_may_overlap_and_the_longest_counts(api: Bench, ecr: Client) -> None:
    await create(ecr, "ROOT", "public.ecr.aws")
    await create(ecr, "quay", "quay.io")
    await create(ecr, "quay/k8s", "registry.k8s.io")
    assert upstream_of(api, "quay/k8s/pause") == "registry.k8s.io/pause"
    assert upstream_of(api, "quay/k8sx/pause") == "quay.io/k8sx/pause"
    assert upstream_of(api, "quayx/k8s/pause") == "public.ecr.aws/quayx/k8s/pause"


@pytest.mark.parametrize(
    ("prefix", "before", "name", "upstream"),
    [
        ("ecr-public", "ROOT", "ecr-public/my-app/image1", "my-app/image1"),
        ("ROOT", "ROOT", "my-app/image1", "my-app/image1"),
        ("ROOT", None, "my-app/image1", "my-app/image1"),
        ("team-a", "team-a", "team-a/myapp/image1", "team-a/myapp/image1"),
        ("my-app", "upstream-app/", "my-app/image1", "upstream-app/image1"),
    ],
)
async def test_names_are_mapped_by_both_prefixes(
    api: Bench, ecr: Client, prefix: str, before: str | None, name: str, upstream: str
) -> None:
    given = {} if before is None else {"upstreamRepositoryPrefix": before}
    made = await create(ecr, prefix, "quay.io", **given)
    assert made.get("upstreamRepositoryPrefix") == before
    assert (await listed(ecr))[0].get("upstreamRepositoryPrefix") == before
    assert upstream_of(api, name) == f"quay.io/{upstream}"


async def test_the_root_rule_takes_no_upstream_prefix(ecr: Client) -> None:
    code, message = await refused(ecr, "ROOT", "quay.io", upstreamRepositoryPrefix="team")
    assert code == "ValidationException"
    assert "other than ROOT" in message


async def test_a_name_that_contradicts_the_host_is_refused(ecr: Client) -> None:
    code, message = await refused(ecr, "quay", "quay.io", upstreamRegistry="k8s")
    assert (code, "quay.io is quay" in message) == ("ValidationException", True)


async def test_a_rule_changes_its_credentials_only(boto: Boto, ecr: Client, api: Bench, secret: str) -> None:
    made = await create(ecr, "gh", "ghcr.io", credentialArn=secret, upstreamRepositoryPrefix="team")
    other = (await boto("secretsmanager")("create_secret", Name="ecr-pullthroughcache/o", SecretString=LOGIN))["ARN"]
    api.clock.advance(60)
    later = datetime.fromtimestamp(1_700_000_060, UTC)
    assert await ecr("update_pull_through_cache_rule", ecrRepositoryPrefix="gh", credentialArn=other) == {
        "ecrRepositoryPrefix": "gh",
        "registryId": api.settings.registry.account_id,
        "updatedAt": later,
        "credentialArn": other,
        "upstreamRepositoryPrefix": "team",
    }
    changed = await ecr("update_pull_through_cache_rule", ecrRepositoryPrefix="gh", customRoleArn=ROLE)
    assert (changed["credentialArn"], changed["customRoleArn"]) == (other, ROLE)
    assert await listed(ecr) == [made | {"updatedAt": later, "credentialArn": other, "customRoleArn": ROLE}]
    rule = api.book.current.rule("gh")
    assert rule is not None
    assert rule.credentials_id == f"secret:{other}"


async def test_deleting_tells_what_is_gone(api: Bench, ecr: Client) -> None:
    made = await create(ecr, "quay", "quay.io")
    del made["upstreamRegistry"]
    assert await ecr("delete_pull_through_cache_rule", ecrRepositoryPrefix="quay") == made
    assert await listed(ecr) == []
    assert upstream_of(api, "quay/team/app") == "hosted"


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("describe_pull_through_cache_rules", None),
        ("update_pull_through_cache_rule", {}),
        ("validate_pull_through_cache_rule", {}),
        ("delete_pull_through_cache_rule", {}),
    ],
)
async def test_a_rule_that_is_not_there_is_not_found(ecr: Client, operation: str, more: dict[str, str] | None) -> None:
    await create(ecr, "quay", "quay.io")
    named = {"ecrRepositoryPrefixes": ["quay", "nope"]} if more is None else {"ecrRepositoryPrefix": "nope"}
    code, message = await ecr.refused(operation, **named)
    assert code == "PullThroughCacheRuleNotFoundException"
    assert message.startswith("The pull through cache rule was not found.")


@pytest.mark.parametrize(
    "operation",
    [
        "create_pull_through_cache_rule",
        "describe_pull_through_cache_rules",
        "update_pull_through_cache_rule",
        "validate_pull_through_cache_rule",
        "delete_pull_through_cache_rule",
    ],
)
async def test_another_registry_is_an_invalid_parameter(boto: Boto, operation: str) -> None:
    named = {} if operation.startswith("describe") else {"ecrRepositoryPrefix": "quay"}
    named |= {"upstreamRegistryUrl": "quay.io"} if operation.startswith("create") else {}
    code, message = await boto("ecr").refused(operation, registryId="999999999999", **named)
    assert code == "InvalidParameterException"
    assert "'registryId'" in message


async def test_rules_are_listed_in_pages(ecr: Client, api: Bench) -> None:
    for number in range(5):
        await create(ecr, f"quay-{number}/", "quay.io", registryId=api.settings.registry.account_id)
    pages = await ecr.pages("describe_pull_through_cache_rules", PaginationConfig={"PageSize": 2})
    prefixes = [[rule["ecrRepositoryPrefix"] for rule in page["pullThroughCacheRules"]] for page in pages]
    assert prefixes == [["quay-0/", "quay-1/"], ["quay-2/", "quay-3/"], ["quay-4/"]]
    assert [rule["ecrRepositoryPrefix"] for rule in await listed(ecr, "quay-3", "quay-1/")] == ["quay-3/", "quay-1/"]
    code, _ = await ecr.refused("describe_pull_through_cache_rules", nextToken="%%")
    assert code == "InvalidParameterException"


async def test_a_secret_that_is_not_there_is_named(ecr: Client) -> None:
    await create(ecr, "quay", "quay.io")
    arn = ARN.replace("012345678910", "000000000000")
    for code, message in (
        await refused(ecr, "gh", "ghcr.io", credentialArn=arn),
        await ecr.refused("update_pull_through_cache_rule", ecrRepositoryPrefix="quay", credentialArn=arn),
    ):
        assert code == "SecretNotFoundException"
        assert message.startswith("The ARN of the secret specified in the pull through cache rule was not found.")
        assert SECRET in message
    assert [rule["ecrRepositoryPrefix"] for rule in await listed(ecr)] == ["quay"]


async def test_a_secret_that_is_marked_for_deletion_cannot_be_accessed(boto: Boto, ecr: Client, secret: str) -> None:
    await boto("secretsmanager")("delete_secret", SecretId=secret)
    code, message = await refused(ecr, "gh", "ghcr.io", credentialArn=secret)
    assert code == "UnableToAccessSecretException"
    assert "restore it" in message


@pytest.mark.parametrize("value", [{"SecretString": "test"}, {}])
async def test_what_is_in_a_secret_is_looked_at_when_the_rule_is_tried(
    boto: Boto, ecr: Client, value: dict[str, str]
) -> None:
    made = await boto("secretsmanager")("create_secret", Name=SECRET, **value)
    await create(ecr, "gh", "ghcr.io", credentialArn=made["ARN"])
    tried = await ecr("validate_pull_through_cache_rule", ecrRepositoryPrefix="gh")
    assert not tried["isValid"]
    assert ('exactly the texts "username" and "accessToken"' if value else "has no value") in tried["failure"]
    assert "test" not in tried["failure"]


async def test_a_rule_is_tried_at_its_upstream(ecr: Client, api: Bench, secret: str) -> None:
    await create(ecr, "gh", "ghcr.io", credentialArn=secret, customRoleArn=ROLE, upstreamRepositoryPrefix="team")
    told = {
        "ecrRepositoryPrefix": "gh",
        "registryId": api.settings.registry.account_id,
        "upstreamRegistryUrl": "ghcr.io",
        "credentialArn": secret,
        "customRoleArn": ROLE,
        "upstreamRepositoryPrefix": "team",
    }
    assert await ecr("validate_pull_through_cache_rule", ecrRepositoryPrefix="gh") == told | {"isValid": True}
    api.probes.failures["ghcr.io"] = UpstreamError(UpstreamFailure.CREDENTIALS_REFUSED, "ghcr.io refuses them")
    failed = await ecr("validate_pull_through_cache_rule", ecrRepositoryPrefix="gh/")
    failure = failed.pop("failure")
    assert failed == told | {"isValid": False}
    assert failure.startswith("ghcr.io refuses them; check user name and password")
    assert [rule.prefix for rule in api.probes.asked] == ["gh", "gh"]


async def test_a_rule_without_credentials_is_valid_where_its_upstream_answers(ecr: Client) -> None:
    await create(ecr, "ecr-public", "public.ecr.aws")
    assert await ecr("validate_pull_through_cache_rule", ecrRepositoryPrefix="ecr-public") == {
        "ecrRepositoryPrefix": "ecr-public",
        "registryId": "000000000000",
        "upstreamRegistryUrl": "public.ecr.aws",
        "isValid": True,
    }


class TestRelaxed:
    @pytest.fixture
    def settings(self) -> Settings:
        rules = [
            {"prefix": "docker-hub", "upstream": "registry-1.docker.io"},
            {"prefix": "ghcr", "upstream": "ghcr.io", "credentials": {"secret": SECRET}},
        ]
        return Settings.model_validate({"rules": rules})

    @pytest.mark.parametrize(
        "url", ["reg.mini.dev", "http://localhost:5001", "harbor.corp.example:8443", "https://reg.mini.dev/"]
    )
    async def test_any_upstream_is_taken_and_echoed_and_has_no_name_of_ecrs(
        self, api: Bench, ecr: Client, url: str
    ) -> None:
        made = await create(ecr, "mini", url)
        assert made["upstreamRegistryUrl"] == url
        assert "upstreamRegistry" not in made
        assert (await listed(ecr, "mini")) == [made]
        host = url.removeprefix("https://").removesuffix("/")
        assert upstream_of(api, "mini/team/app") == f"{host}/team/app"

    async def test_a_url_that_is_none_is_an_invalid_parameter(self, ecr: Client) -> None:
        code, message = await refused(ecr, "mini", "host/with/path")
        assert (code, "'upstreamRegistryUrl'" in message) == ("InvalidParameterException", True)

    async def test_no_upstream_needs_a_secret_and_every_one_may_have_one(self, ecr: Client, secret: str) -> None:
        assert (await create(ecr, "hub", "docker.io"))["upstreamRegistry"] == "docker-hub"
        assert (await create(ecr, "private-quay", "quay.io", credentialArn=secret))["credentialArn"] == secret

    async def test_a_production_arn_finds_the_secret_by_its_name(self, ecr: Client, secret: str) -> None:
        arn = f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:{SECRET}-AbCdEf"
        await create(ecr, "gh", "ghcr.io", credentialArn=arn)
        assert (await ecr("validate_pull_through_cache_rule", ecrRepositoryPrefix="gh"))["isValid"]
        assert not secret.endswith("AbCdEf")

    async def test_the_rules_of_the_file_are_listed_with_the_others(self, ecr: Client) -> None:
        await create(ecr, "quay", "quay.io")
        rules = {rule["ecrRepositoryPrefix"]: rule for rule in await listed(ecr)}
        assert list(rules) == ["docker-hub", "ghcr", "quay"]
        assert rules["ghcr"] == {
            "ecrRepositoryPrefix": "ghcr",
            "upstreamRegistryUrl": "ghcr.io",
            "upstreamRegistry": "github-container-registry",
            "createdAt": NOW,
            "registryId": "000000000000",
            "credentialArn": f"arn:aws:secretsmanager:us-east-1:000000000000:secret:{SECRET}",
        }
        assert (await ecr("validate_pull_through_cache_rule", ecrRepositoryPrefix="docker-hub"))["isValid"]

    @pytest.mark.parametrize("operation", ["update_pull_through_cache_rule", "delete_pull_through_cache_rule"])
    async def test_a_rule_of_the_file_is_changed_there(self, ecr: Client, operation: str) -> None:
        code, message = await ecr.refused(operation, ecrRepositoryPrefix="docker-hub/")
        assert code == "ValidationException"
        assert "written in the configuration file" in message
        assert len(await listed(ecr)) == 2

    async def test_a_rule_shadows_that_of_the_file_until_it_is_deleted(self, api: Bench, ecr: Client) -> None:
        made = await create(ecr, "docker-hub/", "mirror.corp.example")
        assert await listed(ecr, "docker-hub") == [made]
        assert upstream_of(api, "docker-hub/team/app") == "mirror.corp.example/team/app"
        await ecr("delete_pull_through_cache_rule", ecrRepositoryPrefix="docker-hub")
        assert upstream_of(api, "docker-hub/team/app") == "registry-1.docker.io/team/app"
        assert (await listed(ecr, "docker-hub"))[0]["upstreamRegistryUrl"] == "registry-1.docker.io"
