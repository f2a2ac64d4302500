"""What all tests share: blocking calls on the loop are errors, sockets stay on loopback."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from tests.support.clock import FakeClock


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Raise BlockingError where the product blocks the loop."""
    with blockbuster_ctx("proxy") as blocking:
        # To a socket that does not block, of bytes that are in memory.
        blocking.functions["os.sendfile"].can_block_in("proxy/http/sendfile.py", {"_proceed"})
        # What measures coverage guards its own data so, also for lines of the product.
        blocking.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", {"lock_data"})
        yield blocking


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
