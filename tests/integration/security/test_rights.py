"""Who may see and do what, over HTTP: S11, S16, S25 and S26, named after the advisories that taught them.

S11: zot CVE-2024-39897, blobs mounted out of repositories that may not be read. S16: Quay CVE-2026-32589, uploads of
other users. S25: what was pulled with an account, served to anyone. S26: names that reach another repository than the
one that was permitted.
"""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trustme

from proxy.core.rules import RuleSet
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import RepositoryName
from tests.emulators import Content, DockerHub, run
from tests.integration.scenarios.bench import Bench, running
from tests.integration.scenarios.product import Answered, Registry
from tests.integration.security.pusher import LAYER, Pusher, image
from tests.support.access import ACCOUNT, Keeper, grant, policy, resource, signed_in, statement
from tests.support.clock import FakeClock

SECRET = b"what only some may read"
DIGEST = Digest.of(SECRET)
RAW = image()
ALPINE = "docker-hub/library/alpine"


class Member(Pusher):
    """Somebody ("" for nobody) who works with one repository, by a password or by `line`."""

    def __init__(self, registry: Registry, name: str, user: str = "", line: tuple[str, str] | None = None) -> None:
        super().__init__(registry, name)
        self._lines = signed_in(user) if line is None else (line,)

    async def ask(
        self, path: str, *lines: tuple[str, str], method: str = "GET", content: bytes | None = None
    ) -> Answered:
        return await super().ask(path, *self._lines, *lines, method=method, content=content)


@asynccontextmanager
async def kept(
    samples: Content,
    clock: FakeClock,
    authority: trustme.CA,
    keeper: Keeper,
    **rule: Any,  # noqa: ANN401 - keys of a rule
) -> AsyncIterator[Bench]:
    async with (
        run(DockerHub(samples, clock), authority=authority) as emulator,
        running(emulator, access=keeper, **rule) as bench,
    ):
        yield bench


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
async def hub(samples: Content, clock: FakeClock, authority: trustme.CA, keeper: Keeper) -> AsyncIterator[Bench]:
    """Docker Hub behind a rule with an account."""
    async with kept(samples, clock, authority, keeper, with_account=True) as bench:
        yield bench


@pytest.fixture
async def public(samples: Content, clock: FakeClock, authority: trustme.CA, keeper: Keeper) -> AsyncIterator[Bench]:
    """Docker Hub as everybody may use it."""
    async with kept(samples, clock, authority, keeper, complete="none") as bench:
        yield bench


def member(bench: Bench, name: str, user: str = "") -> Member:
    return Member(bench.registry, name, user)


# --- S11: mounts ------------------------------------------------------------------------------------------------------

WORKERS = (
    grant("alice", "pull push", "secret/**", "team/**"),
    grant("bob", "pull push", "team/**"),
    grant("carol", "push", "secret/**", "team/**"),
)


@pytest.mark.parametrize(("user", "status"), [("alice", 201), ("bob", 202), ("carol", 202)])
@pytest.mark.parametrize("source", ["&from=secret/app", "&from=secret/app&x=y", ""])
async def test_s11_a_mount_needs_the_right_to_pull_its_source(
    hub: Bench, keeper: Keeper, user: str, status: int, source: str
) -> None:
    keeper.gate.grant(*WORKERS)
    assert (await member(hub, "secret/app", "alice").blob(SECRET)).status == 201
    mine = member(hub, "team/app", user)
    answered = await mine.begin(f"?mount={DIGEST}{source}")
    never = await mine.begin(f"?mount={Digest.of(b'none')}{source}")
    assert (answered.status, never.status) == (status, 202)
    assert ("Range" in answered.headers) == (status == 202)
    # Without the mount, the repository has nothing.
    reader = member(hub, "team/app", "alice")
    assert (await reader.get("blobs", DIGEST)).status == (200 if status == 201 else 404)


async def test_s11_a_holder_that_may_be_read_is_found_among_others(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(*WORKERS)
    for name in ("secret/a", "secret/b", "team/base"):
        await member(hub, name, "alice").blob(SECRET)
    assert (await member(hub, "team/app", "bob").begin(f"?mount={DIGEST}&from=secret/a")).status == 202
    assert (await member(hub, "team/app", "bob").begin(f"?mount={DIGEST}")).status == 201


@pytest.mark.parametrize(("source", "status"), [("pull", 201), ("push", 202), (None, 202)])
async def test_s11_a_token_must_be_good_for_the_source(
    hub: Bench, keeper: Keeper, source: str | None, status: int
) -> None:
    keeper.gate.grant(*WORKERS)
    await member(hub, "secret/app", "alice").blob(SECRET)
    line = keeper.token("alice", **{"team/app": "pull push", **({"secret/app": source} if source else {})})
    mine = Member(hub.registry, "team/app", line=line)
    assert (await mine.begin(f"?mount={DIGEST}&from=secret/app")).status == status


async def test_s11_a_policy_closes_a_source(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("*", "pull push"))
    await member(hub, "secret/app", "alice").blob(SECRET)
    closed = policy(statement("Deny", "bob", "ecr:GetDownloadUrlForLayer"))
    await keeper.gate.policies.set_repository_policy(RepositoryName("secret/app"), closed)
    assert (await member(hub, "team/app", "bob").begin(f"?mount={DIGEST}&from=secret/app")).status == 202
    assert (await member(hub, "team/app", "alice").begin(f"?mount={DIGEST}&from=secret/app")).status == 201


async def test_s11_a_private_mirror_is_no_source_for_who_may_not_pull_it(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("alice", "pull first_pull push"), grant("bob", "pull push", "team/**"))
    digest = hub.public.layer.digest
    assert (await member(hub, ALPINE, "alice").get("blobs", digest)).status == 200
    await hub.product.settle()
    for query in (f"?mount={digest}&from={ALPINE}", f"?mount={digest}&from=docker-hub/alpine", f"?mount={digest}"):
        assert (await member(hub, "team/app", "bob").begin(query)).status == 202
    assert (await member(hub, "team/app", "bob").get("blobs", digest)).status == 404


# --- S16: uploads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thief", ["bob", ""])
async def test_s16_nobody_goes_on_with_an_upload_of_somebody_else(hub: Bench, keeper: Keeper, thief: str) -> None:
    keeper.gate.grant(grant("anonymous", "pull push"))
    alice, other = member(hub, "team/app", "alice"), member(hub, "team/app", thief)
    upload = (await alice.begin()).headers["Docker-Upload-UUID"]
    assert (await alice.ask(f"blobs/uploads/{upload}", method="PATCH", content=SECRET)).status == 202
    for method in ("PATCH", "PUT", "GET", "DELETE"):
        theirs, never = [
            await other.ask(f"blobs/uploads/{each}?digest={DIGEST}", method=method, content=b"poison")
            for each in (upload, str(uuid.uuid4()))
        ]
        assert (theirs.status, theirs.code) == (404, "BLOB_UPLOAD_UNKNOWN")
        assert (never.status, never.code, never.message) == (theirs.status, theirs.code, theirs.message)
        assert {"Location", "Range", "Docker-Upload-UUID"}.isdisjoint(theirs.headers)
    assert (await other.get("blobs", DIGEST)).status == 404
    assert (await alice.ask(f"blobs/uploads/{upload}?digest={DIGEST}", method="PUT")).status == 201
    assert (await other.get("blobs", DIGEST)).body == SECRET


async def test_s16_an_upload_ends_with_the_right_to_push(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("alice", "pull push"))
    alice = member(hub, "team/app", "alice")
    upload = (await alice.begin()).headers["Docker-Upload-UUID"]
    keeper.gate.grant(grant("alice", "pull"))
    for method in ("PATCH", "PUT", "GET", "DELETE"):
        answered = await alice.ask(f"blobs/uploads/{upload}?digest={DIGEST}", method=method, content=SECRET)
        assert (answered.status, answered.code) == (403, "DENIED")


# --- S25: rules with credentials --------------------------------------------------------------------------------------

QUESTIONS = ["manifests/latest", "manifests/{image}", "blobs/{layer}", "tags/list", "referrers/{image}"]


async def questions(bench: Bench, user: str, repository: str = ALPINE) -> list[Answered]:
    """Return the answers to every way to read a repository, by GET and by HEAD."""
    who = member(bench, repository, user)
    names = {"image": bench.public.index.digest, "layer": bench.public.layer.digest}
    return [await who.ask(each.format(**names), method=method) for each in QUESTIONS for method in ("GET", "HEAD")]


async def test_s25_what_was_pulled_with_an_account_is_not_for_everyone(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("alice", "pull first_pull"), grant("anonymous", "pull first_pull"))
    assert {each.status for each in await questions(hub, "alice")} == {200}
    asked = len(hub.emulator.journal.lines)
    # Neither nobody, nor who has only what everyone has.
    assert {each.status for each in await questions(hub, "")} == {401}
    assert {each.status for each in await questions(hub, "bob")} == {403}
    assert len(hub.emulator.journal.lines) == asked
    catalog = await hub.registry.ask("/v2/_catalog")
    assert (catalog.status, catalog.json) == (200, {"repositories": []})
    keeper.gate.grant(grant("anonymous", "pull", "docker-hub/**"))
    assert {each.status for each in await questions(hub, "")} == {200}


async def test_s25_what_is_kept_answers_no_differently_from_what_is_not(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("alice", "pull first_pull"), grant("bob", "pull", "team/**"))
    await questions(hub, "alice")
    for user in ("", "bob"):
        kept_here = await questions(hub, user)
        nowhere = await questions(hub, user, "docker-hub/library/none")
        hosted = await questions(hub, user, "secret/none")
        for one, two, three in zip(kept_here, nowhere, hosted, strict=True):
            assert one.status == two.status == three.status == (403 if user else 401)
            told = [json.loads(each.body)["errors"] if each.body else None for each in (one, two, three)]
            assert told[0] == told[1] == told[2]


async def test_s25_who_may_not_have_anything_fetched_causes_no_request(public: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("bob", "pull"), grant("anonymous", "pull"), grant("alice", "pull first_pull"))
    for user in ("bob", ""):
        answers = await questions(public, user)
        assert {each.status for each in answers} == {403}
        assert {each.code for each in answers if each.body} == {"DENIED"}
    assert public.emulator.journal.lines == []
    assert {each.status for each in await questions(public, "alice")} == {200}
    await public.product.settle()
    public.expire()
    asked = len(public.emulator.journal.lines)
    for user in ("bob", ""):
        assert {each.status for each in await questions(public, user)} == {200}
    assert len(public.emulator.journal.lines) == asked


async def test_s25_a_policy_keeps_somebody_from_having_anything_fetched(public: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("*", "pull first_pull"))
    frugal = statement("Deny", "bob", "ecr:BatchImportUpstreamImage", Resource=resource("docker-hub/*"))
    await keeper.gate.policies.set_registry_policy(policy(frugal))
    assert {each.status for each in await questions(public, "bob")} == {403}
    assert public.emulator.journal.lines == []
    assert {each.status for each in await questions(public, "alice")} == {200}


async def test_s25_a_push_below_a_rule_brings_nothing_for_who_may_not_have_it_fetched(
    samples: Content, clock: FakeClock, authority: trustme.CA, keeper: Keeper
) -> None:
    async with kept(samples, clock, authority, keeper, push=True, complete="none") as bench:
        keeper.gate.grant(grant("*", "pull push"), grant("alice", "first_pull"))
        manifest = image_of(bench)
        bob, alice = member(bench, ALPINE, "bob"), member(bench, ALPINE, "alice")
        refused = await bob.manifest(manifest, "mine")
        assert (refused.status, refused.code) == (404, "MANIFEST_BLOB_UNKNOWN")
        assert bench.emulator.journal.lines == []
        assert (await alice.manifest(manifest, "mine")).status == 201


def image_of(bench: Bench) -> bytes:
    """Return a manifest of blobs that only the upstream holds."""
    blob = {"mediaType": "application/octet-stream", "digest": str(bench.public.layer.digest)}
    layer = blob | {"size": bench.public.layer.size}
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": layer, "layers": [layer]}).encode()


# --- S26: names -------------------------------------------------------------------------------------------------------


async def test_s26_a_right_ends_with_the_segment_that_it_names(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("alice", "pull push", "team/**"), grant("root", "push"))
    for name in ("teams/app", "team", "team-b/app", "xteam/app"):
        await member(hub, name, "root").image(RAW, "latest")
        answered = await member(hub, name, "alice").get("manifests", "latest")
        assert (answered.status, answered.code) == (403, "DENIED")
        assert (await member(hub, name, "alice").begin()).status == 403
    await member(hub, "team/app", "alice").image(RAW, "latest")


@pytest.mark.parametrize("open_to", ["docker-hub/**", "docker-hub/library/alpine", "other/**"])
async def test_s26_a_repository_has_one_name_for_rights_in_every_layout(
    public: Bench, keeper: Keeper, open_to: str
) -> None:
    keeper.gate.grant(grant("alice", "pull first_pull", open_to, "library/**", "alpine"))
    mirror, line = public.product.mirror("docker-hub"), signed_in("alice")
    status = 403 if open_to == "other/**" else 200
    for registry, path in (
        (public.registry, "/v2/docker-hub/library/alpine/manifests/latest"),
        (public.registry, "/v2/docker-hub/alpine/manifests/latest"),
        (public.registry, "/docker-hub/v2/library/alpine/manifests/latest"),
        (public.registry, "/docker-hub/v2/alpine/manifests/latest"),
        (public.registry, "/v2/library/alpine/manifests/latest?ns=docker.io"),
        (public.registry, "/v2/alpine/manifests/latest?ns=docker.io"),
        (mirror, "/v2/library/alpine/manifests/latest"),
        (mirror, "/v2/alpine/manifests/latest"),
        (mirror, "/v2/library/alpine/manifests/latest?ns=docker.io"),
    ):
        assert (await registry.ask(path, *line)).status == status, path
    if status != 200:
        assert public.emulator.journal.lines == []


async def test_s26_who_may_not_know_the_rules_does_not_learn_them(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("bob", "pull", "team/**"))
    line = signed_in("bob")
    told = [
        await hub.registry.ask(path, *line)
        for path in (
            "/v2/docker-hub/library/alpine/manifests/latest",
            "/v2/nowhere/library/alpine/manifests/latest",
            "/v2/library/alpine/manifests/latest?ns=docker.io",
            "/v2/library/alpine/manifests/latest?ns=nowhere.example",
            "/docker-hub/v2/library/alpine/manifests/latest",
            "/nowhere/v2/library/alpine/manifests/latest",
        )
    ]
    assert {(each.status, each.body) for each in told} == {(403, told[0].body)}


async def test_s26_a_deny_holds_in_every_layout(public: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("*", "pull first_pull"))
    closed = statement("Deny", {"AWS": ACCOUNT}, Resource=resource("docker-hub/library/*"))
    await keeper.gate.policies.set_registry_policy(policy(closed))
    mirror, line = public.product.mirror("docker-hub"), signed_in("alice")
    for registry, path in (
        (public.registry, "/v2/docker-hub/alpine/manifests/latest"),
        (public.registry, "/v2/alpine/manifests/latest?ns=docker.io"),
        (public.registry, "/docker-hub/v2/alpine/manifests/latest"),
        (mirror, "/v2/alpine/manifests/latest"),
    ):
        assert (await registry.ask(path, *line)).status == 403


# --- the catalog ------------------------------------------------------------------------------------------------------


async def listed(bench: Bench, n: int, user: str) -> list[list[str]]:
    """Return the pages of the catalog as somebody sees them, following their Links."""
    pages, path = [], f"/v2/_catalog?n={n}"
    while path:
        answered = await bench.registry.ask(path, *signed_in(user))
        assert answered.status == 200
        pages.append(answered.json["repositories"])
        link = answered.headers.get("Link")
        path = link.partition(">")[0].removeprefix("<") if link else ""
    return pages


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100])
async def test_the_catalog_is_paged_as_if_nothing_else_were_there(hub: Bench, keeper: Keeper, n: int) -> None:
    keeper.gate.grant(grant("root", "pull push"), grant("alice", "pull", "mine/**", "a/*"), grant("bob", "push"))
    names = [f"{first}/{number:02}" for first in ("a", "hidden", "mine", "zz") for number in range(7)]
    for name in names:
        await member(hub, name, "root").begin()
    visible = [name for name in names if name.startswith(("a/", "mine/"))]
    assert await listed(hub, n, "alice") == [visible[at : at + n] for at in range(0, len(visible), n)]
    assert await listed(hub, n, "root") == [names[at : at + n] for at in range(0, len(names), n)]
    assert await listed(hub, n, "bob") == [[]]


async def test_the_catalog_asks_nobody_in_particular_for_credentials(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("alice", "pull push"))
    empty = await hub.registry.ask("/v2/_catalog")
    await member(hub, "team/app", "alice").begin()
    hidden = await hub.registry.ask("/v2/_catalog")
    assert (empty.status, hidden.status) == (401, 401)
    assert empty.body == hidden.body
    keeper.gate.grant(grant("alice", "pull push"), grant("anonymous", "pull", "open/**"))
    await member(hub, "open/app", "alice").begin()
    assert (await hub.registry.ask("/v2/_catalog")).json == {"repositories": ["open/app"]}


async def test_a_push_needs_more_than_the_right_to_read(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("alice", "push"), grant("bob", "pull"), grant("carol", "delete"))
    alice, bob, carol = [member(hub, "team/app", user) for user in ("alice", "bob", "carol")]
    await alice.image(RAW, "latest")
    assert (await alice.get("manifests", "latest")).status == 403
    assert (await bob.get("manifests", "latest")).status == 200
    assert (await bob.manifest(RAW, "latest")).status == 403
    assert (await bob.blob(SECRET)).status == 403
    for one in (alice, bob):
        for kind, reference in (("manifests", "latest"), ("manifests", Digest.of(RAW)), ("blobs", Digest.of(LAYER))):
            assert (await one.delete(kind, reference)).status == 403
    assert (await carol.delete("manifests", "latest")).status == 202


async def test_a_rule_that_closes_a_name_says_so_only_to_who_may_pull_it(hub: Bench, keeper: Keeper) -> None:
    keeper.gate.grant(grant("alice", "pull"), grant("bob", "pull", "team/**"))
    rules = hub.product.rules
    rules.replace(RuleSet([replace(rule, deny=("library/**",)) for rule in rules.current.rules]))
    told = await member(hub, ALPINE, "alice").get("manifests", "latest")
    untold = await member(hub, ALPINE, "bob").get("manifests", "latest")
    assert (told.status, untold.status) == (403, 403)
    assert "deny" in told.message
    assert "deny" not in untold.message.replace("denied", "")
