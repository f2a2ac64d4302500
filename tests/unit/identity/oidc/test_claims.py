"""Claims: what they must be, and which principal they make."""

from typing import Any

import pytest

from proxy.config.auth import OidcSettings
from proxy.core.access.ports import AssertionRefusedError
from proxy.identity.oidc.claims import LEEWAY, PRINCIPAL_LIMIT, Demands

NOW = 1_700_000_000
GOOD = {"iss": "https://issuer.test", "aud": "registry.test", "sub": "repo:team/app", "exp": NOW + 300}


def demands(**changes: Any) -> Demands:  # noqa: ANN401 - any setting
    return Demands(OidcSettings(**{"issuer": "https://issuer.test", "audience": "registry.test", **changes}))


def refusal(of: Demands, **claims: object) -> str:
    with pytest.raises(AssertionRefusedError) as raised:
        of.principal_of({**GOOD, **claims}, NOW)
    return str(raised.value)


def test_the_principal_is_the_name_of_the_provider_and_the_subject() -> None:
    assert demands().principal_of(GOOD, NOW) == "oidc:repo:team/app"
    assert demands(name="github").principal_of(GOOD, NOW) == "github:repo:team/app"


def test_a_principal_is_made_of_any_claims() -> None:
    of = demands(principal="{repository}@{ref}#{run}", name="ci")
    claims = GOOD | {"repository": "team/app", "ref": "refs/heads/é", "run": 7}
    assert of.principal_of(claims, NOW) == "ci:team/app@refs/heads/é#7"


@pytest.mark.parametrize(
    "value",
    [None, "", " ", "a b", "a\tb", "a\nb", "a\0b", "\u00a0", "a\u2028b", "\u202eb", "*", "a*b", [], ["a"], {}, 1.5],
)
def test_claims_that_can_be_no_part_of_a_principal_are_refused(value: object) -> None:
    assert refusal(demands(), sub=value) == "its claim 'sub' can be no part of a principal"


@pytest.mark.parametrize("template", ["{sub}:{ref}", "{sub}:ref:{ref}", "x:{sub}:{ref}:y"])
def test_no_two_identities_make_one_principal(template: str) -> None:
    of = demands(principal=template)
    held = "holds what separates claims in `principal`"
    assert refusal(of, sub="team", ref="app:main") == f"its claim 'ref' {held}"
    assert refusal(of, sub="team:app", ref="main") == f"its claim 'sub' {held}"
    assert refusal(of, sub="team:", ref="main") == f"its claim 'sub' {held}"
    principal = of.principal_of(GOOD | {"sub": "team", "ref": "main"}, NOW)
    assert principal == f"oidc:{template}".replace("{sub}", "team").replace("{ref}", "main")


def test_one_claim_may_hold_whatever_stands_around_it() -> None:
    assert demands(principal="repo:{sub}:x").principal_of(GOOD | {"sub": "a:b:x"}, NOW) == "oidc:repo:a:b:x:x"


def test_something_stands_between_two_claims() -> None:
    with pytest.raises(ValueError, match="something must stand between two claims"):
        demands(principal="{sub}{ref}")


def test_every_claim_of_a_principal_is_demanded() -> None:
    assert refusal(demands(principal="{sub}-{ref}")) == "its claim 'ref' can be no part of a principal"


def test_a_principal_has_its_limit() -> None:
    longest = "s" * (PRINCIPAL_LIMIT - len("oidc:"))
    assert demands().principal_of(GOOD | {"sub": longest}, NOW) == f"oidc:{longest}"
    assert refusal(demands(), sub=f"{longest}s").startswith("its principal would be longer than")


@pytest.mark.parametrize("issuer", [None, "https://issuer.test/", "https://ISSUER.test", ["https://issuer.test"], 1])
def test_the_issuer_is_exactly_the_one_of_the_settings(issuer: object) -> None:
    assert refusal(demands(), iss=issuer) == "its issuer (iss) is another one"


def test_the_audience_may_be_one_of_several() -> None:
    assert demands().principal_of(GOOD | {"aud": ["other", "registry.test"]}, NOW) == "oidc:repo:team/app"


@pytest.mark.parametrize(
    "audience",
    [None, "", "other", "registry.test.evil", [], ["other"], [["registry.test"]], {"registry.test": 1}, True],
)
def test_another_audience_is_refused(audience: object) -> None:
    assert refusal(demands(), aud=audience) == "its audience (aud) is not 'registry.test'"


@pytest.mark.parametrize("expires", [NOW + 1, NOW + 0.5, NOW + 10**15, 10**300])
def test_a_token_is_good_until_it_expires(expires: float) -> None:
    assert demands().principal_of(GOOD | {"exp": expires}, NOW) == "oidc:repo:team/app"


@pytest.mark.parametrize("expires", [NOW, NOW - 1, 0, -1])
def test_an_expired_token_is_refused(expires: float) -> None:
    assert refusal(demands(), exp=expires) == "it has expired (exp)"


def test_a_token_that_never_expires_is_refused() -> None:
    assert refusal(demands(), exp=None) == "it never expires (exp)"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [str(NOW), True, [NOW], {}])
def test_times_are_numbers(name: str, value: object) -> None:
    assert refusal(demands(), **{name: value}) == f"its claim {name!r} is no time"


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_provider_may_be_a_minute_ahead_and_no_more(name: str) -> None:
    assert demands().principal_of(GOOD | {name: NOW + LEEWAY}, NOW) == "oidc:repo:team/app"
    assert refusal(demands(), **{name: NOW + LEEWAY + 1}) == f"it is not good yet ({name})"


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("main", "main"),
        ("*", "anything at all"),
        ("refs/heads/*", "refs/heads/release/1"),
        ("*/app", "team/app"),
        ("a*c*e", "abcde"),
        ("admin", ["user", "admin"]),
        ("ad*", ["user", 1, None, "admin"]),
        ("true", True),
        ("42", 42),
    ],
)
def test_claims_that_fit_their_pattern_are_taken(pattern: str, value: object) -> None:
    assert demands(claims={"c": pattern}).principal_of(GOOD | {"c": value}, NOW) == "oidc:repo:team/app"


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("main", "Main"),
        ("main", "mainline"),
        ("main", None),
        ("*", None),
        ("*", ""),
        ("*", []),
        ("*", {}),
        ("*", [["nested"]]),
        ("refs/heads/*", "refs/tags/1"),
        ("refs/heads/*", "x/refs/heads/main"),
        ("a.c", "abc"),
        ("true", False),
        ("1", True),
        ("1.5", 1.5),
        ("admin", ["user"]),
    ],
)
def test_other_claims_are_refused(pattern: str, value: object) -> None:
    assert refusal(demands(claims={"c": pattern}), c=value) == f"its claim 'c' does not fit {pattern!r}"


def test_all_patterns_must_fit() -> None:
    of = demands(claims={"a": "1", "b": "2"})
    assert of.principal_of(GOOD | {"a": "1", "b": "2"}, NOW) == "oidc:repo:team/app"
    assert "'b'" in refusal(of, a="1", b="1")
    assert "'a'" in refusal(of, b="2")
