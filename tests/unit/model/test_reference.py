"""Names and tags: one strict grammar before anything else sees them."""

import pytest

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import is_tag, parse_reference, parse_repository, parse_tag, referrers_tag

DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    "name",
    ["a", "library/nginx", "a/b/c/d", "a.b", "a_b", "a__b", "a-b", "a---b", "0", "v2/manifests/blobs", "a" * 255],
)
def test_repository_name_is_accepted(name: str) -> None:
    assert parse_repository(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "A",
        "a.",
        ".a",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "a._b",
        "..",
        "../etc",
        "a/../b",
        "a%2fb",
        "a b",
        "a\n",
        "a\x00",
        "\u00e9",
        "a:b",
        "a@b",
        "a" * 256,
        "host.example:5000/a",
    ],
)
def test_repository_name_is_refused(name: str) -> None:
    with pytest.raises(ProxyError) as raised:
        parse_repository(name)
    assert raised.value.code is ErrorCode.NAME_INVALID


@pytest.mark.parametrize("tag", ["latest", "v1.2-3_4", "_", "0", "A", "a" * 128, f"sha256-{'a' * 64}.sig"])
def test_tag_is_accepted(tag: str) -> None:
    assert parse_tag(tag) == parse_reference(tag) == tag
    assert is_tag(tag)


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a/b", "a b", "a+b", "a\n", "\u00e9", "a" * 129, "..", "%2e"])
def test_tag_is_refused(tag: str) -> None:
    assert not is_tag(tag)
    with pytest.raises(ProxyError) as raised:
        parse_tag(tag)
    assert raised.value.code is ErrorCode.MANIFEST_UNKNOWN


def test_reference_with_a_colon_is_a_digest() -> None:
    assert parse_reference(DIGEST) == Digest.parse(DIGEST)
    with pytest.raises(ProxyError) as raised:
        parse_reference("latest:1")
    assert raised.value.code is ErrorCode.DIGEST_INVALID


@pytest.mark.parametrize(("algorithm", "tag"), [("sha256", f"sha256-{'0a' * 32}"), ("sha512", f"sha512-{'0a' * 32}")])
def test_referrers_tag_is_the_first_64_digits_of_the_subject(algorithm: str, tag: str) -> None:
    subject = Digest.parse(f"{algorithm}:{'0a' * (32 if algorithm == 'sha256' else 64)}")
    assert referrers_tag(subject) == tag
    assert is_tag(tag)
