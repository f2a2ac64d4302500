"""Ids of uploads come from the network and become paths: one spelling counts."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from proxy.storage.uploads.record import parse_id


@given(st.one_of(st.text(), st.uuids().map(str), st.uuids().map(lambda value: value.urn)))
def test_an_id_is_read_only_in_the_spelling_in_which_it_is_written(text: str) -> None:
    parsed = parse_id(text)
    assert parsed is None or str(parsed) == text


@given(st.uuids())
def test_every_uuid_is_an_id(upload: UUID) -> None:
    assert parse_id(str(upload)) == upload
    assert parse_id(upload.hex) is parse_id(f" {upload}") is parse_id(f"{{{upload}}}") is None
