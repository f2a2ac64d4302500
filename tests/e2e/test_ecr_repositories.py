"""What people who know ECR try first, with repositories, tags and images, at both characters of the registry."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.aws_clients import refused
from tests.support.ecr_registries import (
    ACCOUNT,
    CHARACTERS,
    Registry,
    errors,
    image_of,
    lifecycle,
    no_repository,
    registry_of,
    template,
)
from tests.support.emulated import Emulated, publish
from tests.support.pulls import manifest
from tests.support.pushes import Pusher

pytestmark = pytest.mark.e2e


# --- templates --------------------------------------------------------------------------------------------------------


def test_templates_make_what_pulls_make_and_change_nothing_else(registry: Registry) -> None:
    quay, aws = registry.upstreams["quay"], registry.aws
    for name in ("org/old", "org/new", "deep/new", "org/rooted"):
        publish(quay, name, "1")
    aws.rule("quay", "quay.io")
    aws.rule("other", "quay.io")
    registry.pull("quay/org/old")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [_statement("ecr:BatchGetImage")]})
    for made in (
        template(
            "quay",
            "PULL_THROUGH_CACHE",
            imageTagMutability="IMMUTABLE",
            lifecyclePolicy=lifecycle(100),
            repositoryPolicy=policy,
            resourceTags=[{"Key": "made", "Value": "by a pull"}],
        ),
        template("quay/deep", "PULL_THROUGH_CACHE", imageTagMutability="MUTABLE"),
        template("quay/org", "CREATE_ON_PUSH", imageTagMutability="MUTABLE"),
        template(
            "ROOT",
            "PULL_THROUGH_CACHE",
            imageTagMutability="MUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "release-*"}],
        ),
    ):
        aws.ecr.create_repository_creation_template(**made)

    for name in ("quay/org/old", "quay/org/new", "quay/deep/new", "other/org/rooted"):
        registry.pull(name)

    pulled = ("quay/org/old", "quay/org/new", "quay/deep/new", "other/org/rooted")
    found = {name: each for name, each in aws.repositories().items() if name in pulled}
    assert {name: each["imageTagMutability"] for name, each in found.items()} == {
        "quay/org/old": "MUTABLE",
        "quay/org/new": "IMMUTABLE",
        "quay/deep/new": "MUTABLE",
        "other/org/rooted": "MUTABLE_WITH_EXCLUSION",
    }
    new = {"repositoryName": "quay/org/new"}
    assert json.loads(aws.ecr.get_lifecycle_policy(**new)["lifecyclePolicyText"]) == json.loads(lifecycle(100))
    assert json.loads(aws.ecr.get_repository_policy(**new)["policyText"]) == json.loads(policy)
    arns = {name: each["repositoryArn"] for name, each in found.items()}
    tags = {name: aws.ecr.list_tags_for_resource(resourceArn=arn)["tags"] for name, arn in arns.items()}
    assert tags == {name: [] for name in found} | {"quay/org/new": [{"Key": "made", "Value": "by a pull"}]}
    with refused("LifecyclePolicyNotFoundException"):
        aws.ecr.get_lifecycle_policy(repositoryName="quay/org/old")


def _statement(*actions: str) -> dict[str, Any]:
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    return {"Sid": "pull", "Effect": "Allow", "Principal": principal, "Action": list(actions)}


def test_a_push_makes_repositories_by_a_template_or_as_a_friend(registry: Registry) -> None:
    image = image_of("pushed")
    registry.aws.ecr.create_repository_creation_template(
        **template("team", "CREATE_ON_PUSH", imageTagMutability="IMMUTABLE")
    )

    assert registry.push("team/app", image, "1").status == 201
    began = Pusher(registry.server.port, "other/app").request("POST", "/v2/other/app/blobs/uploads/")
    if registry.ecr:
        assert errors(began, 404) == [no_repository("other/app")]
        assert registry.aws.repositories().keys() == {"team/app"}
    else:
        assert began.status == 202
        assert registry.push("other/app", image, "1").status == 201
        assert registry.aws.repositories()["other/app"]["imageTagMutability"] == "MUTABLE"
    assert registry.aws.repositories()["team/app"]["imageTagMutability"] == "IMMUTABLE"


# --- immutability -----------------------------------------------------------------------------------------------------


def refusal(tag: str, repository: str) -> tuple[str, str]:
    sentence = "already exists in the '{}' repository and cannot be overwritten because the tag is immutable."
    return "TAG_INVALID", f"The image tag '{tag}' {sentence.format(repository)}"


def test_an_immutable_tag_is_kept_from_pushes_of_both_kinds(registry: Registry) -> None:
    ecr, name = registry.aws.ecr, "fixed/app"
    first, second = images.variants(image_of("immutable"), 2)
    ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    assert registry.push(name, first, "1").status == 201

    assert errors(registry.put(name, second, "1"), 400) == [refusal("1", name)]
    if registry.ecr:
        assert errors(registry.put(name, first, "1"), 400) == [refusal("1", name)]
    else:
        assert registry.put(name, first, "1").status == 201
    given = {"repositoryName": name, "imageManifestMediaType": first.media_type}
    with refused("ImageTagAlreadyExistsException"):
        ecr.put_image(**given, imageManifest=second.manifest.decode(), imageTag="1")
    with refused("ImageAlreadyExistsException") as same:
        ecr.put_image(**given, imageManifest=first.manifest.decode(), imageTag="1")
    assert same.message == (
        f"Image with digest '{first.digest}' and tag '1' already exists in the repository with name '{name}' in "
        f"registry with id '{ACCOUNT}'"
    )

    put = ecr.put_image(**given, imageManifest=first.manifest.decode(), imageTag="also")["image"]
    assert put["imageId"] == {"imageDigest": first.digest, "imageTag": "also"}
    assert registry.aws.images(name) == {first.digest: {"1", "also"}}
    ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageTag": "1"}])
    assert registry.put(name, second, "1").status == 201
    assert registry.pull(name, "1") == second.digest


@pytest.mark.parametrize(
    ("mode", "filters", "movable", "fixed"),
    [
        (
            "IMMUTABLE_WITH_EXCLUSION",
            ["dev-*", "*-snapshot", "v*.beta", "latest"],
            ["dev-1", "dev-", "1-snapshot", "v1.beta", "latest"],
            ["xdev-1", "1-snapshot-2", "v1.beta2", "latest2", "1"],
        ),
        ("MUTABLE_WITH_EXCLUSION", ["release-*"], ["1", "a-release-1", "Release-1"], ["release-1", "release-"]),
    ],
)
def test_filters_fit_whole_tags(
    mode: str, filters: list[str], movable: list[str], fixed: list[str], registry: Registry
) -> None:
    ecr, name = registry.aws.ecr, "filtered/app"
    given = [{"filterType": "WILDCARD", "filter": each} for each in filters]
    first, second = images.variants(image_of("filtered"), 2)
    ecr.create_repository(repositoryName=name)
    changed = ecr.put_image_tag_mutability(
        repositoryName=name, imageTagMutability=mode, imageTagMutabilityExclusionFilters=given
    )
    images.push(first, registry.server.url, name, first.digest)

    assert (changed["imageTagMutability"], changed["imageTagMutabilityExclusionFilters"]) == (mode, given)
    assert [registry.put(name, first, tag).status for tag in (*movable, *fixed)] == [201] * len(movable + fixed)
    assert [registry.put(name, second, tag).status for tag in movable] == [201] * len(movable)
    for tag in fixed:
        assert errors(registry.put(name, second, tag), 400) == [refusal(tag, name)]
    plain = ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    assert "imageTagMutabilityExclusionFilters" not in plain
    assert registry.put(name, second, fixed[0]).status == 201


@pytest.mark.parametrize(
    ("mode", "filters"),
    [
        ("IMMUTABLE_WITH_EXCLUSION", None),
        ("MUTABLE_WITH_EXCLUSION", None),
        ("IMMUTABLE", ["latest"]),
        ("MUTABLE", ["latest"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["1", "2", "3", "4", "5", "6"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["a*b*c*"]),
        ("IMMUTABLE_WITH_EXCLUSION", ["sp ace"]),
    ],
)
def test_filters_that_no_repository_has(mode: str, filters: list[str] | None, registry: Registry) -> None:
    given: dict[str, Any] = {"imageTagMutability": mode}
    if filters is not None:
        given["imageTagMutabilityExclusionFilters"] = [{"filterType": "WILDCARD", "filter": each} for each in filters]
    registry.aws.ecr.create_repository(repositoryName="plain/app")

    with refused("InvalidParameterException") as refusal:
        registry.aws.ecr.create_repository(repositoryName="filtered/app", **given)
    assert "imageTagMutabilityExclusionFilters" in refusal.message
    with refused("InvalidParameterException"):
        registry.aws.ecr.put_image_tag_mutability(repositoryName="plain/app", **given)

    found = registry.aws.repositories()
    assert {name: each["imageTagMutability"] for name, each in found.items()} == {"plain/app": "MUTABLE"}


def test_a_tag_that_moved_upstream_stays_where_tags_are_immutable(registry: Registry) -> None:
    quay = registry.upstreams["quay"]
    first = publish(quay, "org/fixed", "latest", "first")
    registry.aws.rule("quay", "quay.io")
    # Made before the first pull, which is the usual way to give a cached repository settings of its own.
    registry.aws.ecr.create_repository(repositoryName="quay/org/fixed", imageTagMutability="IMMUTABLE")
    assert registry.pull("quay/org/fixed", "latest") == first

    second = publish(quay, "org/fixed", "latest", "second")
    registry.let_pass(registry.hours + 0.1)
    assert registry.pull("quay/org/fixed", "latest") == first
    assert registry.aws.images("quay/org/fixed") == {first: {"latest"}}

    registry.aws.ecr.put_image_tag_mutability(repositoryName="quay/org/fixed", imageTagMutability="MUTABLE")
    registry.let_pass(registry.hours + 0.1)
    assert registry.pull("quay/org/fixed", "latest") == second


# --- one registry behind two APIs -------------------------------------------------------------------------------------


def test_what_clients_push_is_what_the_api_describes(registry: Registry) -> None:
    ecr, name = registry.aws.ecr, "coherent/app"
    image, other = images.variants(image_of("coherent"), 2)
    ecr.create_repository(repositoryName=name)
    for tag in ("1", "latest"):
        assert registry.push(name, image, tag).status == 201
    assert registry.push(name, other, "2").status == 201
    digests = {image.digest, other.digest}

    (described,) = ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": "latest"}])["imageDetails"]
    assert (described["imageDigest"], set(described["imageTags"])) == (image.digest, {"1", "latest"})
    assert described["imageManifestMediaType"] == image.media_type
    assert described["artifactMediaType"] == images.OCI_CONFIG
    layers = sum(len(image.blobs[layer]) for layer in image.layers)
    assert layers <= described["imageSizeInBytes"] <= layers + len(image.blobs[image.config]) + len(image.manifest)
    assert abs(described["imagePushedAt"].timestamp() - time.time()) < 60

    asked = [{"imageDigest": image.digest}, {"imageTag": "2"}, {"imageTag": "unknown"}]
    got = ecr.batch_get_image(repositoryName=name, imageIds=asked)
    assert {each["imageManifest"].encode() for each in got["images"]} == {image.manifest, other.manifest}
    (failure,) = got["failures"]
    assert (failure["failureCode"], failure["failureReason"]) == ("ImageNotFound", "Requested image not found")

    for layer in image.layers:
        url = ecr.get_download_url_for_layer(repositoryName=name, layerDigest=layer)["downloadUrl"]
        origin = f"http://localhost:{registry.server.port}"
        assert url.startswith(f"{origin}/")
        assert Pusher(registry.server.port, name).request("GET", url.removeprefix(origin)).body == image.blobs[layer]

    pages = ecr.get_paginator("describe_images").paginate(
        repositoryName=name, PaginationConfig={"PageSize": 1, "MaxItems": 10}
    )
    found = [[each["imageDigest"] for each in page["imageDetails"]] for page in pages]
    assert [len(page) for page in found] == [1, 1]
    assert {digest for page in found for digest in page} == digests

    with refused("RepositoryNotEmptyException"):
        ecr.delete_repository(repositoryName=name)
    ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageTag": "1"}])
    assert errors(registry.ask(name, "1"), 404)[0][0] == "MANIFEST_UNKNOWN"
    assert registry.pull(name, "latest") == image.digest
    # With its last tag an image goes.
    ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageTag": "latest"}])
    assert errors(registry.ask(name, image.digest), 404)[0][0] == "MANIFEST_UNKNOWN"
    ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageDigest": other.digest}])
    assert errors(registry.ask(name, "2"), 404)[0][0] == "MANIFEST_UNKNOWN"
    assert registry.aws.images(name) == {}
    ecr.delete_repository(repositoryName=name)
    assert registry.aws.repositories() == {}


def test_what_the_api_puts_is_what_clients_pull(registry: Registry) -> None:
    ecr, name = registry.aws.ecr, "coherent/put"
    image = image_of("put")
    ecr.create_repository(repositoryName=name)
    for digest, blob in image.blobs.items():
        upload = ecr.initiate_layer_upload(repositoryName=name)["uploadId"]
        part = {"partFirstByte": 0, "partLastByte": len(blob) - 1, "layerPartBlob": blob}
        ecr.upload_layer_part(repositoryName=name, uploadId=upload, **part)
        ecr.complete_layer_upload(repositoryName=name, uploadId=upload, layerDigests=[digest])
    ecr.put_image(
        repositoryName=name,
        imageManifest=image.manifest.decode(),
        imageManifestMediaType=image.media_type,
        imageTag="1",
    )

    assert registry.pull(name, "1") == image.digest
    answer = manifest(Pusher(registry.server.port, name), "1")
    assert (answer.body, answer.headers["Content-Type"]) == (image.manifest, image.media_type)


def test_everything_is_listed_once_one_by_one(registry: Registry) -> None:
    names = [f"paged/app-{number}" for number in range(5)]
    for name in names:
        registry.aws.ecr.create_repository(repositoryName=name)
        registry.aws.ecr.create_repository_creation_template(**template(name, "CREATE_ON_PUSH"))
        registry.aws.rule(name, "quay.io")

    for operation, members, member in (
        ("describe_repositories", "repositories", "repositoryName"),
        ("describe_repository_creation_templates", "repositoryCreationTemplates", "prefix"),
        ("describe_pull_through_cache_rules", "pullThroughCacheRules", "ecrRepositoryPrefix"),
    ):
        pages = list(registry.aws.ecr.get_paginator(operation).paginate(PaginationConfig={"PageSize": 1}))
        assert [len(page[members]) for page in pages] == [1] * len(names)
        assert sorted(each[member] for page in pages for each in page[members]) == names


# --- lifecycles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", CHARACTERS)
def test_a_lifecycle_policy_expires_what_its_preview_says(character: str, upstreams: Emulated, tmp_path: Path) -> None:
    name = "aging/app"
    with registry_of(character, upstreams, tmp_path / "registry", lifecycle_interval="200ms") as registry:
        aws = registry.aws
        aws.ecr.create_repository(repositoryName=name)
        pushed = [image_of(f"aging {number}") for number in range(3)]
        for number, image in enumerate(pushed):
            assert registry.push(name, image, str(number)).status == 201

        aws.ecr.start_lifecycle_policy_preview(repositoryName=name, lifecyclePolicyText=lifecycle(1))
        aws.ecr.get_waiter("lifecycle_policy_preview_complete").wait(repositoryName=name, WaiterConfig={"Delay": 1})
        preview = aws.ecr.get_lifecycle_policy_preview(repositoryName=name)
        assert {each["imageDigest"] for each in preview["previewResults"]} == {each.digest for each in pushed[:2]}
        assert preview["summary"]["expiringImageTotalCount"] == 2
        assert len(aws.images(name)) == 3

        aws.ecr.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=lifecycle(1))
        registry.await_images(name, {pushed[2].digest})
        assert aws.images(name) == {pushed[2].digest: {"2"}}
        assert errors(registry.ask(name, "0"), 404)[0][0] == "MANIFEST_UNKNOWN"
        assert registry.pull(name, "2") == pushed[2].digest
        assert aws.ecr.get_lifecycle_policy(repositoryName=name)["lastEvaluatedAt"]
