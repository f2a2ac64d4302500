"""Sets of keys: which keys are taken, and which one is found for a token."""

import json
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.identity.oidc.jwks import ALGORITHMS, KeySet, UnusableKeysError
from tests.emulators.identity_provider import SigningKey, private_key

RSA = SigningKey("rsa", "RS256", private_key("RS256"))
P256 = SigningKey("p256", "ES256", private_key("ES256"))
EDWARDS = SigningKey("ed", "EdDSA", private_key("EdDSA"))


def document(keys: Sequence[object]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def parse(*keys: SigningKey | dict[str, object]) -> KeySet:
    return KeySet.parse(document([key.jwk if isinstance(key, SigningKey) else key for key in keys]))


def other(key: SigningKey, **members: object) -> dict[str, object]:
    return {name: value for name, value in {**key.jwk, **members}.items() if value is not None}


def taken(key: dict[str, object]) -> bool:
    """Tell whether a key is taken that stands beside a good one."""
    found = parse(P256, other(EDWARDS, kid="beside"), key)
    return len(found.keys) == 3


def test_only_asymmetric_algorithms_are_taken() -> None:
    families = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
    assert set(ALGORITHMS) == families


def test_a_key_is_found_by_its_id() -> None:
    found = parse(RSA, P256, EDWARDS).find("p256", "ES256")
    assert found is not None
    assert found.id == "p256"


@pytest.mark.parametrize("algorithm", ["RS256", "ES384", "EdDSA", "HS256", "none", "ES256K", ""])
def test_a_key_of_that_id_for_another_algorithm_is_not_found(algorithm: str) -> None:
    assert parse(RSA, P256, EDWARDS).find("p256", algorithm) is None


def test_a_key_is_for_the_algorithm_that_it_names_only() -> None:
    keys = parse(RSA)
    assert keys.find("rsa", "RS256") is not None
    assert keys.find("rsa", "PS256") is None
    assert keys.find("rsa", "RS512") is None


def test_an_rsa_key_that_names_no_algorithm_is_for_those_of_rsa() -> None:
    keys = parse(other(RSA, alg=None))
    assert all(keys.find("rsa", name) is not None for name in ALGORITHMS if name[:2] in {"RS", "PS"})
    assert all(keys.find("rsa", name) is None for name in ALGORITHMS if name[:2] not in {"RS", "PS"})


def test_another_id_or_none_is_not_taken_for_it() -> None:
    keys = parse(RSA, other(P256, kid=None))
    assert keys.find("RSA", "RS256") is None
    assert keys.find("p256", "ES256") is None


def test_a_token_without_an_id_means_the_only_key_that_fits() -> None:
    second = SigningKey("second", "RS256", private_key("RS256", 1))
    found = parse(RSA, P256).find(None, "RS256")
    assert found is not None
    assert found.id == "rsa"
    assert parse(RSA, second, P256).find(None, "RS256") is None
    assert parse(P256).find(None, "RS256") is None


def test_two_keys_of_one_id_for_one_algorithm_are_none() -> None:
    twin = SigningKey("rsa", "RS256", private_key("RS256", 1))
    assert parse(RSA, twin).find("rsa", "RS256") is None
    assert parse(RSA, other(twin, alg="PS256")).find("rsa", "RS256") is not None


@pytest.mark.parametrize(
    "members", [{"use": None}, {"key_ops": ["verify"]}, {"use": None, "alg": None}, {"x5c": ["-"]}]
)
def test_keys_for_signatures_are_taken(members: dict[str, object]) -> None:
    assert taken(other(RSA, **members))


@pytest.mark.parametrize(
    "members",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": []},
        {"alg": "HS256"},
        {"alg": "RSA-OAEP"},
        {"alg": "none"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC"},
        {"kty": "unheard-of"},
        {"kty": None},
        {"kid": 1},
        {"n": None},
        {"n": "AQAB"},
        {"n": ""},
        {"n": "é"},
        {"e": ""},
        {"e": "AA"},
        {"d": "AQAB"},
    ],
)
def test_keys_for_other_ends_and_broken_ones_are_left_out(members: dict[str, object]) -> None:
    assert not taken(other(RSA, **members))


@pytest.mark.parametrize("members", [{"crv": "P-384"}, {"crv": "secp256k1"}, {"crv": None}, {"x": "AA"}, {"y": None}])
def test_points_that_are_not_on_their_curve_are_left_out(members: dict[str, object]) -> None:
    assert not taken(other(P256, kid="again", **members))


@pytest.mark.parametrize("members", [{"crv": "X25519"}, {"crv": "P-256"}, {"x": "AA"}, {"x": None}])
def test_other_octet_keys_are_left_out(members: dict[str, object]) -> None:
    assert not taken(other(EDWARDS, kid="again", **members))


@pytest.mark.parametrize("entry", [None, 1, "key", [], {}])
def test_what_is_no_key_is_left_out(entry: object) -> None:
    assert len(KeySet.parse(document([RSA.jwk, entry])).keys) == 1


def test_a_curve_for_another_algorithm_is_left_out() -> None:
    curve = SigningKey("k", "ES256K", ec.generate_private_key(ec.SECP256K1()))
    assert not taken(curve.jwk)
    assert not taken(other(curve, alg=None))


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_keys_are_left_out(bits: int) -> None:
    assert not taken(SigningKey("short", "RS256", private_key("RS256", bits=bits)).jwk)


def test_endless_rsa_keys_are_left_out() -> None:
    assert not taken(other(RSA, n="f" * 20_000))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[{}]}',
        b'{"keys":null}',
        b"<html>",
        b"\xff",
        b'{"keys":[],"keys":[]}',
        b"[" * 200_000,
        document([{}] * 1001),
    ],
)
def test_other_documents_are_no_set(raw: bytes) -> None:
    with pytest.raises(UnusableKeysError):
        KeySet.parse(raw)


def test_no_key_is_shown_by_what_holds_it() -> None:
    assert "RSAPublicKey" not in repr(parse(RSA))
