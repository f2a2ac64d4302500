"""What has the form of a signature, and what is refused before anything of it is looked at."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from multidict import CIMultiDict

from proxy.http.aws.claims import Credential, is_signed, read_claim
from proxy.model.api_errors import ApiError, ApiErrorCode
from tests.support.signing import ANN, ECR, Sent, Signer, reclaimed

NOW = datetime(2026, 8, 30, 12, 36, tzinfo=UTC).timestamp()
LIST = f"{ECR}.DescribeRepositories"


def refusal(sent: Sent) -> str:
    """Return what who sent no signature is told."""
    with pytest.raises(ApiError) as caught:
        read_claim(sent.received())
    assert caught.value.code is ApiErrorCode.IncompleteSignatureException
    return caught.value.message


def test_who_claims_nothing_has_no_signature() -> None:
    sent = Sent(headers=CIMultiDict({"Host": "registry.test", "X-Amz-Date": "20260830T123600Z"}))
    assert read_claim(sent.received()) is None
    assert not is_signed(sent.received())


def test_both_forms_claim_the_same() -> None:
    headed, presigned = Signer().call(LIST, b"", NOW), Signer().presign("/?a=b%20c", NOW, 90)
    for sent in (headed, presigned):
        assert is_signed(sent.received())
        claim = sent.claim()
        assert claim.credential == Credential(ANN.id, "20260830", "us-east-1", "ecr", "aws4_request")
        assert claim.time.timestamp() == NOW
    assert headed.claim().headers == ("content-type", "host", "x-amz-date", "x-amz-target")
    assert (headed.claim().query, headed.claim().expires) == ((), None)
    assert presigned.claim().headers == ("host",)
    assert presigned.claim().query[0] == ("a", "b c")
    assert presigned.claim().expires == 90


# --- what is no signature -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"Credential": ""},
        {"SignedHeaders": ""},
        {"Signature": ""},
        {"Extra": "1"},
        {"Signature": "a" * 63},
        {"Signature": "A" * 64},
        {"Credential": "AKIAANN0000000000/20260830/us-east-1/aws4_request"},
        {"Credential": "a/AKIAANN0000000000/20260830/us-east-1/ecr/aws4_request"},
        {"Credential": "/20260830/us-east-1/ecr/aws4_request"},
        {"Credential": f"{'A' * 129}/20260830/us-east-1/ecr/aws4_request"},
        {"Credential": "AKIAANN0000000000/20260830/us-east-1/ecr/<aws4_request>"},
        {"SignedHeaders": "host;content-type;x-amz-date;x-amz-target"},
        {"SignedHeaders": "content-type;host;host;x-amz-date;x-amz-target"},
        {"SignedHeaders": "Content-Type;host;x-amz-date;x-amz-target"},
        {"SignedHeaders": ";host"},
        {"SignedHeaders": "host;" + ";".join(f"x{number:03}" for number in range(101))},
    ],
)
def test_a_header_of_another_form_is_incomplete(changed: dict[str, str]) -> None:
    assert refusal(reclaimed(Signer().call(LIST, b"{}", NOW), **changed))


@pytest.mark.parametrize("algorithm", ["AWS4-HMAC-SHA512", "AWS4-ECDSA-P256-SHA256", "aws4-hmac-sha256", "AWS"])
def test_another_algorithm_is_none(algorithm: str) -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    sent.headers["Authorization"] = sent.headers["Authorization"].replace("AWS4-HMAC-SHA256", algorithm)
    assert refusal(sent)


@pytest.mark.parametrize(
    "text",
    [
        "Basic QVdTOnBhc3N3b3Jk",
        "Bearer token",
        "",
        "AWS4-HMAC-SHA256",
        "aws4-hmac-sha256 Credential=a, SignedHeaders=host, Signature=b",
        "AWS4-ECDSA-P256-SHA256 Credential=a, SignedHeaders=host, Signature=b",
        "AWS4-HMAC-SHA256 Credential=a Credential=b",
        "AWS4-HMAC-SHA256 Signature=a, Signature=a, Credential=b, SignedHeaders=host",
    ],
)
def test_other_credentials_are_no_signature_and_are_not_repeated(text: str) -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    sent.headers["Authorization"] = text
    message = refusal(sent)
    assert not any(word in message for word in text.split(" ")[1:])


@pytest.mark.parametrize(
    "date",
    ["", "20260830", "2026-08-30T12:36:00Z", "20261330T123600Z", "20260830T123660Z", "00000830T123600Z", "٢٠٢٦"],
)
def test_a_date_of_another_form_is_incomplete(date: str) -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    sent.headers["X-Amz-Date"] = date
    assert refusal(sent)


@pytest.mark.parametrize("date", ["Sun, 32 Aug 2026 12:36:00 GMT", "Sun, 30 Xxx 2026 12:36:00 GMT", "yesterday"])
def test_a_date_that_is_none_is_incomplete(date: str) -> None:
    sent = Signer().call(LIST, b"{}", NOW, Date="set by botocore")
    sent.headers["Date"] = date
    assert refusal(sent)


@pytest.mark.parametrize(
    "name", ["Authorization", "Host", "X-Amz-Date", "X-Amz-Target", "Content-Type", "x-amz-security-token"]
)
def test_a_header_that_decides_is_sent_once(name: str) -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    for _ in range(2):
        sent.headers.add(name, sent.headers.get(name, "x"))
    assert refusal(sent) == f"The header '{name}' was sent twice."


def test_a_request_has_one_signature() -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    sent.target = Signer().presign("/", NOW).target
    assert refusal(sent)


@pytest.mark.parametrize(
    "change",
    [
        lambda target: target + "&X-Amz-Date=20260830T123600Z",
        lambda target: target + "&X-Amz-Signature=" + "0" * 64,
        lambda target: target.replace("X-Amz-Date", "x-amz-date"),
        lambda target: target.replace("X-Amz-Expires=60", "X-Amz-Expires=060"),
        lambda target: target.replace("X-Amz-Expires=60&", ""),
        lambda target: target.replace("HMAC", "ECDSA"),
        lambda target: target + "&a=%FF",
        lambda target: target + "&a=b+c",
    ],
)
def test_a_query_of_another_form_is_incomplete(change: Callable[[str], str]) -> None:
    sent = Signer().presign("/?a=b", NOW)
    sent.target = change(sent.target)
    assert refusal(sent)
