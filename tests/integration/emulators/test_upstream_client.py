"""The product's upstream client against every kind of registry."""

import hashlib
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trustme

from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import Tag
from proxy.model.rule import Remote
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from tests.emulators import KINDS, BearerEmulator, Content, Emulator, Route, settings_of, start
from tests.support.clock import FakeClock


def remote_of(emulator: Emulator, repository: str | None = None, **changes: Any) -> Remote:  # noqa: ANN401 - any field of a rule
    """Return a repository behind a rule whose own pace no test waits for."""
    return emulator.remote(repository, requests_per_second=10_000.0, **changes)


async def test_an_index_its_children_and_a_head_are_pulled(client: UpstreamClient, emulator: Emulator) -> None:
    public, remote = emulator.content.public, remote_of(emulator)
    head = await client.head_manifest(remote, Tag("latest"), retry=False)
    assert head.digest == public.index.digest
    index = await client.get_manifest(remote, Tag("latest"), retry=False)
    assert (index.raw, index.media_type) == (public.index.raw, public.index.media_type)
    for child in (*public.children, public.attestation, public.image):
        fetched = await client.get_manifest(remote, child.digest, retry=False)
        assert (fetched.raw, fetched.media_type) == (child.raw, child.media_type)
    assert not emulator.leaks()


async def test_nested_sha512_artifact_and_signature_manifests_are_pulled(
    client: UpstreamClient, emulator: Emulator
) -> None:
    public, remote = emulator.content.public, remote_of(emulator)
    for manifest in (public.nested, public.artifact, public.sha512):
        assert (await client.get_manifest(remote, manifest.digest, retry=False)).raw == manifest.raw
    signature = Tag(f"sha256-{public.image.digest.encoded}.sig")
    assert (await client.get_manifest(remote, signature, retry=False)).raw == public.signature.raw


async def test_blobs_are_pulled_whole_and_from_the_middle(client: UpstreamClient, emulator: Emulator) -> None:
    public, remote = emulator.content.public, remote_of(emulator)
    config = Digest.parse(public.children[0].document["config"]["digest"])
    for digest in (public.layer.digest, public.empty_blob.digest, public.big_blob.digest, config):
        hasher = hashlib.sha256()
        async with client.open_blob(remote, digest) as body:
            async for chunk in body.chunks():
                hasher.update(chunk)
        assert digest.matches(hasher)
    async with client.open_blob(remote, public.layer.digest, 1000) as rest:
        received = b"".join([chunk async for chunk in rest.chunks()])
    assert received == public.layer.read(1000, public.layer.size)
    assert not emulator.leaks()


async def test_the_size_of_a_blob_is_told(client: UpstreamClient, emulator: Emulator) -> None:
    public = emulator.content.public
    assert await client.head_blob(remote_of(emulator), public.big_blob.digest) == public.big_blob.size


async def test_all_tags_are_listed_through_all_pages(client: UpstreamClient, emulator: Emulator) -> None:
    emulator.page = emulator.first_page = 2
    listed = await client.list_tags(remote_of(emulator))
    assert list(listed) == sorted(emulator.content.public.tags)
    assert emulator.journal.count(Route.TAGS) > 3


async def test_referrers_are_listed_or_said_to_be_unsupported(client: UpstreamClient, emulator: Emulator) -> None:
    public, remote = emulator.content.public, remote_of(emulator)
    if not emulator.has_referrers:
        with pytest.raises(UpstreamError) as caught:
            await client.list_referrers(remote, public.index.digest)
        assert caught.value.failure is UpstreamFailure.UNSUPPORTED
    else:
        found = await client.list_referrers(remote, public.index.digest)
        assert [each.digest for each in found] == [public.artifact.digest]
    fallback = Tag(f"sha256-{public.listed.digest.encoded}")
    assert (await client.get_manifest(remote, fallback, retry=False)).raw == public.listing.raw


async def test_a_private_repository_needs_the_account(client: UpstreamClient, emulator: Emulator) -> None:
    if emulator.private_repository is None:
        assert emulator.kind in {"k8s", "ecr-public"}
        return
    private = remote_of(emulator, emulator.private_repository, with_account=True)
    index = await client.get_manifest(private, Tag("latest"), retry=False)
    assert index.raw == emulator.content.private.index.raw
    with pytest.raises(UpstreamError) as caught:
        await client.get_manifest(
            remote_of(emulator, emulator.private_repository, with_account=False), Tag("latest"), retry=False
        )
    assert caught.value.failure is UpstreamFailure.DENIED
    assert not emulator.leaks()


async def test_tokens_that_expire_between_index_and_child_are_replaced(
    client: UpstreamClient, emulator: Emulator
) -> None:
    public, remote = emulator.content.public, remote_of(emulator)
    await client.get_manifest(remote, Tag("latest"), retry=False)
    if isinstance(emulator, BearerEmulator):
        emulator.issuer.expire_all()
    child = await client.get_manifest(remote, public.children[0].digest, retry=False)
    assert child.raw == public.children[0].raw


async def test_what_is_not_there_is_said_not_to_be_there(client: UpstreamClient, emulator: Emulator) -> None:
    with pytest.raises(UpstreamError) as caught:
        await client.get_manifest(remote_of(emulator), Tag("never"), retry=False)
    assert caught.value.failure is UpstreamFailure.NOT_FOUND


def test_samples_of_two_repositories_share_no_manifest() -> None:
    content = Content()
    assert not set(content.public.tags.values()) & set(content.private.tags.values())


async def test_one_client_reaches_emulators_of_one_authority(samples: Content, clock: FakeClock) -> None:
    authority = trustme.CA()
    async with AsyncExitStack() as opened:
        running = [await opened.enter_async_context(start(kind, samples, clock, authority=authority)) for kind in KINDS]
        client = await opened.enter_async_context(UpstreamClient(settings_of(running), clock, Metrics()))
        for each in running:
            fetched = await client.get_manifest(remote_of(each), Tag("latest"), retry=False)
            assert fetched.raw == samples.public.index.raw
            assert each.journal.count(Route.MANIFEST) > 0
