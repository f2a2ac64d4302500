"""Images as people write them on a command line."""

from dataclasses import dataclass

from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag, parse_repository, parse_tag


@dataclass(frozen=True, slots=True)
class Image:
    """A repository and what is meant of it: a tag, a digest, or (None) nothing said."""

    name: RepositoryName
    reference: Tag | Digest | None


def parse_image(text: str) -> Image:
    """Return what ``[HOST:PORT/]NAME[:TAG|@DIGEST]`` spells, or raise `ProxyError`.

    The address of this server may stand before the name, as in ``docker pull``; it is dropped. With both a tag and
    a digest the digest is meant, as clients do.
    """
    head, slash, rest = text.partition("/")
    # No segment of a repository name has a colon, so this one is an address.
    name = rest if slash and ":" in head else text
    name, at, digest = name.partition("@")
    name, colon, tag = name.partition(":")
    repository = parse_repository(name)
    if at:
        return Image(repository, Digest.parse(digest))
    return Image(repository, parse_tag(tag) if colon else None)
