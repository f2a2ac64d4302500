"""Paths of a store come from one place and stay inside of it."""

from pathlib import Path
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from proxy.model.digest import Digest
from proxy.storage.layout import Layout


@given(st.binary(max_size=8), st.sampled_from(["sha256", "sha512"]))
def test_every_file_of_a_digest_is_inside_its_own_folder(data: bytes, algorithm: str) -> None:
    layout = Layout(Path("/store"))
    digest = Digest.of(data, algorithm)
    assert layout.blob(digest).parent == Path("/store/blobs") / algorithm / digest.encoded[:2]
    assert (
        layout.part(digest).parent
        == layout.control(digest).parent
        == Path("/store/fills") / algorithm / digest.encoded[:2]
    )
    assert len({layout.blob(digest).name, layout.part(digest).name, layout.control(digest).name}) == 3


@given(st.uuids())
def test_every_file_of_an_upload_is_inside_the_folder_of_uploads(upload: UUID) -> None:
    layout = Layout(Path("/store"))
    paths = {layout.session_record(upload), layout.session_part(upload)}
    assert len(paths) == 2
    assert {path.parent for path in paths} == {Path("/store/sessions")}
    assert {path.stem for path in paths} == {str(upload)}


def test_no_two_kinds_of_content_share_a_folder() -> None:
    layout = Layout(Path("/store"))
    assert len({layout.root, layout.blobs, layout.fills, layout.sessions, layout.uploads, layout.database}) == 6
