"""Several servers on one store, and many clients at a time: every change is everybody's, and none is lost."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.aws_clients import Aws
from tests.support.ecr_registries import ACCOUNT, REGION, Registry, errors, lifecycle, settings_of, template
from tests.support.emulated import Emulated, publish
from tests.support.images import Image
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

CLIENTS, ROUNDS = 32, 3
SHARED = "shared/app"


@pytest.fixture(params=["ecr", "relaxed"])
def pair(request: pytest.FixtureRequest, upstreams: Emulated, tmp_path: Path) -> Iterator[tuple[Registry, Registry]]:
    """Two servers on one store."""
    settings, store, ecr = settings_of(request.param, upstreams), tmp_path / "store", request.param == "ecr"
    with (
        Pullthrough(tmp_path / "one", settings, store=store) as one,
        Pullthrough(tmp_path / "two", settings, store=store) as two,
        Aws(one.url, REGION) as first,
        Aws(two.url, REGION) as second,
    ):
        yield Registry(one, first, upstreams, ecr), Registry(two, second, upstreams, ecr)


def await_rules(registry: Registry, *prefixes: str) -> None:
    """Wait until a server has taken over what the other one changed, for which it looks twice a second."""

    def are_known() -> bool:
        known: list[str] = registry.server.events("rules.taken_over")[-1]["rules"]
        return known == list(prefixes)

    registry.server.process.wait_until(are_known, f"it knows the rules {prefixes}", seconds=10)


def test_rules_of_one_server_are_soon_those_of_the_others(pair: tuple[Registry, Registry]) -> None:
    one, two = pair
    quay, public = one.upstreams["quay"], one.upstreams["ecr-public"]
    name = "mirror/org/twice"
    old, gone = publish(quay, "org/twice", "1", "old"), publish(quay, "org/twice", "gone", "gone")
    new = publish(public, "org/twice", "1", "new")

    one.aws.rule("mirror", "quay.io")
    assert one.pull(name) == old
    await_rules(two, "mirror")
    assert two.pull(name, "gone") == gone

    # What is cached stays, on both; nothing new comes.
    two.aws.ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="mirror")
    await_rules(one)
    publish(quay, "org/twice", "late")
    for registry in pair:
        assert (registry.pull(name), registry.pull(name, "gone")) == (old, gone)
        assert errors(registry.ask(name, "late"), 404)[0][0] == "MANIFEST_UNKNOWN"

    # The tags of another upstream are none of this rule's.
    two.aws.rule("mirror", "public.ecr.aws")
    await_rules(one, "mirror")
    for registry in pair:
        assert errors(registry.ask(name, "gone"), 404)[0][0] == "MANIFEST_UNKNOWN"
        assert registry.pull(name) == new
        assert errors(registry.ask(name, "late"), 404)[0][0] == "MANIFEST_UNKNOWN"
    described = one.aws.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert [(rule["ecrRepositoryPrefix"], rule["upstreamRegistryUrl"]) for rule in described] == [
        ("mirror", "public.ecr.aws")
    ]


def policy(number: int) -> str:
    """Return a policy that tells who set it."""
    statement = {
        "Sid": f"client-{number}",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": ["ecr:BatchGetImage"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def setter(text: str) -> str:
    """Return who set a policy."""
    sid: str = json.loads(text)["Statement"][0]["Sid"]
    return sid


class Busy:
    """One of many clients: it changes what is its own and what all share, and knows how it left both."""

    def __init__(self, number: int, server: Pullthrough) -> None:
        self.number = number
        self.server = server
        self.own = f"own/app-{number}"
        self.rule = f"rule-{number}"
        self.image: Image = images.of_blobs(b"{}", [f"client {number} ".encode() * 200])
        self.variants = images.variants(self.image, ROUNDS)

    def work(self) -> None:
        with Aws(self.server.url, REGION) as aws:
            ecr = aws.ecr
            arn = ecr.create_repository(repositoryName=self.own)["repository"]["repositoryArn"]
            ecr.create_repository_creation_template(**template(self.own, "CREATE_ON_PUSH"))
            for turn in range(ROUNDS):
                self.change_own(ecr, arn, turn)
                self.change_shared(ecr, turn)

    def change_own(self, ecr: Any, arn: str, turn: int) -> None:  # noqa: ANN401 - a client of boto3
        mode = ("IMMUTABLE", "MUTABLE")[turn % 2]
        ecr.put_image_tag_mutability(repositoryName=self.own, imageTagMutability=mode)
        ecr.put_image_scanning_configuration(
            repositoryName=self.own, imageScanningConfiguration={"scanOnPush": turn % 2 == 0}
        )
        ecr.put_lifecycle_policy(repositoryName=self.own, lifecyclePolicyText=lifecycle(100 + turn))
        ecr.set_repository_policy(repositoryName=self.own, policyText=policy(turn))
        ecr.tag_resource(resourceArn=arn, tags=[{"Key": f"turn-{turn}", "Value": str(self.number)}])
        ecr.update_repository_creation_template(prefix=self.own, description=f"turn {turn}")
        images.push(self.variants[turn], self.server.url, self.own, f"turn-{turn}")
        if turn:
            ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix=self.rule)
        ecr.create_pull_through_cache_rule(ecrRepositoryPrefix=self.rule, upstreamRegistryUrl="quay.io")

    def change_shared(self, ecr: Any, turn: int) -> None:  # noqa: ANN401 - as above
        (shared,) = ecr.describe_repositories(repositoryNames=[SHARED])["repositories"]
        arn = shared["repositoryArn"]
        ecr.tag_resource(resourceArn=arn, tags=[{"Key": f"client-{self.number}", "Value": str(turn)}])
        if self.number < 8:
            ecr.tag_resource(resourceArn=arn, tags=[{"Key": f"short-{self.number}", "Value": ""}])
            ecr.untag_resource(resourceArn=arn, tagKeys=[f"short-{self.number}"])
        ecr.set_repository_policy(repositoryName=SHARED, policyText=policy(self.number))
        ecr.update_repository_creation_template(prefix="shared", description=f"client {self.number}")
        images.push(self.variants[turn], self.server.url, SHARED, f"client-{self.number}-{turn}")
        again = self.variants[turn].manifest.decode()
        ecr.put_image(repositoryName=SHARED, imageManifest=again, imageTag=f"latest-{self.number}")
        if turn:
            ecr.batch_delete_image(repositoryName=SHARED, imageIds=[{"imageTag": f"client-{self.number}-{turn - 1}"}])

    def assert_own(self, aws: Aws, described: dict[str, Any]) -> None:
        last = ROUNDS - 1
        assert described["imageTagMutability"] == ("IMMUTABLE", "MUTABLE")[last % 2]
        assert described["imageScanningConfiguration"] == {"scanOnPush": last % 2 == 0}
        text = aws.ecr.get_lifecycle_policy(repositoryName=self.own)["lifecyclePolicyText"]
        assert json.loads(text) == json.loads(lifecycle(100 + last))
        assert setter(aws.ecr.get_repository_policy(repositoryName=self.own)["policyText"]) == f"client-{last}"
        tags = aws.ecr.list_tags_for_resource(resourceArn=described["repositoryArn"])["tags"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {
            f"turn-{turn}": str(self.number) for turn in range(ROUNDS)
        }
        assert aws.images(self.own) == {image.digest: {f"turn-{turn}"} for turn, image in enumerate(self.variants)}

    @property
    def shared_images(self) -> dict[str, set[str]]:
        """Return what is left of the client's images in the shared repository, by their digests."""
        last = ROUNDS - 1
        return {self.variants[last].digest: {f"client-{self.number}-{last}", f"latest-{self.number}"}}


def test_many_clients_lose_no_update(pair: tuple[Registry, Registry]) -> None:
    one, two = pair
    aws = one.aws
    arn = aws.ecr.create_repository(repositoryName=SHARED)["repository"]["repositoryArn"]
    aws.ecr.create_repository_creation_template(**template("shared", "CREATE_ON_PUSH"))
    clients = [Busy(number, pair[number % 2].server) for number in range(CLIENTS)]

    with ThreadPoolExecutor(CLIENTS) as threads:
        for finished in [threads.submit(client.work) for client in clients]:
            finished.result()

    for registry in (one, two):
        failed = [event for event in registry.server.answered() if event["status"] >= 400]
        # A push looks first whether a blob is there: nothing else was refused, and nothing failed.
        assert {(event["method"], event["status"]) for event in failed} <= {("HEAD", 404)}
    found = two.aws.repositories()
    assert found.keys() == {SHARED, *(client.own for client in clients)}
    for client in clients:
        client.assert_own(aws, found[client.own])
    tags = {tag["Key"]: tag["Value"] for tag in aws.ecr.list_tags_for_resource(resourceArn=arn)["tags"]}
    assert tags == {f"client-{number}": str(ROUNDS - 1) for number in range(CLIENTS)}
    everyone = {f"client-{number}" for number in range(CLIENTS)}
    assert setter(aws.ecr.get_repository_policy(repositoryName=SHARED)["policyText"]) in everyone
    kept: dict[str, set[str]] = {}
    for client in clients:
        kept |= client.shared_images
    assert two.aws.images(SHARED) == kept
    pages = list(aws.ecr.get_paginator("describe_pull_through_cache_rules").paginate())
    rules = {rule["ecrRepositoryPrefix"] for page in pages for rule in page["pullThroughCacheRules"]}
    assert rules == {client.rule for client in clients}
    templates = two.aws.ecr.describe_repository_creation_templates()["repositoryCreationTemplates"]
    descriptions = {each["prefix"]: each.get("description") for each in templates}
    assert descriptions.pop("shared") in {f"client {number}" for number in range(CLIENTS)}
    assert descriptions == {client.own: f"turn {ROUNDS - 1}" for client in clients}
    # Every image can be pulled from the server that did not take it.
    for number, client in enumerate(clients):
        assert pair[1 - number % 2].pull(client.own, "turn-0") == client.variants[0].digest
