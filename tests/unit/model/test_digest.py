"""Digests: only well-formed ones exist, so that each is safe in a path, a URL and a header."""

import hashlib

import pytest

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError


@pytest.mark.parametrize("text", [f"sha256:{'0a' * 32}", f"sha512:{'f0' * 64}"])
def test_well_formed_digest_is_read_and_written(text: str) -> None:
    digest = Digest.parse(text)
    assert str(digest) == text
    assert f"{digest.algorithm}:{digest.encoded}" == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        f"sha256:{'a' * 63}",
        f"sha256:{'a' * 65}",
        f"sha512:{'a' * 64}",
        f"sha256:{'A' * 64}",
        f"SHA256:{'a' * 64}",
        f"sha256:{'g' * 64}",
        f"sha256:{'a' * 64}\n",
        f" sha256:{'a' * 64}",
        f"sha256:{'a' * 64}:",
        "sha256:" + "\u0661" * 64,
        f"sha384:{'a' * 96}",
        f"md5:{'a' * 32}",
        "sha256:../../../etc/passwd",
        "sha256:%2e%2e%2f",
        f"../sha256:{'a' * 64}",
        f"sha256:{'a' * 10_000}",
        f"sha256+b64:{'a' * 64}",
    ],
)
def test_malformed_digest_is_refused(text: str) -> None:
    with pytest.raises(ProxyError) as raised:
        Digest.parse(text)
    assert raised.value.code is ErrorCode.DIGEST_INVALID
    assert len(str(raised.value.detail["digest"])) <= 200


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_digest_of_content_is_its_hash(algorithm: str) -> None:
    digest = Digest.of(b"content", algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, b'content').hexdigest()}"
    hasher = digest.hasher()
    for part in (b"con", b"tent"):
        assert not digest.matches(hasher)
        hasher.update(part)
    assert digest.matches(hasher)
