"""TLS handshakes in memory, without a network."""

import ssl
from contextlib import suppress
from typing import NamedTuple


class Handshake(NamedTuple):
    """The two sides of a connection."""

    client: ssl.SSLObject
    server: ssl.SSLObject


def shake(
    serving: ssl.SSLContext, trusting: ssl.SSLContext, session: ssl.SSLSession | None = None, *, name: str = "localhost"
) -> Handshake:
    """Return both sides of a new connection; raise `ssl.SSLError` of the side that refuses it."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there, server_hostname=name, session=session)
    server = serving.wrap_bio(there, back, server_side=True)
    waiting = [client, server]
    while waiting:
        for side in list(waiting):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
                waiting.remove(side)
    # With TLS 1.3, tickets come with the first bytes.
    server.write(b"x")
    assert client.read(1) == b"x"
    return Handshake(client, server)
