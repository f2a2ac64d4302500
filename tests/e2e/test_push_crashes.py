"""The server is killed while clients push: what was acknowledged is there, and nothing half done is seen."""

import random
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.model.digest import Digest
from tests.support import images, parts
from tests.support.downloads import download
from tests.support.images import digest_of
from tests.support.pullthrough import Pullthrough
from tests.support.pushes import GONE, BlobPush, ManifestPush, Pusher, Way
from tests.support.traces import finished

pytestmark = pytest.mark.e2e

MIB = 1 << 20
KILLS = 20
SIZE = 4 * MIB + 1000
MANIFESTS = 8
TOTAL = len(Way) * SIZE


class Fuse:
    """Kills the server once its clients have sent so many bytes."""

    def __init__(self, proxy: Pullthrough, count: int) -> None:
        self._proxy = proxy
        self._left = count
        self._lock = threading.Lock()

    def burn(self, count: int) -> None:
        with self._lock:
            burnt, self._left = self._left <= 0, self._left - count
            if not burnt and self._left <= 0:
                self._proxy.kill()


class Round:
    """What is pushed to a repository of its own until the server is killed: a blob in each way, then manifests."""

    def __init__(self, number: int, port: int) -> None:
        content = images.noise(number, TOTAL)
        layers = [content[start : start + SIZE] for start in range(0, len(content), SIZE)]
        image = images.of_blobs(content[:100], layers)
        self.pusher = Pusher(port, f"team/round-{number}")
        self.blobs = [BlobPush(layer, way) for layer, way in zip(layers, Way, strict=True)]
        self.blobs.append(BlobPush(content[:100], Way.WHOLE))
        self.manifests = [ManifestPush(each, f"v{tag}") for tag, each in enumerate(images.variants(image, MANIFESTS))]

    def push(self) -> None:
        """Push the blobs at the same time, then the manifests, as far as it goes."""
        with ThreadPoolExecutor(len(self.blobs)) as connections:
            whole = all(connections.map(self._push_blob, self.blobs))
        if whole:
            with ThreadPoolExecutor(3) as connections:
                list(connections.map(self._push_manifest, self.manifests))

    def check(self) -> None:
        """Compare what is seen of it after the crash with what was acknowledged before."""
        tags = self.pusher.tags()
        for manifest in self.manifests:
            by_tag, by_digest = self.pusher.manifest(manifest.tag), self.pusher.manifest(manifest.image.digest)
            seen = {manifest.tag in tags, by_tag.status == 200, by_digest.status == 200}
            assert seen == {True} if manifest.stored else len(seen) == 1
            assert manifest.ended or seen == {False}
            if seen == {True}:
                assert by_tag.body == by_digest.body == manifest.image.manifest
        for blob in self.blobs:
            there = self.pusher.has_blob(blob.digest)
            assert there if blob.stored else blob.ended or not there
            blob.stored = there
            if there:
                path = f"/v2/{self.pusher.repository}/blobs/{blob.digest}"
                done = download(self.pusher.port, path, blob.content)
                assert (done.right, done.whole) == (True, True)

    def complete(self) -> int:
        """Go on where each upload is, and push what has none; return how many uploads had bytes to go on from."""
        resumed = 0
        for blob in self.blobs:
            if blob.stored:
                continue
            status = self.pusher.status(blob) if blob.location is not None else None
            if status is not None and status.status == 204:
                assert blob.acknowledged <= status.end <= blob.sent
                resumed += status.end > 0
                self.pusher.resume(blob)
            else:
                # No upload was acknowledged, or it ended without anybody hearing of it.
                assert blob.location is None or blob.ended
                self.pusher.push_blob(blob)
        for manifest in self.manifests:
            assert self.pusher.push_manifest(manifest).status == 201
        return resumed

    def _push_blob(self, blob: BlobPush) -> bool:
        try:
            self.pusher.push_blob(blob)
        except GONE:
            return False
        return True

    def _push_manifest(self, manifest: ManifestPush) -> bool:
        try:
            return self.pusher.push_manifest(manifest).status == 201
        except GONE:
            return False


def moments(proxy: Pullthrough) -> list[Callable[[Round], Callable[[], bool] | None]]:
    """Return what arranges each kill: by what it returns, once that holds; or with None by itself."""
    source = random.Random(4)  # noqa: S311 - moments, not secrets

    def after(count: int) -> Callable[[Round], None]:
        def arrange(round_: Round) -> None:
            round_.pusher.on_sent = Fuse(proxy, count).burn

        return arrange

    def there(digests: list[str], number: int) -> Callable[[], bool]:
        files = [proxy.layout.blob(Digest.parse(digest)) for digest in digests]
        return lambda: sum(file.exists() for file in files) >= number

    def blobs(number: int) -> Callable[[Round], Callable[[], bool]]:
        return lambda round_: there([blob.digest for blob in round_.blobs], number)

    def manifests(number: int) -> Callable[[Round], Callable[[], bool]]:
        return lambda round_: there([manifest.image.digest for manifest in round_.manifests], number)

    def written(count: int) -> Callable[[Round], Callable[[], bool]]:
        return lambda _: lambda: sum(proxy.uploads().values()) >= count

    sent = [after(source.randrange(1, TOTAL)) for _ in range(4)]
    received = [written(source.randrange(MIB, TOTAL // 2)) for _ in range(KILLS - 4 - 9)]
    committed = [blobs(number) for number in (1, 2, 4, 5)] + [manifests(number) for number in (1, 1, 2, 3, 5)]
    return source.sample([*sent, *received, *committed], KILLS)


def test_a_server_killed_at_any_moment_keeps_what_it_acknowledged_and_shows_nothing_half(tmp_path: Path) -> None:
    with Pullthrough(tmp_path / "registry", {}) as proxy, ThreadPoolExecutor(1) as client:
        rounds, resumed = [Round(number, proxy.port) for number in range(KILLS)], 0
        for round_, arrange in zip(rounds, moments(proxy), strict=True):
            reached = arrange(round_)
            pushing = client.submit(round_.push)
            while reached is not None and not reached() and not pushing.done():
                pass
            if reached is not None:
                proxy.kill()
            pushing.result()
            assert proxy.process.status is not None
            assert all(digest_of(path.read_bytes()) == digest for digest, path in proxy.stored().items())

            round_.pusher.on_sent = lambda _: None
            proxy.start()
            round_.check()
            resumed += round_.complete()
        for round_ in rounds:
            round_.check()
    assert resumed >= KILLS // 4

    settings = {"uploads": {"expire_after": "100ms", "sweep_interval": "100ms"}}
    with Pullthrough(tmp_path / "later", settings, store=proxy.layout.root) as later:
        later.process.wait_until(lambda: later.uploads() == {}, "nothing is left of what the kills broke off")


def test_a_push_is_on_disk_before_its_name_the_name_before_the_database_and_all_before_the_answer(
    tmp_path: Path,
) -> None:
    toolbox = parts.require(parts.STRACE)
    trace = tmp_path / "trace"
    calls = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,rename,renameat,renameat2"
    strace = [toolbox.program("strace"), "-D", "-f", "-y", "-s", "16", f"--trace={calls}", f"--output={trace}"]
    image = images.of_blobs(b"{ }", [images.noise(1, MIB)])
    layer, config = BlobPush(image.blobs[image.layers[0]], Way.STREAM), BlobPush(b"{ }", Way.SINGLE)
    proxy = Pullthrough(tmp_path / "registry", {}, wrapper=strace, environment=toolbox.environment())
    pusher = Pusher(proxy.port, "team/app")

    proxy.start()
    pusher.push_blob(layer)
    pusher.push_blob(config)
    pusher.push_manifest(ManifestPush(image, "1"))
    proxy.stop()

    lines = finished(trace.read_text())
    answers = [number for number, line in enumerate(lines) if '"HTTP/1.1 201' in line]
    assert len(answers) == 3
    for content, answer in zip((layer.digest, config.digest, image.digest), answers, strict=True):
        blob = proxy.layout.blob(Digest.parse(content))
        before = lines[:answer]
        named = _only(before, rf'rename.*"{re.escape(str(blob))}"')
        part = re.escape(re.findall(r'"([^"]+)"', before[named])[0])
        written, flushed = _all(before, rf"p?write.*<{part}>"), _all(before, rf"f(data)?sync.*<{part}>")
        listed = _all(before, rf"fsync.*<{re.escape(str(blob.parent))}>")
        database = re.escape(str(proxy.layout.database))
        recorded, kept = _all(before, rf"p?write.*<{database}"), _all(before, rf"f(data)?sync.*<{database}")
        assert written[-1] < flushed[-1] < named < listed[-1] < recorded[-1] < kept[-1] < answer


def _all(lines: list[str], pattern: str) -> list[int]:
    found = [number for number, line in enumerate(lines) if re.match(pattern, line)]
    assert found, pattern
    return found


def _only(lines: list[str], pattern: str) -> int:
    (found,) = _all(lines, pattern)
    return found


def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    blob = BlobPush(images.noise(1, 3 * MIB), Way.CHUNKS)
    with Pullthrough(tmp_path / "registry", {}) as proxy:
        pusher = Pusher(proxy.port, "team/app")
        pusher.begin(blob)
        pusher.patch(blob, MIB)
        proxy.stop()

        proxy.start()
        assert pusher.status(blob).end == MIB
        pusher.patch(blob, 2 * MIB)
        proxy.kill()

        proxy.start()
        pusher.resume(blob)
        done = download(proxy.port, f"/v2/team/app/blobs/{blob.digest}", blob.content)
    assert (done.right, done.whole) == (True, True)


def test_an_abandoned_upload_expires_and_one_that_is_written_to_does_not(tmp_path: Path) -> None:
    content = images.noise(2, MIB)
    abandoned, slow = BlobPush(content, Way.STREAM), BlobPush(content, Way.WHOLE)
    settings = {"uploads": {"expire_after": "1s", "sweep_interval": "100ms"}}
    with Pullthrough(tmp_path / "registry", settings) as proxy, ThreadPoolExecutor(1) as client:
        expired, sending = threading.Event(), threading.Event()

        def wait_in_the_middle(_: int) -> None:
            sending.set()
            assert expired.wait(60)

        pusher, patient = Pusher(proxy.port, "team/app"), Pusher(proxy.port, "team/app", wait_in_the_middle)
        pushing = client.submit(patient.push_blob, slow)
        assert sending.wait(60)
        pusher.begin(abandoned)
        pusher.patch(abandoned, MIB // 2)
        proxy.process.wait_until(lambda: pusher.status(abandoned).status == 404, "the upload expires")
        expired.set()
        pushing.result()

        assert pusher.status(abandoned).errors[0][0] == "BLOB_UPLOAD_UNKNOWN"
        assert slow.stored
        assert pusher.has_blob(slow.digest)
    assert proxy.uploads() == {}
