"""Registries of both characters, as administrators and clients meet them: the API, ``/v2/``, upstreams, and time."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import images
from tests.support.aws_clients import Aws
from tests.support.emulated import Emulated
from tests.support.images import Image
from tests.support.pulls import pull
from tests.support.pullthrough import Pullthrough
from tests.support.pushes import Answer, ManifestPush, Pusher

ACCOUNT, REGION = "111122223333", "eu-west-1"
CHARACTERS = ("ecr", "relaxed")
KINDS = ("quay", "docker-hub", "ecr-public", "k8s")


@dataclass
class Registry:
    """A running registry of one character, its clients and its upstreams."""

    server: Pullthrough
    aws: Aws
    upstreams: Emulated
    ecr: bool

    @property
    def hours(self) -> float:
        """Return how long a tag is served without asking upstream."""
        return 24 if self.ecr else 5 / 60

    def pull(self, repository: str, reference: str = "1") -> str:
        return pull(self.server.port, repository, reference)

    def pull_for_good(self, repository: str) -> str:
        """Pull an image of two blobs; return once every process may serve them, whatever becomes of the rule."""
        digest = self.pull(repository)
        self.server.process.wait_until(lambda: self._proofs(repository) >= 2, f"{repository} has its blobs")
        return digest

    def _proofs(self, repository: str) -> int:
        query = (
            "SELECT count(*) FROM proofs JOIN provenances ON provenances.id = provenance_id "
            "JOIN repositories ON repositories.id = repository_id WHERE name = ?"
        )
        with closing(sqlite3.connect(self.server.layout.database, timeout=30)) as database:
            (count,) = database.execute(query, (repository,)).fetchone()
        assert isinstance(count, int)
        return count

    def ask(self, repository: str, reference: str = "1") -> Answer:
        """Return what a client that asks for a manifest is answered."""
        return Pusher(self.server.port, repository).manifest(reference)

    def push(self, repository: str, image: Image, tag: str) -> Answer:
        """Push an image with its blobs; return the answer to the last request."""
        images.push(image, self.server.url, repository, image.digest)
        return self.put(repository, image, tag)

    def put(self, repository: str, image: Image, tag: str) -> Answer:
        """Push the manifest of an image whose blobs are there."""
        return Pusher(self.server.port, repository).push_manifest(ManifestPush(image=image, tag=tag))

    def let_pass(self, hours: float) -> None:
        """Let time pass: all that was checked upstream was checked so much earlier."""
        with closing(sqlite3.connect(self.server.layout.database, timeout=30)) as database:
            database.execute("UPDATE tags SET checked_at = checked_at - ?", (hours * 3600,))
            database.commit()

    def await_images(self, repository: str, digests: set[str]) -> dict[str, set[str]]:
        """Wait for what is fetched in the background; return the tags of all images."""
        self.server.process.wait_until(
            lambda: self.aws.images(repository).keys() == digests, f"{repository} has {digests}"
        )
        return self.aws.images(repository)

    def clear(self) -> None:
        """Remove all that the API can remove, and let upstreams be well."""
        self.aws.clear()
        for kind in KINDS:
            self.upstreams[kind].faults.clear()
            self.upstreams[kind].journal.clear()


def settings_of(character: str, upstreams: Emulated, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - of any type
    """Return the settings of a registry in front of emulated upstreams, which it asks again after each failure."""
    patience = {"retry_check_after": 0, "breaker_failures": 1000, "budget": "4s"}
    return {
        "registry": {"compatibility": character, "account_id": ACCOUNT, "region": REGION, **settings},
        "upstreams": {**upstreams.settings, **patience},
    }


@contextmanager
def registry_of(character: str, upstreams: Emulated, folder: Path, **settings: Any) -> Iterator[Registry]:  # noqa: ANN401 - of any type
    """Run a registry of a character with a store of its own; `settings` go into its section `registry`."""
    document = settings_of(character, upstreams, **settings)
    with Pullthrough(folder, document) as server, Aws(server.url, REGION) as aws:
        yield Registry(server, aws, upstreams, character == "ecr")


def errors(answer: Answer, *statuses: int) -> list[tuple[str, str]]:
    """Return code and message of each error of a refused request."""
    assert answer.status in statuses, answer
    assert all(message for _, message in answer.errors)
    return answer.errors


def no_repository(name: str) -> tuple[str, str]:
    """Return code and message of what ECR says of a repository that does not exist."""
    return "NAME_UNKNOWN", f"The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'"


def image_of(text: str) -> Image:
    """Return a small image that no other test has."""
    return images.of_blobs(json.dumps({"architecture": "amd64", "os": "linux"}).encode(), [text.encode() * 500])


def template(prefix: str, *scenarios: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - members of any type
    """Return the members of a creation template."""
    return {"prefix": prefix, "appliedFor": list(scenarios), **more}


def lifecycle(count: int) -> str:
    """Return a policy that keeps the newest `count` images. The model wants 100 characters at least."""
    rule = {
        "rulePriority": 1,
        "description": "keep what is new",
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count},
        "action": {"type": "expire"},
    }
    return json.dumps({"rules": [rule]})
