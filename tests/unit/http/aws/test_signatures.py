"""What a signature must be: of whom, for which place and time, over what; and which of it is told to who fails."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from proxy.http.aws.signatures import Signatures, Signed
from proxy.model.access_keys import AccessKey
from proxy.model.api_errors import ApiError, ApiErrorCode
from tests.support.clock import FakeClock
from tests.support.signing import ANN, BOB, ECR, KnownKeys, Sent, Signer, reclaimed

NOW = datetime(2026, 8, 30, 12, 36, tzinfo=UTC).timestamp()
LIST = f"{ECR}.DescribeRepositories"
CALLER = "Action=GetCallerIdentity&Version=2011-06-15"
INCOMPLETE, INVALID = ApiErrorCode.IncompleteSignatureException, ApiErrorCode.InvalidSignatureException
UNKNOWN = ApiErrorCode.UnrecognizedClientException


@pytest.fixture
def signatures() -> Signatures:
    return Signatures(KnownKeys(ANN, BOB), FakeClock(NOW), "us-east-1")


async def verify(signatures: Signatures, sent: Sent, service: str = "ecr", origin: str | None = None) -> AccessKey:
    """Return the key that signed a request, or raise what its sender is told."""
    signed = signatures.examine(sent.received(origin=origin), service)
    assert isinstance(signed, Signed)
    signed.verify(sent.body)
    return signed.key


async def refusal(signatures: Signatures, sent: Sent, service: str = "ecr") -> tuple[ApiErrorCode, str]:
    with pytest.raises(ApiError) as caught:
        await verify(signatures, sent, service)
    return caught.value.code, caught.value.message


# --- what is good -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [ANN, BOB])
@pytest.mark.parametrize("body", [b"", b"{}", b"x" * (1 << 17), bytes(range(256))])
async def test_what_botocore_signs_is_known_by_its_key(signatures: Signatures, key: AccessKey, body: bytes) -> None:
    assert await verify(signatures, Signer(key).call(LIST, body, NOW)) is key


async def test_a_presigned_url_is_known_by_its_key(signatures: Signatures) -> None:
    signer = Signer(BOB, service="sts")
    assert await verify(signatures, signer.presign(f"/?{CALLER}", NOW), "sts") is BOB


@pytest.mark.parametrize("region", ["us-east-1", "aws-global", "eu-west-1"])
async def test_sts_is_asked_in_its_global_region_too(region: str) -> None:
    here = Signatures(KnownKeys(ANN), FakeClock(NOW), "eu-west-1")
    assert await verify(here, Signer(region=region, service="sts").query(CALLER, NOW), "sts") is ANN


async def test_headers_may_be_signed_that_need_not_be(signatures: Signatures) -> None:
    sent = Signer().call(LIST, b"{}", NOW, Accept="  a,   b  ", Amz_Sdk_Request="attempt=1")
    assert "accept;amz-sdk-request;content-type;host;x-amz-date;x-amz-target" in sent.headers["Authorization"]
    assert await verify(signatures, sent) is ANN


async def test_what_nobody_signed_may_change_on_the_way(signatures: Signatures) -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    sent.headers.update({"User-Agent": "other", "X-Forwarded-For": "192.0.2.1", "X-Amz-User-Agent": "sdk", "Via": "x"})
    assert await verify(signatures, sent) is ANN


async def test_the_parts_of_the_header_may_have_any_order_and_space(signatures: Signatures) -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    parts = sent.headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
    sent.headers["Authorization"] = f"AWS4-HMAC-SHA256  {' ,'.join(reversed(parts))}"
    assert await verify(signatures, sent) is ANN


async def test_date_stands_in_for_x_amz_date(signatures: Signatures) -> None:
    sent = Signer().call(LIST, b"{}", NOW, Date="set by botocore")
    assert "X-Amz-Date" not in sent.headers
    assert sent.headers["Date"] == "Sun, 30 Aug 2026 12:36:00 -0000"
    assert await verify(signatures, sent) is ANN


async def test_the_hash_of_the_body_may_be_told(signatures: Signatures) -> None:
    told = hashlib.sha256(b"{}").hexdigest()
    assert await verify(signatures, Signer().call(LIST, b"{}", NOW, X_Amz_Content_SHA256=told)) is ANN


# --- where the client thought it was --------------------------------------------------------------------------------


async def test_a_proxy_may_pass_on_another_host_and_tell_the_first(signatures: Signatures) -> None:
    sent = Signer(host="registry.example:8443").call(LIST, b"{}", NOW)
    sent.headers["Host"] = "10.0.0.7:5000"
    assert (await refusal(signatures, sent))[0] is INVALID
    assert await verify(signatures, sent, origin="https://registry.example:8443") is ANN


@pytest.mark.parametrize("url", ["https://registry.example", "https://registry.example:443", "http://registry.example"])
async def test_the_public_url_stands_in_for_the_host(url: str) -> None:
    behind = Signatures(KnownKeys(ANN), FakeClock(NOW), "us-east-1", url)
    sent = Signer(host="registry.example").call(LIST, b"{}", NOW)
    sent.headers["Host"] = "10.0.0.7:5000"
    assert await verify(behind, sent) is ANN
    sent = Signer(host="other.example").call(LIST, b"{}", NOW)
    sent.headers["Host"] = "10.0.0.7:5000"
    assert (await refusal(behind, sent))[0] is INVALID


async def test_without_any_host_nothing_fits(signatures: Signatures) -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    del sent.headers["Host"]
    assert (await refusal(signatures, sent))[0] is INVALID


# --- what is not the caller's, or not of now and here ---------------------------------------------------------------


async def test_another_secret_is_told_as_such_without_a_word_of_it(signatures: Signatures) -> None:
    code, message = await refusal(signatures, Signer(replace(ANN, secret="other")).call(LIST, b"{}", NOW))
    assert code is INVALID
    assert message.startswith("The request signature we calculated does not match the signature you provided.")
    assert ANN.secret not in message


async def test_an_unknown_key_is_told_whatever_is_signed(signatures: Signatures) -> None:
    for key in (replace(ANN, id="AKIANOBODY"), replace(ANN, id="akiaann0000000000")):
        assert await refusal(signatures, Signer(key).call(LIST, b"{}", NOW)) == (
            UNKNOWN,
            "The security token included in the request is invalid.",
        )


async def test_a_session_token_belongs_to_no_key_of_this_registry(signatures: Signatures) -> None:
    signer = Signer(token="session")
    assert (await refusal(signatures, signer.call(LIST, b"{}", NOW)))[0] is UNKNOWN
    assert (await refusal(signatures, signer.presign("/", NOW)))[0] is UNKNOWN


@pytest.mark.parametrize(
    ("signer", "sentence"),
    [
        (Signer(region="eu-west-1"), "Credential should be scoped to a valid region, not 'eu-west-1'."),
        (Signer(region="aws-global"), "Credential should be scoped to a valid region, not 'aws-global'."),
        (Signer(service="sts"), "Credential should be scoped to correct service: 'ecr'."),
        (Signer(service="secretsmanager"), "Credential should be scoped to correct service: 'ecr'."),
    ],
)
async def test_a_signature_for_another_place_is_told_so(signatures: Signatures, signer: Signer, sentence: str) -> None:
    assert await refusal(signatures, signer.call(LIST, b"{}", NOW)) == (INVALID, sentence)
    unknown = replace(signer, key=replace(ANN, id="AKIANOBODY"))
    assert await refusal(signatures, unknown.call(LIST, b"{}", NOW)) == (INVALID, sentence)


async def test_the_terminator_is_told(signatures: Signatures) -> None:
    sent = reclaimed(
        Signer().call(LIST, b"{}", NOW), Credential="AKIAANN0000000000/20260830/us-east-1/ecr/aws5_request"
    )
    code, message = await refusal(signatures, sent)
    assert (code, "'aws4_request', not 'aws5_request'" in message) == (INVALID, True)


@pytest.mark.parametrize("apart", [-300, -299, 0, 299, 300])
async def test_clocks_may_be_five_minutes_apart(signatures: Signatures, apart: int) -> None:
    assert await verify(signatures, Signer().call(LIST, b"{}", NOW + apart)) is ANN


async def test_a_signature_of_another_time_is_told_what_time_it_is(signatures: Signatures) -> None:
    assert await refusal(signatures, Signer().call(LIST, b"{}", NOW - 301)) == (
        INVALID,
        "Signature expired: 20260830T123059Z is now earlier than 20260830T123100Z (20260830T123600Z - 5 min.)",
    )
    assert await refusal(signatures, Signer().call(LIST, b"{}", NOW + 301)) == (
        INVALID,
        "Signature not yet current: 20260830T124101Z is still later than 20260830T124100Z (20260830T123600Z + 5 min.)",
    )


@pytest.mark.parametrize(("expires", "age"), [(1, 1), (60, 60), (604_800, 604_800), (60, -300)])
async def test_a_presigned_url_is_good_as_long_as_it_says(signatures: Signatures, expires: int, age: int) -> None:
    sent = Signer().presign("/", NOW - age, expires)
    assert await verify(signatures, sent) is ANN


@pytest.mark.parametrize(
    ("expires", "age", "code", "sentence"),
    [
        (60, 61, INVALID, "Signature expired: 20260830T123559Z is now earlier than 20260830T123600Z"),
        (604_800, 604_801, INVALID, "Signature expired: 20260830T123559Z is now earlier than 20260830T123600Z"),
        (60, -301, INVALID, "Signature not yet current: "),
        (0, 0, INCOMPLETE, "X-Amz-Expires must be a number of seconds from 1 to 604800."),
        (604_801, 0, INCOMPLETE, "X-Amz-Expires must be a number of seconds from 1 to 604800."),
        (-1, 0, INCOMPLETE, "X-Amz-Expires must be a number of seconds from 1 to 604800."),
    ],
)
async def test_a_presigned_url_is_good_no_longer_and_no_sooner(
    signatures: Signatures, expires: int, age: int, code: ApiErrorCode, sentence: str
) -> None:
    told = await refusal(signatures, Signer().presign("/", NOW - age, expires))
    assert told[0] is code
    assert told[1].startswith(sentence)


async def test_the_day_of_the_scope_is_that_of_the_date(signatures: Signatures) -> None:
    sent = reclaimed(
        Signer().call(LIST, b"{}", NOW), Credential="AKIAANN0000000000/20260829/us-east-1/ecr/aws4_request"
    )
    code, message = await refusal(signatures, sent)
    assert code is INVALID
    assert message.endswith("'20260829' != '20260830', from '20260830T123600Z'.")


# --- what was signed, and was changed -------------------------------------------------------------------------------


async def test_the_body_is_what_is_signed(signatures: Signatures) -> None:
    sent = Signer().call(LIST, b"{}", NOW)
    sent.body = b"{ }"
    assert (await refusal(signatures, sent))[0] is INVALID


async def test_a_hash_that_is_told_must_be_that_of_the_body(signatures: Signatures) -> None:
    told = hashlib.sha256(b"other").hexdigest()
    sent = Signer().call(LIST, b"{}", NOW, X_Amz_Content_SHA256=told)
    code, message = await refusal(signatures, sent)
    assert (code, "X-Amz-Content-Sha256" in message) == (INVALID, True)


@pytest.mark.parametrize(
    "change",
    [
        lambda target: target.replace("a=b", "a=c"),
        lambda target: target.replace("a=b&", ""),
        lambda target: target + "&a=b",
        lambda target: target + "&",
        lambda target: target.replace("X-Amz-Expires=60", "X-Amz-Expires=61"),
        lambda target: target.replace("/?", "/x?"),
    ],
)
async def test_a_query_is_signed_as_a_whole(signatures: Signatures, change: Callable[[str], str]) -> None:
    sent = Signer().presign("/?a=b", NOW)
    sent.target = change(sent.target)
    assert (await refusal(signatures, sent))[0] is INVALID


async def test_a_presigned_url_is_for_its_method(signatures: Signatures) -> None:
    sent = Signer().presign("/", NOW)
    sent.method = "POST"
    assert (await refusal(signatures, sent))[0] is INVALID


def test_no_secret_is_in_what_is_shown_of_a_signed_request(signatures: Signatures) -> None:
    signed = signatures.examine(Signer().call(LIST, b"{}", NOW).received(), "ecr")
    assert ANN.secret not in repr(signed)
