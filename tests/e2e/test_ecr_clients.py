"""The command lines that ECR's users know: ``aws ecr`` makes rules and passwords, docker logs in, pulls and pushes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images, parts
from tests.support.aws_clients import AwsCli
from tests.support.clients import Docker
from tests.support.ecr_registries import REGION, Registry, registry_of
from tests.support.emulated import Emulated, publish_image
from tests.support.images import Image

pytestmark = pytest.mark.e2e


@pytest.fixture
def like_ecr(upstreams: Emulated, tmp_path: Path) -> Iterator[Registry]:
    with registry_of("ecr", upstreams, tmp_path / "registry") as running:
        yield running


@pytest.fixture(params=["--endpoint-url", "AWS_ENDPOINT_URL"])
def cli(request: pytest.FixtureRequest, like_ecr: Registry, tmp_path: Path) -> AwsCli:
    by_variable = request.param == "AWS_ENDPOINT_URL"
    toolbox = parts.require(parts.AWS_CLI)
    return AwsCli(toolbox, tmp_path / "cli", like_ecr.server.url, REGION, by_variable=by_variable)


def test_docker_logs_in_and_pushes_to_the_uri_that_the_api_tells(
    like_ecr: Registry, cli: AwsCli, docker: Docker, image: Image, tmp_path: Path
) -> None:
    made = cli.ask("ecr", "create-repository", "--repository-name", "team/app")["repository"]
    (described,) = cli.ask("ecr", "describe-repositories")["repositories"]
    uri = described["repositoryUri"]
    assert uri == made["repositoryUri"]
    password = cli.text("ecr", "get-login-password").strip()
    assert "Login Succeeded" in docker.log_in(uri.partition("/")[0], "AWS", password)

    images.write_archive(image, f"{uri}:1", tmp_path / "image.tar")
    docker.load(tmp_path / "image.tar")
    digest = docker.push(f"{uri}:1")

    (detail,) = cli.ask("ecr", "describe-images", "--repository-name", "team/app")["imageDetails"]
    assert (detail["imageDigest"], detail["imageTags"]) == (digest, ["1"])
    assert detail["imagePushedAt"].endswith("+00:00")
    docker.remove(f"{uri}:1")
    assert docker.pull(f"{uri}@{digest}") == digest
    assert docker.image_id(f"{uri}@{digest}") == image.config
    docker.remove(f"{uri}@{digest}")
    other = uri.replace("team/app", "team/other")
    docker.load(tmp_path / "image.tar")
    docker.tag(f"{uri}:1", f"{other}:1")
    with pytest.raises(AssertionError, match="The repository with name 'team/other' does not exist in the registry"):
        docker.push(f"{other}:1")
    docker.remove(f"{uri}:1", f"{other}:1")
    assert like_ecr.aws.repositories().keys() == {"team/app"}


def test_docker_pulls_through_a_rule_at_once(like_ecr: Registry, cli: AwsCli, docker: Docker, image: Image) -> None:
    publish_image(like_ecr.upstreams["quay"], "org/shell", "1", image)
    reference = f"localhost:{like_ecr.server.port}/quay/org/shell:1"
    with pytest.raises(AssertionError, match=r"not known|does not exist"):
        docker.pull(reference)
    rule = ["--ecr-repository-prefix", "quay", "--upstream-registry-url", "quay.io"]

    cli.ask("ecr", "create-pull-through-cache-rule", *rule)
    assert docker.pull(reference) == image.digest
    assert docker.output_of(reference, "echo", "runs").strip() == "runs"

    valid = cli.ask("ecr", "validate-pull-through-cache-rule", "--ecr-repository-prefix", "quay")
    assert valid["isValid"] is True
    cli.ask("ecr", "delete-pull-through-cache-rule", "--ecr-repository-prefix", "quay")
    docker.remove(reference)
    assert docker.pull(reference) == image.digest
    docker.remove(reference)
