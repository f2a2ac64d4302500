"""Uploads against a plain string of bytes: whatever clients do, `status` tells what is stored, and nothing else is."""

import asyncio
import tempfile
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from proxy.config.settings import UploadSettings
from proxy.core.admission import Admission
from proxy.core.policy import Policy
from proxy.core.ports import BlobStore
from proxy.core.registry.creation import RepositoryCreator
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.repositories import RepositoryService
from proxy.core.rules import Address, Resolution, RuleBook, RuleSet
from proxy.core.upload_ports import UploadStore
from proxy.core.uploads import Chunk, UploadRangeError, UploadService
from proxy.model.chunk import ChunkRange
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import ANONYMOUS, Principal
from proxy.model.reference import RepositoryName
from proxy.storage.blobs import FilesystemBlobStore
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.layout import Layout
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.threads import Threads
from proxy.storage.uploads import FilesystemUploadStore
from proxy.storage.uploads.memory import MemoryUploadStore
from proxy.telemetry.metrics import Metrics
from tests.support.bodies import BrokenBodyError, StandingBody, body, broken
from tests.support.clock import FakeClock

T = TypeVar("T")

RULES = RuleBook(RuleSet(()))
NAMES = [RepositoryName("team/app"), RepositoryName("team/other")]
PRINCIPALS = [ANONYMOUS, Principal("alice")]
EXPIRY = UploadSettings().expire_after.total_seconds()

MIB = 1 << 20

bodies = st.lists(st.sampled_from([0, 1, 2, 300, MIB - 1, MIB]), max_size=4)
algorithms = st.sampled_from(["sha256", "sha512"])
names = st.sampled_from(NAMES)


@dataclass(eq=False)
class Known:
    """An upload as its client knows it. `grown` is when it got bytes, `used` when it was last written to at all."""

    id: str
    name: RepositoryName
    principal: Principal
    grown: float
    used: float
    content: bytes = b""
    over: bool = False


class Uploads(RuleBasedStateMachine):
    """Clients of a service that may be restarted at any time, and what they know."""

    uploads = Bundle("uploads")
    store: BlobStore
    sessions: UploadStore
    expires = True

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock, self.metadata = FakeClock(), MemoryMetadataStore()
        self.known: list[Known] = []
        self.told: ProxyError | None = None
        self.pushed: dict[Digest, tuple[bytes, set[RepositoryName]]] = {}
        self.open_stores()
        self.start()

    def open_stores(self) -> None:
        self.store = blobs = MemoryBlobStore()
        self.sessions = MemoryUploadStore(blobs, self.clock.now)

    def start(self) -> None:
        creator = RepositoryCreator(self.metadata, RegistryIdentity(), self.clock)
        repositories = RepositoryService(self.metadata, creator, self.clock, Policy())
        admission, configured = Admission(self.store, 0), UploadSettings()
        self.service = UploadService(
            self.sessions, self.store, self.metadata, RULES, repositories, admission, configured, Metrics()
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.runner.close()

    # --- what a client does ---

    async def attempt(self, upload: Known, work: Awaitable[object]) -> ErrorCode | None:
        """Return why the request was refused, or None; `told` is the refusal."""
        upload.used = self.clock.now()
        try:
            await work
        except ProxyError as error:
            self.told = error
            return error.code
        return None

    def append(self, upload: Known, chunk: Chunk) -> ErrorCode | None:
        return self.run(self.attempt(upload, self.service.append(*place(upload), chunk)))

    def finish(self, upload: Known, digest: Digest, chunk: Chunk) -> ErrorCode | None:
        return self.run(self.attempt(upload, self.service.finish(*place(upload), digest, chunk)))

    def check_refusal(self, upload: Known, refused: ErrorCode | None) -> None:
        """Show that a chunk that does not fit was refused, and the client told where to go on."""
        assert refused is (ErrorCode.BLOB_UPLOAD_UNKNOWN if upload.over else ErrorCode.BLOB_UPLOAD_INVALID)
        if not upload.over:
            assert isinstance(self.told, UploadRangeError)
            assert self.told.status.size == len(upload.content)

    def grow(self, upload: Known, content: bytes) -> None:
        if content and not upload.over:
            upload.content += content
            upload.grown = upload.used = self.clock.now()

    # --- the rules ---

    @rule(target=uploads, name=names, principal=st.sampled_from(PRINCIPALS), algorithm=algorithms)
    def begin(self, name: RepositoryName, principal: Principal, algorithm: str) -> Known:
        resolution, now = RULES.current.resolve(Address(name)), self.clock.now()
        upload = Known(self.run(self.service.begin(resolution, principal, algorithm)).id, name, principal, now, now)
        self.known.append(upload)
        return upload

    @rule(upload=uploads, sizes=bodies, ranged=st.booleans(), measured=st.booleans())
    def send_chunk(self, upload: Known, sizes: list[int], *, ranged: bool, measured: bool) -> None:
        content = b"".join(pieces_of(sizes))
        span = span_of(upload, content) if ranged else None
        refused = self.append(upload, Chunk(body(*pieces_of(sizes)), span, len(content) if measured else None))
        assert refused == (ErrorCode.BLOB_UPLOAD_UNKNOWN if upload.over else None)
        self.grow(upload, content)

    @rule(upload=uploads, sizes=bodies, shift=st.sampled_from([-1, 1, -1000, 1000]), last=st.booleans())
    def send_chunk_out_of_order(self, upload: Known, sizes: list[int], shift: int, *, last: bool) -> None:
        content = b"".join(pieces_of(sizes)) or b"z"
        first = max(0, len(upload.content) + shift)
        if first == len(upload.content):
            return
        chunk = Chunk(body(content), ChunkRange(first, first + len(content) - 1), len(content))
        digest = Digest.of(upload.content + content)
        refused = self.finish(upload, digest, chunk) if last else self.append(upload, chunk)
        self.check_refusal(upload, refused)

    @rule(upload=uploads, sizes=bodies, error=st.sampled_from([-1, 1, 5, 1 << 20]), measured=st.booleans())
    def send_chunk_of_wrong_length(self, upload: Known, sizes: list[int], error: int, *, measured: bool) -> None:
        content = b"".join(pieces_of(sizes))
        if len(content) + error < 1:
            return
        first = len(upload.content)
        span = ChunkRange(first, first + len(content) + error - 1)
        refused = self.append(upload, Chunk(body(*pieces_of(sizes)), span, len(content) if measured else None))
        self.check_refusal(upload, refused)

    @rule(upload=uploads, sizes=bodies, ranged=st.booleans())
    def break_off(self, upload: Known, sizes: list[int], *, ranged: bool) -> None:
        content = b"".join(pieces_of(sizes))
        span = span_of(upload, content + b"!") if ranged else None
        try:
            refused = self.append(upload, Chunk(broken(*pieces_of(sizes)), span))
        except BrokenBodyError:
            assert not upload.over
            self.grow(upload, content)
        else:
            assert upload.over
            assert refused is ErrorCode.BLOB_UPLOAD_UNKNOWN

    @precondition(lambda self: any(not upload.over for upload in self.known))
    @rule(data=st.data(), sizes=bodies, rival=bodies, cancelled=st.booleans())
    def stand_still(self, data: st.DataObject, sizes: list[int], rival: list[int], *, cancelled: bool) -> None:
        upload = data.draw(st.sampled_from([upload for upload in self.known if not upload.over]))
        self.run(self._stand_still(upload, sizes, rival, cancelled=cancelled))
        self.grow(upload, b"".join(pieces_of(sizes)))

    async def _stand_still(self, upload: Known, sizes: list[int], rival: list[int], *, cancelled: bool) -> None:
        standing, before = StandingBody(*pieces_of(sizes)), len(upload.content)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.service.append(*place(upload), Chunk(standing.read())))
            await standing.stands.wait()
            with pytest.raises(UploadRangeError) as raised:
                await self.service.append(*place(upload), Chunk(body(*pieces_of(rival))))
            assert before <= raised.value.status.size <= before + sum(sizes)
            if cancelled:
                task.cancel()
            standing.go_on.set()
        assert task.cancelled() == cancelled

    @rule(upload=uploads, sizes=bodies, algorithm=algorithms, ranged=st.booleans(), right=st.booleans())
    def end(self, upload: Known, sizes: list[int], algorithm: str, *, ranged: bool, right: bool) -> None:
        content = b"".join(pieces_of(sizes))
        whole = upload.content + content
        digest = Digest.of(whole if right else whole + b"?", algorithm)
        span = span_of(upload, content) if ranged else None
        refused = self.finish(upload, digest, Chunk(body(*pieces_of(sizes)), span))
        if upload.over:
            assert refused is ErrorCode.BLOB_UPLOAD_UNKNOWN
            return
        assert refused is (None if right else ErrorCode.DIGEST_INVALID)
        upload.over = True
        if right:
            self.pushed.setdefault(digest, (whole, set()))[1].add(upload.name)

    @rule(upload=uploads)
    def cancel(self, upload: Known) -> None:
        refused = self.run(self.attempt(upload, self.service.cancel(*place(upload))))
        assert refused is (ErrorCode.BLOB_UPLOAD_UNKNOWN if upload.over else None)
        upload.over = True

    @rule(upload=uploads, name=names, principal=st.sampled_from([*PRINCIPALS, Principal("eve")]), sizes=bodies)
    def trespass(self, upload: Known, name: RepositoryName, principal: Principal, sizes: list[int]) -> None:
        if (name, principal) == (upload.name, upload.principal):
            return
        other = Known(upload.id, name, principal, 0, 0)
        refusals = {
            self.append(other, Chunk(body(*pieces_of(sizes)))),
            self.finish(other, Digest.of(upload.content), Chunk(body())),
            self.run(self.attempt(other, self.service.cancel(*place(other)))),
        }
        assert refusals == {ErrorCode.BLOB_UPLOAD_UNKNOWN}

    @rule(seconds=st.sampled_from([1, EXPIRY / 2, EXPIRY, EXPIRY + 1]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.expires)
    @rule()
    def expire(self) -> None:
        self.run(self.service.expire())
        now = self.clock.now()
        for upload in self.known:
            gone = self.run(self.sessions.find(upload.id)) is None
            if not upload.over:
                assert not gone or now - upload.grown > EXPIRY
                assert gone or now - upload.used <= EXPIRY
            upload.over = gone

    @rule()
    def restart(self) -> None:
        self.start()

    # --- what is true ---

    @invariant()
    def status_tells_what_is_stored(self) -> None:
        for upload in self.known:
            try:
                size = self.run(self.service.status(*place(upload))).size
            except ProxyError as error:
                if error.code is not ErrorCode.BLOB_UPLOAD_UNKNOWN:
                    raise
                assert upload.over
            else:
                assert (size, upload.over) == (len(upload.content), False)

    @invariant()
    def blobs_are_what_was_pushed(self) -> None:
        found = self.run(self._blobs())
        assert found == {digest: content for digest, (content, _) in self.pushed.items()}
        for digest, (_, holders) in self.pushed.items():
            assert set(self.run(self.metadata.holders(digest, 9))) == holders

    async def _blobs(self) -> dict[Digest, bytes]:
        found: dict[Digest, bytes] = {}
        async for digest, _ in self.store.scan():
            reader = await self.store.open(digest)
            assert reader is not None
            found[digest] = b""
            try:
                while part := await reader.read(len(found[digest]), MIB):
                    found[digest] += part
            finally:
                reader.close()
        return found


class UploadsInFiles(Uploads):
    """The same over files; a restart opens them anew, and what expires there is a matter of their own tests."""

    expires = False

    def open_stores(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="uploads-")
        self.layout, self.threads = Layout(Path(self.folder.name)), Threads("disk", 4)
        self.open_files()
        self.run(self.blobs.prepare())

    def open_files(self) -> None:
        self.store = self.blobs = FilesystemBlobStore(self.layout, self.threads)
        self.sessions = FilesystemUploadStore(self.layout, self.threads)

    @rule()
    def restart(self) -> None:
        self.open_files()
        self.start()

    def teardown(self) -> None:
        super().teardown()
        self.threads.close()
        self.folder.cleanup()


def place(upload: Known) -> tuple[Resolution, Principal, str]:
    return RULES.current.resolve(Address(upload.name)), upload.principal, upload.id


def pieces_of(sizes: list[int]) -> list[bytes]:
    return [bytes([65 + number]) * size for number, size in enumerate(sizes)]


def span_of(upload: Known, content: bytes) -> ChunkRange | None:
    """Return where a chunk of that content belongs; an empty one has no range."""
    first = len(upload.content)
    return ChunkRange(first, first + len(content) - 1) if content else None


Uploads.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
UploadsInFiles.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)

TestUploads = Uploads.TestCase
TestUploadsInFiles = UploadsInFiles.TestCase
