"""Images pulled as clients pull them: cold, warm, and from memory while the upstream is away."""

from collections.abc import Iterable

import pytest

from tests.emulators import Emulator, Route
from tests.integration.scenarios.bench import Bench, running
from tests.integration.scenarios.client_styles import STYLES, Style

SECRET = "Basic dGhlLWNsaWVudDpzZWNyZXQ="


async def test_a_cold_pull_costs_each_content_once_and_a_later_one_a_single_head(
    emulator: Emulator, subtests: pytest.Subtests
) -> None:
    for name, style in STYLES.items():
        emulator.journal.clear()
        with subtests.test(client=name):
            async with running(emulator) as bench:
                await pull_cold_then_again(bench, style)


async def pull_cold_then_again(bench: Bench, style: Style) -> None:
    place, journal = bench.place, bench.emulator.journal
    cold = await style(place, "latest")
    assert cold.top == str(bench.public.index.digest)
    assert len(cold.contents) == 5  # index, image, configuration, two layers
    await bench.product.settle()
    assert len(bench.asked(Route.MANIFEST, "GET")) == 2  # nothing is fetched twice, no other platform at all
    assert all(len(bench.asked(Route.BLOB, "GET", digest)) == 1 for digest in blobs_of(bench, cold.contents))
    assert not bench.emulator.leaks()

    journal.clear()
    assert await style(place, "latest") == cold
    assert journal.lines == []

    bench.expire()
    assert await style(place, "latest") == cold
    assert [each.method for each in bench.asked(Route.MANIFEST)] == ["HEAD"]
    assert journal.count(Route.BLOB) == journal.count(Route.STORAGE) == 0


def blobs_of(bench: Bench, contents: Iterable[str]) -> list[str]:
    """Return the digests that are those of blobs."""
    return [digest for digest in contents if bench.public.find_blob(digest) is not None]


async def test_what_one_client_pulled_all_clients_pull_while_the_upstream_is_off(bench: Bench) -> None:
    place = bench.place
    cold = await STYLES["crane"](place, "latest")
    await bench.emulator.listener.stop()
    bench.emulator.journal.clear()
    for style in STYLES.values():
        assert await style(place, "latest") == cold
    bench.expire()
    for style in STYLES.values():
        assert await style(place, "latest") == cold
    assert bench.emulator.journal.lines == []


async def test_clients_and_upstreams_never_see_each_others_credentials(bench: Bench) -> None:
    emulator, public = bench.emulator, bench.public
    secret = ("Authorization", SECRET)
    for reference in ("latest", "never", public.image.digest):
        await bench.manifest(reference, secret)
    for digest in (public.layer.digest, public.big_blob.digest):
        assert (await bench.blob(digest, secret)).status == 200
    await bench.manifest("latest", secret, repository="no/such")
    if emulator.private_repository is not None:
        await bench.manifest("latest", secret, repository=emulator.private_repository)
    await bench.registry.ask(bench.path("tags/list"), secret)
    await bench.registry.ask(bench.path("referrers", public.index.digest), secret)
    await bench.registry.ask("/v2/", secret)
    assert not emulator.leaks()
    assert all(each.authorization != SECRET for each in emulator.journal.exchanges)
    assert all(each.status != 401 and "WWW-Authenticate" not in each.headers for each in bench.registry.answers)
    assert len(bench.registry.answers) >= 9


async def test_a_private_repository_is_no_401_to_a_rule_without_an_account(bench: Bench) -> None:
    emulator = bench.emulator
    name = emulator.private_repository or "no/such"
    refused = await bench.manifest("latest", repository=name)
    if emulator.needs_account:
        assert (refused.status, refused.body) == (200, emulator.content.private.index.raw)
        return
    assert (refused.status, refused.code) in {(404, "NAME_UNKNOWN"), (404, "MANIFEST_UNKNOWN")}


async def test_signed_links_arrive_byte_for_byte(bench: Bench) -> None:
    public = bench.public
    for blob in (public.layer, public.big_blob, public.empty_blob):
        assert (await bench.blob(blob.digest)).body == blob.read(0, blob.size)
    fetched = bench.emulator.journal.of(Route.STORAGE)
    assert len(fetched) >= 3
    # The storage knows its links by their very characters, and answers 403 to any other spelling.
    assert {each.status for each in fetched} == {200}
    signed = [each.target for each in fetched if "?" in each.target]
    assert all(any(mark in target for mark in ("%2F", "%2B", "%3D", "~")) for target in signed)
    assert bool(signed) is (bench.emulator.kind != "k8s")


async def test_what_a_client_accepts_does_not_matter(bench: Bench) -> None:
    public = bench.public
    for accept in ("application/json", "text/html", "application/vnd.docker.distribution.manifest.v1+prettyjws"):
        for name in ("latest", "image"):
            answered = await bench.manifest(name, ("Accept", accept))
            expected = public.index if name == "latest" else public.image
            assert (answered.status, answered.body) == (200, expected.raw)
            assert answered.headers["Content-Type"] == expected.media_type
    sent = [each.request.accept for each in bench.asked(Route.MANIFEST)]
    assert sent
    assert all({public.index.media_type, public.image.media_type, "*/*"} <= accepted for accepted in sent)
