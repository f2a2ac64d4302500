"""Who may do what by the AWS APIs: a deliberate action for each operation, and no word to who may not."""

import asyncio
import copy
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.model import ListShape, Shape, StructureShape

from proxy.config.addresses import parse_upstream
from proxy.config.auth import GrantSettings
from proxy.config.settings import Settings
from proxy.core.access.authorizer import EveryoneMay
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.grants import GrantBook, Grants
from proxy.core.access.iam.documents import PolicyDocuments
from proxy.core.access.policies import PolicyAuthorizer
from proxy.core.access.rates import Rates
from proxy.core.access.tokens import BearerTokens, TokenExpiredError
from proxy.core.offloading import Offloader
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.administration import Administration
from proxy.core.rules import RuleBook, RuleSet
from proxy.http.aws import ecr, secretsmanager
from proxy.http.aws.access import Guard, named
from proxy.http.aws.dispatch import Api
from proxy.http.aws.operations import ApiCall, Operation, State
from proxy.http.aws.protocol import Codec
from proxy.http.aws.signatures import Signatures
from proxy.http.trace import Trace
from proxy.model.access import Action
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.digest import Digest
from proxy.model.name_spans import NameSpan, join_spans, span_of_name
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.api_shapes import sample
from tests.support.clock import FakeClock
from tests.support.documents import image
from tests.support.signing import ANN, BOB, ECR, KnownKeys
from tests.unit.http.aws.contents import Contents

ACTIONS: Mapping[Action | None, str] = {
    Action.PULL: """
        ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:DescribeImages ecr:DescribeRepositories
        ecr:GetDownloadUrlForLayer ecr:ListImageReferrers ecr:ListImages ecr:ListTagsForResource
    """,
    Action.PUSH: "ecr:CompleteLayerUpload ecr:InitiateLayerUpload ecr:PutImage ecr:UploadLayerPart",
    Action.DELETE: "ecr:BatchDeleteImage",
    Action.ADMIN: """
        ecr:CreatePullThroughCacheRule ecr:CreateRepository ecr:CreateRepositoryCreationTemplate
        ecr:DeleteLifecyclePolicy ecr:DeletePullThroughCacheRule ecr:DeleteRegistryPolicy ecr:DeleteRepository
        ecr:DeleteRepositoryCreationTemplate ecr:DeleteRepositoryPolicy ecr:DescribePullThroughCacheRules
        ecr:DescribeRegistry ecr:DescribeRepositoryCreationTemplates ecr:GetAccountSetting ecr:GetLifecyclePolicy
        ecr:GetLifecyclePolicyPreview ecr:GetRegistryPolicy ecr:GetRepositoryPolicy ecr:PutAccountSetting
        ecr:PutImageScanningConfiguration ecr:PutImageTagMutability ecr:PutLifecyclePolicy ecr:PutRegistryPolicy
        ecr:PutReplicationConfiguration ecr:SetRepositoryPolicy ecr:StartLifecyclePolicyPreview ecr:TagResource
        ecr:UntagResource ecr:UpdatePullThroughCacheRule ecr:UpdateRepositoryCreationTemplate
        ecr:ValidatePullThroughCacheRule
        secretsmanager:CreateSecret secretsmanager:DeleteResourcePolicy secretsmanager:DeleteSecret
        secretsmanager:DescribeSecret secretsmanager:GetResourcePolicy secretsmanager:GetSecretValue
        secretsmanager:ListSecrets secretsmanager:ListSecretVersionIds secretsmanager:PutResourcePolicy
        secretsmanager:PutSecretValue secretsmanager:RestoreSecret secretsmanager:TagResource
        secretsmanager:UntagResource secretsmanager:UpdateSecret secretsmanager:UpdateSecretVersionStage
    """,
    None: "ecr:GetAuthorizationToken",
}
"""What a policy must grant for each operation, by hand: a new one is thought about here. None: whoever is known may."""

SERVICES: Mapping[str, tuple[Codec, Mapping[str, Operation]]] = {
    "ecr": (Codec("ecr"), ecr.OPERATIONS),
    "secretsmanager": (Codec("secretsmanager"), secretsmanager.OPERATIONS),
}
OFFERED = {name: action for action, names in ACTIONS.items() for name in names.split()}
GUARDED = pytest.mark.parametrize(("name", "action"), [(name, action) for name, action in OFFERED.items() if action])

ACCOUNT = "012345678910"
SETTINGS = {
    "registry": {"account_id": ACCOUNT},
    "rules": [{"prefix": "hub", "upstream": "docker.io"}, {"prefix": "quay", "upstream": "quay.io"}],
}


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(SETTINGS)


@dataclass
class Guarded:
    """The APIs of a registry that asks who its callers are; `ask` is a request of ann's, whose key was verified."""

    api: Api
    services: Administration
    grants: GrantBook

    def grant(self, *actions: Action, repositories: str = "**", principal: str = "ann") -> None:
        """Let a principal do this, and nobody anything else."""
        self.grants.replace(
            Grants([GrantSettings(principals=(principal,), actions=actions, repositories=(repositories,))])
            if actions
            else Grants([])
        )

    async def ask(
        self, name: str, given: object, *, trace: Trace | None = None, caller: Caller | None = None
    ) -> dict[str, Any]:
        service, _, operation = name.partition(":")
        who = caller or Caller(ANN.principal, Scheme.ACCESS_KEY)
        call = ApiCall(self.services, self.services.identity, "https://registry.test", who, "id")
        target = f"{SERVICES[service][0].target_prefix}.{operation}"
        answer: dict[str, Any] = json.loads(await self.api.invoke(call, target, json.dumps(given).encode(), trace))
        return answer

    async def denied(self, name: str, given: object, *, trace: Trace | None = None) -> str:
        """Return the sentence by which ann is refused."""
        with pytest.raises(ApiError) as caught:
            await self.ask(name, given, trace=trace)
        assert caught.value.code is ApiErrorCode.AccessDeniedException
        return caught.value.message

    async def refusal(self, name: str, given: object) -> str:
        """Return the name of the error that the operation itself answers."""
        with pytest.raises(ApiError) as caught:
            await self.ask(name, given)
        return caught.value.code.name


@pytest.fixture
def tickets(clock: FakeClock) -> BearerTokens:
    return BearerTokens(b"t" * 32, clock)


@pytest.fixture
async def guarded(
    services: Administration, metadata: MemoryMetadataStore, book: RuleBook, clock: FakeClock, tickets: BearerTokens
) -> Guarded:
    grants = GrantBook(Grants([]))
    authorizer = PolicyAuthorizer(grants, PolicyDocuments(metadata), book, services.identity, clock)
    signatures = Signatures(KnownKeys(ANN, BOB), clock, "us-east-1")
    guard = Guard(signatures, authorizer, book, Offloader(), Rates.unlimited().admit, tickets)
    return Guarded(await asyncio.to_thread(Api, services, Offloader(), None, guard), services, grants)


# --- every operation ------------------------------------------------------------------------------------------------


def test_each_operation_has_the_action_that_was_meant() -> None:
    found = {
        f"{service}:{name}": operation.action
        for service, (_, operations) in SERVICES.items()
        for name, operation in operations.items()
        if operation.state is not State.REFUSED
    }
    assert found == OFFERED


def request_of(name: str) -> Any:  # noqa: ANN401 - JSON
    """Return a request that the model of the operation takes, with all members that it knows."""
    service, _, operation = name.partition(":")
    shape = SERVICES[service][0].operation(operation).input_shape
    assert shape is not None
    return sample(shape)


@GUARDED
async def test_each_is_refused_to_who_has_every_right_but_that(
    guarded: Guarded, metadata: MemoryMetadataStore, contents: Contents, name: str, action: Action
) -> None:
    guarded.grant(*(set(Action) - {action}))
    before = copy.deepcopy(vars(metadata) | {"content": vars(contents.store)})
    message = await guarded.denied(name, request_of(name))
    assert message.startswith(f"User: arn:aws:iam::{ACCOUNT}:user/ann is not authorized to perform: {name} on ")
    assert copy.deepcopy(vars(metadata) | {"content": vars(contents.store)}) == before
    assert not contents.upstream.requests


@GUARDED
async def test_each_is_open_to_who_has_that_right_alone(guarded: Guarded, name: str, action: Action) -> None:
    guarded.grant(action)
    try:
        await guarded.ask(name, request_of(name))
    except ApiError as error:
        # Whatever the operation itself makes of a made-up request.
        assert error.code is not ApiErrorCode.AccessDeniedException  # noqa: PT017 - success is good, too


async def test_a_password_is_given_to_whoever_is_known(guarded: Guarded) -> None:
    guarded.grant()
    (entry,) = (await guarded.ask("ecr:GetAuthorizationToken", {}))["authorizationData"]
    assert entry["authorizationToken"]


async def test_what_is_not_offered_is_told_to_whoever_is_known(guarded: Guarded) -> None:
    guarded.grant()
    refused = [name for name, operation in ecr.OPERATIONS.items() if operation.state is State.REFUSED]
    assert refused
    for name in refused:
        assert await guarded.refusal(f"ecr:{name}", {}) == "UnsupportedOperationException"


# --- the repositories that requests name ------------------------------------------------------------------------------


def members(shape: Shape, path: str = "") -> dict[str, str]:
    """Return the names of the shapes of all texts in a request, by their place."""
    match shape:
        case StructureShape():
            return {
                key: value
                for name, inner in shape.members.items()
                for key, value in members(inner, f"{path}.{name}").items()
            }
        case ListShape():
            return members(shape.member, f"{path}[]")
        case _:
            return {path: shape.name}


def test_no_repository_is_named_in_a_place_that_is_not_looked_at() -> None:
    seen: set[str] = set()
    for name in OFFERED:
        service, _, operation = name.partition(":")
        shape = SERVICES[service][0].operation(operation).input_shape
        assert shape is not None
        seen |= {path for path, kind in members(shape).items() if kind in {"RepositoryName", "Arn"}}
    assert seen == {".repositoryName", ".repositoryNames[]", ".resourceArn"}
    assert named({"repositoryNames": ["a", "b"]}) == ["a", "b"]
    assert named({"repositoryName": "a"}) == ["a"]
    assert named({"resourceArn": f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/a/b"}) == ["a/b"]
    assert named({"resourceArn": "arn:aws:s3:::a"}) == [""]


async def test_a_right_on_some_repositories_is_one_on_those(guarded: Guarded) -> None:
    guarded.grant(Action.PULL, Action.ADMIN, repositories="team/**")
    await guarded.ask("ecr:CreateRepository", {"repositoryName": "team/app"})
    assert await guarded.ask("ecr:DescribeRepositories", {"repositoryNames": ["team/app"]})
    assert await guarded.ask("ecr:ListImages", {"repositoryName": "team/app"}) == {"imageIds": []}
    arn = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/team/app"
    assert await guarded.ask("ecr:ListTagsForResource", {"resourceArn": arn}) == {"tags": []}

    elsewhere = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/other/app"
    assert (await guarded.denied("ecr:ListImages", {"repositoryName": "other/app"})).endswith(f"resource: {elsewhere}")
    assert (await guarded.denied("ecr:DescribeRepositories", {"repositoryNames": ["team/app", "other/app"]})).endswith(
        f"resource: {elsewhere}"
    )
    await guarded.denied("ecr:ListTagsForResource", {"resourceArn": elsewhere})
    await guarded.denied("ecr:ListTagsForResource", {"resourceArn": "arn:aws:ecr:us-east-1:1:else/team/app"})


async def test_what_names_no_repository_needs_the_right_on_all(guarded: Guarded) -> None:
    guarded.grant(*Action, repositories="team/**")
    everything = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/*"
    assert (await guarded.denied("ecr:DescribeRegistry", {})).endswith(f"on resource: {everything}")
    assert (await guarded.denied("secretsmanager:ListSecrets", {})).endswith("on resource: *")
    # A name that the model takes and no repository can have.
    impossible = "team/" + "a" * 251
    await guarded.denied("ecr:ListImages", {"repositoryName": impossible})
    await guarded.denied("ecr:DescribeRepositories", {"repositoryNames": ["team/app", impossible]})


async def test_the_list_of_all_repositories_has_those_that_its_reader_may_pull(guarded: Guarded) -> None:
    guarded.grant(*Action)
    everything = [f"{team}/app{number}" for team in ("blue", "green", "red") for number in range(300)]
    for name in everything:
        await guarded.ask("ecr:CreateRepository", {"repositoryName": name})
    denied = {"Effect": "Deny", "Principal": "*", "Action": "ecr:DescribeRepositories"}
    policy = {"repositoryName": "red/app7", "policyText": json.dumps({"Version": "2012-10-17", "Statement": [denied]})}
    await guarded.ask("ecr:SetRepositoryPolicy", policy)

    async def listed(size: int = 1000) -> list[str]:
        names, token = [], ""
        while True:
            more = {"nextToken": token} if token else {}
            page = await guarded.ask("ecr:DescribeRepositories", {"maxResults": size, **more})
            names += [one["repositoryName"] for one in page["repositories"]]
            token = page.get("nextToken", "")
            if not token:
                return names
            assert len(page["repositories"]) == size

    assert await listed() == sorted(set(everything) - {"red/app7"})
    guarded.grant(Action.PULL, repositories="red/**")
    assert await listed(50) == sorted(name for name in everything if name.startswith("red/") and name != "red/app7")
    guarded.grant(Action.PULL, repositories="none/**")
    assert await listed() == []


async def test_what_everyone_may_pull_is_not_what_an_account_fetched(
    guarded: Guarded, book: RuleBook, metadata: MemoryMetadataStore
) -> None:
    rule = CacheRule("private", parse_upstream("private.test"), UserPassword("robot", SecretSource(env="PASSWORD")))
    book.replace(RuleSet([*book.current.rules, rule]))
    for name in ("private/app", "quay/app"):
        await metadata.create_repository(RepositoryRecord(RepositoryName(name), 0.0))
    guarded.grant(Action.PULL, principal="anonymous")
    listed = (await guarded.ask("ecr:DescribeRepositories", {}))["repositories"]
    assert [one["repositoryName"] for one in listed] == ["quay/app"]


async def test_a_refusal_does_not_tell_what_there_is(guarded: Guarded) -> None:
    guarded.grant(*Action)
    await guarded.ask("ecr:CreateRepository", {"repositoryName": "there"})
    guarded.grant(*Action, repositories="team/**")
    for name, action in OFFERED.items():
        if "repositoryName" not in request_of(name) or action is None:
            continue
        told = {
            (await guarded.denied(name, {**request_of(name), "repositoryName": repository})).replace(repository, "x")
            for repository in ("there", "other", "quay/other", "hub/nginx")
        }
        assert len(told) == 1, name


async def test_both_repositories_are_meant_that_a_name_may_stand_for(guarded: Guarded) -> None:
    # Clients reach hub/library/nginx by it; what administrators keep of it is kept under its very name.
    for only in ("hub/library/**", "hub/nginx"):
        guarded.grant(*Action, repositories=only)
        await guarded.denied("ecr:BatchGetImage", {"repositoryName": "hub/nginx", "imageIds": [{"imageTag": "1"}]})
        await guarded.denied("ecr:GetRepositoryPolicy", {"repositoryName": "hub/nginx"})
    guarded.grant(*Action, repositories="hub/**")
    assert await guarded.refusal("ecr:GetRepositoryPolicy", {"repositoryName": "hub/nginx"}) == (
        "RepositoryNotFoundException"
    )


async def test_a_name_that_reaches_no_repository_is_for_who_may_do_it_everywhere(guarded: Guarded) -> None:
    # With library/ in it, the name is too long to be one.
    too_long = {"repositoryName": f"hub/{'a' * 251}"}
    guarded.grant(*Action, repositories="hub/**")
    await guarded.denied("ecr:GetRepositoryPolicy", too_long)
    guarded.grant(*Action)
    assert await guarded.refusal("ecr:GetRepositoryPolicy", too_long) == "RepositoryNotFoundException"


async def test_nothing_is_fetched_unless_that_is_permitted_by_both_names(guarded: Guarded, contents: Contents) -> None:
    asked = {"repositoryName": "hub/nginx", "imageIds": [{"imageTag": "1"}]}
    for only in ("hub/library/**", "hub/nginx"):
        pull, fetch = (
            GrantSettings(principals=("ann",), actions=(action,), repositories=(pattern,))
            for action, pattern in ((Action.PULL, "hub/**"), (Action.FIRST_PULL, only))
        )
        guarded.grants.replace(Grants([pull, fetch]))
        (failure,) = (await guarded.ask("ecr:BatchGetImage", asked))["failures"]
        assert failure["failureCode"] == "UpstreamAccessDenied"
    assert not contents.upstream.requests


async def test_a_policy_of_the_repository_lets_in_and_keeps_out(guarded: Guarded) -> None:
    def policy(effect: str) -> str:
        statement = {"Effect": effect, "Principal": {"AWS": ACCOUNT}, "Action": "ecr:ListImages"}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    guarded.grant(*Action)
    await guarded.ask("ecr:CreateRepository", {"repositoryName": "app"})
    await guarded.ask("ecr:SetRepositoryPolicy", {"repositoryName": "app", "policyText": policy("Allow")})
    guarded.grant()
    assert await guarded.ask("ecr:ListImages", {"repositoryName": "app"}) == {"imageIds": []}
    await guarded.denied("ecr:DescribeImages", {"repositoryName": "app"})
    guarded.grant(*Action)
    await guarded.ask("ecr:SetRepositoryPolicy", {"repositoryName": "app", "policyText": policy("Deny")})
    await guarded.denied("ecr:ListImages", {"repositoryName": "app"})


# --- what follows from who it is ------------------------------------------------------------------------------------


async def test_what_was_done_and_refused_is_known_to_the_log(guarded: Guarded) -> None:
    guarded.grant(Action.PULL, repositories="hub/**")
    trace = Trace("id", 0.0)
    await guarded.denied("ecr:DeleteRepository", {"repositoryName": "hub/nginx"}, trace=trace)
    told = (trace.operation, trace.action, trace.name, trace.repository, trace.rule)
    assert told == ("ecr:DeleteRepository", Action.ADMIN, "hub/nginx", "hub/library/nginx", "hub")
    trace = Trace("id", 0.0)
    await guarded.denied("secretsmanager:DeleteSecret", {"SecretId": "ecr-pullthroughcache/a"}, trace=trace)
    assert (trace.operation, trace.name, trace.repository) == (
        "secretsmanager:DeleteSecret",
        "ecr-pullthroughcache/a",
        None,
    )


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("BatchGetImage", {"imageIds": [{"imageTag": "1"}]}),
        ("GetDownloadUrlForLayer", {"layerDigest": f"sha256:{'0' * 64}"}),
        ("ListImageReferrers", {"subjectId": {"imageDigest": f"sha256:{'0' * 64}"}}),
    ],
)
async def test_nothing_is_asked_of_an_upstream_without_first_pull(
    guarded: Guarded, contents: Contents, name: str, given: dict[str, Any]
) -> None:
    async def ask() -> None:
        try:
            await guarded.ask(f"ecr:{name}", {"repositoryName": "quay/team/app", **given})
        except ApiError as error:
            assert error.code is not ApiErrorCode.AccessDeniedException  # noqa: PT017 - success is good, too

    guarded.grant(Action.PULL)
    await ask()
    assert not contents.upstream.requests
    guarded.grant(Action.PULL, Action.FIRST_PULL)
    await ask()
    assert contents.upstream.requests


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("GetDownloadUrlForLayer", {"layerDigest": f"sha256:{'0' * 64}"}),
        ("ListImageReferrers", {"subjectId": {"imageDigest": f"sha256:{'0' * 64}"}}),
    ],
)
async def test_what_may_not_be_fetched_is_a_refusal(guarded: Guarded, name: str, given: dict[str, Any]) -> None:
    asked = {"repositoryName": "quay/team/app", **given}
    for actions, refused in (((Action.PULL,), True), ((Action.PULL, Action.FIRST_PULL), False)):
        guarded.grant(*actions)
        trace = Trace("id", 0.0)
        with suppress(ApiError):
            await guarded.ask(f"ecr:{name}", asked, trace=trace)
        assert trace.refused is refused


async def test_what_is_kept_is_had_without_first_pull(guarded: Guarded, contents: Contents) -> None:
    raw = image(b"{}", b"layer")
    contents.upstream.repository("quay.io/team/app").put(raw, "1")
    asked = {"repositoryName": "quay/team/app", "imageIds": [{"imageTag": "1"}]}
    guarded.grant(Action.PULL, Action.FIRST_PULL)
    assert (await guarded.ask("ecr:BatchGetImage", asked))["images"]
    contents.upstream.requests.clear()
    guarded.grant(Action.PULL)
    (found,) = (await guarded.ask("ecr:BatchGetImage", asked))["images"]
    other = await guarded.ask("ecr:BatchGetImage", {**asked, "imageIds": [{"imageTag": "2"}]})
    assert found["imageManifest"].encode() == raw
    assert [one["failureCode"] for one in other["failures"]] == ["UpstreamAccessDenied"]
    assert not contents.upstream.requests


async def test_an_image_that_may_not_be_fetched_is_withheld_from_an_answer_with_others(
    guarded: Guarded, contents: Contents
) -> None:
    contents.upstream.repository("quay.io/team/app").put(image(b"{}", b"layer"), "1")
    ids = [{"imageTag": tag} for tag in ("1", "2", "not a tag", "3")]
    asked = {"repositoryName": "quay/team/app", "imageIds": ids}
    guarded.grant(Action.PULL, Action.FIRST_PULL)
    before, after = Trace("id", 0.0), Trace("id", 0.0)
    await guarded.ask("ecr:BatchGetImage", {**asked, "imageIds": ids[:1]}, trace=before)
    assert before.withheld is None
    guarded.grant(Action.PULL)
    assert len((await guarded.ask("ecr:BatchGetImage", asked, trace=after))["images"]) == 1
    assert after.withheld == ("ecr:BatchImportUpstreamImage", "quay/team/app", "2, 3")
    assert not after.refused


@pytest.mark.parametrize(
    ("name", "given", "content"),
    [
        ("ecr:PutImage", {"imageManifest": "{}", "imageTag": "v1"}, "v1"),
        ("ecr:BatchDeleteImage", {"imageIds": [{"imageTag": "v1"}, {"imageDigest": "sha256:0"}]}, "v1, sha256:0"),
        (
            "ecr:CompleteLayerUpload",
            {"uploadId": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "layerDigests": [f"sha256:{'0' * 64}"]},
            f"sha256:{'0' * 64}",
        ),
        ("ecr:DeleteRepository", {}, None),
    ],
)
async def test_the_audit_trail_is_told_which_images_and_layers(
    guarded: Guarded, name: str, given: dict[str, Any], content: str | None
) -> None:
    guarded.grant()
    trace = Trace("id", 0.0)
    await guarded.denied(name, {"repositoryName": "team/app", **given}, trace=trace)
    assert (trace.repository, trace.content) == ("team/app", content)


async def test_the_url_of_a_layer_is_good_without_credentials_for_its_callers_pull_of_it(
    guarded: Guarded, tickets: BearerTokens, clock: FakeClock
) -> None:
    guarded.grant(Action.PULL, Action.PUSH, Action.ADMIN, repositories="team/**")
    await guarded.ask("ecr:CreateRepository", {"repositoryName": "team/app"})
    begun = (await guarded.ask("ecr:InitiateLayerUpload", {"repositoryName": "team/app"}))["uploadId"]
    named = {"repositoryName": "team/app", "uploadId": begun}
    part = {"partFirstByte": 0, "partLastByte": 1, "layerPartBlob": "e30="}
    await guarded.ask("ecr:UploadLayerPart", {**named, **part})
    digest = str(Digest.of(b"{}"))
    await guarded.ask("ecr:CompleteLayerUpload", {**named, "layerDigests": [digest]})

    answer = await guarded.ask("ecr:GetDownloadUrlForLayer", {"repositoryName": "team/app", "layerDigest": digest})
    url, _, ticket = answer["downloadUrl"].partition("?ticket=")
    assert url == f"https://registry.test/v2/team/app/blobs/{digest}"
    caller = tickets.verify(ticket)
    assert caller is not None
    assert (caller.principal, caller.scheme) == ("ann", Scheme.TICKET)
    assert dict(caller.scopes or {}) == {"team/app": {Action.PULL, Action.FIRST_PULL}}
    clock.advance(3600)
    with pytest.raises(TokenExpiredError):
        tickets.verify(ticket)


async def test_an_upload_is_unknown_to_everybody_but_who_began_it(guarded: Guarded) -> None:
    """S16."""
    guarded.grant(*Action, principal="*")
    bob = Caller(BOB.principal, Scheme.ACCESS_KEY)
    await guarded.ask("ecr:CreateRepository", {"repositoryName": "team/app"})
    begun = (await guarded.ask("ecr:InitiateLayerUpload", {"repositoryName": "team/app"}))["uploadId"]
    given = {"repositoryName": "team/app", "uploadId": begun}
    part = {**given, "partFirstByte": 0, "partLastByte": 1, "layerPartBlob": "e30="}
    finish = {**given, "layerDigests": [str(Digest.of(b"{}"))]}
    for operation, asked in (("UploadLayerPart", part), ("CompleteLayerUpload", finish)):
        with pytest.raises(ApiError) as caught:
            await guarded.ask(f"ecr:{operation}", asked, caller=bob)
        assert caught.value.code is ApiErrorCode.UploadNotFoundException
    assert (await guarded.ask("ecr:UploadLayerPart", part))["lastByteReceived"] == 1
    assert (await guarded.ask("ecr:CompleteLayerUpload", finish))["layerDigest"] == finish["layerDigests"][0]


def test_the_errors_of_this_are_each_one_of_their_own() -> None:
    # Two names with one status and one sentence would be one member.
    assert len(ApiErrorCode.__members__) == len(ApiErrorCode)


def test_the_model_of_ecr_has_the_target_that_clients_sign() -> None:
    assert SERVICES["ecr"][0].target_prefix == ECR


class Narrow(EveryoneMay):
    """Says that there is one name to look at."""

    async def spans(self, caller: Caller, operation: str = "") -> tuple[NameSpan, ...]:
        del caller
        return join_spans([span_of_name("team/app")]) if operation == "ecr:DescribeRepositories" else ()


async def test_a_list_of_all_looks_only_where_something_may_be_seen(
    services: Administration, metadata: MemoryMetadataStore, book: RuleBook, clock: FakeClock, tickets: BearerTokens
) -> None:
    for name in ("team/aaa", "team/app", "team/zzz"):
        await metadata.create_repository(RepositoryRecord(RepositoryName(name), 0.0))
    signatures = Signatures(KnownKeys(ANN), clock, "us-east-1")
    guard = Guard(signatures, Narrow(), book, Offloader(), Rates.unlimited().admit, tickets)
    api = await asyncio.to_thread(Api, services, Offloader(), None, guard)
    listed = (await Guarded(api, services, GrantBook(Grants([]))).ask("ecr:DescribeRepositories", {}))["repositories"]
    assert [one["repositoryName"] for one in listed] == ["team/app"]
