"""What people who know ECR try first, with rules and pulls, at both characters of the registry.

Upstreams are emulated, under their own names.
"""

import json
import re
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.emulators import Route
from tests.emulators.faults import status
from tests.support.aws_clients import post, refused
from tests.support.ecr_registries import ACCOUNT, REGION, Registry, errors, no_repository
from tests.support.emulated import checks, publish, publish_index
from tests.support.images import digest_of
from tests.support.pullthrough import WORKERS
from tests.support.pushes import Pusher

pytestmark = pytest.mark.e2e


# --- passwords --------------------------------------------------------------------------------------------------------


def test_a_password_is_good_for_twelve_hours(registry: Registry) -> None:
    target = {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"}
    host = {"Host": registry.server.address, "Content-Type": "application/x-amz-json-1.1"}
    (data,) = post(registry.server.port, {**host, **target}, b"{}").document["authorizationData"]

    user, _, password = b64decode(data["authorizationToken"], validate=True).decode().partition(":")
    assert user == "AWS"
    # What takes the token apart splits at each colon.
    assert re.fullmatch(r"[^:\s]+", password)
    assert isinstance(data["expiresAt"], (int, float))
    assert abs(data["expiresAt"] - time.time() - 12 * 3600) < 60
    assert data["proxyEndpoint"] == f"http://localhost:{registry.server.port}"
    basic = {"Authorization": f"Basic {data['authorizationToken']}"}
    assert Pusher(registry.server.port, "any").request("GET", "/v2/", headers=basic).status == 200


def test_the_caller_is_told_the_account_of_the_registry(registry: Registry) -> None:
    caller = registry.aws.sts.get_caller_identity()

    assert caller["Account"] == ACCOUNT
    assert caller["Arn"].startswith(f"arn:aws:iam::{ACCOUNT}:")
    assert caller["UserId"]


# --- rules ------------------------------------------------------------------------------------------------------------


def test_a_first_pull_makes_the_repository_and_keeps_the_image_byte_for_byte(registry: Registry) -> None:
    index, children = publish_index(registry.upstreams["quay"], "org/tools", "1")
    registry.aws.rule("quay", "quay.io")

    assert registry.pull("quay/org/tools") == str(index.digest)

    (repository,) = registry.aws.ecr.describe_repositories(repositoryNames=["quay/org/tools"])["repositories"]
    assert repository["imageTagMutability"] == "MUTABLE"
    assert repository["encryptionConfiguration"] == {"encryptionType": "AES256"}
    assert repository["imageScanningConfiguration"] == {"scanOnPush": False}
    assert repository["repositoryArn"] == f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/quay/org/tools"
    # ECR fetches all images of an index, the friendly character those that are used.
    fetched = children if registry.ecr else children[:1]
    kept = registry.await_images("quay/org/tools", {str(each.digest) for each in (index, *fetched)})
    assert kept[str(index.digest)] == {"1"}
    listed = registry.aws.ecr.list_images(repositoryName="quay/org/tools", filter={"tagStatus": "TAGGED"})["imageIds"]
    assert listed == [{"imageDigest": str(index.digest), "imageTag": "1"}]


def test_what_ecr_refuses_of_upstreams_is_a_matter_of_character(registry: Registry) -> None:
    generic = {"prefix": "other", "upstream": "registry.example.com:8443"}
    for rule in ({"prefix": "docker-hub", "upstream": "registry-1.docker.io"}, generic):
        if registry.ecr:
            with refused("UnsupportedUpstreamRegistryException"):
                registry.aws.rule(**rule)
        else:
            made = registry.aws.rule(**rule)
            assert made.get("upstreamRegistry") == ("docker-hub" if rule is not generic else None)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("elsewhere/docker-hub", "InvalidParameterException"),
        ("ecr-pullthroughcache/unknown", "SecretNotFoundException"),
    ],
)
def test_a_rule_has_a_secret_that_exists_under_the_right_name(name: str, code: str, registry: Registry) -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}"

    with refused(code):
        registry.aws.rule("docker-hub", "registry-1.docker.io", credentialArn=arn)

    assert registry.aws.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []


def test_a_secret_is_the_account_at_the_upstream_and_can_be_exchanged(registry: Registry) -> None:
    hub = registry.upstreams["docker-hub"]
    right = registry.aws.secret("ecr-pullthroughcache/right", hub.account.username, hub.account.password)
    wrong = registry.aws.secret("ecr-pullthroughcache/wrong", hub.account.username, "mistyped")
    prefix = {"ecrRepositoryPrefix": "docker-hub"}

    registry.aws.rule("docker-hub", "registry-1.docker.io", credentialArn=wrong)
    invalid = registry.aws.ecr.validate_pull_through_cache_rule(**prefix)
    changed = registry.aws.ecr.update_pull_through_cache_rule(**prefix, credentialArn=right)
    valid = registry.aws.ecr.validate_pull_through_cache_rule(**prefix)

    assert (invalid["isValid"], bool(invalid["failure"])) == (False, True)
    assert "mistyped" not in json.dumps(invalid, default=str)
    assert changed["credentialArn"] == right
    assert (valid["isValid"], valid.get("failure"), valid["credentialArn"]) == (True, None, right)
    repository = hub.content.private
    assert registry.pull("docker-hub/acme/app", "image") == str(repository.image.digest)
    assert not hub.leaks()


def test_official_images_have_their_library_as_at_ecr_or_without_saying_it(registry: Registry) -> None:
    hub = registry.upstreams["docker-hub"]
    arn = registry.aws.secret("ecr-pullthroughcache/hub", hub.account.username, hub.account.password)
    registry.aws.rule("docker-hub", "registry-1.docker.io", credentialArn=arn)

    assert registry.pull("docker-hub/library/alpine", "1.0") == str(hub.content.public.index.digest)
    if registry.ecr:
        errors(registry.ask("docker-hub/alpine", "1.0"), 403, 404)
    else:
        assert registry.pull("docker-hub/alpine", "1.0") == str(hub.content.public.index.digest)


def test_upstream_is_asked_once_after_a_day_and_never_by_digest(registry: Registry) -> None:
    quay = registry.upstreams["quay"]
    first = publish(quay, "org/moves", "1", "first")
    registry.aws.rule("quay", "quay.io")
    assert registry.pull("quay/org/moves") == first

    registry.let_pass(registry.hours - 0.05)
    quay.journal.clear()
    assert registry.pull("quay/org/moves") == registry.pull("quay/org/moves", first) == first
    assert quay.journal.lines == []

    registry.let_pass(0.1)
    assert registry.pull("quay/org/moves") == first
    assert checks(quay, "org/moves", "1") == 1
    assert registry.pull("quay/org/moves") == first
    assert checks(quay, "org/moves", "1") == 1

    second = publish(quay, "org/moves", "1", "second")
    assert registry.pull("quay/org/moves") == first
    registry.let_pass(registry.hours + 0.1)
    assert registry.pull("quay/org/moves") == second
    registry.let_pass(registry.hours + 0.1)
    quay.journal.clear()
    assert registry.pull("quay/org/moves", first) == first
    assert quay.journal.lines == []


def test_an_upstream_that_is_down_takes_nothing_away_and_leaves_no_litter(registry: Registry) -> None:
    quay = registry.upstreams["quay"]
    digest = publish(quay, "org/kept", "1")
    registry.aws.rule("quay", "quay.io")
    assert registry.pull("quay/org/kept") == digest
    registry.let_pass(registry.hours + 0.1)

    def assert_down(name: str, *answers: int) -> None:
        stale = registry.ask("quay/org/kept")
        assert (stale.status, digest_of(stale.body)) == (200, digest)
        assert registry.pull("quay/org/kept", digest) == digest
        assert errors(registry.ask(f"quay/org/{name}"), *answers)

    registry.upstreams.stop("quay")
    try:
        assert_down("new-refused", 502, 504)
    finally:
        registry.upstreams.resume("quay")
    # The last one has a server leave its upstream alone for a while.
    for code, answers in {500: {502}, 503: {502}, 401: {403, 404}, 429: {429}}.items():
        armed = quay.faults.add(status(code), times=None)
        assert_down(f"new-{code}", *answers)
        armed.disarm()

    assert not [name for name in registry.aws.repositories() if name.startswith("quay/org/new-")]
    assert registry.aws.images("quay/org/kept") == {digest: {"1"}}
    publish(quay, "org/later", "1")
    registry.server.process.wait_until(lambda: registry.ask("quay/org/later").status == 200, "upstream is asked again")


def test_rules_that_exist_already_or_do_not(registry: Registry) -> None:
    registry.aws.rule("quay", "quay.io")
    ecr, unknown = registry.aws.ecr, {"ecrRepositoryPrefix": "unknown"}

    with refused("PullThroughCacheRuleAlreadyExistsException"):
        registry.aws.rule("quay/", "public.ecr.aws")
    with refused("PullThroughCacheRuleNotFoundException"):
        ecr.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["unknown"])
    for ask in (
        ecr.delete_pull_through_cache_rule,
        ecr.update_pull_through_cache_rule,
        ecr.validate_pull_through_cache_rule,
    ):
        with refused("PullThroughCacheRuleNotFoundException"):
            ask(**unknown)
    for prefix in ("UPPER", "a//b", "/a", "a_", "a-_b", "ROOT/", "a" * 31):
        with refused("InvalidParameterException"):
            registry.aws.rule(prefix, "quay.io")
    for prefix in ("docker.io", "mirror/docker.io", "a__b", "a--b", "a/b/", "1a", "root"):
        assert registry.aws.rule(prefix, "quay.io")["ecrRepositoryPrefix"] == prefix


def test_the_number_of_rules_is_limited_by_ecr_only(registry: Registry) -> None:
    for number in range(50):
        registry.aws.rule(f"rule-{number}", "quay.io")

    if registry.ecr:
        with refused("LimitExceededException"):
            registry.aws.rule("rule-50", "quay.io")
    else:
        registry.aws.rule("rule-50", "quay.io")


def test_names_are_mapped_by_the_longest_prefix_of_whole_segments(registry: Registry) -> None:
    quay, public, k8s = (registry.upstreams[kind] for kind in ("quay", "ecr-public", "k8s"))
    registry.aws.rule("ecr-public", "public.ecr.aws")
    registry.aws.rule("mirror", "quay.io")
    registry.aws.rule("mirror/public", "public.ecr.aws")
    registry.aws.rule("team-a", "quay.io", upstreamRepositoryPrefix="team-a")
    registry.aws.rule("my-app", "quay.io", upstreamRepositoryPrefix="upstream-app")
    registry.aws.rule("plain", "quay.io", upstreamRepositoryPrefix="ROOT")
    mapped = {
        "ecr-public/my-app/image1": publish(public, "my-app/image1", "1"),
        "mirror/public/image1": publish(public, "image1/of", "1") and publish(public, "image1", "1"),
        "mirror/org/image1": publish(quay, "org/image1", "1"),
        "team-a/myapp/image1": publish(quay, "team-a/myapp/image1", "1"),
        "my-app/image1": publish(quay, "upstream-app/image1", "1"),
        "plain/org/image2": publish(quay, "org/image2", "1"),
    }

    assert {name: registry.pull(name) for name in mapped} == mapped
    public.journal.clear()
    for name in ("ecr-publicx/my-app/image1", "image1"):
        ((code, _),) = errors(registry.ask(name), 404)
        assert code == "NAME_UNKNOWN"
    assert public.journal.lines == []

    with refused("ValidationException"):
        registry.aws.rule("ROOT", "registry.k8s.io", upstreamRepositoryPrefix="sig")
    registry.aws.rule("ROOT", "registry.k8s.io")
    mapped |= {"sig/image1": publish(k8s, "sig/image1", "1"), "ecr-publicx/app": publish(k8s, "ecr-publicx/app", "1")}
    assert {name: registry.pull(name) for name in mapped} == mapped


def test_what_a_deleted_rule_has_cached_is_served_and_nothing_else(registry: Registry) -> None:
    quay = registry.upstreams["quay"]
    digest = publish(quay, "org/ruled", "1")
    publish(quay, "org/ruled", "2")
    publish(quay, "org/never", "1")
    registry.aws.rule("quay", "quay.io")
    assert registry.pull_for_good("quay/org/ruled") == digest
    quay.journal.clear()

    registry.aws.ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay")

    assert registry.pull("quay/org/ruled") == registry.pull("quay/org/ruled", digest) == digest
    assert errors(registry.ask("quay/org/ruled", "2"), 404) == [("MANIFEST_UNKNOWN", "Requested image not found")]
    unknown = errors(registry.ask("quay/org/never"), 404)
    assert unknown == [no_repository("quay/org/never")] or (not registry.ecr and unknown[0][0] == "NAME_UNKNOWN")
    assert quay.journal.lines == []
    assert registry.aws.images("quay/org/ruled") == {digest: {"1"}}


def test_what_two_rules_have_cached_of_one_upstream_is_each_ones_own(registry: Registry) -> None:
    digest = publish(registry.upstreams["quay"], "org/shared", "1")
    registry.aws.rule("first", "quay.io")
    registry.aws.rule("second", "quay.io")
    assert registry.pull_for_good("first/org/shared") == registry.pull_for_good("second/org/shared") == digest

    for prefix in ("first", "second"):
        registry.aws.ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix=prefix)

    assert registry.pull("first/org/shared") == registry.pull("second/org/shared") == digest
    registry.aws.ecr.delete_repository(repositoryName="first/org/shared", force=True)
    assert registry.pull("second/org/shared") == digest


def test_a_repository_that_is_deleted_and_pulled_again_is_whole(registry: Registry) -> None:
    quay = registry.upstreams["quay"]
    digest = publish(quay, "org/again", "1")
    registry.aws.rule("quay", "quay.io")
    assert registry.pull("quay/org/again") == digest

    registry.aws.ecr.delete_repository(repositoryName="quay/org/again", force=True)
    assert "quay/org/again" not in registry.aws.repositories()
    assert registry.pull_for_good("quay/org/again") == digest
    registry.aws.ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay")

    assert registry.pull("quay/org/again") == digest
    assert registry.aws.images("quay/org/again") == {digest: {"1"}}


def test_fifty_first_pulls_of_an_image_cost_one_fetch_of_each_part(registry: Registry) -> None:
    quay = registry.upstreams["quay"]
    name = f"herd/{'strict' if registry.ecr else 'friendly'}"
    index, children = publish_index(quay, name, "1")
    registry.aws.rule("quay", "quay.io")

    with ThreadPoolExecutor(50) as clients:
        # `pull` follows no redirect and checks every byte.
        assert set(clients.map(registry.pull, [f"quay/{name}"] * 50)) == {str(index.digest)}

    fetched = children if registry.ecr else children[:1]
    registry.await_images(f"quay/{name}", {str(each.digest) for each in (index, *fetched)})
    # Each process asks for a manifest once; blobs are fetched once for all of them.
    assert 1 <= checks(quay, name, "1") <= WORKERS
    assert all(1 <= checks(quay, name, str(child.digest)) <= WORKERS for child in fetched)
    # A process that finds a blob before the proof of it has it proven, by a GET of one byte.
    # One that has asked upstream for nothing yet has no token, and its first request is refused.
    gets = [each for each in quay.journal.of(Route.BLOB, "GET", host=quay.host) if each.status != 401]
    blobs = [each.target.partition("?")[0] for each in gets if each.request.headers.get("range") != "bytes=0-0"]
    assert len(blobs) == len(set(blobs))
