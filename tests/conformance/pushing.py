"""Pushing whole data sets: blobs, then manifests by digest, then tags."""

import json
from collections.abc import Sequence

from tests.conformance.data_sets import DataSet
from tests.conformance.reading import expect_location, media_type_of
from tests.conformance.registry import Answer, Blob, Registry, digest_of
from tests.conformance.uploads import STYLES


async def put_manifest(
    registry: Registry,
    repository: str,
    reference: str,
    manifest: bytes,
    tags: Sequence[str] = (),
    *,
    sized: bool = True,
) -> Answer:
    """Push a manifest; not `sized`: without telling its length, as clients do that stream it."""
    return await registry.ask(
        "PUT",
        f"/v2/{repository}/manifests/{reference}",
        manifest,
        query=[("tag", tag) for tag in tags],
        headers={"Content-Type": media_type_of(manifest)},
        chunked=not sized,
    )


async def expect_pushed(registry: Registry, answer: Answer, manifest: bytes, digest: str) -> None:
    """Require that the answer to a push says what became of the manifest."""
    answer.expect(201)
    assert answer.headers.getall("Docker-Content-Digest") == [digest], answer.asked
    subject = json.loads(manifest).get("subject")
    told = answer.headers.getall("OCI-Subject", [])
    assert told == ([subject["digest"]] if subject else []), answer.asked
    await expect_location(registry, answer, manifest)


async def push(registry: Registry, repository: str, data: DataSet) -> None:
    """Push everything, the blobs by all styles in turn; each answer has to be right."""
    await push_blobs(registry, repository, data.each_blob())
    for digest, manifest in data.manifests.items():
        beside = data.tags_of(digest) if data.by_parameter else []
        answer = await put_manifest(registry, repository, digest, manifest, beside, sized=False)
        await expect_pushed(registry, answer, manifest, digest)
        named = [name.strip() for line in answer.headers.getall("OCI-Tag", []) for name in line.split(",")]
        assert sorted(named) == sorted(beside), answer.asked
    for tag, digest in data.tags.items():
        if not data.by_parameter:
            manifest = data.manifests[digest]
            answer = await put_manifest(registry, repository, tag, manifest)
            await expect_pushed(registry, answer, manifest, digest_of(manifest))


async def push_blobs(registry: Registry, repository: str, blobs: Sequence[Blob]) -> None:
    styles = list(STYLES.values())
    for place, blob in enumerate(blobs):
        answer = await styles[place % len(styles)](registry, repository, blob)
        await expect_location(registry, answer, blob.content)
