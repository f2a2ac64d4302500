"""IAM policy documents: what is one, and what it says."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.registry.policy_documents import (
    TEXT_LIMIT,
    Condition,
    Effect,
    PolicyDocument,
    PolicyKind,
    Statement,
    parse_policy,
)
from proxy.model.api_errors import ApiError, ApiErrorCode

STATEMENT: dict[str, Any] = {"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}
RESOURCE = "arn:aws:ecr:eu-west-1:123456789012:repository/prod/*"


def parse(document: object, kind: PolicyKind = PolicyKind.REPOSITORY) -> PolicyDocument:
    return parse_policy(document if isinstance(document, str) else json.dumps(document), kind)


def of(*statements: dict[str, Any], **members: object) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements), **members}


def refusal(document: object, kind: PolicyKind = PolicyKind.REPOSITORY) -> str:
    """Return the reason for which the document is refused."""
    with pytest.raises(ApiError) as refused:
        parse(document, kind)
    assert refused.value.code is ApiErrorCode.InvalidParameterException
    sentence = f"Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid {kind.value} policy provided'"
    assert refused.value.message.startswith(f"{sentence} (")
    return refused.value.message.removeprefix(sentence)


def test_a_policy_is_read_whole() -> None:
    first = {
        "Sid": "new statement",
        "Effect": "Allow",
        "Principal": {"AWS": ["123456789012", "arn:aws:iam::123456789012:role/ci"], "Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ECR:Get*"],
        "Condition": {
            "StringLike": {"aws:sourceArn": ["arn:aws:lambda:*", "b"], "aws:PrincipalOrgID": "o-1"},
            "ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": "a"},
            "Bool": {"aws:SecureTransport": True},
            "NumericLessThan": {"aws:MultiFactorAuthAge": 3600},
        },
    }
    second = {"Effect": "Deny", "NotPrincipal": {"AWS": "*"}, "NotAction": "*"}

    assert parse(of(first, second, Id="mine")) == PolicyDocument(
        (
            Statement(
                Effect.ALLOW,
                {"AWS": ("123456789012", "arn:aws:iam::123456789012:role/ci"), "Service": ("lambda.amazonaws.com",)},
                ("ecr:BatchGetImage", "ECR:Get*"),
                conditions=(
                    Condition("StringLike", "aws:sourceArn", ("arn:aws:lambda:*", "b")),
                    Condition("StringLike", "aws:PrincipalOrgID", ("o-1",)),
                    Condition("ForAnyValue:StringEqualsIfExists", "aws:TagKeys", ("a",)),
                    Condition("Bool", "aws:SecureTransport", ("true",)),
                    Condition("NumericLessThan", "aws:MultiFactorAuthAge", ("3600",)),
                ),
                sid="new statement",
            ),
            Statement(Effect.DENY, {"AWS": ("*",)}, ("*",), inverted=frozenset({"Principal", "Action"})),
        ),
        "2012-10-17",
    )


def test_one_statement_needs_no_list_and_the_oldest_version_no_name() -> None:
    document = parse({"Statement": STATEMENT})

    assert document == PolicyDocument((Statement(Effect.ALLOW, {"AWS": ("*",)}, ("ecr:BatchGetImage",)),), "2008-10-17")


def test_a_policy_of_the_registry_says_for_which_repositories() -> None:
    document = parse(of({**STATEMENT, "Resource": RESOURCE}), PolicyKind.REGISTRY)
    assert document.statements[0].resources == (RESOURCE,)
    document = parse(of({**STATEMENT, "NotResource": [RESOURCE, "*"]}), PolicyKind.REGISTRY)
    assert document.statements[0].resources == (RESOURCE, "*")
    assert document.statements[0].inverted == {"Resource"}

    assert "neither Resource nor NotResource" in refusal(of(STATEMENT), PolicyKind.REGISTRY)
    assert "not the ARN" in refusal(of({**STATEMENT, "Resource": "prod/*"}), PolicyKind.REGISTRY)


@pytest.mark.parametrize("name", ["Resource", "NotResource"])
def test_a_policy_of_a_repository_names_no_resource(name: str) -> None:
    assert "statement 2: Resource has no place" in refusal(of(STATEMENT, {**STATEMENT, name: "*"}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "policy",
        "[]",
        "null",
        "{}",
        '{"Statement": NaN}',
        '{"Statement": []}',
        '{"Statement": "*"}',
        '{"Statement": [[]]}',
        "[" * 5000,
        '{"Statement": {"Effect": "Deny", "Effect": "Allow", "Principal": "*", "Action": "*"}}',
    ],
)
def test_what_is_no_document_is_refused(text: str) -> None:
    refusal(text)


@pytest.mark.parametrize(
    "members",
    [{"Version": "2012-10-18"}, {"Version": 2012}, {"Version": ["2012-10-17"]}, {"Id": 7}, {"Statements": []}],
)
def test_documents_with_wrong_members_are_refused(members: dict[str, object]) -> None:
    refusal(of(STATEMENT, **members))


@pytest.mark.parametrize(
    "members",
    [
        {"Sid": 1},
        {"Effect": "allow"},
        {"Effect": ["Allow"]},
        {"Efect": "Allow"},
        {"NotPrincipal": "*"},
        {"NotAction": "*"},
        {"Principal": "123456789012"},
        {"Principal": ["*"]},
        {"Principal": {}},
        {"Principal": {"AWS": []}},
        {"Principal": {"AWS": "me"}},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:role/*"}},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root\n"}},
        {"Principal": {"AWS": 123456789012}},
        {"Principal": {"aws": "*"}},
        {"Principal": {"Service": "*"}},
        {"Action": []},
        {"Action": ["ecr:GetImage", None]},
        {"Action": "BatchGetImage"},
        {"Action": "s3:GetObject"},
        {"Action": {"ecr": "*"}},
        {"Condition": []},
        {"Condition": {"Equals": {"a": "b"}}},
        {"Condition": {"Null:IfExists": {"a": "b"}}},
        {"Condition": {"StringEquals": {}}},
        {"Condition": {"StringEquals": "a"}},
        {"Condition": {"StringEquals": {"a": []}}},
        {"Condition": {"StringEquals": {"a": {"b": "c"}}}},
        {"Condition": {"StringEquals": {"a": None}}},
    ],
)
def test_statements_with_wrong_members_are_refused(members: dict[str, object]) -> None:
    assert "statement 2" in refusal(of(STATEMENT, {**STATEMENT, **members}))


@pytest.mark.parametrize("name", ["Effect", "Principal", "Action"])
def test_a_statement_says_whom_it_lets_do_what(name: str) -> None:
    assert name in refusal(of({key: value for key, value in STATEMENT.items() if key != name}))


def test_statements_with_a_name_have_one_of_their_own() -> None:
    named = {**STATEMENT, "Sid": "a"}
    assert "Sid" in refusal(of(named, named))
    assert (
        len(parse(of(named, STATEMENT, STATEMENT, {**STATEMENT, "Sid": ""}, {**STATEMENT, "Sid": ""})).statements) == 5
    )


def test_a_policy_has_as_many_characters_as_ecr_allows() -> None:
    text = json.dumps(of(STATEMENT)).ljust(TEXT_LIMIT)
    assert parse(text).statements
    assert "10240 characters" in refusal(f"{text} ")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["*", "Allow"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["AWS", "StringEquals", "Effect", "Principal", "Action", "Condition"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(_json, st.sampled_from(PolicyKind))
def test_any_json_is_a_policy_or_refused(value: object, kind: PolicyKind) -> None:
    for document in (value, {"Statement": value}, of({**STATEMENT, "Principal": value, "Condition": value})):
        with suppress(ApiError):
            assert parse(document, kind).statements
