"""Pushes by a client that writes down what was acknowledged, and may lose its registry at any moment."""

import http.client
import json
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from tests.support.images import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Image, digest_of

GONE = (OSError, http.client.HTTPException)
"""What requests raise where the registry goes away."""

PIECE = 1 << 16
# A small buffer: what a client has written is then nearly what its registry has read.
_BUFFER = 1 << 16


class Way(Enum):
    """How a blob is pushed: each is one that the distribution-spec names (§ Pushing Blobs)."""

    SINGLE = "POST with the content"
    WHOLE = "POST, PUT with the content"
    STREAM = "POST, PATCH with the content, PUT"
    CHUNKS = "POST, PATCH with each chunk, PUT with the last"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Return code and message of each error."""
        return [(error["code"], error["message"]) for error in json.loads(self.body)["errors"]]

    @property
    def end(self) -> int:
        """Return how many bytes of an upload the registry has: ``Range: 0-0`` is said of none, and of one."""
        found = re.fullmatch(r"0-(\d+)", self.headers["Range"])
        assert found is not None, self.headers["Range"]
        return int(found[1]) + 1 if found[1] != "0" else 0


@dataclass(kw_only=True)
class Push:
    """Something on its way, as its client knows it.

    `sent` bytes were given to a socket. `ended`: the last byte of the last request was. `stored`: its 201 was read.
    """

    sent: int = 0
    ended: bool = False
    stored: bool = False


@dataclass
class BlobPush(Push):
    """A blob on its way: `location` is that of its upload once it has one, `acknowledged` bytes of it were taken."""

    content: bytes
    way: Way
    digest: str = field(init=False)
    location: str | None = field(default=None, init=False)
    acknowledged: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.digest = digest_of(self.content)


@dataclass
class ManifestPush(Push):
    """A manifest on its way to a tag."""

    image: Image
    tag: str


@dataclass
class Pusher:
    """One repository of a registry on 127.0.0.1, over connections of its own; one request at a time in a thread.

    `on_sent` is called with the number of bytes after each piece of a body.
    """

    port: int
    repository: str
    on_sent: Callable[[int], None] = field(default=lambda _: None)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        push: Push | None = None,
    ) -> Answer:
        """Send one request, of `push` if it is part of one; raise `GONE` where the registry goes away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.sock = socket.socket()
        try:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            connection.sock.settimeout(120)
            connection.sock.connect(("127.0.0.1", self.port))
            connection.putrequest(method, path)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders()
            for start in range(0, len(body), PIECE):
                piece = body[start : start + PIECE]
                if push is not None:
                    push.sent += len(piece)
                connection.send(piece)
                self.on_sent(len(piece))
            if push is not None and method != "PATCH":
                push.ended = True
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def begin(self, push: BlobPush) -> None:
        """Open an upload for the blob, and forget an earlier one."""
        answer = self.request("POST", f"/v2/{self.repository}/blobs/uploads/")
        assert answer.status == 202, answer
        push.location, push.acknowledged, push.sent = answer.headers["Location"], 0, 0

    def status(self, push: BlobPush) -> Answer:
        """Ask how far the upload of the blob is."""
        assert push.location is not None
        answer = self.request("GET", push.location)
        push.location = answer.headers.get("Location", push.location)
        return answer

    def patch(self, push: BlobPush, stop: int) -> None:
        """Send the bytes up to `stop` that are not acknowledged yet."""
        assert push.location is not None
        start = push.acknowledged
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{stop - 1}"}
        if push.way is Way.STREAM:
            del headers["Content-Range"]
        answer = self.request("PATCH", push.location, push.content[start:stop], headers, push)
        assert answer.status == 202, answer
        assert answer.headers["Range"] == f"0-{stop - 1}"
        push.location, push.acknowledged = answer.headers["Location"], stop

    def finish(self, push: BlobPush) -> Answer:
        """End the upload with the bytes that are not acknowledged yet."""
        assert push.location is not None
        path = f"{push.location}{'&' if '?' in push.location else '?'}digest={push.digest}"
        rest = push.content[push.acknowledged :]
        headers = {"Content-Type": "application/octet-stream"}
        if rest and push.way is Way.CHUNKS:
            headers["Content-Range"] = f"{push.acknowledged}-{len(push.content) - 1}"
        return self._store(push, self.request("PUT", path, rest, headers, push))

    def push_blob(self, push: BlobPush, chunks: int = 4) -> None:
        """Push a blob in its way, from its beginning."""
        size = len(push.content)
        if push.way is Way.SINGLE:
            path = f"/v2/{self.repository}/blobs/uploads/?digest={push.digest}"
            headers = {"Content-Type": "application/octet-stream"}
            self._store(push, self.request("POST", path, push.content, headers, push))
            return
        self.begin(push)
        stops = {Way.STREAM: [size], Way.CHUNKS: [size * part // chunks for part in range(1, chunks)]}
        for stop in stops.get(push.way, []):
            self.patch(push, stop)
        self.finish(push)

    def resume(self, push: BlobPush) -> None:
        """Ask for the status of the upload and send what is missing."""
        answer = self.status(push)
        assert answer.status == 204, answer
        push.acknowledged = answer.end
        self.finish(push)

    def push_manifest(self, push: ManifestPush) -> Answer:
        """Put the manifest to its tag; only a 201 counts as stored."""
        path = f"/v2/{self.repository}/manifests/{push.tag}"
        answer = self.request("PUT", path, push.image.manifest, {"Content-Type": push.image.media_type}, push)
        push.stored = answer.status == 201
        return answer

    def manifest(self, reference: str) -> Answer:
        accepted = f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}"
        return self.request("GET", f"/v2/{self.repository}/manifests/{reference}", headers={"Accept": accepted})

    def has_blob(self, digest: str) -> bool:
        answer = self.request("HEAD", f"/v2/{self.repository}/blobs/{digest}")
        assert answer.status in {200, 404}, answer
        return answer.status == 200

    def tags(self) -> list[str]:
        """Return the tags of the repository, none where there is no such repository."""
        answer = self.request("GET", f"/v2/{self.repository}/tags/list")
        assert answer.status in {200, 404}, answer
        found: list[str] = json.loads(answer.body).get("tags") or []
        return found

    def _store(self, push: BlobPush, answer: Answer) -> Answer:
        assert answer.status == 201, answer
        push.stored = True
        return answer
