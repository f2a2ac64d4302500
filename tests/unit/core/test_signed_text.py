"""Texts that are known again by their signature, and nothing else that is taken for one."""

import msgspec
import pytest

from proxy.core.signed_text import SignedTexts, new_nonce

KEY, OTHER = b"k" * 32, b"o" * 32


class Note(msgspec.Struct):
    text: str


class Count(msgspec.Struct):
    number: int


def notes(*keys: bytes, context: bytes = b"note\n", limit: int = 1000) -> SignedTexts[Note]:
    return SignedTexts(Note, context, keys, limit)


def test_what_was_written_is_read_by_whoever_has_the_key() -> None:
    assert notes(KEY).read(notes(KEY).write(Note("ä"))) == Note("ä")
    assert notes(OTHER).read(notes(KEY).write(Note("ä"))) is None


def test_the_first_key_signs_and_all_of_them_are_good() -> None:
    old, new = notes(OTHER).write(Note("")), notes(KEY, OTHER).write(Note(""))
    assert notes(KEY, OTHER).read(old) == Note("")
    assert notes(KEY).read(new) == Note("")
    assert notes(OTHER).read(new) is None


def test_a_text_of_another_kind_is_none_although_one_key_signed_it() -> None:
    assert notes(KEY).read(notes(KEY, context=b"other\n").write(Note(""))) is None


def test_a_payload_of_another_form_is_none_although_it_is_signed() -> None:
    assert notes(KEY).read(SignedTexts(Count, b"note\n", [KEY], 1000).write(Count(1))) is None


@pytest.mark.parametrize("beyond", [0, 1])
def test_longer_texts_than_the_limit_are_not_read(beyond: int) -> None:
    text = notes(KEY).write(Note("a"))
    assert notes(KEY, limit=len(text) - beyond).read(text) == (None if beyond else Note("a"))


def test_no_two_nonces_are_the_same() -> None:
    assert len({new_nonce() for _ in range(100)}) == 100
