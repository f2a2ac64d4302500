"""What must be signed of a request, and that what is computed over it is what its sender computed."""

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from multidict import CIMultiDict

from proxy.http.aws.canonical import Signer as Recomputed
from proxy.http.aws.canonical import check_headers, host_of, signed_requests
from proxy.model.access_keys import AccessKey
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.principal import Principal
from tests.support.signing import ECR, Sent, Signer, reclaimed

NOW = datetime(2026, 8, 30, 12, 36, tzinfo=UTC).timestamp()
LIST = f"{ECR}.DescribeRepositories"


def refusal(sent: Sent) -> str:
    """Return what is told to who signed too little, or what was not sent."""
    with pytest.raises(ApiError) as caught:
        check_headers(sent.received(), sent.claim())
    assert caught.value.code is ApiErrorCode.InvalidSignatureException
    return caught.value.message


# --- facts that AWS publishes: one key, one moment, and what must come out of it ------------------------------------

EXAMPLE = AccessKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Principal("example"))
_FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("method", "target", "service", "headers", "body", "signature"),
    [
        ("GET", "/", "service", {}, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "service", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            "service",
            {},
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/",
            "service",
            {"My-Header1": " value1", "My-Header2": ' "a   b   c"'},
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "POST",
            "/",
            "service",
            {"Content-Type": _FORM},
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "GET",
            "/?Action=ListUsers&Version=2010-05-08",
            "iam",
            {"Content-Type": f"{_FORM}; charset=utf-8", "Host": "iam.amazonaws.com"},
            b"",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ],
)
def test_the_published_examples_are_good(
    method: str, target: str, service: str, headers: dict[str, str], body: bytes, signature: str
) -> None:
    sent = Sent(method, target, CIMultiDict({"Host": "example.amazonaws.com", "X-Amz-Date": "20150830T123600Z"}), body)
    sent.headers.update(headers)
    signed = ";".join(sorted(name.lower() for name in sent.headers))
    scope = f"AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request"
    sent.headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={scope},SignedHeaders={signed},Signature={signature}"
    claim = sent.claim()
    check_headers(sent.received(), claim)
    (copy,) = signed_requests(sent.received(), claim, None)
    assert Recomputed(EXAMPLE, service, "us-east-1", sha256(body).hexdigest()).sign(copy) == signature


# --- whom it was sent to ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://registry.example", "registry.example"),
        ("https://registry.example:443", "registry.example"),
        ("http://registry.example:80", "registry.example"),
        ("http://registry.example:443", "registry.example:443"),
        ("https://[2001:db8::1]:5000", "[2001:db8::1]:5000"),
    ],
)
def test_the_port_of_the_scheme_is_not_in_host(origin: str, host: str) -> None:
    assert host_of(origin) == host


def test_the_request_is_looked_at_under_each_name_that_the_registry_may_have_had() -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    sent.headers["Host"] = "10.0.0.7:5000"
    received = sent.received(origin="https://first.example")
    hosts = [copy.headers["host"] for copy in signed_requests(received, sent.claim(), "public.example")]
    assert hosts == ["10.0.0.7:5000", "first.example", "public.example"]
    hosts = [copy.headers["host"] for copy in signed_requests(received, sent.claim(), "first.example")]
    assert hosts == ["10.0.0.7:5000", "first.example"]


# --- what must be signed --------------------------------------------------------------------------------------------


def test_the_host_must_be_signed() -> None:
    sent = reclaimed(Signer().call(LIST, b"{}", NOW), SignedHeaders="content-type;x-amz-date;x-amz-target")
    assert "'Host' or ':authority' must be a 'SignedHeader'" in refusal(sent)


@pytest.mark.parametrize("name", ["X-Amz-Target", "x-amz-target", "X-Amz-Date", "X-Amz-Meta"])
def test_what_aws_acts_on_must_be_signed(name: str) -> None:
    sent = reclaimed(Signer().call(LIST, b"{}", NOW), SignedHeaders="content-type;host")
    sent.headers.popall("X-Amz-Target")
    sent.headers.popall("X-Amz-Date")
    sent.headers["Date"] = "20260830T123600Z"
    sent.headers[name] = "20260830T123600Z"
    assert refusal(sent) == f"'{name}' must be a 'SignedHeader' in the AWS Authorization."


def test_what_is_signed_must_be_sent() -> None:
    sent = Signer().call(LIST, b"{}", NOW, Accept="x")
    del sent.headers["Accept"]
    assert refusal(sent) == "The header 'accept' is signed, but was not sent."


def test_what_is_signed_is_sent_once() -> None:
    sent = Signer().call(LIST, b"{}", NOW, Accept="x")
    sent.headers.add("Accept", "y")
    with pytest.raises(ApiError, match="The header 'accept' was sent twice") as caught:
        check_headers(sent.received(), sent.claim())
    assert caught.value.code is ApiErrorCode.IncompleteSignatureException


def test_a_value_that_is_no_ascii_is_refused() -> None:
    sent = Signer().call(LIST, b"{}", NOW, Accept="x")
    sent.headers["Accept"] = "\xe9"
    assert refusal(sent).endswith("has other characters than those of ASCII.")


@pytest.mark.parametrize("told", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "", "E3B0" * 16])
def test_a_body_is_never_left_unsigned(told: str) -> None:
    sent = Signer().call(LIST, b"{}", NOW, X_Amz_Content_SHA256=told)
    assert "is always signed" in refusal(sent)
