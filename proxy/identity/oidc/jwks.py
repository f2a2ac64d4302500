"""The keys of a provider, as its JWK set has them (RFC 7517), and which of them may have signed a token."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import AllowedPublicKeys, ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from proxy.model.strict_json import JsonError, check_json

_RSA_BITS: Final = range(2048, 8192 + 1)
# Sets have a handful. More would make each refresh long, and each token's key slow to find.
_KEYS: Final = 1000


class _Kind(NamedTuple):
    """What a key must be to verify signatures of an algorithm (RFC 7518 §3.1, RFC 8037 §3.1)."""

    family: str
    curves: frozenset[str | None]


def _kind(family: str, *curves: str) -> _Kind:
    return _Kind(family, frozenset(curves or (None,)))


_ALGORITHMS: Final[Mapping[str, _Kind]] = {
    **{f"{scheme}{bits}": _kind("RSA") for scheme in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": _kind("EC", "P-256"),
    "ES384": _kind("EC", "P-384"),
    "ES512": _kind("EC", "P-521"),
    "EdDSA": _kind("OKP", "Ed25519", "Ed448"),
}

_MAKERS: Final[Mapping[str, Callable[[dict[str, str]], object]]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}

ALGORITHMS: Final = tuple(_ALGORITHMS)
"""What tokens may be signed by: asymmetric algorithms alone, so that no key that is published can sign."""


class UnusableKeysError(ValueError):
    """A document that is no set of keys; the message is a phrase about "it"."""


class _Jwk(msgspec.Struct):
    kty: str
    kid: str | None = None
    use: str | None = None
    key_ops: list[str] | None = None
    alg: str | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None
    d: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _JwkSet(msgspec.Struct):
    keys: list[msgspec.Raw]


_set = msgspec.json.Decoder(_JwkSet)
_jwk = msgspec.json.Decoder(_Jwk)


@dataclass(frozen=True, slots=True)
class Key:
    """A public key: `algorithm` is the only one that it is for, None where the provider did not say."""

    id: str | None
    family: str
    curve: str | None
    algorithm: str | None
    material: AllowedPublicKeys = field(repr=False)

    def fits(self, algorithm: str) -> bool:
        """Tell whether signatures of `algorithm` may be verified with it."""
        kind = _ALGORITHMS.get(algorithm)
        return (
            kind is not None
            and self.algorithm in {None, algorithm}
            and (self.family == kind.family)
            and (self.curve in kind.curves)
        )


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of a provider that can verify anything at all."""

    keys: tuple[Key, ...]

    @classmethod
    def parse(cls, raw: bytes) -> "KeySet":
        """Read a JWK set; raise `UnusableKeysError` where it is none.

        Keys of other kinds, for other ends, or too weak are left out (RFC 7517 §5). It may take long: not for the
        event loop.
        """
        try:
            check_json(raw)
            found = _set.decode(raw).keys
        except (JsonError, msgspec.MsgspecError, RecursionError):
            raise UnusableKeysError("it is no JWK set") from None
        if len(found) > _KEYS:
            raise UnusableKeysError(f"it holds more than {_KEYS} keys")
        keys = tuple(key for each in found if (key := _read(bytes(each))) is not None)
        if not keys:
            raise UnusableKeysError("it holds no key that verifies signatures of the algorithms that are taken")
        return cls(keys)

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """Return the one key that may have signed a token; None where there is none, or more than one.

        A token that names no key means the only one that fits (RFC 7515 §4.1.4 leaves `kid` to the provider).
        """
        found = [key for key in self.keys if key.fits(algorithm) and (key_id is None or key.id == key_id)]
        return found[0] if len(found) == 1 else None


def _read(raw: bytes) -> Key | None:
    try:
        jwk = _jwk.decode(raw)
        material = _material(jwk)
    except (msgspec.MsgspecError, jwt.PyJWTError, UnsupportedAlgorithm, ValueError):
        return None
    for_signatures = jwk.use in {None, "sig"} and (jwk.key_ops is None or "verify" in jwk.key_ops)
    # With a private key that is published by mistake, everyone can sign (`d`: RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2).
    if material is None or not for_signatures or jwk.d is not msgspec.UNSET:
        return None
    key = Key(jwk.kid, jwk.kty, None if jwk.kty == "RSA" else jwk.crv, jwk.alg, material)
    return key if any(map(key.fits, _ALGORITHMS)) else None


def _material(jwk: _Jwk) -> AllowedPublicKeys | None:
    members = {name: value for name in ("kty", "crv", "n", "e", "x", "y") if (value := getattr(jwk, name)) is not None}
    make = _MAKERS.get(jwk.kty)
    material = make(members) if make is not None else None
    if isinstance(material, RSAPublicKey) and material.key_size not in _RSA_BITS:
        return None
    return material  # type: ignore[return-value] # without `d` the library makes public keys only
