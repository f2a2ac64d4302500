"""Whatever is done to a signed request, it is refused as AWS refuses it; and no text makes the reader fail."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.http.aws.access import REFUSALS
from proxy.http.aws.signatures import Signatures
from proxy.model.api_errors import ApiError
from tests.support.clock import FakeClock
from tests.support.signing import ANN, ECR, KnownKeys, Sent, Signer

NOW = 1_800_000_000.0
SIGNATURES = Signatures(KnownKeys(ANN), FakeClock(NOW), "us-east-1", "https://registry.public")
CALL = Signer().call(f"{ECR}.BatchDeleteImage", b'{"repositoryName": "a", "imageIds": []}', NOW, Accept="a  b")
PRESIGNED = Signer(service="sts").presign("/?Action=GetCallerIdentity&Version=2011-06-15&x=a%20b%2B", NOW)
SIGNED = ("Host", "X-Amz-Target", "Content-Type", "X-Amz-Date", "Accept")

# What headers may hold: no line ends, no bytes that no text has.
text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_characters="\x7f"), max_size=40)
names = st.from_regex(r"[A-Za-z0-9-]{1,20}", fullmatch=True)


async def outcome(sent: Sent, service: str) -> ApiError | None:
    """Return by what the request is refused, None where it is good; nothing else may be raised."""
    try:
        signed = SIGNATURES.examine(sent.received(), service)
        assert signed is not None
        signed.verify(sent.body)
    except ApiError as raised:
        refused = raised
    else:
        return None
    assert refused.code in REFUSALS
    assert ANN.secret not in f"{refused.message}{refused.debug}"
    return refused


def copied(sent: Sent) -> Sent:
    return replace(sent, headers=copy.copy(sent.headers))


async def test_the_requests_that_are_changed_below_are_good() -> None:
    assert await outcome(CALL, "ecr") is None
    assert await outcome(PRESIGNED, "sts") is None


@given(st.data())
@settings(deadline=None)
async def test_a_signed_header_may_not_change(data: st.DataObject) -> None:
    sent, name = copied(CALL), data.draw(st.sampled_from(SIGNED))
    value = data.draw(text)
    assume(" ".join(value.split()) != " ".join(sent.headers[name].split()))
    sent.headers[name] = value
    # Without it, Date says when it was: there is none.
    assert await outcome(sent, "ecr") is not None


@given(st.data())
@settings(deadline=None)
async def test_neither_may_a_header_be_taken_away_or_be_added_that_decides(data: st.DataObject) -> None:
    sent = copied(CALL)
    if data.draw(st.booleans()):
        del sent.headers[data.draw(st.sampled_from(SIGNED))]
    else:
        sent.headers.add(f"X-Amz-{data.draw(names)}", data.draw(text))
        assume("X-Amz-User-Agent".lower() not in {name.lower() for name in sent.headers})
    assert await outcome(sent, "ecr") is not None


@given(st.binary(max_size=200))
@settings(deadline=None)
async def test_the_body_may_not_change(body: bytes) -> None:
    assume(body != CALL.body)
    assert await outcome(replace(copied(CALL), body=body), "ecr") is not None


@given(
    st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "PATCH"]), st.from_regex(r"/[a-z.][a-z./]{0,4}", fullmatch=True)
)
@settings(deadline=None)
async def test_neither_may_method_or_path(method: str, path: str) -> None:
    assert await outcome(replace(copied(CALL), method=method), "ecr") is not None
    # SigV4 takes out what stands for nothing in a path.
    assume(path.replace(".", "").replace("/", ""))
    assert await outcome(replace(copied(CALL), target=path), "ecr") is not None


@given(names, text)
@settings(deadline=None)
async def test_nothing_may_be_added_to_the_query(name: str, value: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in value.encode())
    for sent, service in ((CALL, "ecr"), (PRESIGNED, "sts")):
        target = f"{sent.target}{'&' if '?' in sent.target else '?'}{name}={quoted}"
        assert await outcome(replace(copied(sent), target=target), service) is not None


@given(st.integers(0, len(PRESIGNED.target) - 1), st.characters(min_codepoint=0x21, max_codepoint=0x7E))
@settings(deadline=None)
async def test_no_character_of_a_presigned_url_may_change(place: int, character: str) -> None:
    before = PRESIGNED.target
    target = before[:place] + character + before[place + 1 :]
    assume(place > 1)
    assume(target != before)
    # The same escape, in letters of the other case.
    assume(target.lower() != before.lower() or "%" not in before[max(0, place - 2) : place + 1])
    # A URL ends where its fragment begins, and what remains is another one.
    sent = replace(copied(PRESIGNED), target=target)
    if "X-Amz-Signature" not in target.partition("#")[0]:
        assert SIGNATURES.examine(sent.received(), "sts") is None
        return
    assert await outcome(sent, "sts") is not None


@given(st.integers(17, len(CALL.headers["Authorization"]) - 1), st.characters(min_codepoint=0x21, max_codepoint=0x7E))
@settings(deadline=None)
async def test_no_character_of_authorization_may_change(place: int, character: str) -> None:
    sent, before = copied(CALL), CALL.headers["Authorization"]
    after = before[:place] + character + before[place + 1 :]
    assume(after != before)
    sent.headers["Authorization"] = after
    assert await outcome(sent, "ecr") is not None


words = st.sampled_from(
    [
        *("AWS4-HMAC-SHA256", " ", ",", "=", "/", ";", "Credential", "SignedHeaders", "Signature", "host", "a" * 64),
        *("AKIAANN0000000000/20270115/us-east-1/ecr/aws4_request", "content-type;host;x-amz-date", "\t", "\xff", "%"),
    ]
)


@given(st.lists(words | text, max_size=12).map("".join) | text)
@settings(max_examples=300, deadline=None)
async def test_any_text_in_authorization_is_read_or_refused(authorization: str) -> None:
    sent = copied(CALL)
    sent.headers["Authorization"] = authorization
    assert await outcome(sent, "ecr") is not None


parts = st.sampled_from(
    [
        *("X-Amz-Signature=", "X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Credential=", "X-Amz-Date=20270115T080000Z"),
        *("X-Amz-Expires=60", "X-Amz-SignedHeaders=host", "0" * 64, "%", "%FF", "%ED%A0%80", "=", "a", "?", "%2B", "+"),
        *("AKIAANN0000000000%2F20270115%2Fus-east-1%2Fsts%2Faws4_request", "&"),
    ]
)


@given(st.lists(parts, max_size=16).map("".join))
@settings(max_examples=300, deadline=None)
async def test_any_query_is_read_or_refused(query: str) -> None:
    sent = Sent("GET", f"/?{query}&X-Amz-Signature={'0' * 64}", CIMultiDict({"Host": "registry.test"}))
    assert await outcome(sent, "sts") is not None


@given(text)
@settings(deadline=None)
async def test_any_date_is_read_or_refused(date: str) -> None:
    for name in ("X-Amz-Date", "Date"):
        sent = copied(CALL)
        sent.headers.popall("X-Amz-Date")
        sent.headers[name] = date
        assert await outcome(sent, "ecr") is not None


@pytest.mark.parametrize("field", ["key", "region", "service", "host"])
@given(data=st.data())
@settings(deadline=None)
async def test_only_who_signs_for_this_place_with_this_key_is_known(field: str, data: st.DataObject) -> None:
    word = data.draw(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True))
    value: Any = replace(ANN, secret=word) if field == "key" else word
    signer = replace(Signer(), **{field: value})
    assume(signer != Signer())
    sent = signer.call(f"{ECR}.ListImages", b"{}", NOW)
    sent.headers["Host"] = "registry.test"
    assert await outcome(sent, "ecr") is not None
