"""Realms, redirects and links of hostile registries: S1 to S6, named after the advisories that taught them.

S1: distribution CVE-2026-33540, containerd CVE-2020-15157. S2: containerd GHSA-742w-89gc-8m9c. S3: pulp
CVE-2026-103868. S4: docker-credential-acr-env GO-2026-6225. S5: Renovate CVE-2026-88887. S6: deno CVE-2025-21620.
"""

import asyncio
from dataclasses import replace

import pytest

from tests.emulators import ATTACKER, Azure, Emulator, Route, run
from tests.emulators import faults as fault
from tests.emulators.content import OCI_CONFIG, OCI_LAYER, Bytes, Content, blob_descriptor
from tests.integration.scenarios.bench import Bench
from tests.integration.scenarios.product import Answered, run_product
from tests.support.clock import FakeClock

HOSTILE_REALMS = (
    "http://169.254.169.254/token",
    "https://169.254.169.254/token",
    "https://10.0.0.1/token",
    "https://192.168.1.1/token",
    "https://127.0.0.1/token",
    "https://[::1]/token",
    "https://[::ffff:127.0.0.1]/token",
    "https://2130706433/token",
    "https://localhost/token",
    f"https://{ATTACKER}/token",
    f"https://{ATTACKER.upper()}/token",
    f"https://{ATTACKER}./token",
    f"https://{ATTACKER}:443/token",
    f"//{ATTACKER}/token",
    "ftp://auth.docker.io/token",
)
HOSTILE_FOR_HUB = (
    "http://auth.docker.io/token",
    "https://robot@auth.docker.io/token",
    f"https://auth.docker.io@{ATTACKER}/token",
    f"https://auth.docker.io.{ATTACKER}/token",
    "https://auth.d\u043ecker.io/token",
)


def nothing_leaked(emulator: Emulator, answered: Answered) -> None:
    """Show that no credentials went elsewhere, and that the client was told what happened, not challenged."""
    assert emulator.journal.count(host=ATTACKER) == 0
    assert all(each.authorization is None for each in emulator.journal.exchanges)
    assert answered.status == 502
    assert answered.code == "UPSTREAM_INVALID"
    assert "WWW-Authenticate" not in answered.headers


async def test_s1_a_hostile_realm_gets_no_credentials(hub: Bench, subtests: pytest.Subtests) -> None:
    for realm in (*HOSTILE_REALMS, *HOSTILE_FOR_HUB):
        with subtests.test(realm=realm):
            armed = hub.emulator.faults.add(fault.hostile_realm(realm), route=Route.MANIFEST, times=None)
            nothing_leaked(hub.emulator, await hub.manifest("latest"))
            armed.disarm()


async def test_s1_a_hostile_realm_gets_no_credentials_of_gitlab(gitlab: Bench, subtests: pytest.Subtests) -> None:
    for realm in HOSTILE_REALMS:
        with subtests.test(realm=realm):
            armed = gitlab.emulator.faults.add(fault.hostile_realm(realm), route=Route.BLOB, times=None)
            nothing_leaked(gitlab.emulator, await gitlab.blob(gitlab.public.layer.digest))
            armed.disarm()


async def test_s1_the_refusal_of_a_realm_names_the_key_that_permits_it(hub: Bench) -> None:
    hub.emulator.faults.add(fault.hostile_realm(f"https://{ATTACKER}/t"), route=Route.MANIFEST, times=None)
    refused = await hub.manifest("latest")
    assert "`token_realms`" in refused.message
    assert ATTACKER in refused.message


async def test_s1_a_token_server_that_redirects_takes_no_credentials_along(hub: Bench) -> None:
    hub.emulator.faults.add(fault.redirected(f"https://{ATTACKER}/token"), route=Route.TOKEN, times=None)
    refused = await hub.manifest("latest")
    assert refused.status == 502
    assert hub.emulator.journal.count(host=ATTACKER) == 0


async def test_s2_the_urls_of_foreign_layers_are_never_fetched(hub: Bench) -> None:
    public = hub.public
    hidden = Bytes(b"a layer that only its urls lead to")
    config = public.put_blob(b"{}")
    urls = [f"https://{ATTACKER}/layer", "http://169.254.169.254/layer"]
    foreign = blob_descriptor(hidden, OCI_LAYER, urls=urls)
    image = {"schemaVersion": 2, "mediaType": public.children[0].media_type}
    image |= {"config": blob_descriptor(config, OCI_CONFIG), "layers": [foreign]}
    public.put(image, "foreign")
    assert (await hub.manifest("foreign")).status == 200
    assert (await hub.blob(config.digest)).status == 200
    assert (await hub.blob(hidden.digest)).status == 404
    await hub.product.settle()
    assert hub.emulator.journal.count(host=ATTACKER) == 0
    assert not hub.emulator.leaks()


async def test_s3_two_rules_for_one_registry_never_share_a_token(samples: Content, clock: FakeClock) -> None:
    async with run(Azure(samples, clock)) as emulator:
        emulator.anonymous = True
        secret = emulator.private_repository
        mine = replace(emulator.rule(with_account=True), prefix="mine", ns=True)
        others = replace(emulator.rule(with_account=False), prefix="others")
        async with run_product([mine, others], emulator.settings, clock) as product:
            paths = [f"/v2/{prefix}/{secret}/manifests/latest" for prefix in ("mine", "others") * 10]
            answers = await asyncio.gather(*(product.registry.ask(path) for path in paths))
            assert [each.status for each in answers[::2]] == [200] * 10
            assert {each.status for each in answers[1::2]} == {404}
            layer = samples.private.layer.digest
            assert (await product.registry.ask(f"/v2/mine/{secret}/blobs/{layer}")).status == 200
            assert (await product.registry.ask(f"/v2/others/{secret}/blobs/{layer}")).status == 404
            public = emulator.public_repository
            assert (await product.registry.ask(f"/v2/others/{public}/blobs/{layer}")).status == 404


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.azurecr.io/oauth2/token",
        "https://azurecr.io/oauth2/token",
        f"https://myreg.azurecr.io.{ATTACKER}/oauth2/token",
        "https://a.b.azurecr.io/oauth2/token",
        "https://xmyreg.azurecr.io/oauth2/token",
    ],
)
async def test_s4_another_tenant_of_azure_gets_no_credentials(azure: Bench, realm: str) -> None:
    azure.emulator.faults.add(fault.hostile_realm(realm), route=Route.MANIFEST, times=None)
    nothing_leaked(azure.emulator, await azure.manifest("latest"))


async def test_s4_the_registrys_own_realm_is_taken_in_any_spelling(azure: Bench) -> None:
    realm = "https://MYREG.azurecr.io./oauth2/token"
    azure.emulator.faults.add(fault.hostile_realm(realm), route=Route.MANIFEST, times=None)
    assert (await azure.manifest("latest")).status == 200


@pytest.mark.parametrize("origin", [f"https://{ATTACKER}", "http://registry-1.docker.io", "https://auth.docker.io"])
async def test_s5_a_link_to_the_next_page_stays_at_its_origin(hub: Bench, origin: str) -> None:
    hub.emulator.page = 2
    hub.emulator.faults.add(fault.link_at(origin), route=Route.TAGS, times=None)
    refused = await hub.registry.ask(hub.path("tags/list"))
    assert (refused.status, refused.code) == (502, "UPSTREAM_INVALID")
    assert hub.emulator.journal.count(host=ATTACKER) == 0
    assert not hub.emulator.leaks()


async def test_s5_pages_that_go_round_or_never_end_are_an_error(hub: Bench, clock: FakeClock) -> None:
    emulator, path = hub.emulator, hub.path("tags/list")
    emulator.page = 2
    round_again = fault.having(Link=f'</v2/{emulator.public_repository}/tags/list?n=2>; rel="next"')
    armed = emulator.faults.add(round_again, route=Route.TAGS, times=None)
    answered = await hub.registry.ask(path)
    assert (answered.status, answered.code) == (502, "UPSTREAM_INVALID")
    assert emulator.journal.count(Route.TAGS) < 6
    armed.disarm()
    emulator.page = 1
    async with run_product([emulator.rule()], emulator.settings_with(max_tag_pages=3), clock) as product:
        cut = await product.registry.ask(path)
        assert (cut.status, cut.code) == (502, "UPSTREAM_INVALID")
        assert "`max_tag_pages`" in cut.message


PRIVATE_TARGETS = (
    "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254/latest/meta-data",
    "https://10.1.2.3/x",
    "https://127.0.0.1/x",
    "https://[::1]/x",
    "https://[fd00:ec2::254]/x",
    "https://[64:ff9b::a9fe:a9fe]/x",
    "https://0x7f000001/x",
    "https://127.1/x",
    f"http://{ATTACKER}/x",
    f"https://user:pass@{ATTACKER}/x",
    "file:///etc/passwd",
)


@pytest.mark.parametrize("target", PRIVATE_TARGETS)
async def test_s6_redirects_into_private_networks_are_refused(hub: Bench, target: str) -> None:
    hub.emulator.faults.add(fault.redirected(target), route=Route.BLOB, times=None)
    hub.emulator.faults.add(fault.redirected(target), route=Route.MANIFEST, times=None)
    for path in (hub.path("blobs", hub.public.layer.digest), hub.path("manifests", "latest")):
        answered = await hub.registry.ask(path)
        assert (answered.status, answered.code) == (502, "UPSTREAM_INVALID")
    assert hub.emulator.journal.count(host=ATTACKER) == 0


async def test_s6_no_redirect_takes_authorization_along(hub: Bench) -> None:
    emulator = hub.emulator
    emulator.faults.add(fault.redirected(f"https://{ATTACKER}/x"), route=Route.MANIFEST, nth=2, times=None)
    assert (await hub.manifest("latest")).status in {404, 502}
    met = emulator.journal.of(host=ATTACKER)
    assert met
    assert all(each.authorization is None for each in met)
    assert not emulator.leaks()


async def test_s6_redirects_that_go_round_or_on_and_on_end(hub: Bench) -> None:
    emulator, digest = hub.emulator, hub.public.layer.digest
    armed = emulator.faults.add(fault.redirect_loop(), route=Route.BLOB, times=None)
    assert (await hub.blob(digest)).status == 502
    assert emulator.journal.count(Route.BLOB) <= 6
    armed.disarm()
    emulator.faults.add(emulator.faults.hops(4), route=Route.BLOB, nth=1)
    assert (await hub.blob(digest)).status == 200
    emulator.faults.add(emulator.faults.hops(6), route=Route.BLOB, times=None)
    assert (await hub.blob(hub.public.big_blob.digest)).status == 502
    assert not emulator.leaks()


async def test_s6_downgrades_to_http_are_refused(hub: Bench) -> None:
    hub.emulator.faults.add(fault.downgraded(), route=Route.BLOB, times=None)
    answered = await hub.blob(hub.public.layer.digest)
    assert (answered.status, answered.code) == (502, "UPSTREAM_INVALID")
    assert hub.emulator.journal.count(Route.STORAGE) == 0
