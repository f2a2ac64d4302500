import pytest

from proxy.cli.image import Image, parse_image
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError
from proxy.model.reference import RepositoryName, Tag

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "name", "reference"),
    [
        ("nginx", "nginx", None),
        ("a/b/c", "a/b/c", None),
        ("a/b:1.2-x", "a/b", Tag("1.2-x")),
        (f"a/b@{DIGEST}", "a/b", Digest.parse(DIGEST)),
        (f"a/b:tag@{DIGEST}", "a/b", Digest.parse(DIGEST)),
        ("localhost:5000/a/b:t", "a/b", Tag("t")),
        ("[::1]:5000/a", "a", None),
        ("docker.io/library/a", "docker.io/library/a", None),
    ],
)
def test_images_are_read_as_clients_spell_them(text: str, name: str, reference: Tag | Digest | None) -> None:
    assert parse_image(text) == Image(RepositoryName(name), reference)


@pytest.mark.parametrize("text", ["", "/", "a:", "a@", "A", "a:b:c", "a@sha256:0", "a b", "localhost:5000/", "a@tag"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ProxyError):
        parse_image(text)
