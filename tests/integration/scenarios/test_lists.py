"""Lists of tags and of referrers: whole, sorted, in the product's own pages, and never empty for a failure."""

import re
from typing import Any

from proxy.model.media_types import OCI_INDEX
from tests.emulators import ATTACKER, GitHub, Kubernetes, Route
from tests.emulators import faults as fault
from tests.emulators.content import SBOM
from tests.emulators.github import ReferrersAnswer
from tests.integration.scenarios.bench import Bench
from tests.integration.scenarios.product import Answered

_LINK = re.compile(r'<(?P<path>/[^>]+)>; rel="next"')


async def pages(bench: Bench, first: str) -> list[str]:
    """Return the tags of all pages, by the product's own links."""
    tags: list[str] = []
    path: str | None = first
    while path is not None:
        answered = await bench.registry.ask(path)
        assert answered.status == 200, answered
        tags += answered.json["tags"]
        link = _LINK.fullmatch(answered.headers.get("Link", ""))
        path = link["path"] if link is not None else None
    return tags


async def test_tags_are_paged_here_however_the_upstream_pages(bench: Bench) -> None:
    bench.emulator.page = bench.emulator.first_page = 2
    everything = sorted(bench.public.tags)
    first = f"{bench.path('tags/list')}?n=3"
    assert await pages(bench, first) == everything
    assert await pages(bench, f"{bench.path('tags/list')}?n=2&last={everything[0]}") == everything[1:]
    asked = bench.emulator.journal.of(Route.TAGS)
    assert all(each.status in {200, 302, 307, 401} for each in asked)  # no page was asked for by a made-up token
    listed = len(asked)
    assert await pages(bench, first) == everything
    assert bench.emulator.journal.count(Route.TAGS) == listed
    assert not bench.emulator.leaks()


def digests(answered: Answered) -> list[str]:
    assert (answered.status, answered.headers["Content-Type"]) == (200, OCI_INDEX)
    index: Any = answered.json
    assert (index["schemaVersion"], index["mediaType"]) == (2, OCI_INDEX)
    return [each["digest"] for each in index["manifests"]]


async def test_referrers_are_an_index_from_the_api_or_from_the_fallback_tag(bench: Bench) -> None:
    public = bench.public
    native = await bench.registry.ask(bench.path("referrers", public.index.digest))
    assert digests(native) == ([str(public.artifact.digest)] if bench.emulator.has_referrers else [])
    listed = [each["digest"] for each in public.listing.document["manifests"]]
    path = bench.path("referrers", public.listed.digest)
    everything = await bench.registry.ask(path)
    assert digests(everything) == listed
    assert "OCI-Filters-Applied" not in everything.headers
    filtered = await bench.registry.ask(f"{path}?artifactType={SBOM.replace('+', '%2B')}")
    assert (digests(filtered), filtered.headers["OCI-Filters-Applied"]) == (listed, "artifactType")
    other = await bench.registry.ask(f"{path}?artifactType=application/x.none")
    assert (digests(other), other.headers["OCI-Filters-Applied"]) == ([], "artifactType")
    assert bench.emulator.journal.count(host=ATTACKER) == 0


async def test_referrers_are_never_empty_because_the_upstream_is_ill(bench: Bench) -> None:
    public, faults = bench.public, bench.emulator.faults
    path = bench.path("referrers", public.listed.digest)
    ill = [faults.add(fault.status(503), route=each, times=None) for each in (Route.REFERRERS, Route.MANIFEST)]
    assert (await bench.registry.ask(path)).status == 502
    ill[0].disarm()
    bench.product.clock.advance(61)
    # Now the registry says that it has no such list, and cannot tell whether the fallback tag exists.
    halfway = await bench.registry.ask(path)
    assert halfway.status == (200 if bench.emulator.has_referrers else 502)
    ill[1].disarm()
    bench.expire()
    bench.product.clock.advance(61)
    known = digests(await bench.registry.ask(path))
    assert len(known) == 1
    for route in (Route.REFERRERS, Route.MANIFEST):
        faults.add(fault.html(503), route=route, times=None)
    bench.expire()
    assert digests(await bench.registry.ask(path)) == known


async def test_referrers_that_lead_to_a_web_page_are_not_followed(bench: Bench) -> None:
    emulator = bench.emulator
    if isinstance(emulator, GitHub):
        emulator.referrers_answer = ReferrersAnswer.WEB_PAGE
    else:
        emulator.faults.add(
            fault.redirected(f"https://{ATTACKER}/page", 303), route=Route.REFERRERS, host=emulator.host, times=None
        )
    answered = await bench.registry.ask(bench.path("referrers", bench.public.listed.digest))
    if isinstance(emulator, Kubernetes):
        # Its referrers are where it redirects to; but there is no list at that place.
        assert answered.status == 502
        return
    assert len(digests(answered)) == 1
    assert emulator.journal.count(host=ATTACKER) == emulator.journal.count(host="github.com") == 0
