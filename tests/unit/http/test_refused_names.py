"""Names that `allow` and `deny` of a rule keep from being pulled, at every endpoint."""

from dataclasses import replace

import pytest

from proxy.core.rules import RuleSet
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX
from tests.unit.http.conftest import RULES, Client, Stack

INDEX = b'{"schemaVersion":2,"manifests":[]}'
DIGEST = Digest.of(INDEX)
PATHS = ("manifests/latest", f"manifests/{DIGEST}", f"blobs/{DIGEST}", "tags/list", f"referrers/{DIGEST}")


@pytest.fixture(autouse=True)
def content(stack: Stack) -> None:
    stack.upstream.hold("secret/a", INDEX, OCI_INDEX, "latest")
    stack.upstream.hold_blob(INDEX)
    stack.upstream.tags["secret/a"] = ["latest"]
    stack.upstream.referrers[DIGEST] = []


def deny(stack: Stack) -> None:
    stack.services.rules.replace(RuleSet([replace(rule, deny=("secret/**",)) for rule in RULES]))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["/v2/quay/secret/a/{}", "/quay/v2/secret/a/{}", "/v2/secret/a/{}?ns=quay.io"])
async def test_a_refused_name_is_403_and_costs_no_request(client: Client, stack: Stack, name: str, path: str) -> None:
    deny(stack)
    answer = await client.get(name.format(path))
    assert answer.status == 403
    (error,) = (await answer.json())["errors"]
    assert error["code"] == "DENIED"
    assert error["message"] == "rule quay does not let secret/a be pulled: it matches secret/** in its `deny`"
    assert error["detail"] == {"rule": "quay", "upstream": "quay.io/secret/a"}
    assert "WWW-Authenticate" not in answer.headers
    assert stack.upstream.requests == []


@pytest.mark.parametrize("path", PATHS)
async def test_what_was_kept_before_is_not_served_either_until_the_rule_permits_it_again(
    client: Client, stack: Stack, path: str
) -> None:
    permitted = stack.services.rules.current
    url = f"/v2/quay/secret/a/{path}"
    assert (await client.get(url)).status == 200
    deny(stack)
    asked = list(stack.upstream.requests)
    assert (await client.get(url)).status == 403
    assert (await client.head(url)).status == 403
    stack.services.rules.replace(permitted)
    assert (await client.get(url)).status == 200
    assert stack.upstream.requests == asked


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "manifests/latest"),
        ("DELETE", "manifests/latest"),
        ("DELETE", f"blobs/{DIGEST}"),
        ("POST", "blobs/uploads/"),
        ("PATCH", "blobs/uploads/0f3c"),
        ("GET", "blobs/uploads/0f3c"),
    ],
)
@pytest.mark.parametrize("rule", ["open", "quay"])
async def test_what_may_not_be_pulled_is_not_pushed_either(
    client: Client, stack: Stack, rule: str, method: str, path: str
) -> None:
    deny(stack)
    answer = await client.request(method, f"/v2/{rule}/secret/a/{path}", data=INDEX)
    assert answer.status == 403
    assert (await answer.json())["errors"][0]["code"] == "DENIED"


async def test_the_same_name_under_another_rule_is_its_own_matter(client: Client, stack: Stack) -> None:
    first, *others = RULES
    stack.services.rules.replace(RuleSet([replace(first, deny=("secret/**",)), *others]))
    assert (await client.get("/v2/docker-hub/secret/a/manifests/latest")).status == 403
    assert (await client.get("/v2/quay/secret/a/manifests/latest")).status == 200
