"""Encryption of secrets at rest: AES-256-GCM (NIST SP 800-38D)."""

import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.core.registry.secrets.ports import UnsealableError

_FORMAT: Final = b"\x01"  # so that another cipher can follow
_NONCE: Final = 12


class AesGcmSealer:
    """The `Sealer` port. The first of `keys`, 32 bytes each, seals; all of them open, so that keys can be replaced.

    A sealed text is a byte that names the format, the nonce, and the ciphertext with its tag. The purpose is
    authenticated with it: nobody can pass one secret off as another.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take the keys; ValueError where there is none."""
        if not keys:
            raise ValueError("nothing can be sealed without a key")
        self._ciphers = [AESGCM(key) for key in keys]

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """Return `plain`, encrypted with a nonce of its own."""
        nonce = os.urandom(_NONCE)
        return _FORMAT + nonce + self._ciphers[0].encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return what was sealed, or raise `UnsealableError`."""
        if not sealed.startswith(_FORMAT):
            raise UnsealableError("it is of a format that this version does not know")
        nonce, ciphertext = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, ciphertext, purpose.encode())
            except (InvalidTag, ValueError):  # ValueError: cut short
                continue
        raise UnsealableError("it was sealed with another key, for another purpose, or was altered")
