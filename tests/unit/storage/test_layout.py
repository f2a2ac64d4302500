"""Paths of a store come from one place and stay inside of it."""

from pathlib import Path

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
