"""An owner that is killed before each of its system calls, while it stores a small blob at once."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLED_EVERYWHERE = """
import asyncio, os, signal, sys
from pathlib import Path
from proxy.core.fills.ports import Origin, State
from proxy.model.digest import Digest
from proxy.storage.layout import Layout
from proxy.storage.partials import FilesystemPartialStore
from proxy.storage.threads import Threads

DATA = bytes(range(256)) * 20
DIGEST = Digest.of(DATA)
ORIGIN = Origin("hub library/nginx", "")
CALLS = ("open", "pwritev", "pwrite", "fchmod", "fsync", "mkdir", "replace", "rename", "unlink", "close")

def kill_before(number):
    left = [number]
    def killing(call):
        def instead(*args, **kwargs):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)
        return instead
    for name in CALLS:
        setattr(os, name, killing(getattr(os, name)))

async def own(root, number, begun, go_on):
    partial = await FilesystemPartialStore(Layout(root), Threads("owner", 1)).open(DIGEST)
    assert partial.state is State.OWNED
    os.write(begun, b".")
    os.read(go_on, 1)
    kill_before(number)
    await partial.store(len(DATA), ORIGIN, [DATA])

async def come_after(root, follows, begun, go_on, child):
    layout, threads = Layout(root), Threads("heir", 1)
    partials = FilesystemPartialStore(layout, threads)
    os.read(begun, 1)
    partial = None
    if follows:
        partial = await partials.open(DIGEST)
        assert partial.state is State.FOLLOWED
    os.write(go_on, b".")
    status = os.waitpid(child, 0)[1]
    if partial is not None:
        await partial.poll()
    if partial is None or partial.state is State.GONE:
        partial = await partials.open(DIGEST)
    if partial.state is State.OWNED:
        assert (partial.total, partial.watermark) == (None, 0)
        assert not layout.blob(DIGEST).exists()
        await partial.store(len(DATA), ORIGIN, [DATA])
    assert partial.state is State.COMMITTED, partial.state
    assert await partial.read(0, 2 * len(DATA)) == DATA
    assert layout.blob(DIGEST).read_bytes() == DATA
    assert not layout.part(DIGEST).exists()
    partial.close()
    threads.close()
    return status

def main(root, follows):
    number, status = 0, signal.SIGKILL
    while status == signal.SIGKILL:
        number += 1
        (has_begun, begun), (may_go_on, go_on) = os.pipe(), os.pipe()
        place = root / str(number)
        child = os.fork()
        if not child:
            asyncio.run(own(place, number, begun, may_go_on))
            os._exit(0)
        status = asyncio.run(come_after(place, follows, has_begun, go_on, child))
    assert status == 0
    print(number - 1)

main(Path(sys.argv[1]), sys.argv[2] == "True")
"""


@pytest.mark.parametrize("follows", [False, True])
def test_whoever_comes_after_an_owner_that_was_killed_has_the_whole_blob(tmp_path: Path, *, follows: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_EVERYWHERE, str(tmp_path), str(follows)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert int(done.stdout) > 8
