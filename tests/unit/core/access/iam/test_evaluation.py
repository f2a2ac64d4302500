"""What policies of ECR say about requests."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.core.access.iam.conditions import Context
from proxy.core.access.iam.evaluation import Request, evaluate
from proxy.core.registry.policy_documents import PolicyKind, parse_policy
from proxy.model.principal import ANONYMOUS, Principal
from tests.support.access import ACCOUNT, IDENTITY, arn, policy, resource, statement

REQUEST = Request(
    Principal("alice"),
    IDENTITY,
    "ecr:BatchGetImage",
    resource("team/app"),
    Context({"aws:username": "alice"}),
)
ROOT_ARN = f"arn:aws:iam::{ACCOUNT}:root"


def said(*statements: dict[str, Any], version: str = "2012-10-17", **changes: Any) -> str | None:  # noqa: ANN401 - fields by name
    """Return what a policy says; it is one of the registry if its statements name resources."""
    kind = PolicyKind.REPOSITORY
    if any({"Resource", "NotResource"} & each.keys() for each in statements):
        kind = PolicyKind.REGISTRY
    found = evaluate(parse_policy(policy(*statements, version=version), kind), replace(REQUEST, **changes))
    return found.value if found is not None else None


@pytest.mark.parametrize(
    ("principal", "alice", "nobody"),
    [
        ("*", True, True),
        ({"AWS": "*"}, True, True),
        ({"AWS": ACCOUNT}, True, False),
        ({"AWS": ROOT_ARN}, True, False),
        ({"AWS": arn("alice")}, True, False),
        ({"AWS": [arn("bob"), arn("alice")]}, True, False),
        ({"AWS": arn("bob")}, False, False),
        ({"AWS": arn("Alice")}, False, False),
        ({"AWS": "999999999999"}, False, False),
        ({"AWS": "arn:aws:iam::999999999999:user/alice"}, False, False),
        ({"AWS": f"arn:aws-cn:iam::{ACCOUNT}:user/alice"}, False, False),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:role/alice"}, False, False),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:user/"}, False, False),
        ({"AWS": "AIDAABCDEFGHIJKLMNOP"}, False, False),
        ({"Service": "ecr.amazonaws.com"}, False, False),
        ({"Federated": "accounts.google.com"}, False, False),
        ({"Service": "ecr.amazonaws.com", "AWS": arn("alice")}, True, False),
    ],
)
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_a_principal_is_who_is_named(effect: str, principal: object, alice: bool, nobody: bool) -> None:  # noqa: FBT001 - a table
    one = statement(effect, principal)
    assert said(one) == (effect if alice else None)
    assert said(one, principal=ANONYMOUS) == (effect if nobody else None)


def test_who_is_known_by_a_token_is_named_with_all_of_its_name() -> None:
    one = statement("Allow", "oidc:repo:team/app")
    assert said(one, principal=Principal("oidc:repo:team/app")) == "Allow"
    assert said(one, principal=Principal("oidc:repo:team/app2")) is None


@pytest.mark.parametrize(
    ("named", "denied", "allowed"),
    [
        (arn("alice"), False, False),
        (arn("bob"), True, True),
        (ACCOUNT, True, False),  # its users are named one by one to be spared
        (ROOT_ARN, True, False),
        ("*", False, False),
    ],
)
def test_all_but_those_named(named: str, denied: bool, allowed: bool) -> None:  # noqa: FBT001 - a table
    def but(effect: str) -> dict[str, Any]:
        return {"Effect": effect, "NotPrincipal": {"AWS": named}, "Action": "ecr:*"}

    assert (said(but("Deny")) == "Deny") is denied
    assert (said(but("Allow")) == "Allow") is allowed
    # Nobody in particular is never let in by not being named, and never spared.
    assert said(but("Allow"), principal=ANONYMOUS) is None
    assert (said(but("Deny"), principal=ANONYMOUS) == "Deny") is (named != "*")


@pytest.mark.parametrize(
    ("action", "fits"),
    [
        ("ecr:BatchGetImage", True),
        ("ECR:batchgetimage", True),
        ("ecr:*", True),
        ("*", True),
        ("ecr:Batch*", True),
        ("ecr:?atchGetImage", True),
        ("ecr:*Image", True),
        ("ecr:*Images", False),
        ("ecr:PutImage", False),
        (["ecr:PutImage", "ecr:BatchGet*"], True),
    ],
)
def test_an_action_is_what_fits_its_pattern(action: object, fits: bool) -> None:  # noqa: FBT001 - a table
    assert said(statement("Allow", "alice", action)) == ("Allow" if fits else None)
    inverted = {"Effect": "Deny", "Principal": "*", "NotAction": action}
    assert said(inverted) == (None if fits else "Deny")


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", True),
        (resource("team/app"), True),
        (resource("team/*"), True),
        (resource("*"), True),
        ("arn:aws:ecr:*:*:repository/team/app", True),
        (resource("team/ap?"), True),
        (resource("team"), False),
        (resource("team/application"), False),
        (f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/*", False),
        ([resource("other"), resource("team/*")], True),
    ],
)
def test_a_resource_is_what_fits_its_pattern(pattern: object, fits: bool) -> None:  # noqa: FBT001 - a table
    assert said(statement("Allow", "alice", Resource=pattern)) == ("Allow" if fits else None)
    assert said(statement("Deny", "alice", NotResource=pattern)) == (None if fits else "Deny")


def test_what_concerns_the_registry_as_a_whole_is_all_repositories() -> None:
    whole = resource("*")
    assert said(statement("Allow", "alice", Resource=whole), resource=whole) == "Allow"
    assert said(statement("Allow", "alice", Resource=resource("team/*")), resource=whole) is None


def test_variables_in_resources() -> None:
    own = statement("Allow", "*", Resource=resource("${aws:username}/*"))
    assert said(own, resource=resource("alice/app")) == "Allow"
    assert said(own, resource=resource("bob/app")) is None
    assert said(own, resource=resource("alice/app"), version="2008-10-17") is None


@pytest.mark.parametrize("order", [1, -1])
def test_a_deny_wins_wherever_it_stands(order: int) -> None:
    both = [statement("Allow", "alice"), statement("Deny", "*", "ecr:BatchGetImage")]
    assert said(*both[::order]) == "Deny"
    assert said(*both[::order], operation="ecr:PutImage") == "Allow"


UNTOLD = {"Bool": {"aws:SecureTransport": "true"}}
"""The requests here do not say how they came."""


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"aws:RequestTag/team": "blue"}},
        {"StringNotEquals": {"aws:RequestTag/team": "blue"}},
        {"Null": {"aws:TagKeys": "true"}},
        {"Null": {"aws:TagKeys": "false"}},
        {"StringEquals": {"aws:username": "${aws:none}"}},
        {"BinaryEquals": {"aws:username": "YQ=="}},
        {"StringNotLike": {"aws:UserAgent": "*"}},
    ],
)
def test_what_cannot_be_told_never_opens_anything(condition: dict[str, Any]) -> None:
    assert said(statement("Allow", "alice", Condition=condition)) is None
    assert said(statement("Deny", "alice", Condition=condition)) == "Deny"


def test_a_deny_that_surely_does_not_fit_is_not_held_up_by_what_cannot_be_told() -> None:
    condition = {"StringEquals": {"aws:RequestTag/team": "blue", "aws:username": "bob"}}
    assert said(statement("Deny", "*", Condition=condition)) is None


def test_all_conditions_of_a_statement_must_hold() -> None:
    condition = {"StringEquals": {"aws:username": ["bob", "alice"]}, "Null": {"aws:SourceVpc": "true"}}
    assert said(statement("Allow", "*", Condition=condition)) == "Allow"
    condition["Null"] = {"aws:SourceVpc": "false"}
    assert said(statement("Allow", "*", Condition=condition)) is None


@pytest.mark.parametrize(
    ("pattern", "opens"),
    [
        ("*", False),
        (resource("*"), False),
        (resource("te*"), False),
        (resource("team/*"), True),
        (resource("team/app"), True),
    ],
)
@pytest.mark.parametrize("principal", ["", "alice"])
def test_s25_what_the_registry_allows_everyone_must_name_a_rule_with_credentials(
    pattern: str,
    opens: bool,  # noqa: FBT001 - a table
    principal: str,
) -> None:
    who = Principal(principal)
    assert said(statement("Allow", "*", Resource=pattern), principal=who) == "Allow"
    found = said(statement("Allow", "*", Resource=pattern), principal=who, private="team")
    assert found == ("Allow" if opens else None)
    # What hangs on the repository names it.
    assert said(statement("Allow", "*"), principal=who, private="team") == "Allow"
    assert said(statement("Allow", "*", NotResource=resource("other")), principal=who, private="team") is None


def test_s25_who_is_named_need_not_name_the_rule() -> None:
    assert said(statement("Allow", {"AWS": ["*", arn("alice")]}, Resource="*"), private="team") == "Allow"
    assert said(statement("Deny", "*", Resource="*"), private="team") == "Deny"
