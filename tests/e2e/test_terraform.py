"""Terraform's aws provider manages the registry as it manages ECR: one life of a configuration, from apply to destroy.

The tests share one state and leave it as the configuration says; the last one destroys it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import terraform
from tests.support.ecr_registries import ACCOUNT, REGION, Registry, registry_of
from tests.support.emulated import Emulated, publish
from tests.support.terraform import Terraform

pytestmark = pytest.mark.e2e

CONFIGURATION = Path(__file__).with_name("registry.tf").read_text(encoding="utf-8")
ACCOUNTS = {f'aws_secretsmanager_secret.account["{name}"]' for name in ("right", "other")}
VERSIONS = {f'aws_secretsmanager_secret_version.account["{name}"]' for name in ("right", "other")}
APP, CACHED = "aws_ecr_repository.app", "aws_ecr_repository.cached"
HUB, QUAY = "aws_ecr_pull_through_cache_rule.hub", "aws_ecr_pull_through_cache_rule.quay"
LIFECYCLE, POLICY = "aws_ecr_lifecycle_policy.cached", "aws_ecr_repository_policy.app"
REGISTRY_POLICY, TEMPLATE = "aws_ecr_registry_policy.all", "aws_ecr_repository_creation_template.pulls"
RESOURCES = {*ACCOUNTS, *VERSIONS, APP, CACHED, HUB, QUAY, LIFECYCLE, POLICY, REGISTRY_POLICY, TEMPLATE}


class Managed:
    """A registry, and the configuration that says what is in it."""

    def __init__(self, terraform: Terraform, registry: Registry) -> None:
        self.terraform = terraform
        self.registry = registry
        self.ecr = registry.aws.ecr
        account = registry.upstreams["docker-hub"].account
        self.variables: dict[str, Any] = {
            "endpoint": registry.server.url,
            "region": REGION,
            "accounts": {
                "right": {"username": account.username, "accessToken": account.password},
                "other": {"username": "nobody", "accessToken": "mistyped"},
            },
            "used_account": "other",
            "mutability": "MUTABLE",
            "scan_on_push": False,
            "kept_images": 50,
            "resource_tags": {"team": "web", "cost": "1"},
            "description": "what pulls make",
            "actions": ["ecr:BatchGetImage"],
        }
        self.write()

    def write(self, more: str = "", **variables: object) -> None:
        """Write the configuration with other values of its variables, and with `more` in it."""
        self.variables |= variables
        self.terraform.write(CONFIGURATION + more, self.variables)

    def seen(self) -> dict[str, Any]:
        """Return what is in the registry, less what it decides by itself."""
        repositories = self.registry.aws.repositories()
        rules = self.ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]
        templates = self.ecr.describe_repository_creation_templates()["repositoryCreationTemplates"]
        return {
            "repositories": {name: each["imageTagMutability"] for name, each in repositories.items()},
            "scans": {name for name, each in repositories.items() if each["imageScanningConfiguration"]["scanOnPush"]},
            "rules": {rule["ecrRepositoryPrefix"]: rule.get("credentialArn") for rule in rules},
            "templates": {each["prefix"]: (each["description"], each["imageTagMutability"]) for each in templates},
        }

    def tags(self, name: str) -> dict[str, str]:
        """Return the resource tags of a repository."""
        arn = self.registry.aws.repositories()[name]["repositoryArn"]
        return {tag["Key"]: tag["Value"] for tag in self.ecr.list_tags_for_resource(resourceArn=arn)["tags"]}


@pytest.fixture(scope="module")
def managed(upstreams: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    """A registry like ECR after the first ``terraform apply``."""
    toolbox, mirror = terraform.require()
    folder = tmp_path_factory.mktemp("terraform")
    with registry_of("ecr", upstreams, folder / "registry") as registry:
        managed = Managed(Terraform(toolbox, mirror, folder / "work"), registry)
        managed.terraform.init()
        assert managed.terraform.apply() == {"create": RESOURCES}
        yield managed


def test_apply_makes_everything_and_a_second_plan_has_nothing_to_do(managed: Managed) -> None:
    outputs = managed.terraform.outputs()
    secrets = outputs.pop("secrets")

    assert outputs == {
        "account": ACCOUNT,
        "user": "AWS",
        "proxy": f"http://localhost:{managed.registry.server.port}",
        "uri": f"localhost:{managed.registry.server.port}/team/app",
        "mutability": "MUTABLE",
        "upstream": "registry-1.docker.io",
        "credential": secrets["other"],
    }
    assert managed.seen() == {
        "repositories": {"team/app": "MUTABLE", "quay/org/declared": "MUTABLE"},
        "scans": set(),
        "rules": {"docker-hub": secrets["other"], "quay": None},
        "templates": {"docker-hub": ("what pulls make", "MUTABLE")},
    }
    assert managed.tags("team/app") == {"team": "web", "cost": "1"}
    assert managed.terraform.plan() == {}


def test_a_declared_repository_below_a_prefix_still_pulls_through(managed: Managed) -> None:
    digest = publish(managed.registry.upstreams["quay"], "org/declared", "1")

    assert managed.registry.pull("quay/org/declared") == digest
    assert managed.registry.aws.images("quay/org/declared") == {digest: {"1"}}


def test_changes_are_made_in_place(managed: Managed) -> None:
    managed.write(
        used_account="right",
        mutability="IMMUTABLE",
        scan_on_push=True,
        kept_images=7,
        resource_tags={"team": "data", "stage": "test"},
        description="changed",
        actions=["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
    )
    planned = managed.terraform.apply()

    # The provider replaces lifecycle policies, whose text it cannot change.
    replaced = planned.pop("replace", set())
    assert replaced <= {LIFECYCLE}
    assert planned == {"update": {HUB, APP, POLICY, REGISTRY_POLICY, TEMPLATE, *({LIFECYCLE} - replaced)}}
    secrets = managed.terraform.outputs()["secrets"]
    assert managed.seen() == {
        "repositories": {"team/app": "IMMUTABLE", "quay/org/declared": "MUTABLE"},
        "scans": {"team/app"},
        "rules": {"docker-hub": secrets["right"], "quay": None},
        "templates": {"docker-hub": ("changed", "IMMUTABLE")},
    }
    assert managed.tags("team/app") == {"team": "data", "stage": "test"}
    policy = json.loads(managed.ecr.get_lifecycle_policy(repositoryName="quay/org/declared")["lifecyclePolicyText"])
    assert policy["rules"][0]["selection"]["countNumber"] == 7
    granted = json.loads(managed.ecr.get_repository_policy(repositoryName="team/app")["policyText"])
    assert granted["Statement"][0]["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    # The rule has the account that Docker Hub knows now.
    hub = managed.registry.upstreams["docker-hub"].content.private
    assert managed.registry.pull("docker-hub/acme/app", "image") == str(hub.image.digest)
    assert managed.registry.aws.repositories()["docker-hub/acme/app"]["imageTagMutability"] == "IMMUTABLE"
    managed.ecr.delete_repository(repositoryName="docker-hub/acme/app", force=True)


def test_what_is_deleted_behind_its_back_is_made_anew(managed: Managed) -> None:
    before = managed.seen()
    managed.ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay")
    managed.ecr.delete_repository_policy(repositoryName="team/app")
    managed.ecr.delete_registry_policy()
    managed.ecr.delete_repository_creation_template(prefix="docker-hub")
    managed.ecr.delete_repository(repositoryName="quay/org/declared", force=True)
    managed.registry.aws.secrets.delete_secret(SecretId="ecr-pullthroughcache/other", ForceDeleteWithoutRecovery=True)

    secret = {f'{kind}.account["other"]' for kind in ("aws_secretsmanager_secret", "aws_secretsmanager_secret_version")}
    # And nothing else: what was changed before is as it was declared.
    assert managed.terraform.apply() == {
        "create": {QUAY, POLICY, REGISTRY_POLICY, TEMPLATE, CACHED, LIFECYCLE, *secret},
    }
    assert managed.seen() == before


def test_what_is_there_is_imported_as_it_is(managed: Managed) -> None:
    before = managed.seen()
    arn = managed.terraform.outputs()["secrets"]["right"]
    identities = {
        'aws_secretsmanager_secret.account["right"]': arn,
        HUB: "docker-hub",
        QUAY: "quay",
        APP: "team/app",
        CACHED: "quay/org/declared",
        LIFECYCLE: "quay/org/declared",
        POLICY: "team/app",
        REGISTRY_POLICY: ACCOUNT,
        TEMPLATE: "docker-hub",
    }
    managed.terraform.forget(*identities)
    assert managed.terraform.state().isdisjoint(identities)
    blocks = (f"\nimport {{\n  to = {to}\n  id = {json.dumps(identity)}\n}}\n" for to, identity in identities.items())
    managed.write("".join(blocks))

    planned = managed.terraform.apply()
    managed.write()

    # What the registry is not told, the provider knows only after an apply of its own: how things are to be deleted.
    only_told_to_terraform = {'aws_secretsmanager_secret.account["right"]', APP, CACHED}
    assert planned.pop("update", set()) <= only_told_to_terraform
    assert planned.keys() <= {"import"}
    assert identities.keys() <= managed.terraform.state()
    assert managed.seen() == before
    assert managed.terraform.plan() == {}


def test_destroy_removes_everything(managed: Managed) -> None:
    managed.terraform.destroy()

    assert managed.terraform.state() == set()
    assert managed.seen() == {"repositories": {}, "scans": set(), "rules": {}, "templates": {}}
    assert managed.registry.aws.secrets.list_secrets(IncludePlannedDeletion=True)["SecretList"] == []
