"""Reading from a registry, each answer held to the rules for its headers (distribution-spec, "Pull" and "Listing")."""

import json
from collections.abc import Mapping
from typing import Any

from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from tests.conformance.registry import Answer, Blob, Query, Registry, digest_of

# Two lines, as Go's clients send them.
ACCEPT = (("Accept", OCI_INDEX), ("Accept", OCI_MANIFEST))


def media_type_of(manifest: bytes) -> str:
    """Return the media type that a manifest gives itself."""
    media_type: str = json.loads(manifest).get("mediaType", OCI_MANIFEST)
    return media_type


async def expect_blob(registry: Registry, repository: str, blob: Blob) -> None:
    """Get a blob and its headers, and require that they are right."""
    target = f"/v2/{repository}/blobs/{blob.digest}"
    got = (await registry.get(target)).expect(200)
    assert got.body == blob.content, got.asked
    head = (await registry.head(target)).expect(200)
    for answer in (got, head):
        _expect_identity(answer, blob.content, blob.digest)
        assert answer.headers["Accept-Ranges"] == "bytes", answer.asked


async def expect_manifest(
    registry: Registry, repository: str, reference: str, manifest: bytes, digest: str | None = None
) -> None:
    """Get a manifest and its headers by a tag or digest, and require that they are right.

    The digest is the one asked for, or `digest` for a tag, which is the sha256 one unless another is given.
    """
    target = f"/v2/{repository}/manifests/{reference}"
    got = (await registry.get(target, headers=ACCEPT)).expect(200)
    assert got.body == manifest, got.asked
    head = (await registry.head(target, headers=ACCEPT)).expect(200)
    named = digest or (reference if ":" in reference else digest_of(manifest))
    for answer in (got, head):
        _expect_identity(answer, manifest, named)
        assert answer.headers.getall("Content-Type") == [media_type_of(manifest)], answer.asked


def _expect_identity(answer: Answer, content: bytes, digest: str) -> None:
    assert answer.headers.getall("Content-Length") == [str(len(content))], answer.asked
    assert answer.headers.getall("Docker-Content-Digest") == [digest], (answer.asked, dict(answer.headers))
    assert "Content-Encoding" not in answer.headers, answer.asked


async def expect_location(registry: Registry, created: Answer, content: bytes) -> None:
    """Require that the Location of a 201 leads to these bytes."""
    created.expect(201)
    got = (await registry.get(created.location, headers=ACCEPT)).expect(200)
    assert got.body == content, got.asked
    assert got.headers.getall("Content-Length") == [str(len(content))], got.asked


async def tags(registry: Registry, repository: str, **query: str) -> list[str]:
    """Return the tags that a repository lists."""
    answer = (await registry.get(f"/v2/{repository}/tags/list", query=query.items())).expect(200)
    assert answer.headers.getall("Content-Type") == ["application/json"], answer.asked
    assert answer.json["name"] == repository
    listed: list[str] = answer.json["tags"]
    return listed


async def expect_tags(registry: Registry, repository: str, *expected: str) -> None:
    """Require that these tags are listed, and that `last` leaves out what is up to it in the order of bytes."""
    listed = await tags(registry, repository)
    assert set(expected) <= set(listed)
    assert listed == sorted(set(listed))
    for place, last in enumerate(listed):
        assert await tags(registry, repository, last=last) == listed[place + 1 :]


async def referrers(
    registry: Registry, repository: str, subject: str, artifact_type: str | None = None
) -> list[dict[str, Any]]:
    """Return the descriptors of what refers to `subject`, of one artifact type or of all."""
    query: Query = () if artifact_type is None else (("artifactType", artifact_type),)
    answer = (await registry.get(f"/v2/{repository}/referrers/{subject}", query=query)).expect(200)
    assert answer.headers.getall("Content-Type") == [OCI_INDEX], answer.asked
    assert (answer.json["schemaVersion"], answer.json["mediaType"]) == (2, OCI_INDEX), answer.asked
    applied = [name.strip() for name in answer.headers.get("OCI-Filters-Applied", "").split(",")]
    assert ("artifactType" in applied) == (artifact_type is not None), answer.asked
    found: list[dict[str, Any]] = answer.json["manifests"]
    return found


async def expect_referrers(
    registry: Registry, repository: str, subject: str, expected: Mapping[str, dict[str, Any]]
) -> None:
    """Require that exactly these descriptors (by digest) refer to `subject`, all together and by artifact type."""
    everything = await referrers(registry, repository, subject)
    assert {each["digest"]: each for each in everything} == expected
    assert len(everything) == len(expected)
    for artifact_type in {each.get("artifactType") for each in expected.values()} - {None}:
        filtered = await referrers(registry, repository, subject, artifact_type)
        of_type = [each for each in expected.values() if each.get("artifactType") == artifact_type]
        assert sorted(filtered, key=_by_digest) == sorted(of_type, key=_by_digest)
    assert await referrers(registry, repository, subject, "application/vnd.example.none") == []


def _by_digest(descriptor: Mapping[str, Any]) -> str:
    digest: str = descriptor["digest"]
    return digest
