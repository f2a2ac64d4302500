"""Conditions of IAM policies: operators, absent keys, and what cannot be told."""

import pytest

from proxy.core.access.iam.conditions import Context, holds
from proxy.core.access.iam.wildcards import IndeterminateError
from proxy.core.registry.policy_documents import Condition

CONTEXT = Context(
    {
        "aws:sourceip": "192.0.2.7",
        "aws:username": "alice",
        "aws:principalarn": "arn:aws:iam::123456789012:user/alice",
        "aws:securetransport": "true",
        "aws:currenttime": "2026-03-01T12:00:00+00:00",
        "aws:epochtime": "1772366400",
        "aws:resourcetag/team": "blue",
    },
    frozenset({"aws:hidden"}),
)


def held(operator: str, key: str, *values: str, variables: bool = True) -> bool | None:
    """Tell whether a condition holds; None where that is indeterminate."""
    try:
        return holds(Condition(operator, key, values), CONTEXT, variables=variables)
    except IndeterminateError:
        return None


@pytest.mark.parametrize(
    ("operator", "key", "value", "expected"),
    [
        ("StringEquals", "aws:username", "alice", True),
        ("StringEquals", "AWS:UserName", "alice", True),
        ("StringEquals", "aws:username", "Alice", False),
        ("StringEquals", "aws:username", "ali*", False),
        ("StringNotEquals", "aws:username", "alice", False),
        ("StringNotEquals", "aws:username", "bob", True),
        ("StringEqualsIgnoreCase", "aws:username", "ALICE", True),
        ("StringNotEqualsIgnoreCase", "aws:username", "ALICE", False),
        ("StringLike", "aws:username", "ali*", True),
        ("StringLike", "aws:username", "?lice", True),
        ("StringNotLike", "aws:username", "ali*", False),
        ("StringEquals", "aws:ResourceTag/Team", "blue", True),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/ali*", True),
        ("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::123456789012:user/alice", True),
        ("ArnLike", "aws:PrincipalArn", "arn:*:user/alice", None),
        ("ArnLike", "aws:PrincipalArn", "*", True),
        ("ArnLike", "aws:username", "arn:aws:iam::*:user/*", False),
        ("ArnLike", "aws:PrincipalArn", "arn:aws:iam::123456789012:role/*", False),
        ("ArnNotLike", "aws:PrincipalArn", "arn:aws:iam::*:user/bob", True),
        ("Bool", "aws:SecureTransport", "true", True),
        ("Bool", "aws:SecureTransport", "False", False),
        ("Bool", "aws:SecureTransport", "yes", None),
        ("IpAddress", "aws:SourceIp", "192.0.2.0/24", True),
        ("IpAddress", "aws:SourceIp", "192.0.2.7", True),
        ("IpAddress", "aws:SourceIp", "192.0.2.9/24", True),
        ("IpAddress", "aws:SourceIp", "198.51.100.0/24", False),
        ("IpAddress", "aws:SourceIp", "2001:db8::/32", False),
        ("NotIpAddress", "aws:SourceIp", "198.51.100.0/24", True),
        ("NotIpAddress", "aws:SourceIp", "192.0.2.0/24", False),
        ("IpAddress", "aws:SourceIp", "192.0.2.0/99", None),
        ("NotIpAddress", "aws:SourceIp", "here", None),
        ("DateLessThan", "aws:CurrentTime", "2026-03-02", True),
        ("DateLessThan", "aws:CurrentTime", "2026-03-01T12:00:00Z", False),
        ("DateLessThanEquals", "aws:CurrentTime", "2026-03-01T12:00:00Z", True),
        ("DateGreaterThan", "aws:CurrentTime", "2026-03-01T13:00:00+02:00", True),
        ("DateEquals", "aws:CurrentTime", "1772366400", True),
        ("DateNotEquals", "aws:CurrentTime", "2026-03-01T12:00:00Z", False),
        ("DateGreaterThan", "aws:EpochTime", "2026-02-01T00:00:00Z", True),
        ("DateGreaterThan", "aws:CurrentTime", "tomorrow", None),
        # Years and days, or moments of 1970: a Deny until then must not be void.
        ("DateLessThan", "aws:CurrentTime", "2030", None),
        ("DateLessThan", "aws:CurrentTime", "20300101", None),
        ("NumericGreaterThanEquals", "aws:EpochTime", "1772366400", True),
        ("NumericLessThan", "aws:EpochTime", "1.5", False),
        ("NumericNotEquals", "aws:EpochTime", "1", True),
        ("NumericEquals", "aws:EpochTime", "NaN", None),
        ("NumericEquals", "aws:EpochTime", "many", None),
        ("BinaryEquals", "aws:username", "YWxpY2U=", None),
    ],
)
def test_an_operator_compares(operator: str, key: str, value: str, expected: bool | None) -> None:  # noqa: FBT001 - a table
    assert held(operator, key, value) is expected


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("StringEquals", False),
        ("StringLike", False),
        ("NumericLessThan", False),
        ("DateGreaterThan", False),
        ("Bool", False),
        ("IpAddress", False),
        ("ArnLike", False),
        ("StringNotEquals", True),
        ("StringNotLike", True),
        ("NumericNotEquals", True),
        ("DateNotEquals", True),
        ("NotIpAddress", True),
        ("ArnNotLike", True),
        ("StringEqualsIfExists", True),
        ("StringNotEqualsIfExists", True),
        ("ForAllValues:StringEquals", True),
        ("ForAllValues:StringNotEquals", True),
        ("ForAnyValue:StringEquals", False),
        ("ForAnyValue:StringNotEquals", False),
        ("ForAnyValue:StringEqualsIfExists", True),
    ],
)
def test_an_operator_says_of_an_absent_key_what_iam_says(operator: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert held(operator, "aws:PrincipalOrgID", "o-1") is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("aws:username", "false", True),
        ("aws:username", "true", False),
        ("aws:SourceVpc", "true", True),
        ("aws:SourceVpc", "false", False),
        ("aws:SourceVpc", "maybe", None),
        ("aws:hidden", "true", None),
    ],
)
def test_null_tells_whether_a_key_is_there(key: str, value: str, expected: bool | None) -> None:  # noqa: FBT001 - a table
    assert held("Null", key, value) is expected


@pytest.mark.parametrize("prefix", ["", "ForAllValues:", "ForAnyValue:"])
@pytest.mark.parametrize("suffix", ["", "IfExists"])
def test_a_present_key_is_compared_whatever_stands_around_the_operator(prefix: str, suffix: str) -> None:
    assert held(f"{prefix}StringEquals{suffix}", "aws:username", "bob", "alice")
    assert held(f"{prefix}StringNotEquals{suffix}", "aws:username", "bob", "carol")
    assert held(f"{prefix}StringNotEquals{suffix}", "aws:username", "bob", "alice") is False


@pytest.mark.parametrize(
    "operator", ["StringEquals", "StringNotEquals", "StringEqualsIfExists", "ForAllValues:StringLike"]
)
@pytest.mark.parametrize("key", ["aws:hidden", "aws:RequestTag/team", "aws:TagKeys", "aws:UserAgent", "aws:Referer"])
def test_a_key_that_aws_has_and_nobody_here_is_untold(operator: str, key: str) -> None:
    assert held(operator, key, "x") is None


def test_one_value_that_fits_is_enough_beside_those_that_are_untold() -> None:
    assert held("IpAddress", "aws:SourceIp", "nonsense", "192.0.2.0/24") is True
    assert held("IpAddress", "aws:SourceIp", "nonsense", "198.51.100.0/24") is None
    assert held("NotIpAddress", "aws:SourceIp", "nonsense", "192.0.2.0/24") is False


def test_variables_mean_something_in_the_version_that_has_them() -> None:
    assert held("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/${aws:username}")
    assert held("StringEquals", "aws:username", "${aws:username}", variables=False) is False
    assert held("StringEquals", "aws:username", "${aws:SourceVpc}") is None


@pytest.mark.parametrize("address", ["::ffff:192.0.2.7", "192.0.2.7"])
def test_an_address_of_ipv4_is_the_same_inside_of_ipv6(address: str) -> None:
    context = Context({"aws:sourceip": address})
    assert holds(Condition("IpAddress", "aws:SourceIp", ("192.0.2.0/24",)), context, variables=False)


def test_an_address_may_name_its_link() -> None:
    context = Context({"aws:sourceip": "fe80::1%eth0"})
    assert holds(Condition("IpAddress", "aws:SourceIp", ("fe80::/10",)), context, variables=False)
