"""How clients pull: the requests that each of them makes for one image of an index, replayed.

Taken from the sources of containerd 2.4, dockerd 20.10 to 29, containers/image 5 (skopeo, podman), go-containerregistry
(crane), oras-go 2 and regclient: methods, spelling and number of Accept lines, ranges, and how each addresses a mirror.
"""

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy.model.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.integration.scenarios.product import Answered, Registry, sha256

Line = tuple[str, str]

_DISTRIBUTION = (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX)
_SCHEMA1 = ("application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json")
_ENCODINGS = ("Accept-Encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5")


@dataclass
class Place:
    """Where a client finds a repository: `registry` speaks for the main listener, `mirror` for the rule's own.

    `name` is the upstream's name of the repository, `host` the upstream's own and `namespace` how containerd calls it.
    """

    registry: Registry
    mirror: Registry
    prefix: str
    name: str
    host: str
    namespace: str


@dataclass
class Pulled:
    """What a client got: the answers by digest, and how often it asked."""

    contents: dict[str, bytes] = field(default_factory=dict)
    top: str = ""


@dataclass
class _Way:
    """A client's path to a repository: what stands before ``/manifests`` and what after the reference."""

    registry: Registry
    before: str
    query: str = ""
    pulled: Pulled = field(default_factory=Pulled)

    def path(self, kind: str, reference: str) -> str:
        return f"{self.before}/{kind}/{reference}{self.query}"

    async def resolve(self, tag: str, *lines: Line) -> str:
        """HEAD a tag, as clients do that then fetch by digest; they need all three headers."""
        answered = await self.registry.head(self.path("manifests", tag), *lines)
        assert answered.status == 200, answered
        assert int(answered.headers["Content-Length"]) > 0
        assert answered.headers["Content-Type"]
        self.pulled.top = answered.headers["Docker-Content-Digest"]
        return self.pulled.top

    async def manifest(self, reference: str, *lines: Line) -> Any:  # noqa: ANN401 - JSON
        answered = await self.registry.ask(self.path("manifests", reference), *lines)
        digest = answered.headers.get("Docker-Content-Digest", "")
        self._check(answered, reference if ":" in reference else digest)
        assert answered.headers["Docker-Content-Digest"] == sha256(answered.body)
        if ":" not in reference:
            self.pulled.top = digest
        document = json.loads(answered.body)
        assert answered.headers["Content-Type"] == document["mediaType"]
        return document

    async def blob(self, digest: str, *lines: Line) -> bytes:
        answered = await self.registry.ask(self.path("blobs", digest), *lines)
        self._check(answered, digest)
        return answered.body

    def _check(self, answered: Answered, digest: str) -> None:
        assert answered.status in {200, 206}, answered
        assert answered.whole
        assert "Content-Encoding" not in answered.headers
        assert int(answered.headers["Content-Length"]) == len(answered.body)
        assert sha256(answered.body) == digest
        self.pulled.contents[digest] = answered.body


def accepting(*types: str) -> Line:
    """Return one line with all types."""
    return "Accept", ", ".join(types)


def accepting_each(*types: str) -> tuple[Line, ...]:
    """Return a line for each type."""
    return tuple(("Accept", each) for each in types)


async def containerd(place: Place, tag: str) -> Pulled:
    """HEAD the tag, GET by digest; the host it means is in ``ns``."""
    return await _containerd(_Way(place.registry, f"/v2/{place.name}", f"?ns={place.namespace}"), tag)


async def dockerd_with_containerd_store(place: Place, tag: str) -> Pulled:
    """As containerd, at a mirror URL with a path, to which it appends ``/v2``."""
    return await _containerd(_Way(place.registry, f"/{place.prefix}/v2/{place.name}", f"?ns={place.namespace}"), tag)


async def buildkit(place: Place, tag: str) -> Pulled:
    """As containerd, with the path of the mirror after ``/v2``."""
    return await _containerd(_Way(place.registry, f"/v2/{place.prefix}/{place.name}", f"?ns={place.namespace}"), tag)


async def _containerd(way: _Way, tag: str) -> Pulled:
    digest = await way.resolve(tag, accepting(*_DISTRIBUTION, "*/*"))
    index = await way.manifest(digest, accepting(OCI_INDEX, "*/*"), _ENCODINGS)
    image = await way.manifest(_amd64(index), accepting(OCI_MANIFEST, "*/*"), _ENCODINGS)
    for blob in _blobs(image):
        await way.blob(blob["digest"], accepting(blob["mediaType"], "*/*"), _ENCODINGS)
    return way.pulled


async def dockerd(place: Place, tag: str) -> Pulled:
    """Ping, HEAD with many Accept lines in any order, GET by digest; the mirror is a listener of its own, no ``ns``."""
    way = _Way(place.mirror, f"/v2/{place.name}")
    assert (await way.registry.ask("/v2/")).status == 200
    lines = accepting_each(*_SCHEMA1, *_DISTRIBUTION)
    digest = await way.resolve(tag, *reversed(lines))
    index = await way.manifest(digest, *lines[2:], *lines[:2])
    image = await way.manifest(_amd64(index), *lines)
    for blob in _blobs(image):
        await way.blob(blob["digest"], ("Accept-Encoding", "identity"))
    return way.pulled


async def skopeo(place: Place, tag: str) -> Pulled:
    """Ping, GET the tag with six Accept lines, GET the child; the name is rewritten below the prefix."""
    way = _Way(place.registry, f"/v2/{place.prefix}/{place.name}")
    assert (await way.registry.ask("/v2/")).status == 200
    version = ("Docker-Distribution-API-Version", "registry/2.0")
    lines = (*accepting_each(OCI_MANIFEST, DOCKER_MANIFEST, *_SCHEMA1, DOCKER_LIST, OCI_INDEX), version)
    index = await way.manifest(tag, *lines)
    image = await way.manifest(_amd64(index), *lines)
    for blob in _blobs(image):
        await way.blob(blob["digest"], version)
    return way.pulled


async def crane(place: Place, tag: str) -> Pulled:
    """Ping before each operation, GET the tag, GET the child; blobs whole, of the length of their descriptors."""
    way = _Way(place.registry, f"/v2/{place.prefix}/{place.name}")
    assert (await way.registry.ask("/v2/")).status == 200
    line = accepting(*_SCHEMA1[:1], *_DISTRIBUTION)
    index = await way.manifest(tag, line)
    image = await way.manifest(_amd64(index), line)
    for blob in _blobs(image):
        assert (await way.registry.ask("/v2/")).status == 200
        assert len(await way.blob(blob["digest"], ("Accept-Encoding", "gzip"))) == blob["size"]
    return way.pulled


async def oras(place: Place, tag: str) -> Pulled:
    """HEAD the tag, GET with exactly the type it had; seek in blobs that say Accept-Ranges."""
    way = _Way(place.registry, f"/v2/{place.prefix}/{place.name}")
    digest = await way.resolve(tag, accepting(*_DISTRIBUTION))
    index = await way.manifest(digest, accepting(OCI_INDEX))
    image = await way.manifest(_amd64(index), accepting(OCI_MANIFEST))
    for blob in _blobs(image):
        head = await way.registry.head(way.path("blobs", blob["digest"]))
        assert (head.status, head.headers["Accept-Ranges"]) == (200, "bytes")
        assert int(head.headers["Content-Length"]) == blob["size"]
        await way.blob(blob["digest"])
    return way.pulled


async def regctl(place: Place, tag: str) -> Pulled:
    """HEAD and GET with ``ns`` of the upstream's own host; it resumes with an end one past the last byte."""
    way = _Way(place.registry, f"/v2/{place.name}", f"?ns={place.host}")
    line = accepting(OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
    digest = await way.resolve(tag, line)
    index = await way.manifest(digest, line)
    image = await way.manifest(_amd64(index), line)
    for blob in _blobs(image):
        content = await way.blob(blob["digest"])
        half, size = len(content) // 2, blob["size"]
        if half:
            rest = await way.registry.ask(way.path("blobs", blob["digest"]), ("Range", f"bytes={half}-{size}"))
            assert (rest.status, rest.body) == (206, content[half:])
            assert rest.headers["Content-Range"] == f"bytes {half}-{size - 1}/{size}"
    return way.pulled


Style = Callable[[Place, str], Awaitable[Pulled]]
STYLES: dict[str, Style] = {
    each.__name__: each
    for each in (containerd, dockerd, dockerd_with_containerd_store, buildkit, skopeo, crane, oras, regctl)
}
"""Every client, by its name."""


def _amd64(index: Any) -> str:  # noqa: ANN401 - JSON
    chosen = [each for each in index["manifests"] if each["platform"]["architecture"] == "amd64"]
    digest: str = chosen[0]["digest"]
    return digest


def _blobs(image: Any) -> Iterator[Any]:  # noqa: ANN401 - JSON
    yield image["config"]
    yield from image["layers"]
